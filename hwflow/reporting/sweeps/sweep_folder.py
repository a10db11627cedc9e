"""The files of a sweep, read and validated; tables are read by pyarrow."""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from hwflow.errors import InputError
from hwflow.files import checked, read_yaml
from hwflow.metrics import SWEPT
from hwflow.optional import needed
from hwflow.reporting.estimates.layer_rows import energy_of
from hwflow.reporting.pruning.cost_details import Known, Record
from hwflow.reporting.pruning.run_records import LayerRecord, adapter
from hwflow.results import LevelName, in_order

RESULTS, LAYERS, RECORDS = "results.parquet", "layers.parquet", "records.jsonl"
_OPTIONS = (
    *("energy", "objective", "mapper", "engine", "effort", "proof", "gap"),
    *("activations", "operators", "latency", "execution", "ragged"),
)
"""Of the sweep file, which `hwflow estimate` takes by the same names."""
_LISTS = (".keeps", ".may_bypass")
"""Fields whose values are lists; tables have them as text, with commas."""
_PART = "energy_"
_NO_PARTS = ("energy_pj", "energy_normalized", "energy_source")

Value = float | int | str | None
"""Of a swept field."""


class PointRecord(Record):
    """A row of `results.parquet`, without the columns of swept fields."""

    point: int | str
    network: str
    accelerator: str
    base: str | None = None
    dataflow: str | None = None
    level: LevelName
    batch: int | None = None
    bits: str | None = None
    status: str
    reason: str | None = None
    energy_pj: Known = None
    energy_normalized: Known = None
    cycles: Known = None
    latency_s: Known = None
    area_um2: Known = None
    utilization: Known = None
    dram_bytes: Known = None
    macs: Known = None
    params: Known = None
    energy_source: str | None = None
    engine: str | None = None


_OWN = frozenset({*PointRecord.model_fields, *SWEPT, "pareto", "seconds"})


@dataclass(frozen=True)
class Point:
    """One point: what was costed, on which chip, and the answer. `fields` are the values of the swept fields."""

    row: PointRecord
    fields: Mapping[str, Value]

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.row.status == "ok"

    @property
    def energy(self) -> float | None:
        """In joule, or in normalised units."""
        return energy_of(self.row.energy_pj, self.row.energy_normalized)[0]

    @property
    def unit(self) -> str:
        """That of the energy."""
        return energy_of(self.row.energy_pj, self.row.energy_normalized)[1]

    @property
    def edp(self) -> float | None:
        """Energy-delay product, in the energy's unit times seconds."""
        return None if self.energy is None or self.row.latency_s is None else self.energy * self.row.latency_s

    @property
    def area_m2(self) -> float | None:
        """Of the chip, in square metres."""
        return None if self.row.area_um2 is None else self.row.area_um2 * 1e-12

    @property
    def kind(self) -> str:
        """Which accelerator and dataflow it is a variant of."""
        return ", ".join(filter(None, [self.row.base or self.row.accelerator, self.row.dataflow]))


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder.

    Attributes:
        points: in the order of the table.
        fields: the names of the swept fields.
        sources: what `hwflow estimate` takes for each network, options included; empty where the sweep file does not tell.
        options: of the sweep file those that `hwflow estimate` takes, too.
        ppa_model: the file that level ppa answered by, and `--extrapolate` where that was asked for; a file beside the sweep's
            own is named as it is there.
    """

    folder: Path
    points: tuple[Point, ...]
    fields: tuple[str, ...]
    sources: Mapping[str, Sequence[str]]
    options: Mapping[str, Any]
    ppa_model: tuple[str, ...] | None = None

    @cached_property
    def done(self) -> list[Point]:
        """The points that were answered."""
        return [point for point in self.points if point.ok]

    @cached_property
    def levels(self) -> list[LevelName]:
        """The levels that answered, coarse first."""
        return in_order(point.row.level for point in self.done)

    def mapped(self, level: LevelName) -> bool:
        """Whether a level has mappings, and so a dataflow."""
        return any(point.row.dataflow is not None for point in self.points if point.row.level == level)

    @cached_property
    def choices(self) -> list[str]:
        """What differs between designs: swept fields, and base, dataflow and word widths where there are several."""
        own = [name for name in ("base", "dataflow", "bits") if len({getattr(p.row, name) for p in self.points} - {None}) > 1]
        return [*own, *(name for name in self.fields if len({p.fields[name] for p in self.points}) > 1)]

    def value(self, point: Point, choice: str) -> Value:
        """What a point chose."""
        return point.fields[choice] if choice in point.fields else getattr(point.row, choice)

    def configuration(self, point: Point) -> str:
        """What sets a point's design apart from the others."""
        known = {choice: self.value(point, choice) for choice in self.choices}
        told = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
        return told or point.row.accelerator

    def command(self, point: Point) -> str:
        """The command that shows this point layer by layer."""
        row = point.row
        source = self.sources.get(row.network, [row.network])
        words = ["hwflow", "estimate", *source, "--accelerator", row.base or row.accelerator, "--level", row.level]
        for name, value in (("dataflow", row.dataflow), ("bits", row.bits), ("batch", row.batch)):
            words += [] if value is None or (name == "batch" and value == 1) else [f"--{name}", str(value)]
        for name, value in self.options.items():
            words += _option(name, value)
        if row.level == "ppa" and self.ppa_model is not None:
            words += ["--ppa-model", *self.ppa_model]
        for name, field in point.fields.items():
            words += [] if field is None else ["--set", f"{name}={f'[{field}]' if name.endswith(_LISTS) else field}"]
        return shlex.join(words)

    def layers(self, points: Iterable[Point]) -> dict[int | str, list[LayerRecord]]:
        """The layers of some points, by point; the file is read for those alone.

        Raises:
            InputError: where the file is missing or damaged.
        """
        file = self.folder / LAYERS
        wanted = {point.row.point: point for point in points}
        found: dict[int | str, list[LayerRecord]] = {name: [] for name in wanted}
        for row in _rows(file, filters=[("point", "in", list(wanted))]):
            point = wanted[row["point"]].row
            pj = row.get("energy_pj") is not None
            split = {n.removeprefix(_PART): v for n, v in row.items() if n.startswith(_PART) and n not in _NO_PARTS}
            split = {name: value for name, value in split.items() if value is not None}
            more: dict[str, Any] = {"name": row.get("layer"), "shape": {}, "engine": point.engine or "", "note": ""}
            more |= {"energy_source": row.get("energy_source") or ""}
            content = {**row, **more, f"energy_by_level_{'pj' if pj else 'normalized'}": split}
            found[row["point"]].append(_checked(file, content, LayerRecord))
        return found


def _option(name: str, value: Any) -> list[str]:
    """What `hwflow estimate` takes for an option of a sweep file."""
    if name == "ragged":
        return [] if value else ["--perfect"]
    if isinstance(value, Mapping):  # executions by layer
        return [word for layer, way in value.items() for word in (f"--{name}", f"{layer}={way}")]
    return [] if value is None else [f"--{name}", str(value)]


def is_sweep(folder: Path) -> bool:
    """Whether a sweep left something in this folder."""
    return (folder / RECORDS).exists()


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a folder.

    Raises:
        InputError: where its tables are missing, damaged or without any point.
        MissingDependency: where pyarrow is not installed.
    """
    file = folder / RESULTS
    if not file.exists():
        raise InputError(
            f"{folder} holds a sweep without tables: it has {RECORDS}, but no {RESULTS}. The same 'hwflow sweep' command goes "
            "on where it was, and writes them at its end or when it is interrupted by Ctrl-C."
        )
    rows = _rows(file)
    if not rows:
        raise InputError(f"{file} has no points; there is nothing to report.")
    fields = tuple(name for name in rows[0] if name not in _OWN)
    points = tuple(Point(_checked(file, row, PointRecord), {name: row[name] for name in fields}) for row in rows)
    asked = read_yaml(folder / "sweep.yaml", "sweep") if (folder / "sweep.yaml").exists() else {}
    asked = asked if isinstance(asked, Mapping) else {}
    options = {name: asked[name] for name in _OPTIONS if name in asked}
    named = asked.get("ppa_model")
    model = None if named is None else (str(named), *(["--extrapolate"] if asked.get("extrapolate") else []))
    return Sweep(folder, points, fields, _sources(points, asked), options, model)


def _sources(points: Sequence[Point], asked: Mapping[str, Any]) -> dict[str, list[str]]:
    """Networks are named in the tables, and may be files in the sweep file, whose order the points keep, pruned ones last."""
    names = list(dict.fromkeys(point.row.network for point in points))
    named, plans, zeros = asked.get("networks") or [], asked.get("plans") or [], asked.get("densities") or [None]
    if not (isinstance(named, list) and isinstance(plans, list) and isinstance(zeros, list)):
        return {}
    each = [(one, text) for one in (*named, *plans) for text in zeros]
    if len(each) != len(names):
        return {}
    found = {}
    for name, (one, text) in zip(names, each, strict=True):
        spec, shape = (one.get("network"), one.get("input")) if isinstance(one, Mapping) else (one, None)
        words = ["--input", "x".join(map(str, shape))] if isinstance(shape, list) else []
        found[name] = [str(spec), *words, *([] if text is None else ["--density", str(text)])]
    return found


def _rows(file: Path, filters: Sequence[tuple[str, str, Any]] | None = None) -> list[dict[str, Any]]:
    needed("pyarrow", "the report of a sweep", "report")
    import pyarrow
    import pyarrow.parquet

    checked(file, "", "table", " does not exist; the sweep's folder is not complete. Run the same 'hwflow sweep' again")
    try:
        table = pyarrow.parquet.read_table(file, filters=list(filters) if filters else None)
        return list(table.to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{file} is damaged: {str(error).splitlines()[0]}. Run the same 'hwflow sweep' again.") from error


def _checked(file: Path, row: Mapping[str, Any], kind: type[Any]) -> Any:
    try:
        return adapter(cast("Hashable", kind)).validate_python(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"{file} is damaged: {field}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from None

"""`fronts`: designs predicted for networks times PE types, with the fronts of performance per area, energy and accuracy.

designs.parquet     every design for every network and PE type, with the errors of the model in every row
fronts.csv          those of them that are on a front
fronts.json         what was asked, and of what the model is
report.html         the same as figures and tables

Performance is inferences a second; energy is that of one inference.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwflow.arrays import Bools, Floats
from hwflow.coexploration.accuracies import Accuracies, read_accuracies
from hwflow.coexploration.knobs import hypercube, knobs_of, values_at
from hwflow.cost.inputs import network_of
from hwflow.cost.session import Notify, warn
from hwflow.errors import InputError, MissingDependency, check_whole
from hwflow.files import write_bytes, write_text
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.optional import needed
from hwflow.ppa.model import AREA, CYCLES, ENERGY, PpaModel
from hwflow.ppa.model_file import read_model
from hwflow.ranking import undominated
from hwflow.reporting import write_report

if TYPE_CHECKING:
    import pandas

    from hwflow.network.load import NetworkLike

DESIGNS, FRONTS, ABOUT = "designs.parquet", "fronts.csv", "fronts.json"
KIND = "hwflow ppa fronts"
FLAGS = ("front_performance_energy", "front_accuracy_performance", "front_accuracy_energy")
"""Columns that say whether a row is on a front: of its network, and of all networks together the two with accuracy."""
_MOST = 1_000_000  # rows of the table
_STATED = {ENERGY: "energy", CYCLES: "cycles", AREA: "area"}


class Best(NamedTuple):
    """The best of a network's designs with one PE type, each by itself; energies in microjoule or million units."""

    network: str
    pe_type: str
    per_area: float | None
    energy_uj: float
    latency_ms: float
    accuracy: float | None
    designs: int
    on_front: int


@dataclass(frozen=True)
class Fronts:
    """What was predicted; `missing` are the pairs without an accuracy, which no front with accuracy has."""

    folder: Path
    networks: tuple[str, ...]
    missing: tuple[str, ...]
    remark: str
    in_picojoule: bool
    _columns: Mapping[str, Any]

    def frame(self) -> pandas.DataFrame:
        """A row a design, network and PE type."""
        import pandas as pd

        return pd.DataFrame(dict(self._columns))

    def best(self) -> list[Best]:
        """The best of each network and PE type."""
        columns = {name: np.array(values) for name, values in self._columns.items()}
        found = []
        for pair in dict.fromkeys(zip(columns["network"].tolist(), columns["pe_type"].tolist(), strict=True)):
            own = (columns["network"] == pair[0]) & (columns["pe_type"] == pair[1])
            per_area, accuracy = columns["inferences_per_s_mm2"][own], columns["accuracy"][own][0]
            found.append(
                Best(
                    *pair,
                    None if None in per_area.tolist() else float(per_area.max()),
                    float(columns["energy"][own].min()) * 1e-6,
                    float(columns["latency_s"][own].min()) * 1e3,
                    None if accuracy is None else float(accuracy),
                    int(own.sum()),
                    int(columns[FLAGS[0]][own].sum()),
                )
            )
        return found


def fronts(
    model: str | Path,
    networks: Sequence[NetworkLike],
    folder: str | Path,
    *,
    accuracy: str | Path | None = None,
    designs: int = 2000,
    seed: int = 0,
    input_shape: Any = None,
    extrapolate: bool = False,
    notify: Notify | None = None,
) -> Fronts:
    """Predict a Latin hypercube of designs within the model's range for each network and PE type, and write the fronts.

    Args:
        model: the file that `fit` wrote.
        networks: as `hwflow.estimate` takes them; told apart by their names.
        folder: of the tables and the report.
        accuracy: a CSV file with the columns network, pe_type and accuracy (0 to 1), as they were measured; without it there
            are no fronts with accuracy.
        designs: of each PE type; the same for all, so that types can be compared design by design.
        input_shape: of all networks, batch included.
        extrapolate: whether networks may have layers beyond the range of the characterisation.

    Raises:
        InputError: for what cannot be used, and layers beyond the range where that was not asked for.
        MissingDependency: where a package of the extra `sweep` is missing.
        HwflowError: where nothing can be written.
    """
    needed("pyarrow", "the tables of fronts", "sweep")
    fitted, tell = read_model(model), notify or warn
    check_whole("designs", designs)
    nets = [network_of(network, input_shape=input_shape) for network in networks]
    _check(nets, fitted, designs, extrapolate=extrapolate)
    named, known = [net.name for net in nets], Accuracies({})
    if accuracy is not None:
        known = read_accuracies(accuracy, named, list(fitted.types))
    knobs = tuple(knob for knob in knobs_of(fitted.base, fitted.fields) if knob.field in fitted.fields)
    values = values_at(knobs, hypercube(len(knobs), designs, seed).tolist())
    columns = _columns(fitted, nets, values, [knob.field for knob in knobs], known)
    missing = known.missing(named, list(fitted.types)) if accuracy is not None else []
    place = Path(folder)
    about = {
        "kind": KIND,
        "networks": named,
        "pe_types": list(fitted.types),
        "base": fitted.base.name,
        "fields": {name: list(limits) for name, limits in fitted.fields.items()},
        "designs": designs,
        "seed": seed,
        "energy_unit": fitted.energy_unit,
        "remark": fitted.remark,
        "model": {"checksum": fitted.identity, **fitted.provenance},
        "quality": {
            pe_type: {name: [one.error.median, one.error.p95, one.rank] for name, one in found.quality.items()}
            for pe_type, found in fitted.types.items()
        },
        "missing": missing,
    }
    _write(place, columns, about)
    try:
        write_report(place)
    except MissingDependency as error:
        tell(f"report.html was not written: {error}")
    return Fronts(place, tuple(named), tuple(missing), fitted.remark, fitted.energy_unit == "pJ", columns)


def _check(nets: Sequence[Network], model: PpaModel, designs: int, *, extrapolate: bool) -> None:
    if not nets:
        raise InputError("networks is empty; name at least one to predict designs for.")
    for name, times in Counter(net.name for net in nets).items():
        if times > 1:
            raise InputError(f"networks: {times} of them are called {name!r}; results are told apart by the name.")
    rows = designs * len(nets) * len(model.types)
    if rows > _MOST:
        raise InputError(
            f"designs is {designs:,}, which gives {rows:,} rows with {len(nets)} networks and {len(model.types)} PE types; the "
            f"most is {_MOST:,}. Ask for fewer, or for fewer networks at once."
        )
    inside = [low for low, _ in model.fields.values()]
    for net in nets:
        for layer in net:
            if layer.bits is not None:
                raise InputError(f"layer {layer.name} of {net.name} states bits, and the PE types decide them: leave them out.")
            if not extrapolate:
                model.check_range(inside, layer)


def _columns(
    model: PpaModel, nets: Sequence[Network], values: Floats, fields: Sequence[str], known: Accuracies
) -> dict[str, list[Any]]:
    """A row a network, PE type and design."""
    distinct: dict[tuple[object, ...], Layer] = {layer.key: layer for net in nets for layer in net}
    places = {key: i for i, key in enumerate(distinct)}
    columns: dict[str, list[Any]] = {}
    clock = model.of_chips(["clock_mhz"], values)[:, 0] * 1e6
    pj = model.energy_unit == "pJ"
    for pe_type, own in model.types.items():
        told = model.predict(pe_type, values, tuple(distinct.values()))
        layer_energy, layer_cycles = np.asarray(sum(told.energy.values())), np.ceil(told.cycles)
        for net in nets:
            rows = [places[layer.key] for layer in net]
            batch = net.layers[0].N
            energy, latency = layer_energy[:, rows].sum(axis=1), layer_cycles[:, rows].sum(axis=1) / clock
            speed = batch / latency
            area = told.area_um2
            block: dict[str, Any] = {
                "network": [net.name] * len(values),
                "pe_type": [pe_type] * len(values),
                "design": list(range(len(values))),
                **{name: values[:, i].tolist() for i, name in enumerate(fields)},
                "energy": (energy / batch).tolist(),
                "latency_s": latency.tolist(),
                "inferences_per_s": speed.tolist(),
                "area_um2": [None] * len(values) if area is None else area.tolist(),
                "inferences_per_s_mm2": [None] * len(values) if area is None else (speed / (area * 1e-6)).tolist(),
                "power_w": (energy * 1e-12 / latency).tolist() if pj else [None] * len(values),
                "accuracy": [known.of(net.name, pe_type)] * len(values),
            }
            for quantity, label in _STATED.items():
                quality = own.quality.get(quantity)
                block[f"{label}_error_median"] = [quality and quality.error.median] * len(values)
                block[f"{label}_error_p95"] = [quality and quality.error.p95] * len(values)
            for name, column in block.items():
                columns.setdefault(name, []).extend(column)
    return columns | dict(zip(FLAGS, _flags(columns), strict=True))


def _flags(columns: Mapping[str, list[Any]]) -> list[list[bool]]:
    names, energy = np.array(columns["network"]), np.array(columns["energy"])
    accuracy = np.array([np.nan if a is None else a for a in columns["accuracy"]], dtype=np.float64)
    per_area = np.array([np.nan if p is None else p for p in columns["inferences_per_s_mm2"]], dtype=np.float64)
    alone = np.zeros(len(names), dtype=np.bool_)
    for name in dict.fromkeys(columns["network"]):
        alone |= _front(names == name, -per_area, energy)
    every = np.ones(len(names), dtype=np.bool_)
    return [found.tolist() for found in (alone, _front(every, -accuracy, -per_area), _front(every, -accuracy, energy))]


def _front(rows: Bools, *objectives: Floats) -> Bools:
    """Which of these rows no other of them beats, the less the better; rows that lack an objective are on no front."""
    rows = rows & ~np.isnan(np.array(objectives)).any(axis=0)
    found = np.zeros(len(rows), dtype=np.bool_)
    found[rows] = undominated(list(zip(*(objective[rows].tolist() for objective in objectives), strict=True)))
    return found


def _write(folder: Path, columns: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet

    table = pa.table(dict(columns))
    on = table[FLAGS[0]]
    for name in FLAGS[1:]:
        on = pc.or_(on, table[name])
    for name, write, part in ((DESIGNS, pa.parquet.write_table, table), (FRONTS, pa.csv.write_csv, table.filter(on))):
        content = io.BytesIO()
        write(part, content)
        write_bytes(folder / name, content.getbuffer())
    write_text(folder / ABOUT, json.dumps(about, indent=1) + "\n")

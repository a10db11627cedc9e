"""The tables of a sweep: `results.parquet` and `results.csv`, one row a point, and `layers.parquet`, one row a layer and point.

They are made of the records alone, sorted by point, and hold no times, so equal sweeps have equal files, byte for byte.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.files import checked, write_bytes
from hwflow.metrics import BY_FIELD, FRONT, SWEPT
from hwflow.optional import needed
from hwflow.ranking import undominated
from hwflow.sweeping.case import Case
from hwflow.sweeping.point_record import Rows, energy_source, layer_columns, title
from hwflow.sweeping.records import Records
from hwflow.sweeping.space import Space
from hwflow.text import FORMULA

if TYPE_CHECKING:
    import pandas

_BLOCK = 2000  # points whose rows are in memory at once

_POINT = {"point": "int64", "network": "string", "accelerator": "string", "base": "string"}
_ASKED = {"dataflow": "string", "level": "string", "batch": "int64", "bits": "string", "status": "string", "reason": "string"}
_FOUND = {
    **{field: BY_FIELD[field].kind for field in SWEPT},
    "pareto": "bool",
    "energy_source": "string",
    "engine": "string",
}
_LAYER = {
    "point": "int64",
    "layer": "string",
    "type": "string",
    "macs": "int64",
    "params": "int64",
    "energy_pj": "double",
    "energy_normalized": "double",
    "cycles": "int64",
    "latency_s": "double",
    "utilization": "double",
    "bound_by": "string",
    "dram_bytes": "double",
    "energy_source": "string",
}


def check_installed() -> None:
    """Refuse before the work, not after it, where the tables cannot be written.

    Raises:
        MissingDependency: where pyarrow is not installed.
    """
    needed("pyarrow", "a sweep", "sweep")


def write_tables(folder: Path, space: Space, cases: Sequence[Case], records: Records) -> None:
    """Write the three tables, each whole or not at all.

    Raises:
        HwflowError: where one cannot be written.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    def schema(columns: Mapping[str, str]) -> Any:
        return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])

    networks = {case.title: case.rows for case in cases}
    results = schema({**_POINT, **{name: _kind(values) for name, values in space.values.items()}, **_ASKED, **_FOUND})
    layers = schema({**_LAYER, **{f"energy_{part}": "double" for part in space.parts()}})
    texts = {name for name, values in space.values.items() if _kind(values) == "string"}
    files = {name: io.BytesIO() for name in ("results.parquet", "results.csv", "layers.parquet")}
    quoting = pa.csv.WriteOptions(quoting_style="needed")
    with (
        pa.parquet.ParquetWriter(files["results.parquet"], results) as points,
        pa.csv.CSVWriter(files["results.csv"], results, write_options=quoting) as lines,
        pa.parquet.ParquetWriter(files["layers.parquet"], layers) as rows,
    ):
        front = fronts(records)
        for block in _blocks(records):
            flat = [{**_flat(record, texts), "pareto": front.get(record["point"])} for record in block]
            table = pa.Table.from_pylist(flat, results)
            below = _columns(block, networks, layers.names)
            points.write_table(table)
            lines.write_table(_harmless(table))
            rows.write_table(pa.Table.from_pydict(below, layers))
    for name, content in files.items():
        write_bytes(folder / name, content.getbuffer())


def fronts(records: Iterable[Mapping[str, Any]]) -> dict[int, bool]:
    """Of each answered point whether it is on the Pareto front of its network, level and batch: no other point of these is as
    good in energy, latency and area and better in one. Points with energies in different units are not compared."""
    groups: dict[tuple[object, ...], list[tuple[int, tuple[float | None, ...]]]] = {}
    for record in records:
        if record.get("status") == "ok":
            values = tuple(record.get(name) for name in FRONT)
            group = (record["network"], record["level"], record["batch"], values[0] is None)
            groups.setdefault(group, []).append((record["point"], values))
    found: dict[int, bool] = {}
    for points in groups.values():
        known = [i for i in range(len(FRONT)) if all(values[i] is not None for _, values in points)]
        best = undominated([tuple(values[i] or 0.0 for i in known) for _, values in points])
        found |= dict(zip((number for number, _ in points), best, strict=True))
    return found


def read_results(folder: Path) -> pandas.DataFrame:
    """`results.parquet` as a frame."""
    import pandas as pd

    return pd.read_parquet(checked(folder / "results.parquet", "", "table"))


def _harmless(table: Any) -> Any:
    """For CSV: texts that a spreadsheet would take for a formula, with an apostrophe in front."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [
        pc.replace_substring_regex(column, FORMULA, r"'\1") if pa.types.is_string(column.type) else column
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _blocks(records: Records) -> Iterator[list[dict[str, Any]]]:
    following = iter(records)
    while block := list(itertools.islice(following, _BLOCK)):
        yield block


def _flat(record: Mapping[str, Any], texts: set[str]) -> dict[str, Any]:
    fields = record["fields"]
    more = {name: _text(fields[name]) for name in texts}
    return {**record, **fields, **more, "energy_source": energy_source(record)}


def _columns(block: Sequence[Mapping[str, Any]], networks: Mapping[str, Rows], names: Sequence[str]) -> dict[str, list[Any]]:
    """The rows of some points' layers, by column."""
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for record in block:
        network = networks[title(record["network"], record["batch"], record["bits"])]
        found = layer_columns(record, network)
        for name in names:
            columns[name] += found.get(name) or [None] * len(found["layer"])
    return columns


def _kind(values: tuple[Any, ...]) -> str:
    """The column type that holds all values of a field."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int}:
        return "int64"
    return "double" if kinds <= {int, float} else "string"


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

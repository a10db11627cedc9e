"""The tables of a sweep: `results.parquet` and `results.csv`, one row a point, and `layers.parquet`, one row a layer and point.

They are made of the records alone, sorted by point, and hold no times, so equal sweeps have equal files, byte for byte.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.data import checked, write_bytes
from hwflow.errors import InputError, MissingDependency
from hwflow.sweeping.records import Records
from hwflow.sweeping.space import Space
from hwflow.text import FORMULA

if TYPE_CHECKING:
    import pandas

_BLOCK = 2000  # points whose rows are in memory at once

_POINT = {"point": "int64", "network": "string", "accelerator": "string", "base": "string"}
_ASKED = {"dataflow": "string", "level": "string", "batch": "int64", "bits": "string", "status": "string", "reason": "string"}
_FOUND = {
    "energy_pj": "double",
    "energy_normalized": "double",
    "cycles": "int64",
    "latency_s": "double",
    "edp_pj_s": "double",
    "area_um2": "double",
    "utilization": "double",
    "dram_bytes": "double",
    "macs": "int64",
    "params": "int64",
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
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependency(
            'sweeps need the package pyarrow, which is not installed here: pip install "hwflow[sweep]"'
        ) from error


def write_tables(folder: Path, space: Space, records: Records) -> None:
    """Write the three tables, each whole or not at all.

    Raises:
        HwflowError: where one cannot be written.
        InputError: where a record is damaged.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    def schema(columns: Mapping[str, str]) -> Any:
        return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])

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
        for block in _blocks(records):
            try:
                table = pa.Table.from_pylist([_flat(record, texts) for record in block], results)
                below = pa.Table.from_pylist([row for record in block for row in _layers(record)], layers)
            except (pa.ArrowException, AttributeError, KeyError, TypeError) as error:
                first, last = block[0]["point"], block[-1]["point"]
                raise InputError(
                    f"{folder / 'records.jsonl'} is damaged, in a point from {first} to {last}: {error}. Name another folder; "
                    "layers that were costed already are in the cache."
                ) from error
            points.write_table(table)
            lines.write_table(_harmless(table))
            rows.write_table(below)
    for name, content in files.items():
        write_bytes(folder / name, content.getbuffer())


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
    return {**record, **fields, **{name: _text(fields[name]) for name in texts}}


def _layers(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in record["layers"]:
        parts = {f"energy_{part}": value for part, value in row["energy_by_part"].items()}
        yield {"point": record["point"], **row, **parts}


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

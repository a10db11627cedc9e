"""Sweeps' folders: real sweeps of two small networks, and rows changed in their tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from hwflow.sweeping import sweep

LAYERS = [
    {"name": "conv1", "C": 3, "M": 8, "P": 8, "Q": 8, "R": 3, "S": 3},
    {"name": "conv2", "C": 8, "M": 16, "P": 4, "Q": 4, "R": 3, "S": 3, "strides": [2, 2]},
    {"name": "fc", "type": "linear", "C": 16, "M": 10},
]
DESCRIPTION: Mapping[str, Any] = {
    "accelerators": [{"base": "eyeriss", "set": {"pe_array.rows": [3, 6], "pe_array.columns": [7, 14]}}],
    "levels": ["coarse", "mid"],
    "dataflows": ["row_stationary", "flexible"],
}


def write_sweep(folder: Path, networks: tuple[str, ...] = ("one", "two"), **description: Any) -> Path:
    """A finished sweep's folder; recorded energies, so that areas are known."""
    files = []
    for i, name in enumerate(networks):
        files.append(folder.parent / f"{folder.name}-{i}.yaml")
        layers = [{**layer, "M": layer["M"] + 4 * i} if layer["name"] == "conv1" else layer for layer in LAYERS]
        layers[1] = {**layers[1], "C": layers[0]["M"]}
        files[-1].write_text(json.dumps({"name": name, "layers": layers}), encoding="utf-8")
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(yaml.safe_dump({"networks": list(map(str, files)), **DESCRIPTION, **description}), encoding="utf-8")
    sweep(file, folder)
    return folder


def change_rows(folder: Path, change: Callable[[int, dict[str, Any]], dict[str, Any]], name: str = "results") -> None:
    """Rewrite a table row by row; the columns stay."""
    table = pq.read_table(folder / f"{name}.parquet")
    rows = [change(i, row) for i, row in enumerate(table.to_pylist())]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), folder / f"{name}.parquet")


def read_rows(folder: Path, name: str = "results") -> list[dict[str, Any]]:
    return list(pq.read_table(folder / f"{name}.parquet").to_pylist())


def failed(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """The row of a point that failed: nothing is known of its costs."""
    fields = DESCRIPTION["accelerators"][0]["set"]
    known = {"point", "network", "accelerator", "base", "dataflow", "level", "batch", "bits", *fields}
    return {name: value if name in known else None for name, value in row.items()} | {"status": "failed", "reason": reason}

"""What tests of sweeps share: two small networks with a layer in common, and a sweep file that takes a second or two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

TINY = """
name: tiny
layers:
  - {name: conv1, C: 3, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: conv2, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: conv2_again, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
"""
OTHER = """
name: other
layers:
  - {name: first, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: fc, type: linear, C: 16, M: 10}
"""
SMALL: dict[str, Any] = {
    "networks": ["tiny.yaml", "other.yaml"],
    "accelerators": [
        {
            "base": "eyeriss",
            "set": {"global_buffer.size_kib": [16, 64], "pe_array.rows": {"from": 4, "to": 12, "step": 4}},
            "where": "not (pe_array.rows == 12 and global_buffer.size_kib == 16)",
        }
    ],
    "levels": ["coarse", "mid"],
    "energy": "normalized",
}
FILES = ("results.parquet", "results.csv", "layers.parquet")

Sweep = Callable[..., Path]


@pytest.fixture
def sweep_file(tmp_path: Path) -> Sweep:
    """Writes `SMALL`, with the fields given changed, and its networks; gives the file."""

    def write(**changes: Any) -> Path:
        (tmp_path / "tiny.yaml").write_text(TINY)
        (tmp_path / "other.yaml").write_text(OTHER)
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
        return path

    return write


def tables(folder: Path) -> list[bytes]:
    """The files that must be equal between equal sweeps."""
    return [(folder / name).read_bytes() for name in FILES]


def swept(**fields: Any) -> list[dict[str, Any]]:
    """`accelerators` of a sweep file: eyeriss with these fields, written with a double underscore for the dot."""
    return [{"base": "eyeriss", "set": {name.replace("__", "."): values for name, values in fields.items()}}]

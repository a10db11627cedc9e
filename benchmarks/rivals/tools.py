"""The rivals: how each is installed, told what to search, run in an interpreter of its own, and read."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from benchmarks.rivals.nest import Nest
from benchmarks.rivals.outputs import from_accelforge, from_zigzag
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Layer

Column = Literal["perfect", "imperfect", "everything"]
"""What both sides may use: factors that divide their dimensions; factors that need not; all that the rival can express."""

COLUMNS: tuple[Column, ...] = get_args(Column)
Settings = dict[str, Any]


class RivalFailed(Exception):
    """A rival's process that did not answer; says how it ended."""


@dataclass(frozen=True)
class Rival:
    """One other mapper.

    Attributes:
        install: commands that put its interpreter where `python` looks for it.
        script: file beside this one that runs in that interpreter.
        translate: reads one of its mappings.
        settings: by column, under the tool's own names for them where it has one.
    """

    title: str
    install: str
    script: str
    translate: Callable[[Mapping[str, Any], Layer, Accelerator], Nest]
    settings: Mapping[Column, Settings]

    def python(self, name: str) -> Path:
        """Where `install` puts its interpreter."""
        return Path(__file__).parents[2] / ".venv" / name / "bin" / "python"


# AccelForge places every tensor on its own in all columns: its public options cannot forbid that.
_ACCELFORGE: Settings = {
    "explore_loop_orders": True,
    "explore_imperfect_temporal_loops": False,
    "explore_imperfect_spatial_loops": False,
    "force_memory_hierarchy_order": True,
    "register_orders": True,
    "objective_tolerance": 0,
    "tiling_coarseness": 1,
}
_IMPERFECT = _ACCELFORGE | {"explore_imperfect_temporal_loops": True, "explore_imperfect_spatial_loops": True}
_ZIGZAG: Settings = {
    "temporal_mapping_type": "even",
    "only_divisors": True,
    "loma_lpf_limit": 6,
    "nb_mappings_generated": 6,
    "candidates": 20,
}

RIVALS = {
    "zigzag": Rival(
        "ZigZag",
        "python3 -m venv .venv/zigzag && .venv/zigzag/bin/pip install zigzag-dse six",
        "run_zigzag.py",
        from_zigzag,
        {
            "perfect": _ZIGZAG,
            "imperfect": _ZIGZAG | {"only_divisors": False},
            "everything": _ZIGZAG | {"only_divisors": False, "temporal_mapping_type": "uneven"},
        },
    ),
    "accelforge": Rival(
        "AccelForge",
        "python3.12 -m venv .venv/accelforge && .venv/accelforge/bin/pip install accelforge",
        "run_accelforge.py",
        from_accelforge,
        {
            "perfect": _ACCELFORGE,
            "imperfect": _IMPERFECT,
            "everything": _IMPERFECT | {"force_memory_hierarchy_order": False, "register_orders": False},
        },
    ),
}


def columns_of(text: str) -> list[Column]:
    """The columns that a command line names.

    Raises:
        ValueError: for one that is not there.
    """
    found: list[Column] = [c for c in COLUMNS if c in text.split(",")]
    if unknown := [c for c in text.split(",") if c not in COLUMNS]:
        raise ValueError(f"--columns: {', '.join(unknown)} is none of {', '.join(COLUMNS)}")
    return found


def chosen(layers: Sequence[Layer], which: str | None) -> list[Layer]:
    """All of the layers; so many of them, evenly spread; or those of some names, with commas between.

    Raises:
        ValueError: for a name that none of them has.
    """
    if which is None:
        return list(layers)
    if which.isdigit():
        return list(layers[:: max(1, len(layers) // max(1, int(which)))][: int(which)])
    by_name = {layer.name: layer for layer in layers}
    if unknown := [name for name in which.split(",") if name not in by_name]:
        raise ValueError(f"--layers: there is no {', '.join(unknown)} among the distinct layers: {', '.join(by_name)}")
    return [by_name[name] for name in which.split(",")]


def answers(python: Path, script: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the rival prints, line by line; the first line is about itself.

    Raises:
        RivalFailed: where it ends with an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        argv = [str(python), str(Path(__file__).parent / script), str(path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
        if process.returncode:
            raise RivalFailed(f"{' '.join(argv[:2])} ended with exit status {process.returncode}.")

"""Stand-ins for Timeloop's tools, a tiny chip whose costs are worked out by hand, and where recorded outputs lie."""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hwflow.cost.fine import judge, search
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.layers import Layer
from hwflow.mapping import LevelMapping, Mapping
from hwflow.results import LayerCost
from hwflow.timeloop.engine import Native

OUTPUTS = Path(__file__).parent / "outputs"
Install = Callable[..., Path]
Judge = Callable[..., LayerCost]


@pytest.fixture
def outputs() -> Path:
    """Outputs that real tools wrote: `tiny` by timeloop-model, `eyeriss` by timeloop-mapper."""
    return OUTPUTS


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a shell script on PATH, in front of everything: `tool("timeloop-model", "exit 3")`."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.defpath}")

    def install(name: str, script: str) -> Path:
        path = place / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return install


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place where runs make their folders, empty at first."""
    place = tmp_path / "runs"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def tiny() -> Accelerator:
    """DRAM of 4 words a cycle, a buffer of 256 words, 4 MAC units in a row."""
    hierarchy = [
        {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 64}
        | {"bandwidth_gb_s": 1.6},
        {"name": "buffer", "kind": "sram", "role": "global", "size_words": 256, "word_bits": 16, "width_bits": 64},
        {"name": "pes", "kind": "fanout", "role": "array", "columns": 4},
        {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16},
    ]
    return Accelerator.from_dict({"name": "tiny", "technology_nm": 65, "clock_mhz": 200, "hierarchy": hierarchy})


@pytest.fixture
def table() -> EnergyTable:
    """Round energies for the tiny chip."""
    parts = {
        "dram": PartEnergy(512, 512, 512, area_um2=None),
        "buffer": PartEnergy(10, 11, 12, leak=0.5, area_um2=1000),
        "mac": PartEnergy(compute=2, leak=9),
    }
    return EnergyTable("pJ", "by hand", parts)


@pytest.fixture
def layer() -> Layer:
    """24 multiply-accumulates."""
    return Layer("k", C=2, M=4, P=3)


@pytest.fixture
def mapping() -> Mapping:
    """P outside, C in the buffer, M over the array."""
    everything = ("weights", "inputs", "outputs")
    return Mapping(
        (
            LevelMapping("dram", (("P", 3),), (), everything),
            LevelMapping("buffer", (("C", 2),), (("M", 4),), everything, "X"),
        )
    )


@pytest.fixture
def judged(layer: Layer, tiny: Accelerator, mapping: Mapping, table: EnergyTable) -> Judge:
    """`timeloop-model` on the tiny chip, natively unless an engine is given."""
    return lambda **more: judge(layer, tiny, mapping, table, **{"engine": Native(), **more})


@pytest.fixture
def searched(layer: Layer, tiny: Accelerator, table: EnergyTable) -> Judge:
    """`timeloop-mapper` on the tiny chip."""
    return lambda **more: search(layer, tiny, constrain(tiny), table, engine=Native(), **more)


@pytest.fixture
def answer(outputs: Path) -> str:
    """The line of a script that leaves the tiny run's output behind."""
    return f"cp {shlex.quote(str(outputs / 'tiny'))}/* ."

"""Bounds of designs: below what their mappings cost, and none where they would not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import hwflow
from hwflow.metrics import OBJECTIVES
from hwflow.sweeping.case import cases_of
from hwflow.sweeping.description import load_description
from hwflow.sweeping.design_bounds import DesignBounds
from hwflow.sweeping.objectives import objectives_of
from hwflow.sweeping.space import space_of
from tests.sweeping.conftest import Sweep, swept

CHIPS = swept(global_buffer__size_kib=[0.001, 16, 64], pe_array__rows=[4, 12])


def bounds_of(path: Path, *names: str) -> DesignBounds:
    asked = load_description(path)
    options = replace(asked.options(), level=asked.levels[0])
    return DesignBounds(space_of(asked, path.parent), cases_of(asked, path), options, names)


def test_no_design_costs_less_than_its_bounds(sweep_file: Sweep, tmp_path: Path) -> None:
    path = sweep_file(accelerators=CHIPS, levels=["mid"], energy="fitted")
    names = [name for name in OBJECTIVES if name != "energy_normalized"]
    bounds = bounds_of(path, *names)
    records = hwflow.sweep(path, tmp_path / "out", store=False).to_dict("records")
    for least in bounds(list(bounds.space.designs())):
        points = [records.pop(0) for _ in bounds.cases]
        found = objectives_of(points, names)
        if found is None:
            assert set(least) == {0.0}
            continue
        for name, low, value in zip(names, least, found, strict=True):
            assert low <= value * (1 + 1e-9), name
            assert low > 0.5 * value or name == "dram_bytes", name
            assert low == pytest.approx(value) or name != "area_um2"


def test_a_bound_is_known_only_where_it_holds(sweep_file: Sweep) -> None:
    for changes in ({"levels": ["coarse"]}, {"activations": "resident"}, {"operators": "all"}, {"execution": "auto"}):
        bounds = bounds_of(sweep_file(**{"levels": ["mid"], **changes}), "energy_normalized", "latency_s")
        assert not bounds.known
        assert bounds(list(bounds.space.designs())[:1]) == [(0.0, 0.0)]
    assert bounds_of(sweep_file(levels=["mid"]), "latency_s").known

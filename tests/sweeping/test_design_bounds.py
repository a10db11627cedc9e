"""Bounds of designs: below what their mappings cost, and none where they would not hold."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.cost.options import CostOptions
from hwflow.layers import Bits, Densities, Layer
from hwflow.metrics import OBJECTIVES
from hwflow.network import Network
from hwflow.sweeping import design_bounds
from hwflow.sweeping.case import Case, cases_of
from hwflow.sweeping.description import load_description
from hwflow.sweeping.design_bounds import DesignBounds
from hwflow.sweeping.objectives import objectives_of
from hwflow.sweeping.space import Design, Entry, Space, space_of
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


def test_a_product_that_runs_in_parts_is_bounded_by_these() -> None:
    """Positions without weights are not run, so that the whole product's bound is none."""
    content = hwflow.Accelerator.load("eyeriss").model_dump(mode="json", exclude_none=True)
    chip = hwflow.Accelerator.from_dict({**content, "name": "sparse", "sparsity": {"gates": {"weights": []}}}, "sparse")
    positions = (1.0,) * 4 + (0.0,) * 12
    packed = Layer(
        "w", C=8, M=8, P=16, G=16, position_densities=positions, bits=Bits(8, 8, 8), densities=Densities(weights=0.25)
    )
    for layer in (packed, packed.with_(bits=None), packed.with_(bits=None, densities=None)):
        case, options = Case(Network("n", (layer,)), None), CostOptions(level="mid", energy="normalized")
        bounds = DesignBounds(
            Space((Entry("sparse", chip, {}, None, {}),), (None,)), [case], options, ("energy_normalized", "cycles")
        )
        row = hwflow.estimate(case.network, chip, level="mid", energy="normalized", store=False).rows[0]
        energy, cycles = bounds([Design(0, (), 0)])[0]
        assert energy <= (row.energy or 0) * (1 + 1e-9)
        assert cycles <= (row.cycles or 0)


def test_a_point_has_the_area_of_its_own_layers_whatever_was_costed_before(sweep_file: Sweep, tmp_path: Path) -> None:
    sizes = {"M": 16, "P": 8, "Q": 8}
    layers = [{"name": "a", "C": 64, "R": 3, "S": 3, **sizes}, {"name": "b", "C": 4, "R": 1, "S": 1, **sizes}]
    areas = []
    for order in ((1, 0), (0, 1), (1,)):
        networks = []
        for count in order:
            file = tmp_path / f"net{count}.yaml"
            file.write_text(json.dumps({"name": f"net{count}", "layers": layers[count:]}))
            networks.append(str(file))
        path = sweep_file(networks=networks, levels=["mid"], energy="fitted", bits=[[8, 8]])
        frame = hwflow.sweep(path, tmp_path / f"out{''.join(map(str, order))}", store=False)
        areas.append({row["network"].split(",")[0]: row["area_um2"] for row in frame.to_dict("records")})
    assert areas[0] == areas[1]
    assert areas[2].items() <= areas[0].items()
    assert areas[0]["net0"] > areas[0]["net1"]


class Threads:
    """In the place of worker processes: counts what is given, and dies where it is told to."""

    def __init__(self, patience: int = 1000) -> None:
        self.given, self._patience = 0, patience

    @contextlib.contextmanager
    def __call__(self, jobs: int) -> Iterator[Executor]:
        threads = self

        class Pool(ThreadPoolExecutor):
            def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
                threads.given += 1
                if threads.given > threads._patience:
                    raise BrokenProcessPool
                return super().submit(pickle.loads(pickle.dumps(fn)), *args, **kwargs)

        with Pool(jobs) as pool:
            yield pool


@pytest.mark.parametrize("patience", [1000, 3])
def test_bounds_are_the_same_on_workers_which_may_die(
    sweep_file: Sweep, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    rows = {"from": 1, "to": 40, "step": 1}
    bounds = bounds_of(sweep_file(accelerators=swept(pe_array__rows=rows), levels=["mid"]), "latency_s", "energy_normalized")
    designs = list(bounds.space.designs())
    alone = bounds(designs)
    threads, told = Threads(patience), []
    monkeypatch.setattr(design_bounds, "workers", threads)
    monkeypatch.setattr(design_bounds, "_AT_ONCE", 4)
    assert bounds(designs, jobs=2) == alone
    assert threads.given == 0  # it takes no time
    monkeypatch.setattr(design_bounds, "_WORTH_S", 0.0)
    assert bounds(designs, jobs=2, progress=lambda done, total, text: told.append((done, total, text))) == alone
    assert threads.given == min(6, patience + 1)
    assert told[-1] == (40, 40, "lower bounds of designs")
    assert [done for done, _, _ in told] == [20, 24, 28, 32, 36, 40]

"""The search with bounds and a regression, on a space whose objectives are formulas: 96 designs of a rugged trade-off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hwflow.sweeping import Interrupted, surrogate, sweep_run
from hwflow.sweeping.description import load_description
from hwflow.sweeping.design_bounds import DesignBounds
from hwflow.sweeping.design_front import front as front_of
from hwflow.sweeping.searcher import Values
from hwflow.sweeping.space import Design, Space, space_of
from tests.sweeping.conftest import Sweep, swept, tables

ROWS, COLUMNS = 12, 8
FAILS = Design(0, (7, 0), 0)


@pytest.fixture
def space(sweep_file: Sweep, tmp_path: Path) -> Space:
    rows, columns = ({"from": 1, "to": most, "step": 1} for most in (ROWS, COLUMNS))
    return space_of(load_description(sweep_file(accelerators=swept(pe_array__rows=rows, pe_array__columns=columns))), tmp_path)


def least(designs: Sequence[Design]) -> list[tuple[float, ...]]:
    """An area, which is exact, and a time."""
    each = [(design.values[0] + 1, design.values[1] + 1) for design in designs]
    return [(rows + 3.0 * columns, 1000 / (rows + 0.5 * columns)) for rows, columns in each]


def values(design: Design) -> Values:
    """The time is above its bound by a share that depends on both fields."""
    area, time = least([design])[0]
    rows, columns = design.values
    return None if design == FAILS else (area, time * (1.02 + 0.02 * (rows % 4) + 0.01 * (columns % 3)))


class Costed:
    """Costs designs, and remembers which together; fails for one that those before match."""

    def __init__(self) -> None:
        self.designs: list[Design] = []

    def __call__(self, designs: Sequence[Design]) -> list[Values]:
        found = np.array([v for v in map(values, self.designs) if v is not None]).reshape(-1, 2)
        assert not any((found <= np.array(bound)).all(axis=1).any() for bound in least(designs))
        assert not set(designs) & set(self.designs)
        self.designs += designs
        return [values(design) for design in designs]


def front(found: Sequence[Values]) -> set[tuple[float, ...]]:
    return {tuple(row) for row in front_of(np.array([v for v in found if v is not None])).tolist()}


def run(space: Space, points: int) -> list[Values]:
    return list(surrogate.search(space, points=points, seed=0, objectives=2, cover=Costed(), least=least).values())


def test_it_ends_early_with_the_front_of_the_whole_space(space: Space) -> None:
    """No design is costed whose bounds are matched (`Costed` sees to it), and what is left out is none of the front."""
    found = run(space, points=ROWS * COLUMNS)
    assert len(found) < ROWS * COLUMNS / 2
    assert front(found) == front([values(design) for design in space.designs()])


def test_all_seeds_cost_equal_designs_and_fewer_points_the_first_of_them(space: Space) -> None:
    costed = []
    for points, seed in ((22, 3), (22, 3), (16, 3), (22, 4)):
        cover = Costed()
        surrogate.search(space, points=points, seed=seed, objectives=2, cover=cover, least=least)
        costed.append(cover.designs)
    assert costed[0] == costed[1]
    assert costed[2] == costed[0][:16]
    assert costed[3] == costed[0]  # bounds of all designs are known: nothing is drawn
    assert [len(designs) for designs in costed] == [22, 22, 16, 22]


def test_it_finds_more_of_a_front_than_random_draws_do(space: Space) -> None:
    whole = front([values(design) for design in space.designs()])
    drawn = [values(design) for design in space.designs()]
    order = [np.random.default_rng(seed).permutation(len(drawn))[:22] for seed in range(5)]
    random = [len({drawn[i] for i in places} & whole) for places in order]
    assert len(front(run(space, 22)) & whole) > 2 * max(random)


@pytest.mark.parametrize("scale", [1.0, 1e12, 0.0])
def test_without_bounds_it_costs_all_that_it_may(space: Space, scale: float) -> None:
    def costed(design: Design) -> Values:
        found = values(design)
        return None if found is None else (found[0], found[1] * scale)

    found = surrogate.search(
        space,
        points=18,
        seed=0,
        objectives=2,
        cover=lambda designs: [costed(design) for design in designs],
        least=lambda designs: [(0.0, 0.0)] * len(designs),
    )
    assert len(found) == 18


def test_a_constraint_that_leaves_few_designs_of_many_makes_the_pool_small(
    sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surrogate, "POOL", 400)
    rows, columns = ({"from": 1, "to": 400, "step": 1} for _ in range(2))
    chips = swept(pe_array__rows=rows, pe_array__columns=columns)
    path = sweep_file(accelerators=[{**chips[0], "where": "pe_array.rows * pe_array.columns <= 1600"}])
    few = space_of(load_description(path), tmp_path)
    cover = Costed()
    surrogate.search(few, points=14, seed=0, objectives=2, cover=cover, least=least)
    assert len(cover.designs) == 14
    assert all(few.allows(design) for design in cover.designs)


def test_a_larger_space_is_drawn_from(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate, "POOL", 40)
    looked: list[Design] = []

    def bounds(designs: Sequence[Design]) -> list[tuple[float, ...]]:
        looked.extend(designs)
        return least(designs)

    cover = Costed()
    surrogate.search(space, points=16, seed=0, objectives=2, cover=cover, least=bounds)
    assert len(looked) == 40
    assert set(cover.designs) <= set(looked)


def test_where_all_fail_it_goes_on_with_others(space: Space) -> None:
    found = surrogate.search(space, points=20, seed=0, objectives=2, cover=lambda designs: [None] * len(designs), least=least)
    assert len(found) == 20


def test_it_begins_with_what_adds_most_by_its_bounds(space: Space) -> None:
    designs = list(space.designs())
    bounds = np.array(least(designs))
    scaled = (bounds - bounds.min(axis=0)) / np.ptp(bounds, axis=0)
    cover = Costed()
    surrogate.search(space, points=1, seed=0, objectives=2, cover=cover, least=least)
    assert cover.designs == [designs[int(np.argmax((1.1 - scaled).prod(axis=1)))]]


def test_a_design_without_bounds_is_no_better_than_others(space: Space) -> None:
    """It cannot be excluded, but is not taken for one that costs nothing."""
    unknown = {Design(0, (row, 3), 0) for row in range(ROWS)}
    cover = Costed()
    surrogate.search(
        space,
        points=12,
        seed=0,
        objectives=2,
        cover=cover,
        least=lambda designs: [(0.0, 0.0) if d in unknown else least([d])[0] for d in designs],
    )
    assert not unknown & set(cover.designs)


def test_a_search_says_what_is_proven_of_its_front(sweep_file: Sweep, tmp_path: Path) -> None:
    rows = {"from": 1, "to": 24, "step": 1}
    sample = {"method": "surrogate", "points": 4, "objectives": ["latency_s", "energy_normalized"]}
    told: list[tuple[int, int, str]] = []
    results = []
    for level in ("mid", "coarse"):
        path = sweep_file(networks=["tiny.yaml"], accelerators=swept(pe_array__rows=rows), levels=[level], sample=sample)
        results.append(
            sweep_run.run(path, tmp_path / level, store=False, progress=lambda *now: told.append(now))  # type: ignore[misc]
        )
    proof = results[0].proof
    assert proof is not None
    assert (proof.designs, proof.costed) == (24, 4)
    assert 0 < proof.within < 1
    assert told[0] == (24, 24, "lower bounds of designs")
    assert results[1].proof is None  # coarse has no mappings to bound


def test_it_can_be_interrupted_while_it_finds_bounds(
    sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"from": 1, "to": 10, "step": 1}
    sample = {"method": "surrogate", "points": 3, "objectives": ["latency_s", "energy_normalized"]}
    path = sweep_file(networks=["tiny.yaml"], accelerators=swept(pe_array__rows=rows), levels=["mid"], sample=sample)

    def interrupted(bounds: DesignBounds, design: Design) -> tuple[float, ...]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DesignBounds, "_of", interrupted)
        with pytest.raises(Interrupted) as stopped:
            sweep_run.run(path, tmp_path / "one", store=False)
    assert (stopped.value.result.points, stopped.value.result.proof) == (0, None)
    again, whole = (sweep_run.run(path, tmp_path / name, store=False) for name in ("one", "two"))
    assert again.proof == whole.proof
    assert tables(tmp_path / "one") == tables(tmp_path / "two")

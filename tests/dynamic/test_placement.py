"""The best placement: equal to trying everything, monotone in the limits, and exact where networks share units."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence

import pytest

from hwflow.dynamic.level_table import LevelTable, Row, front
from hwflow.dynamic.placement import Limits, Placement, Rank, ordered, rank
from hwflow.dynamic.placement_search import PlacementSearch, best_placement
from hwflow.errors import InputError
from tests.dynamic.rows import drawn, row


def options_of(tables: Sequence[LevelTable], *, pruned: bool) -> dict[str, list[Row]]:
    return {t.network: ordered(front(t.rows) if pruned else t.rows) for t in tables}


def by_trying(options: Mapping[str, Sequence[Row]], limits: Limits, weights: Mapping[str, float]) -> Rank:
    """The rank of the best of all placements."""
    names = list(options)
    ranks = []
    for rows in itertools.product(*((*options[name], None) for name in names)):
        units = [one.unit for one in rows if one is not None]
        if len(set(units)) == len(units):
            ranks.append(rank(rows, names, limits, [weights[name] for name in names]))
    return min(ranks)


def random_limits(draw: random.Random, networks: Sequence[str]) -> Limits:
    latency = draw.choice(
        [None, draw.uniform(0.5, 6), {name: draw.uniform(0.5, 6) for name in networks if draw.random() < 0.7}]
    )
    return Limits(latency, draw.choice([None, draw.uniform(0.5, 12)]), draw.choice([None, draw.uniform(0.2, 6)]))


def test_it_is_the_best_of_all_on_a_thousand_random_tables() -> None:
    """Though it looks at rows on the fronts of their units only."""
    draw = random.Random(0)
    for seed in range(1000):
        tables = drawn(seed, units=draw.randint(1, 3), levels=draw.randint(1, 4), clocks=draw.randint(1, 4))
        limits, weights = random_limits(draw, ["net0"]), {"net0": 1.0}
        found = best_placement(options_of(tables, pruned=True), limits, weights)
        assert found.rank == pytest.approx(by_trying(options_of(tables, pruned=False), limits, weights))


def test_it_is_the_best_of_all_where_networks_share_units() -> None:
    draw = random.Random(1)
    for seed in range(150):
        networks = draw.randint(2, 3)
        tables = drawn(seed, networks, units=draw.randint(1, 3), levels=2, clocks=2)
        names = [t.network for t in tables]
        limits, weights = random_limits(draw, names), {name: draw.choice([0.5, 1.0, 3.0]) for name in names}
        found = best_placement(options_of(tables, pruned=True), limits, weights)
        units = [one.unit for one in found.rows if one is not None]
        assert len(set(units)) == len(units)
        assert found.rank == pytest.approx(by_trying(options_of(tables, pruned=False), limits, weights))


def test_better_placements_than_a_rank_are_found_where_there_are_any() -> None:
    """Over many limits with one search, whose lists are kept: as many as there are latencies, at most."""
    draw, kinds = random.Random(4), set()
    for seed in range(25):
        networks = draw.randint(1, 3)
        tables = drawn(seed, networks, units=draw.randint(1, 3), levels=2, clocks=2)
        names = [t.network for t in tables]
        options, weights = options_of(tables, pruned=True), {name: draw.choice([0.5, 1.0, 3.0]) for name in names}
        search = PlacementSearch(options, weights)
        for _ in range(8):
            limits = random_limits(draw, names)
            best = by_trying(options, limits, weights)
            for than in (best, (*best[:2], best[2] + 0.01, *best[3:]), (0.0, 0.0, best[2] - 0.01, 0.0, 0.0), (9.0,) * 5):
                found, kept = search.best(limits, than), search.better(limits, than)
                assert (found is None) == (best >= than)
                assert found is None or found.rank == pytest.approx(best)
                assert (kept is None) == (best[:2] != (0, 0) or best[2:] >= than[2:])
                kinds.add((found is None, kept is None))
        assert all(len(own) <= len(options[name]) + 1 for name, own in zip(names, search._lists, strict=True))
    assert kinds == {(True, True), (False, False), (False, True)}


def test_a_looser_limit_never_lowers_accuracy() -> None:
    """Where the limits can be kept; where they cannot, what breaks them least may be any row."""
    draw, kept = random.Random(2), 0
    for seed in range(300):
        options = options_of(drawn(seed, 2, levels=2, clocks=2), pruned=True)
        limits, weights = random_limits(draw, list(options)), dict.fromkeys(options, 1.0)
        before = best_placement(options, limits, weights)
        if before.keeps_limits:
            kept += 1
            assert best_placement(options, limits.scaled(draw.uniform(1, 2)), weights).rank[2] <= before.rank[2]
    assert kept > 50


def test_the_order_of_what_counts() -> None:
    rows = [row(1, 100, 0.5, 1, 1), row(2, 100, 0.9, 2, 3), row(2, 200, 0.9, 1.5, 4), row(3, 100, 0.95, 9, 9)]

    def chosen(limits: Limits) -> Placement:
        return best_placement({"net": ordered(rows)}, limits, {"net": 1.0})

    assert chosen(Limits()).rows[0] == rows[3]
    assert chosen(Limits(latency_s=3)).rows[0] == rows[1]  # of equal accuracy that with less energy
    assert chosen(Limits(latency_s=1.8)).rows[0] == rows[2]
    assert chosen(Limits(power_w=1.2)).rows[0] == rows[3]  # 9 J in 9 s
    least = chosen(Limits(latency_s=0.5, energy_j=0.9))
    assert (least.rows[0], least.keeps_limits) == (rows[0], False)
    assert least.rank[1] == pytest.approx(1 + 1 / 9)


def test_where_units_are_few_the_heaviest_networks_run() -> None:
    options = {name: [row(network=name, unit="u")] for name in ("light", "heavy", "middle")}
    found = best_placement(options, Limits(), {"light": 1.0, "heavy": 3.0, "middle": 2.0})
    assert [one is not None for one in found.rows] == [False, True, False]
    assert found.rank[0] == 3
    assert not found.keeps_limits


def test_many_networks_are_placed_one_after_the_other_and_exchanged() -> None:
    """Never better than trying everything, seldom worse, and never two on one unit."""
    draw, equal = random.Random(3), 0
    for seed in range(40):
        tables = drawn(seed, 4, units=4, levels=1, clocks=1)
        options, weights = options_of(tables, pruned=True), {t.network: 1.0 for t in tables}
        limits = random_limits(draw, list(options))
        found, best = best_placement(options, limits, weights), best_placement(options, limits, weights, exhaustive=4)
        assert found.rank >= best.rank
        assert len({one.unit for one in found.rows if one is not None}) == 4
        equal += found.rank == pytest.approx(best.rank)
    assert equal >= 25


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "1"])
def test_limits_are_positive_numbers(value: object) -> None:
    for fields, name in (
        ({"latency_s": value}, "latency_s"),
        ({"power_w": value}, "power_w"),
        ({"latency_s": {"net": value}}, "latency_s of net"),
    ):
        with pytest.raises(InputError, match=f"the limit {name} is .*; it must be a number above 0, or None for no limit"):
            Limits(**fields)  # type: ignore[arg-type]

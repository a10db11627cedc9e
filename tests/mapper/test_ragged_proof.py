"""Bounds on mappings with imperfect factors against every one of them of small layers, and what they are worth."""

from __future__ import annotations

import itertools
import math
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import hwflow
from benchmarks.proofs import RAGGED_RECORDS, among, ragged_table, read, shape
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.hardware.storage_level import LevelConstraint
from hwflow.layers import DIMS, TENSORS, Layer
from hwflow.loopnest.nest import Batch, Nest, Verdict
from hwflow.mapper.bounds import OMITTED
from hwflow.mapper.objective import value
from hwflow.mapper.ragged_inside import Inside, spreads
from hwflow.mapper.ragged_outside import Outside
from hwflow.mapper.ragged_proof import VERSION, prove_ragged
from hwflow.mapper.ragged_space import RaggedSpace, lopsided
from hwflow.types import Objective
from tests.mapper.test_search import SMALLER, everything, tiny
from tests.mapper.test_search import value as values

OBJECTIVES = get_args(Objective)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "explanation" / "proofs.md"
_MANY = 30_000  # mappings; layers with more are left out
_NEAR, _OTHERS = 300, 100  # mappings analysed exactly: those with the least estimates, and some of the others


def chains(n: int, slots: int) -> list[tuple[int, ...]]:
    """All bounds, the innermost first, whose loops cover n with an outermost one that is no longer than necessary."""
    if slots == 0:
        return [()] if n == 1 else []
    return [(bound, *rest) for bound in range(1, n + 1) for rest in chains(-(-n // bound), slots - 1)]


def ways(nest: Nest, constraints: tuple[LevelConstraint, ...]) -> int:
    """The number of tilings."""
    count = 1
    for d, n in enumerate(nest.sizes.tolist()):
        slots = sum((DIMS[d] in rule.temporal) + (DIMS[d] in rule.spatial and rule.level.fanout > 1) for rule in constraints)
        count *= len(chains(n, slots)) if n > 1 and count <= _MANY else 1
    return count


def small_layer(rng: random.Random) -> Layer:
    """A layer with so few loops that all of its mappings can be tried."""
    kind, stride, dilation = rng.randrange(6), rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2])
    if kind < 2:
        return Layer("matrix", C=rng.choice([2, 3, 5, 7, 9]), M=rng.choice([3, 5, 6, 7]), N=rng.choice([1, 1, 2]))
    if kind == 2:
        return Layer("point", C=rng.choice([1, 3, 5]), M=rng.choice([1, 3, 4]), P=rng.choice([3, 5, 7]), strides=(stride, 1))
    if kind == 3:
        sides = {"P": rng.choice([3, 4, 5, 6, 7]), "R": rng.choice([2, 3, 5])}
        return Layer(
            "window", C=rng.choice([1, 2]), M=rng.choice([1, 2, 3]), **sides, strides=(stride, 1), dilations=(dilation, 1)
        )
    if kind == 4:
        sides = {"P": rng.choice([2, 3, 5]), "Q": rng.choice([1, 2, 3]), "R": rng.choice([2, 3]), "S": rng.choice([1, 2])}
        return Layer("square", C=1, M=1, **sides, strides=(stride, stride), dilations=(dilation, 1))
    return Layer("depthwise", C=1, M=1, G=rng.choice([3, 5]), P=rng.choice([3, 4, 5]), R=rng.choice([1, 3]))


def cases(count: int, seed: int) -> Iterator[tuple[Nest, tuple[LevelConstraint, ...], Objective, Batch, Verdict]]:
    """Random small layers on small chips, with the best of all mappings that the bounds cover, as a batch of one."""
    rng = random.Random(seed)
    while count:
        name, objective = rng.choice(["eyeriss", "shidiannao_like", "tpu_like"]), rng.choice(OBJECTIVES)
        bandwidth = rng.choice([0.01, 0.1, 0.72, 10.0])
        if name == "eyeriss":
            chip = tiny(rng.choice([4, 16, 64]), bandwidth)
        else:
            chip = Accelerator.load(name).with_({**SMALLER[name], "dram.bandwidth_gb_s": bandwidth})
        if rng.random() < 0.4:
            chip = chip.with_({"pe_array.rows": rng.choice([2, 3, 4]), "pe_array.columns": rng.choice([2, 3, 5])})
        constraints = constrain(chip, rng.choice([None, None, "flexible"]))
        nest = Nest(small_layer(rng), chip, normalized(chip))
        if RaggedSpace.of(nest, constraints) is None or not 1 < ways(nest, constraints) <= _MANY // 6:
            continue
        batch = everything(nest, constraints, chains)
        if batch.size > _MANY:
            continue
        batch, legal = batch.with_residuals(nest.sizes)
        batch = batch.take(legal.nonzero()[0])
        some = np.argsort(values(nest.evaluate(batch, with_links=False), objective), kind="stable")[:_NEAR].tolist()
        batch = batch.take(np.unique([*some, *rng.sample(range(batch.size), min(_OTHERS, batch.size))]))
        verdict = nest.evaluate(batch)
        honest = (verdict.omitted <= OMITTED * (verdict.energy + verdict.omitted)) & ~lopsided(batch)
        best = np.argmin(np.where(honest, values(verdict, objective), np.inf), keepdims=True)
        if not (honest & verdict.fits)[best[0]]:
            continue
        count -= 1
        yield nest, constraints, objective, batch.take(best), verdict.take(best)


def check(count: int, seed: int) -> int:
    """For how many layers the bound is within a hundredth of the best mapping; none may be above it."""
    near = 0
    for nest, constraints, objective, batch, verdict in cases(count, seed):
        found, best = prove_ragged(nest, constraints, objective, (batch, verdict)), value(verdict, objective)
        told = f"{nest.layer} on {nest.accelerator.label}, {objective}: bound {found.bound}, least {best}"
        assert found.bound > 0, told
        if found.better is None:  # the bound as it is, and not limited by the best value
            above = prove_ragged(nest, constraints, objective, (batch, _worse(verdict)), gap=1.0)
            assert above.bound <= best * (1 + 1e-9), told
            near += above.bound >= 0.99 * best
        else:
            assert value(found.better[1], objective) < best
            assert found.bound <= value(found.better[1], objective)
    return near


def _worse(verdict: Verdict) -> Verdict:
    """As if the mapping cost twice as much."""
    return replace(verdict, level_energy=verdict.level_energy * 2, mac_energy=verdict.mac_energy * 2, cycles=verdict.cycles * 2)


def test_no_mapping_of_small_layers_is_below_its_bound() -> None:
    assert check(8, seed=1) >= 1


@pytest.mark.slow
def test_no_mapping_of_many_small_layers_is_below_its_bound() -> None:
    assert check(300, seed=4) >= 50


def test_a_layer_without_windows_is_proven() -> None:
    layer = Layer("pointwise", C=64, M=128, P=28, Q=28, strides=(2, 2))
    for objective in ("energy", "edp"):
        plain = hwflow.map_layer(layer, "tpu_like", objective=objective, store=False)
        found = hwflow.map_layer(layer, "tpu_like", objective=objective, proof="gap", gap=0.001, store=False)
        assert plain.bound is not None
        assert found.bound is not None
        energy, cycles = found.cost.energy or 0.0, found.cost.cycles or 0
        reached = energy if objective == "energy" else energy * cycles
        assert plain.bound < 0.95 * reached
        assert 0.999 * reached <= found.bound <= reached


def test_tiles_of_the_bound_become_a_better_mapping() -> None:
    """One instance less per column, but all weights on the chip at once: with perfect factors the layer is read twice."""
    layer = Layer("pointwise", C=128, M=256, P=14, Q=14, strides=(2, 2))
    plain = hwflow.map_layer(layer, "eyeriss", objective="energy", store=False)
    found = hwflow.map_layer(layer, "eyeriss", objective="energy", proof="gap", gap=0.001, store=False)
    assert found.mapping.ragged
    assert (found.cost.energy or 0.0) < 0.85 * (plain.cost.energy or 0.0)
    assert found.bound is not None
    assert found.bound > 0.99 * (found.cost.energy or 0.0)


def test_what_it_does_not_cover_keeps_the_plain_bound() -> None:
    layer, chip = Layer("l", C=8, M=8, P=7), Accelerator.load("simba")
    assert RaggedSpace.of(Nest(layer, chip, normalized(chip)), constrain(chip)) is None
    plain = hwflow.map_layer(layer, chip, objective="energy", store=False)
    assert hwflow.map_layer(layer, chip, objective="energy", proof="gap", store=False).bound == plain.bound


def test_lopsided_mappings_are_told_apart() -> None:
    """Five channels on two instances: tiles of 2, 2 and 1, so that one instance has the last pass, with half a tile."""
    chip = tiny(64, 1.0)
    nest = Nest(Layer("l", C=1, M=5), chip, normalized(chip))
    temporal, spatial = (np.ones((len(nest.levels), len(DIMS), 2), dtype=np.int64) for _ in range(2))
    m, fan = DIMS.index("M"), next(k for k, level in enumerate(nest.levels) if level.fanout > 1)
    temporal[0, m], spatial[fan, m], temporal[-1, m] = (2, 1), (2, 2), (2, 3)
    order = np.tile(np.arange(len(DIMS), dtype=np.int8)[None, :, None], (len(nest.levels), 1, 2))
    batch, legal = Batch(temporal, spatial, order, ((m,),) * len(nest.levels)).with_residuals(nest.sizes)
    assert legal.all()
    assert lopsided(batch).tolist() == [True, False]


def one(
    layer: Layer, tile: dict[str, int], inner: dict[str, int], orders: tuple[str, str], across: dict[str, int] | None = None
) -> tuple[RaggedSpace, Verdict]:
    """One mapping: a tile in the register files, spatial loops over the rows, loops of the global buffer and the rest at DRAM,
    in two orders from the innermost outwards."""
    spads = {f"{name}_spad.size_words": 256 for name in ("input", "weight", "psum")}
    chip = tiny(4096, 1.0).with_({**spads, "pe_array.rows": 4})
    nest, constraints = Nest(layer, chip, normalized(chip)), constrain(chip, "flexible")
    space = RaggedSpace.of(nest, constraints)
    assert space is not None
    temporal, spatial = (np.ones((len(nest.levels), len(DIMS), 1), dtype=np.int64) for _ in range(2))
    loops = np.tile(np.arange(len(DIMS), dtype=np.int8)[None, :, None], (len(nest.levels), 1, 1))
    buffer = next(k for k, level in enumerate(nest.levels) if level.name == "global_buffer")
    for d, name in enumerate(DIMS):
        spatial[space.inner, d] = (across or {}).get(name, 1)
        temporal[0, d], temporal[buffer, d] = tile.get(name, 1), inner.get(name, 1)
        inside = tile.get(name, 1) * inner.get(name, 1) * int(spatial[space.inner, d, 0])
        temporal[-1, d] = -(-int(nest.sizes[d]) // inside)
    for k, order in zip((buffer, -1), orders, strict=True):
        first = [DIMS.index(d) for d in order]
        loops[k, :, 0] = [*first, *(d for d in range(len(DIMS)) if d not in first)]
    rows = tuple(range(len(DIMS)))
    spatial_order = tuple(rows if k == space.inner else () for k in range(len(nest.levels)))
    batch, legal = Batch(temporal, spatial, loops, spatial_order).with_residuals(nest.sizes)
    assert legal.all()
    return space, nest.evaluate(batch)


def test_neighbours_hand_words_of_a_window_on() -> None:
    """Three instances along a window, and steps of one: the buffer reads 3 + 5 words, and not 3 x 6."""
    space, verdict = one(Layer("l", C=1, M=1, Q=6, S=3), {}, {"Q": 6}, ("Q", "Q"), {"S": 3})
    inputs, buffer = TENSORS.index("inputs"), space.outer
    assert verdict.reads[buffer, inputs, 0] == 8
    some = spreads(space)
    costs = Inside(space).costs(space, some)
    s = DIMS.index("S")
    alone = [math.prod(spread.factors) == spread.factors[s] == spread.levels[space.inner][s] == 3 for spread in some]
    row = next(i for i, of in enumerate(costs.spread.tolist()) if alone[of] and costs.tiles[i].max() == 1)
    written = space.prices(space.kept[inputs][0])[1] * 3 * verdict.fills[space.kept[inputs][0], inputs, 0]
    moved = 8 * space.prices(buffer)[0] + written
    assert 0.5 * moved < costs.crossing[inputs, row] <= moved * (1 + 1e-9)


def test_truncated_instances_take_no_energy() -> None:
    """Five channels in three passes over two instances: 5 / 3 on average, of which Timeloop takes 1."""
    space, verdict = one(Layer("l", C=200, M=5, P=20), {"C": 200}, {"M": 3, "P": 20}, ("PM", "PM"), {"M": 2})
    assert verdict.omitted[0] > 0
    inside, some, m, c = Inside(space), spreads(space), DIMS.index("M"), DIMS.index("C")
    costs = inside.costs(space, some)
    alone = [math.prod(spread.factors) == spread.factors[m] == spread.levels[space.inner][m] == 2 for spread in some]
    fine = (costs.tiles[:, c] == 200) & (costs.tiles.prod(axis=1) == 200)
    row = next(i for i, of in enumerate(costs.spread.tolist()) if alone[of] and fine[i])
    spent = verdict.level_energy[: space.outer, 0].sum() + verdict.mac_energy[0]
    assert 0.8 * spent < costs.fixed[row] <= spent


def test_a_run_goes_on_where_the_last_pass_has_one_iteration() -> None:
    """Three weights in loops of 2 and 2, four positions between them: in the last pass the weight stays, so 2 x 4 + 1 words."""
    space, verdict = one(Layer("l", C=1, M=3, P=4), {}, {"M": 2, "P": 4}, ("MP", "MP"))
    outside, weights = Outside(space), TENSORS.index("weights")
    place = tuple(int(np.searchsorted(of, 1)) for of in outside.extents)
    assert verdict.reads[-1, weights, 0] == 9
    assert 3 * np.broadcast_to(outside.counted(weights, space.outer), outside.shape)[place] == pytest.approx(9)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (5, 2)])
def test_sweeps_of_a_window_send_no_less_than_is_counted(stride: int, dilation: int) -> None:
    """Splits of two loops along one axis over two levels, in both orders at each."""
    layer, inputs = Layer("l", C=1, M=1, P=6, R=4, strides=(stride, 1), dilations=(dilation, 1)), TENSORS.index("inputs")
    p, r, least, ways = DIMS.index("P"), DIMS.index("R"), np.inf, ("PR", "RP")
    for x, y, p0, r0, orders in itertools.product((1, 2), (1, 2, 4), (1, 2, 3), (1, 2), itertools.product(ways, ways)):
        if y * r0 > 4:
            continue
        space, verdict = one(layer, {"P": x, "R": y}, {"P": p0, "R": r0}, orders)
        outside = Outside(space)
        spad = next(k for k in range(len(verdict.fills)) if verdict.fills[k, inputs, 0])
        words = np.broadcast_to(outside._words(inputs), outside.shape)
        place = [0] * len(DIMS)
        place[p], place[r] = int(np.searchsorted(outside.extents[p], x)), int(np.searchsorted(outside.extents[r], y))
        ratio = verdict.fills[spad, inputs, 0] / words[tuple(place)]
        assert ratio >= 1 - 1e-9, f"tile {x} {y}, inside {p0} {r0}, {orders}"
        least = min(least, ratio)
    assert least < 1 + 1e-9


def test_the_page_has_the_table_of_the_records() -> None:
    """HWFLOW_REFRESH=1 writes the table, and the share of the layers of two networks, into the page."""
    records = read(RAGGED_RECORDS)
    assert all(record["version"] == VERSION for record in records)
    two = {shape({"layer": str(layer)}) for name in ("resnet18", "mobilenet_v2") for layer in hwflow.zoo(name).layers}
    printed = {"ragged": ragged_table(records), "ragged of two": ragged_table(among(records, two)).splitlines()[-1]}
    page = PAGE.read_text(encoding="utf-8")
    for name, text in printed.items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- end {name} -->"
        if os.environ.get("HWFLOW_REFRESH"):
            page = page[: page.index(start) + len(start)] + text + page[page.index(end) :]
            PAGE.write_text(page, encoding="utf-8")
        assert page[page.index(start) + len(start) : page.index(end)] == text


def test_at_least_half_of_the_records_are_within_a_hundredth() -> None:
    records = read(RAGGED_RECORDS)
    assert {r["accelerator"] for r in records} == set(presets())
    assert 2 * sum(1 - r["bound"] / r["best"] <= 0.01 for r in records) >= len(records) > 0

"""Ragged loops: by hand, against the point-by-point walk, and mixed with perfect ones in one batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwflow.cost import mid
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import DIMS, Layer
from hwflow.loopnest.batch import residuals
from hwflow.loopnest.disjoint_tiles import DisjointWalk
from hwflow.loopnest.imperfect_factors import Walk
from hwflow.loopnest.nest import Batch, Nest
from hwflow.loopnest.spans import Spans
from hwflow.mapping import Loop, Mapping
from hwflow.results import LayerCost
from tests.loopnest.cases import accelerators, energies, layers, mappings, triples
from tests.loopnest.simulator import simulate
from tests.loopnest.test_nest_by_hand import FLAT, ROW, cost, counts

Triple = tuple[Layer, Accelerator, Mapping]
FIELDS = ("reads", "fills", "updates", "tiles", "instances", "level_energy", "mac_energy", "compute_cycles", "cycles", "fits")
thorough = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
usual = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def outside_of(passes: int, loop: Loop) -> LayerCost:
    """A row of inputs, `loop` over it in the buffer, `passes` of it at DRAM."""
    layer = Layer("k", C=1, M=1, P=(passes - 1) * loop.bound + loop.residual)
    return cost(layer, FLAT, {"for": (("P", passes),)}, {"for": (loop,)})


def test_cycles_are_padded_and_the_arithmetic_is_not() -> None:
    row = outside_of(2, Loop("P", 4, 1))
    assert row.cycles == 8  # 2 x 4
    assert counts(row, "buffer", "inputs") == (5, 5, 0)
    assert row.energy_by_level["mac"] == 5


def test_a_short_last_tile_is_delivered_short_but_not_from_three_on() -> None:
    # Two tiles of 4 and 1.
    assert counts(outside_of(2, Loop("P", 4, 1)), "dram", "inputs") == (5, 0, 0)
    # Three: Timeloop takes the second's delta for the third's as well, directly above the tile: 4 + 4 + 4 for the 9 there are.
    assert counts(outside_of(3, Loop("P", 4, 1)), "dram", "inputs") == (12, 0, 0)
    # With a loop of another dimension between, the third is seen as it is: 2 (4 + 4 + 1).
    layer = Layer("k", C=2, M=1, P=9)
    row = cost(layer, FLAT, {"for": (("P", 3), ("C", 2))}, {"for": (Loop("P", 4, 1),)})
    assert counts(row, "dram", "inputs") == (18, 0, 0)


def test_fewer_columns_work_in_the_last_pass() -> None:
    # M = 11 over 4 columns: 4, 4 and 3 of them. On average 11 / 3, which Timeloop cuts off to 3.
    row = cost(Layer("k", C=1, M=11, P=2), ROW, {}, {"for": (("M", 3), ("P", 2)), "over": (Loop("M", 4, 3),)}, {})
    assert row.cycles == 6
    assert row.utilized_instances["spad"] == 3
    # All 11 weights are read once from the buffer, the two inputs in every pass, by multicast.
    assert counts(row, "buffer", "weights") == (11, 11, 0)
    assert counts(row, "buffer", "inputs") == (6, 2, 0)
    # The first spad multiplies in all three passes; three like it make 18 of the 22 multiplications.
    assert counts(row, "spad", "inputs")[0] == 6
    assert row.energy_by_level["mac"] == 18


def test_the_outermost_tile_is_the_layer() -> None:
    layer = Layer("k", C=1, M=1, P=7)
    row = cost(layer, FLAT, {"for": (("P", 2),)}, {"for": (Loop("P", 4, 3),)})
    assert counts(row, "dram", "outputs") == (0, 0, 7)


@thorough
@given(triples(ragged=True))
def test_counts_are_those_of_the_walk(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    row, walked = mid.analyse(layer, accelerator, mapping, energies(accelerator)), simulate(layer, accelerator, mapping)
    assert row.accesses == walked.accesses
    assert {name: row.utilized_instances[name] for name in walked.instances} == walked.instances
    assert row.cycles is not None
    assert row.cycles >= walked.compute_cycles


@usual
@given(triples(ragged=True))
def test_ragged_counts_are_positive_and_the_nest_survives(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    nest = Nest(layer, accelerator, energies(accelerator), tuple(m.keeps for m in reversed(mapping.levels)))
    batch = nest.batch_of(mapping)
    assert nest.mapping_of(batch, 0) == mapping
    assert bool(batch.ragged[0]) == mapping.ragged
    for exact in (True, False):
        verdict = nest.evaluate(batch, with_links=exact)
        for counted in (verdict.reads, verdict.fills, verdict.updates, verdict.level_energy):
            assert np.all(counted >= 0)
        assert np.all(verdict.cycles >= verdict.compute_cycles)
        assert np.all(verdict.instances >= 1)


@st.composite
def families(draw: st.DrawFn) -> tuple[Nest, list[Batch]]:
    """Several mappings of one layer on one chip, some of them ragged, that keep the same tensors."""
    layer, accelerator = draw(layers()), draw(accelerators())
    nest = Nest(layer, accelerator, energies(accelerator))
    singles = []
    for mapping in draw(st.lists(mappings(layer, accelerator, ragged=True), min_size=2, max_size=4)):
        levels = tuple(replace(m, spatial=sorted(m.spatial, key=lambda loop: DIMS.index(loop.dim))) for m in mapping.levels)
        single = replace(nest.batch_of(Mapping(levels)), spatial_order=(tuple(range(len(DIMS))),) * len(levels))
        if single.temporal_last is None:
            single = replace(single, temporal_last=single.temporal, spatial_last=single.spatial)
        singles.append(single)
    return nest, singles


@usual
@given(families())
def test_a_mixed_batch_is_judged_as_one_by_one(family: tuple[Nest, list[Batch]]) -> None:
    nest, singles = family
    names = ("temporal", "spatial", "order", "temporal_last", "spatial_last")
    batch = replace(singles[0], **{n: np.concatenate([getattr(s, n) for s in singles], axis=2) for n in names})
    for exact in (True, False):
        verdict = nest.evaluate(batch, with_links=exact)
        for b, single in enumerate(singles):
            alone = nest.evaluate(single, with_links=exact)
            for field in FIELDS:
                assert np.array_equal(getattr(verdict, field)[..., b], getattr(alone, field)[..., 0]), field
    assert np.array_equal(nest.evaluate(batch.take(np.array([1]))).cycles, nest.evaluate(singles[1]).cycles)


@usual
@given(triples())
def test_perfect_loops_with_residuals_are_perfect_loops(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    nest = Nest(layer, accelerator, energies(accelerator), tuple(m.keeps for m in reversed(mapping.levels)))
    plain = nest.batch_of(mapping)
    told, legal = plain.with_residuals(nest.sizes)
    assert legal.all()
    assert not told.ragged.any()
    for field in FIELDS:
        assert np.array_equal(getattr(nest.evaluate(plain), field), getattr(nest.evaluate(told), field)), field


@usual
@given(triples(ragged=True))
def test_residuals_follow_from_the_bounds(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    nest = Nest(layer, accelerator, energies(accelerator))
    batch = nest.batch_of(mapping)
    found, legal = replace(batch, temporal_last=None, spatial_last=None).with_residuals(nest.sizes)
    assert legal.all()
    assert nest.mapping_of(found, 0).levels == nest.mapping_of(batch, 0).levels


@pytest.mark.parametrize(
    ("bounds", "size", "expected"),
    [
        ([8, 5], 37, [5, 5]),
        ([4, 3, 2], 17, [1, 2, 2]),  # 16 = 0 + 4 (1 + 3 x 1)
        ([4, 1, 3], 9, [1, 1, 3]),
        ([8, 5], 41, [0, 0]),  # too few
        ([8, 5], 30, [6, 4]),  # the outer one is longer than it need be
    ],
)
def test_residuals_are_digits(bounds: list[int], size: int, expected: list[int]) -> None:
    assert residuals(np.array(bounds)[:, None], size)[:, 0].tolist() == expected


def test_bounds_that_do_not_walk_over_the_layer_are_told_apart() -> None:
    nest = Nest(Layer("k", C=1, M=1, P=7), FLAT, energies(FLAT))
    temporal = np.ones((2, len(DIMS), 4), dtype=np.int64)
    temporal[:, DIMS.index("P")] = [[4, 4, 3, 1], [2, 3, 2, 7]]  # 4 in the buffer by 2 at DRAM, and so on
    order = np.broadcast_to(np.arange(len(DIMS), dtype=np.int8)[None, :, None], temporal.shape)
    batch, legal = Batch(temporal, np.ones_like(temporal), order, ((), ())).with_residuals(nest.sizes)
    assert legal.tolist() == [True, False, False, True]
    assert batch.ragged[legal].tolist() == [True, False]


@thorough
@given(triples(ragged=True))
def test_disjoint_tiles_are_counted_as_by_the_walk(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    nest = Nest(layer, accelerator, energies(accelerator))
    nesting = Spans(nest.batch_of(mapping), nest.sizes, exact=True).nesting(0) if mapping.ragged else None
    for shape in nest.shapes if nesting is not None else ():
        for level in range(1, len(nest.levels)) if not shape.windows else ():
            disjoint, walked = (way(nesting, shape.coefficients, level).crossing() for way in (DisjointWalk, Walk))
            assert disjoint == walked

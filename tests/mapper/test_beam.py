"""The search's model of tilings: the lattice of tiles, and scores against the exact analysis."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.layers import DIMS, Layer
from hwflow.loopnest.nest import Nest
from hwflow.mapper import search
from hwflow.mapper.beam import Beam
from hwflow.mapper.layer_facts import LayerFacts
from hwflow.mapper.partial_mapping import hashed
from hwflow.mapper.remaining_cost import beaten, begun_at
from hwflow.mapper.tile_lattice import MOST, Lattice, lattice_of, least_of_multiples, powers, spreads, steps, together

SIZES = (1, 1, 12, 6, 8, 1, 3, 1)
EVERY = np.ones(len(DIMS), dtype=np.bool_)
OTHER = (1, 1, 9, 8, 10, 1, 3, 1)
LATTICE = lattice_of(SIZES)
PAIRS = np.array(list(itertools.product(range(LATTICE.size), repeat=2))).T


@pytest.mark.parametrize("n", [1, 2, 12, 97, 360, 2 * 1_000_003])
def test_powers_of_primes_multiply_to_the_number(n: int) -> None:
    found = powers(n)
    assert math.prod(p**e for p, e in found) == n
    assert all(p > 1 and e > 0 and all(p % q for q in range(2, min(p, 1000))) for p, e in found)


def test_the_lattice_holds_every_tile_once() -> None:
    tiles = {tuple(tile) for tile in LATTICE.tiles.T.tolist()}
    assert tiles == set(itertools.product(*([d for d in range(1, n + 1) if n % d == 0] for n in SIZES)))
    assert len(tiles) == LATTICE.size
    assert (LATTICE.places(LATTICE.tiles.T) == np.arange(LATTICE.size)).all()


@pytest.mark.parametrize(
    "sizes", [(3, 1, 5040, 120, 60, 60, 3, 3), (2**13, 2**13, 2**12, 2**12, 2**12, 2**12, 1, 1), (30030,) * 8]
)
def test_layers_of_very_many_divisors_get_a_coarser_lattice(sizes: tuple[int, ...]) -> None:
    assert [math.prod(b**e for b, e in of) for of in steps(sizes)] == list(sizes)
    assert all(math.gcd(b, c) == 1 for of in steps(sizes) for (b, _), (c, _) in itertools.combinations(of, 2))
    coarse = lattice_of(sizes)
    assert not coarse.complete
    assert MOST / 32 < coarse.size <= MOST
    assert (coarse.tiles[:, -1] == sizes).all()
    assert (coarse.places(coarse.tiles.T) == np.arange(coarse.size)).all()
    ways = spreads(sizes, (True,) * len(sizes), 64)
    assert len(ways) > 1
    assert (ways == coarse.tiles[:, coarse.places(ways)].T).all()


def test_a_lattice_with_all_divisors_says_so() -> None:
    assert LATTICE.complete


def test_masks_tell_divisors_and_places_add() -> None:
    small, large = PAIRS
    divides = (LATTICE.tiles[:, large] % LATTICE.tiles[:, small] == 0).all(axis=0)
    assert (((LATTICE.masks[small] & ~LATTICE.masks[large]) == 0) == divides).all()
    small, large = small[divides], large[divides]
    assert (LATTICE.tiles[:, large - small] * LATTICE.tiles[:, small] == LATTICE.tiles[:, large]).all()


def test_bits_are_those_of_some_dimensions() -> None:
    some = np.array([d in ("C", "R") for d in DIMS])
    fixed = LATTICE.bits(some)
    same = (LATTICE.tiles[some][:, PAIRS[0]] == LATTICE.tiles[some][:, PAIRS[1]]).all(axis=0)
    assert (((LATTICE.masks[PAIRS[0]] ^ LATTICE.masks[PAIRS[1]]) & fixed == 0) == same).all()


@pytest.mark.parametrize("lattice", [LATTICE, lattice_of(SIZES, OTHER)])
@pytest.mark.parametrize("some", [DIMS, "CMR", "P", ""])
def test_the_least_of_all_multiples(lattice: Lattice, some: str) -> None:
    dims = np.array([d in some for d in DIMS])
    spanning = lattice.spanning(dims)
    assert (spanning == (lattice.tiles[~dims] == 1).all(axis=0)).all()
    tiles, origin = lattice.tiles[:, spanning], lattice.origin[spanning]
    values = np.random.default_rng(0).uniform(size=(2, len(origin)))
    multiples = (tiles[:, None, :] % tiles[:, :, None] == 0).all(axis=0) & (origin == origin[:, None])
    assert (least_of_multiples(values, lattice, dims) == np.where(multiples, values[:, None, :], np.inf).min(axis=2)).all()


def test_one_lattice_of_several_layers_is_that_of_each() -> None:
    both = lattice_of(SIZES, OTHER, SIZES)
    for i, sizes in enumerate((SIZES, OTHER, SIZES)):
        alone, (start, stop, _) = lattice_of(sizes), both.parts[i]
        assert (both.tiles[:, start:stop] == alone.tiles).all()
        assert (both.share(EVERY)[start:stop] == alone.share(EVERY)).all()
        assert (both.share(EVERY)[start:stop] == np.arange(alone.size)).all()
        assert (both.origin[start:stop] == start).all()
        assert (both.rest[start:stop] == alone.rest + start).all()
        assert (both.tiles[:, start:stop] * both.tiles[:, both.rest[start:stop]] == np.array(sizes)[:, None]).all()
        assert (both.places(alone.tiles.T, i) == np.arange(start, stop)).all()
    small, large = np.indices((both.size, both.size))
    divides = (both.tiles[:, large] % both.tiles[:, small] == 0).all(axis=0) & (both.origin[small] == both.origin[large])
    assert (((both.masks[small] & ~both.masks[large]) == 0) == divides).all()
    whole = both.bits(np.array([d in "CR" for d in DIMS]))
    reached = np.isin(np.arange(both.size), both.rest) & (
        both.tiles[[2, 6]] == both.tiles[:, both.rest[both.origin]][[2, 6]]
    ).all(axis=0)
    assert (((both.masks & whole) == whole) == reached).all()


def test_so_many_layers_share_a_lattice_as_have_room_in_its_masks() -> None:
    assert together([SIZES] * 40) == 40
    large = (1, 1, 2**20, 2**20, 2**14, 1, 1, 1)  # 54 bits, so 8 for numbers and their complements
    assert together([large] * 40) == 16
    masks = lattice_of(*[large] * 2).masks
    assert (masks > 0).all()
    assert together([large, (1, 1, 3**12, 2**20, 2**14, 2**9, 1, 1)]) == 1


def test_columns_that_differ_have_different_numbers() -> None:
    """Whole numbers as floats differ in their upper bits only, which products modulo 2**64 must not lose."""
    grid = np.array(list(itertools.product(range(1, 40), repeat=2)), dtype=np.float64).T
    numbers = hashed([grid, np.repeat(grid[:1], 2, axis=0) > 20])
    assert len(np.unique(numbers)) == grid.shape[1]
    twice = np.concatenate([grid, grid], axis=1)
    assert (hashed([twice])[: grid.shape[1]] == hashed([twice])[grid.shape[1] :]).all()


@pytest.mark.parametrize("name", ["eyeriss", "simba", "tpu_like", "shidiannao_like"])
@pytest.mark.parametrize("objective", ["energy", "edp"])
@pytest.mark.parametrize("layer", [Layer("wide", C=24, M=48, P=28, Q=28), Layer("deep", C=256, M=4, P=28, Q=28)])
def test_without_windows_scores_are_what_the_analysis_says(name: str, objective: search.Objective, layer: Layer) -> None:
    """Only rounding is left out: the order that a dataflow forces (simba: P, Q, N inside) is not."""
    chip = Accelerator.load(name)
    constraints = constrain(chip)
    nest = Nest(layer, chip, normalized(chip))
    beam = Beam.of(nest, constraints, objective)
    state = beam.explore(200, 24).tilings
    scores = beam.score(state)
    for i in range(state.size):
        verdict = nest.evaluate(search._ordered(beam, state.take(np.array([i])), constraints), with_links=False)
        exact = verdict.energy * (verdict.cycles if objective == "edp" else 1)
        assert float(exact[verdict.fits].min()) == pytest.approx(float(scores[i]), rel=2e-3)


shapes = st.builds(
    lambda sizes, strides, dilations: Layer(
        "l", **dict(zip("CMPQRS", sizes, strict=True)), strides=strides, dilations=dilations
    ),
    st.tuples(*[st.sampled_from([1, 2, 4, 6, 8, 12])] * 4, *[st.sampled_from([1, 2, 3, 6])] * 2),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.tuples(*[st.integers(1, 4)] * 2),
)


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from(["eyeriss", "simba", "shidiannao_like"]), st.booleans())
def test_a_multiple_that_beats_a_tile_costs_no_more(layer: Layer, name: str, sound: bool) -> None:
    """The search looks only at tiles that no multiple beats; here the costs of all are compared."""
    chip = Accelerator.load(name)
    facts = LayerFacts.of(Nest(layer, chip, normalized(chip)), constrain(chip), sound=sound)
    lattice = facts.tiles.lattice
    for k in sorted({t.low for t in facts.prices.transfers if t.low >= 0}):
        room, worse = facts.levels[k].room, beaten(facts, k)
        _, begun = begun_at(facts, k, room)
        costs = np.full((*begun.shape[:2], lattice.size), np.inf)
        costs[:, :, room] = begun
        for d, _, exponent, stride in lattice.parts[0].axes:
            loses = worse[d] & np.isin(np.arange(lattice.size), room)
            digit = np.arange(lattice.size) // stride % (exponent + 1)
            tiles = np.flatnonzero(loses & (digit < exponent))
            fits = tiles[np.isin(tiles + stride, room)]
            assert (costs[:, :, fits + stride] <= costs[:, :, fits] * (1 + 1e-12)).all()
        peaks = ~worse.any(axis=0)[room]
        assert peaks.any()
        assert costs[:, :, room[peaks]].min(axis=(0, 2)) == pytest.approx(costs[:, :, room].min(axis=(0, 2)), rel=1e-12)


def test_strides_over_gaps_are_no_reason_to_leave_tiles_out() -> None:
    """With a stride of 2 and windows of 1 a tile's hull holds every second word for nothing: larger ones cost more."""
    chip = Accelerator.load("eyeriss")
    for stride, skips in ((1, set()), (2, {"P", "Q"})):
        layer = Layer("l", C=4, M=4, P=8, Q=8, strides=(stride, stride))
        facts = LayerFacts.of(Nest(layer, chip, normalized(chip)), constrain(chip))
        assert {DIMS[d] for d, tiles in facts.tiles.skips.items() if tiles.any()} == skips


def test_layers_searched_together_have_the_scores_that_they_have_alone() -> None:
    chip, layer = Accelerator.load("eyeriss"), Layer("l", C=10, M=13, P=14, Q=7, R=3, S=3)
    nest, constraints, padded = (
        Nest(layer, chip, normalized(chip)),
        constrain(chip),
        [(1, 1, 10, 14, 14, 8, 3, 3), (1, 1, 12, 13, 14, 7, 3, 3)],
    )
    together = Beam.of(nest, constraints, "edp", padded=padded)
    state = together.explore(3000, 200).tilings
    part = np.searchsorted([p.stop for p in together.facts.tiles.lattice.parts], state.place, side="right")
    assert set(part) == {0, 1}
    for i, sizes in enumerate(padded):
        alone = Beam.of(nest, constraints, "edp", padded=[sizes])
        found = alone.explore(3000, 200).tilings
        best = np.sort(together.score(state)[part == i])[:10]
        assert best == pytest.approx(np.sort(alone.score(found))[:10], rel=1e-12)


def test_a_layer_padded_to_its_own_size_is_searched_as_ever() -> None:
    chip, layer = Accelerator.load("simba"), Layer("l", C=24, M=12, P=14, Q=14, R=3, S=3)
    nest, constraints = Nest(layer, chip, normalized(chip)), constrain(chip)
    first, second = (
        Beam.of(nest, constraints, "edp", padded=p).explore(300, 24).tilings for p in ([], [tuple(nest.sizes.tolist())])
    )
    assert (first.score == second.score).all()
    assert (first.history == second.history).all()

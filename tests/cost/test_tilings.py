"""The search's model of tilings: the lattice of tiles, and scores against the exact analysis."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from hwflow.accelerator import Accelerator
from hwflow.cost import mapper
from hwflow.cost.lattice import MOST, lattice_of, least_of_multiples, powers, spreads, steps
from hwflow.cost.nest import Nest
from hwflow.cost.partials import hashed
from hwflow.cost.tilings import Tilings
from hwflow.dataflow import constrain
from hwflow.energy import normalized
from hwflow.layers import DIMS, Layer

SIZES = (1, 1, 12, 6, 8, 1, 3, 1)
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


def test_the_least_of_all_multiples() -> None:
    values = np.random.default_rng(0).uniform(size=(2, LATTICE.size))
    multiples = (LATTICE.tiles[:, None, :] % LATTICE.tiles[:, :, None] == 0).all(axis=0)
    assert (least_of_multiples(values, LATTICE) == np.where(multiples, values[:, None, :], np.inf).min(axis=2)).all()


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
def test_without_windows_scores_are_what_the_analysis_says(name: str, objective: mapper.Objective, layer: Layer) -> None:
    """Only rounding is left out: the order that a dataflow forces (simba: P, Q, N inside) is not."""
    chip = Accelerator.load(name)
    constraints = constrain(chip)
    nest = Nest(layer, chip, normalized(chip))
    tilings = Tilings(nest, constraints, objective)
    state, _ = tilings.explore(200, 24)
    scores = tilings.score(state)
    for i in range(state.size):
        verdict = nest.evaluate(mapper._ordered(tilings, state.take(np.array([i])), constraints), with_links=False)
        exact = verdict.energy * (verdict.cycles if objective == "edp" else 1)
        assert float(exact[verdict.fits].min()) == pytest.approx(float(scores[i]), rel=2e-3)

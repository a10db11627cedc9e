"""Proofs against every mapping of small layers, and what they are worth on layers of published networks."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest

import hwflow
from hwflow.cost.mid import map_layer
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.layers import DIMS, Layer
from hwflow.loopnest.nest import Batch, Nest
from hwflow.mapper import proof
from hwflow.mapper.layer_facts import LayerFacts
from hwflow.mapper.objective import value
from hwflow.mapper.proof import Room, prove
from hwflow.types import Objective
from tests.mapper.test_search import SMALLER, everything, tiny
from tests.mapper.test_search import value as values

OBJECTIVES = get_args(Objective)
_MANY = 60_000  # mappings; layers with more are left out


def small_layer(rng: random.Random) -> Layer:
    """A layer with so few loops that all of its mappings can be tried."""
    kind = rng.randrange(5)
    stride, dilation = rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2])
    if kind == 0:
        return Layer("matrix", C=rng.choice([2, 3, 4, 6]), M=rng.choice([2, 4, 5]), N=rng.choice([1, 2]))
    if kind == 1:
        return Layer("window", C=rng.choice([1, 2]), M=1, P=rng.choice([2, 4, 6]), R=rng.choice([2, 3]), strides=(stride, 1))
    if kind == 2:
        sides = {"P": rng.choice([2, 3, 4]), "Q": rng.choice([1, 2]), "R": rng.choice([2, 3]), "S": rng.choice([1, 2])}
        return Layer("square", C=1, M=1, **sides, strides=(stride, stride), dilations=(dilation, 1))
    if kind == 3:
        return Layer("depthwise", C=1, M=1, G=rng.choice([2, 4]), P=rng.choice([2, 3, 4]), R=rng.choice([2, 3]))
    return Layer("wide", C=2, M=2, Q=rng.choice([2, 4]), S=rng.choice([2, 4]), strides=(1, stride), dilations=(1, dilation))


def cases(count: int, seed: int) -> Iterator[tuple[Nest, tuple, Objective, np.ndarray]]:
    """Random small layers on small versions of the presets, with the objective of every mapping, links included."""
    rng = random.Random(seed)
    while count:
        name, objective = rng.choice(sorted(presets())), rng.choice(OBJECTIVES)
        bandwidth = rng.choice([0.01, 0.1, 0.72, 10.0])
        if name.startswith("eyeriss"):
            chip = tiny(rng.choice([2, 4, 16, 64]), bandwidth)
        else:
            chip = Accelerator.load(name).with_({**SMALLER[name], "dram.bandwidth_gb_s": bandwidth})
        constraints = constrain(chip, rng.choice([None, None, "flexible"]))
        nest = Nest(small_layer(rng), chip, normalized(chip))
        batch = everything(nest, constraints)
        if 0 < batch.size <= _MANY:
            count -= 1
            yield nest, constraints, objective, values(nest.evaluate(batch), objective)


def check(count: int, seed: int) -> int:
    """How many proofs are complete; each must be right."""
    complete = 0
    for nest, constraints, objective, all_values in cases(count, seed):
        best = float(all_values.min())
        if not math.isfinite(best):
            continue
        for known in (best, best * 1.3):  # of the best mapping, and of a worse one that a search might have found
            found = prove(nest, constraints, objective, known, proof.USUAL)
            told = f"{nest.layer} on {nest.accelerator.label}, {objective}: bound {found.bound}, least {best}"
            assert found.bound <= best * (1 + 1e-8), told
            if found.complete and found.bound:
                complete += 1
                assert found.bound == pytest.approx(best, rel=2e-9), told
                if known > best:
                    assert found.better is not None
                    assert value(found.better[1], objective) == pytest.approx(best, rel=1e-9), told
    return complete


def test_proofs_agree_with_every_mapping_of_small_layers() -> None:
    assert check(6, seed=1) >= 8  # each layer twice; few have no sound scores


@pytest.mark.slow
def test_proofs_agree_with_every_mapping_of_many_small_layers() -> None:
    assert check(400, seed=2) >= 600


PUBLISHED = [
    pytest.param(name, objective, marks=[pytest.mark.slow] if (name, objective) == ("simba", "energy") else [])
    for name in ("eyeriss", "simba", "tpu_like")
    for objective in OBJECTIVES
]


@pytest.mark.parametrize(("name", "objective"), PUBLISHED)
def test_layers_of_published_networks_are_proven(name: str, objective: Objective) -> None:
    layers = hwflow.zoo("resnet18").layers
    for layer in (layers[1], layers[-1]):
        found = hwflow.map_layer(layer, name, objective=objective, ragged=False, proof="optimal", store=False)
        assert found.perfect_bound is not None
        energy, cycles = found.cost.energy or 0.0, found.cost.cycles or 0
        reached = {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]
        assert 0.999 * reached <= found.perfect_bound * (1 + 1e-9)
        assert found.perfect_bound <= reached


@pytest.mark.parametrize(
    ("p", "r", "stride", "dilation"), [(3, 3, 1, 1), (9, 3, 1, 1), (7, 3, 1, 1), (4, 6, 1, 2), (9, 3, 3, 1), (8, 9, 2, 1)]
)
def test_words_of_windows_that_move_back_are_bounded(p: int, r: int, stride: int, dilation: int) -> None:
    """Timeloop takes the second position of a loop for its last: after a loop over 3, a step of 1 brings the window back."""
    chip = tiny(16, 0.1)
    constraints = constrain(chip, "flexible")
    nest = Nest(Layer("w", C=1, M=1, P=p, R=r, strides=(stride, 1), dilations=(dilation, 1)), chip, normalized(chip))
    tiles = LayerFacts.of(nest, constraints, sound=True).tiles
    spad = next(k for k, level in enumerate(nest.levels) if level.name == "input_spad")
    dims = [DIMS.index("P"), DIMS.index("R")]
    unit, everything_left = np.array([0]), np.array([tiles.lattice.size - 1])
    for first, last in (dims, dims[::-1]):
        loops = np.ones((len(nest.levels), len(DIMS), 1), dtype=np.int64)
        loops[-1, dims, 0] = p, r
        order = np.array([first, last, *(d for d in range(len(DIMS)) if d not in dims)], dtype=np.int8)
        batch = Batch(loops, np.ones_like(loops), np.tile(order[None, :, None], (len(loops), 1, 1)), ((),) * len(loops))
        moved = float(nest.evaluate(batch).fills[spad, 1, 0])
        slide = next(s for s, slide in enumerate(tiles.slides) if slide.dim == first)
        part = tiles.overlap(tiles.slides[slide], unit, unit)
        assert p * r * float(tiles.renewed(slide, part, unit, everything_left, spread=False)[0]) <= moved
        assert p * r * float(tiles.least_halo(unit, unit, spread=False)[0]) <= moved


def test_without_room_a_proof_says_less_but_nothing_wrong() -> None:
    chip = Accelerator.load("eyeriss")
    nest, constraints = Nest(Layer("l", C=32, M=64, P=28, Q=28, R=3, S=3), chip, normalized(chip)), constrain(chip)
    known = value(nest.evaluate(nest.batch_of(map_layer(nest.layer, chip, constraints, nest.table).mapping)), "edp")
    full = prove(nest, constraints, "edp", known, proof.USUAL)
    assert full.complete
    for room in (Room(5, 1 << 18), Room(24_000, 1)):
        less = prove(nest, constraints, "edp", known, room)
        assert not less.complete
        assert 0 < less.bound < full.bound


def test_a_gap_is_proven_sooner_and_kept() -> None:
    found = [
        hwflow.map_layer(
            Layer("l", C=16, M=16, P=16, Q=16, R=3, S=3), "eyeriss", ragged=False, proof="gap", gap=gap, store=False
        )
        for gap in (0.0, 0.05)
    ]
    exact, near = found
    assert exact.proven_optimal
    assert exact.bound == pytest.approx(exact.cost.energy * exact.cost.cycles, rel=2e-9)
    assert near.bound == pytest.approx(0.95 * near.cost.energy * near.cost.cycles)
    assert not near.proven_optimal

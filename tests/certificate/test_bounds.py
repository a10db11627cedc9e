"""The bounds of certificates against every mapping of small layers."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest

from hwflow.certificate.bounds import Bounds, Way
from hwflow.certificate.space import Space
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.layers import Bits, Layer
from hwflow.types import Objective
from tests.mapper.test_proof import cases


def least(bounds: Bounds, rng: random.Random, enough: float) -> float:
    """The least over all spatial mappings of the best bound that a few ways give."""
    rates = tuple(bounds.rates)
    some = () if bounds.objective == "energy" else (rates[-1], rng.choice(rates))
    mixed = ((rng.choice(rates), rng.random()),)
    simple = dict(zip(bounds.spreads, bounds.simple.tolist(), strict=True))
    open_ = [spread for spread, bound in simple.items() if bound < enough]
    found = [bounds.of([(spread, way) for spread in open_]) for way in (Way(False), Way(True, some), Way(True, some, mixed))]
    for spread, *three in zip(open_, *found, strict=True):
        assert [*three, math.inf] == pytest.approx(sorted([*three, math.inf]))
        assert simple[spread] <= three[0] * (1 + 1e-9)
        simple[spread] = three[-1]
    return float(min(simple.values()))


def compared(count: int, seed: int) -> Iterator[float]:
    """For random small layers, the bound over the least objective of all mappings; it must not be above 1."""
    rng = random.Random(seed)
    for nest, constraints, objective, values in cases(count, seed):
        best = float(values.min())
        if not math.isfinite(best):
            continue
        bounds = Bounds(Space.of(nest.layer, nest.accelerator, nest.table, constraints), objective)
        ratio = least(bounds, rng, best) / best
        assert ratio <= 1 + 1e-9, f"{nest.layer} on {nest.accelerator.label}, {objective}: {ratio} of the least, {best}"
        yield ratio


def test_bounds_hold_for_every_mapping_of_small_layers() -> None:
    ratios = list(compared(10, seed=11))
    assert np.median(ratios) > 0.999  # most are exact


@pytest.mark.slow
def test_bounds_hold_for_every_mapping_of_many_small_layers() -> None:
    ratios = list(compared(400, seed=12))
    assert sum(ratio > 0.999 for ratio in ratios) > 0.6 * len(ratios)


@pytest.mark.parametrize("objective", ["energy", "latency", "edp"])
def test_every_spatial_mapping_is_counted_once(objective: Objective) -> None:
    chip = Accelerator.load("tpu_like")
    layer = Layer("l", C=6, M=4, P=2, R=3)
    bounds = Bounds(Space.of(layer, chip, normalized(chip), constrain(chip)), objective)
    # M over 256 columns, C and R over 256 rows
    assert len(set(bounds.spreads)) == len(bounds.spreads) == 3 * 4 * 2
    assert len(bounds.simple) == len(bounds.spreads)


def test_what_certificates_do_not_cover_is_refused() -> None:
    chip = Accelerator.load("eyeriss")
    for layer, why in (
        (Layer("up", C=2, M=2, P=4, Q=4, R=2, S=2, strides=(2, 2), type="conv_transpose"), "'up', a transposed convolution"),
        (Layer("narrow", C=2, M=2, bits=Bits(8, 8, 8)), r"'narrow', whose widths \(bits=\(8, 8, 8\)\) may differ"),
    ):
        with pytest.raises(InputError, match=why):
            Space.of(layer, chip, normalized(chip), constrain(chip))

"""The mapping search against exhaustive enumeration, its bounds, and its sense."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwflow.cost import mid
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import LevelConstraint, constrain, load_dataflow
from hwflow.hardware.energy_table import EnergyTable, PartEnergy, normalized
from hwflow.layers import DIMS, Layer
from hwflow.loopnest.nest import Batch, Nest, Verdict
from hwflow.mapper import search

ROOT = Path(__file__).resolve().parents[2]
OBJECTIVES = get_args(search.Objective)


def value(verdict: Verdict, objective: str) -> np.ndarray:
    scores = {"energy": verdict.energy, "latency": verdict.cycles, "edp": verdict.energy * verdict.cycles}[objective]
    return np.where(verdict.fits, scores, np.inf)


def splits(n: int, slots: int) -> list[tuple[int, ...]]:
    if slots == 0:
        return [()] if n == 1 else []
    return [(f, *rest) for f in range(1, n + 1) if n % f == 0 for rest in splits(n // f, slots - 1)]


Splits = Callable[[int, int], list[tuple[int, ...]]]


def everything(nest: Nest, constraints: tuple[LevelConstraint, ...], splits: Splits = splits) -> Batch:
    """Every mapping within the constraints, for tiny layers: bounds as `splits` has them, every order."""
    levels = list(reversed(constraints))
    active = [d for d, n in enumerate(nest.sizes) if n > 1]
    slots = {
        d: [
            (k, s)
            for k, c in enumerate(levels)
            for s, dims in ((0, c.temporal), (1, c.spatial if c.level.fanout > 1 else ()))
            if DIMS[d] in dims
        ]
        for d in active
    }
    temporal, spatial, orders = [], [], []
    for ways in itertools.product(*(splits(int(nest.sizes[d]), len(slots[d])) for d in active)):
        bounds = np.ones((2, len(levels), len(DIMS)), dtype=np.int64)
        for d, way in zip(active, ways, strict=True):
            for (k, s), factor in zip(slots[d], way, strict=True):
                bounds[s, k, d] = factor
        if any(bounds[1, k].prod() > c.level.fanout for k, c in enumerate(levels)):
            continue
        choices = []
        for k, c in enumerate(levels):
            loops = [d for d in active if bounds[0, k, d] > 1]
            forced = [DIMS.index(d) for d in c.innermost if DIMS.index(d) in loops]
            free = [d for d in loops if d not in forced]
            choices.append(
                [(*forced, *p, *(d for d in range(len(DIMS)) if d not in loops)) for p in itertools.permutations(free)]
            )
        for order in itertools.product(*choices):
            temporal.append(bounds[0])
            spatial.append(bounds[1])
            orders.append(order)
    spatial_order = tuple(tuple(DIMS.index(d) for d in c.spatial) if c.level.fanout > 1 else () for c in levels)
    return Batch(
        np.moveaxis(np.array(temporal), 0, 2),
        np.moveaxis(np.array(spatial), 0, 2),
        np.moveaxis(np.array(orders, dtype=np.int8), 0, 2),
        spatial_order,
    )


def tiny(buffer_words: int, bandwidth: float) -> Accelerator:
    return Accelerator.load("eyeriss").with_(
        {
            "pe_array.rows": 2,
            "pe_array.columns": 2,
            "global_buffer.size_kib": buffer_words * 4 / 512,
            "global_buffer.banks": 1,
            "input_spad.size_words": 4,
            "weight_spad.size_words": 4,
            "psum_spad.size_words": 2,
            "dram.bandwidth_gb_s": bandwidth,
        }
    )


layers = st.one_of(
    st.builds(lambda a, b, c: Layer("pointwise", C=a, M=b, P=c), *(st.sampled_from([1, 2, 3, 4]),) * 3),
    st.builds(lambda a, b: Layer("window", C=1, M=b, P=a, R=3), st.sampled_from([2, 4]), st.sampled_from([1, 2])),
    st.builds(
        lambda a, s: Layer("strided", C=2, M=1, Q=a, S=3, strides=(s, s)), st.sampled_from([2, 4]), st.sampled_from([1, 2])
    ),
    st.builds(lambda g, a: Layer("depthwise", C=1, M=1, G=g, P=a, R=2), st.sampled_from([2, 4]), st.sampled_from([2, 3])),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    layers,
    st.sampled_from(OBJECTIVES),
    st.sampled_from([None, "flexible"]),
    st.sampled_from([2, 4, 16]),
    st.sampled_from([0.1, 0.72, 10.0]),
)
def test_bounds_are_sound_and_proofs_hold(
    layer: Layer, objective: search.Objective, dataflow: str | None, words: int, bandwidth: float
) -> None:
    compare(layer, tiny(words, bandwidth), dataflow, objective)


def compare(layer: Layer, chip: Accelerator, dataflow: str | None, objective: search.Objective) -> None:
    """A search with a proof against everything that the constraints allow."""
    constraints = constrain(chip, dataflow)
    nest = Nest(layer, chip, normalized(chip))
    batch = everything(nest, constraints)
    if batch.size > 20_000:
        return
    plain = value(nest.evaluate(batch, with_links=False), objective)
    near = np.argsort(plain, kind="stable")[:50]  # links, which are slow to count, change little
    best = float(min(plain.min(), value(nest.evaluate(batch.take(near)), objective).min()))
    found = search.search(nest, constraints, objective=objective, effort=3)
    if found is None:
        assert best == math.inf
        return
    got = float(value(nest.evaluate(found.batch), objective)[0])
    assert found.bound <= best * (1 + 1e-8), (layer, found.bound, best)
    assert got <= best * 1.01
    if found.proven_optimal:
        assert got == pytest.approx(best, rel=1e-8)


SMALLER = {
    "simba": {"pe_array.columns": 2, "lanes.rows": 2, "vector.rows": 2},
    "shidiannao_like": {"pe_array.rows": 2, "pe_array.columns": 2},
    "tpu_like": {"pe_array.rows": 2, "pe_array.columns": 2},
}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(layers, st.sampled_from(OBJECTIVES), st.sampled_from(sorted(SMALLER)), st.sampled_from([0.01, 0.1, 1.0]))
def test_bounds_are_sound_on_other_hierarchies(layer: Layer, objective: search.Objective, name: str, bandwidth: float) -> None:
    chip = Accelerator.load(name).with_({**SMALLER[name], "dram.bandwidth_gb_s": bandwidth})
    compare(layer, chip, None, objective)


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("dataflow", [None, "flexible"])
def test_two_searches_give_the_same_bytes_within_the_constraints(name: str, dataflow: str | None) -> None:
    chip = Accelerator.load(name)
    constraints = constrain(chip, dataflow)
    nest = Nest(Layer("l", C=16, M=32, P=14, Q=14, R=3, S=3), chip, normalized(chip))
    first, second = (search.search(nest, constraints, objective="edp") for _ in range(2))
    assert first is not None
    assert second is not None
    for field in ("temporal", "spatial", "order"):
        assert getattr(first.batch, field).tobytes() == getattr(second.batch, field).tobytes()
    nest.mapping_of(first.batch, 0).check(nest.layer, chip)
    for k, constraint in enumerate(reversed(constraints)):
        loops = {DIMS[d] for d in range(len(DIMS)) if first.batch.temporal[k, d, 0] > 1}
        spread = {DIMS[d] for d in range(len(DIMS)) if first.batch.spatial[k, d, 0] > 1}
        assert loops <= set(constraint.temporal)
        assert spread <= set(constraint.spatial)


@pytest.mark.parametrize("name", ["eyeriss", "tpu_like"])
def test_a_limit_or_a_glance_before_changes_no_mapping_that_is_better(name: str) -> None:
    chip = Accelerator.load(name)
    table, constraints = normalized(chip), constrain(chip)
    for layer in (Layer("window", C=16, M=24, P=14, Q=14, R=3, S=3), Layer("matrix", C=64, M=96, type="linear")):
        nest = Nest(layer, chip, table)
        plain = search.search(nest, constraints, objective="edp")
        assert plain is not None
        best = search.value(plain.verdict, "edp")
        first = search.glance(nest, constraints, objective="edp")
        assert first.verdict is not None
        assert search.value(first.verdict, "edp") >= best
        for limit, before in itertools.product((math.inf, best, best * 2), (None, first)):
            found = search.search(nest, constraints, objective="edp", limit=limit, first=before)
            assert found is not None
            assert search.value(found.verdict, "edp") == best
        for before in (None, first):
            assert search.search(nest, constraints, objective="edp", limit=best / 2, first=before) is None
        assert nest.evaluate(plain.batch).energy == plain.verdict.energy


def test_where_nothing_fits_nothing_is_found() -> None:
    chip = Accelerator.load("eyeriss").with_(
        {"psum_spad.size_words": 1, "global_buffer.size_kib": 1 / 64, "global_buffer.banks": 1, "global_buffer.width_bits": 16}
    )
    nest = Nest(Layer("l", C=2, M=2, P=4, R=3), chip, normalized(chip))
    found = search.search(nest, constrain(chip), objective="edp")
    assert found is None or bool(nest.evaluate(found.batch).fits[0])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_bounds_allow_for_operands_that_macs_hand_on(objective: search.Objective) -> None:
    """Right below a fan-out are MACs: a partial sum that stays is updated once, inputs slide from neighbour to neighbour."""
    dram = {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 16}
    array = {"name": "pes", "kind": "fanout", "role": "array", "columns": 4}
    mac = {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16}
    chip = Accelerator.from_dict({"name": "bare", "technology_nm": 65, "clock_mhz": 200, "hierarchy": [dram, array, mac]})
    constraints = constrain(chip)
    table = EnergyTable("normalized", "by hand", {"dram": PartEnergy(read=0.1, update=200), "mac": PartEnergy(compute=1)})
    nest = Nest(Layer("l", C=1, M=1, P=4, R=16), chip, table)
    batch = everything(nest, constraints)
    verdict = nest.evaluate(batch)
    assert verdict.updates[0, 2].min() < 4 * 16 / 4  # fewer than the fan-out alone would explain
    best = float(value(verdict, objective).min())
    found = search.search(nest, constraints, objective=objective, effort=2)
    assert found is not None
    assert found.bound <= best
    assert not found.proven_optimal or value(nest.evaluate(found.batch), objective)[0] == best


FAN = {
    "name": "fan",
    "technology_nm": 65,
    "clock_mhz": 200,
    "hierarchy": [
        {
            "name": "dram",
            "kind": "dram",
            "role": "dram",
            "dram_type": "LPDDR4",
            "word_bits": 16,
            "width_bits": 64,
            "bandwidth_gb_s": 1,
        },
        {"name": "pes", "kind": "fanout", "role": "array", "rows": 4, "columns": 4},
        {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16},
    ],
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_where_links_decide_the_search_is_as_good_as_timeloops(objective: search.Objective) -> None:
    """What timeloop-mapper (victory condition 200, EDP) finds on a chip without memory: 137632768 units, 273460 cycles."""
    chip = Accelerator.from_dict(FAN)
    found = mid.map_layer(
        Layer("l", C=16, M=32, P=14, Q=14, R=3, S=3), chip, constrain(chip), normalized(chip), objective=objective
    )
    assert found.cost.energy <= 137632768
    assert found.cost.cycles <= 273460


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    "layer", [Layer("a", C=4, M=1, P=4, Q=2, R=2), Layer("b", C=1, M=4, P=6, R=2), Layer("c", C=4, M=4, P=6)]
)
def test_where_links_decide_no_order_of_the_fanout_is_better(layer: Layer, objective: search.Objective) -> None:
    chip = Accelerator.from_dict(FAN).with_({"pes.columns": 4, "pes.rows": 1})
    nest = Nest(layer, chip, normalized(chip))
    batch = everything(nest, constrain(chip))
    orders = itertools.permutations(d for d in range(len(DIMS)) if nest.sizes[d] > 1)
    best = min(
        float(value(nest.evaluate(replace(batch, spatial_order=(order, *batch.spatial_order[1:]))), objective).min())
        for order in orders
    )
    found = search.search(nest, constrain(chip), objective=objective)
    assert found is not None
    assert value(nest.evaluate(found.batch), objective)[0] <= best * (1 + 1e-9)


@pytest.mark.parametrize("kernel", [5, 7, 11])
def test_a_dimension_that_no_memory_may_loop_over_is_spread_whole(kernel: int) -> None:
    """Of the fullest ways to use 12 rows of PEs none has a kernel of 5 rows; the search must not end without a mapping."""
    chip = Accelerator.load("eyeriss")
    layer = Layer("k", C=48, M=16, P=13, Q=13, R=3, S=kernel)
    constraints = constrain(chip, load_dataflow(ROOT / "benchmarks" / "chip_rows.yaml"))
    found = search.search(Nest(layer, chip, normalized(chip)), constraints, objective="edp")
    assert found is not None
    assert found.batch.spatial[:, DIMS.index("S"), 0].prod() == kernel


def test_the_example_in_the_docstring_of_search() -> None:
    hierarchy = [
        {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "DDR3", "word_bits": 8, "width_bits": 8},
        {"name": "buffer", "kind": "regfile", "role": "buffer", "size_words": 6, "word_bits": 8, "width_bits": 8},
        {"name": "mac", "kind": "mac", "multiplier_bits": 8, "adder_bits": 8},
    ]
    chip = Accelerator.from_dict({"name": "two", "technology_nm": 65, "clock_mhz": 200, "hierarchy": hierarchy})
    parts = {"dram": PartEnergy(read=1.0, write=1.0, update=1.0), "buffer": PartEnergy(), "mac": PartEnergy()}
    nest = Nest(Layer("l", C=2, M=2, P=4), chip, replace(normalized(chip), parts=parts))
    found = search.search(nest, constrain(chip, "flexible"), objective="energy")
    assert found is not None
    assert found.verdict.energy == 28

"""The search of ragged mappings: what it gains, what it may not exploit, and what its bounds cover."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hwflow
from hwflow.cost import mid
from hwflow.cost.backend import BACKENDS
from hwflow.cost.chip import Chip
from hwflow.errors import InputError, NotMappable
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, PartEnergy, normalized, recorded
from hwflow.layers import DIMS, Layer
from hwflow.loopnest.nest import Batch, Nest
from hwflow.loopnest.spans import Spans
from hwflow.mapper import padding, search
from hwflow.mapper.array_utilization import array_utilization, least_passes
from hwflow.mapper.bounds import OMITTED, lower_bound
from hwflow.mapping import Loop, Mapping
from hwflow.store import Store
from tests.loopnest.cases import energies, layers, triples
from tests.mapper.test_search import everything, tiny, value

OBJECTIVES = get_args(search.Objective)
ODD = Layer("odd", C=19, M=37, P=13, Q=13, R=3, S=3)
thorough = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
usual = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def preset(name: str) -> tuple[Accelerator, EnergyTable]:
    chip = Accelerator.load(name)
    table = recorded(chip)
    assert table is not None
    return chip, table


def both(layer: Layer, chip: Accelerator, objective: str = "edp", dataflow: str | None = None) -> list[mid.MapResult]:
    """The best perfect and the best of all."""
    table = recorded(chip) or normalized(chip)
    return [
        mid.map_layer(layer, chip, constrain(chip, dataflow), table, objective=objective, ragged=ragged)  # type: ignore[arg-type]
        for ragged in (False, True)
    ]


def worth(found: mid.MapResult, objective: str) -> float:
    energy, cycles = found.cost.energy, found.cost.cycles
    assert energy is not None
    assert cycles is not None
    return {"energy": energy, "latency": float(cycles), "edp": energy * cycles}[objective]


# What it gains -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "gain"), [("eyeriss", 4), ("simba", 100), ("shidiannao_like", 20), ("eyeriss_256", 3)])
def test_odd_sizes_fill_the_array(name: str, gain: float) -> None:
    perfect, ragged = both(ODD, Accelerator.load(name))
    assert not perfect.mapping.ragged
    assert ragged.mapping.ragged
    assert worth(ragged, "edp") * gain < worth(perfect, "edp")
    chip, table = preset(name)
    assert mid.analyse(ODD, chip, ragged.mapping, table) == ragged.cost


def test_37_channels_on_12_columns_take_four_passes() -> None:
    """Of a row-stationary row of PEs only channels have a use here, since Q is 1; and no number of columns divides a prime."""
    chip = Accelerator.load("eyeriss").with_({"pe_array.rows": 1, "pe_array.columns": 12, "dram.bandwidth_gb_s": 100})
    perfect, ragged = both(Layer("l", C=16, M=37, P=8), chip, "latency")
    assert perfect.cost.cycles == 16 * 37 * 8
    assert ragged.cost.cycles == 16 * 4 * 8
    assert ragged.proven_optimal


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_is_never_worse_than_perfect_factors(name: str, objective: str) -> None:
    for layer in (
        ODD,
        Layer("depthwise", C=1, M=1, G=37, P=7, Q=7, R=3, S=3, strides=(2, 2)),
        Layer("dilated", C=7, M=11, P=9, Q=15, R=3, S=3, dilations=(2, 3), N=3),
        Layer("linear", C=101, M=10, type="linear"),
        Layer("even", C=32, M=16, P=8, Q=8, R=3, S=3),
    ):
        chip, table = preset(name)
        perfect, ragged = both(layer, chip, objective)
        assert worth(ragged, objective) <= worth(perfect, objective)
        assert mid.analyse(layer, chip, ragged.mapping, table) == ragged.cost


@pytest.mark.parametrize(
    ("layer", "cycles"),
    [
        (Layer("thin", C=11, M=203, P=28, Q=28), 5366),
        (Layer("transposed", C=257, M=13, P=7, Q=7, N=4, type="conv_transpose"), 1660),
    ],
)
def test_padded_layers_that_are_searched_together_leave_each_other_room(layer: Layer, cycles: int) -> None:
    """In a beam that the best scores take alone, what seems good at first drives out what is: it took twice the cycles."""
    chip, table = preset("simba")
    found = mid.map_layer(layer, chip, constrain(chip), table, objective="latency")
    assert found.mapping.ragged
    assert found.cost.cycles <= cycles


@pytest.mark.parametrize("dims", [{"C": 2**31 - 1}, {"M": 2**31 - 1, "P": 3}])
def test_huge_odd_sizes_and_arrays_take_no_time(dims: dict[str, int]) -> None:
    huge = Accelerator.load("eyeriss").with_({"pe_array.rows": 2**15, "pe_array.columns": 2**15})
    layer = Layer("l", **{"C": 1, "M": 1, "P": 1, **dims})
    for chip in (Accelerator.load("eyeriss"), huge):
        found = mid.map_layer(layer, chip, constrain(chip), normalized(chip))
        assert found.bound is not None
        assert 0 < found.bound <= found.cost.energy * found.cost.cycles


def test_where_sizes_divide_nothing_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a padded layer was searched")

    monkeypatch.setattr(padding, "narrow", refuse)
    chip, table = preset("eyeriss")
    for layer in {layer.key: layer for layer in hwflow.zoo("resnet18") if layer.R > 1}.values():
        mid.map_layer(layer, chip, constrain(chip), table)
    with pytest.raises(AssertionError, match="a padded layer was searched"):
        mid.map_layer(ODD, chip, constrain(chip), table)


def test_constraints_and_fan_outs_are_kept() -> None:
    for name, dataflow in itertools.product(presets(), (None, "flexible")):
        chip = Accelerator.load(name)
        rules = {rule.level.name: rule for rule in constrain(chip, dataflow)}
        found = both(ODD, chip, "edp", dataflow)[1]
        for mapped in found.mapping.levels:
            rule = rules[mapped.level]
            assert {loop.dim for loop in mapped.temporal} <= set(rule.temporal)
            assert {loop.dim for loop in mapped.spatial} <= set(rule.spatial)
            inner_first = [loop.dim for loop in reversed(mapped.temporal)]
            forced = [d for d in rule.innermost if d in inner_first]
            assert inner_first[: len(forced)] == forced


# What it may not exploit ---------------------------------------------------------------------------------------------


def chip_of(columns: int) -> Accelerator:
    hierarchy = [
        {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 16},
        {"name": "pes", "kind": "fanout", "role": "array", "columns": columns},
        {"name": "spad", "kind": "regfile", "role": "spad", "size_words": 64, "word_bits": 16, "width_bits": 16},
        {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16},
    ]
    return Accelerator.from_dict({"name": "row", "technology_nm": 65, "clock_mhz": 200, "hierarchy": hierarchy})


def test_energy_that_timeloop_leaves_out_is_no_gain() -> None:
    """3 channels on 2 columns: 2, then 1 are at work, on average 1.5, of which Timeloop counts 1: a third goes missing."""
    chip, layer = chip_of(2), Layer("l", C=8, M=3, P=4)
    parts = {"dram": PartEnergy(0.01, 0.01, 0.01), "spad": PartEnergy(0.1, 0.1, 0.1), "mac": PartEnergy(compute=100)}
    table = EnergyTable("pJ", "by hand", parts)
    nest = Nest(layer, chip, table)
    temporal = np.ones((2, len(DIMS), 1), dtype=np.int64)
    spatial = np.ones_like(temporal)
    temporal[1, DIMS.index("C")], temporal[1, DIMS.index("P")], temporal[1, DIMS.index("M")] = 8, 4, 2
    spatial[1, DIMS.index("M")] = 2
    order = np.arange(len(DIMS), dtype=np.int8)[None, :, None].repeat(2, axis=0)
    batch, legal = Batch(temporal, spatial, order, ((), (DIMS.index("M"),))).with_residuals(nest.sizes)
    verdict = nest.evaluate(batch)
    assert legal.all()
    assert verdict.energy[0] < nest.mac_energy  # 32 of 96 multiplications are not charged
    whole = verdict.energy[0] + verdict.omitted[0]
    assert verdict.omitted[0] == pytest.approx(whole / 3, rel=0.01)
    for objective in OBJECTIVES:
        found = mid.map_layer(layer, chip, constrain(chip), table, objective=objective)
        assert found.cost.energy is not None
        assert found.cost.energy >= nest.mac_energy


@pytest.mark.parametrize("name", presets())
def test_what_is_found_owes_little_to_cut_off_instances(name: str) -> None:
    chip, table = preset(name)
    for width, objective in itertools.product((11, 29, 37, 53), OBJECTIVES):
        layer = Layer("l", C=23, M=width, P=7, Q=7, R=3, S=3)
        found = mid.map_layer(layer, chip, constrain(chip), table, objective=objective)
        nest = Nest(layer, chip, table)
        verdict = nest.evaluate(nest.batch_of(found.mapping))
        assert verdict.omitted[0] <= OMITTED * (verdict.energy[0] + verdict.omitted[0])


@usual
@given(triples(ragged=True))
def test_what_is_omitted_is_what_fractions_of_instances_cost(triple: tuple[Layer, Accelerator, Mapping]) -> None:
    layer, accelerator, mapping = triple
    nest = Nest(layer, accelerator, energies(accelerator), tuple(m.keeps for m in reversed(mapping.levels)))
    batch = nest.batch_of(mapping)
    verdict = nest.evaluate(batch)
    working = Spans(batch, nest.sizes, exact=True).passes
    if working is None:
        assert verdict.omitted[0] == 0
        return
    whole = (verdict.level_energy * working.instances / verdict.instances).sum() + nest.mac_energy
    assert verdict.energy[0] + verdict.omitted[0] == pytest.approx(whole)


# What its bounds cover -----------------------------------------------------------------------------------------------


@thorough
@given(triples(ragged=True))
def test_no_ragged_mapping_undercuts_the_bound(triple: tuple[Layer, Accelerator, Mapping]) -> None:
    layer, accelerator, mapping = triple
    nest = Nest(layer, accelerator, energies(accelerator), tuple(m.keeps for m in reversed(mapping.levels)))
    verdict = nest.evaluate(nest.batch_of(mapping))
    constraints = constrain(accelerator, "flexible")
    array = array_utilization(nest, constraints)
    bounds = {objective: lower_bound(nest, constraints, objective, array=array) for objective in OBJECTIVES}
    assert verdict.cycles[0] >= bounds["latency"] * (1 - 1e-12)
    if verdict.omitted[0] <= OMITTED * (verdict.energy[0] + verdict.omitted[0]):
        assert verdict.energy[0] >= bounds["energy"] * (1 - 1e-12)
        assert verdict.energy[0] * verdict.cycles[0] >= bounds["edp"] * (1 - 1e-12)


@usual
@given(layers(), st.integers(1, 5), st.integers(1, 5))
def test_the_fewest_passes_are_those_of_trying_all(layer: Layer, rows: int, columns: int) -> None:
    chip = Accelerator.load("eyeriss").with_({"pe_array.rows": rows, "pe_array.columns": columns})
    nest, constraints = Nest(layer, chip, normalized(chip)), constrain(chip)
    over = [(rule.level.fanout, [DIMS.index(d) for d in rule.spatial]) for rule in constraints if rule.level.fanout > 1]
    best = math.inf
    axes = [[range(1, min(fan, int(nest.sizes[d])) + 1) for d in dims] for fan, dims in over]
    for ways in itertools.product(*(itertools.product(*ranges) for ranges in axes)):
        if all(math.prod(way) <= fan for way, (fan, _) in zip(ways, over, strict=True)):
            factors = np.ones(len(DIMS), dtype=np.int64)
            for way, (_, dims) in zip(ways, over, strict=True):
                factors[dims] *= way
            best = min(best, int((-(-nest.sizes // factors)).prod()))
    array = array_utilization(nest, constraints)
    assert array.least == least_passes(nest, constraints) == best
    assert ((-(-nest.sizes // array.factors)).prod(axis=1) <= array.cycles).all()


def chains(n: int, slots: int) -> list[tuple[int, ...]]:
    """Bounds, the innermost first, that cover n, none of them larger than its passes ask for."""
    if slots == 0:
        return [()] if n == 1 else []
    least = sorted({-(-n // times) for times in range(1, n + 1)})
    return [(bound, *rest) for bound in least for rest in chains(-(-n // bound), slots - 1)]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.builds(lambda a, b, c: Layer("pointwise", C=a, M=b, P=c), *(st.sampled_from([1, 3, 11]),) * 3),
        st.builds(lambda a, b: Layer("window", C=1, M=b, Q=a, S=3), st.sampled_from([7, 11]), st.sampled_from([1, 3])),
        st.builds(lambda g, a: Layer("depthwise", C=1, M=1, G=g, Q=a, S=2), st.sampled_from([3, 5]), st.sampled_from([3, 11])),
    ),
    st.sampled_from(OBJECTIVES),
    st.sampled_from([4, 16]),
    st.sampled_from([0.1, 10.0]),
)
def test_it_comes_near_the_best_of_all_ragged_mappings(
    layer: Layer, objective: search.Objective, words: int, bandwidth: float
) -> None:
    chip = tiny(words, bandwidth)
    constraints = constrain(chip)
    nest = Nest(layer, chip, normalized(chip))
    batch, legal = everything(nest, constraints, chains).with_residuals(nest.sizes)
    assert legal.all()
    if batch.size > 20_000:
        return
    near = np.argsort(value(nest.evaluate(batch, with_links=False), objective), kind="stable")[:60]
    verdict = nest.evaluate(batch.take(near))
    honest = verdict.omitted <= OMITTED * (verdict.energy + verdict.omitted)
    best = float(np.where(honest, value(verdict, objective), np.inf).min())
    found = mid.map_layer(layer, chip, constraints, nest.table, objective=objective)
    assert found.bound is not None
    assert found.bound <= best * (1 + 1e-9)
    assert worth(found, objective) <= best * 1.1  # 1.06 was seen: C3 M11 P11, latency, 4 words, 0.1 words a cycle
    if found.proven_optimal:
        assert worth(found, objective) <= best * (1 + 1e-8)


@pytest.mark.parametrize("sizes", [(3, 7, 7), (3, 3, 5)])
def test_with_effort_small_odd_sizes_are_split_too(sizes: tuple[int, int, int]) -> None:
    """In a memory of four words perfect factors of 3, 5 and 7 take 1.7 times the energy of ragged ones."""
    layer, chip = Layer("l", C=sizes[0], M=sizes[1], P=sizes[2]), tiny(4, 10.0)
    constraints, table = constrain(chip), normalized(chip)
    nest = Nest(layer, chip, table)
    batch, _ = everything(nest, constraints, chains).with_residuals(nest.sizes)
    estimates = nest.evaluate(batch, with_links=False)
    near = np.argsort(np.where(estimates.fits, estimates.energy, np.inf), kind="stable")[:30]
    verdict = nest.evaluate(batch.take(near))
    best = float(verdict.energy[verdict.fits & (verdict.omitted <= OMITTED * (verdict.energy + verdict.omitted))].min())
    found = mid.map_layer(layer, chip, constraints, table, objective="energy", effort=2)
    assert found.mapping.ragged
    assert found.cost.energy <= best * 1.001


def test_a_proof_is_of_what_was_searched() -> None:
    """Perfect factors of 7 by 7 positions prove their own optimum with time; of ragged ones only the plain bound is known."""
    layer, chip = Layer("l", C=4, M=4, P=7, Q=7), Accelerator.load("eyeriss")
    table = recorded(chip)
    assert table is not None
    perfect, ragged = (
        mid.map_layer(layer, chip, constrain(chip), table, objective="energy", effort=4, ragged=only) for only in (False, True)
    )
    assert perfect.bound is not None
    assert ragged.bound is not None
    assert perfect.bound == pytest.approx(worth(perfect, "energy"), rel=0.02)
    assert ragged.bound < perfect.bound
    fast = Accelerator.load("simba")
    found = mid.map_layer(ODD, fast, constrain(fast), normalized(fast), objective="latency")
    assert found.mapping.ragged
    assert found.proven_optimal
    assert found.cost.cycles == found.bound


# How it is told ------------------------------------------------------------------------------------------------------


@usual
@given(triples())
def test_trimmed_mappings_cover_the_layer_in_no_more_passes(triple: tuple[Layer, Accelerator, Mapping]) -> None:
    layer, accelerator, mapping = triple
    padded = Nest(layer, accelerator, energies(accelerator))
    batch = padded.batch_of(mapping)
    smaller = np.maximum(1, padded.sizes - np.array([0, 1, 1, 2, 1, 1, 0, 1]))
    found, legal = padding.trimmed(batch, smaller).with_residuals(smaller)
    assert legal.all()
    assert (found.temporal <= batch.temporal).all()
    assert (found.spatial <= batch.spatial).all()
    same = padding.trimmed(batch, padded.sizes)
    assert (same.temporal == batch.temporal).all()
    assert (same.spatial == batch.spatial).all()


def test_two_searches_give_the_same_result() -> None:
    for name in presets():
        first, second = (both(ODD, Accelerator.load(name))[1] for _ in range(2))
        assert first == second


def test_perfect_and_ragged_answers_are_kept_apart_and_survive_the_store(tmp_path: Path) -> None:
    chip, store = Accelerator.load("eyeriss"), Store(tmp_path / "store.sqlite")
    asked = [hwflow.map_layer(ODD, chip, ragged=ragged, store=store) for ragged in (True, False, True, False)]
    store.close()
    assert asked[0].mapping == asked[2].mapping
    assert asked[0].mapping.ragged
    assert not asked[1].mapping.ragged
    assert asked[0].cost == asked[2].cost
    totals = [hwflow.estimate(hwflow.Network("n", (ODD,)), chip, ragged=ragged, store=False) for ragged in (True, False)]
    assert totals[0].cycles == asked[0].cost.cycles
    assert totals[1].cycles == asked[1].cost.cycles
    assert [t.provenance["ragged"] for t in totals] == [True, False]
    plain = Chip(chip, constrain(chip), normalized(chip))
    keys = {BACKENDS["mid"].job(ODD, plain, hwflow.CostOptions(ragged=r), None).key for r in (True, False)}
    assert len(keys) == 2
    with pytest.raises(InputError, match="ragged is 'no'; it must be True or False"):
        hwflow.map_layer(ODD, chip, ragged="no", store=False)  # type: ignore[arg-type]


def test_residuals_are_seen_wherever_a_mapping_is_shown(tmp_path: Path) -> None:
    chip = Accelerator.load("eyeriss")
    found = hwflow.map_layer(ODD, chip, store=False).mapping
    loops = [loop for mapped in found.levels for loop in mapped.loops if loop.ragged]
    assert loops
    text = str(found)
    for loop in loops:
        assert f"{loop.dim} in [0:{loop.bound})" in text
        assert f"{loop.residual} in the last pass" in text
    found.to_timeloop(tmp_path / "map.yaml")
    written = (tmp_path / "map.yaml").read_text()
    for loop in loops:
        assert f"{loop.dim}={loop.bound},{loop.residual}" in written
    assert Mapping.from_timeloop(tmp_path / "map.yaml", ODD, chip) == found


@pytest.mark.timeloop
@pytest.mark.parametrize(
    "layer",
    [
        Layer("downsample", C=64, M=128, P=28, Q=28),
        Layer("late", C=256, M=512, P=7, Q=7),
        Layer("between", C=128, M=256, P=14, Q=14),
    ],
    ids=str,
)
def test_loops_that_are_ragged_inside_a_fan_out_are_timeloops_too(layer: Layer) -> None:
    """There Timeloop computes the padded size; without such mappings ZigZag's were up to a fifth better."""
    from hwflow.cost import fine
    from hwflow.timeloop.engine import find_engine

    chip = Accelerator.load("eyeriss").with_({"dram.bandwidth_gb_s": 1.6, "dataflow": "flexible"})
    table = recorded(chip)
    assert table is not None
    found = mid.map_layer(layer, chip, constrain(chip), table)
    assert found.mapping.ragged
    judged = fine.judge(layer, chip, found.mapping, table, engine=find_engine("native"))
    assert judged.cycles == found.cost.cycles
    assert judged.energy == pytest.approx(found.cost.energy, rel=1e-8)


def test_a_full_pass_that_overflows_is_named() -> None:
    """Memories are sized by full tiles: the average of the passes may fit where these do not."""
    chip, table = preset("eyeriss")
    bound = int(next(m for m in chip.memories if m.name == "psum_spad").words or 0) + 1
    layer = Layer("narrow", C=1, M=bound + 1, P=1, Q=1)  # two passes: one too large, one of a single channel
    mapping = mid.map_layer(layer, chip, constrain(chip), table).mapping
    spad = next(i for i, level in enumerate(mapping.levels) if level.level == "psum_spad")
    levels = [dataclasses.replace(level, temporal=(), spatial=()) for level in mapping.levels]
    levels[0] = dataclasses.replace(levels[0], temporal=(Loop("M", 2),))
    levels[spad] = dataclasses.replace(levels[spad], temporal=(Loop("M", bound, 1),))
    with pytest.raises(NotMappable, match="needs 25 words in psum_spad"):
        mid.analyse(layer, chip, Mapping(tuple(levels)), table)

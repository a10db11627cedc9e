"""The closed form against a point-by-point walk, on layers, chips and mappings that nobody chose; and what must always hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwflow.cost import mid
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import DIMS, Layer
from hwflow.loopnest import nest as analysis
from hwflow.loopnest.nest import Batch, Nest, Verdict
from hwflow.mapping import Mapping
from tests.loopnest.cases import accelerators, energies, layers, mappings, triples
from tests.loopnest.simulator import simulate

Triple = tuple[Layer, Accelerator, Mapping]
FIELDS = ("reads", "fills", "updates", "tiles", "instances", "level_energy", "compute_cycles", "level_cycles", "cycles", "fits")

thorough = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
usual = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@thorough
@given(triples())
def test_counts_are_those_of_the_walk(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    row, walked = mid.analyse(layer, accelerator, mapping, energies(accelerator)), simulate(layer, accelerator, mapping)
    assert row.accesses == walked.accesses
    assert {name: row.utilized_instances[name] for name in walked.instances} == walked.instances
    assert row.cycles is not None
    assert row.cycles >= walked.compute_cycles


@usual
@given(triples())
def test_counts_are_positive_and_totals_are_sums(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    row = mid.analyse(layer, accelerator, mapping, energies(accelerator))
    assert all(n >= 0 for level in row.accesses.values() for tensor in level.values() for n in tensor.values())
    assert row.energy == sum(row.energy_by_level.values())
    assert all(e >= 0 for e in row.energy_by_level.values())
    assert row.cycles is not None
    assert row.cycles * accelerator.mac_units >= layer.macs
    assert row.utilization is not None
    assert 0 < row.utilization <= 1


@usual
@given(triples())
def test_every_word_is_fetched_from_dram_at_least_once(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    row = mid.analyse(layer, accelerator, mapping, energies(accelerator))
    assert row.accesses["dram"]["weights"]["reads"] >= layer.words("weights")
    touched = {
        tuple(sum(t.coefficient * at[t.dim] for t in axis) for axis in layer.projections["inputs"])
        for at in (dict(zip(DIMS, where, strict=True)) for where in np.ndindex(*layer.dims.values()))
    }
    assert row.accesses["dram"]["inputs"]["reads"] >= len(touched)


@usual
@given(triples())
def test_links_never_raise_what_the_level_above_reads(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    nest = Nest(layer, accelerator, energies(accelerator), tuple(m.keeps for m in reversed(mapping.levels)))
    batch = nest.batch_of(mapping)
    linked, plain = nest.evaluate(batch), nest.evaluate(batch, with_links=False)
    assert np.all(linked.updates <= plain.updates)
    assert np.all(linked.reads[-1] <= plain.reads[-1])
    assert np.all(linked.compute_cycles == plain.compute_cycles)


@st.composite
def families(draw: st.DrawFn) -> tuple[Nest, list[Batch]]:
    """Several mappings of one layer on one chip that keep the same tensors."""
    layer, accelerator = draw(layers()), draw(accelerators())
    nest = Nest(layer, accelerator, energies(accelerator))
    singles = []
    for mapping in draw(st.lists(mappings(layer, accelerator), min_size=2, max_size=5)):
        levels = tuple(replace(m, spatial=sorted(m.spatial, key=lambda loop: DIMS.index(loop.dim))) for m in mapping.levels)
        singles.append(replace(nest.batch_of(Mapping(levels)), spatial_order=(tuple(range(len(DIMS))),) * len(levels)))
    return nest, singles


def together(batches: list[Batch]) -> Batch:
    return Batch(
        np.concatenate([b.temporal for b in batches], axis=2),
        np.concatenate([b.spatial for b in batches], axis=2),
        np.concatenate([b.order for b in batches], axis=2),
        batches[0].spatial_order,
    )


@usual
@given(families())
def test_a_batch_is_judged_as_one_by_one(family: tuple[Nest, list[Batch]]) -> None:
    nest, singles = family
    verdict = nest.evaluate(together(singles))
    for b, single in enumerate(singles):
        alone = nest.evaluate(single)
        for field in FIELDS:
            assert np.array_equal(getattr(verdict, field)[..., b], getattr(alone, field)[..., 0]), field
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "_PIECE", 2)
        pieces = nest.evaluate(together(singles))
    assert all(np.array_equal(getattr(pieces, field), getattr(verdict, field)) for field in FIELDS)


@usual
@given(families(), st.randoms(use_true_random=False))
def test_a_permuted_batch_gives_the_permuted_verdict(family: tuple[Nest, list[Batch]], random: object) -> None:
    nest, singles = family
    index = list(range(len(singles)))
    random.shuffle(index)  # type: ignore[attr-defined]
    batch = together(singles)
    straight, permuted = nest.evaluate(batch), nest.evaluate(batch.take(np.array(index)))
    for field in FIELDS:
        assert np.array_equal(getattr(straight, field)[..., index], getattr(permuted, field)), field


@usual
@given(triples())
def test_a_mapping_survives_the_way_through_a_batch(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    nest = Nest(layer, accelerator, energies(accelerator), tuple(m.keeps for m in reversed(mapping.levels)))
    assert nest.mapping_of(nest.batch_of(mapping), 0) == mapping


@usual
@given(triples())
def test_two_evaluations_are_equal(triple: Triple) -> None:
    layer, accelerator, mapping = triple
    nest = Nest(layer, accelerator, energies(accelerator), tuple(m.keeps for m in reversed(mapping.levels)))
    first, second = (nest.evaluate(nest.batch_of(mapping)) for _ in range(2))
    assert isinstance(first, Verdict)
    assert all(np.array_equal(getattr(first, f), getattr(second, f)) for f in FIELDS)

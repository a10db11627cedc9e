"""More memory or bandwidth, at the same energies, never worsens an optimum: what the search proves must agree with that."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwflow.cost import mid
from hwflow.errors import NotMappable
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.layers import Layer
from hwflow.mapper import search
from hwflow.results import LayerCost

OBJECTIVES = get_args(search.Objective)

# Chips on which memories and bandwidths bind layers of a few thousand multiply-accumulates.
CRAMPED = {
    "eyeriss": {
        "global_buffer.size_kib": 0.5,
        "global_buffer.banks": 1,
        "global_buffer.read_words_per_cycle": 2,
        "global_buffer.write_words_per_cycle": 2,
        "weight_spad.size_words": 12,
        "psum_spad.size_words": 4,
        "dram.bandwidth_gb_s": 0.2,
    },
    "shidiannao_like": {
        "nb_in.size_kib": 0.125,
        "nb_in.banks": 1,
        "nb_out.size_kib": 0.125,
        "nb_out.banks": 1,
        "synapse_buffer.size_kib": 0.125,
        "synapse_buffer.banks": 1,
        "synapse_buffer.read_words_per_cycle": 1,
        "dram.bandwidth_gb_s": 2,
    },
    "tpu_like": {
        "pe_array.rows": 4,
        "pe_array.columns": 4,
        "unified_buffer.size_kib": 0.5,
        "unified_buffer.banks": 1,
        "accumulators.size_kib": 0.5,
        "accumulators.banks": 1,
        "dram.bandwidth_gb_s": 1,
    },
    "simba": {
        "pe_array.columns": 2,
        "lanes.rows": 2,
        "vector.rows": 2,
        "global_buffer.size_kib": 0.25,
        "global_buffer.banks": 1,
        "input_buffer.size_kib": 0.03125,
        "weight_buffer.size_kib": 0.03125,
        "weight_buffer.banks": 1,
        "dram.bandwidth_gb_s": 2,
    },
}
GROWING = {
    name: sorted(f for f in fields if f.endswith(("size_kib", "size_words", "per_cycle", "gb_s")))
    for name, fields in CRAMPED.items()
}

sizes = st.sampled_from([4, 6, 8, 12])
layers = st.one_of(
    st.builds(lambda c, m, p: Layer("pointwise", C=c, M=m, P=p, Q=4), sizes, sizes, st.sampled_from([4, 7])),
    st.builds(lambda c, m, r: Layer("window", C=c, M=m, P=6, Q=6, R=r, S=r), st.sampled_from([2, 4]), sizes, st.just(3)),
    st.builds(lambda c, s: Layer("strided", C=c, M=4, P=4, Q=4, R=3, S=3, strides=(s, s)), sizes, st.sampled_from([1, 2])),
    st.builds(lambda g: Layer("depthwise", C=1, M=1, G=g, P=4, Q=4, R=3, S=3), sizes),
    st.builds(lambda c, m: Layer("linear", type="linear", C=c * 4, M=m), sizes, sizes),
)


def value(cost: LayerCost, objective: str) -> float:
    energy, cycles = cost.energy or 0.0, cost.cycles or 0
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]


@pytest.mark.parametrize("name", CRAMPED)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(layers, st.sampled_from(OBJECTIVES), st.sampled_from([2, 4, 8]), st.booleans(), st.data())
def test_more_memory_or_bandwidth_never_worsens_a_proven_optimum(
    name: str, layer: Layer, objective: search.Objective, factor: int, ragged: bool, data: st.DataObject
) -> None:
    """What is proven of the larger chip holds against any mapping of the smaller one, proven or not, and the other way."""
    fields = data.draw(st.sets(st.sampled_from(GROWING[name]), min_size=1))
    small = Accelerator.load(name).with_(CRAMPED[name])
    large = small.with_({f: CRAMPED[name][f] * factor for f in fields})
    table = normalized(small)
    try:
        first = mid.map_layer(layer, small, constrain(small), table, objective=objective, effort=3, ragged=ragged)
    except NotMappable:
        return
    second = mid.map_layer(layer, large, constrain(large), table, objective=objective, effort=3, ragged=ragged)
    old, new = value(first.cost, objective), value(second.cost, objective)

    moved = mid.analyse(layer, large, first.mapping, table)  # the same mapping on the larger chip
    assert moved.energy == pytest.approx(first.cost.energy, rel=1e-12)
    assert (moved.cycles or 0) <= (first.cost.cycles or 0)

    assert second.bound is not None
    assert second.bound <= value(moved, objective) * (1 + 1e-8)
    if second.proven_optimal:
        assert new <= value(moved, objective) * (1 + 1e-8) <= old * (1 + 2e-8)
    if first.proven_optimal:
        try:
            back = mid.analyse(layer, small, second.mapping, table)
        except NotMappable:
            return
        assert value(back, objective) >= old * (1 - 1e-8)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_proofs_are_common_and_gains_are_real(objective: search.Objective) -> None:
    """The property above says something: where DRAM binds, proven optima of both chips differ."""
    small = Accelerator.load("eyeriss").with_({"dram.bandwidth_gb_s": 0.2})
    large = small.with_({"dram.bandwidth_gb_s": 2.0})
    for layer in (Layer("a", C=4, M=8, P=7, Q=7), Layer("b", C=12, M=12, P=4, Q=4)):
        old, new = (
            mid.map_layer(layer, chip, constrain(chip), normalized(small), objective=objective, effort=4, ragged=False)
            for chip in (small, large)
        )
        assert old.proven_optimal
        assert new.proven_optimal
        if objective == "energy":
            assert new.cost.energy == pytest.approx(old.cost.energy)
        else:
            assert value(new.cost, objective) < 0.5 * value(old.cost, objective)

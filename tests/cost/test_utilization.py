"""Where an array's cycles go: shares that multiply to the utilisation, and reasons that are true."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings

from hwflow.cost import mid
from hwflow.cost.utilization import Share, neighbours, shares
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.layers import Layer
from hwflow.mapping import LevelMapping, Loop, Mapping
from tests.loopnest.cases import accelerators, energies, layers, mappings, triples

__all__ = ["accelerators", "layers", "mappings"]

ACC = Accelerator.load("eyeriss")  # 12 rows x 14 columns


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(triples(ragged=True))
def test_shares_multiply_to_the_utilisation(triple: tuple[Layer, Accelerator, Mapping]) -> None:
    layer, chip, mapping = triple
    cost = mid.analyse(layer, chip, mapping, energies(chip))
    found = shares(layer, chip, constrain(chip), mapping, cost.cycles or 0, cost.bound_by or "")
    assert math.prod(s.value for s in found) == pytest.approx(cost.utilization, rel=1e-12)
    assert all((s.value < 1) == bool(s.why) for s in found)
    assert all(0 < s.value <= 1 for s in found)


def best(layer: Layer, chip: Accelerator = ACC) -> dict[str, Share]:
    found = mid.map_layer(layer, chip, constrain(chip), normalized(chip))
    parts = shares(layer, chip, constrain(chip), found.mapping, found.cost.cycles or 0, found.cost.bound_by or "")
    return {s.name: s for s in parts}


def test_a_full_axis_needs_no_reason() -> None:
    rows = best(Layer("l", C=16, M=16, P=14, Q=14, R=3, S=3))["pe_array rows"]
    assert (rows.used, rows.available, rows.why) == (12, 12, "")
    assert set(rows.loops.split()) == {"S=3", "C=4"}


def test_an_axis_without_dimensions_says_which_it_wants() -> None:
    columns = best(Layer("l", C=8, M=1, P=8))["pe_array columns"]
    assert (columns.used, columns.value) == (1, 1 / 14)
    assert columns.why == "only Q, M and G may lie there, and this layer has nothing of it to spread"


def mapped(columns: Loop, above: int) -> Mapping:
    """M over the columns, the rest of it at DRAM."""
    levels = []
    for level in ACC.levels:
        kept = level.memory.keeps if level.memory else ()
        temporal = (Loop("M", above),) if level is ACC.levels[0] and above > 1 else ()
        spatial = (columns,) if level.axis == "X" else ()
        levels.append(LevelMapping(level.name, temporal, spatial, kept, level.axis))
    return Mapping(tuple(levels))


def by_hand(layer: Layer, mapping: Mapping, cycles: int, bound_by: str) -> dict[str, Share]:
    return {s.name: s for s in shares(layer, ACC, constrain(ACC), mapping, cycles, bound_by)}


def test_a_shorter_last_pass_is_a_share_of_its_own() -> None:
    layer = Layer("l", C=1, M=37)
    found = by_hand(layer, mapped(Loop("M", 12, 1), 4), 4, "compute")
    assert found["pe_array columns"].used == 12
    assert found["pe_array columns"].why == "in even passes M=37 (prime) would fill only 1"
    passes = found["passes of M"]
    assert (passes.used, passes.available) == (37, 48)
    assert passes.why == "the last pass of M has only 1 of 12 at pe_array columns"
    cost = mid.analyse(layer, ACC, mapped(Loop("M", 12, 1), 4), normalized(ACC))
    assert cost.utilization == pytest.approx(37 / (168 * (cost.cycles or 0)))


def test_primes_are_named() -> None:
    prime = by_hand(Layer("l", C=1, M=37), mapped(Loop("M", 1), 37), 37, "compute")["pe_array columns"]
    assert (prime.used, prime.why) == (1, "in even passes M=37 (prime) cannot fill more")
    twice = by_hand(Layer("l", C=1, M=22), mapped(Loop("M", 11), 2), 2, "compute")["pe_array columns"]
    assert (twice.used, twice.why) == (11, "in even passes M=22 cannot fill more")


def test_what_could_be_fuller_is_not_blamed_on_divisors() -> None:
    found = by_hand(Layer("l", C=1, M=12), mapped(Loop("M", 2), 6), 6, "compute")
    expected = "in even passes M=12 could fill 12, but the mapping found is no worse by the objective"
    assert found["pe_array columns"].why == expected


def test_waiting_names_the_memory() -> None:
    waiting = by_hand(Layer("l", C=1, M=12), mapped(Loop("M", 2), 6), 8, "dram")["cycles computing"]
    assert (waiting.used, waiting.available, waiting.why) == (6, 8, "the rest wait for dram")


def widths(layer: Layer) -> list[str]:
    found = neighbours(layer)
    assert all(other.with_(**{dim: layer.dims[dim]}) == layer for dim, other in found)
    return [f"{dim}={other.dims[dim]}" for dim, other in found]


def test_neighbours_are_one_off_and_round() -> None:
    assert widths(Layer("l", C=3, M=37)) == ["C=2", "C=4", "C=8", "M=32", "M=36", "M=38", "M=40"]
    assert widths(Layer("l", C=16, M=1)) == ["C=8", "C=15", "C=17", "C=24", "M=2", "M=8"]
    assert widths(Layer("l", C=1, M=1, G=9)) == ["G=8", "G=10", "G=16"]

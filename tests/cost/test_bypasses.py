"""Memories that tensors may bypass: every combination is searched, and all levels agree on what that means."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

import hwflow
from hwflow.cost import fine, mid
from hwflow.cost.bypasses import keeps_of
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, recorded
from hwflow.layers import Layer
from hwflow.timeloop.engine import find_engine
from hwflow.timeloop.render import SearchSettings, render
from hwflow.types import Objective

EYERISS = Accelerator.load("eyeriss")
BUFFER = EYERISS.with_({"global_buffer.may_bypass": ["inputs", "outputs"]})
ALL = BUFFER.with_({f"{t[0]}.may_bypass": [t[1]] for t in (("input_spad", "inputs"), ("weight_spad", "weights"))})
POINTWISE = Layer("pointwise", C=32, M=64, P=7, Q=7)


def _table(chip: Accelerator) -> EnergyTable:
    table = recorded(chip)
    assert table is not None
    return table


def _best(chip: Accelerator, layer: Layer = POINTWISE, objective: Objective = "edp", **options: Any) -> mid.MapResult:
    return mid.map_layer(layer, chip, constrain(chip), _table(chip), objective=objective, **options)


def _edp(found: mid.MapResult) -> float:
    assert found.cost.energy is not None
    assert found.cost.cycles is not None
    return found.cost.energy * found.cost.cycles


def test_the_chips_own_choice_comes_first_and_every_combination_follows() -> None:
    own = keeps_of(EYERISS)
    assert own == [(("outputs",), ("weights",), ("inputs",), (), ("inputs", "outputs"), ("weights", "inputs", "outputs"))]
    every = keeps_of(BUFFER)
    assert every[0] == own[0]
    assert [levels[4] for levels in every] == [("inputs", "outputs"), ("outputs",), ("inputs",), ()]
    assert len(keeps_of(ALL)) == len(set(keeps_of(ALL))) == 16


def test_a_resident_tensor_stays_in_its_memory() -> None:
    for levels in keeps_of(BUFFER, ["inputs"]):
        assert "inputs" not in levels[5]
        assert "inputs" in levels[4]
    assert len(keeps_of(BUFFER, ["inputs"])) == 2
    assert len(keeps_of(ALL, ["inputs"])) == 8  # its register may still be bypassed


@pytest.mark.parametrize(("objective", "ragged"), [("edp", False), ("energy", True), ("latency", False)])
def test_it_is_the_best_of_chips_that_keep_less(objective: Objective, ragged: bool) -> None:
    """The same memories with fewer tensors in `keeps`, each searched by itself."""
    fixed = [EYERISS, *(EYERISS.with_({"global_buffer.keeps": [t]}) for t in ("inputs", "outputs"))]
    one = EYERISS.with_({"global_buffer.may_bypass": ["inputs"]})
    each = [_best(chip, objective=objective, ragged=ragged) for chip in fixed]
    both, found = (each[0], each[2]), _best(one, objective=objective, ragged=ragged)

    def score(result: mid.MapResult) -> float:
        values = {"edp": _edp(result), "energy": result.cost.energy, "latency": result.cost.cycles}
        value = values[objective]
        assert value is not None
        return value

    assert score(found) == min(map(score, both))
    bounds = [r.bound for r in both if r.bound is not None]
    assert found.bound is not None
    assert min(bounds) <= found.bound <= score(found)
    assert score(_best(BUFFER, objective=objective, ragged=ragged)) <= min(map(score, each))


def test_bypassing_pays_on_a_pointwise_layer_and_a_proof_covers_every_choice() -> None:
    kept, free = (_best(chip, ragged=False, proof="optimal") for chip in (EYERISS, BUFFER))
    assert _edp(free) < 0.96 * _edp(kept)
    buffer = next(level for level in free.mapping.levels if level.level == "global_buffer")
    assert set(buffer.keeps) < {"inputs", "outputs"}
    assert free.bound is not None
    assert free.perfect_bound is not None
    assert free.perfect_bound <= _edp(free)
    assert free.proven_optimal
    assert mid.analyse(POINTWISE, BUFFER, free.mapping, _table(BUFFER)).energy == pytest.approx(free.cost.energy, rel=1e-12)


def test_its_bounds_hold_for_every_choice() -> None:
    energy, cycles = mid.least(POINTWISE, BUFFER, constrain(BUFFER), _table(BUFFER))
    own = mid.least(POINTWISE, EYERISS, constrain(EYERISS), _table(EYERISS))
    assert energy <= own[0]
    assert cycles <= own[1]
    found = _best(BUFFER, objective="energy").cost
    assert found.energy is not None
    assert energy <= found.energy


def test_a_chip_that_says_nothing_of_it_is_the_chip_that_it_was() -> None:
    assert EYERISS.with_({"global_buffer.may_bypass": []}).fingerprint == EYERISS.fingerprint
    assert BUFFER.fingerprint != EYERISS.fingerprint
    assert BUFFER.changes == {"global_buffer.may_bypass": ["inputs", "outputs"]}
    assert Accelerator.from_dict(BUFFER.model_dump(mode="json", exclude_none=True)).fingerprint == BUFFER.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dram.may_bypass": ["inputs"]}, r"may_bypass \(=\['inputs'\]\) is of memories on the chip; a dram keeps everything"),
        ({"global_buffer.may_bypass": ["weights"]}, r"must name tensors of keeps \(=\['inputs', 'outputs'\]\), each once"),
        ({"global_buffer.may_bypass": ["inputs", "inputs"]}, "each once"),
    ],
)
def test_what_cannot_be_bypassed_is_named(changes: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EYERISS.with_(changes)


def test_combinations_are_limited() -> None:
    every = ["weights", "inputs", "outputs"]
    names = [memory.name for memory in EYERISS.memories[1:]]
    with pytest.raises(InputError, match=r"may_bypass names 12 tensors at global_buffer, .*psum_spad; at most 8 in all"):
        EYERISS.with_({f"{name}.{field}": every for name in names for field in ("keeps", "may_bypass")})


def test_certificates_do_not_cover_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not cover eyeriss.*, where tensors may bypass global_buffer"):
        hwflow.map_layer(POINTWISE, BUFFER, ragged=False, certificate=tmp_path / "c.json")


def test_timeloops_mapper_may_choose_too() -> None:
    files = render(POINTWISE, BUFFER, constrain(BUFFER), _table(BUFFER), search=SearchSettings())
    assert 'target: "global_buffer", type: "bypass", keep: [], bypass: ["Weights"]' in files["constraints.yaml"]
    assert 'target: "input_spad", type: "bypass", keep: ["Inputs"]' in files["constraints.yaml"]


@pytest.mark.timeloop
def test_timeloop_says_the_same_of_what_was_found() -> None:
    engine, objectives = find_engine("native"), get_args(Objective)
    chip = ALL.with_({"psum_spad.may_bypass": ["outputs"]})
    for objective in objectives:
        for layer in (POINTWISE, Layer("ragged", C=10, M=12, P=7, Q=7, R=3, S=3)):
            found = _best(chip, layer, objective)
            real = fine.judge(layer, chip, found.mapping, _table(chip), engine=engine)
            assert real.cycles == found.cost.cycles
            assert real.energy == pytest.approx(found.cost.energy, rel=1e-6)


@pytest.mark.timeloop
def test_a_mapping_of_timeloops_may_bypass_as_well() -> None:
    engine, settings = find_engine("native"), SearchSettings(threads=1, victory_condition=50, timeout=500)
    found = fine.search(POINTWISE, BUFFER, constrain(BUFFER), _table(BUFFER), settings=settings, engine=engine)
    assert found.energy is not None
    assert found.cycles is not None
    assert _edp(_best(BUFFER, ragged=False)) <= found.energy * found.cycles * (1 + 1e-6)

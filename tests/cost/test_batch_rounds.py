"""Batches in rounds: equal to trying every choice, what is read once, and Timeloop's verdict where weights stay."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

import hwflow
from hwflow.cost import batch_rounds, map_in_network
from hwflow.cost.assignment import Assignment, value_of
from hwflow.cost.network_choice import Case
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import plan_for
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.network.load import batched
from hwflow.types import Objective
from tests.cost.test_network_choice import _searched

CHAIN = """
name: chain
layers:
  - {name: a, C: 4, M: 8, P: 6, Q: 6, R: 3, S: 3}
  - {name: b, C: 8, M: 16, P: 6, Q: 6, R: 1, S: 1}
  - {name: c, C: 16, M: 8, P: 6, Q: 6, R: 1, S: 1}
"""
SMALL = {"nb_in.size_kib": 1.5, "nb_out.size_kib": 1.5, "synapse_buffer.size_kib": 0.75}
CHIP = hwflow.Accelerator.load("shidiannao_like").with_(SMALL)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Network:
    path = tmp_path_factory.mktemp("nets") / "chain.yaml"
    path.write_text(CHAIN)
    return Network.from_yaml(path)


@pytest.mark.parametrize("objective", ["energy", "edp"])
def test_equal_to_trying_every_choice_of_weights_and_tensors(chain: Network, objective: Objective) -> None:
    options = CostOptions(objective=objective, activations="resident", energy="normalized")
    found = hwflow.estimate(chain, CHIP, batch=2, options=options)
    assert found.occupancy is not None
    assert found.occupancy.proven
    case = Case.of(plan_for(chain, CHIP, options, None), options, _searched(options), rounds=2)
    problem, values = case.problem, list[float]()
    assert set(problem.weights) == {0, 1, 2}
    for kept in itertools.product((False, True), repeat=3):
        own = frozenset(step for step, flag in enumerate(kept) if flag)
        used = sum(problem.weights[step] for step in own)
        for flags in itertools.product((False, True), repeat=len(problem.candidates)):
            stays = frozenset(t for t, flag in zip(sorted(problem.candidates), flags, strict=True) if flag)
            cost = batch_rounds._at(case, replace(problem, reserved=used, most=used), Assignment(stays, 0, 0, True, (), own))
            if cost is not None and used <= problem.sizes[problem.place]:
                values.append(value_of(2 * cost.energy, 2 * cost.cycles, objective))
    whole = Case.of(plan_for(batched(chain, 2), CHIP, options, None), options, _searched(options))
    alone = batch_rounds.settled(whole)
    best = min(*values, value_of(alone.energy, alone.cycles, objective))
    assert value_of(found.energy_normalized or 0, found.cycles or 0, objective) == pytest.approx(best, rel=1e-9)
    by_dram = hwflow.estimate(chain, CHIP, batch=2, objective=objective, energy="normalized")
    assert best <= value_of(by_dram.energy_normalized or 0, by_dram.cycles or 0, objective) * (1 + 1e-9)
    expected = by_dram.energy_normalized, by_dram.cycles
    assert (found.occupancy.dram_energy, found.occupancy.dram_cycles) == pytest.approx(expected)


def test_weights_that_stay_are_read_once(chain: Network) -> None:
    large = CHIP.with_({"synapse_buffer.size_kib": 4})
    cost = hwflow.estimate(chain, large, batch=4, activations="resident", objective="energy")
    assert cost.provenance["rounds"] == 4
    assert str(cost.provenance["assumption"]).startswith(
        "the batch runs in 4 rounds of 1 image through all layers; 2 of 4 tensors between operations stay in nb_in and nb_out, "
        "the weights of 3 of 3 layers in synapse_buffer, read once; "
        "the others, all other weights, and the network's inputs"
    )
    assert cost.occupancy is not None
    assert [(w.name, w.memory, w.size_bytes) for w in cost.occupancy.weights] == [
        ("weights of a", "synapse_buffer", 4 * 8 * 9 * 2),
        ("weights of b", "synapse_buffer", 8 * 16 * 2),
        ("weights of c", "synapse_buffer", 8 * 16 * 2),
    ]
    loads = {o.name: o for o in cost.operators if o.type == "Load"}
    assert (loads["a"].dram_bytes, loads["a"].note) == (4 * 8 * 9 * 2, "weights, once for 4 rounds")
    moves = [o for o in cost.operators if o.type == "Move"]
    inputs, results = 4 * 4 * 8 * 8 * 2, 4 * 8 * 6 * 6 * 2
    assert cost.dram_bytes == sum(o.dram_bytes for o in loads.values()) + inputs + results
    assert cost.energy_normalized == pytest.approx(sum(part.energy or 0 for part in (*cost.rows, *cost.operators)))
    assert len(moves) == 2
    assert cost.macs == 4 * hwflow.estimate(chain, large).macs
    assert {row.resident for row in cost.rows} == {
        ("weights", "outputs"),
        ("weights", "inputs", "outputs"),
        ("weights", "inputs"),
    }
    inside = map_in_network(
        batched(chain, 4), batched(chain, 4)["b"], large, options=CostOptions(activations="resident", objective="energy")
    )
    assert (inside.cost.layer.N, 4 * (inside.cost.cycles or 0)) == (1, cost.rows[1].cycles)


def test_on_a_chip_that_keeps_no_weights_rounds_are_estimates_of_their_images(chain: Network) -> None:
    chip = hwflow.Accelerator.load("eyeriss").with_({"global_buffer.size_kib": 4})
    cost = hwflow.estimate(chain, chip, batch=4, activations="resident", objective="energy")
    rounds = cost.provenance.get("rounds", 1)
    assert rounds > 1
    part = hwflow.estimate(chain, chip, batch=4 // rounds, activations="resident", objective="energy")
    assert cost.energy_pj == pytest.approx(rounds * (part.energy_pj or 0))
    assert (cost.cycles, cost.dram_bytes) == (rounds * (part.cycles or 0), rounds * part.dram_bytes)
    assert cost.peak_activation_bytes == part.peak_activation_bytes
    assert cost.occupancy is not None
    assert cost.occupancy.weights == ()


def test_weights_of_one_layer_stay_where_one_memory_holds_them(chain: Network) -> None:
    found = hwflow.map_layer(chain["a"], CHIP, resident=("weights",))
    assert set(found.cost.accesses["dram"]) == {"inputs", "outputs"}
    with pytest.raises(InputError, match=r"resident is weights.*weight_spad, of which there are 168"):
        hwflow.map_layer(chain["a"], "eyeriss", resident=("weights",))


@pytest.mark.timeloop
def test_timeloop_confirms_weights_that_stay(chain: Network) -> None:
    large = CHIP.with_({"synapse_buffer.size_kib": 4})
    options = CostOptions(activations="resident", objective="energy")
    mid = hwflow.estimate(chain, large, batch=4, options=options)
    fine = hwflow.estimate(chain, large, batch=4, options=replace(options, level="fine", fallback="none"))
    assert (fine.level, fine.cycles, fine.occupancy) == ("fine", mid.cycles, mid.occupancy)
    assert fine.energy_normalized == pytest.approx(mid.energy_normalized, rel=1e-3)
    assert {row.resident for row in fine.rows} >= {("weights", "inputs", "outputs")}  # nothing is left for DRAM


def test_networks_whose_layers_have_no_common_batch_run_all_at_once(chain: Network) -> None:
    mixed = replace(batched(chain, 2), layers=(*batched(chain, 2).layers[:2], chain.layers[2]))
    assert batch_rounds._splits(mixed) == batch_rounds._splits(chain) == []

"""What stays in whole networks: never worse than DRAM, equal to trying everything, monotone in the buffer's size."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import hwflow
from hwflow.cost import estimator, map_in_network
from hwflow.cost.assignment import ask_of, left, value_of
from hwflow.cost.chip import Chip
from hwflow.cost.estimator import carry_out
from hwflow.cost.levels import Fine
from hwflow.cost.network_choice import Case, Placed
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import Plan, plan_for
from hwflow.cost.variant_prices import Answer, Searched
from hwflow.errors import HwflowError, InputError
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.results import LayerCost, NetworkCost
from hwflow.store import Store
from hwflow.types import Latency, Objective, Operators

LAYER = Layer("alone", C=4, M=4, P=4, Q=4)

BLOCK = """
name: block
layers:
  - {name: stem, C: 3, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: a, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: b, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: down, C: 8, M: 16, P: 4, Q: 4, R: 3, S: 3, strides: [2, 2], inputs: [sum]}
  - {name: side, C: 16, M: 8, P: 4, Q: 4, R: 1, S: 1}
  - {name: join, C: 24, M: 8, P: 4, Q: 4, R: 1, S: 1, inputs: [cat]}
  - {name: fc, type: linear, C: 128, M: 10, inputs: [join]}
other:
  - {name: sum, type: Add, words_in: 1024, words_out: 512, inputs: [b, stem]}
  - {name: cat, type: Concat, words_in: 384, words_out: 384, inputs: [down, side]}
"""


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Network:
    path = tmp_path_factory.mktemp("nets") / "block.yaml"
    path.write_text(BLOCK)
    return Network.from_yaml(path)


def objective_of(cost: NetworkCost, objective: Objective) -> float:
    return value_of(cost.energy_pj or 0, cost.cycles or 0, objective)


@pytest.mark.parametrize(
    ("chip", "objective", "operators", "latency"),
    [
        ("eyeriss", "energy", "mac", "overlap"),
        ("eyeriss", "edp", "all", "overlap"),
        ("shidiannao_like", "edp", "mac", "overlap"),
        ("eyeriss", "latency", "all", "with_fill"),
    ],
)
def test_equal_to_trying_every_choice(
    block: Network, chip: str, objective: Objective, operators: Operators, latency: Latency
) -> None:
    sizes = {"eyeriss": {"global_buffer.size_kib": 4}, "shidiannao_like": {"nb_in.size_kib": 2, "nb_out.size_kib": 2}}
    accelerator = hwflow.Accelerator.load(chip).with_(sizes[chip])
    options = CostOptions(objective=objective, activations="resident", operators=operators, latency=latency)
    found = hwflow.estimate(block, accelerator, options=options)  # its answers are in the store
    case = Case.of(plan_for(block, accelerator, options, None), options, _searched(options))
    problem, best = case.lives.problem, float("inf")
    for flags in itertools.product([False, True], repeat=len(problem.candidates)):
        stays = frozenset(t for t, flag in zip(sorted(problem.candidates), flags, strict=True) if flag)
        if any(left(problem, step, stays) is None for step in range(len(problem.steps))):
            continue
        asks = [ask_of(problem, step, stays) for step in range(len(problem.steps))]
        prices = [case.price(ask) for ask in asks]
        while None not in prices and not all(price.exact for price in prices if price):
            case.learn([ask for ask, price in zip(asks, prices, strict=True) if price and not price.exact])
            prices = [case.price(ask) for ask in asks]
        if None not in prices:
            sums = (sum(p.energy for p in prices if p), sum(p.cycles for p in prices if p))
            best = min(best, value_of(*sums, objective))
    assert found.occupancy is not None
    assert found.occupancy.proven
    assert found.occupancy.stayed
    assert objective_of(found, objective) == pytest.approx(best, rel=1e-9)
    by_dram = hwflow.estimate(block, accelerator, objective=objective, operators=operators, latency=latency)
    assert best < objective_of(by_dram, objective)
    expected = by_dram.energy_pj, by_dram.cycles
    assert (found.occupancy.dram_energy, found.occupancy.dram_cycles) == pytest.approx(expected, rel=1e-9)


def _searched(options: CostOptions) -> Searched:
    """Through the store, where the estimate has left most of what is asked for."""

    def search(pairs: Sequence[tuple[Layer, Chip]]) -> list[LayerCost | HwflowError]:
        alone = [Plan(Network(layer.name, (layer,)), chip.accelerator, {layer.bits: chip}) for layer, chip in pairs]
        return [_one(plan, options) for plan in alone]

    return search


def _one(plan: Plan, options: CostOptions) -> LayerCost | HwflowError:
    alone = replace(options, activations="dram", operators="mac", latency="overlap")
    try:
        return carry_out([plan], alone, Store(), None, lambda _: None)[0].rows[0]
    except HwflowError as error:
        return error


def test_more_buffer_is_never_worse_and_nothing_fits_a_small_one(block: Network) -> None:
    eyeriss, values = hwflow.Accelerator.load("eyeriss"), []
    for size in (0.125, 2, 4):
        chip = eyeriss.with_({"global_buffer.size_kib": size, "global_buffer.banks": 1})
        cost = hwflow.estimate(block, chip, activations="resident", objective="energy", energy="normalized")
        by_dram = hwflow.estimate(block, chip, objective="energy", energy="normalized")
        assert cost.occupancy is not None
        assert cost.energy_normalized is not None
        assert by_dram.energy_normalized is not None
        assert cost.energy_normalized <= by_dram.energy_normalized * (1 + 1e-12)
        if not cost.occupancy.stayed:
            assert cost.rows == by_dram.rows
            assert str(cost.provenance["assumption"]).startswith("nothing stays on the chip: totals assume")
        values.append((len(cost.occupancy.stayed), cost.energy_normalized))
    assert values[0][0] == 0
    assert values[-1][0] >= 3
    assert [value for _, value in values] == sorted((value for _, value in values), reverse=True)


def test_what_stays_is_told_with_reasons(block: Network) -> None:
    cost = hwflow.estimate(block, "eyeriss", activations="resident")
    told = cost.occupancy
    assert told is not None
    assert {t.name: t.reason for t in told.spilled} == {
        "input": "an input of the network, which comes from DRAM",
        "fc": "a result of the network, which goes to DRAM",
    }
    stem = next(t for t in told.tensors if t.name == "stem")
    assert (stem.size_bytes, stem.first, stem.last, stem.memory) == (8 * 8 * 8 * 2, 0, 3, "global_buffer")
    assert [o.name for o in told.operations] == ["stem", "a", "b", "sum", "down", "side", "cat", "join", "fc"]
    # while b runs: stem's tensor, the input of b as the hull of its windows, the output of b
    size = told.used_bytes("global_buffer", 2)
    assert size >= 3 * 1024
    assert size <= told.memories["global_buffer"]
    rows = {row.layer.name: row.resident for row in cost.rows}
    assert rows["stem"] == ("outputs",)
    assert rows["b"] == ("inputs", "outputs")
    content = cost.to_dict()["occupancy"]
    assert content["proven_optimal"] is True
    assert content["memories_bytes"] == {"global_buffer": 108 * 1024}


def test_what_something_unlisted_reads_or_writes_goes_through_dram(tmp_path: Path) -> None:
    """A pooling that the list leaves out reads what a writes and writes what b reads."""
    path = tmp_path / "net.yaml"
    path.write_text(
        "layers:\n  - {name: a, C: 2, M: 4, P: 8, Q: 8, R: 1, S: 1}\n  - {name: b, C: 4, M: 4, P: 4, Q: 4, R: 1, S: 1}\n"
        "  - {name: c, C: 4, M: 4, P: 4, Q: 4, R: 1, S: 1}\n"
    )
    told = hwflow.estimate(path, "eyeriss", activations="resident").occupancy
    assert told is not None
    assert [t.name for t in told.stayed] == ["b"]
    reasons = {t.reason for t in told.spilled}
    assert {"written by an operator that is not listed", "read by no operator that is listed"} <= reasons


def test_a_tensor_moves_between_two_buffers(block: Network) -> None:
    cost = hwflow.estimate(block, "shidiannao_like", activations="resident", objective="energy")
    moves = {o.name: o for o in cost.operators if o.type == "Move"}
    assert "a" in moves
    assert moves["a"].note == "from nb_out to nb_in"
    assert cost.cycles == sum(row.cycles or 0 for row in cost.rows) + sum(o.cycles for o in cost.operators)
    told = cost.occupancy
    assert told is not None
    a = next(t for t in told.tensors if t.name == "a")
    assert (a.written, a.memory, a.place(1), a.place(2)) == ("nb_out", "nb_in", "nb_out", "nb_in")


def test_all_operators_have_a_price_and_none_is_left_uncounted(block: Network) -> None:
    cost = hwflow.estimate(block, "eyeriss", operators="all")
    assert cost.not_counted == {}
    assert cost.occupancy is None
    assert [o.type for o in cost.operators] == ["Add", "Concat"]
    mac = hwflow.estimate(block, "eyeriss")
    assert mac.not_counted == {"Add": 1, "Concat": 1}
    assert cost.rows == mac.rows
    assert cost.energy_pj == pytest.approx((mac.energy_pj or 0) + sum(o.energy for o in cost.operators))
    assert cost.to_dict()["operators"][0]["name"] == "sum"


def test_what_cannot_be_chosen_is_refused(block: Network) -> None:
    alone = Network("alone", (Layer("k", C=2, M=2),))
    with pytest.raises(InputError, match=r"network alone: it is not known which operator reads what"):
        hwflow.estimate(alone, "eyeriss", activations="resident")
    with pytest.raises(InputError, match=r"activations is 'resident' beside mapper 'timeloop'"):
        hwflow.estimate(block, "eyeriss", level="fine", activations="resident", mapper="timeloop")
    with pytest.raises(InputError, match=r"activations \(--activations\) is 'resident', which changes nothing at level coarse"):
        hwflow.estimate(block, "eyeriss", level="coarse", activations="resident")
    with pytest.raises(InputError, match=r"unknown activations 'chip'"):
        hwflow.estimate(block, "eyeriss", activations="chip")  # type: ignore[arg-type]


def test_a_chip_without_a_memory_for_tensors_says_so(block: Network) -> None:
    dram = {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 64}
    spad = {"name": "spad", "kind": "sram", "role": "spad", "size_words": 64, "word_bits": 16, "width_bits": 16}
    parts = [dram, spad | {"keeps": ["inputs"]}, {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16}]
    chip = hwflow.Accelerator.from_dict({"name": "chip", "technology_nm": 65, "clock_mhz": 200, "hierarchy": parts})
    cost = hwflow.estimate(block, chip, activations="resident", energy="normalized")
    assert cost.rows == hwflow.estimate(block, chip, energy="normalized").rows
    assert str(cost.provenance["assumption"]).startswith(
        "nothing can stay on the chip (no memory on chip keeps outputs): totals assume that every layer reads"
    )


def test_where_fine_cannot_answer_mid_chooses_for_the_whole_network(block: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    told: list[str] = []
    cost = hwflow.estimate(block, "eyeriss", level="fine", activations="resident", engine="native", notify=told.append)
    below = hwflow.estimate(block, "eyeriss", activations="resident")
    assert (cost.level, len(told)) == ("mid", 1)
    assert cost.occupancy == below.occupancy
    assert {row.note.split(":")[0] for row in cost.rows} == {"answered at mid instead of fine"}
    assert [replace(row, note="") for row in cost.rows] == list(below.rows)


@pytest.mark.timeloop
@pytest.mark.slow
def test_timeloop_confirms_what_stays(block: Network) -> None:
    for name, sizes in {"eyeriss": {"global_buffer.size_kib": 4}, "shidiannao_like": {}}.items():
        chip = hwflow.Accelerator.load(name).with_(sizes)
        fine = hwflow.estimate(block, chip, level="fine", activations="resident", fallback="none")
        mid = hwflow.estimate(block, chip, activations="resident")
        assert (fine.level, fine.cycles, fine.occupancy) == ("fine", mid.cycles, mid.occupancy)
        assert fine.energy_pj == pytest.approx(mid.energy_pj, rel=1e-3)
        assert {row.resident for row in fine.rows} >= {("inputs", "outputs")}


def test_a_layer_is_mapped_alone_or_as_it_runs_in_its_network(block: Network) -> None:
    alone = hwflow.map_layer(block["b"], "eyeriss", resident=("outputs", "inputs"))
    assert alone.cost.resident == ("inputs", "outputs")
    assert set(alone.cost.accesses["dram"]) == {"weights"}
    assert str(alone.mapping).startswith("dram [weights]")
    inside = map_in_network(block, block["b"], "eyeriss", options=CostOptions(activations="resident"))
    assert inside.cost.resident == ("inputs", "outputs")
    with pytest.raises(InputError, match=r"unknown resident tensor 'sums'"):
        hwflow.map_layer(block["b"], "eyeriss", resident=("sums",))  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"activations is 'resident', and this prices each layer by itself; leave it out.*`resident`"
    ):
        hwflow.map_layer(block["b"], "eyeriss", activations="resident")
    with pytest.raises(
        InputError, match=r"operators is 'all', and a table of costs prices each layer by itself.*estimate_many"
    ):
        hwflow.cost_table(block, "eyeriss", operators="all")


def test_ratios_of_a_comparison_are_those_of_totals(block: Network) -> None:
    found = hwflow.compare(block, ["eyeriss", "shidiannao_like"], levels=["mid"], operators="all")
    first, second = (variant.cost for variant in found)
    assert first.operators
    assert found.against_first(found.variants[1])["energy_ratio"] == pytest.approx(
        (second.energy_pj or 0) / (first.energy_pj or 1)
    )


def test_two_runs_give_the_same(block: Network) -> None:
    def run() -> NetworkCost:
        return hwflow.estimate(block, "eyeriss", activations="resident", operators="all", store=False)

    assert run() == run()


def test_a_mapper_of_its_own_answers_for_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """At fine, timeloop-mapper with operators 'all': its rows are not those of the mapper at mid."""
    chip = plan_for(Network("one", (LAYER,)), hwflow.Accelerator.load("eyeriss"), CostOptions(), None).chip(LAYER)
    rows = [Placed(LAYER, chip, Answer((), hwflow.map_layer(LAYER, "eyeriss").cost))]
    asked = list[object]()

    def answers(plans: dict[int, Plan], backend: object, run: object, *, before: object = None) -> dict[object, str]:
        asked.append(before)
        return {(i, layer.key): "its own" for i, plan in plans.items() for layer in plan.network}

    monkeypatch.setattr(estimator, "_answers", answers)
    options = CostOptions(level="fine", mapper="timeloop", operators="all")
    told = list[object](estimator.judged(rows, Fine(), estimator.Run(options, None, None, print)))
    assert told == ["its own"]
    assert asked[-1] is None

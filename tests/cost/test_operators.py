"""Prices of operators that are no layers, by hand."""

from __future__ import annotations

import pytest

from hwflow.cost.chip import Chip
from hwflow.cost.operators import Share, check_priced, fusions, operations_of, operator_cost, priced
from hwflow.cost.residency import homes_of
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.layers import Layer
from hwflow.network import Network, OtherOp, zoo
from hwflow.network.model_zoo import NAMES


def chip(**unit: float) -> Chip:
    """A buffer with rows of 4 words of 16 bit, 2 words read or written a cycle; DRAM moves 1 word a cycle."""
    hierarchy = [
        {
            "name": "dram",
            "kind": "dram",
            "role": "dram",
            "dram_type": "LPDDR4",
            "word_bits": 16,
            "width_bits": 64,
            "bandwidth_gb_s": 0.4,
        },
        {"name": "buffer", "kind": "sram", "role": "global", "size_words": 64, "word_bits": 16, "width_bits": 64}
        | {"read_words_per_cycle": 2, "write_words_per_cycle": 2},
        {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16},
    ]
    content = {"name": "chip", "technology_nm": 65, "clock_mhz": 200, "hierarchy": hierarchy}
    accelerator = Accelerator.from_dict({**content, "vector_unit": {"operations_per_cycle": 8, **unit}})
    parts = {"dram": PartEnergy(read=100, write=120), "buffer": PartEnergy(read=3, write=5), "mac": PartEnergy(compute=2)}
    return Chip(accelerator, (), EnergyTable("pJ", "by hand", parts))


ADD = OtherOp("add", "Add", 32, 16)


def test_an_addition_of_tensors_on_the_chip_reads_and_writes_its_buffer() -> None:
    here = chip()
    words = Share(16 * 16, stays=True)
    cost = operator_cost(ADD, operations_of(ADD, 2), [words, words], [words], here, homes_of(here.accelerator))
    # 16 operations at 2 pJ; 8 rows read at 3, 4 written at 5; 32 words read at 2 a cycle
    assert (cost.operations, cost.energy, cost.cycles, cost.dram_bytes) == (16, 32 + 24 + 20, 16, 0)
    assert cost.energy_by_part == {"vector_unit": 32, "buffer": 44}
    assert cost.latency_s == pytest.approx(16 * 5e-9)


def test_an_operand_from_dram_comes_by_way_of_the_buffer() -> None:
    here = chip(energy_pj=1)
    words, far = Share(16 * 16, stays=True), Share(16 * 16, stays=False)
    cost = operator_cost(ADD, 16, [words, far], [far], here, homes_of(here.accelerator))
    # DRAM: 4 rows read, 4 written; the buffer reads 8 rows and writes 8; DRAM's 32 words take longest
    assert cost.energy_by_part == {"vector_unit": 16, "dram": 400 + 480, "buffer": 24 + 40}
    assert (cost.cycles, cost.dram_bytes) == (32, 64)


def test_what_is_fused_costs_its_operations_and_what_is_folded_nothing() -> None:
    here, relu, words = chip(), OtherOp("relu", "Relu", 16, 16), [Share(256, stays=False)]
    fused = operator_cost(relu, 16, words, words, here, homes_of(here.accelerator), note="fused into c")
    assert (fused.energy, fused.cycles, fused.dram_bytes, fused.note) == (32, 0, 0, "fused into c")
    folded = operator_cost(relu, 16, [], [], here, homes_of(here.accelerator), note="folded into c")
    assert (folded.operations, folded.energy, folded.cycles) == (0, 0, 0)


@pytest.mark.parametrize(
    ("op", "inputs", "count"),
    [
        (OtherOp("pool", "MaxPool", 64, 16, window=9), 1, 16 * 8),
        (OtherOp("pool", "MaxPool", 64, 16), 1, 16 * 3),
        (OtherOp("pool", "AveragePool", 64, 16, window=4), 1, 64),
        (OtherOp("pool", "GlobalAveragePool", 64, 4), 1, 64),
        (OtherOp("sum", "Sum", 48, 16), 3, 32),
        (OtherOp("soft", "Softmax", 10, 10), 1, 50),
        (OtherOp("norm", "LayerNormalization", 10, 10), 1, 70),
        (OtherOp("mean", "ReduceMean", 40, 10), 1, 40),
        (OtherOp("cat", "Concat", 40, 40), 2, 0),
    ],
)
def test_operations(op: OtherOp, inputs: int, count: int) -> None:
    assert operations_of(op, inputs) == count


def test_what_follows_a_layer_at_once_is_folded_or_fused() -> None:
    net = zoo("resnet20")
    told = {net.other[net.graph.operations[step].row].name: text for step, text in fusions(net.graph, net).items()}
    assert told["bn1"] == "folded into conv1"
    assert told["relu"] == "fused into conv1"
    assert told["layer1.0.relu2"] == "fused into layer1.0"  # into the addition
    assert not {"layer1.0", "avgpool"} & set(told)


def test_what_somebody_else_reads_first_is_not_fused() -> None:
    from hwflow.network.graph import GraphBuilder, Made

    flow = GraphBuilder()
    x, y, pooled = flow.tensor(8), flow.tensor(8), flow.tensor(2)
    flow.ran([Made("layers", "conv", 8)], [x], [y])
    flow.ran([Made("other", "MaxPool", 2)], [y], [pooled])
    flow.ran([Made("other", "Relu", 8)], [y], [z := flow.tensor(8)])
    net = Network("net", (Layer("c", C=1, M=1, P=8),), (OtherOp("pool", "MaxPool", 8, 2), OtherOp("relu", "Relu", 8, 8)))
    graph = flow.graph([x], [pooled, z])
    assert graph is not None
    assert fusions(graph, net) == {}


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_of_the_zoo_has_a_price(name: str) -> None:
    assert not {op.type for op in zoo(name).other if not priced(op.type)}


def test_an_operator_without_a_price_is_named() -> None:
    net = Network("net", (Layer("c", C=1, M=1),), (OtherOp("detect", "NonMaxSuppression", 4, 4),))
    with pytest.raises(InputError, match=r"network net: no price is known of detect \(NonMaxSuppression\).*Use 'mac'"):
        check_priced(net, "chip", chip().accelerator.vector_unit)
    with pytest.raises(InputError, match=r"accelerator chip has no vector_unit.*vector_unit: \{operations_per_cycle: 16\}"):
        check_priced(net, "chip", None)


def test_picojoules_of_the_unit_do_not_mix_with_normalised_units() -> None:
    here = chip(energy_pj=1)
    table = EnergyTable("normalized", "by hand", here.table.parts)
    with pytest.raises(InputError, match=r"vector_unit.energy_pj is 1, and the energies of the other parts are in normalised"):
        operator_cost(ADD, 16, [], [], Chip(here.accelerator, (), table), homes_of(here.accelerator))


def test_the_vector_unit_is_a_field_like_others() -> None:
    eyeriss = Accelerator.load("eyeriss")
    faster = eyeriss.with_({"vector_unit.operations_per_cycle": 64, "vector_unit.energy_pj": 0.5})
    assert faster.changes == {"vector_unit.operations_per_cycle": 64, "vector_unit.energy_pj": 0.5}
    assert faster.fingerprint == eyeriss.fingerprint  # layers do not see it
    with pytest.raises(InputError, match=r"unknown field of accelerator eyeriss 'vector_unit.lanes'"):
        eyeriss.with_({"vector_unit.lanes": 4})
    with pytest.raises(InputError, match=r"vector_unit\.operations_per_cycle"):
        eyeriss.with_({"vector_unit.operations_per_cycle": 0})

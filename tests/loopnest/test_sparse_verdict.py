"""A sparse layer's counts by hand, on a chip of one memory on the chip; that they are Timeloop's is tests/parity's business."""

from __future__ import annotations

from typing import Any

import pytest

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.layers import Bits, Densities, Layer
from hwflow.loopnest.nest import Nest
from hwflow.loopnest.sparse_verdict import FILLS, READS, UPDATES, SparseVerdict, sparse_verdict, why_dense
from hwflow.mapping import LevelMapping, Mapping

ALL = ("weights", "inputs", "outputs")
LAYER = Layer("l", C=10, M=8, type="linear", densities=Densities(0.5, 0.25, 1.0))
TABLE = EnergyTable(
    "pJ",
    "invented",
    {
        "dram": PartEnergy(read=10, write=10, update=10),
        "buffer": PartEnergy(read=1, write=1, update=1, leak=0.5),
        "mac": PartEnergy(compute=2),
    },
)


WORD = {"word_bits": 16, "width_bits": 16}


def memory(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "sram", "role": name, **WORD, **more}


def chip(sparsity: Any, *inside: dict[str, Any], **more: Any) -> Accelerator:
    """`inside`: parts below the buffer."""
    dram = {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", **WORD, **more}
    mac = {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16}
    hierarchy = [dram, memory("buffer", size_words=256), *inside, mac]
    content = {"name": "tiny", "technology_nm": 65, "clock_mhz": 1, "hierarchy": hierarchy, "sparsity": sparsity}
    return Accelerator.from_dict(content)


def verdict(accelerator: Accelerator, layer: Layer = LAYER) -> SparseVerdict:
    mapping = Mapping((LevelMapping("dram", [], [], ALL), LevelMapping("buffer", [("M", 8), ("C", 10)], [], ALL)))
    nest = Nest(layer, accelerator, TABLE)
    batch = nest.batch_of(mapping)
    assert not why_dense(nest, batch)
    assert layer.densities is not None
    return sparse_verdict(nest, batch, nest.evaluate(batch), layer.densities)


def test_skipped_products_take_neither_cycle_nor_energy() -> None:
    found = verdict(chip({"skips": "weights"}))
    assert found.products == 40  # of 80
    assert found.cycles == 40
    assert found.mac_energy == 80
    buffer = found.actual[:, 0]
    assert buffer[READS, 0] == 80  # the weight must be read to be known for a zero
    assert buffer[READS, 1] == 40
    assert found.skipped[READS, 0, 1] == 40
    assert buffer[UPDATES, 2] == 40
    assert found.leakage[0] == 0.5 * 40


def test_gated_products_take_a_cycle_and_no_energy() -> None:
    found = verdict(chip({"gates": "inputs"}))
    assert found.products == 20
    assert found.mac_energy == 40
    assert found.cycles == 80
    assert found.timeloop_cycles == 20
    assert found.gated[READS, 0, 0] == 60
    assert found.leakage[0] == 0.5 * 80
    assert found.timeloop_leakage[0] == 0.5 * 20


def test_zeros_of_both_operands() -> None:
    found = verdict(chip({"skips": ["weights", "inputs"]}))
    assert found.products == found.cycles == 10  # 80 / 2 / 4
    assert found.actual[UPDATES, 0, 2] == 10


def test_compressed_tensors_bring_their_indices() -> None:
    found = verdict(chip({"compressed": {"dram": {"weights": "rle", "inputs": "bitmask", "index_bits": 4}}}))
    assert found.actual[READS, 1].tolist() == [40, 3, 0]  # 10 inputs: 2 or 3, upwards
    assert found.index_bits[READS, 1].tolist() == [4 * 40, 10, 0]
    assert found.actual[FILLS, 0, 0] == 80  # expanded on the way in
    assert found.products == 80
    assert found.level_energy[1] == 10 * (40 + 3 + 8 + 160 // 16 + 1)


def test_a_slow_dram_waits_for_indices_too() -> None:
    sparsity = {"skips": "weights", "compressed": {"dram": {"weights": "rle", "index_bits": 8}}}
    assert verdict(chip(sparsity, read_words_per_cycle=0.5)).cycles == (40 + 40 * 8 // 16 + 10) / 0.5


def test_without_zeros_nothing_is_saved() -> None:
    full = LAYER.with_(densities=Densities())
    nest = Nest(full, chip({"skips": ["weights", "inputs"]}), TABLE)
    found = verdict(nest.accelerator, full)
    mapping = Mapping((LevelMapping("dram", [], [], ALL), LevelMapping("buffer", [("M", 8), ("C", 10)], [], ALL)))
    dense = nest.evaluate(nest.batch_of(mapping))
    assert found.energy == dense.energy[0]
    assert found.cycles == dense.cycles[0]


def test_what_is_not_counted_says_why() -> None:
    wide = LAYER.with_(bits=Bits(8, 16, 16))
    nest = Nest(wide, chip({"skips": "weights"}), TABLE)
    mapping = Mapping((LevelMapping("dram", [], [], ALL), LevelMapping("buffer", [("M", 8), ("C", 10)], [], ALL)))
    assert why_dense(nest, nest.batch_of(mapping)) == "tensors of several widths share a memory"


def test_below_the_innermost_memory_all_units_must_be_at_a_zero() -> None:
    array = {"name": "macs", "kind": "fanout", "role": "macs", "columns": 2}
    nest = Nest(LAYER, chip({"skips": "weights"}, array), TABLE)
    buffer = LevelMapping("buffer", [("M", 8), ("C", 5)], [("C", 2)], ALL, "X")
    mapping = Mapping((LevelMapping("dram", [], [], ALL), buffer))
    assert why_dense(nest, nest.batch_of(mapping)).startswith("several MAC units lie below buffer")


def test_an_access_that_serves_several_units_is_saved_where_all_are_at_a_zero() -> None:
    inside = (
        memory("inner", size_words=16, keeps=["inputs"]),
        {"name": "pes", "kind": "fanout", "role": "pes", "columns": 2},
        memory("spad", size_words=1, keeps=["weights"]),
    )
    parts = {name: PartEnergy(read=1, write=1, update=1) for name in ("dram", "buffer", "inner", "spad")}
    table = EnergyTable("pJ", "invented", {**parts, "mac": PartEnergy(compute=2)})
    nest = Nest(LAYER, chip({"skips": {"weights": ["inner"]}}, *inside), table)
    mapping = Mapping(
        (
            LevelMapping("dram", [], [], ALL),
            LevelMapping("buffer", [("M", 4), ("C", 10)], [], ALL),
            LevelMapping("inner", [], [("M", 2)], ("inputs",), "X"),
            LevelMapping("spad", [], [], ("weights",)),
        )
    )
    batch = nest.batch_of(mapping)
    for density, saved in ((0.5, 0), (0.25, 20), (0.125, 30)):  # 1 - 2 d of the 40 reads
        found = sparse_verdict(nest, batch, nest.evaluate(batch), Densities(density, 1.0, 1.0))
        assert found.skipped[READS, 1, 1] == pytest.approx(saved)

"""How wide a layer's elements are in a chip's memories."""

from __future__ import annotations

import numpy as np
import pytest

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import recorded
from hwflow.hardware.stored_bits import StoredBits, moved_bits, moved_bytes, packs, stored_bits, sum_bits, widened
from hwflow.layers import Bits, Layer

EYERISS = Accelerator.load("eyeriss")
LAYER = Layer("conv", C=16, M=16, P=8, Q=8, R=3, S=3)  # sums of 144 products, 8 bits


def memory(name: str, bits: Bits) -> StoredBits:
    """Of the chip that serves `LAYER` at these widths."""
    layer = LAYER.with_(bits=bits)
    return stored_bits(EYERISS.serving(layer)[name], layer)  # type: ignore[arg-type]


@pytest.mark.parametrize(("bits", "expected"), [((8, 8, 8), 24), ((4, 8, 8), 20), ((1, 1, 1), 10), ((16, 16, 16), 32)])
def test_a_sum_has_the_bits_of_its_products_and_of_their_number(bits: tuple[int, int, int], expected: int) -> None:
    assert sum_bits(LAYER, Bits(*bits)) == expected


def test_a_single_product_is_no_sum() -> None:
    assert sum_bits(Layer("scale", C=1, M=1, G=8, P=4, Q=4), Bits(8, 8, 8)) == 8


@pytest.mark.parametrize(("bits", "factor"), [((8, 8, 8), 24 / 16), ((16, 16, 16), 2.0), ((1, 1, 1), 1.0)])
def test_accumulators_are_as_wide_as_sums_and_never_narrower_than_described(bits: tuple[int, int, int], factor: float) -> None:
    layer = LAYER.with_(bits=Bits(*bits))
    chip = EYERISS.serving(layer)
    table = recorded(EYERISS)
    assert table is not None
    before, after = table.parts["psum_spad"], widened(table, chip, layer).parts["psum_spad"]
    for action in ("read", "write", "update", "leak", "area_um2"):
        assert getattr(after, action) == pytest.approx(factor * getattr(before, action))
    assert chip["psum_spad"] == EYERISS["psum_spad"]  # as many words, and as many a cycle
    assert {k: v for k, v in table.parts.items() if v != widened(table, chip, layer).parts[k]}.keys() <= {"psum_spad"}


def test_a_shared_memory_has_each_tensor_at_its_own_width_and_partial_sums_whole() -> None:
    assert memory("dram", Bits(4, 8, 8)) == StoredBits((4, 8, 8), (4, 8, 20))


def test_a_layer_that_asks_for_no_widths_finds_the_chip_as_it_is_described() -> None:
    assert not packs(EYERISS, LAYER)
    assert memory_words(EYERISS) == {m.name: (m.word_bits,) * 3 for m in EYERISS.memories}


def memory_words(chip: Accelerator) -> dict[str, tuple[int, ...]]:
    """The widths of `LAYER` without bits."""
    return {m.name: stored_bits(m, LAYER).own for m in chip.memories}


def test_what_is_read_again_is_a_partial_sum_and_the_last_update_is_complete() -> None:
    # 30 updates of 20 outputs: 10 are read again
    assert moved_bits(8, 24, 10, 0, 30) == (240, 0, 10 * 24 + 20 * 8)
    counts = np.array([[10.0, 4.0], [0.0, 2.0], [30.0, 4.0]])
    for column, alone in zip(np.stack(moved_bits(8, 24, *counts)).T, counts.T, strict=True):
        assert list(column) == list(moved_bits(8, 24, *alone))


def test_bytes_are_the_sum_over_tensors() -> None:
    layer = LAYER.with_(bits=Bits(4, 8, 8))
    counts = {"weights": 16.0, "inputs": 8.0}
    accesses = {t: {"reads": n, "fills": 0.0, "updates": 0.0} for t, n in counts.items()}
    accesses["outputs"] = {"reads": 10.0, "fills": 0.0, "updates": 30.0}
    assert moved_bytes(EYERISS.serving(layer).dram, layer, accesses) == 8 + 8 + (10 * 20 + 10 * 20 + 20 * 8) / 8  # type: ignore[arg-type]

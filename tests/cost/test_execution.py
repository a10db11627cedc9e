"""Executions: the rows and operators that they make of a layer, by hand, and which layers they refuse."""

from __future__ import annotations

from fractions import Fraction

import pytest

import hwflow
from hwflow.cost.execution import MatrixProduct, VirtualPooling
from hwflow.cost.operators import operations_of
from hwflow.cost.winograd import TRANSFORMS, Winograd, tile_operations, transforms
from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network import Network, OtherOp

CONV = Layer("conv", C=64, M=32, P=14, Q=10, R=3, S=3, N=2)
OTHERS = {
    "its kernel is 5 x 5": CONV.with_(R=5, S=5),
    "its kernel is 3 x 1": CONV.with_(S=1),
    "its stride is 2 x 1": CONV.with_(strides=(2, 1)),
    "its dilation is 1 x 2": CONV.with_(dilations=(1, 2)),
    "it has 4 groups": CONV.with_(G=4),
    "it is a linear layer": Layer("fc", C=8, M=8, type="linear"),
    "it is a transposed convolution": CONV.with_(type="conv_transpose"),
    "it is a product of two activations": Layer("qk", C=8, M=8, type="matmul"),
}


@pytest.mark.parametrize("m", TRANSFORMS)
def test_a_winograd_product_is_a_grouped_layer_of_its_positions(m: int) -> None:
    way, size = Winograd(m), m + 2
    (row,) = way.rows(CONV)
    tiles = -(-14 // m) * -(-10 // m)
    assert (row.name, row.G, row.C, row.M, row.P, row.Q, row.R, row.S, row.N) == ("conv", size**2, 64, 32, tiles, 1, 1, 1, 2)
    assert row.macs == 2 * size**2 * tiles * 64 * 32
    assert row.params == size**2 * 64 * 32
    before, after = way.other(CONV)
    assert (before.words_in, before.words_out) == (CONV.words("inputs"), 2 * size**2 * tiles * 64)
    assert (after.words_in, after.words_out) == (2 * size**2 * tiles * 32, CONV.words("outputs"))
    assert way.steps(CONV) == (before, row, after)
    # operations are those of all tiles and channels, also of those that reach out of the image
    for op, channels in ((before, 64), (after, 32)):
        operations, elements = tile_operations(op.type) or (0, 0)
        assert (operations_of(op, 1), elements) == (2 * tiles * channels * operations, size**2)


def test_transforms_take_as_many_operations_as_their_matrices_have_additions_and_factors() -> None:
    # F(2, 3): four additions for each of 4 + 4 and of 4 + 2 columns and rows
    assert tile_operations("WinogradInput2") == (4 * 8, 16)
    assert tile_operations("WinogradOutput2") == (4 * 6, 16)
    # F(4, 3): 28 and 20 operations, by 6 + 6 and 6 + 4
    assert tile_operations("WinogradInput4") == (28 * 12, 36)
    assert tile_operations("WinogradOutput4") == (20 * 10, 36)
    assert tile_operations("Add") is None


@pytest.mark.parametrize("m", TRANSFORMS)
def test_the_matrices_are_those_of_a_convolution(m: int) -> None:
    """In one dimension, exactly: for unit tiles and unit kernels, A^T [(G w) * (B^T x)] is the convolution."""
    inputs, weights, outputs = transforms(m)
    for place in range(m + 2):
        for tap in range(3):
            x = [Fraction(int(i == place)) for i in range(m + 2)]
            w = [Fraction(int(i == tap)) for i in range(3)]
            product = [
                sum(a * b for a, b in zip(inputs[i], x, strict=True)) * sum(a * b for a, b in zip(weights[i], w, strict=True))
                for i in range(m + 2)
            ]
            found = [sum(a * b for a, b in zip(row, product, strict=True)) for row in outputs]
            assert found == [Fraction(int(place - tap == i)) for i in range(m)]


@pytest.mark.parametrize(("why", "layer"), OTHERS.items())
def test_winograd_refuses_what_is_no_plain_convolution_of_three_by_three(why: str, layer: Layer) -> None:
    assert Winograd(4).why_not(layer) == why
    with pytest.raises(InputError, match=f"layer '{layer.name}' cannot run as winograd4: {why}"):
        Winograd(4).rows(layer)


def test_only_tiles_with_matrices_are_winograds() -> None:
    with pytest.raises(InputError, match="m is 3; Winograd tiles give 2 x 2 or 4 x 4 outputs"):
        Winograd(3)


def test_im2col_is_the_product_with_all_columns() -> None:
    way = MatrixProduct()
    (row,) = way.rows(CONV)
    assert (row.C, row.M, row.P, row.Q, row.R, row.S, row.N) == (64 * 9, 32, 140, 1, 1, 1, 2)
    assert (row.macs, row.params) == (CONV.macs, CONV.params)
    assert way.steps(CONV) == (OtherOp("conv.im2col", "Im2Col", CONV.words("inputs"), 2 * 64 * 9 * 140), row)
    assert operations_of(way.other(CONV)[0], 1) == 0  # a copy
    assert way.why_not(CONV.with_(R=1, S=1)) == "its kernel is 1 x 1, so its patches are its inputs"
    assert way.why_not(CONV.with_(G=4)) == "it has 4 groups"
    assert way.why_not(CONV.with_(strides=(2, 2))) == ""


def test_virtual_pooling_takes_a_quarter_of_the_macs_of_even_maps() -> None:
    way = VirtualPooling()
    (row,) = way.rows(CONV)
    assert (row.P, row.Q, row.strides, row.params) == (7, 5, (2, 2), CONV.params)
    assert row.macs * 4 == CONV.macs
    (odd,) = way.rows(CONV.with_(P=7, Q=5))
    assert (odd.P, odd.Q) == (4, 3)
    resize = OtherOp("conv.interpolation", "Resize", row.words("outputs"), CONV.words("outputs"))
    assert way.steps(CONV) == (row, resize)
    assert way.why_not(CONV.with_(strides=(2, 2))) == "its stride is 2 x 2"
    assert way.why_not(CONV.with_(P=1)) == "its map has 1 x 10 pixels"


@pytest.mark.parametrize("level", ["coarse", "mid"])
def test_a_virtually_pooled_layer_costs_what_the_strided_one_does(level: str) -> None:
    strided = CONV.with_(P=7, Q=5, strides=(2, 2), execution="vip")
    plain = hwflow.estimate(Network("net", (strided,)), "eyeriss", level=level, store=False)
    pooled = hwflow.estimate(Network("net", (CONV,)), "eyeriss", level=level, store=False, execution="vip")
    assert pooled.rows == plain.rows
    assert pooled.rows[0].row()["execution"] == "vip"


TABLE = {
    (64, 56): {"direct": (1025, 688), "winograd2": (639, 928), "winograd4": (374, 584), "vip": (283, 186)},
    (64, 16): {"direct": (86, 61), "winograd2": (60, 109), "winograd4": (48, 123), "vip": (27, 33)},
    (256, 14): {"direct": (1036, 688), "winograd2": (613, 806), "winograd4": (659, 1475), "vip": (318, 367)},
    (16, 32): {"direct": (24, 21), "winograd2": (28, 75), "winograd4": (16, 46), "vip": (8, 13)},
}
"""uJ and kcycles on eyeriss; half the columns are in tests/compression/channels/test_columns.py."""


@pytest.mark.parametrize(("channels", "size"), TABLE)
def test_what_executions_cost_on_eyeriss(channels: int, size: int) -> None:
    """A regression test, with the project's own numbers: Winograd saves energy and mostly takes longer, since its transformed
    tensors wait for DRAM."""
    layer = Layer("conv", C=channels, M=channels, P=size, Q=size, R=3, S=3)
    for way, (energy, kcycles) in TABLE[channels, size].items():
        row = hwflow.estimate(Network("net", (layer,)), "eyeriss", store=False, execution=way).rows[0]
        assert row.energy_pj == pytest.approx(energy * 1e6, rel=0.03)
        assert row.cycles == pytest.approx(kcycles * 1e3, rel=0.03)
        if way.startswith("winograd"):
            assert row.bound_by == "dram"

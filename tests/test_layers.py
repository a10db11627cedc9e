"""Layer: sizes, projections, identity, and what it refuses."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwflow.errors import InputError
from hwflow.layers import DIMS, TENSORS, Bits, Layer

sizes = st.integers(1, 5)


def test_first_layer_of_resnet() -> None:
    layer = Layer("conv1", C=3, M=64, P=112, Q=112, R=7, S=7, strides=(2, 2))
    assert layer.macs == 3 * 64 * 112 * 112 * 49 == 118013952
    assert layer.params == layer.words("weights") == 3 * 64 * 49
    assert layer.words("outputs") == 64 * 112 * 112
    assert layer.words("inputs") == 3 * 229 * 229  # (112 - 1) 2 + (7 - 1) + 1, padding included in the hull


def test_groups_multiply_macs_and_every_tensor() -> None:
    layer = Layer("dw", G=32, C=1, M=1, P=8, Q=8, R=3, S=3)
    assert layer.macs == 32 * 64 * 9
    assert layer.params == 32 * 9
    assert layer.words("inputs") == 32 * 100


def test_transposed_convolution_scatters_into_the_outputs() -> None:
    layer = Layer("up", C=8, M=4, P=5, Q=6, R=4, S=3, strides=(2, 3), type="conv_transpose")
    assert layer.words("inputs") == 8 * 5 * 6
    assert layer.words("outputs") == 4 * ((5 - 1) * 2 + 4) * ((6 - 1) * 3 + 3)
    assert layer.macs == 8 * 4 * 5 * 6 * 4 * 3


def test_product_of_activations_has_no_parameters() -> None:
    layer = Layer("scores", C=64, M=49, P=49, G=8, type="matmul")
    assert (layer.params, layer.words("weights")) == (0, 8 * 64 * 49)


@given(st.fixed_dictionaries(dict.fromkeys(DIMS, sizes)), st.tuples(sizes, sizes), st.tuples(sizes, sizes), st.booleans())
def test_words_are_the_hull_of_what_the_loops_touch(
    dims: dict[str, int], strides: tuple[int, int], dilations: tuple[int, int], transposed: bool
) -> None:
    layer = Layer("x", **dims, strides=strides, dilations=dilations, type="conv_transpose" if transposed else "conv")  # type: ignore[arg-type]
    for tensor in TENSORS:
        hull = 1
        for axis in layer.projections[tensor]:
            reached = {0}
            for term in axis:
                reached = {r + term.coefficient * i for r in reached for i in range(layer.dims[term.dim])}
            hull *= max(reached) + 1
        assert layer.words(tensor) == hull


def test_names_are_no_part_of_the_identity() -> None:
    layer = Layer("a", C=2, M=3, P=4, Q=5)
    assert layer.key == layer.with_(name="b", params_other=7).key
    assert layer.key != layer.with_(M=4).key
    assert layer.key != layer.with_(bits=Bits(8, 8, 8)).key
    assert layer.key != layer.with_(type="conv_transpose").key
    assert Layer("fc", C=2, M=3, type="linear").key == Layer("pw", C=2, M=3).key


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"C": 0}, "layer 'x': C is 0; it must be a whole number of at least 1"),
        ({"M": 2.5}, "M is 2.5"),
        ({"P": True}, "P is True"),
        ({"strides": (1, 0)}, r"strides\[1\] is 0"),
        ({"dilations": 2}, "dilations is 2; it must be two whole numbers"),
        ({"type": "pool"}, "type is 'pool'; allowed: conv, conv_transpose, linear, matmul"),
        ({"P": 2**31}, "P is 2147483648; the largest that can be costed is 2147483647"),
        ({"C": 10**6, "M": 10**6, "P": 10**6}, "too large to cost"),
        ({"bits": (8, 0, 8)}, "bits.inputs is 0"),
    ],
)
def test_wrong_fields_are_named_with_their_value(change: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Layer("x", C=1, M=1).with_(**change)


def test_layers_travel_to_other_processes() -> None:
    layer = Layer("a", C=2, M=3, P=4, bits=Bits(8, 8, 8))
    assert layer.macs == 24  # which fills what is derived
    assert pickle.loads(pickle.dumps(layer)) == layer

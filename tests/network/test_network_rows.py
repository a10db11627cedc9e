"""Rows from shapes: products under broadcasting against NumPy, and refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network._rows import convolution, linear, product

sizes = st.integers(1, 5)


@st.composite
def factors(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes that NumPy's matmul accepts, vectors and broadcast batches included."""
    inner = draw(sizes)
    batch = draw(st.lists(sizes, max_size=3))

    def of_batch() -> list[int]:
        return [draw(st.sampled_from([n, 1])) for n in batch][draw(st.integers(0, len(batch))) :]

    left, right = [*of_batch(), draw(sizes), inner], [*of_batch(), inner, draw(sizes)]
    if len(left) == 2 and draw(st.booleans()):
        left = left[1:]
    if len(right) == 2 and draw(st.booleans()):
        right = right[:1]
    return tuple(left), tuple(right)


@given(factors(), st.booleans(), st.booleans())
def test_a_product_counts_what_matmul_does(shapes: Any, left_fixed: bool, right_fixed: bool) -> None:
    left, right = shapes
    layer = product("x", left, right, left_fixed=left_fixed, right_fixed=right_fixed)
    result = np.matmul(np.zeros(left), np.zeros(right))
    assert layer.macs == result.size * left[-1]
    assert layer.words("outputs") == result.size
    assert layer.type == ("linear" if left_fixed or right_fixed else "matmul")
    if right_fixed:
        assert layer.words("weights") == math.prod(right)
    elif left_fixed:
        assert layer.params == math.prod(left)


def test_the_operand_without_batch_is_read_again() -> None:
    assert product("x", (2, 3, 4, 5), (5, 6), left_fixed=False, right_fixed=False) == Layer(
        "x", type="matmul", N=6, P=4, C=5, M=6
    )
    assert product("x", (4, 5), (7, 5, 6), left_fixed=False, right_fixed=False) == Layer("x", type="matmul", P=4, C=5, M=42)
    assert product("x", (4, 5), (7, 5, 6), left_fixed=True, right_fixed=False) == Layer("x", type="linear", N=7, P=6, C=5, M=4)
    assert product("x", (9, 7, 4, 5), (7, 5, 6), left_fixed=False, right_fixed=True) == Layer(
        "x", type="linear", N=9, G=7, P=4, C=5, M=6
    )


@pytest.mark.parametrize(
    ("left", "right", "text"),
    [((2, 3), (4, 5), "inner sizes differ"), ((2, 4, 3), (3, 3, 5), "batch sizes 2 and 3 differ"), ((), (3,), "inner sizes")],
)
def test_products_that_do_not_fit(left: tuple[int, ...], right: tuple[int, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        product("x", left, right, left_fixed=False, right_fixed=False)


def test_a_lone_vector_is_one_row() -> None:
    assert linear("x", (6,), 4, bias=4) == Layer("x", type="linear", C=6, M=4)


def test_convolutions_that_do_not_fit() -> None:
    def conv(inputs: tuple[int, ...], outputs: tuple[int, ...], weights: tuple[int, ...], groups: int = 1) -> Layer:
        axes = len(inputs) - 2
        return convolution("x", inputs, outputs, weights, strides=[1] * axes, dilations=[1] * axes, groups=groups)

    with pytest.raises(InputError, match="weights 4x3x3x3 are for 3 input channels; the input has 5"):
        conv((1, 5, 8, 8), (1, 4, 6, 6), (4, 3, 3, 3))
    with pytest.raises(InputError, match=r"groups is 2; it must divide the input channels \(5\)"):
        conv((1, 5, 8, 8), (1, 4, 6, 6), (4, 3, 3, 3), groups=2)
    for groups in (0, -1):
        with pytest.raises(InputError, match=f"groups is {groups}; it must be at least 1"):
            conv((1, 4, 8, 8), (1, 4, 6, 6), (4, 4, 3, 3), groups=groups)
    with pytest.raises(InputError, match="convolution over 3 spatial axes"):
        conv((1, 5, 8, 8, 8), (1, 4, 6, 6, 6), (4, 5, 3, 3, 3))

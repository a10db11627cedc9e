"""Einsum: every equation's products against the definition, in ONNX files and by itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx_files import save, weights

from hwflow.errors import ImportFailed, InputError
from hwflow.layers import Layer
from hwflow.network import OtherOp
from hwflow.network._einsum import parse, rows
from hwflow.network.from_onnx import read

Shapes = list[tuple[int, ...]]


def layers(equation: str, shapes: Shapes, fixed: list[bool] | None = None) -> list[Any]:
    return rows("x", parse(equation, shapes), shapes, fixed or [False] * len(shapes))


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("bhqd,bhkd->bhqk", [(2, 4, 5, 8), (2, 4, 6, 8)], Layer("x", type="matmul", G=8, P=5, C=8, M=6)),
        ("ij,jk", [(3, 4), (4, 5)], Layer("x", type="matmul", P=3, C=4, M=5)),
        ("nchw,cm->nmhw", [(2, 3, 4, 5), (3, 7)], Layer("x", type="matmul", P=40, C=3, M=7)),
        ("...c,cd->...d", [(2, 3, 5, 8), (8, 4)], Layer("x", type="matmul", P=30, C=8, M=4)),
        ("...ij,...jk", [(2, 7, 3, 4), (7, 4, 5)], Layer("x", type="matmul", G=7, P=6, C=4, M=5)),
        ("b...d, ...d -> b...", [(2, 3, 4), (3, 4)], Layer("x", type="matmul", G=3, P=2, C=4, M=1)),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (1, 7, 4, 5)], Layer("x", type="matmul", P=6, C=4, M=35)),
        ("ii,ij->j", [(3, 3), (3, 4)], Layer("x", type="matmul", C=3, M=4)),
        ("bii,bij->bj", [(2, 3, 3), (2, 3, 4)], Layer("x", type="matmul", G=2, C=3, M=4)),
        ("ijk,jm->im", [(2, 3, 4), (3, 5)], Layer("x", type="matmul", P=2, C=3, M=5)),
        ("ij,ij->", [(3, 4), (3, 4)], Layer("x", type="matmul", C=12, M=1)),
        ("bi,bi->b", [(3, 4), (3, 4)], Layer("x", type="matmul", G=3, C=4, M=1)),
        ("ij,jk->ik", [(3, 4), (4, 1)], Layer("x", type="matmul", P=3, C=4, M=1)),
    ],
)
def test_products_of_two(equation: str, shapes: Shapes, expected: Layer) -> None:
    assert layers(equation, shapes) == [expected]
    assert parse(equation, shapes).shape == np.einsum(equation, *(np.zeros(s) for s in shapes)).shape


def test_fixed_weights_on_either_side_are_linear() -> None:
    expected = [Layer("x", type="linear", N=2, P=5, C=3, M=7)]
    assert layers("bsc,cm->bsm", [(2, 5, 3), (3, 7)], [False, True]) == expected
    assert layers("cm,bsc->bsm", [(3, 7), (2, 5, 3)], [True, False]) == expected
    grouped = [Layer("x", type="linear", G=4, P=5, C=3, M=7)]
    assert layers("gsc,gcm->gsm", [(4, 5, 3), (4, 3, 7)], [False, True]) == grouped


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [  # PyTorch's importer counts the same
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], [24, 40]),
        ("ij,ij,ij->i", [(2, 3)] * 3, [6]),
        ("bi,oij,bj->bo", [(2, 3), (4, 3, 5), (2, 5)], [2 * 3 * 20, 2 * 4 * 5]),
        ("ab,bc,cd,de->ae", [(2, 3), (3, 4), (4, 5), (5, 6)], [24, 40, 60]),
    ],
)
def test_several_operands_are_multiplied_from_left_to_right(equation: str, shapes: Shapes, macs: list[int]) -> None:
    assert [row.macs for row in layers(equation, shapes) if isinstance(row, Layer)] == macs


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ijkl->lkji", [(2, 3, 4, 5)]),
        ("ii->i", [(3, 3)]),
        ("...ij->...ji", [(2, 3, 4)]),
        ("ij->", [(2, 3)]),
        ("i,j->ij", [(3,), (4,)]),
        ("bij,bij->bij", [(2, 3, 4)] * 2),
        ("ij,kl->jk", [(2, 3), (4, 5)]),
    ],
)
def test_what_accumulates_no_products_is_no_row(equation: str, shapes: Shapes) -> None:
    (row,) = layers(equation, shapes)
    assert isinstance(row, OtherOp)
    assert row.type == "Einsum"
    assert row.words_out == np.einsum(equation, *(np.zeros(s) for s in shapes)).size


@given(st.data())
def test_two_operands_multiply_what_is_left_after_sums_and_diagonals(data: Any) -> None:
    """MACs are the product of the indices that the two share or that the result keeps; sums of one operand come first."""
    sizes = {c: data.draw(st.integers(2, 4)) for c in "abcde"}
    terms = [data.draw(st.text("abcde", min_size=1, max_size=4)) for _ in range(2)]
    used = sorted(set("".join(terms)))
    result = "".join(data.draw(st.permutations(used))[: data.draw(st.integers(0, len(used)))])
    shapes = [tuple(sizes[c] for c in term) for term in terms]
    a, b = (set(term) for term in terms)
    kept = {c for c in used if c in result or c in a & b}
    found = layers(f"{terms[0]},{terms[1]}->{result}", shapes)
    assert [r.macs for r in found if isinstance(r, Layer)] == (
        [math.prod(sizes[c] for c in kept)] if (a & b) - set(result) else []
    )
    assert parse(f"{terms[0]},{terms[1]}->{result}", shapes).shape == tuple(sizes[c] for c in result)


@pytest.mark.parametrize(
    ("equation", "shapes", "text"),
    [
        ("ij,jk", [(3, 4)], "has 2 operands, the node 1"),
        ("ij,jk->ik", [(3, 4), (5, 6)], "gives the index 'j' two sizes, 4 and 5"),
        ("ii->i", [(3, 4)], "gives the index 'i' two sizes, 3 and 4"),
        ("ij,jk->im", [(3, 4), (4, 6)], "each index of the result must stand there once, and in an operand"),
        ("ij,jk->ii", [(3, 4), (4, 6)], "each index of the result must stand there once"),
        ("ijk,k->ij", [(3, 4), (4,)], "'ijk' does not name 2 axes"),
        ("i...j...,j->i", [(3, 4, 5), (4,)], "does not name 3 axes"),
        ("...ij->j", [(3,)], "does not name 1 axes"),
        ("i1,1j->ij", [(3, 4), (4, 5)], "'i1' does not name 2 axes"),
    ],
)
def test_equations_that_do_not_fit(equation: str, shapes: Shapes, text: str) -> None:
    with pytest.raises(InputError, match=text):
        parse(equation, shapes)


# In files ------------------------------------------------------------------------------------------------------------


def test_an_ellipsis_in_a_file(tmp_path: Path) -> None:
    node = helper.make_node("Einsum", ["q", "w"], ["y"], equation="...c,cd->...d")
    net = read(save(tmp_path / "net.onnx", [node], {"q": [2, 3, 5, 8]}, [weights("w", 8, 4)]))
    assert net.layers == (Layer("y", type="linear", N=2, P=15, C=8, M=4),)
    assert net.macs == 960


def test_one_operand_and_what_follows_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Einsum", ["x"], ["t"], equation="...ij->...ji", name="turn"),
        helper.make_node("Einsum", ["t"], ["s"], equation="bij->bj", name="sum"),
        helper.make_node("Einsum", ["s", "w", "v"], ["y"], equation="bj,jk,kl->bl", name="chain"),
    ]
    net = read(save(tmp_path / "net.onnx", nodes, {"x": [2, 3, 4]}, [weights("w", 3, 5), weights("v", 5, 6)]))
    assert [(layer.name, layer.type, layer.macs) for layer in net] == [("chain", "linear", 30), ("chain#2", "linear", 60)]
    assert net.other == (OtherOp("turn", "Einsum", 24, 24), OtherOp("sum", "Einsum", 24, 6))


def test_weights_made_by_an_einsum_are_weights(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Einsum", ["w", "v"], ["k"], equation="ij,jk->ki"),
        helper.make_node("MatMul", ["x", "k"], ["y"]),
    ]
    net = read(save(tmp_path / "net.onnx", nodes, {"x": [2, 6]}, [weights("w", 4, 5), weights("v", 5, 6)]))
    assert net.layers == (Layer("y", type="linear", N=2, C=6, M=4),)


def test_an_equation_that_does_not_fit_names_the_node(tmp_path: Path) -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation="ij,jk->ik", name="product")
    save(tmp_path / "net.onnx", [node], {"x": [2, 3]}, [weights("w", 4, 5)])
    with pytest.raises(
        ImportFailed, match=r"node 'product' \(Einsum\): the equation .* gives the index 'j' two sizes, 3 and 4"
    ):
        read(tmp_path / "net.onnx")

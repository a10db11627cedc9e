"""Rows of ONNX's own operators that hold multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwflow.layers import Layer
from hwflow.network import _einsum
from hwflow.network._onnx_node import Node
from hwflow.network._onnx_values import Tensor
from hwflow.network._rows import convolution, product
from hwflow.network.network import OtherOp

Rows = list[Layer | OtherOp]


def conv(node: Node, weights: int = 1, bias: int | None = 2, *, transposed: bool = False, channels_last: bool = False) -> Rows:
    """A convolution; `weights` and `bias` are the positions of these inputs."""
    x, w = node.shape(0), node.shape(weights)
    if not node.fixed(weights):
        raise node.failure("its weights are computed from the input")
    ones = [1] * (len(w) - 2)
    y = node.result()
    if channels_last:
        x, y = channels_first(x), channels_first(y)
    return [
        convolution(
            node.name,
            x,
            y,
            w,
            strides=node.ints("strides", ones),
            dilations=node.ints("dilations", ones),
            groups=node.integer("group", 1),
            bias=0 if bias is None else node.size(bias),
            transposed=transposed,
        )
    ]


def matmul(node: Node, right: int = 1, bias: int | None = None) -> Rows:
    """A matrix product with NumPy's broadcasting."""
    return [
        product(
            node.name,
            node.shape(0),
            node.shape(right),
            left_fixed=node.fixed(0),
            right_fixed=node.fixed(right),
            bias=0 if bias is None else node.size(bias),
        )
    ]


def gemm(node: Node, right: int = 1, bias: int = 2) -> Rows:
    """A product of two matrices, each of which may be transposed."""
    a, b = node.shape(0), node.shape(right)
    return [
        product(
            node.name,
            a[::-1] if node.integer("transA") else a,
            b[::-1] if node.integer("transB") else b,
            left_fixed=node.fixed(0),
            right_fixed=node.fixed(right),
            bias=node.size(bias),
        )
    ]


def attention(name: str, query: Sequence[int], keys: int, width: int, *, kv_heads: int | None = None) -> Rows:
    """Scores, softmax and weighted sum of scaled dot-product attention.

    Args:
        query: (batch, heads, queries, width of a head).
        keys: keys and values that each query attends to, past and masked ones included.
        width: of a value's head.
        kv_heads: heads of keys and values where several query heads share one.
    """
    batch, heads, queries, depth = query
    shared = heads // kv_heads if kv_heads else 1
    groups, rows = batch * heads // shared, queries * shared
    scores = batch * heads * queries * keys
    return [
        Layer(name, type="matmul", G=groups, P=rows, C=depth, M=keys),
        OtherOp(name, "Softmax", scores, scores),
        Layer(name, type="matmul", G=groups, P=rows, C=keys, M=width),
    ]


def _attention(node: Node) -> Rows:
    """ONNX's Attention (since operator set 23): heads as a separate axis, or concatenated in the last axis."""
    q, k, v = (node.shape(i) for i in range(3))
    if {len(q), len(k), len(v)} == {3}:
        heads, kv_heads = node.positive("q_num_heads"), node.positive("kv_num_heads")
        q = (q[0], heads, q[1], q[2] // heads)
        k, v = ((t[0], kv_heads, t[1], t[2] // kv_heads) for t in (k, v))
    if {len(q), len(k), len(v)} != {4}:
        raise node.failure(f"queries, keys and values have {len(q)}, {len(k)} and {len(v)} axes; they must have 3 or 4 alike")
    past = node.shape(4)[2] if node.has(4) else 0
    if k[1] < 1 or q[1] % k[1]:
        raise node.failure(f"its {q[1]} heads of queries are no multiple of its {k[1]} heads of keys")
    return attention(node.name, q, past + k[2], v[3], kv_heads=k[1])


def _equation(node: Node) -> _einsum.Equation | None:
    """None where the rank of an operand depends on data."""
    shapes = [node.tensor(i).shape for i in range(len(node.inputs))]
    known = [s for s in shapes if s is not None]
    return _einsum.parse(node.text("equation"), known) if len(known) == len(shapes) and shapes else None


def einsum_result(node: Node) -> Tensor:
    """The result of an Einsum; onnx's inference supports only simple equations."""
    equation = _equation(node)
    dtype = node.tensor(0).dtype
    fixed = all(node.fixed(i) for i in range(len(node.inputs)))
    return Tensor(dtype, None if equation is None else equation.shape, fixed)


def _einsum_rows(node: Node) -> Rows:
    positions = range(len(node.inputs))
    shapes = [node.shape(i) for i in positions]
    equation = _einsum.parse(node.text("equation"), shapes)
    return _einsum.rows(node.name, equation, shapes, [node.fixed(i) for i in positions])


def channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape (batch, space, channels) as (batch, channels, space)."""
    return (shape[0], shape[-1], *shape[1:-1]) if len(shape) > 1 else tuple(shape)


ROWS: dict[str, Callable[[Node], Rows]] = {
    "Attention": _attention,
    "Conv": conv,
    "ConvInteger": lambda node: conv(node, bias=None),
    "ConvTranspose": lambda node: conv(node, transposed=True),
    "Einsum": _einsum_rows,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMulInteger": matmul,
    "QLinearConv": lambda node: conv(node, weights=3, bias=8),
    "QLinearMatMul": lambda node: matmul(node, right=3),
}

__all__ = ["ROWS", "Rows", "attention", "channels_first", "conv", "einsum_result", "gemm", "matmul"]

"""Rows of com.microsoft operators with multiply-accumulates: fused, quantised and packed layers, attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from onnx import TensorProto

from hwflow.network._onnx_node import Node
from hwflow.network._onnx_rows import Rows, attention, conv, gemm, matmul
from hwflow.network._onnx_values import elements
from hwflow.network._rows import linear, product, shown
from hwflow.network.network import OtherOp

# Products ------------------------------------------------------------------------------------------------------------


def turned(node: Node, shape: Sequence[int], which: str) -> tuple[int, ...]:
    """An operand's shape as the product reads it: `transBatch` moves axis 0 behind the batch, `trans` swaps the last two."""
    result = tuple(shape)
    if len(result) > 1 and node.integer(f"transBatch{which}"):
        result = (*result[1:-1], result[0], result[-1])
    if len(result) > 1 and node.integer(f"trans{which}"):
        result = (*result[:-2], result[-1], result[-2])
    return result


def _matmul(node: Node) -> Rows:
    left, right = turned(node, node.shape(0), "A"), turned(node, node.shape(1), "B")
    return [product(node.name, left, right, left_fixed=node.fixed(0), right_fixed=node.fixed(1))]


def n_bits(node: Node) -> list[int]:
    """The number of columns of each product with packed weights."""
    if node.op == "MatMulNBitsQkv":
        return [node.positive("Nq"), *[node.positive("Nkv")] * 2]
    if node.op == "MatMulFpQ4":
        shape = node.content(2)
        if shape is None or len(shape) != 2:
            raise node.failure(f"its weights have the shape {shape}; they must be a matrix")
        return shape[1:]
    return [node.positive("N")] * (2 if node.op == "MatMulNBitsMlp" else 1)


_N_BITS_WEIGHTS = {"MatMulNBitsMlp": ((3, 5), (6, 8)), "MatMulNBitsQkv": ((3, 5), (6, 8), (9, 11)), "MatMulNBits": ((1, 5),)}
"""Positions of weights and bias for each product."""


def _n_bits(node: Node) -> Rows:
    shape, columns = node.shape(0), n_bits(node)
    inner = (node.content(2) or [0])[0] if node.op == "MatMulFpQ4" else node.positive("K")
    if not shape or shape[-1] != inner:
        raise node.failure(f"its weights have {inner} rows; its input is {shown(shape)}")
    found: Rows = []
    for n, (weights, bias) in zip(columns, _N_BITS_WEIGHTS.get(node.op, ((1, len(node.inputs)),)), strict=True):
        fixed = node.fixed(weights)
        found.append(product(node.name, shape, (inner, n), left_fixed=node.fixed(0), right_fixed=fixed, bias=node.size(bias)))
    return found


# Convolutions --------------------------------------------------------------------------------------------------------


def _fused_conv(node: Node) -> Rows:
    """A convolution whose fourth input, if any, is added to the result."""
    return [*conv(node), *_added(node)]


def _nhwc_conv(node: Node) -> Rows:
    """The channels of input and result come last; those of the weights do not."""
    return [*conv(node, channels_last=True), *_added(node)]


def _added(node: Node) -> Rows:
    if not node.has(3):
        return []
    words = elements(node.inputs[3])
    return [OtherOp(node.name, "Add", 2 * words, words)]


# Attention -----------------------------------------------------------------------------------------------------------


class Heads(NamedTuple):
    """Sizes of a multi-head attention; `keys` includes past keys."""

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    depth: int
    width: int


def _projected(node: Node) -> Heads:
    """Attention that includes the projection of its input to queries, keys and values."""
    batch, queries, _ = node.shape(0)
    heads = node.positive("num_heads")
    hidden = _hidden(node)
    if len(hidden) != 3 or any(n < 1 or n % heads for n in hidden) or hidden[0] != hidden[1]:
        raise node.failure(f"its queries, keys and values have {hidden} channels for {heads} heads")
    position = {"Attention": 4, "QAttention": 8, "QOrderedAttention": 18}[node.op]
    past = node.shape(position)[3] if node.has(position) else 0
    if past and node.integer("past_present_share_buffer"):
        raise node.failure("how far its buffer of past keys and values is filled depends on data")
    return Heads(batch, heads, heads, queries, past + queries, hidden[0] // heads, hidden[2] // heads)


def _hidden(node: Node) -> list[int]:
    if node.op == "QOrderedAttention":
        return [node.shape(i)[-1] for i in (5, 6, 7)]
    third = node.shape(1)[-1] // 3
    return node.ints("qkv_hidden_sizes", [third] * 3)


def _given(node: Node) -> Heads:
    """MultiHeadAttention on queries, keys and values, which may be packed into one tensor."""
    query, heads = node.shape(0), node.positive("num_heads")
    past = node.shape(6)[2] if node.has(6) else 0
    if len(query) == 5:  # batch, sequence, heads, 3, width
        return Heads(query[0], heads, heads, query[1], past + query[1], query[4], query[4])
    batch, queries, hidden = query
    depth = hidden // heads
    key = node.shape(1)
    if len(key) == 5:  # batch, sequence, heads, 2, width
        return Heads(batch, heads, heads, queries, past + key[1], depth, key[4])
    value = node.shape(2)
    if len(key) == 4:  # batch, heads, sequence, width: cached keys or values for cross-attention
        return Heads(batch, heads, heads, queries, key[2], depth, value[3])
    return Heads(batch, heads, heads, queries, past + key[1], depth, value[2] // heads)


def _grouped(node: Node) -> Heads:
    """GroupQueryAttention; `total_sequence_length` is the filled length of the key-value cache."""
    batch, queries, hidden = node.shape(0)
    heads, kv_heads = node.positive("num_heads"), node.positive("kv_num_heads")
    if heads % kv_heads:
        raise node.failure(f"its {heads} heads of queries are no multiple of its {kv_heads} heads of keys")
    depth = hidden // heads if node.has(1) else hidden // (heads + 2 * kv_heads)
    past = node.shape(3)[2] if node.has(3) else 0
    total = (node.content(6) or [0])[0] if past else queries
    window = node.integer("local_window_size", -1)
    if 0 < window < total:
        raise node.failure(f"each query sees the last {window} of {total} keys; hwflow expresses attention to all of them")
    if not queries <= total <= past + queries:
        raise node.failure(f"it sees {total} keys; {past} are from before and {queries} new")
    return Heads(batch, heads, kv_heads, queries, total, depth, depth)


def _heads(node: Node) -> Heads:
    try:
        return {"GroupQueryAttention": _grouped, "MultiHeadAttention": _given}.get(node.op, _projected)(node)
    except ValueError as error:
        raise node.failure(f"the shape of its input does not fit: {error}") from error


def attention_shapes(node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the result and of the cached keys and values."""
    h = _heads(node)
    output = (h.batch, h.queries, h.heads * h.width)
    if node.op in ("GroupQueryAttention", "MultiHeadAttention"):
        return output, (h.batch, h.kv_heads, h.keys, h.depth)
    return output, (2, h.batch, h.heads, h.keys, h.depth)


def _attention(node: Node) -> Rows:
    h = _heads(node)
    found: Rows = []
    if node.op in ("Attention", "QAttention"):
        found = [linear(node.name, node.shape(0), sum(_hidden(node)), bias=node.size(2))]
    elif node.op == "QOrderedAttention":
        found = [linear(node.name, node.shape(0), n, bias=node.size(11 + i)) for i, n in enumerate(_hidden(node))]
    return [*found, *attention(node.name, (h.batch, h.heads, h.queries, h.depth), h.keys, h.width, kv_heads=h.kv_heads)]


# Embeddings ----------------------------------------------------------------------------------------------------------


def embedded(node: Node) -> tuple[int, ...]:
    """The shape of an embedding table quantised in blocks; a byte can hold several elements."""
    shape = node.shape(0)
    packed = 8 // node.positive("bits", 4) if node.tensor(0).dtype == TensorProto.UINT8 else 1
    return (*shape[:-1], shape[-1] * packed)


ROWS: dict[str, Callable[[Node], Rows]] = {
    "Attention": _attention,
    "ConvTransposeWithDynamicPads": lambda node: conv(node, bias=3, transposed=True),
    "DynamicQuantizeMatMul": lambda node: matmul(node, bias=4),
    "FusedConv": _fused_conv,
    "FusedGemm": gemm,
    "FusedMatMul": _matmul,
    "FusedMatMulActivation": _matmul,
    "GemmFastGelu": lambda node: matmul(node, bias=2),
    "GemmFloat8": gemm,
    "GroupQueryAttention": _attention,
    "MatMulBnb4": _n_bits,
    "MatMulFpQ4": _n_bits,
    "MatMulInteger16": matmul,
    "MatMulIntegerToFloat": lambda node: matmul(node, bias=6),
    "MatMulNBits": _n_bits,
    "MatMulNBitsMlp": _n_bits,
    "MatMulNBitsQkv": _n_bits,
    "MultiHeadAttention": _attention,
    "NhwcConv": _nhwc_conv,
    "NhwcFusedConv": _nhwc_conv,
    "QAttention": _attention,
    "QGemm": lambda node: gemm(node, right=3, bias=6),
    "QLinearConv": lambda node: conv(node, weights=3, bias=8, channels_last=bool(node.integer("channels_last"))),
    "QOrderedAttention": _attention,
    "QOrderedMatMul": lambda node: matmul(node, right=2, bias=5),
    "TransposeMatMul": _matmul,
}

__all__ = ["ROWS", "attention_shapes", "embedded", "n_bits", "turned"]

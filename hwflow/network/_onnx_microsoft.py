"""Operators of the domain com.microsoft, which onnxruntime's quantiser, optimiser and transformer tools write.

Their schemas are published in onnxruntime's docs/ContribOperators.md, but the onnx package does not contain them, so their
shapes are inferred here, or by onnx where it has the same operator. Operators missing from the tables are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onnx import TensorProto, helper

from hwflow.network._onnx_inference import infer
from hwflow.network._onnx_microsoft_rows import ROWS, attention_shapes, embedded, n_bits, turned
from hwflow.network._onnx_node import Node
from hwflow.network._onnx_values import Size, Tensor, Value, broadcast, constant

DOMAIN = "com.microsoft"
LAYOUT_DOMAINS = ("com.microsoft.nchwc", "com.ms.internal.nhwc")
"""Operators that only the highest, machine-specific optimisation level writes."""

IN_ONNX_DOMAIN = frozenset(["SimplifiedLayerNormalization"])
"""Operators of onnxruntime's that it writes into the domain of ONNX."""

_OPSET = {"": 13}
Results = list[Tensor | None]


def results(node: Node) -> list[Value | None]:
    """What is known about the node's results.

    Raises:
        ImportFailed: for an operator that is not known, or whose work depends on data.
    """
    if node.op in _REFUSED:
        raise node.unknown(
            f"{DOMAIN}::{node.op}",
            f"whose multiply-accumulates cannot be counted: {_REFUSED[node.op]}. Replace it, or describe the network as a YAML "
            "layer list",
        )
    if node.op not in _SHAPES:
        raise node.unknown(
            f"{DOMAIN}::{node.op}",
            "of which hwflow does not know whether it holds multiply-accumulates. Replace it, or describe the network as a "
            "YAML layer list",
        )
    try:
        found = _SHAPES[node.op](node)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        shapes = ", ".join(str(list(v.shape or ())) for v in node.inputs if isinstance(v, Tensor))
        raise node.failure(f"the shapes of its inputs do not fit together ({error}): {shapes}") from error
    fixed = all(constant(v) for v in node.inputs)
    values: list[Value | None] = [t and Tensor(t.dtype, t.shape, fixed) for t in found]
    missing = len(node.proto.output) - len(values)
    return [*values, *(Tensor(TensorProto.FLOAT, None, fixed) for _ in range(missing))]


# Shapes --------------------------------------------------------------------------------------------------------------


def _like(position: int = 0, dtype: int | None = None, also: Sequence[int] = ()) -> Callable[[Node], Results]:
    """The shape of an input for the first output and for the outputs `also`."""

    def shapes(node: Node) -> Results:
        one = node.tensor(position)
        value = Tensor(one.dtype if dtype is None else dtype, one.shape)
        return [value, *(value if i in also else None for i in range(1, 1 + max(also, default=0)))]

    return shapes


def _spread(*positions: int, dtype: int | None = None) -> Callable[[Node], Results]:
    """The shape to which these inputs broadcast."""

    def shapes(node: Node) -> Results:
        values = [node.tensor(i) for i in positions]
        return [Tensor(values[-1].dtype if dtype is None else dtype, broadcast(*(v.shape for v in values)))]

    return shapes


def _as(
    op: str,
    positions: Sequence[int] = (0,),
    *,
    names: Sequence[str] = (),
    layout: bool | str = False,
    dtype: int | None = None,
    **added: Any,
) -> Callable[[Node], Results]:
    """The results of ONNX's operator `op` on these inputs, with the node's attributes `names` and the attributes `added`.

    `layout` is whether channels come last, or the attribute that says so.
    """

    def shapes(node: Node) -> Results:
        last = bool(node.integer(layout)) if isinstance(layout, str) else layout
        values: list[Value | None] = [node.inputs[i] if node.has(i) else None for i in positions]
        if last:
            x = node.tensor(positions[0])
            values[0] = Tensor(x.dtype, None if x.shape is None else _first(x.shape))
        proto = helper.make_node(op, [f"i{i}" for i in range(len(values))], ["y"], name=node.name, **added)
        proto.attribute.extend(node.attributes[n] for n in names if n in node.attributes)
        (y,) = infer(Node(proto, values, node.path), _OPSET)
        if not isinstance(y, Tensor):
            return [None]
        shape = y.shape
        if last and shape is not None:
            shape = (shape[0], *shape[2:], shape[1])
        return [Tensor(y.dtype if dtype is None else dtype, shape)]

    return shapes


def _first(shape: Sequence[Size]) -> tuple[Size, ...]:
    return (shape[0], shape[-1], *shape[1:-1])


def _joined(node: Node) -> Results:
    """QLinearConcat: after the result's scale and zero point, three inputs for each part."""
    return _as("Concat", range(2, len(node.inputs), 3), names=["axis"])(node)


def _product(left: int = 0, right: int = 1, dtype: int | None = None) -> Callable[[Node], Results]:
    """A matrix product with NumPy's broadcasting; attributes may transpose either operand."""

    def shapes(node: Node) -> Results:
        a, b = (Tensor(node.tensor(i).dtype, turned(node, node.shape(i), which)) for i, which in ((left, "A"), (right, "B")))
        proto = helper.make_node("MatMul", ["a", "b"], ["y"], name=node.name)
        (y,) = infer(Node(proto, [a, b], node.path), _OPSET)
        return [Tensor(a.dtype if dtype is None else dtype, y.shape if isinstance(y, Tensor) else None)]

    return shapes


def _packed_product(node: Node) -> Results:
    """Weights of a few bits are packed, so their shape is in the attributes."""
    shape = node.shape(0)
    return [Tensor(node.tensor(0).dtype, (*shape[:-1], columns)) for columns in n_bits(node)]


def _halved(node: Node) -> Results:
    x = node.tensor(0)
    if x.shape is None or x.shape[-1] is None:
        return [Tensor(x.dtype, None)]
    return [Tensor(x.dtype, (*x.shape[:-1], x.shape[-1] // 2))]


def _embedding(node: Node) -> Results:
    ids, hidden = node.shape(0), node.shape(2)[-1]
    value = Tensor(TensorProto.FLOAT, (*ids, hidden))
    return [value, Tensor(TensorProto.INT32, ids[:1]), value]


def _looked_up(node: Node) -> Results:
    return [Tensor(node.tensor(0).dtype, (*node.shape(1), *node.shape(0)[1:]))]


def _looked_up_blocks(node: Node) -> Results:
    data, axis = embedded(node), node.integer("gather_axis")
    axis %= len(data)
    return [Tensor(node.tensor(2).dtype, (*data[:axis], *node.shape(1), *data[axis + 1 :]))]


def _dimension_added(node: Node) -> Results:
    x, axis = node.shape(0), (node.content(1) or [0])[0]
    axis %= len(x) + 1
    return [Tensor(node.tensor(0).dtype, (*x[:axis], 1, *x[axis:]))]


def _cropped(node: Node) -> Results:
    height, width = node.content(3) or [0, 0]
    return [Tensor(node.tensor(0).dtype, (node.shape(1)[0], node.shape(0)[1], height, width))]


def _unfolded(node: Node) -> Results:
    x, size, step = node.shape(0), node.positive("size"), node.positive("step", 1)
    axis = node.integer("dim", -1) % len(x)
    return [Tensor(node.tensor(0).dtype, (*x[:axis], (x[axis] - size) // step + 1, *x[axis + 1 :], size))]


def _position_bias(node: Node) -> Results:
    return [Tensor(node.tensor(0).dtype, (1, node.shape(0)[1], *(node.content(1) or []), *(node.content(2) or [])))]


def _conv_with_pads(node: Node) -> Results:
    pads = node.content(2)
    added: dict[str, Any] = {} if pads is None else {"pads": pads}
    names = ("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "strides")
    return _as("ConvTranspose", (0, 1), names=names, **added)(node)


def _attention(node: Node) -> Results:
    output, present = attention_shapes(node)
    dtype = TensorProto.FLOAT if node.op.startswith("Q") else node.tensor(0).dtype
    kept = Tensor(dtype, present)
    return [Tensor(dtype, output), kept, kept if len(present) == 4 else None]


_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
_FLOAT = TensorProto.FLOAT
_GEMM = ("transA", "transB")

_LIKE_INPUT = """
    BiasAdd BiasDropout BiasGelu BiasSoftmax BitmaskBiasDropout BitmaskDropout DequantizeWithOrder FastGelu GatedRMSNorm Gelu
    GroupNorm MRotaryEmbedding QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QOrderedGelu QOrderedLayerNormalization QuickGelu
    RotaryEmbedding SampleOp ScaledSiLU SimplifiedLayerNormalization Trilu
"""
_SHAPES: dict[str, Callable[[Node], Results]] = {
    # element by element, normalisation, softmax
    **dict.fromkeys(_LIKE_INPUT.split(), _like()),
    "BiasSplitGelu": _halved,
    "ComplexMul": _spread(0, 1),
    "ComplexMulConj": _spread(0, 1),
    "DequantizeLinear": _like(dtype=_FLOAT),
    "GatedAdd": _like(),
    "IsAllFinite": lambda node: [Tensor(TensorProto.BOOL, ())],
    "MulInteger": _spread(0, 2, dtype=TensorProto.INT32),
    "MurmurHash3": _like(dtype=TensorProto.UINT32),
    "NGramRepeatBlock": _like(1),
    "QLinearAdd": _spread(0, 3),
    "QLinearMul": _spread(0, 3),
    "QLinearWhere": _spread(0, 1, 4),
    "QuantizeLinear": lambda node: [
        Tensor(node.tensor(2).dtype if node.has(2) else TensorProto.UINT8, node.tensor(0).shape),
    ],
    "QuantizeWithOrder": _like(dtype=TensorProto.INT8),
    "SkipGroupNorm": _like(also=(1,)),
    "SkipLayerNormalization": _like(also=(3,)),
    "SkipSimplifiedLayerNormalization": _like(also=(3,)),
    "SwiGLU": lambda node: _like()(node) if node.has(1) else _halved(node),
    # pooling, reductions, data movement
    "CropAndResize": _cropped,
    "ExpandDims": _dimension_added,
    "GatherND": _as("GatherND", (0, 1)),
    "GridSample": lambda node: [Tensor(node.tensor(0).dtype, (*node.shape(0)[:2], *node.shape(1)[1:3]))],
    "MaxpoolWithMask": _as("MaxPool", names=("auto_pad", "kernel_shape", "pads", "storage_order", "strides")),
    "NhwcMaxPool": _as("MaxPool", names=("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"), layout=True),
    "Pad": _as("Pad", (0, 1, 2)),
    "QLinearAveragePool": _as("AveragePool", names=_POOL, layout="channels_last"),
    "QLinearConcat": _joined,
    "QLinearGlobalAveragePool": _as("GlobalAveragePool", layout="channels_last"),
    "QLinearReduceMean": _as("ReduceMean", names=("axes", "keepdims")),
    "Range": _as("Range", (0, 1, 2)),
    "ReduceSumInteger": _as("ReduceMean", names=("axes", "keepdims"), dtype=TensorProto.INT32),
    "UnfoldTensor": _unfolded,
    "Unique": lambda node: [Tensor(node.tensor(0).dtype, (None,)), *(Tensor(TensorProto.INT64, (None,)) for _ in range(2))],
    # embeddings
    "EmbedLayerNormalization": _embedding,
    "GatherBlockQuantized": _looked_up_blocks,
    "QEmbedLayerNormalization": _embedding,
    "RelativePositionBias": _position_bias,
    "TorchEmbedding": _looked_up,
    # products
    "DynamicQuantizeMatMul": _product(dtype=_FLOAT),
    "FusedGemm": _as("Gemm", (0, 1), names=_GEMM),
    "FusedMatMul": _product(),
    "FusedMatMulActivation": _product(),
    "GemmFastGelu": _product(),
    "GemmFloat8": _as("Gemm", (0, 1), names=_GEMM),
    "MatMulBnb4": _packed_product,
    "MatMulFpQ4": _packed_product,
    "MatMulInteger16": _product(dtype=TensorProto.INT32),
    "MatMulIntegerToFloat": _product(dtype=_FLOAT),
    "MatMulNBits": _packed_product,
    "MatMulNBitsMlp": lambda node: _packed_product(node)[:1],
    "MatMulNBitsQkv": _packed_product,
    "QGemm": lambda node: _as("Gemm", (0, 3), names=_GEMM, dtype=None if node.has(7) else _FLOAT)(node),
    "QOrderedMatMul": _product(right=2),
    "TransposeMatMul": _product(),
    # convolutions
    "ConvTransposeWithDynamicPads": _conv_with_pads,
    "FusedConv": _as("Conv", (0, 1), names=_CONV),
    "NhwcConv": _as("Conv", (0, 1), names=_CONV, layout=True),
    "NhwcFusedConv": _as("Conv", (0, 1), names=_CONV, layout=True),
    "QLinearConv": _as("Conv", (0, 3), names=_CONV, layout="channels_last"),
    # attention
    **dict.fromkeys(("Attention", "GroupQueryAttention", "MultiHeadAttention", "QAttention", "QOrderedAttention"), _attention),
}

_UNTIL_ENDED = "how often it runs its decoder depends on data"
_ON_DATA = "how much it computes depends on data"
_STATE = "how far its buffer of past keys and values is filled depends on data"
_SPARSE = "which products it computes depends on a mask or on indices"
_NO_ROW = "it is no convolution of one or two axes, linear layer or matrix product"
_REFUSED: dict[str, str] = {
    **dict.fromkeys(("AttnLSTM", "CDist", "DynamicQuantizeLSTM", "Inverse", "Irfft", "Rfft", "WordConvEmbedding"), _NO_ROW),
    **dict.fromkeys(("GatedDeltaNet", "GatedRelativePositionBias", "LinearAttention", "Mamba2Verify"), _NO_ROW),
    **dict.fromkeys(("CausalConvWithState", "VarlenCausalConvWithState"), _NO_ROW),
    **dict.fromkeys(("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"), _UNTIL_ENDED),
    **dict.fromkeys(("MoE", "MoEPacked", "QMoE"), "which of its experts run depends on data"),
    **dict.fromkeys(("PackedAttention", "PackedMultiHeadAttention", "RemovePadding", "RestorePadding"), _ON_DATA),
    **dict.fromkeys(("DecoderAttention", "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention"), _STATE),
    **dict.fromkeys(("PagedAttention", "SparsePagedAttention"), _STATE),
    **dict.fromkeys(
        ("DynamicSparseAttention", "LongformerAttention", "QOrderedLongformerAttention", "SparseAttention"), _SPARSE
    ),
    "SparseToDenseMatMul": _SPARSE,
    "EPContext": "it holds a compiled part of the network, which only its accelerator can read",
    "Snpe": "it holds a compiled part of the network, which only its accelerator can read",
}

__all__ = ["DOMAIN", "IN_ONNX_DOMAIN", "LAYOUT_DOMAINS", "ROWS", "results"]

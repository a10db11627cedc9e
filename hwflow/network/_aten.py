"""The role of each `aten` operator of PyTorch: a row, an operator that is not counted, a view, or unsupported."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

VIEWS = frozenset({"_unsafe_view", "lift", "lift_fresh", "resolve_conj", "resolve_neg", "detach_copy"})
"""Leave the data where it is, though their schema does not say so."""

INACTIVE = frozenset({"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout"})
"""Do nothing in evaluation mode."""

_ONNX = {
    # activations
    "relu": "Relu",
    "relu6": "Clip",
    "hardtanh": "Clip",
    "clamp": "Clip",
    "clamp_min": "Clip",
    "clamp_max": "Clip",
    "leaky_relu": "LeakyRelu",
    "prelu": "PRelu",
    "_prelu_kernel": "PRelu",
    "elu": "Elu",
    "celu": "Celu",
    "selu": "Selu",
    "gelu": "Gelu",
    "silu": "Swish",
    "mish": "Mish",
    "hardswish": "HardSwish",
    "hardsigmoid": "HardSigmoid",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softplus": "Softplus",
    "threshold": "ThresholdedRelu",
    "softmax": "Softmax",
    "_softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "_log_softmax": "LogSoftmax",
    # pooling and resampling
    "max_pool1d": "MaxPool",
    "max_pool2d": "MaxPool",
    "max_pool3d": "MaxPool",
    "max_pool2d_with_indices": "MaxPool",
    "max_pool3d_with_indices": "MaxPool",
    "max_unpool2d": "MaxUnpool",
    "avg_pool1d": "AveragePool",
    "avg_pool2d": "AveragePool",
    "avg_pool3d": "AveragePool",
    "grid_sampler": "GridSample",
    "grid_sampler_2d": "GridSample",
    "pixel_shuffle": "DepthToSpace",
    "pixel_unshuffle": "SpaceToDepth",
    "col2im": "Col2Im",
    # normalisation
    "batch_norm": "BatchNormalization",
    "native_batch_norm": "BatchNormalization",
    "_native_batch_norm_legit_no_training": "BatchNormalization",
    "cudnn_batch_norm": "BatchNormalization",
    "instance_norm": "InstanceNormalization",
    "layer_norm": "LayerNormalization",
    "native_layer_norm": "LayerNormalization",
    "group_norm": "GroupNormalization",
    "native_group_norm": "GroupNormalization",
    "rms_norm": "RMSNormalization",
    # element by element
    "add": "Add",
    "sub": "Sub",
    "rsub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "neg": "Neg",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "pow": "Pow",
    "sqrt": "Sqrt",
    "reciprocal": "Reciprocal",
    "erf": "Erf",
    "sin": "Sin",
    "cos": "Cos",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sign": "Sign",
    "maximum": "Max",
    "minimum": "Min",
    "eq": "Equal",
    "gt": "Greater",
    "lt": "Less",
    "ge": "GreaterOrEqual",
    "le": "LessOrEqual",
    "logical_not": "Not",
    "logical_and": "And",
    "logical_or": "Or",
    "where": "Where",
    "masked_fill": "Where",
    # reductions
    "mean": "ReduceMean",
    "sum": "ReduceSum",
    "amax": "ReduceMax",
    "max": "ReduceMax",
    "amin": "ReduceMin",
    "min": "ReduceMin",
    "prod": "ReduceProd",
    "linalg_vector_norm": "ReduceL2",
    "logsumexp": "ReduceLogSumExp",
    "argmax": "ArgMax",
    "argmin": "ArgMin",
    "topk": "TopK",
    "cumsum": "CumSum",
    # data movement
    "cat": "Concat",
    "stack": "Concat",
    "pad": "Pad",
    "constant_pad_nd": "Pad",
    "clone": "Identity",
    "copy": "Identity",
    "_to_copy": "Cast",
    "repeat": "Tile",
    "flip": "Slice",
    "roll": "Concat",
    "embedding": "Gather",
    "index_select": "Gather",
    "gather": "GatherElements",
    "index": "GatherND",
    "scatter": "ScatterElements",
    "index_put": "ScatterND",
    "nonzero": "NonZero",
    "fill": "Expand",
    "tril": "Trilu",
    "triu": "Trilu",
}
_PREFIXES = {"upsample_": "Resize", "_upsample_": "Resize", "reflection_pad": "Pad", "replication_pad": "Pad"}
_OUTSIDE = {
    "torchvision::nms": "NonMaxSuppression",
    "torchvision::roi_align": "RoiAlign",
    "torchvision::roi_pool": "MaxRoiPool",
    **{f"hwflow::{name}": name for name in ("WinogradInput2", "WinogradInput4", "WinogradOutput2", "WinogradOutput4")},
}
_RECURRENT = re.compile(r"(^|_)(lstm|gru|rnn)(_|$)|^quantized_(lstm|gru|rnn)")
_PRODUCT = re.compile(
    r"(^|_)(\w*mm|convolution|conv|conv\dd|conv_\w+|linear|matmul|dot|vdot|trilinear|attention|cholesky|einsum)(_|$)"
    r"|^_?(cdist|pdist|euclidean_dist|linalg|fft|transformer|thnn|lu|qr|svd)_?"
)


def onnx_type(namespace: str, op: str, output_elements: int, channels: int) -> str | None:
    """ONNX's name for an operator that holds no multiply-accumulates; None where hwflow has no entry for it.

    Args:
        namespace, op: `aten`, `relu` of `aten::relu`, the trailing underscore of in-place operators taken off.
        output_elements, channels: of its first result, N x C: tells a global pooling from an adaptive one.
    """
    if namespace != "aten":
        return _OUTSIDE.get(f"{namespace}::{op}")
    if op.startswith("adaptive_avg_pool"):
        return "GlobalAveragePool" if output_elements == channels else "AveragePool"
    if op.startswith("adaptive_max_pool"):
        return "GlobalMaxPool" if output_elements == channels else "MaxPool"
    if op in _ONNX:
        return _ONNX[op]
    return next((name for prefix, name in _PREFIXES.items() if op.startswith(prefix)), None)


def window(op: str, arguments: Mapping[str, Any]) -> int:
    """Of how many elements a pooling with a window of its own makes one; 0 for all other operators."""
    found = re.fullmatch(r"(max|avg)_pool(\d)d(_with_indices)?", op)
    if found is None:
        return 0
    sizes = arguments["kernel_size"]
    kernel = [int(n) for n in sizes] if isinstance(sizes, (list, tuple)) else [int(sizes)]
    return math.prod(kernel) if len(kernel) > 1 else kernel[0] ** int(found[2])


def is_leaf(namespace: str, op: str) -> bool:
    """True where the operator is listed as it is, not as the operators that it is made of."""
    return op in INACTIVE or onnx_type(namespace, op, 0, 0) is not None


def is_factory(op: str) -> bool:
    """True where the result depends on its argument's shape only."""
    return op.startswith("new_") or op.endswith("_like")


def is_recurrent(op: str) -> bool:
    """True for LSTM, GRU and RNN layers and cells."""
    return _RECURRENT.search(op) is not None


def hides_products(namespace: str, op: str) -> bool:
    """True where the operator holds, or may hold, multiply-accumulates that no row expresses."""
    if namespace not in ("aten", "prims"):
        return f"{namespace}::{op}" not in _OUTSIDE
    return op != "linalg_vector_norm" and _PRODUCT.search(op) is not None

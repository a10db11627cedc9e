"""ONNX operators without multiply-accumulates. Operators in no list are refused, so that none is missed."""

from __future__ import annotations

_FREE = """
    Constant Dropout Flatten Identity Optional OptionalGetElement OptionalHasElement Reshape SequenceAt SequenceConstruct
    SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Size Squeeze Unsqueeze
"""
FREE = frozenset(_FREE.split())
"""Operators that move no data in inference, and are not listed."""

_OTHER = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Bernoulli BitShift BitwiseAnd
    BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Compress Concat
    ConcatFromSequence ConstantOfShape Cos Cosh CumSum DepthToSpace DequantizeLinear Div DynamicQuantizeLinear Elu Equal Erf
    Exp Expand EyeLike Floor Gather GatherElements GatherND Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
    GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax
    InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization
    LpPool Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod Mul Multinomial Neg
    NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear RMSNormalization RandomNormal RandomNormalLike
    RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Resize ReverseSequence RoiAlign RotaryEmbedding Round Scatter
    ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh Slice Softmax Softplus Softsign SpaceToDepth Split
    SplitToSequence Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unique Upsample Where Xor
"""
OTHER = frozenset(_OTHER.split())

_SEVERAL_RESULTS = """
    EmbedLayerNormalization If Loop Scan SequenceMap SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization Split
    TopK
"""
SEVERAL_RESULTS = frozenset(_SEVERAL_RESULTS.split())
"""Operators all of whose results are used in inference."""

LEARNT: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "RMSNormalization": (1,),
    "PRelu": (1,),
    "Gather": (0,),
    "BiasAdd": (1,),
    "BiasDropout": (1,),
    "BiasGelu": (1,),
    "BiasSplitGelu": (1,),
    "EmbedLayerNormalization": (2, 3, 4, 5, 6),
    "FastGelu": (1,),
    "GatherBlockQuantized": (0,),
    "GroupNorm": (1, 2),
    "QEmbedLayerNormalization": (2, 3, 4, 5, 6),
    "QLinearAdd": (0, 3),
    "QLinearMul": (0, 3),
    "RelativePositionBias": (0,),
    "SimplifiedLayerNormalization": (1,),
    "SkipGroupNorm": (1, 2, 4),
    "SkipLayerNormalization": (2, 3, 4),
    "SkipSimplifiedLayerNormalization": (2, 3),
    "TorchEmbedding": (0,),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), (0, 1)),
}
"""Positions of the inputs that are learned parameters if they are constant."""

"""Word widths of quantized layers in an ONNX graph.

In both forms: operators between DequantizeLinear and QuantizeLinear (QDQ), and operators of integers, as QLinearConv.
"""

from __future__ import annotations

from onnx import TensorProto

from hwflow.layers import Bits, Layer
from hwflow.network._onnx_node import Node
from hwflow.network._onnx_ops import FREE
from hwflow.network._onnx_values import Tensor, Value

_BITS = {"INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "UINT16": 16}
_KNOWN = set(TensorProto.DataType.keys())  # older versions of onnx lack the narrow ones
_OF_TYPE = {TensorProto.DataType.Value(name): bits for name, bits in _BITS.items() if name in _KNOWN}
_OPERANDS = {"QLinearConv": (0, 3), "QLinearMatMul": (0, 3), "QGemm": (0, 3), "QOrderedMatMul": (0, 2)}
"""Positions of inputs and weights where they are not the first two inputs."""
_DYNAMIC = frozenset(["DynamicQuantizeMatMul"])
"""Operators that quantize their inputs, to 8 bits, themselves."""
_WEIGHTS_ALONE = frozenset(["MatMulBnb4", "MatMulFpQ4", "MatMulNBits", "MatMulNBitsMlp", "MatMulNBitsQkv"])
"""Operators whose weights are packed in `bits` bits, 4 unless they say so, and whose inputs are real numbers."""
_PASSED = frozenset(["Clip", "MaxPool", "Pad", "Relu", "Transpose"])
"""Operators whose results are of the values that they read."""


class Widths:
    """Bits of values, as far as the graph has been followed."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Value]] = {}  # by the value's identity, which the value keeps from others

    def note(self, node: Node) -> None:
        """Learn of a node's results, which are known."""
        result = node.outputs[0] if node.outputs else None
        if result is None or id(result) in self._known:
            return
        if node.op == "DequantizeLinear" or node.op in FREE or node.op in _PASSED:
            bits = self._of(node, 0)
            if bits is not None:
                self._known[id(result)] = (bits, result)

    def sized(self, node: Node, row: Layer) -> Layer:
        """A row at the widths at which its node's operands are stored; as it is where none of them is quantized.

        Operands that are not have 16 bits, as in layer lists. Results leave at the width of their type, or where that is of
        sums or real numbers, requantized at the width of the inputs.
        """
        first, second = _OPERANDS.get(node.op, (0, 1))
        left, right = self._of(node, first), self._of(node, second)
        if node.op in _DYNAMIC and right is not None:
            left = 8
        if node.op in _WEIGHTS_ALONE:
            right = node.integer("bits", 4)
        if left is None and right is None:
            return row
        if _fixed(node, first) and not _fixed(node, second):  # weights come first
            left, right = right, left
        other = Bits()
        inputs = other.inputs if left is None else left
        result = node.outputs[0] if node.outputs else None
        outputs = _OF_TYPE.get(result.dtype, inputs) if isinstance(result, Tensor) else inputs
        return row.with_(bits=Bits(other.weights if right is None else right, inputs, outputs))

    def _of(self, node: Node, position: int) -> int | None:
        value = node.inputs[position] if node.has(position) else None
        if value is None:
            return None
        if id(value) in self._known:
            return self._known[id(value)][0]
        return _OF_TYPE.get(value.dtype) if isinstance(value, Tensor) else None


def _fixed(node: Node, position: int) -> bool:
    value = node.inputs[position] if node.has(position) else None
    return isinstance(value, Tensor) and value.constant


__all__ = ["Widths"]

"""Weights of up to 4 bits in an ONNX file as what they are: INT4 or UINT4, which operator set 21 brought."""

from __future__ import annotations

from typing import Any

_OPSET, _IR = 21, 10
_RANGES = {"INT4": (-8, 7), "UINT4": (0, 15)}


def narrow_weights(model: Any) -> None:
    """Store the constant operands of DequantizeLinear as 4-bit integers where all their values are such; in place.

    Args:
        model: an ONNX `ModelProto`.
    """
    from onnx import TensorProto, helper, numpy_helper

    kinds = {TensorProto.INT8: TensorProto.INT4, TensorProto.UINT8: TensorProto.UINT4}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    added = []
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or not all(name in stored for name in node.input):
            continue
        operands = [stored[name] for name in (node.input[0], *node.input[2:])]
        kind = kinds.get(operands[0].data_type)
        if kind is None:
            continue
        low, high = _RANGES[TensorProto.DataType.Name(kind)]
        values = [numpy_helper.to_array(tensor) for tensor in operands]
        if any(part.min(initial=0) < low or part.max(initial=0) > high for part in values):
            continue
        names = [f"{tensor.name}.4bit" for tensor in operands]
        for name, part in zip(names, values, strict=True):
            added.append(helper.make_tensor(name, kind, part.shape, part.astype(int).flatten().tolist()))
        for place, name in zip((0, *range(2, len(node.input))), names, strict=True):
            node.input[place] = name
    if not added:
        return
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *{tensor.name: tensor for tensor in added}.values()])
    for imported in model.opset_import:
        if imported.domain in ("", "ai.onnx"):
            imported.version = max(imported.version, _OPSET)
    model.ir_version = max(model.ir_version, _IR)


__all__ = ["narrow_weights"]

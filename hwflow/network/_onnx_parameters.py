"""Initializers of an ONNX graph and the nodes that read them, so that shared ones are counted once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from hwflow.layers import Layer
from hwflow.network._onnx_node import Node
from hwflow.network._onnx_ops import LEARNT
from hwflow.network._onnx_values import Origin, Tensor, Value
from hwflow.network._parameter_uses import Reading, Readings
from hwflow.network.network import OtherOp


class Constants:
    """Where the constants of a model come from, and which of them are the same.

    Attributes:
        sizes: number of elements of each tensor that is not derived from others.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self._origins: dict[Hashable, Origin] = {}

    def named(self, tensor: Tensor, name: str) -> Tensor:
        """A tensor in the file."""
        self.sizes.setdefault(name, tensor.elements)
        return replace(tensor, origin=Origin((name,), name))

    def derived(self, node: Node, place: str) -> list[Value | None]:
        """Note the node's results: equal operators on equal constants give equal constants.

        Args:
            place: of the node, if its results count as tensors of their own.
        """
        return [
            replace(value, origin=self._derived(node, position, value, place))
            if isinstance(value, Tensor) and value.constant and value.origin is None and position < len(node.proto.output)
            else value
            for position, value in enumerate(node.outputs)
        ]

    def _derived(self, node: Node, position: int, value: Tensor, place: str) -> Origin:
        inputs = tuple(map(_identity, node.inputs))
        attributes = tuple(sorted(a.SerializeToString(deterministic=True) for a in node.proto.attribute))
        key = (node.proto.domain, node.op, inputs, attributes, position)
        if key not in self._origins:
            origins = [v.origin for v in node.inputs if isinstance(v, Tensor) and v.origin is not None]
            parameters = tuple(dict.fromkeys(name for origin in origins for name in origin.parameters))
            # A result larger than all of its inputs, such as a filled shape, counts as a tensor of its own.
            if not parameters or sum(self.sizes[name] for name in parameters) < value.elements:
                parameters = (f"{place}{node.proto.output[position]}",)
                self.sizes.setdefault(parameters[0], value.elements)
            self._origins[key] = Origin(parameters, len(self._origins))
        return self._origins[key]


def counted_once(
    rows: Sequence[tuple[Node, Layer | OtherOp]], constants: Constants
) -> tuple[tuple[Layer, ...], tuple[OtherOp, ...]]:
    """The rows and operators of these nodes, with each initializer counted at its first reader; rows come before operators."""
    readings = Readings()
    layers: list[Layer] = []
    others: list[OtherOp] = []
    taken: dict[int, set[int]] = {}
    for node, row in rows:
        fixed = {i: v for i, v in enumerate(node.inputs) if isinstance(v, Tensor) and v.constant and v.origin is not None}
        if isinstance(row, Layer):
            used = taken.setdefault(id(node), set())  # a node with several products has weights for each of them
            free = [i for i in fixed if i not in used]
            weights = next((i for i in free if row.params and fixed[i].elements == row.params), -1)
            bias = next((i for i in reversed(free) if i != weights and fixed[i].elements == row.params_other), -1)
            used |= {weights, bias}
            readings.weights += [_reading(len(layers), fixed[i]) for i in (weights,) if i >= 0]
            readings.biases += [_reading(len(layers), fixed[i]) for i in (bias,) if i >= 0 and row.params_other]
            layers.append(row)
        else:
            if row.type == node.op:
                learnt = [i for i in LEARNT.get(node.op, ()) if i in fixed]
                readings.others += [_reading(len(others), fixed[i]) for i in learnt]
            others.append(row)
    # Unread initializers are as often shapes or axes as parameters, so they are not counted.
    counted_layers, counted_others, _ = readings.settled(constants.sizes, layers, others)
    return counted_layers, counted_others


def _reading(place: int, tensor: Tensor) -> Reading:
    assert tensor.origin is not None
    return Reading(place, tensor.origin.parameters, tensor.origin.identity, tensor.elements)


def _identity(value: Value | None) -> Hashable:
    if not isinstance(value, Tensor):
        return None if value is None else id(value)
    if value.origin is not None:
        return value.origin.identity
    return (value.dtype, value.shape, value.data.tobytes()) if value.data is not None else id(value)


__all__ = ["Constants", "counted_once"]

"""Which initializers of an ONNX graph are read by which nodes, so that one that several nodes read is counted once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hwflow.layers import Layer
from hwflow.network import OtherOp
from hwflow.network._onnx_ops import LEARNT
from hwflow.network._readings import Reading, Readings

if TYPE_CHECKING:
    from hwflow.network._onnx_shapes import Shapes


def counted_once(
    rows: Sequence[tuple[Any, Layer]], other: Sequence[tuple[Any, OtherOp]], shapes: Shapes
) -> tuple[tuple[Layer, ...], tuple[OtherOp, ...]]:
    """The rows and the operators of these nodes, each initializer counted at the first of its readers; rows come first."""
    constants, readings = _Constants(shapes), Readings()
    for place, (node, layer) in enumerate(rows):
        fixed = [name for name in node.input if name in shapes.constant]
        weights = next((name for name in fixed if layer.params and shapes.elements(name) == layer.params), "")
        bias = next((n for n in reversed(fixed) if n != weights and shapes.elements(n) == layer.params_other), "")
        readings.weights += constants.readings(place, [weights] if weights else [])
        readings.biases += constants.readings(place, [bias] if bias and layer.params_other else [])
    for place, (node, _) in enumerate(other):
        inputs = [node.input[i] for i in LEARNT.get(node.op_type, ()) if i < len(node.input)]
        readings.others += constants.readings(place, [name for name in inputs if name in shapes.constant])
    # What no node reads are shapes, axes and the like as often as parameters, so it is not counted.
    layers, operators, _ = readings.settled(constants.sizes, [layer for _, layer in rows], [op for _, op in other])
    return layers, operators


class _Constants:
    """Where the constants of a graph come from, and which of them are the same."""

    def __init__(self, shapes: Shapes) -> None:
        self.sizes: dict[str, int] = {}
        self._shapes = shapes
        self._sources: dict[str, tuple[str, ...]] = {}
        self._identities: dict[str, Hashable] = {}
        self._numbers: dict[Hashable, int] = {}
        for node in (*shapes.folded, *shapes.nodes):  # in topological order
            if all(name in shapes.constant for name in node.output if name):
                self._add(node)

    def readings(self, place: int, names: Iterable[str]) -> list[Reading]:
        """That the node at `place` reads these constants."""
        return [
            Reading(place, self._from(name), self._identities.get(name, name), self._shapes.elements(name)) for name in names
        ]

    def _add(self, node: Any) -> None:
        """What a node makes of constants is the same wherever the same is made of the same."""
        inputs = tuple(self._identities.get(name, name) for name in node.input)
        attributes = tuple(sorted(a.SerializeToString(deterministic=True) for a in node.attribute))
        sources = tuple(dict.fromkeys(source for name in node.input if name for source in self._from(name)))
        for i, name in enumerate(node.output):
            key = (node.op_type, inputs, attributes, i)
            self._identities[name] = self._numbers.setdefault(key, len(self._numbers))
            # What is larger than all that it is made of, as what fills a shape is, counts as a tensor of its own.
            covered = sum(self.sizes[source] for source in sources) >= self._shapes.elements(name)
            self._sources[name] = sources if sources and covered else ()

    def _from(self, name: str) -> tuple[str, ...]:
        """The tensors that a constant is made of; itself where it is made of none."""
        sources = self._sources.get(name, ())
        if not sources:
            self.sizes.setdefault(name, self._shapes.elements(name))
        return sources or (name,)


__all__ = ["counted_once"]

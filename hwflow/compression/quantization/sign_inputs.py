"""Where the values come from of which a binary network takes the sign: a normalization must have centred them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network import Network, OtherOp

_ACTIVATIONS = frozenset(["Clip", "LeakyRelu", "PRelu", "Relu"])
_PASSED = frozenset(["AveragePool", "Dropout", "GlobalAveragePool", "Identity", "MaxPool", "Transpose"])


@dataclass(frozen=True)
class SignInput:
    """What precedes the sign that a layer takes of its inputs.

    Attributes:
        activations: modules between the normalization and the sign, by name.
        source: the row whose result is normalized, where no addition comes between: then its result leaves it as a sign.
        normalization: the module that normalizes, where `source` is known.
    """

    activations: tuple[str, ...]
    source: str | None = None
    normalization: str | None = None


def sign_inputs(network: Network, layers: Sequence[str]) -> dict[str, SignInput]:
    """What precedes the sign of each of these layers.

    A residual addition counts as normalized where one of its operands is: the shortcut, which no normalization can be behind,
    is bounded as that operand is (ours).

    Raises:
        InputError: for a layer whose inputs come from no normalization.
    """
    graph = network.graph
    if graph is None:
        raise InputError(
            f"the data flow of {network.name} is not known, so neither is where signs would be taken; take another method."
        )
    made = [network.layers[o.row] if o.part == "layers" else network.other[o.row] for o in graph.operations]

    def before(place: int, tensor: int) -> int | None:
        """The last operation before `place` that writes a tensor; some write over what they read."""
        return next((p for p in range(place - 1, -1, -1) if tensor in graph.operations[p].writes), None)

    def normalized(place: int | None) -> SignInput | None:
        """What precedes, from the result of an operation; None where there is no normalization."""
        if place is None:
            return None
        operation, row = graph.operations[place], made[place]
        if isinstance(row, Layer):
            return None
        if row.type.endswith("Normalization"):
            source = before(place, operation.reads[0])
            layer = None if source is None else made[source]
            return SignInput((), layer.name if isinstance(layer, Layer) else None, row.name)
        if row.type == "Add":
            found = any(normalized(before(place, tensor)) is not None for tensor in operation.reads)
            return SignInput(()) if found else None
        if row.type not in _ACTIVATIONS | _PASSED:
            return None
        found_before = normalized(before(place, operation.reads[0]))
        if found_before is None or row.type in _PASSED:
            return found_before
        return SignInput((*found_before.activations, row.name), found_before.source, found_before.normalization)

    found: dict[str, SignInput] = {}
    for place, row in enumerate(made):
        if not isinstance(row, Layer) or row.name not in layers or row.name in found:
            continue
        first = place  # what the layer does to its own inputs is no part of what precedes
        while first > 0 and isinstance(own := made[first - 1], OtherOp) and own.name == row.name:
            first -= 1
        origin = before(first, graph.operations[first].reads[0])
        known = normalized(origin)
        if known is None:
            reader = "the network's input" if origin is None else f"{made[origin].name} ({made[origin].type})"
            raise InputError(
                f"{row.name} would take the sign of values that no normalization precedes: they come from {reader}. Put a "
                "batch normalization in front of the activation before it, or take another method."
            )
        found[row.name] = known
    return found


__all__ = ["SignInput", "sign_inputs"]

"""Attribution of parameters to the rows and operators that read them, so that each is counted once.

Every parameter is attributed to at most one reader: rows before operators, and among equals the first.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hwflow.layers import Layer
from hwflow.network.network import OtherOp


class Reading(NamedTuple):
    """A row or an operator that reads a constant.

    Attributes:
        place: of the row or of the operator.
        parameters: what the constant is computed from.
        identity: equal for constants that hold the same values.
        elements: of the constant.
    """

    place: int
    parameters: tuple[str, ...]
    identity: Hashable
    elements: int


@dataclass
class Readings:
    """All reads of a network's parameters: weights and biases of rows, and what other operators read."""

    weights: list[Reading] = field(default_factory=list)
    biases: list[Reading] = field(default_factory=list)
    others: list[Reading] = field(default_factory=list)

    def settled(
        self, sizes: Mapping[str, int], layers: Sequence[Layer], other: Sequence[OtherOp]
    ) -> tuple[tuple[Layer, ...], tuple[OtherOp, ...], int]:
        """Rows and operators with the parameters attributed to each, and the number of unread parameters.

        A row whose weights are counted elsewhere, or are not covered by parameters, becomes `shared`.

        Args:
            sizes: elements of each parameter.
        """
        left = dict(sizes)
        rows, operators = list(layers), list(other)
        seen: set[Hashable] = set()
        # The largest part of a tensor first, so that slices of it add nothing.
        for reading in sorted(self.weights, key=lambda r: -r.elements):
            room = sum(left[name] for name in reading.parameters)
            if reading.identity in seen or reading.elements > room:
                rows[reading.place] = rows[reading.place].with_(shared=True)
            else:
                _take(left, reading)
            seen.add(reading.identity)
        for reading in self.biases:
            layer, own = rows[reading.place], _take(left, reading)
            if layer.params_other != own:
                rows[reading.place] = layer.with_(params_other=own)
        learnt = [0] * len(operators)
        for reading in self.others:
            learnt[reading.place] += _take(left, reading)
        operators = [op._replace(params=n) if op.params != n else op for op, n in zip(operators, learnt, strict=True)]
        return tuple(rows), tuple(operators), sum(left.values())


def _take(left: dict[str, int], reading: Reading) -> int:
    """Attribute parameters to a reading, the largest first; gives the number of elements attributed."""
    wanted = reading.elements
    for name in sorted(reading.parameters, key=lambda name: -left[name]):
        taken = min(wanted, left[name])
        left[name] -= taken
        wanted -= taken
    return reading.elements - wanted


__all__ = ["Reading", "Readings"]

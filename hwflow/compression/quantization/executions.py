"""How layers with few bits run on the arithmetic of a chip: passes of one power of two each, and products of bit planes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwflow.cost.execution import Execution
from hwflow.layers import Bits, Layer


@dataclass(frozen=True)
class ShiftPasses(Execution):
    """An execution on PEs that shift once a cycle: a filter of k powers of two runs as k filters of one each.

    They add to the same sum, and its result is written once. A row has no outputs that several of its filters share, so outputs
    have the narrowest word (1, 2, 4 or 8 bits) in which they take no less traffic than they do: exact where all filters have
    as many powers, else an upper bound. This width is ours.

    Attributes:
        terms: powers of two of all filters together.
        filters: how many filters these are of; of a layer with fewer, a share of the powers.
    """

    terms: int
    filters: int
    name = "shift passes"

    name = "shifts"

    def rows(self, layer: Layer) -> tuple[Layer, ...]:
        """The layer with as many filters as there are powers of two, of 4 bits a weight."""
        passes = max(1, math.ceil(self.terms * layer.M / self.filters))
        bits = layer.bits or Bits(4, 8, 8)
        narrow = next(width for width in (1, 2, 4, 8) if width >= 8 or width * passes >= bits.outputs * layer.M)
        return (layer.with_(M=passes, bits=bits._replace(weights=4, outputs=min(narrow, bits.outputs))),)


@dataclass(frozen=True)
class BitPlanes(Execution):
    """An execution on XNOR PEs: a product of integers of b_w and b_a bits is b_w b_a products of their bits.

    sum_i sum_j 2^(i + j) w_i x_j; each plane of inputs is an image of the batch, each plane of weights a set of filters. The
    shifts and additions of the planes' sums are not counted, and outputs, which the row has for every pair of planes, have the
    narrowest word in which they take no less traffic than they do. This way to run them is ours.
    """

    weights: int
    inputs: int
    name = "bit planes"

    name = "bit planes"

    def rows(self, layer: Layer) -> tuple[Layer, ...]:
        """The layer for all pairs of planes, with operands of one bit."""
        outputs = layer.bits.outputs if layer.bits else 1
        pairs = self.weights * self.inputs
        narrow = next(width for width in (1, 2, 4, 8) if width >= 8 or width * pairs >= outputs)
        bits = Bits(1, 1, min(narrow, outputs))
        return (layer.with_(N=layer.N * self.inputs, M=layer.M * self.weights, bits=bits),)


def word_of(bits: int) -> int:
    """The word, a power of two, in which values of so many bits are stored: rows of memories hold these alone."""
    return 1 << (bits - 1).bit_length()


__all__ = ["BitPlanes", "ShiftPasses", "word_of"]

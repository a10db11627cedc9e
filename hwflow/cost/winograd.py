"""Winograd's minimal filtering of 3 x 3 convolutions, as an execution: tiles of T x T inputs give m x m outputs, T = m + 2.

    Y = A^T [(G W G^T) * (B^T X B)] A

for each tile X and kernel W, with an element-by-element product that is summed over input channels: at each of the T^2
positions of a tile the product of a matrix [M, C] with one of [C, tiles]. (Winograd, Arithmetic Complexity of Computations,
1980; Lavin and Gray, CVPR 2016, arXiv:1509.09308, whose matrices these are.)

As a row that is a grouped 1 x 1 layer of T^2 groups. Its weights are the transformed ones, T^2 / 9 times as many; its inputs
and outputs are the transformed tensors, which go where tensors between operators go: through DRAM, or where that is asked for
(`CostOptions.activations`) they stay on the chip if they fit. The transforms of inputs and outputs are operators; that of the
weights is done once, before the network runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from hwflow.cost.execution import Execution, other_kind
from hwflow.errors import InputError
from hwflow.layers import Densities, Layer
from hwflow.network import OtherOp

KERNEL = 3
"""Elements of a kernel that can be transformed, on each axis."""

Matrix = tuple[tuple[Fraction, ...], ...]


class Transforms(NamedTuple):
    """The matrices of one size of tiles: `inputs` is B^T [T, T], `weights` G [T, 3], `outputs` A^T [m, T]."""

    inputs: Matrix
    weights: Matrix
    outputs: Matrix


def _matrix(text: str) -> Matrix:
    return tuple(tuple(map(Fraction, row.split())) for row in text.strip().splitlines())


TRANSFORMS: dict[int, Transforms] = {
    2: Transforms(
        _matrix("1 0 -1 0\n 0 1 1 0\n 0 -1 1 0\n 0 1 0 -1"),
        _matrix("1 0 0\n 1/2 1/2 1/2\n 1/2 -1/2 1/2\n 0 0 1"),
        _matrix("1 1 1 0\n 0 1 -1 -1"),
    ),
    4: Transforms(
        _matrix("4 0 -5 0 1 0\n 0 -4 -4 1 1 0\n 0 4 -4 -1 1 0\n 0 -2 -1 2 1 0\n 0 2 -1 -2 1 0\n 0 4 0 -5 0 1"),
        _matrix("1/4 0 0\n -1/6 -1/6 -1/6\n -1/6 1/6 -1/6\n 1/24 1/12 1/6\n 1/24 -1/12 1/6\n 0 0 1"),
        _matrix("1 1 1 1 1 0\n 0 1 -1 2 -2 0\n 0 1 1 4 4 0\n 0 1 -1 8 -8 1"),
    ),
}
"""By m, the outputs that a tile gives on each axis."""

INPUTS, OUTPUTS = "WinogradInput", "WinogradOutput"
"""The operators' types, without m."""


def transforms(m: int) -> Transforms:
    """The matrices of tiles that give m x m outputs.

    Raises:
        InputError: where there are none.
    """
    if m not in TRANSFORMS:
        raise InputError(f"m is {m!r}; Winograd tiles give {' or '.join(f'{n} x {n}' for n in TRANSFORMS)} outputs.")
    return TRANSFORMS[m]


def tile_operations(op_type: str) -> tuple[int, int] | None:
    """Operations of the transform of one tile of one channel, and elements of the transformed tile; None for other operators.

    Counted are the additions and the multiplications by other factors than one in a product with the matrix, for the columns
    and then for the rows of the tile. (The count is ours; sharing common terms takes less.)
    """
    for kind, place in ((INPUTS, 0), (OUTPUTS, 2)):
        m = op_type.removeprefix(kind)
        if m != op_type:
            matrix, size = TRANSFORMS[int(m)][place], int(m) + KERNEL - 1
            return sum(map(_row_operations, matrix)) * (size + len(matrix)), size * size
    return None


def _row_operations(row: Sequence[Fraction]) -> int:
    factors = [value for value in row if value]
    return len(factors) - 1 + sum(abs(value) != 1 for value in factors)


@dataclass(frozen=True)
class Winograd(Execution):
    """F(m x m, 3 x 3).

    Attributes:
        m: outputs of a tile on each axis: 2 or 4.
    """

    m: int

    def __post_init__(self) -> None:
        transforms(self.m)

    @property
    def name(self) -> str:  # type: ignore[override]
        """With its m."""
        return f"winograd{self.m}"

    @property
    def positions(self) -> int:
        """Elements of a tile, T^2."""
        return (self.m + KERNEL - 1) ** 2

    def tiles(self, layer: Layer) -> int:
        """Tiles of one image; those at the right and bottom edge may be partly outside of it."""
        return -(-layer.P // self.m) * -(-layer.Q // self.m)

    def why_not(self, layer: Layer) -> str:
        """Only plain convolutions of 3 x 3, stride and dilation 1, have such a form."""
        if kind := other_kind(layer):
            return kind
        if (layer.R, layer.S) != (KERNEL, KERNEL):
            return f"its kernel is {layer.R} x {layer.S}"
        if layer.strides != (1, 1):
            return f"its stride is {layer.strides[0]} x {layer.strides[1]}"
        if layer.dilations != (1, 1):
            return f"its dilation is {layer.dilations[0]} x {layer.dilations[1]}"
        if layer.G > 1:
            return f"it has {layer.G} groups"
        shares = layer.position_densities
        if shares is not None and len(shares) not in (1, self.positions):
            return f"densities of {len(shares)} positions are given, and its tiles have {self.positions}"
        return ""

    def rows(self, layer: Layer) -> tuple[Layer, ...]:
        """The product: at each position of a tile, M outputs from C inputs, for all tiles.

        Zeros do not survive the transforms: of its densities those are known that are given of transformed weights.

        Raises:
            InputError: for a layer that has no such product, and why.
        """
        if why := self.why_not(layer):
            raise InputError(f"layer {layer.name!r} cannot run as {self.name}: {why}.")
        shares = layer.position_densities
        known = None if shares is None else Densities(weights=sum(shares) / len(shares))
        return (layer.with_(G=self.positions, P=self.tiles(layer), Q=1, R=1, S=1, densities=known),)

    def other(self, layer: Layer) -> tuple[OtherOp, ...]:
        """The transforms of inputs and outputs."""
        (row,) = self.rows(layer)
        before = OtherOp(f"{layer.name}.inputs", f"{INPUTS}{self.m}", layer.words("inputs"), row.words("inputs"))
        after = OtherOp(f"{layer.name}.outputs", f"{OUTPUTS}{self.m}", row.words("outputs"), layer.words("outputs"))
        return before, after

    def steps(self, layer: Layer) -> tuple[Layer | OtherOp, ...]:
        """The product between the transforms."""
        before, after = self.other(layer)
        return (before, *self.rows(layer), after)


__all__ = ["KERNEL", "TRANSFORMS", "Transforms", "Winograd", "tile_operations", "transforms"]

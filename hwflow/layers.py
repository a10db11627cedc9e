"""`Layer`: one operation, as tensors, dimensions and projections.

A convolution is eight nested loops over three tensors. Which elements of a tensor an iteration touches is a *projection*: for
each axis of the tensor a sum of loop indices with coefficients. Grouped, depthwise, dilated, transposed and one-dimensional
convolutions, fully connected layers and matrix products differ in sizes and projections only, so the analysis needs no code
of its own for any of them. The naming is Timeloop's (problem shape `cnn-layer`, extended by the group dimension G).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, get_args

from hwflow.errors import InputError, check_whole, is_number, is_whole, shown
from hwflow.types import Dim, LayerType, Tensor

DIMS: tuple[Dim, ...] = get_args(Dim)
TENSORS: tuple[Tensor, ...] = get_args(Tensor)


DIRECT = "direct"
"""`Layer.execution` of a layer that runs as it is."""

_LARGEST = 2**31 - 1  # what Timeloop reads as a loop bound
_MOST = 2**53  # up to here counts are exact as doubles, which is how Timeloop holds them


class Bits(NamedTuple):
    """Word width of each tensor, in bits."""

    weights: int = 16
    inputs: int = 16
    outputs: int = 16


class Densities(NamedTuple):
    """The share of each tensor's elements that are not zero."""

    weights: float = 1.0
    inputs: float = 1.0
    outputs: float = 1.0


class Term(NamedTuple):
    """`coefficient` times the index of loop `dim`."""

    dim: Dim
    coefficient: int = 1


Axis = tuple[Term, ...]
"""One axis of a tensor: the sum of its terms."""


@dataclass(frozen=True)
class Layer:
    """One layer of a network, as a loop nest of multiply-accumulates.

    N batch, G groups, C input and M output channels *per group*, R x S the kernel's width x height, P x Q the width x height
    over which the kernel is placed: the output's size, or for `conv_transpose` the input's, since there every input element
    scatters one kernel. `strides` and `dilations` are [width, height]. `linear` has P = Q = R = S = 1 (or P rows a sample),
    `matmul` is a product of two activations: P rows, C inner, M columns, G heads; it has no parameters.

    `bits` is None where the accelerator's own word widths hold, `densities` where nothing is known of zeros. `params_other`
    counts bias elements and the like, which are no part of `params`. `shared` says that the weights add nothing to the
    network's parameters: another row reads the same tensor and counts it, or they come from no parameter (a buffer, a
    constant). `execution` names what the row is of: the layer run directly, or what is multiplied where it runs otherwise
    (`hwflow.cost.executed_network`). `position_densities` are the shares of transformed weights that are not zero, one for each
    position of Winograd's tiles, row by row, or one for all: of a layer for where it runs so, or of the product itself, whose
    groups are the positions.

    Raises:
        InputError: naming the layer, the field and its value, where a size is not a positive whole number.
    """

    name: str
    C: int
    M: int
    P: int = 1
    Q: int = 1
    R: int = 1
    S: int = 1
    N: int = 1
    G: int = 1
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    type: LayerType = "conv"
    bits: Bits | None = None
    densities: Densities | None = None
    params_other: int = field(default=0, compare=False)
    shared: bool = field(default=False, compare=False)
    execution: str = field(default=DIRECT, compare=False)
    position_densities: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.type not in get_args(LayerType):
            raise InputError(f"layer {self.name!r}: type is {self.type!r}; allowed: {', '.join(get_args(LayerType))}.")
        sizes: list[tuple[str, object]] = [(d, getattr(self, d)) for d in DIMS]
        for label in ("strides", "dilations"):
            pair = getattr(self, label)
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise InputError(f"layer {self.name!r}: {label} is {pair!r}; it must be two whole numbers, [width, height].")
            object.__setattr__(self, label, tuple(pair))
            sizes += [(f"{label}[{i}]", v) for i, v in enumerate(pair)]
        if self.bits is not None:
            object.__setattr__(self, "bits", Bits(*self.bits))
            sizes += [(f"bits.{k}", v) for k, v in zip(Bits._fields, self.bits, strict=True)]
        if self.densities is not None:
            object.__setattr__(self, "densities", Densities(*self.densities))
            for tensor, share in zip(Densities._fields, self.densities, strict=True):
                if not is_number(share) or not 0 < share <= 1:
                    raise InputError(
                        f"layer {self.name!r}: the density of {tensor} is {shown(share)}; it must be the share of its elements "
                        "that are not zero, above 0 and at most 1."
                    )
        if self.position_densities is not None:
            object.__setattr__(self, "position_densities", tuple(self.position_densities))
            self._check_positions(self.position_densities)
        for label, value in sizes:
            if not is_whole(value):
                check_whole(f"layer {self.name!r}: {label}", value)
            elif value > _LARGEST:
                raise InputError(f"layer {self.name!r}: {label} is {value}; the largest that can be costed is {_LARGEST}.")
        if max(self.macs, *(self.words(t) for t in TENSORS)) > _MOST:
            raise InputError(f"layer {self} has more than {_MOST} (2^53) multiply-accumulates or words: too large to cost.")

    def _check_positions(self, shares: tuple[float, ...]) -> None:
        for share in shares:
            if not is_number(share) or not 0 <= share <= 1:
                raise InputError(
                    f"layer {self.name!r}: the density of transformed weights at a position is {shown(share)}; it must be the "
                    "share of its elements that are not zero, from 0 to 1."
                )
        if not any(shares):
            raise InputError(f"layer {self.name!r}: the transformed weights of all positions are zero; nothing is left to run.")

    # Sizes -----------------------------------------------------------------------------------------------------------

    @cached_property
    def dims(self) -> MappingProxyType[Dim, int]:
        """Loop bounds by dimension, in the fixed order of `DIMS`."""
        return MappingProxyType({d: getattr(self, d) for d in DIMS})

    @cached_property
    def projections(self) -> MappingProxyType[Tensor, tuple[Axis, ...]]:
        """For each tensor its axes; an axis is a sum of terms (loop dimension, coefficient)."""
        width = (Term("P", self.strides[0]), Term("R", self.dilations[0]))
        height = (Term("Q", self.strides[1]), Term("S", self.dilations[1]))
        plain: tuple[Axis, Axis] = ((Term("P"),), (Term("Q"),))
        swept: tuple[Axis, Axis] = (width, height)
        inner, outer = (plain, swept) if self.type == "conv_transpose" else (swept, plain)
        return MappingProxyType(
            {
                "weights": ((Term("G"),), (Term("C"),), (Term("M"),), (Term("R"),), (Term("S"),)),
                "inputs": ((Term("N"),), (Term("G"),), (Term("C"),), *inner),
                "outputs": ((Term("N"),), (Term("G"),), (Term("M"),), *outer),
            }
        )

    def relevant(self, tensor: Tensor) -> frozenset[Dim]:
        """The dimensions that `tensor` depends on."""
        return frozenset(t.dim for axis in self.projections[tensor] for t in axis)

    def words(self, tensor: Tensor) -> int:
        """Elements of the whole tensor: the hull that its projection spans (padding is not stored)."""
        return self._words[tensor]

    @cached_property
    def _words(self) -> dict[Tensor, int]:
        return {
            tensor: math.prod(1 + sum(t.coefficient * (self.dims[t.dim] - 1) for t in axis) for axis in axes)
            for tensor, axes in self.projections.items()
        }

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates, all groups: N G C M P Q R S."""
        return math.prod(self.dims.values())

    @cached_property
    def params(self) -> int:
        """Weights that the row reads, all groups: G C M R S; none for a product of two activations."""
        return 0 if self.type == "matmul" else self.words("weights")

    @property
    def own_params(self) -> int:
        """What the row adds to the network's weights: `params`, or 0 where they are `shared`."""
        return 0 if self.shared else self.params

    # Identity --------------------------------------------------------------------------------------------------------

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What makes two layers the same to every cost model: everything but the name and what is not costed."""
        known = () if self.densities is None else (self.densities,)
        if self.position_densities is not None:
            known = (*known, "positions", self.position_densities)
        return (self.type == "conv_transpose", *self.dims.values(), self.strides, self.dilations, self.bits, *known)

    def __getstate__(self) -> dict[str, object]:
        """The fields alone: what is derived from them need not travel to other processes."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def with_(self, **changes: object) -> Layer:
        """A copy with some fields changed; the copy is validated like any layer."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def __str__(self) -> str:
        sizes = " ".join(f"{d}={n}" for d, n in self.dims.items() if n > 1) or "all sizes 1"
        extra = "".join(
            f" {label}={pair[0]}x{pair[1]}"
            for label, pair in (("stride", self.strides), ("dilation", self.dilations))
            if pair != (1, 1)
        )
        return f"{self.name} ({self.type}: {sizes}{extra})"


__all__ = ["DIMS", "DIRECT", "TENSORS", "Axis", "Bits", "Densities", "Dim", "Layer", "LayerType", "Tensor", "Term"]

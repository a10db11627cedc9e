"""`Execution`: how a layer runs where it does not run directly, as rows and operators that every level can price.

A convolution may run as the product of its weights with the image's patches (im2col), as Winograd's product of transformed
tiles (`hwflow.cost.winograd`), or at every second pixel with the rest interpolated (virtual pooling). What remains to be
multiplied is a layer of another shape, and what is done before and after it are operators: no level needs to know more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network import OtherOp


class Execution(Protocol):
    """How a layer runs where it does not run as the row that the importer makes of it.

    Winograd products, im2col columns and the passes of a layer that runs in parts are rows of their own, which every level
    costs as it costs any other row. Implementations subclass the Protocol to inherit the defaults.
    """

    name: str = ""
    """What results call it."""
    exact: bool = True
    """Whether the layer's results are those of the convolution, but for rounding."""

    def why_not(self, layer: Layer) -> str:
        """Why a layer cannot run so, in a clause; empty where it can."""
        return ""

    def rows(self, layer: Layer) -> tuple[Layer, ...]:
        """The rows that are costed instead of the layer."""
        ...

    def other(self, layer: Layer) -> tuple[OtherOp, ...]:
        """Operators that it adds, such as transforms, which have a price where all operators have one."""
        return ()

    def steps(self, layer: Layer) -> tuple[Layer | OtherOp, ...] | None:
        """Its rows and operators in order, where each reads what the one before it wrote; None where that is not so."""
        return None


_KINDS = {"conv_transpose": "transposed convolution", "linear": "linear layer", "matmul": "product of two activations"}


def other_kind(layer: Layer) -> str:
    """What a layer is that is no convolution, in a clause; empty for a convolution."""
    return f"it is a {_KINDS[layer.type]}" if layer.type in _KINDS else ""


@dataclass(frozen=True)
class MatrixProduct(Execution):
    """The convolution's patches are laid out as a matrix, whose product with `kept` columns of weights is run.

    Attributes:
        kept: of C R S columns; None keeps all.
    """

    kept: int | None = None

    name = "im2col"

    def why_not(self, layer: Layer) -> str:
        """A kernel of one element has nothing to lay out."""
        if kind := other_kind(layer):
            return kind
        if layer.G > 1:
            return f"it has {layer.G} groups"
        return "" if layer.R * layer.S > 1 else "its kernel is 1 x 1, so its patches are its inputs"

    def rows(self, layer: Layer) -> tuple[Layer, ...]:
        """The product: `kept` inputs, M outputs, at each of the P Q positions."""
        return (matrix_product(layer, self._columns(layer)),)

    def other(self, layer: Layer) -> tuple[OtherOp, ...]:
        """The layout of the patches."""
        words = self._columns(layer) * layer.P * layer.Q * layer.N
        return (OtherOp(f"{layer.name}.im2col", "Im2Col", layer.words("inputs"), words),)

    def steps(self, layer: Layer) -> tuple[Layer | OtherOp, ...]:
        """First the layout."""
        return (*self.other(layer), *self.rows(layer))

    def _columns(self, layer: Layer) -> int:
        return layer.C * layer.R * layer.S if self.kept is None else self.kept


def matrix_product(layer: Layer, kept: int) -> Layer:
    """The row of a convolution of which `kept` columns are left.

    Raises:
        InputError: for a row that has no such matrix (grouped, transposed), or more columns than it has.
    """
    if layer.type != "conv" or layer.G > 1:
        raise InputError(f"{layer.name!r} is a {layer.type} with {layer.G} groups; columns are pruned of plain convolutions.")
    if not 0 < kept <= layer.C * layer.R * layer.S:
        raise InputError(f"{kept} columns of {layer.name!r} are to be kept; it has {layer.C * layer.R * layer.S}.")
    return layer.with_(C=kept, P=layer.P * layer.Q, Q=1, R=1, S=1, strides=(1, 1), dilations=(1, 1))


@dataclass(frozen=True)
class VirtualPooling(Execution):
    """The convolution is computed at every second pixel of each axis, and the others are interpolated linearly.

    From Chen, Zhang, Ding and Marculescu, WACV 2020, arXiv:1906.07912. Its results are others than the convolution's. On maps
    with even sides it takes exactly a quarter of the multiply-accumulates.
    """

    name = "vip"
    exact = False

    def why_not(self, layer: Layer) -> str:
        """Layers that stride already, and maps of one pixel, leave nothing to interpolate."""
        if kind := other_kind(layer):
            return kind
        if layer.strides != (1, 1):
            return f"its stride is {layer.strides[0]} x {layer.strides[1]}"
        return "" if min(layer.P, layer.Q) > 1 else f"its map has {layer.P} x {layer.Q} pixels"

    def rows(self, layer: Layer) -> tuple[Layer, ...]:
        """The layer with twice the stride, and half as many pixels on each axis, rounded up."""
        return (layer.with_(P=-(-layer.P // 2), Q=-(-layer.Q // 2), strides=(2, 2)),)

    def other(self, layer: Layer) -> tuple[OtherOp, ...]:
        """The interpolation, which writes the whole map."""
        (row,) = self.rows(layer)
        return (OtherOp(f"{layer.name}.interpolation", "Resize", row.words("outputs"), layer.words("outputs")),)

    def steps(self, layer: Layer) -> tuple[Layer | OtherOp, ...]:
        """Last the interpolation."""
        return (*self.rows(layer), *self.other(layer))


@dataclass(frozen=True)
class Imported(Execution):
    """Names a row that the importer makes of a module which runs so already: its operators are the network's own."""

    name: str

    def rows(self, layer: Layer) -> tuple[Layer, ...]:
        """The row as it is."""
        return (layer,)

    def steps(self, layer: Layer) -> tuple[Layer | OtherOp, ...]:
        """The row alone."""
        return (layer,)


__all__ = ["Execution", "Imported", "MatrixProduct", "VirtualPooling", "matrix_product", "other_kind"]

"""Builds a `Network` operator by operator from shapes alone: the zoo without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network._rows import convolution, linear, shown, window
from hwflow.network.network import Network, OtherOp

Shape = tuple[int, ...]


class Builder:
    """Collects rows and operators in order of execution; methods take (N, C, H, W) or (N, C) and return the result's shape.

    Raises:
        InputError: naming the layer, where the input is too small for it.
    """

    def __init__(self, name: str, input_shape: Shape) -> None:
        self.name = name
        self.input_shape = input_shape
        self._layers: list[Layer] = []
        self._other: list[OtherOp] = []

    def network(self) -> Network:
        """What was built."""
        return Network(self.name, tuple(self._layers), tuple(self._other))

    def conv(
        self,
        name: str,
        x: Shape,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> Shape:
        """A square convolution; the padding keeps the size at stride 1 unless given."""
        pad = dilation * (kernel // 2) if padding is None else padding
        y = self._slid(name, x, channels, kernel, stride=stride, padding=pad, dilation=dilation)
        self._layers.append(
            convolution(
                name,
                x,
                y,
                (channels, x[1] // groups, kernel, kernel),
                strides=(stride, stride),
                dilations=(dilation, dilation),
                groups=groups,
                bias=channels if bias else 0,
            )
        )
        return y

    def linear(self, name: str, x: Shape, features: int) -> Shape:
        """A fully connected layer with bias, on the input flattened from its second axis."""
        flat = (x[0], math.prod(x[1:]))
        self._layers.append(linear(name, flat, features, bias=features))
        return (x[0], features)

    def norm(self, name: str, x: Shape) -> Shape:
        """Batch normalisation with scale and shift."""
        return self.op(name, "BatchNormalization", [x], x, params=2 * x[1])

    def activation(self, name: str, x: Shape, kind: str = "Relu") -> Shape:
        """An element-by-element operator of one input."""
        return self.op(name, kind, [x], x)

    def add(self, name: str, x: Shape) -> Shape:
        """The sum of two tensors of one shape."""
        return self.op(name, "Add", [x, x], x)

    def max_pool(self, name: str, x: Shape, kernel: int, stride: int, padding: int = 0) -> Shape:
        """A square max pooling."""
        return self.op(name, "MaxPool", [x], self._slid(name, x, x[1], kernel, stride=stride, padding=padding))

    def average_pool(self, name: str, x: Shape, grid: int = 1) -> Shape:
        """Average pooling to `grid` x `grid` whatever the input's size."""
        return self.op(name, "GlobalAveragePool" if grid == 1 else "AveragePool", [x], (*x[:2], grid, grid))

    def resize(self, name: str, x: Shape, like: Shape) -> Shape:
        """Resampling to the height and width of `like`."""
        return self.op(name, "Resize", [x], (*x[:2], *like[2:]))

    def op(self, name: str, kind: str, inputs: Iterable[Shape], output: Shape, *, params: int = 0) -> Shape:
        """Any operator that is not counted, under ONNX's name of its kind."""
        self._other.append(OtherOp(name, kind, sum(math.prod(x) for x in inputs), math.prod(output), params))
        return output

    def conv_norm(
        self, conv: str, norm: str, x: Shape, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> Shape:
        """A convolution without bias and its normalisation."""
        return self.norm(norm, self.conv(conv, x, channels, kernel, stride=stride, dilation=dilation, groups=groups))

    def _slid(self, name: str, x: Shape, channels: int, kernel: int, *, stride: int, padding: int, dilation: int = 1) -> Shape:
        height, width = (window(size, kernel, stride, padding, dilation) for size in x[2:])
        if height < 1 or width < 1:
            raise InputError(
                f"{self.name} on an input of {shown(self.input_shape)}: nothing is left at {name!r}, whose kernel of "
                f"{kernel} x {kernel} does not fit {x[2]} x {x[3]} elements. Use a larger input (--input, or input_shape=)."
            )
        return (x[0], channels, height, width)


__all__ = ["Builder", "Shape"]

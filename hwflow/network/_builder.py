"""Builder of a `Network` from shapes alone, operator by operator, for the zoo without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network._rows import convolution, linear, shown, window
from hwflow.network.graph import GraphBuilder, Made
from hwflow.network.network import Network, OtherOp

Shape = tuple[int, ...]


class Activation(tuple[int, ...]):
    """The shape of one tensor between operators, (N, C, H, W) or (N, C); `place` is the tensor's number in the graph."""

    place: int

    @classmethod
    def at(cls, shape: Shape, place: int) -> Activation:
        """A tensor of this shape."""
        made = cls(shape)
        made.place = place
        return made


class Builder:
    """Collects rows and operators in order of execution; methods take activations and return their result.

    `input` is the network's own.

    Raises:
        InputError: naming the layer, where the input is too small for it.
    """

    def __init__(self, name: str, input_shape: Shape) -> None:
        self.name = name
        self.input_shape = input_shape
        self._layers: list[Layer] = []
        self._other: list[OtherOp] = []
        self._graph = GraphBuilder()
        self.input = Activation.at(input_shape, self._graph.tensor(math.prod(input_shape)))

    def network(self, output: Activation) -> Network:
        """What was built, and gives this."""
        graph = self._graph.graph([self.input.place], [output.place])
        return Network(self.name, tuple(self._layers), tuple(self._other), graph=graph)

    def conv(
        self,
        name: str,
        x: Activation,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> Activation:
        """A square convolution; the padding keeps the size at stride 1 unless given."""
        pad = dilation * (kernel // 2) if padding is None else padding
        y = self._slid(name, x, channels, kernel, stride=stride, padding=pad, dilation=dilation)
        layer = convolution(
            name,
            x,
            y,
            (channels, x[1] // groups, kernel, kernel),
            strides=(stride, stride),
            dilations=(dilation, dilation),
            groups=groups,
            bias=channels if bias else 0,
        )
        return self._row(layer, x, y)

    def linear(self, name: str, x: Activation, features: int) -> Activation:
        """A fully connected layer with bias, on the input flattened from its second axis."""
        flat = (x[0], math.prod(x[1:]))
        return self._row(linear(name, flat, features, bias=features), x, (x[0], features))

    def norm(self, name: str, x: Activation) -> Activation:
        """Batch normalisation with scale and shift."""
        return self.op(name, "BatchNormalization", [x], x, params=2 * x[1])

    def activation(self, name: str, x: Activation, kind: str = "Relu") -> Activation:
        """An element-by-element operator of one input."""
        return self.op(name, kind, [x], x)

    def add(self, name: str, x: Activation, y: Activation) -> Activation:
        """The sum of two tensors of one shape."""
        return self.op(name, "Add", [x, y], x)

    def max_pool(self, name: str, x: Activation, kernel: int, stride: int, padding: int = 0) -> Activation:
        """A square max pooling."""
        y = self._slid(name, x, x[1], kernel, stride=stride, padding=padding)
        return self.op(name, "MaxPool", [x], y, window=kernel * kernel)

    def average_pool(self, name: str, x: Activation, grid: int = 1) -> Activation:
        """Average pooling to `grid` x `grid` whatever the input's size."""
        return self.op(name, "GlobalAveragePool" if grid == 1 else "AveragePool", [x], (*x[:2], grid, grid))

    def resize(self, name: str, x: Activation, like: Shape) -> Activation:
        """Resampling to the height and width of `like`."""
        return self.op(name, "Resize", [x], (*x[:2], *like[2:]))

    def op(
        self, name: str, kind: str, inputs: Sequence[Activation], output: Shape, *, params: int = 0, window: int = 0
    ) -> Activation:
        """Any operator that is not counted, under ONNX's name of its kind."""
        made = OtherOp(name, kind, sum(math.prod(x) for x in inputs), math.prod(output), params, window)
        self._other.append(made)
        return self._ran(Made("other", kind, made.words_out), inputs, output)

    def view(self, x: Activation, shape: Shape) -> Activation:
        """A part of a tensor, where it lies."""
        return Activation.at(shape, x.place)

    def _row(self, layer: Layer, x: Activation, output: Shape) -> Activation:
        self._layers.append(layer)
        return self._ran(Made("layers", layer.type, math.prod(output)), [x], output)

    def _ran(self, row: Made, inputs: Sequence[Activation], output: Shape) -> Activation:
        made = Activation.at(output, self._graph.tensor(row.words))
        self._graph.ran([row], [x.place for x in inputs], [made.place])
        return made

    def conv_norm(
        self,
        conv: str,
        norm: str,
        x: Activation,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> Activation:
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


__all__ = ["Activation", "Builder", "Shape"]

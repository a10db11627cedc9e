"""What the models see of a chip and of a layer: sizes, whose logarithms are the variables, and the range of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hwflow.arrays import Floats
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import DIMS, Layer

OWN = "own"
"""Stands for the PEs of a chip that has no PE type."""

LAYER_VARIABLES = ("C", "M", "N x P x Q", "R x S", "G", "stride")
"""Of a layer; a stride is width x height."""

Range = tuple[float, float]


def layer_logs(layers: Sequence[Layer]) -> Floats:
    """Natural logarithms of `LAYER_VARIABLES`, a row a layer."""
    sizes = [
        (la.C, la.M, la.N * la.P * la.Q, la.R * la.S, la.G, math.prod(la.strides)) for la in layers
    ]  # fmt: skip
    return np.log(np.array(sizes, dtype=np.float64))


def layer_sizes(layer: Layer) -> dict[str, int]:
    """What must lie within the range of a model, by name."""
    pairs = {"stride": layer.strides, "dilation": layer.dilations}
    each = {f"{name} ({axis})": pair[i] for name, pair in pairs.items() for i, axis in enumerate(("width", "height"))}
    return {**{dim: layer.dims[dim] for dim in DIMS}, **each}


def layer_ranges(layers: Sequence[Layer]) -> dict[str, Range]:
    """The range of each size."""
    sizes = [layer_sizes(layer) for layer in layers]
    return {name: (min(one[name] for one in sizes), max(one[name] for one in sizes)) for name in sizes[0]}


def field_of(accelerator: Accelerator, field: str) -> float | None:
    """A field's value, named as users name it, `pe_array.rows`; None where the chip has none."""
    head, _, rest = field.partition(".")
    owner = next((part for part in accelerator.hierarchy if part.name == head), None) if rest else accelerator
    value = getattr(owner, rest or head, None)
    return float(value) if isinstance(value, (int, float)) else None


def array_fields(base: Accelerator) -> list[str]:
    """The fields whose product is the number of MAC units."""
    fields = [f"{part.name}.{axis}" for part in base.hierarchy if part.kind == "fanout" for axis in ("rows", "columns")]
    return [field for field in fields if field_of(base, field) is not None]


def outside(sizes: Mapping[str, float], ranges: Mapping[str, Range]) -> list[str]:
    """The sizes beyond their ranges, in words: `C (=512) is outside 3 to 64`."""
    return [
        f"{name} (={size:.10g}) is outside {ranges[name][0]:.10g} to {ranges[name][1]:.10g}"
        for name, size in sizes.items()
        if name in ranges and not ranges[name][0] <= size <= ranges[name][1]
    ]

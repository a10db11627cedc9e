"""Whether zeros change what a layer costs on a chip."""

from __future__ import annotations

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.stored_bits import packs
from hwflow.layers import Layer

PACKED = "tensors of several widths share a memory"


def asks_for_zeros(layer: Layer, accelerator: Accelerator) -> bool:
    """Whether there is something to count: densities, and a chip that does something about zeros."""
    return layer.densities is not None and accelerator.sparse


def counts_zeros(layer: Layer, accelerator: Accelerator) -> bool:
    """Whether it is counted on the chip that serves the layer: not where elements are no words (`PACKED`)."""
    return asks_for_zeros(layer, accelerator) and not packs(accelerator, layer)


def skips_zeros(accelerator: Accelerator) -> bool:
    """Whether zeros save cycles on the chip."""
    return accelerator.sparsity is not None and bool(accelerator.sparsity.skips)


__all__ = ["PACKED", "asks_for_zeros", "counts_zeros", "skips_zeros"]

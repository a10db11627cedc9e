"""What is said where zeros are not counted."""

from __future__ import annotations

from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import DIRECT, Layer


def zeros_remark(layer: Layer, accelerator: Accelerator | None, *, maps: bool) -> str:
    """Why zeros are not counted, where that follows from the layer and the chip; else nothing.

    Args:
        maps: whether the level that answers has mappings.
    """
    if layer.densities is not None and accelerator is None:
        return "dense: densities mean something with an accelerator that does something about zeros"
    if accelerator is None or (layer.densities is None and not accelerator.sparse):
        return ""
    if layer.densities is None:
        of_what = "" if layer.execution == DIRECT else f" of what {layer.execution} multiplies"
        return f"dense: no densities{of_what} are given, and {accelerator.name} would save zeros" if maps else ""
    if not accelerator.sparse:
        return f"dense: {accelerator.name} does nothing about zeros (it has no sparsity)"
    return "" if maps else "dense: this level does not count zeros; mid and fine do"


__all__ = ["zeros_remark"]

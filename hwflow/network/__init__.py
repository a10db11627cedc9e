"""A model as the tuple of layers that is costed, from PyTorch, ONNX, YAML, Timeloop's problem files or the zoo."""

from __future__ import annotations

from collections.abc import Sequence

from hwflow.network.network import Network, OtherOp


def zoo(name: str, *, input_shape: Sequence[int] | None = None, num_classes: int | None = None) -> Network:
    """A network of the zoo at its usual input size, or at `input_shape` (N, C, H, W); needs no torch."""
    from hwflow.network.model_zoo import build

    return build(name, input_shape, num_classes)


__all__ = ["Network", "OtherOp", "zoo"]

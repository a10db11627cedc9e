"""`WinogradSettings`: the options of methods that prune transformed weights of Winograd layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from hwflow.compression.winograd.zeros import Gradient, Thresholds
from hwflow.cost.winograd import transforms
from hwflow.errors import InputError, is_number, not_found


@dataclass(frozen=True)
class WinogradSettings:
    """Tiles, zeros and gradients.

    Raises:
        InputError: naming the field whose value cannot be used.
    """

    tile: int = 4
    """Outputs of a Winograd tile on each axis, 2 or 4."""
    sparsity: float = 0.7
    """The share of the transformed weights of each layer that is zero at the end; of the network's first layer at most 0.2.
    With the method `sparse` of the weights of each convolution."""
    gradient: Gradient = "spatial"
    """How transformed weights are trained: as if the spatial weights were, with gradients scaled by the positions' error
    factors (which takes a learning rate of about 1e-6), or with plain gradients."""
    thresholds: Thresholds = "position"
    """Of native training: one for each position of a tile, or for each weight by the loss's derivative, too (`gradient`)."""

    def __post_init__(self) -> None:
        transforms(self.tile)
        if not is_number(self.sparsity) or not 0 < self.sparsity < 1:
            raise InputError(f"sparsity is {self.sparsity!r}; it must be a share of the weights, above 0 and below 1.")
        if self.gradient not in get_args(Gradient):
            raise not_found("gradient of transformed weights", str(self.gradient), get_args(Gradient))
        if self.thresholds not in get_args(Thresholds):
            raise not_found("kind of thresholds", str(self.thresholds), get_args(Thresholds))


__all__ = ["WinogradSettings"]

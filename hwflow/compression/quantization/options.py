"""`QuantizationSettings`: the options of methods that store weights in fewer bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hwflow.errors import InputError, check_whole, is_number

Scheme = Literal["symmetric", "affine"]
Granularity = Literal["channel", "tensor"]
MOST_BITS, LEAST_BITS = 8, 2


@dataclass(frozen=True)
class QuantizationSettings:
    """How numbers are stored in fewer bits.

    Raises:
        InputError: naming the field whose value cannot be used.
    """

    weight_bits: int = 8
    """Of the method `int`, 2 to 8; int8 and int4 have theirs."""
    activation_bits: int = 8
    """Of integers, 2 to 8. The inputs of the first and the last layer keep 8 bits, as do their weights."""
    scheme: Scheme = "symmetric"
    """Integers of one range on both sides of zero, or (affine) of a range that begins and ends where the values do."""
    granularity: Granularity = "channel"
    """What has a step of its own: each output channel of a weight, or the whole tensor."""
    post_training: bool = False
    """Whether weights are rounded and not trained any further."""
    mean_k: float = 1.3
    """Of flightnn, powers of two a filter on average, at most: 1 to 2."""
    distribution_loss: float = 2.0
    """Of bnn, the weight of the distribution loss; 0 leaves it out."""

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            check_whole(name, getattr(self, name), MOST_BITS, LEAST_BITS)
        for name, choices in (("scheme", Scheme), ("granularity", Granularity)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(get_args(choices))}.")
        if not isinstance(self.post_training, bool):
            raise InputError(f"post_training is {self.post_training!r}; it must be True or False.")
        if not is_number(self.mean_k) or not 1 <= self.mean_k <= 2:
            raise InputError(f"mean_k is {self.mean_k!r}; it must be a number of powers of two a filter, 1 to 2.")
        if not is_number(self.distribution_loss) or not self.distribution_loss >= 0:
            raise InputError(
                f"distribution_loss is {self.distribution_loss!r}; it must be the loss's weight, 0 (without it) or more."
            )


__all__ = ["LEAST_BITS", "MOST_BITS", "Granularity", "QuantizationSettings", "Scheme"]

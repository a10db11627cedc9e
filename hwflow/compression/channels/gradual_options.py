"""`GradualSettings`: the options of methods that prune while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hwflow.compression.channels.schedules import Falling, ScaleLaw
from hwflow.errors import InputError, check_whole, is_number

Unit = Literal["channel", "column"]


@dataclass(frozen=True)
class GradualSettings:
    """How a method that prunes while training divides its epochs, and its schedules.

    Raises:
        InputError: naming the field whose value cannot be used.
    """

    preparation: float = 0.5
    """The share of the epochs that prepare the cut, one at least; the others fine-tune what is left of it."""
    unit: Unit = "channel"
    """What is removed at once: channels, or columns of the matrices as which convolutions are run (im2col)."""
    scale_start: float = 1.0
    """By what srfp and asrfp multiply pruned units at first."""
    scale_law: ScaleLaw = "linear"
    """How that falls to zero; see `hwflow.compression.channels.schedules.Falling`."""
    ratio_start: float = 0.0
    """The share of units that asfp and asrfp prune at first; below three quarters of the share at the end."""
    normalization: bool = True
    """Whether the soft methods weaken a channel's normalisation with its filter; False as in the authors' code, where zero
    filters recover, and the masks move until the end."""
    interval: int = 5
    """Steps after which the regularisation of greg1 and greg2 grows."""
    ramp_steps: int | None = None
    """Steps in which it shrinks units a thousandfold, of increg until the first one is removed; by default as the epochs
    allow."""
    growth: float | None = None
    """What it grows by; by default it follows from the steps."""
    limit: float | None = None
    """Of increg, the regularisation with which a unit is removed: by default 2.5, or what the learning rate allows where that
    is less. Of greg1 and greg2 the largest one: by default half of what the learning rate allows."""

    def __post_init__(self) -> None:
        if not is_number(self.preparation) or not 0 < self.preparation <= 1:
            raise InputError(f"preparation is {self.preparation!r}; it must be a share of the epochs, above 0 and at most 1.")
        if self.unit not in get_args(Unit):
            raise InputError(f"unit is {self.unit!r}; allowed: {', '.join(get_args(Unit))}.")
        Falling(self.scale_start, self.scale_law)
        if not is_number(self.ratio_start) or not 0 <= self.ratio_start < 1:
            raise InputError(f"ratio_start is {self.ratio_start!r}; it must be a share of the units, at least 0 and below 1.")
        check_whole("interval", self.interval)
        if self.ramp_steps is not None:
            check_whole("ramp_steps", self.ramp_steps)
        for name in ("growth", "limit"):
            value = getattr(self, name)
            if value is not None and (not is_number(value) or not value > 0):
                raise InputError(f"{name} is {value!r}; it must be a number above 0.")


__all__ = ["GradualSettings", "Unit"]

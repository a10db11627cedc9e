"""`SoftMasks`: after every epoch the least units are weakened, and may recover until the end (SFP, ASFP, SRFP, ASRFP).

See `hwflow.compression.channels.schedules` for the papers. Before the training and after each of its epochs the units of each
group are ranked by the norm of their filters, and the lowest floor(n P(t)) of n are multiplied by c(t); gradients move them
all. At the end they are zero, and are what surgery removes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from hwflow.compression.channels.schedules import RatioSchedule, ScaleSchedule, check_scale
from hwflow.compression.channels.units import UnitSource, checked_cuts
from hwflow.errors import InputError, check_whole
from hwflow.training.hooks import TrainingHook

_ROUNDED = 1e-9  # n (r / n) may fall short of the whole number r by rounding


@dataclass
class SoftMasks(TrainingHook):
    """Weakens units by a ratio schedule and a scale schedule.

    A unit is multiplied with its bias and its normalisation's scale and shift: else the normalisation would undo c(t), and its
    shift would remain when the filter is zero. So after every epoch the network is the one that surgery would give. The price
    is that a unit which is zero altogether passes no gradient back through a ReLU, and does not recover where c(t) is 0.

    Attributes:
        source: finds the units.
        cuts: how many units of each name are removed at the end.
        epochs: of the training.
        normalization: False multiplies filters alone before the end, as the authors' code does. Zero filters then recover, all
            the faster since a normalisation divides by their standard deviation, and the masks move from epoch to epoch.

    Raises:
        InputError: for a scale schedule that does not end at 0, or less than one epoch.
    """

    source: UnitSource
    cuts: Mapping[str, int]
    epochs: int
    ratio: RatioSchedule
    scale: ScaleSchedule
    normalization: bool = True
    changes_sparsity = True
    removed: dict[str, tuple[int, ...]] = field(default_factory=dict, init=False, repr=False)
    """At the end, which units are zero."""
    left: list[dict[str, int]] = field(default_factory=list, init=False, repr=False)
    """After every epoch, how many units of each name are not weakened."""

    def __post_init__(self) -> None:
        check_whole("epochs of pruning while training", self.epochs)
        check_scale(self.scale)

    def start(self, model: nn.Module, steps: int) -> None:
        """Weaken for the first time."""
        self._filters = self.source.units(model, "filters")
        self._outputs = self.source.units(model, "outputs")
        self._cuts = checked_cuts(self.cuts, self._filters)
        self.left.clear()
        self._weaken(0.0)

    def after_epoch(self, epoch: int) -> None:
        """Weaken anew: a unit that has grown above others is left alone."""
        if epoch > self.epochs:
            raise InputError(f"the schedules are for {self.epochs} epochs, and this is epoch {epoch}.")
        self.left.append(self._weaken(epoch / self.epochs))

    def identity(self) -> Mapping[str, str]:
        """The schedules and the numbers of units."""
        return {"the pruning while training": f"{self!r}"}

    def state_dict(self) -> dict[str, Any]:
        """What is zero, and how many were left."""
        return {"removed": {name: list(units) for name, units in self.removed.items()}, "left": self.left}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `TrainingHook`."""
        self.removed = {name: tuple(units) for name, units in state["removed"].items()}
        self.left = [dict(entry) for entry in state["left"]]

    def _weaken(self, t: float) -> dict[str, int]:
        """Multiply the lowest units by c(t); how many of each name are left alone."""
        left = {name: units.count for name, units in self._filters.items()}
        self.removed = {}
        for name, cut in self._cuts.items():
            filters, final = self._filters[name], cut / self._filters[name].count
            ratio = self.ratio(t, final)
            count = math.floor(filters.count * ratio + _ROUNDED)
            factor = self.scale(t, ratio / final)
            order = torch.argsort(filters.values().norm(dim=1), stable=True)
            lowest = order[:count]
            weakened = self._outputs[name] if self.normalization or t == 1 else filters
            weakened.scale_(torch.ones(filters.count).index_fill(0, lowest.cpu(), factor))
            self.removed[name] = tuple(sorted(lowest.tolist()))
            left[name] -= count
        return left


__all__ = ["SoftMasks"]

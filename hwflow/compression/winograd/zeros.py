"""Training hooks that make transformed weights zero and keep them there: from the spatial weights, or directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hwflow.compression.winograd.positions import (
    error_factors,
    output_norms,
    position_pattern,
    scaled_gradient,
    spatial_gradient,
    spatial_pattern,
)
from hwflow.training.hooks import TrainingHook

Gradient = Literal["spatial", "scaled", "plain"]
Importance = Literal["errors", "outputs", "magnitude"]
Thresholds = Literal["position", "gradient"]

_GRADIENTS: dict[Gradient, Callable[[Tensor, int], Tensor]] = {
    "spatial": spatial_gradient,
    "scaled": scaled_gradient,
    "plain": lambda gradient, m: gradient,
}
_IMPORTANCES: dict[Importance, Callable[[int], Tensor]] = {
    "errors": error_factors,
    "outputs": output_norms,
    "magnitude": lambda m: torch.ones((m + 2) ** 2),
}
_RISE = 0.5  # of the steps: then what is zero no longer changes
_SLOPE = 0.1  # of the loss by a weight, below which a weight's threshold no longer rises
_EVERY = 10  # steps between two choices while the share rises, where nothing returns


class _Zeros(TrainingHook):
    """What both hooks share: masks by name of the module, which hold between two choices."""

    changes_sparsity = True
    shares: Mapping[str, float]

    def start(self, model: nn.Module, steps: int) -> None:
        """Find the weights, and make the first of them zero."""
        self._steps = steps
        self._weights: dict[str, Tensor] = {name: model.get_submodule(name).weight for name in self.shares}
        self._masks: dict[str, Tensor] = {}
        self._choose(-1)
        self._apply()

    def after_step(self, step: int) -> None:
        """Choose anew where that is due; what is chosen is zero again, whatever moved it."""
        self._choose(step)
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """The masks."""
        return dict(self._masks)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The masks, on the device of the weights."""
        self._masks = {name: mask.to(self._weights[name].device) for name, mask in state.items()}

    def _apply(self) -> None:
        with torch.no_grad():
            for name, mask in self._masks.items():
                self._weights[name].mul_(mask)

    def _choose(self, step: int) -> None:
        """Renew the masks before the first step (-1) or after a step, if that is due."""
        raise NotImplementedError


@dataclass
class SpatialZeros(_Zeros):
    """Zeroes weights of convolutions in patterns that survive the transform, in equal stages, each with as many steps.

    Attributes:
        shares: of the transformed weights that are zero at the end, by name of the module.
        m: outputs of a tile on each axis.
        stages: how often patterns are chosen.
    """

    shares: Mapping[str, float]
    m: int
    stages: int = 3

    def _choose(self, step: int) -> None:
        starts = [round(self._steps * i / self.stages) - 1 for i in range(self.stages)]
        if step not in starts:
            return
        reached = (starts.index(step) + 1) / self.stages
        for name, share in self.shares.items():
            self._masks[name] = spatial_pattern(self._weights[name], self.m, share * reached)


@dataclass
class TransformedZeros(_Zeros):
    """Zeroes transformed weights of Winograd layers, a share that rises over half of the steps and then stays.

    The share rises as 1 - (1 - t)^3 (Zhu and Gupta 2017, arXiv:1710.01878), from `first` on. While it does, weights that are
    zero are trained on and may return where `returning`.

    The `spatial` gradient mixes positions: it is taken of the weights that are left alone. What the loss says of weights that
    are zero, and stay so, would move the others in a direction in which the loss need not fall.

    Attributes:
        shares: of the weights that are zero at the end, by name of the module; `first`: at the beginning.
        m: outputs of a tile on each axis.
        importance: of positions: `errors` (F), `outputs` (norms of the rows of A (x) A), or none beside the `magnitude`.
        gradient: `spatial` as if W were trained, `scaled` by F, or the `plain` one.
        thresholds: `position`, one for each position; `gradient`, for each weight also by the loss's derivative.
    """

    shares: Mapping[str, float]
    m: int
    importance: Importance
    gradient: Gradient
    first: Mapping[str, float] = field(default_factory=dict)
    returning: bool = False
    thresholds: Thresholds = "position"

    def start(self, model: nn.Module, steps: int) -> None:
        """Find the weights, of whose derivatives nothing is known yet, and make the first of them zero."""
        self._slopes: dict[str, Tensor] = {}
        super().start(model, steps)

    def before_step(self, step: int) -> None:
        """Turn the gradient into the one that is asked for."""
        for name, weight in self._weights.items():
            if weight.grad is None:
                continue
            if self.thresholds == "gradient":
                self._slopes[name] = weight.grad.abs()
            keep = self._masks[name]
            gradient = weight.grad * keep if self.gradient == "spatial" else weight.grad
            weight.grad = _GRADIENTS[self.gradient](gradient, self.m)
            if not self.returning or step >= self._last:
                weight.grad.mul_(keep)

    @property
    def _last(self) -> int:
        return round(_RISE * self._steps)

    def _choose(self, step: int) -> None:
        due = self.returning or (step + 1) % _EVERY == 0
        if step > self._last or (step != self._last and not due):
            return
        rising = 1 - (1 - min(1.0, (step + 1) / max(self._last, 1))) ** 3
        importance = _IMPORTANCES[self.importance](self.m)
        for name, share in self.shares.items():
            first = self.first.get(name, 0.0)
            now = share if step == self._last else first + (share - first) * rising
            self._masks[name] = position_pattern(
                self._weights[name], gradient_importance(importance, self._slopes.get(name)), now
            )


def gradient_importance(importance: Tensor, slopes: Tensor | None) -> Tensor:
    """Of weights [T^2, M, C], from that of their positions [T^2] and the size of the loss's derivative by each.

    Thresholds by gradient are th = 1 / (|dL/dw| / th0 + 1 / (10 th0)) (Li, Park and Tang 2017, arXiv:1702.08597), which is
    th0 / (|dL/dw| + 1 / 10); divided by a position's importance, a weight is below its threshold where its magnitude times the
    importance times (|dL/dw| + 1 / 10) is below th0. The share of zeros decides th0. (With importances: ours.)
    """
    if slopes is None:
        return importance
    return importance.to(device=slopes.device, dtype=slopes.dtype)[:, None, None] * (slopes + _SLOPE)


@dataclass
class MagnitudeZeros(_Zeros):
    """Zeroes weights of least magnitude in each layer, one by one; their share rises as that of `TransformedZeros`.

    Attributes:
        shares: of the weights that are zero at the end, by name of the module.
    """

    shares: Mapping[str, float]

    def before_step(self, step: int) -> None:
        """What is zero is not trained."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                weight.grad.mul_(self._masks[name])

    def _choose(self, step: int) -> None:
        last = round(_RISE * self._steps)
        if step > last or (step != last and (step + 1) % _EVERY):
            return
        rising = 1 - (1 - min(1.0, (step + 1) / max(last, 1))) ** 3
        for name, share in self.shares.items():
            sizes = self._weights[name].detach().abs()
            count = round(share * (1.0 if step == last else rising) * sizes.numel())
            self._masks[name] = (
                sizes > sizes.flatten().kthvalue(count).values if count else torch.ones_like(sizes, dtype=torch.bool)
            )


__all__ = ["Gradient", "Importance", "MagnitudeZeros", "SpatialZeros", "Thresholds", "TransformedZeros", "gradient_importance"]

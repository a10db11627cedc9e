"""L2 regularisation that grows on the units that are to go, until nothing of them is left: GReg-1, GReg-2 and IncReg.

GReg is Wang, Qin, Zhang and Fu, ICLR 2021 (arXiv:2012.09243); IncReg Wang et al., IJCNN 2019 (arXiv:1811.08390). Both add
lambda w to the gradient of a unit w, with a lambda of its own that grows. Their published numbers are for tens of thousands
of steps; here the growth follows from the number of steps that there are.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hwflow.compression.channels.units import Units, UnitSource, checked_cuts
from hwflow.errors import InputError, check_whole, is_number
from hwflow.training.hooks import TrainingHook

GONE = 1e-3
"""A unit is gone where its mean magnitude is below this share of that of the units which stay."""
LEAST_INTERVALS = 10
"""Times that lambda grows at least during the ramp."""
_PICKED = 1 / 4  # of GReg-2: what the published numbers shrink a weight by before units are chosen, as -ln
_KEPT = 1 / 4  # u of IncReg's function


def growth_for(shrinkage: float, rates: Sequence[float], momentum: float, interval: int) -> float:
    """By how much lambda must grow every `interval` steps for exp(-shrinkage) to be left of a weight after `rates`.

    Without a gradient of the loss, step s multiplies a weight by 1 - eta_s lambda_s / (1 - mu) to first order, where lambda_s
    is the growth times floor(s / K): with a constant rate the growth is 2 K shrinkage (1 - mu) / (eta n^2). The form for rates
    that change is ours.

    Args:
        shrinkage: ln(1000) for a thousandth.
        rates: the learning rate of each step.
        interval: K, steps between two growths.
    """
    weighed = sum(rate * (step // interval) for step, rate in enumerate(rates))
    return shrinkage * (1 - momentum) / weighed


def largest_growth(steps: int, interval: int, rate: float, momentum: float) -> float:
    """The growth with which eta lambda / (1 - mu) is 1 after so many steps; above it weights would oscillate."""
    return interval * (1 - momentum) / (rate * steps)


def stable_ramp(shrinkage: float, rates: Sequence[float], momentum: float, interval: int, share: float) -> int | None:
    """The least ramp, from a share of the steps and ten growths on, within which weights shrink so far without oscillating."""
    for ramp in range(max(LEAST_INTERVALS * interval, int(share * len(rates))), len(rates) + 1):
        if growth_for(shrinkage, rates[:ramp], momentum, interval) <= largest_growth(ramp, interval, max(rates), momentum):
            return ramp
    return None


def check_ramp(ramp_steps: int, interval: int) -> None:
    """That lambda grows often enough.

    Raises:
        InputError: for a ramp shorter than ten growths.
    """
    check_whole("ramp_steps", ramp_steps)
    check_whole("interval", interval)
    if ramp_steps < LEAST_INTERVALS * interval:
        raise InputError(
            f"ramp_steps is {ramp_steps}; lambda grows every {interval} steps, and must grow at least {LEAST_INTERVALS} times: "
            f"allowed are {LEAST_INTERVALS * interval} steps or more. Train for more epochs, or lower the interval."
        )


def check_growth(growth: float, ramp_steps: int, interval: int, rate: float, momentum: float) -> None:
    """That weights do not oscillate before the ramp's end.

    Raises:
        InputError: naming the largest growth.
    """
    most = largest_growth(ramp_steps, interval, rate, momentum)
    if not is_number(growth) or not 0 < growth <= most:
        raise InputError(
            f"growth is {growth:.4g}; it must be above 0, and with a learning rate of {rate:g} and a momentum of {momentum:g} "
            f"at most {most:.4g} for {ramp_steps} steps: above that the weights would oscillate. A longer ramp grows more "
            "slowly."
        )


class _Growing(TrainingHook):
    """What GReg and IncReg share: coupled units, a lambda for each, and what is left of them."""

    changes_sparsity = True
    source: UnitSource
    cuts: Mapping[str, int]

    def start(self, model: nn.Module, steps: int) -> None:
        """Find the units."""
        self._all = self.source.units(model, "coupled")
        self._cuts = checked_cuts(self.cuts, self._all)
        self._units: dict[str, Units] = {name: self._all[name] for name in self._cuts}
        self.factors: dict[str, Tensor] = {
            name: torch.zeros(units.count, dtype=torch.float64) for name, units in self._units.items()
        }
        self.removed: dict[str, tuple[int, ...]] = {}
        self.left: list[dict[str, int]] = []
        self.largest_ratio = 0.0

    def before_step(self, step: int) -> None:
        """Let lambda grow, and add its gradient."""
        for name, units in self._units.items():
            self._grow(name, units, step)
            units.decay_grad_(self.factors[name])

    def after_epoch(self, epoch: int) -> None:
        """Count what is left."""
        self.left.append({name: units.count - self._gone(name) for name, units in self._all.items()})

    def finish(self, model: nn.Module) -> None:
        """Measure how little of the removed units is left."""
        self.largest_ratio = max((_ratio(units, self.removed[name]) for name, units in self._units.items()), default=0.0)

    def _gone(self, name: str) -> int:
        removed = self.removed.get(name, ())
        if not removed:
            return 0
        size = self._units[name].values().abs().mean(1)
        mask = _mask(len(size), removed).to(size.device)
        return int((size[mask] < GONE * size[~mask].mean()).sum())

    @abstractmethod
    def _grow(self, name: str, units: Units, step: int) -> None:
        """Change the lambda of a group's units before a step."""

    def identity(self) -> Mapping[str, str]:
        """The settings and the numbers of units."""
        return {"the pruning while training": f"{self!r}"}

    def state_dict(self) -> dict[str, Any]:
        """Lambda, what is removed, and how many were left."""
        return {
            "factors": self.factors,
            "removed": {name: list(units) for name, units in self.removed.items()},
            "left": self.left,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `TrainingHook`."""
        self.factors = {name: value.clone() for name, value in state["factors"].items()}
        self.removed = {name: tuple(units) for name, units in state["removed"].items()}
        self.left = [dict(entry) for entry in state["left"]]


@dataclass
class GrowingRegularization(_Growing):
    """GReg: lambda grows on the units that are removed by `growth` every `interval` steps.

    It grows in each group until the removed units' mean magnitude is below a thousandth of the others', or until lambda is
    `limit`; for the rest of the training it is held.

    With `pick_steps` 0 (GReg-1) the units of least mean magnitude are chosen at the beginning. Otherwise (GReg-2) lambda first
    grows on all units alike, by `pick_growth`, for `pick_steps` steps. What the loss needs more resists more, so that
    magnitudes tell the curvature of the loss; then units are chosen by magnitude. The others' lambda falls back to 0 (the
    authors make it negative, and doubt that in a comment).

    Attributes:
        source, cuts: see `hwflow.compression.channels.soft_masks.SoftMasks`.
        limit: the largest lambda.
    """

    source: UnitSource
    cuts: Mapping[str, int]
    growth: float
    limit: float
    interval: int = 5
    pick_growth: float = 0.0
    pick_steps: int = 0

    def start(self, model: nn.Module, steps: int) -> None:
        """Choose the units, with GReg-1."""
        super().start(model, steps)
        self._held: dict[str, bool] = dict.fromkeys(self._units, False)
        if self.pick_steps == 0:
            self.removed = {name: self._smallest(name) for name in self._units}

    def _grow(self, name: str, units: Units, step: int) -> None:
        if step < self.pick_steps:
            if step and step % self.interval == 0:
                self.factors[name] += self.pick_growth
            return
        if step == self.pick_steps and self.pick_steps:
            self.removed[name] = self._smallest(name)
            self.factors[name] *= _mask(units.count, self.removed[name])
        if step > self.pick_steps and step % self.interval == 0 and not self._held[name]:
            mask = _mask(units.count, self.removed[name])
            gone = _ratio(units, self.removed[name]) < GONE
            self._held[name] = gone or float(self.factors[name].max()) + self.growth > self.limit
            self.factors[name] += self.growth * mask * (not self._held[name])

    def _smallest(self, name: str) -> tuple[int, ...]:
        """The units of least mean magnitude."""
        order = torch.argsort(self._units[name].values().abs().mean(1), stable=True)
        return tuple(sorted(order[: self._cuts[name]].tolist()))

    def state_dict(self) -> dict[str, Any]:
        """Which groups are held, too."""
        return {**super().state_dict(), "held": self._held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `TrainingHook`."""
        super().load_state_dict(state)
        self._held = dict(state["held"])


def increments(count: int, cuts: int, amount: float) -> Tensor:
    """IncReg's Delta at the places 0 to count - 1 of the order, where `cuts` are to be removed; float64.

    With u = 1/4, a = ln(2 / u) / cuts and N1 = -ln(u) / a it is A exp(-a j) for j < N1 and 2 u A - A exp(-a (2 N1 - j)) from
    there on: A at place 0, zero at place `cuts`, negative behind it.

    Args:
        amount: A.
    """
    rate = math.log(2 / _KEPT) / cuts
    turn = -math.log(_KEPT) / rate
    place = torch.arange(count, dtype=torch.float64)
    late = 2 * _KEPT * amount - amount * torch.exp(-rate * (2 * turn - place))
    return torch.where(place < turn, amount * torch.exp(-rate * place), late)


def ramps_until_removed(count: int, cuts: int) -> float:
    """How long IncReg takes to remove all of `cuts` units, in steps of its first one, as long as their order stays."""
    factors, passed = torch.zeros(count, dtype=torch.float64), 0.0
    for left in range(cuts, 0, -1):
        added = increments(len(factors), left, 1.0)
        need = float((1 - factors[0]) / added[0])
        passed += need
        factors = (factors + need * added).clamp(min=0)[1:]
    return passed


@dataclass
class IncrementalRegularization(_Growing):
    """IncReg: at every step lambda grows on the units that rank low on the average of all steps, and falls on the others.

    A unit whose lambda reaches `limit` is removed for good; what is not removed so by the end is removed then, the lowest
    first.

    Attributes:
        source, cuts: see `hwflow.compression.channels.soft_masks.SoftMasks`.
        ramp_steps: after how many steps the lowest unit is removed: lambda grows by at most limit / ramp_steps a step.
    """

    source: UnitSource
    cuts: Mapping[str, int]
    ramp_steps: int
    limit: float = 2.5

    def start(self, model: nn.Module, steps: int) -> None:
        """Nothing is removed yet."""
        super().start(model, steps)
        self.removed = dict.fromkeys(self._units, ())
        self._ranks = {name: torch.zeros(units.count, dtype=torch.float64) for name, units in self._units.items()}
        self.early = 0

    def before_step(self, step: int) -> None:
        """Keep what is removed where it is."""
        super().before_step(step)
        for name, units in self._units.items():
            if self.removed[name]:
                units.gate_grad_(~_mask(units.count, self.removed[name]))

    def after_step(self, step: int) -> None:
        """Momentum moves what gradients do not."""
        for name in self._units:
            self._hold(name)

    def finish(self, model: nn.Module) -> None:
        """Remove the rest."""
        self.early = sum(map(len, self.removed.values()))
        for name, cut in self._cuts.items():
            removed = set(self.removed[name])
            order = [u for u in torch.argsort(self._ranks[name], stable=True).tolist() if u not in removed]
            self.removed[name] = tuple(sorted(removed | set(order[: cut - len(removed)])))
        super().finish(model)

    def _grow(self, name: str, units: Units, step: int) -> None:
        removed = self.removed[name]
        alive = (~_mask(units.count, removed)).nonzero().flatten()
        norms = units.values().abs().sum(1).cpu()[alive]
        places = torch.empty(len(alive), dtype=torch.float64)
        places[torch.argsort(norms, stable=True)] = torch.arange(len(alive), dtype=torch.float64)
        ranks = self._ranks[name]
        ranks[alive] = (step * ranks[alive] + places) / (step + 1)
        left = self._cuts[name] - len(removed)
        factors = self.factors[name]
        if left == 0:
            factors.zero_()
            return
        order = alive[torch.argsort(ranks[alive], stable=True)]
        grown = factors[order] + increments(len(order), left, self.limit / self.ramp_steps)
        factors[order] = grown.clamp(min=0)
        reached = [u for u in order.tolist() if float(factors[u]) >= self.limit * (1 - 1e-6)]
        if reached:
            self.removed[name] = tuple(sorted((*removed, *reached[:left])))
            factors[list(self.removed[name])] = 0
            self._hold(name)

    def _hold(self, name: str) -> None:
        if self.removed[name]:
            self._units[name].scale_(~_mask(self._units[name].count, self.removed[name]))

    def state_dict(self) -> dict[str, Any]:
        """The averaged ranks, too."""
        return {**super().state_dict(), "ranks": self._ranks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `TrainingHook`."""
        super().load_state_dict(state)
        self._ranks = {name: value.clone() for name, value in state["ranks"].items()}


def check_limit(limit: float, rate: float, momentum: float) -> None:
    """That IncReg's weights do not oscillate.

    Raises:
        InputError: naming the largest limit.
    """
    most = (1 - momentum) / rate
    if not is_number(limit) or not 0 < limit <= most:
        raise InputError(
            f"limit is {limit!r}; it must be above 0, and with a learning rate of {rate:g} and a momentum of {momentum:g} at "
            f"most {most:.4g}: above that the weights would oscillate."
        )


def pick_shrinkage() -> float:
    """How far GReg-2 shrinks all units before it chooses, as -ln: what the published numbers come to."""
    return _PICKED


def _mask(count: int, units: Sequence[int]) -> Tensor:
    mask = torch.zeros(count, dtype=torch.bool)
    mask[list(units)] = True
    return mask


def _ratio(units: Units, removed: Sequence[int]) -> float:
    """Mean magnitude of the removed units as a share of the others'."""
    size = units.values().abs().mean(1)
    mask = _mask(len(size), removed).to(size.device)
    return float(size[mask].mean() / size[~mask].mean())


__all__ = [
    "GONE",
    "LEAST_INTERVALS",
    "GrowingRegularization",
    "IncrementalRegularization",
    "check_growth",
    "check_limit",
    "check_ramp",
    "growth_for",
    "increments",
    "largest_growth",
    "pick_shrinkage",
    "ramps_until_removed",
    "stable_ramp",
]

"""How the accuracy of plans follows from the width of each group, as a sum over groups.

`importance_losses` needs no measurement: the share of a group's importance that is removed. `AdditiveModel` learns the sum
from the plans measured so far: the log-odds of the accuracy are a constant plus a Gaussian process over each group's width
(Duvenaud, Nickisch and Rasmussen, "Additive Gaussian Processes", NIPS 2011, arXiv:1112.4394, of first order). As it is a sum,
`hwflow.compression.search.planner` finds the best plan that it knows of, exactly. Log-odds, the kernel of the logarithms of the
shares kept, and importance as the prior's direction are hwflow's own; so are the lists of hyperparameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.decision import Variable

_LENGTHS = (0.5, 1.0, 2.0)  # of the logarithm of the share kept
_WEIGHTS = (0.1, 1.0, 10.0)  # variance of the processes, as a multiple of the variance of the common direction
_NOISES = (1e-3, 1e-2, 0.1)  # variance of what is no sum over groups, as a share of the log-odds' own
_LEAST = 0.005  # accuracies are taken to lie this far from 0 and 1: their log-odds are finite


def importance_losses(groups: Sequence[Variable], scores: Mapping[str, Sequence[float]] | None) -> list[Floats]:
    """A loss for each group at each of its widths: minus the logarithm of the share of its importance that is kept.

    Args:
        scores: importance of each group's units; without any, all units count the same.
    """
    losses = []
    for group in groups:
        units = np.sort(np.asarray(scores[group.name] if scores else np.ones(group.channels // group.unit), dtype=np.float64))
        kept = np.cumsum(units[::-1])
        shares = kept[[width // group.unit - 1 for width in group.widths]] / kept[-1] if kept[-1] > 0 else np.ones(1)
        losses.append(-np.log(np.maximum(shares, 1e-6)) * np.ones(len(group.widths)))
    return losses


def log_odds(accuracy: Any) -> Any:
    """Of one accuracy, or of each of an array, taken to lie between 0.005 and 0.995."""
    inside = np.clip(accuracy, _LEAST, 1 - _LEAST)
    return np.log(inside / (1 - inside))


class AdditiveModel:
    """The process, conditioned on measured plans.

    Args:
        groups: what plans decide.
        direction: for each group a loss at each of its widths, `importance_losses`; the sum is the prior's mean.
        plans: places of the measured plans' widths among the groups' widths, [plan, group].
        accuracies: of these plans, in [0, 1].
    """

    def __init__(
        self,
        groups: Sequence[Variable],
        direction: Sequence[Floats],
        plans: Sequence[Sequence[int]],
        accuracies: Sequence[float],
    ) -> None:
        self._direction = [np.asarray(d, dtype=np.float64) for d in direction]
        self._logs = [np.log(np.array(g.widths) / g.channels) for g in groups]
        self._places = np.asarray(plans, dtype=np.intp).reshape(-1, len(groups))
        odds = log_odds(np.asarray(accuracies, dtype=np.float64))
        self._mean, self._scale = float(odds.mean()), float(odds.std()) or 1.0
        self._values = (odds - self._mean) / self._scale
        along = sum(d[p] for d, p in zip(self._direction, self._places.T, strict=True))
        self._centre, self._spread = float(np.mean(along)), float(np.std(along)) or 1.0
        self._along = (np.asarray(along) - self._centre) / self._spread
        self._choose()

    def losses(self, generator: np.random.Generator | None = None) -> list[Floats]:
        """The predicted fall of the log-odds with each group's width, up to a constant for each group.

        Args:
            generator: to draw a sample of what the measurements leave possible, instead of its mean.
        """
        values, rough = self._values, [np.zeros(len(logs)) for logs in self._logs]
        slope = 0.0
        if generator is not None:  # a sample of the prior, moved by what it fails to explain (Matheron's rule)
            slope = float(generator.normal())
            for g, logs in enumerate(self._logs):
                root = np.linalg.cholesky(self._prior(g) + 1e-9 * np.eye(len(logs)))
                rough[g] = root @ generator.normal(size=len(logs))
            noise = np.sqrt(self._noise) * generator.normal(size=len(values))
            said = -slope * self._along + sum(r[p] for r, p in zip(rough, self._places.T, strict=True)) + noise
            values = values - said
        explained = self._inverse @ values
        slope -= float(self._along @ explained)
        found = []
        for g, own in enumerate(self._places.T):
            curve = rough[g] + self._prior(g)[:, own] @ explained
            found.append(self._scale * (slope / self._spread * self._direction[g] - curve))
        return found

    def accuracy(self, plan: Sequence[int]) -> float:
        """The prediction for a plan, given as the places of its widths."""
        explained = self._inverse @ self._values
        along = (sum(float(d[p]) for d, p in zip(self._direction, plan, strict=True)) - self._centre) / self._spread
        near = 10.0 + along * self._along
        near += sum(self._prior(g)[plan[g], own] for g, own in enumerate(self._places.T))
        return float(1 / (1 + np.exp(-(self._mean + self._scale * float(near @ explained)))))

    def _prior(self, group: int) -> Floats:
        logs = self._logs[group]
        apart = np.square(logs[:, None] - logs)
        return np.asarray(self._amplitude / len(self._logs) * np.exp(-0.5 * apart / self._length**2))

    def _choose(self) -> None:
        """The likeliest hyperparameters, from short lists."""
        count, likeliest = len(self._values), -np.inf
        flat = 10.0 * np.ones((count, count)) + np.outer(self._along, self._along)
        self._noise = _NOISES[0]
        for self._length in _LENGTHS:
            self._amplitude = 1.0
            whole = sum(self._prior(g)[np.ix_(own, own)] for g, own in enumerate(self._places.T))
            for weight in _WEIGHTS:
                roots, vectors = np.linalg.eigh(flat + weight * whole)
                turned = np.square(vectors.T @ self._values)
                for noise in _NOISES:
                    spectrum = np.maximum(roots, 0.0) + noise
                    likelihood = -0.5 * float((turned / spectrum).sum() + np.log(spectrum).sum())
                    if likelihood > likeliest:
                        likeliest = likelihood
                        best = (self._length, weight, noise, (vectors / spectrum) @ vectors.T)
        self._length, self._amplitude, self._noise, self._inverse = best


__all__ = ["AdditiveModel", "importance_losses", "log_odds"]

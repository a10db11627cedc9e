"""`AccuracyModel`: predicts the accuracy of plans that are not measured yet, from those that are, by a Gaussian process.

The costs of a plan are exact and take milliseconds; its accuracy takes a second or more. So the search generates many plans and
measures only the most promising one, as model-based reinforcement learning does (random shooting: Nagabandi et al., ICRA 2018,
arXiv:1708.02596). Plans are ranked by an upper confidence bound, the mean plus one standard deviation (GP-UCB: Srinivas et al.,
ICML 2010, arXiv:0912.3995). The inputs of the process (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006,
algorithm 2.1) are the logarithms of the shares of channels that groups keep. Its length scale and noise are chosen from a short
list by maximum likelihood, and its amplitude is the maximum-likelihood one (ibid., section 5.4). Using the process to choose
among a DDPG agent's plans, the inputs and the lists of hyperparameters are hwflow's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwflow.arrays import Floats

_SCALES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # length scales, times the root of the number of groups
_NOISES = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)  # variances of the noise, as shares of the process's own
_MOST = 400  # the best of the measured plans that are looked at: bounds the time


class AccuracyModel:
    """The process, conditioned on the measured plans.

    Args:
        shares: of their groups' channels that the measured plans keep, [plan, group], above 0.
        accuracies: of these plans, [plan].
    """

    def __init__(self, shares: Sequence[Sequence[float]], accuracies: Sequence[float]) -> None:
        found = np.asarray(accuracies, dtype=np.float64)
        best = np.sort(np.argsort(-found, kind="stable")[:_MOST])
        self._places, found = np.log(np.asarray(shares, dtype=np.float64)[best]), found[best]
        self._mean, self._deviation = float(found.mean()), float(found.std()) or 1.0
        values = (found - self._mean) / self._deviation
        apart = _apart(self._places, self._places)
        likeliest = -np.inf
        for scale in _SCALES:
            length = scale * np.sqrt(self._places.shape[1])
            roots, vectors = np.linalg.eigh(np.exp(-0.5 * apart / length**2))
            turned = vectors.T @ values
            for noise in _NOISES:
                spectrum = np.maximum(roots, 0.0) + noise
                amplitude = float(np.mean(turned**2 / spectrum))
                likelihood = -0.5 * (len(values) * np.log(amplitude) + np.log(spectrum).sum()) if amplitude > 0 else -np.inf
                if likelihood > likeliest:
                    likeliest = likelihood
                    self._length, self._amplitude = length, amplitude
                    self._weights = vectors @ (turned / spectrum)
                    self._inverse = (vectors / spectrum) @ vectors.T
        if likeliest == -np.inf:  # all measurements are the same
            self._length, self._amplitude = 1.0, 0.0
            self._weights, self._inverse = np.zeros(len(values)), np.eye(len(values))

    def upper_confidence_bound(self, shares: Sequence[float]) -> float:
        """The predicted accuracy of a plan that keeps these shares, [group], plus one standard deviation; it can exceed 1."""
        near = np.exp(-0.5 * _apart(np.log(np.asarray(shares, dtype=np.float64))[None], self._places)[0] / self._length**2)
        variance = max(self._amplitude * (1.0 - float(near @ self._inverse @ near)), 0.0)
        return self._mean + self._deviation * (float(near @ self._weights) + float(np.sqrt(variance)))


def _apart(a: Floats, b: Floats) -> Floats:
    """Squared distances between places, [i, j]."""
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2.0 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0))

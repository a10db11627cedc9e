"""LeGR, learned global ranking (Chin, Ding, Zhang and Marculescu, CVPR 2020, arXiv:1904.12368).

One ranking of the units of all groups: unit i of group l has the value alpha_l s_i + kappa_l, where s_i is its score, the
squared norm of its weights in the paper. The two numbers of each group are learned by regularised evolution; any budget
afterwards is one cut of the sorted list (`hwflow.compression.search.ranked_cut`). The evolution is that of the authors' code:
alpha = exp N(0, 1) and kappa = N(0, deviation of the group's scores) at first, tournaments with replacement, a tenth of the
groups mutated by alpha * exp N(0, sigma) and kappa + N(0, deviation), the oldest replaced. Here a mutation changes at least one
group, and the fitness is the search's own measurement, without training steps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.compression.search.ranked_cut import ranked_cut, values_of
from hwflow.compression.search.searcher import Choice, Measured, Outcome
from hwflow.compression.search.soft_budget import SHARES, limited
from hwflow.errors import InputError
from hwflow.files import parse_json, read_text

_LEAST_SIGMA = 0.2  # what sigma comes to at the last evaluation


@dataclass(frozen=True)
class Evolution:
    """How rankings are learned.

    Attributes:
        evaluations: over which mutations become smaller; more can be made.
        population: rankings that are kept; the first of them are random, but for the identity.
        tournament: rankings drawn, of which the best is mutated.
        mutated: share of the groups that a mutation changes.
    """

    evaluations: int = 400
    population: int = 64
    tournament: int = 16
    mutated: float = 0.1


@dataclass(frozen=True)
class AffineRanking:
    """Two numbers for each group.

    Attributes:
        alpha: factor on the scores of a group's units, above 0.
        kappa: added to them.
    """

    alpha: dict[str, float]
    kappa: dict[str, float]

    def values(self, problem: PruningEnv) -> list[Floats]:
        """Of each group's units.

        Raises:
            InputError: where the problem has no scores, or other groups.
        """
        groups = problem.costs.groups
        if {group.name for group in groups} != set(self.alpha):
            raise InputError("the ranking was learned for other groups; learn one for this network and these settings.")
        scores = values_of(groups, problem.scores, "LeGR")
        return [self.alpha[g.name] * own + self.kappa[g.name] for g, own in zip(groups, scores, strict=True)]

    def plan(self, problem: PruningEnv) -> Choice:
        """The plan for any problem of these groups: whatever its budgets, metric, level and accelerator."""
        return ranked_cut(problem.space, self.values(problem))

    @classmethod
    def load(cls, path: Path) -> AffineRanking:
        """What a search by LeGR found, of its run's folder, or of that folder's `searches.json`.

        Raises:
            InputError: for a file that holds no ranking.
        """
        file = path / "searches.json" if path.is_dir() else path
        text = read_text(file, "the ranking", "result")
        try:
            found = next(data["ranking"] for data in parse_json(text).values() if "ranking" in data)
            made = cls(*({str(k): float(v) for k, v in found[name].items()} for name in ("alpha", "kappa")))
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            raise InputError(
                f"{file} holds no ranking ({type(error).__name__}: {error}); name the folder of a run with --search legr."
            ) from None
        if set(made.alpha) != set(made.kappa) or not all(np.isfinite(a) and a > 0 for a in made.alpha.values()):
            raise InputError(f"{file} holds no ranking: alpha must be above 0 for every group, and kappa given for each.")
        return made


class LegrSearcher:
    """Proposes cuts of rankings that evolve.

    Args:
        problem: with `scores` of the units, by squared norms in the paper.
        settings: of these, `warmup` bounds the population, and three times of it are the evaluations that are expected.
        seed: of everything random.
        evolution: instead of what follows from the settings.

    Raises:
        InputError: for a problem without scores, with scores that are no finite numbers, or with one group only.
    """

    noise: float | None = None

    def __init__(self, problem: PruningEnv, settings: Hyperparameters, seed: int, evolution: Evolution | None = None) -> None:
        usual = Evolution()
        self._evolution = evolution or Evolution(
            evaluations=max(3 * settings.warmup, 1), population=min(usual.population, max(settings.warmup, 2))
        )
        groups = problem.costs.groups
        if len(groups) < 2:
            raise InputError("LeGR compares groups with one another, and this problem has one: use another search.")
        self._values = values_of(groups, problem.scores, "LeGR")
        self._names = [group.name for group in groups]
        self._deviations = np.array([own.std() for own in self._values])
        self._seed, self._generator = seed, np.random.default_rng(seed)
        self._asked: tuple[Floats, Floats] | None = None
        self._population: list[tuple[Floats, Floats, float]] = []  # the oldest first
        self._best: tuple[Floats, Floats, float] | None = None
        self._count = 0
        self._spaces: dict[float, PlanSpace] = {}  # by share, where there is no budget

    @property
    def identity(self) -> list[Any]:
        """The evolution, the scores and the seed."""
        return ["legr-1", asdict(self._evolution), [[float(x) for x in own] for own in self._values], self._seed]

    @property
    def ranking(self) -> AffineRanking:
        """The best one; the identity before anything was measured."""
        ones = np.ones(len(self._names))
        alpha, kappa, _ = self._best or (ones, 0 * ones, 0.0)
        return AffineRanking(*(dict(zip(self._names, map(float, own), strict=True)) for own in (alpha, kappa)))

    def ask(self, problem: PruningEnv) -> Choice:
        """The cut of the next ranking; without a budget, at several shares of the metric in turn."""
        alpha, kappa = self._asked = self._next()
        values = [a * own + k for a, own, k in zip(alpha, self._values, kappa, strict=True)]
        share = SHARES[self._count % len(SHARES)]
        if not problem.budgets and share not in self._spaces:
            self._spaces[share] = limited(problem, share).space
        return ranked_cut(problem.space if problem.budgets else self._spaces[share], values)

    def tell(self, choice: Choice, accuracy: float, reward: float) -> None:
        """The ranking's fitness."""
        assert self._asked is not None
        one = (*self._asked, reward)
        self._population = [*self._population, one][-self._evolution.population :]
        if self._best is None or reward > self._best[2]:
            self._best = one
        self._count += 1

    def outcome(self) -> Outcome:
        """The best ranking, for other budgets."""
        alpha = self.ranking.alpha.values()
        note = (
            f"a ranking learned from {self._count} plans, with factors from {min(alpha):.3g} to {max(alpha):.3g}; "
            "searches.json keeps it for other budgets"
        )
        return Outcome(note, {"ranking": asdict(self.ranking)})

    def state(self) -> dict[str, Any]:
        """The population and the generator."""
        kept = [one for one in (*self._population, self._best) if one is not None]
        plain = [[alpha.tolist(), kappa.tolist(), float(fitness)] for alpha, kappa, fitness in kept]
        return {"legr": json.dumps([plain, self._count, self._generator.bit_generator.state])}

    def restore(self, state: dict[str, Any], measured: Sequence[Measured]) -> None:
        """The same."""
        plain, self._count, generator = json.loads(state["legr"])
        kept = [(np.array(alpha), np.array(kappa), fitness) for alpha, kappa, fitness in plain]
        self._population, self._best = kept[:-1], kept[-1] if kept else None
        self._generator.bit_generator.state = generator

    def _next(self) -> tuple[Floats, Floats]:
        settings, generator, count = self._evolution, self._generator, len(self._names)
        if self._count == 0:
            return np.ones(count), np.zeros(count)
        if self._count < settings.population:
            return np.exp(generator.normal(size=count)), generator.normal(size=count) * self._deviations
        drawn = generator.integers(len(self._population), size=settings.tournament)
        alpha, kappa, _ = max((self._population[i] for i in drawn), key=lambda one: one[2])
        changed = generator.choice(count, size=max(1, round(settings.mutated * count)), replace=False)
        sigma = max(1 - self._count / (1.25 * settings.evaluations), _LEAST_SIGMA)
        alpha, kappa = alpha.copy(), kappa.copy()
        alpha[changed] *= np.exp(generator.normal(size=len(changed)) * sigma)
        kappa[changed] += generator.normal(size=len(changed)) * self._deviations[changed]
        return alpha, kappa


__all__ = ["AffineRanking", "Evolution", "LegrSearcher"]

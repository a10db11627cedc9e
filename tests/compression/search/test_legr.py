"""LeGR: what a ranking keeps, what evolution finds, and that no plan exceeds its budget."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwflow.compression.budget import Budget
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.legr import AffineRanking, Evolution, LegrSearcher
from hwflow.compression.search.ranked_cut import ranked_cut
from hwflow.errors import InputError
from tests.compression.toys import ToyGroup, chain_costs, ragged

CHANNELS = (64, 32, 64, 128)


def scored(seed: int, budget: float = 0.5, scores: Mapping[str, Sequence[float]] | None = None, **given: Any) -> PruningEnv:
    costs = chain_costs(CHANNELS, **given)
    numbers = np.random.default_rng(seed)
    drawn = {g.name: numbers.lognormal(numbers.normal(), 1, g.channels) for g in costs.groups}
    return PruningEnv(costs, lambda _: 0.0, [Budget("macs", budget)], scores=drawn if scores is None else scores)


def identity(env: PruningEnv) -> AffineRanking:
    return AffineRanking({g.name: 1.0 for g in env.costs.groups}, {g.name: 0.0 for g in env.costs.groups})


def test_the_identity_cuts_the_global_ranking_of_scores() -> None:
    env = scored(0)
    values = [np.array(env.scores[g.name]) for g in env.costs.groups]  # type: ignore[index]
    plan = ranked_cut(env.space, values, fill=False)
    assert LegrSearcher(env, Hyperparameters(), 0).ask(env) == identity(env).plan(env) == ranked_cut(env.space, values)
    thresholds = [v for v in np.sort(np.concatenate(values)) if v > 0]
    for threshold in thresholds:  # the first at which the budget holds
        kept = {g.name: max(int((own >= threshold).sum()) // 8 * 8, 8) for g, own in zip(env.costs.groups, values, strict=True)}
        if env.affordable(kept):
            break
    assert plan == kept


def test_a_layer_that_is_scaled_keeps_its_plan_with_its_factor() -> None:
    env = scored(1)
    name = env.costs.groups[1].name
    louder = {**env.scores, name: [9.0 * s for s in env.scores[name]]}  # type: ignore[dict-item, index]
    ranking = identity(env)
    quieter = AffineRanking({**ranking.alpha, name: 1 / 9}, ranking.kappa)
    scaled = scored(1, scores=louder)
    assert quieter.plan(scaled) == ranking.plan(env) != ranking.plan(scaled)


def test_what_a_smaller_budget_keeps_a_larger_one_keeps_too() -> None:
    plans = []
    for budget in (0.2, 0.3, 0.5, 0.8):
        env = scored(2, budget)
        plans.append(ranked_cut(env.space, identity(env).values(env), fill=False))
        filled = identity(env).plan(env)
        assert env.affordable(filled)
        assert all(filled[name] >= kept for name, kept in plans[-1].items())
    for smaller, larger in itertools.pairwise(plans):
        assert all(smaller[name] <= larger[name] for name in smaller)


@pytest.mark.parametrize("price", [ragged])
def test_no_plan_exceeds_its_budgets_where_fewer_channels_can_cost_more(price: Any) -> None:
    numbers = np.random.default_rng(0)
    for seed in range(5):
        budget = float(numbers.uniform(0.25, 0.9))
        env = scored(seed, budget, price=price)
        searcher = LegrSearcher(env, Hyperparameters(), seed)
        for _ in range(5):
            plan = searcher.ask(env)
            assert env.affordable(plan)
            searcher.tell(plan, 0.5, float(numbers.normal()))


class Linear:
    """Twelve groups of sixteen units; the loss is what is removed times c, the cost b a unit, half of it allowed."""

    def __init__(self, seed: int) -> None:
        numbers = np.random.default_rng(seed)
        self.groups = tuple(ToyGroup(f"layer{i}", 16, tuple(range(1, 17))) for i in range(12))
        self.norms = [np.sort(numbers.chisquare(9, 16))[::-1] for _ in self.groups]
        self.scores = {g.name: own for g, own in zip(self.groups, self.norms, strict=True)}
        self.c, self.b = np.exp(numbers.normal(size=12)), np.exp(numbers.uniform(-1, 1, 12))
        self.costs, self.space, self.budgets = self, self, ("half",)
        self.limit = 8.0 * self.b.sum()
        self.lost = [np.concatenate([[own.sum()], own.sum() - np.cumsum(own)]) for own in self.norms]
        self.cheapest = (1,) * 12

    def plan(self, widths: tuple[int, ...]) -> dict[str, int]:
        return {g.name: w for g, w in zip(self.groups, widths, strict=True)}

    def fits(self, widths: tuple[int, ...]) -> bool:
        return float(self.b @ np.array(widths)) <= self.limit + 1e-9

    def loss(self, plan: Mapping[str, int]) -> float:
        return sum(float(c * lost[w]) for c, lost, w in zip(self.c, self.lost, plan.values(), strict=True))

    def best(self) -> float:
        values = [c / b * own for c, b, own in zip(self.c, self.b, self.norms, strict=True)]
        return self.loss(ranked_cut(self, values))  # type: ignore[arg-type]


def test_evolution_comes_near_the_best_ranking() -> None:
    shares = []
    for seed in range(10):
        toy = Linear(seed)
        searcher = LegrSearcher(toy, Hyperparameters(), seed, Evolution())  # type: ignore[arg-type]
        least = np.inf
        for _ in range(400):
            plan = searcher.ask(toy)  # type: ignore[arg-type]
            loss = toy.loss(plan)
            searcher.tell(plan, 0.0, -loss)
            least = min(least, loss)
        shares.append(least / toy.best())
    assert np.mean(shares) <= 1.05, shares
    assert max(shares) <= 1.10, shares


def test_a_ranking_serves_other_budgets_and_survives_its_file(tmp_path: Path) -> None:
    env = scored(3)
    searcher = LegrSearcher(env, Hyperparameters(warmup=4), 0)
    for i in range(8):
        searcher.tell(searcher.ask(env), 0.5, float(i % 5))
    file = tmp_path / "searches.json"
    file.write_text(json.dumps({"exact, seed 0": {"gap": 0.0}, "legr, seed 0": searcher.outcome().data}))
    again = AffineRanking.load(tmp_path)
    assert again == searcher.ranking
    tight = scored(3, 0.25)
    assert tight.affordable(again.plan(tight))
    file.write_text('{"legr, seed 0": {"ranking": {"alpha": {"a": -1}, "kappa": {"a": 0}}}}')
    with pytest.raises(InputError, match="alpha must be above 0"):
        AffineRanking.load(file)
    file.write_text('{"exact, seed 0": {"gap": 0.0}}')
    with pytest.raises(InputError, match=r"holds no ranking .* name the folder of a run with --search legr"):
        AffineRanking.load(tmp_path)


def test_what_it_cannot_rank_is_refused() -> None:
    env = scored(0)
    name = env.costs.groups[0].name
    with pytest.raises(InputError, match="this problem has none: give PruningEnv scores="):
        LegrSearcher(PruningEnv(env.costs, lambda _: 0.0), Hyperparameters(), 0)
    with pytest.raises(InputError, match=f"a score of '{name}' is nan"):
        LegrSearcher(scored(0, scores={**env.scores, name: [float("nan")] * 64}), Hyperparameters(), 0)  # type: ignore[dict-item]
    with pytest.raises(InputError, match=f"the scores of '{name}' are 3; its 64 channels are 64 units"):
        LegrSearcher(scored(0, scores={**env.scores, name: [1.0, 2.0, 3.0]}), Hyperparameters(), 0)  # type: ignore[dict-item]
    single = chain_costs((64,))
    with pytest.raises(InputError, match="compares groups with one another"):
        LegrSearcher(PruningEnv(single, lambda _: 0.0, scores={"conv0": [1.0] * 64}), Hyperparameters(), 0)

"""Problems without torch networks that a policy can be trained on in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwflow.compression.budget import Budget
from hwflow.compression.policies.examples import AccuracyTable, Example
from hwflow.compression.search.ddpg import Agent, Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.group_features import GroupFeatures
from hwflow.compression.search.policy import Policy
from hwflow.compression.search.sensitivity import importance_losses
from tests.compression.toys import chain_costs


def toy_problem(channels: Sequence[int], share: float, seed: int = 0) -> PruningEnv:
    """A chain whose groups' importance is spread evenly over their units, or lies in a few."""
    costs, generator = chain_costs(channels), np.random.default_rng(seed)
    scores = {g.name: list((1 / (1 + np.arange(g.channels))) ** generator.uniform(0, 1.5)) for g in costs.groups}
    return PruningEnv(costs, lambda _: 0.5, [Budget("macs", share)], metric="macs", scores=scores)


def toy_example(channels: Sequence[int], share: float, seed: int = 0) -> Example:
    """The same, where accuracy falls with the importance removed."""
    problem = toy_problem(channels, share, seed)
    losses = tuple(importance_losses(problem.costs.groups, problem.scores))
    return Example(f"{channels} at {share}", problem, AccuracyTable(problem.costs.groups, losses, None), [seed])


def untrained(problem: PruningEnv, name: str = "untrained") -> Policy:
    """A policy that knows nothing, with features as they are."""
    import torch

    table = GroupFeatures(problem.space, problem.scores).table
    networks = Agent(table.shape[1], Hyperparameters(hidden=8)).networks
    mean = torch.tensor(table.mean(axis=0), dtype=torch.float32)
    return Policy(networks, mean, torch.ones(len(mean)), 8, {"begun": "2026-01-01", "networks": {"net": None}}, name)

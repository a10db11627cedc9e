"""The searchers by name; one line registers another one."""

from __future__ import annotations

from collections.abc import Callable

from hwflow.compression.search.baselines import RandomSearcher, UniformSearcher
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.exact import ExactSearcher
from hwflow.compression.search.searcher import Searcher
from hwflow.compression.search.walks import DdpgSearcher

Make = Callable[[PruningEnv, Hyperparameters, int], Searcher]
"""A searcher for a problem, with the agent's settings, which others may ignore, and a seed."""

SEARCHERS: dict[str, Make] = {
    "ddpg": DdpgSearcher,
    "exact": ExactSearcher,
    "random": RandomSearcher,
    "uniform": UniformSearcher,
}

__all__ = ["SEARCHERS", "Make"]

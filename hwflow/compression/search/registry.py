"""The searchers by name; one line registers another one."""

from __future__ import annotations

from collections.abc import Callable

from hwflow.compression.search.baselines import GlobalSearcher, RandomSearcher, UniformSearcher
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.evolution import EvolutionSearcher, ModelSearcher
from hwflow.compression.search.exact import ExactSearcher
from hwflow.compression.search.greedy import GreedySearcher
from hwflow.compression.search.guided import GuidedSearcher
from hwflow.compression.search.legr import LegrSearcher
from hwflow.compression.search.searcher import Searcher
from hwflow.compression.search.walks import DdpgSearcher
from hwflow.errors import not_found

Make = Callable[[PruningEnv, Hyperparameters, int], Searcher]
"""A searcher for a problem, with the agent's settings, which others may ignore, and a seed."""

SEARCHERS: dict[str, Make] = {
    "ddpg": DdpgSearcher,
    "evolution": EvolutionSearcher,
    "exact": ExactSearcher,
    "global": GlobalSearcher,
    "greedy": GreedySearcher,
    "guided": GuidedSearcher,
    "legr": LegrSearcher,
    "model": ModelSearcher,
    "random": RandomSearcher,
    "uniform": UniformSearcher,
}

WITHOUT_EVALUATIONS: dict[str, bool] = {"global": True, "uniform": False}
"""The searchers that propose one plan, for which no other is measured; whether they need the units' scores."""

SCORED = frozenset({"global", "legr"})
"""The searchers that cannot do without the units' scores."""

BETWEEN_GROUPS = frozenset({"legr"})
"""The searchers that compare groups with one another, so that they need several."""

ALIASES = {"agent": "ddpg"}
"""Other names that users know searchers by."""


def searcher_named(name: str) -> str:
    """The name in `SEARCHERS` for what a user asks for.

    Raises:
        InputError: where there is no such searcher, listing those that there are.
    """
    found = ALIASES.get(name, name)
    if found not in SEARCHERS:
        raise not_found("searcher", name, (*ALIASES, *SEARCHERS))
    return found


__all__ = ["ALIASES", "BETWEEN_GROUPS", "SCORED", "SEARCHERS", "WITHOUT_EVALUATIONS", "Make", "searcher_named"]

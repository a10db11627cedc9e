"""Pruning of CNNs to a budget of energy, latency or another metric, by a reinforcement-learning agent.

Raises:
    MissingDependency: where it is imported and a package of the extra `prune` is not installed.
"""

from __future__ import annotations

from importlib.util import find_spec

from hwflow.errors import MissingDependency

for _package in ("torch", "torch_pruning", "gymnasium"):
    if find_spec(_package) is None:
        raise MissingDependency(
            f'pruning needs the package {_package}, which is not installed here: pip install "hwflow[prune]"'
        )

from hwflow.pruning.agent import Hyperparameters  # noqa: E402
from hwflow.pruning.budget import Budget  # noqa: E402
from hwflow.pruning.environment import PruningEnv  # noqa: E402
from hwflow.pruning.finding import find_groups  # noqa: E402
from hwflow.pruning.groups import Group, Grouping  # noqa: E402
from hwflow.pruning.plans import PlanCosts  # noqa: E402
from hwflow.pruning.proxy import ProxySettings  # noqa: E402
from hwflow.pruning.result import PruneResult, load_pruned  # noqa: E402
from hwflow.pruning.running import prune  # noqa: E402
from hwflow.pruning.settings import Settings  # noqa: E402
from hwflow.pruning.surgery import prune_model, rank_channels  # noqa: E402

__all__ = [
    "Budget",
    "Group",
    "Grouping",
    "Hyperparameters",
    "PlanCosts",
    "ProxySettings",
    "PruneResult",
    "PruningEnv",
    "Settings",
    "find_groups",
    "load_pruned",
    "prune",
    "prune_model",
    "rank_channels",
]

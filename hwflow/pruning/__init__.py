"""Public names of compression: `prune`, its settings and results, and the protocol of compression methods.

Raises:
    MissingDependency: where it is imported and a package of the extra `prune` is not installed.
"""

from __future__ import annotations

from importlib.util import find_spec

from hwflow.optional import missing

for _package in ("torch", "torch_pruning", "gymnasium"):
    if find_spec(_package) is None:
        raise missing(_package, "pruning", "prune")

from hwflow.compression.accuracy import ProxySettings  # noqa: E402
from hwflow.compression.budget import Budget  # noqa: E402
from hwflow.compression.channels.criteria import CRITERIA, Criterion  # noqa: E402
from hwflow.compression.channels.discovery import find_groups, rebuild  # noqa: E402
from hwflow.compression.channels.gradual_options import GradualSettings  # noqa: E402
from hwflow.compression.channels.groups import Group, Grouping  # noqa: E402
from hwflow.compression.channels.planned import Allocated  # noqa: E402
from hwflow.compression.channels.reconstruction import reconstruct  # noqa: E402
from hwflow.compression.channels.surgery import prune_model, rank_channels  # noqa: E402
from hwflow.compression.contest.contest import Contest, compress, compress_many  # noqa: E402
from hwflow.compression.kernels.layer_choice import Executed, LayerExecution, execute  # noqa: E402
from hwflow.compression.kernels.measured_times import MeasuredTimes  # noqa: E402
from hwflow.compression.method import Compressed, Decision, Execution, Method, Task  # noqa: E402
from hwflow.compression.plan_costs import PlanCosts  # noqa: E402
from hwflow.compression.policies.options import PolicyOptions  # noqa: E402
from hwflow.compression.policies.policy_run import train_policy  # noqa: E402
from hwflow.compression.quantization.integer_network import integer_network  # noqa: E402
from hwflow.compression.quantization.options import QuantizationSettings  # noqa: E402
from hwflow.compression.quantization.packed_codes import read_codes  # noqa: E402
from hwflow.compression.registry import METHODS  # noqa: E402
from hwflow.compression.result import PruneResult, load_compressed, load_pruned  # noqa: E402
from hwflow.compression.run import prune  # noqa: E402
from hwflow.compression.search.ddpg import Hyperparameters  # noqa: E402
from hwflow.compression.search.environment import PruningEnv  # noqa: E402
from hwflow.compression.search.policy import Policy  # noqa: E402
from hwflow.compression.settings import Settings  # noqa: E402
from hwflow.compression.single_path.network_search import search_network  # noqa: E402
from hwflow.compression.single_path.options import SinglePathSettings  # noqa: E402

__all__ = [
    "CRITERIA",
    "METHODS",
    "Allocated",
    "Budget",
    "Compressed",
    "Contest",
    "Criterion",
    "Decision",
    "Executed",
    "Execution",
    "GradualSettings",
    "Group",
    "Grouping",
    "Hyperparameters",
    "LayerExecution",
    "MeasuredTimes",
    "Method",
    "PlanCosts",
    "Policy",
    "PolicyOptions",
    "ProxySettings",
    "PruneResult",
    "PruningEnv",
    "QuantizationSettings",
    "Settings",
    "SinglePathSettings",
    "Task",
    "compress",
    "compress_many",
    "execute",
    "find_groups",
    "integer_network",
    "load_compressed",
    "load_pruned",
    "prune",
    "prune_model",
    "rank_channels",
    "read_codes",
    "rebuild",
    "reconstruct",
    "search_network",
    "train_policy",
]

"""`PolicyOptions`: what a policy is trained on, besides networks, data and accelerators, and for how long."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hwflow.compression.budget import METRICS, Budget
from hwflow.compression.channels.criteria import criterion_named
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.cost.backend import backend_of
from hwflow.errors import MOST_EFFORT, MOST_JOBS, InputError, check_whole, not_found
from hwflow.types import LevelName

LEARNER = Hyperparameters(
    warmup=200,
    hidden=64,
    actor_rate=5e-4,
    discount=0.0,
    batch_size=256,
    replay_episodes=400,
    updates=0.7,
    noise=0.3,
    noise_decay=0.998,
    least_noise=0.08,
    imagined=1,
    around_best=0.0,
)
"""The agent while it is trained. An action's value is its episode's reward, without the next state's value (discount
0), so that episodes of networks of different depths are comparable. There is no best episode to explore around, since every
episode is of another problem."""


@dataclass(frozen=True)
class PolicyOptions:
    """The options of `train_policy`; see each field.

    Raises:
        InputError: naming the field whose value cannot be used.
    """

    budgets: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    """Shares of the unpruned network's metric; those that a network cannot reach on a chip are left out."""
    metrics: tuple[str, ...] = ("energy",)
    """What budgets are of."""
    level: LevelName = "mid"
    """Where plans are costed."""
    plans: int = 100
    """Plans of each network whose accuracy is measured; from these its accuracy model is fitted."""
    episodes: int = 3000
    """Episodes of the agent, which are rewarded by the accuracy models."""
    samples: int = 1000
    """Held-out samples that accuracies are measured on."""
    epochs: int | None = None
    """Of the training of networks that come without weights; by default those of `hwflow train`."""
    seed: int = 0
    """Of all random numbers."""
    round_to: int = 8
    """Channels kept are multiples of it, or all."""
    floor_ratio: float = 0.1
    """The least share of a group's channels that is kept."""
    streams: bool = False
    """Whether the channels of residual streams are pruned, too."""
    criterion: str = "l1"
    """Which channels of a group stay."""
    effort: int = 1
    """A factor on how long mappings are searched."""
    jobs: int = 1
    """Layers that are costed at once; changes nothing but the time."""
    learner: Hyperparameters = LEARNER
    """The agent's settings."""

    def __post_init__(self) -> None:
        if not self.budgets or len(set(self.budgets)) != len(self.budgets):
            raise InputError(f"budgets is {self.budgets!r}; give each share once, and at least one.")
        if not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise InputError(f"metrics is {self.metrics!r}; name each metric once, and at least one of {', '.join(METRICS)}.")
        for metric in self.metrics:
            if metric not in METRICS:
                raise not_found("metric", metric, METRICS)
            for share in self.budgets:
                Budget(metric, share)
        backend_of(self.level)
        criterion_named(self.criterion)
        check_whole("plans", self.plans, 10**5, 8)
        check_whole("episodes", self.episodes, 10**7)
        check_whole("samples", self.samples, 10**9)
        if self.epochs is not None:
            check_whole("epochs", self.epochs, 10**6)
        check_whole("seed", self.seed, 2**63 - 1, 0)
        check_whole("effort", self.effort, MOST_EFFORT)
        check_whole("jobs", self.jobs, MOST_JOBS)

    def to_data(self) -> dict[str, Any]:
        """Plain data, for `config.json`."""
        data: dict[str, Any] = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        del data["jobs"]
        return data


__all__ = ["LEARNER", "PolicyOptions"]

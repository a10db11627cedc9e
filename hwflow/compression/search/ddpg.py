# mypy: allow-subclassing-any
"""The reinforcement-learning agent: deep deterministic policy gradient (DDPG), as AMC uses it.

DDPG: Lillicrap et al., ICLR 2016 (arXiv:1509.02971). Its use for pruning (one episode a walk through the network, the final
reward written to every step, a moving average subtracted, truncated normal noise that decays by the episode): He et al., "AMC",
ECCV 2018 (arXiv:1802.03494). Differences from AMC: the agent learns from the executed action, not from the proposed one;
rewards are divided by their standard deviation; most episodes explore around the best one so far instead of around the policy,
and the noise never decays to zero, without which a few hundred episodes are hardly better than as many random ones; smaller
networks take larger and more steps, without which the policy does not improve in so few episodes; all random numbers come from
one generator, so that a run repeats and resumes bit for bit on one machine. `hwflow.compression.search.accuracy_model` selects
which of several plans is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Hyperparameters:
    """All that can be set of the agent.

    Attributes:
        warmup: episodes with uniformly random actions, before which nothing is learned.
        hidden: neurons in each of the two hidden layers of actor and critic.
        actor_rate, critic_rate: Adam's step sizes.
        discount: of the next state's value.
        target_rate: share of the learned weights that moves into the target networks at every update.
        batch_size: transitions of one update.
        replay_episodes: episodes whose transitions are remembered.
        updates: updates for each step of an episode, done at the episode's end.
        noise: standard deviation of the exploration's noise after warm-up, on actions in [0, 1].
        noise_decay: factor on it, an episode.
        least_noise: what it does not fall below.
        imagined: walks that an episode after warm-up begins with, of which the most promising one is executed and measured.
        around_best: share of the episodes after warm-up that explore around the best episode's actions.
        baseline_decay: weight of the past in the moving average of rewards that is subtracted.
    """

    warmup: int = 100
    hidden: int = 128
    actor_rate: float = 1e-3
    critic_rate: float = 1e-3
    discount: float = 1.0
    target_rate: float = 0.01
    batch_size: int = 64
    replay_episodes: int = 100
    updates: float = 4
    noise: float = 0.5
    noise_decay: float = 0.95
    least_noise: float = 0.12
    imagined: int = 16
    around_best: float = 0.8
    baseline_decay: float = 0.95


@dataclass(frozen=True)
class Step:
    """One transition: what was seen, the action that was executed, and what was seen next. Observations [features]."""

    observation: Vector
    action: float
    following: Vector
    last: bool


class _Critic(nn.Module):
    """The value of an action in a state."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.state = nn.Linear(features, hidden)
        self.action = nn.Linear(1, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.value = _last(nn.Linear(hidden, 1))

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """[batch, features] and [batch, 1] to [batch, 1]."""
        first = functional.relu(self.state(states) + self.action(actions))
        return self.value(functional.relu(self.middle(first)))


def _last(layer: nn.Linear) -> nn.Linear:
    """Small weights at the end, as in DDPG's paper: first actions are near the middle, first values near zero."""
    nn.init.uniform_(layer.weight, -3e-3, 3e-3)
    nn.init.uniform_(layer.bias, -3e-3, 3e-3)
    return layer


def _actor(features: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(features, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        _last(nn.Linear(hidden, 1)),
        nn.Sigmoid(),
    )


class Agent:
    """Proposes actions in [0, 1] and learns from whole episodes.

    Attributes:
        episodes: how many episodes it has learned from.
    """

    def __init__(self, features: int, settings: Hyperparameters | None = None, *, seed: int = 0) -> None:
        self.settings = settings or Hyperparameters()
        self.episodes = 0
        self._generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._actor = _actor(features, self.settings.hidden)
            self._critic = _Critic(features, self.settings.hidden)
        self._actor_target, self._critic_target = deepcopy(self._actor), deepcopy(self._critic)
        self._actor_step = torch.optim.Adam(self._actor.parameters(), self.settings.actor_rate)
        self._critic_step = torch.optim.Adam(self._critic.parameters(), self.settings.critic_rate)
        self._memory: list[dict[str, Tensor]] = []
        self._baseline: float | None = None
        self._best: tuple[float, list[float]] = (-math.inf, [])
        self._trail: list[float] = []

    @property
    def warm(self) -> bool:
        """Whether the random episodes are over."""
        return self.episodes >= self.settings.warmup

    @property
    def noise(self) -> float:
        """Standard deviation of the exploration's noise in the present episode."""
        decayed = self.settings.noise * self.settings.noise_decay ** max(self.episodes - self.settings.warmup, 0)
        return max(decayed, self.settings.least_noise) if self.warm else math.inf

    def begin(self) -> None:
        """Start an episode that explores: around the policy, or around the best episode so far."""
        follow = self.warm and float(torch.rand(1, generator=self._generator)) < self.settings.around_best
        self._trail = list(self._best[1]) if follow else []

    def act(self, observation: Vector, *, explore: bool = True) -> float:
        """An action in [0, 1] for an observation [features]; without `explore` the policy's own."""
        if explore and not self.warm:
            return float(torch.rand(1, generator=self._generator))
        if explore and self._trail:
            return _truncated_normal(self._trail.pop(0), self.noise, self._generator)
        with torch.no_grad():
            action = float(self._actor(torch.from_numpy(observation)[None]))
        return _truncated_normal(action, self.noise, self._generator) if explore else action

    def learn(self, steps: list[Step], reward: float) -> None:
        """Remember an episode, every step with the final reward, and after warm-up update the networks."""
        self._memory.append(
            {
                "observation": torch.from_numpy(np.stack([s.observation for s in steps])),
                "action": torch.tensor([[s.action] for s in steps], dtype=torch.float32),
                "following": torch.from_numpy(np.stack([s.following for s in steps])),
                "last": torch.tensor([[float(s.last)] for s in steps]),
                "reward": torch.full((len(steps), 1), reward, dtype=torch.float32),
            }
        )
        del self._memory[: -self.settings.replay_episodes]
        decay = self.settings.baseline_decay
        self._baseline = reward if self._baseline is None else decay * self._baseline + (1 - decay) * reward
        self._best = max(self._best, (reward, [s.action for s in steps]), key=lambda best: best[0])
        self.episodes += 1
        if self.warm:
            memory = {name: torch.cat([episode[name] for episode in self._memory]) for name in self._memory[0]}
            spread = float(memory["reward"].std(correction=0)) or 1.0
            memory["reward"] = (memory["reward"] - self._baseline) / spread
            for _ in range(max(round(len(steps) * self.settings.updates), 1)):
                self._update(memory)

    def _update(self, memory: dict[str, Tensor]) -> None:
        size = len(memory["reward"])
        chosen = torch.randint(size, (min(self.settings.batch_size, size),), generator=self._generator)
        seen, action, following, last, reward = (
            memory[name][chosen] for name in ("observation", "action", "following", "last", "reward")
        )
        with torch.no_grad():
            ahead = self._critic_target(following, self._actor_target(following))
            value = reward + self.settings.discount * (1 - last) * ahead
        loss = functional.mse_loss(self._critic(seen, action), value)
        self._critic_step.zero_grad()
        loss.backward()
        self._critic_step.step()
        loss = -self._critic(seen, self._actor(seen)).mean()
        self._actor_step.zero_grad()
        loss.backward()
        self._actor_step.step()
        with torch.no_grad():
            for target, source in ((self._actor_target, self._actor), (self._critic_target, self._critic)):
                torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), self.settings.target_rate)

    @property
    def networks(self) -> dict[str, dict[str, Tensor]]:
        """Copies of the weights of `actor` and `critic`."""
        parts = {"actor": self._actor, "critic": self._critic}
        return {part: {name: value.clone() for name, value in network.state_dict().items()} for part, network in parts.items()}

    def start_from(self, networks: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take the weights of another agent's `networks`.

        Raises:
            RuntimeError: where their sizes are not this agent's.
        """
        for part in ("actor", "critic"):
            for target in ("", "_target"):
                getattr(self, f"_{part}{target}").load_state_dict(networks[part])

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that the rest of a search depends on: tensors and plain data, for `torch.save`."""
        return {
            **{name: getattr(self, f"_{name}").state_dict() for name in _PARTS},
            "generator": self._generator.get_state(),
            "memory": self._memory,
            "baseline": self._baseline,
            "best": self._best,
            "episodes": self.episodes,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, of an agent with the same settings."""
        for name in _PARTS:
            getattr(self, f"_{name}").load_state_dict(state[name])
        self._generator.set_state(state["generator"])
        self._memory = list(state["memory"])
        self._baseline, self._best, self.episodes = state["baseline"], state["best"], state["episodes"]


_PARTS = ("actor", "critic", "actor_target", "critic_target", "actor_step", "critic_step")


def _truncated_normal(mean: float, deviation: float, generator: torch.Generator) -> float:
    """A normal variable around `mean`, given that it lies in [0, 1]: by the inverse of the distribution function."""
    if deviation < 1e-9:
        return mean
    low, high = (_normal((bound - mean) / deviation) for bound in (0.0, 1.0))
    share = low + (high - low) * float(torch.rand(1, generator=generator, dtype=torch.float64))
    quantile = math.sqrt(2) * float(torch.special.erfinv(torch.tensor(2 * share - 1, dtype=torch.float64)))
    return min(max(mean + deviation * quantile, 0.0), 1.0)


def _normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))

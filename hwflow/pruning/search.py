"""The search: episodes of an agent in an environment, a checkpoint after each, and the plans that it is held against."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwflow.errors import InputError
from hwflow.pruning.agent import Agent, Hyperparameters, Step
from hwflow.pruning.environment import PruningEnv
from hwflow.training import checkpoint as files

OnEpisode = Callable[["Episode"], None]

_RATIOS = 1000  # steps of the share that uniform pruning keeps


@dataclass(frozen=True)
class Episode:
    """One plan that was tried.

    Attributes:
        number: from 1.
        reward: what the agent learned from; `accuracy` is the proxy's.
        plan: channels by group.
        noise: of the exploration; null while actions were random.
    """

    number: int
    reward: float
    accuracy: float
    noise: float | None
    plan: dict[str, int]


def explore(
    env: PruningEnv,
    settings: Hyperparameters,
    episodes: int,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    identity: str = "",
    on_episode: OnEpisode | None = None,
) -> tuple[Episode, ...]:
    """Let a new agent walk through the environment; equal arguments give equal episodes, interrupted or not.

    Args:
        checkpoint: a file written after every episode, from which the same search goes on.
        identity: what the search depends on beside these arguments; a checkpoint of another one is refused.
        on_episode: told of each episode, of those that a checkpoint already has, too.

    Raises:
        InputError: for a checkpoint of another search.
    """
    assert env.observation_space.shape is not None
    agent = Agent(env.observation_space.shape[0], settings, seed=seed)
    whole = json.dumps([identity, asdict(settings), seed], sort_keys=True)
    done: list[Episode] = []
    if checkpoint is not None and checkpoint.exists():
        found = files.read(checkpoint, "the search's checkpoint")
        if found.get("identity") != whole:
            raise InputError(
                f"{checkpoint} belongs to another search (another network, data set, budget, seed or setting). Use another "
                "output folder, or remove the file to begin anew."
            )
        done = [Episode(**entry) for entry in json.loads(found["episodes"])][:episodes]
        agent.restore(found["agent"])
    for episode in done:
        if on_episode:
            on_episode(episode)
    while len(done) < episodes:
        done.append(_episode(env, agent, len(done) + 1))
        if checkpoint is not None:
            text = json.dumps([asdict(episode) for episode in done])
            files.save(checkpoint, {"identity": whole, "episodes": text, "agent": agent.state()})
        if on_episode:
            on_episode(done[-1])
    return tuple(done)


def random_agent(settings: Hyperparameters, episodes: int) -> Hyperparameters:
    """The settings of an agent that never learns: all its actions are uniformly random."""
    return replace(settings, warmup=episodes + 1)


def best_of(episodes: tuple[Episode, ...]) -> Episode:
    """The one with the highest reward; the first of equals."""
    return max(episodes, key=lambda episode: (episode.reward, -episode.number))


def distinct(episodes: tuple[Episode, ...], count: int) -> list[Episode]:
    """The best `count` episodes with different plans, best first."""
    chosen: dict[tuple[int, ...], Episode] = {}
    for episode in sorted(episodes, key=lambda e: (-e.reward, e.number)):
        chosen.setdefault(tuple(episode.plan.values()), episode)
    return list(chosen.values())[:count]


def uniform_plan(env: PruningEnv) -> dict[str, int]:
    """The same share of channels kept of every group, the largest with which the budgets hold.

    Where rounding keeps every such plan above the budget, the environment's walk with the least share cuts it.
    """
    for step in range(_RATIOS, -1, -1):
        plan = env.nearest(step / _RATIOS)
        if env.affordable(plan):
            return plan
    return replay(env, env.nearest(0.0))


def replay(env: PruningEnv, plan: dict[str, int]) -> dict[str, int]:
    """A plan walked through an environment, which cuts it where it exceeds the budgets there."""
    env.reset()
    for group in env.costs.groups:
        env.decide(plan[group.name] / group.channels)
    return env.costs.plan(env.decided)


def _episode(env: PruningEnv, agent: Agent, number: int) -> Episode:
    noise = agent.noise if agent.warm else None
    agent.begin()
    observation, _ = env.reset()
    steps: list[Step] = []
    done, reward = False, 0.0
    info: dict[str, Any] = {}
    while not done:
        action = agent.act(observation)
        following, reward, done, _, info = env.step(np.array([action], dtype=np.float32))
        steps.append(Step(observation, info["action"], following, done))
        observation = following
    agent.learn(steps, reward)
    return Episode(number, reward, info["accuracy"], noise, info["plan"])

"""The search: episodes of an agent in an environment, a checkpoint after each, and the plans that it is held against."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from hwflow.compression.search.accuracy_model import Foresight
from hwflow.compression.search.ddpg import Agent, Hyperparameters, Step
from hwflow.compression.search.environment import PruningEnv
from hwflow.errors import InputError
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
        done.append(_episode(env, agent, done))
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


def _episode(env: PruningEnv, agent: Agent, done: Sequence[Episode]) -> Episode:
    """One plan is measured, and learned from: after the warm-up the most promising one of several imagined walks."""
    noise = agent.noise if agent.warm else None
    walks = [_walk(env, agent) for _ in range(agent.settings.imagined if agent.warm else 1)]
    tried = {tuple(episode.plan.values()) for episode in done}
    walks = [walk for walk in walks if tuple(walk.plan.values()) not in tried] or walks[:1]
    if len(walks) > 1 and done:
        foresight = Foresight([_shares(env, e.plan) for e in done], [e.accuracy for e in done])
        hopes = [foresight.hoped(_shares(env, walk.plan)) for walk in walks]
        worths = [env.worth(walk.plan, min(max(hope, 0.0), 1.0)) for walk, hope in zip(walks, hopes, strict=True)]
        walks = [walks[max(range(len(walks)), key=lambda i: (worths[i], hopes[i]))]]
    steps, plan = walks[0]
    accuracy = env.accuracy(plan)
    reward = env.worth(plan, accuracy)
    agent.learn(steps, reward)
    return Episode(len(done) + 1, reward, accuracy, noise, plan)


class _Walk(NamedTuple):
    """A plan, and how the agent came to it."""

    steps: list[Step]
    plan: dict[str, int]


def _walk(env: PruningEnv, agent: Agent) -> _Walk:
    """One walk of the agent; nothing is measured."""
    agent.begin()
    observation, _ = env.reset()
    steps: list[Step] = []
    for group in env.costs.groups:
        width = env.decide(agent.act(observation))
        following = env.observe()
        steps.append(Step(observation, width / group.channels, following, len(steps) + 1 == len(env.costs.groups)))
        observation = following
    return _Walk(steps, env.costs.plan(env.decided))


def _shares(env: PruningEnv, plan: Mapping[str, int]) -> list[float]:
    return [plan[group.name] / group.channels for group in env.costs.groups]

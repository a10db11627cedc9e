"""`explore`: measures what a searcher proposes, episode by episode, with a checkpoint after each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.searcher import Measured, Searcher
from hwflow.errors import InputError
from hwflow.training import checkpoint as files

OnEpisode = Callable[["Episode"], None]

VERSION = "search-2"
"""Raised whenever a search with the same seed would try other plans."""


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
    searcher: Searcher,
    episodes: int,
    *,
    checkpoint: Path | None = None,
    identity: str = "",
    on_episode: OnEpisode | None = None,
) -> tuple[Episode, ...]:
    """Measure what a new searcher proposes; equal arguments give equal episodes, interrupted or not.

    Args:
        checkpoint: a file written after every episode, from which the same search goes on.
        identity: what the search depends on beside these arguments; a checkpoint of another one is refused.
        on_episode: told of each episode, of those that a checkpoint already has, too.

    Raises:
        InputError: for a checkpoint of another search.
    """
    whole = json.dumps([VERSION, identity, *searcher.identity], sort_keys=True)
    done: list[Episode] = []
    if checkpoint is not None and checkpoint.exists():
        found = files.read(checkpoint, "the search's checkpoint")
        if found.get("identity") != whole:
            raise InputError(
                f"{checkpoint} belongs to another search (another network, data set, budget, seed or setting, or a version of "
                "hwflow that makes other plans of an agent's actions). Use another output folder, or remove the file to begin "
                "anew."
            )
        done = [Episode(**entry) for entry in json.loads(found["episodes"])][:episodes]
        searcher.restore(found["agent"], [Measured(episode.plan, episode.accuracy) for episode in done])
    for episode in done:
        if on_episode:
            on_episode(episode)
    while len(done) < episodes:
        noise, plan = searcher.noise, searcher.ask(env)
        accuracy = env.accuracy(plan)
        reward = env.worth(plan, accuracy)
        searcher.tell(plan, accuracy, reward)
        done.append(Episode(len(done) + 1, reward, accuracy, noise, plan))
        if checkpoint is not None:
            text = json.dumps([asdict(episode) for episode in done])
            files.save(checkpoint, {"identity": whole, "episodes": text, "agent": searcher.state()})
        if on_episode:
            on_episode(done[-1])
    return tuple(done)


def best_of(episodes: tuple[Episode, ...]) -> Episode:
    """The one with the highest reward; the first of equals."""
    return max(episodes, key=lambda episode: (episode.reward, -episode.number))

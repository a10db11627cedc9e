"""`learn`: trains an agent over many problems, with a checkpoint, to a policy that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwflow.compression.policies.examples import Example
from hwflow.compression.search.ddpg import Agent, Hyperparameters
from hwflow.compression.search.policy import Policy
from hwflow.compression.search.policy_searcher import PolicyWalks
from hwflow.errors import InputError
from hwflow.progress import Progress
from hwflow.training import checkpoint as files

_BLIND = 1e9  # the scale of a feature that never varied in training: what it would mean is not known


def learn(
    examples: Sequence[Example],
    episodes: int,
    settings: Hyperparameters,
    seed: int,
    *,
    checkpoint: Path | None = None,
    identity: str = "",
    every: int = 200,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Policy:
    """A policy from episodes of problems that are drawn at random; equal arguments give equal weights, interrupted or not.

    Args:
        examples: at least one.
        checkpoint: a file written after every `every` episodes, from which an interrupted training goes on.
        identity: what the examples depend on; a checkpoint of others is refused.
        about: the policy's provenance, to which what was reached is added.

    Raises:
        InputError: for a checkpoint of another training.
    """
    whole = f"{identity} {asdict(settings)} {seed}"
    mean, scale = _statistics(examples)
    walks = [PolicyWalks(example.problem, example.features, mean, scale) for example in examples]
    agent, done = Agent(len(mean), settings, seed=seed), 0
    if checkpoint is not None and checkpoint.exists():
        found = files.read(checkpoint, "the training's checkpoint")
        if found.get("identity") != whole:
            raise InputError(f"{checkpoint} belongs to another training of a policy; remove it, or name another folder.")
        done = found["episodes"]
        agent.restore(found["agent"])
    while done < episodes:
        chosen = int(np.random.default_rng([seed, 1, done]).integers(len(examples)))
        walk = walks[chosen].walk(agent, explore=True)
        agent.learn(walk.steps, examples[chosen].reward(walk.plan))
        done += 1
        if checkpoint is not None and (done % every == 0 or done == episodes):
            files.save(checkpoint, {"identity": whole, "episodes": done, "agent": agent.state()})
        if progress is not None:
            progress(done, episodes, examples[chosen].title)
    told = dict(about or {}) | {"reached": _reached(examples, walks, agent)}
    return Policy(agent.networks, mean, scale, settings.hidden, told)


def _statistics(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature over the groups of all problems, [feature]."""
    table = np.concatenate([example.features.table for example in examples])
    spread = table.std(axis=0)
    scale = np.where(spread > 1e-6 * np.maximum(np.abs(table).max(axis=0), 1.0), spread, _BLIND)
    return torch.tensor(table.mean(axis=0), dtype=torch.float32), torch.tensor(scale, dtype=torch.float32)


def _reached(examples: Sequence[Example], walks: Sequence[PolicyWalks], agent: Agent) -> dict[str, Any]:
    """Mean rewards over all problems, in standard deviations above the mean of random plans."""
    own = [example.reward(walk.walk(agent, explore=False).plan) for example, walk in zip(examples, walks, strict=True)]
    uniform = [example.uniform for example in examples]
    return {"policy": round(float(np.mean(own)), 3), "uniform": round(float(np.mean(uniform)), 3), "problems": len(examples)}


__all__ = ["learn"]

"""The agent: it solves a toy whose optimum is known, and the same seed gives the same actions, interrupted or not."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwflow.compression.search.ddpg import Agent, Hyperparameters, Step
from hwflow.compression.search.environment import PruningEnv
from tests.compression.toys import at_most, chain_costs, nearness

QUICK = Hyperparameters(warmup=20, hidden=64, replay_episodes=60)


def environment(shares: tuple[float, ...] = (0.875, 0.25, 0.75, 0.375)) -> PruningEnv:
    """Groups of 64 channels; a plan is the better the nearer it is to these shares."""
    costs = chain_costs((64,) * len(shares))
    targets = dict(zip((g.name for g in costs.groups), shares, strict=True))
    near = nearness(targets, {g.name: g.channels for g in costs.groups})
    return PruningEnv(costs, near, (at_most(costs, shares),))


def episode(env: PruningEnv, agent: Agent, *, explore: bool = True) -> tuple[list[float], float]:
    observation, _ = env.reset()
    if explore:
        agent.begin()
    steps: list[Step] = []
    actions, done, reward = [], False, 0.0
    while not done:
        action = agent.act(observation, explore=explore)
        following, reward, done, _, info = env.step(np.array([action], dtype=np.float32))
        steps.append(Step(observation, action, following, done))
        actions.append(action)
        observation = following
    steps = [replace(step, action=share) for step, share in zip(steps, info["actions"], strict=True)]
    if explore:
        agent.learn(steps, reward)
    return actions, reward


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_learns_a_toy(seed: int) -> None:
    """Eight groups whose best shares differ: it comes far nearer to them than as many random plans, and its policy has learned
    from that: it beats keeping half of everything, which is where an untrained one stands."""
    shares = (0.875, 0.25, 0.75, 0.375, 0.5, 1.0, 0.125, 0.625)

    def rewards(settings: Hyperparameters) -> tuple[list[float], float]:
        env = environment(shares)
        agent = Agent(env.observation_space.shape[0], settings, seed=seed)
        return [episode(env, agent)[1] for _ in range(150)], episode(env, agent, explore=False)[1]

    (found, policy), (drawn, untrained) = rewards(QUICK), rewards(replace(QUICK, warmup=151))
    assert 1 - max(found) < 0.5 * (1 - max(drawn))
    assert np.mean(found[-50:]) > np.mean(drawn) + 0.08
    assert policy > untrained + 0.01


def test_the_same_seed_gives_the_same_actions() -> None:
    def run(seed: int) -> list[float]:
        torch.manual_seed(np.random.default_rng().integers(1000))  # the world's state does not matter
        env = environment()
        agent = Agent(env.observation_space.shape[0], QUICK, seed=seed)
        return [a for _ in range(30) for a in episode(env, agent)[0]]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_it_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    env = environment()
    agent = Agent(env.observation_space.shape[0], Hyperparameters(warmup=1, hidden=8), seed=0)
    for _ in range(3):
        episode(env, agent)
    assert torch.rand(1) == expected


def test_a_restored_agent_goes_on_as_if_nothing_had_happened() -> None:
    env = environment()
    whole = Agent(env.observation_space.shape[0], QUICK, seed=1)
    for _ in range(25):
        episode(env, whole)
    file = io.BytesIO()
    torch.save(whole.state(), file)
    file.seek(0)
    other = Agent(env.observation_space.shape[0], QUICK, seed=99)
    other.restore(torch.load(file, weights_only=True))
    assert [episode(env, whole) for _ in range(10)] == [episode(env, other) for _ in range(10)]


def test_the_noise_ends() -> None:
    agent = Agent(4, Hyperparameters(warmup=2, noise=0.5, noise_decay=0.5))
    assert agent.noise == float("inf")
    agent.episodes = 4
    assert agent.noise == pytest.approx(0.125)
    agent.episodes = 40
    assert agent.noise == agent.settings.least_noise
    observation = np.full(4, 0.5, dtype=np.float32)
    agent.episodes = 2
    drawn = [agent.act(observation) for _ in range(400)]
    assert min(drawn) >= 0
    assert max(drawn) <= 1
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)
    assert np.std(drawn) == pytest.approx(0.27, abs=0.03)  # of a normal with deviation 0.5 cut to [0, 1]

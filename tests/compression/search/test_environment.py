"""The environment: gymnasium's interface, and budgets that no plan exceeds."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from hwflow.compression.budget import METRICS, Budget, objective_of, parse_budgets
from hwflow.compression.plan_costs import PlanCosts
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.walks import DdpgSearcher
from hwflow.errors import InputError
from tests.compression.toys import chain_costs, plain, ragged

CHANNELS = (16, 32, 24, 64, 40, 64)


def widths_of(costs: PlanCosts, plan: dict[str, int]) -> tuple[int, ...]:
    return tuple(plan[group.name] for group in costs.groups)


def walk(env: PruningEnv, actions: list[float]) -> dict[str, int]:
    env.reset()
    done, info, i = False, {}, 0
    while not done:
        _, _, done, _, info = env.step(np.array([actions[i]], dtype=np.float32))
        i += 1
    plan: dict[str, int] = info["plan"]
    return plan


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # gymnasium's checker advises on shapes of spaces
@pytest.mark.parametrize("budgets", [(), (Budget("energy", 0.5),), (Budget("energy", 0.6), Budget("latency", 0.5))])
def test_gymnasiums_checker_passes(budgets: tuple[Budget, ...]) -> None:
    check_env(PruningEnv(chain_costs(CHANNELS), lambda plan: 0.5, budgets), skip_render_check=True)


def test_stable_baselines_checker_passes_and_its_agent_runs() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checker = pytest.importorskip("stable_baselines3.common.env_checker")
        from stable_baselines3 import DDPG

        env = PruningEnv(chain_costs(CHANNELS), lambda plan: 0.5, (Budget("energy", 0.5),))
        checker.check_env(env)
        DDPG("MlpPolicy", env, learning_starts=8, batch_size=8, device="cpu").learn(total_timesteps=24)
    assert isinstance(env, gymnasium.Env)


@pytest.mark.parametrize("price", [plain, ragged], ids=["plain", "ragged"])
@pytest.mark.parametrize("metric", METRICS)
def test_no_plan_exceeds_its_budget(metric: str, price: object) -> None:
    """Hundreds of random walks for each metric and price, budgets from the least that is reachable upwards."""
    costs = chain_costs(CHANNELS, price)  # type: ignore[arg-type]
    whole = costs.metric(costs.totals(costs.full), metric)
    random = np.random.default_rng(0)
    for share in (0.2, 0.35, 0.5, 0.8):
        env = PruningEnv(costs, lambda plan: 0.5, (Budget(metric, share),))
        for _ in range(60):
            plan = walk(env, list(random.uniform(0, 1, len(CHANNELS)) ** random.choice([0.1, 1, 4])))
            assert costs.metric(costs.totals(widths_of(costs, plan)), metric) <= share * whole


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([8, 16, 20, 32, 48]), min_size=1, max_size=5),
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
    st.tuples(st.floats(0.3, 1), st.floats(0.3, 1)),
)
def test_several_budgets_hold_together(channels: list[int], actions: list[float], shares: tuple[float, float]) -> None:
    costs = chain_costs(channels, ragged)
    budgets = (Budget("edp", shares[0]), Budget("dram_bytes", shares[1]))
    try:
        env = PruningEnv(costs, lambda plan: 0.5, budgets)
    except InputError:
        return
    plan = walk(env, actions)
    for budget in budgets:
        whole = costs.metric(costs.totals(costs.full), budget.metric)
        assert costs.metric(costs.totals(widths_of(costs, plan)), budget.metric) <= budget.share * whole


def test_equal_actions_are_uniform_pruning() -> None:
    """Every group keeps the same share but for rounding and for what that leaves of the budget."""
    env = PruningEnv(chain_costs(CHANNELS), lambda plan: 0.5, (Budget("energy", 0.4),))
    assert walk(env, [1.0] * len(CHANNELS)) == walk(env, [0.3] * len(CHANNELS)) == uniform_plan(env)
    shares = env.shares(uniform_plan(env))
    steps = [8 / channels for channels in CHANNELS]
    assert max(shares) - min(shares) <= 2 * max(steps)


def test_the_executed_actions_are_told_at_the_end() -> None:
    env = PruningEnv(chain_costs((32, 32)), lambda plan: 0.5, (Budget("macs", 0.2),))
    env.reset()
    _, reward, done, truncated, info = env.step(np.array([1.0], dtype=np.float32))
    assert (reward, done, truncated, info) == (0.0, False, False, {"group": "conv0"})
    *_, info = env.step(np.array([0.5], dtype=np.float32))
    assert info["actions"] == [width / 32 for width in info["plan"].values()]
    assert max(info["actions"]) < 1.0


def test_the_agent_learns_from_the_walk_that_asks_for_what_was_executed() -> None:
    """Its actions are the shares that are kept, and what it saw is what a walk with these actions sees."""
    env = PruningEnv(chain_costs(CHANNELS), lambda plan: 0.5, (Budget("energy", 0.4),))
    searcher = DdpgSearcher(env, Hyperparameters(hidden=4), 0)
    plan = searcher.ask(env)
    steps = searcher._steps
    assert [step.action for step in steps] == env.shares(plan)
    observation, _ = env.reset()
    for step in steps:
        assert np.array_equal(step.observation, observation)
        observation = env.step(np.array([step.action]))[0]
        assert np.array_equal(step.following, observation)
    assert [step.last for step in steps] == [False] * (len(CHANNELS) - 1) + [True]


def test_without_a_budget_the_reward_weighs_error_against_cost() -> None:
    costs = chain_costs((16, 16))
    env = PruningEnv(costs, lambda plan: 0.75, metric="macs")
    env.reset()
    env.step(np.array([1.0], dtype=np.float32))
    *_, info = (result := env.step(np.array([0.5], dtype=np.float32)))
    assert info["plan"] == {"conv0": 16, "conv1": 8}
    assert result[1] == pytest.approx(-0.25 * np.log(costs.totals((16, 8))[2]))


def test_cheaper_and_more_accurate_is_better_in_seconds_too() -> None:
    """A latency is far below one second: without a unit in which it is above one, the logarithm would reward errors."""
    costs = chain_costs((16, 16))
    for metric in ("latency", "edp"):
        env = PruningEnv(costs, lambda plan: 0.5, metric=metric)
        full, less = {"conv0": 16, "conv1": 16}, {"conv0": 16, "conv1": 8}
        assert env.worth(full, 0.5) < env.worth(full, 0.9) < 0
        assert env.worth(full, 0.5) < env.worth(less, 0.5)


@pytest.mark.parametrize("budgets", [(), (Budget("latency", 0.5),)])
def test_a_metric_that_the_level_does_not_know_is_refused(budgets: tuple[Budget, ...]) -> None:
    costs = chain_costs((16, 16), lambda layer: plain(layer)._replace(latency_s=float("nan")))
    with pytest.raises(InputError, match="latency is not known at this level"):
        PruningEnv(costs, lambda plan: 0.5, budgets, metric="latency")


def test_a_budget_below_the_floors_says_what_is_reachable() -> None:
    with pytest.raises(InputError, match=r"energy=0.01 cannot be reached.*still needs energy=0\.\d+ of"):
        PruningEnv(chain_costs(CHANNELS), lambda plan: 0.5, (Budget("energy", 0.01),))


def test_observations_stay_within_their_space() -> None:
    env = PruningEnv(chain_costs(CHANNELS, ragged), lambda plan: 0.5, (Budget("edp", 0.5), Budget("params", 0.7)))
    observation, _ = env.reset()
    for _ in CHANNELS:
        assert env.observation_space.contains(observation)
        observation, *_ = env.step(np.array([0.7], dtype=np.float32))
    assert env.observation_space.contains(observation)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("half", "'half' is no number"),
        ("energy=0", "budget of energy is 0.0; it must be a share"),
        ("1.5", "budget of latency is 1.5; it must be a share"),
        ("watts=0.5", "unknown metric 'watts'"),
        ("energy=0.5,energy=0.6", "names energy twice"),
        ("energy=nan", "'energy=nan' is no number"),
    ],
)
def test_budgets_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_budgets(text, "latency")


def test_budgets_are_read_and_choose_the_mappings_objective() -> None:
    assert parse_budgets("0.5", "latency") == (Budget("latency", 0.5),)
    both = parse_budgets("energy=0.5, latency=0.6", "energy")
    assert both == (Budget("energy", 0.5), Budget("latency", 0.6))
    assert objective_of(both) == "edp"
    assert objective_of((Budget("energy", 0.5), Budget("params", 0.5))) == "energy"
    assert objective_of((Budget("macs", 0.5),)) == "edp"

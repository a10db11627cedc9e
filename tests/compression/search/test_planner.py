"""The exact planner: equal to trying every plan, within every budget, with a gap that is true."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from torch import nn

from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.decision import Decision
from hwflow.compression.plan_costs import PlanCosts
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.planner import Planner
from hwflow.cost.cost_grid import Entry
from hwflow.errors import InputError
from hwflow.layers import Layer
from tests.compression import nets
from tests.compression.toys import Chain, Held, MixedChain, by_bits, chain_costs, plain


def rough(seed: int) -> Callable[[Layer], Entry]:
    """A price that is no smooth function of the widths: every shape is up to half dearer at random."""

    def price(layer: Layer) -> Entry:
        numbers = random.Random(f"{seed} {layer.C} {layer.M}")
        cost = plain(layer)
        return cost._replace(energy=cost.energy * numbers.uniform(1, 1.5), latency_s=cost.latency_s * numbers.uniform(1, 1.5))

    return price


def every_plan(env: PruningEnv) -> list[dict[str, int]]:
    groups = env.costs.groups
    plans = (dict(zip((g.name for g in groups), w, strict=True)) for w in itertools.product(*(g.widths for g in groups)))
    return [plan for plan in plans if env.affordable(plan)]


def weigh(losses: list[np.ndarray], env: PruningEnv, plan: dict[str, int]) -> float:
    groups = env.costs.groups
    return sum(float(loss[g.widths.index(plan[g.name])] - loss.min()) for loss, g in zip(losses, groups, strict=True))


METRICS = ("energy", "latency", "macs", "params", "dram_bytes", "peak_activation_bytes")


@pytest.mark.parametrize("block", range(10))
def test_it_finds_what_trying_every_plan_finds(block: int) -> None:
    """Two hundred instances in all, with coupled costs and one to three budgets, convex or not."""
    done = 0
    for seed in itertools.count(1000 * block):
        if done == 20:
            break
        numbers = random.Random(seed)
        costs = chain_costs([numbers.choice([16, 24, 32]) for _ in range(numbers.choice([2, 3, 4]))], rough(seed))
        names = numbers.sample(METRICS, numbers.choice([1, 2, 3])) if seed % 20 else ["edp"]
        try:
            env = PruningEnv(costs, lambda _: 0.0, [Budget(name, numbers.uniform(0.3, 0.9)) for name in names])
        except InputError:
            continue
        done += 1
        losses = [np.array([numbers.uniform(-1, 1) for _ in g.widths]) for g in costs.groups]
        best = min(weigh(losses, env, plan) for plan in every_plan(env))
        found = Planner(env).plan(losses)
        assert env.affordable(found.choice)
        assert found.loss == pytest.approx(weigh(losses, env, found.choice))
        assert best <= found.loss + 1e-9 <= best * 1.0051 + 2e-9, (seed, names)
        assert found.bound <= best + 1e-6
        assert found.gap <= 0.005
        assert found.every_width


def mixed_costs(channels: Sequence[int], seed: int | None = None, options: tuple[int, ...] = (2, 4, 8)) -> PlanCosts:
    """Channels and bits of a chain; with a seed, every shape at every width is up to half dearer at random."""

    def price(layer: Layer) -> Entry:
        cost = by_bits(layer)
        numbers = random.Random(f"{seed} {layer.C} {layer.M} {layer.bits}")
        factor = 1.0 if seed is None else numbers.uniform(1, 1.5)
        return cost._replace(energy=cost.energy * factor, latency_s=cost.latency_s * factor)

    return PlanCosts(MixedChain(channels, options), price)


@pytest.mark.parametrize("seed", range(12))
def test_channels_and_bits_together_are_equal_to_trying_every_plan(seed: int) -> None:
    """A row depends on its own channels and bits, its producer's channels and its reader's bits."""
    numbers = random.Random(seed)
    costs = mixed_costs([numbers.choice([16, 24])], seed) if seed % 2 else mixed_costs([16, 16], seed, (4, 8))
    budgets = [Budget("energy", numbers.uniform(0.3, 0.8)), Budget("latency", numbers.uniform(0.5, 0.9))]
    env = PruningEnv(costs, lambda _: 0.0, budgets[: 1 + seed % 3 // 2])
    losses = [np.array(sorted((numbers.uniform(0, 1) for _ in g.widths), reverse=True)) for g in costs.groups]
    best = min(weigh(losses, env, plan) for plan in every_plan(env))
    found = Planner(env).plan(losses)
    assert env.affordable(found.choice)
    assert found.loss == pytest.approx(weigh(losses, env, found.choice))
    assert best <= found.loss + 1e-9 <= best * 1.0051 + 2e-9
    assert found.bound <= best + 1e-6


def test_a_larger_budget_is_never_predicted_worse() -> None:
    losses = [np.linspace(1.0, 0.0, len(g.widths)) ** 2 for g in mixed_costs((24, 32)).groups]
    reached = []
    for share in (0.15, 0.2, 0.3, 0.45, 0.7, 1.0):
        env = PruningEnv(mixed_costs((24, 32), 0), lambda _: 0.0, [Budget("energy", share)])
        found = Planner(env, gap=0.0).plan(losses)
        assert env.affordable(found.choice)
        reached.append(found.loss)
    assert reached == sorted(reached, reverse=True)
    assert reached[0] > reached[-1] == 0.0


def test_bits_that_are_mixed_are_found_where_the_same_bits_everywhere_are_too_few() -> None:
    """Four bits are what the budget allows everywhere, and the layer in the middle cannot take them."""
    costs = mixed_costs((16, 16), options=(2, 4, 8))
    env = PruningEnv(costs, lambda _: 0.0, [Budget("energy", 0.55)])
    everywhere = {g.name: 4 if isinstance(g, Decision) else g.channels for g in costs.groups}
    assert env.affordable(everywhere)
    assert not env.affordable({**everywhere, **{g.name: 8 for g in costs.groups if isinstance(g, Decision)}})
    falls = {"conv1.weight_bits": (9.0, 5.0, 0.0), "conv1.activation_bits": (9.0, 5.0, 0.0)}
    usual = {2: (0.3, 0.0), 3: (0.3, 0.02, 0.0)}
    losses = [np.array(falls.get(g.name, usual[len(g.widths)])) for g in costs.groups]
    found = Planner(env).plan(losses)
    assert found.choice["conv1.weight_bits"] == found.choice["conv1.activation_bits"] == 8
    assert found.loss < 1.0
    assert weigh(losses, env, everywhere) >= 10.0
    assert env.affordable(found.choice)


@pytest.mark.parametrize("make", [nets.concatenated, nets.dense])
def test_rows_that_read_concatenations_depend_on_the_sum_of_many_groups(make: Callable[[], nn.Module]) -> None:
    grouping = find_groups(make(), (1, 3, 8, 8), round_to=4)
    costs = PlanCosts(grouping, rough(0))
    assert max(map(len, costs.dependence)) > 2
    numbers = random.Random(1)
    env = PruningEnv(costs, lambda _: 0.0, [Budget("energy", 0.6), Budget("latency", 0.5)])
    losses = [np.array([numbers.uniform(0, 1) for _ in g.widths]) for g in costs.groups]
    best = min(weigh(losses, env, plan) for plan in every_plan(env))
    found = Planner(env).plan(losses)
    assert env.affordable(found.choice)
    assert best <= found.loss + 1e-9 <= best * 1.0051 + 2e-9


def test_plans_that_are_excluded_do_not_come_back() -> None:
    env = PruningEnv(chain_costs((16, 24)), lambda _: 0.0, [Budget("macs", 0.7)])
    planner, losses = Planner(env), [np.array([1.0, 0.0]), np.array([2.0, 0.5, 0.0])]
    order = sorted(every_plan(env), key=lambda plan: weigh(losses, env, plan))
    seen: list[tuple[int, ...]] = []
    for plan in order:
        found = planner.plan(losses, seen)
        assert weigh(losses, env, found.choice) == pytest.approx(weigh(losses, env, plan))
        seen.append(tuple(found.choice.values()))
    with pytest.raises(InputError, match="no plan is left within the budgets"):
        planner.plan(losses, seen)


def test_where_a_group_has_many_widths_the_plan_is_refined_among_its_neighbours() -> None:
    env = PruningEnv(chain_costs((128, 128, 128)), lambda _: 0.0, [Budget("macs", 0.4)])
    losses = [-np.log(np.array(g.widths) / g.channels) * factor for g, factor in zip(env.costs.groups, (1, 2, 1), strict=True)]
    thin, whole = Planner(env, most=6).plan(losses), Planner(env, most=16).plan(losses)
    assert (thin.every_width, whole.every_width) == (False, True)
    assert env.affordable(thin.choice)
    assert whole.gap <= 0.002
    assert whole.loss * 0.998 <= thin.loss <= 1.02 * whole.loss


def test_peaks_that_are_not_known_to_be_linear_are_refused() -> None:
    class Unknown:
        sums = None

        def __init__(self, held: Held) -> None:
            self.peaks = held.peaks

    chain = Chain((16, 24))
    costs = PlanCosts(chain, plain, Unknown(Held(chain)))  # type: ignore[arg-type]
    env = PruningEnv(costs, lambda _: 0.0, [Budget("peak_activation_bytes", 0.8)])
    with pytest.raises(InputError, match=r"cannot hold the budget peak_activation_bytes=0\.8: how"):
        Planner(env)

"""Growing regularisation against closed values and toys whose optimum is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from hwflow.compression.channels.regularization import (
    GONE,
    GrowingRegularization,
    IncrementalRegularization,
    check_growth,
    check_limit,
    check_ramp,
    growth_for,
    increments,
    largest_growth,
    ramps_until_removed,
)
from hwflow.compression.channels.units import Columns
from hwflow.errors import InputError

SOURCE = Columns(("0",))


class Quadratic:
    """1/2 sum h_u (w_u - w*_u)^2 over the columns of a 1x1 convolution with one filter."""

    def __init__(self, curvatures: Tensor, optimum: Tensor) -> None:
        self.h, self.optimum = curvatures.double(), optimum.double()
        self.model = nn.Sequential(nn.Conv2d(len(curvatures), 1, 1, bias=False)).double()
        with torch.no_grad():
            self.weight.copy_(self.optimum.view_as(self.weight))

    @property
    def weight(self) -> nn.Parameter:
        found = self.model[0].weight
        assert isinstance(found, nn.Parameter)
        return found

    def train(
        self, hook: GrowingRegularization | IncrementalRegularization, steps: int, rate: float, momentum: float
    ) -> Tensor:
        optimizer = torch.optim.SGD([self.weight], lr=rate, momentum=momentum)
        hook.start(self.model, steps)
        for step in range(steps):
            optimizer.zero_grad()
            (0.5 * (self.h * (self.weight.flatten() - self.optimum) ** 2).sum()).backward()  # type: ignore[no-untyped-call]
            hook.before_step(step)
            optimizer.step()
            hook.after_step(step)
        hook.finish(self.model)
        return self.weight.detach().flatten()


def test_delta_has_the_published_values() -> None:
    found = increments(33, 16, 2.5e-4) / 2.5e-4
    wanted = {0: 1.0, 4: 0.5946, 8: 0.3536, 12: 0.2027, 16: 0.0, 32: -3.5}
    for place, value in wanted.items():
        assert float(found[place]) == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize("cuts", [1, 2, 3, 7, 16, 100])
def test_delta_is_the_amount_at_the_lowest_and_zero_at_the_first_that_stays(cuts: int) -> None:
    found = increments(cuts + 5, cuts, 0.25)
    assert float(found[0]) == 0.25
    assert float(found[cuts]) == pytest.approx(0, abs=1e-12)
    assert bool((found[1:] < found[:-1]).all())


@pytest.mark.parametrize(("steps", "interval", "rate"), [(11_800, 10, 1e-3), (2000, 10, 0.01)])
def test_growth_follows_from_the_steps(steps: int, interval: int, rate: float) -> None:
    growth = growth_for(math.log(1000), [rate] * steps, 0.9, interval)
    closed = 2 * interval * math.log(1000) * (1 - 0.9) / (rate * steps**2)
    assert growth == pytest.approx(closed, rel=2 * interval / steps)
    if rate == 1e-3:
        assert growth == pytest.approx(1e-4, rel=0.01)  # the published growth takes 11,800 steps with the published numbers
    weight, velocity = 1.0, 0.0
    for step in range(steps):
        velocity = 0.9 * velocity + growth * (step // interval) * weight
        weight -= rate * velocity
    assert math.log(1 / weight) == pytest.approx(math.log(1000), rel=0.06)


def test_growth_follows_learning_rates_that_change() -> None:
    rates = [0.05 * (1 + math.cos(math.pi * s / 400)) / 2 for s in range(400)]
    growth = growth_for(2.0, rates, 0.9, 5)
    weight, velocity = 1.0, 0.0
    for step, rate in enumerate(rates):
        velocity = 0.9 * velocity + growth * (step // 5) * weight
        weight -= rate * velocity
    assert math.log(1 / weight) == pytest.approx(2.0, rel=0.05)


def test_held_regularisation_ends_at_the_known_optimum() -> None:
    """w = h w* / (h + lambda), once lambda is held; while it grows the weights lag."""
    toy = Quadratic(torch.tensor([0.5, 1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    hook = GrowingRegularization(SOURCE, {"0": 2}, growth=0.01, limit=0.5, interval=5)
    weight = toy.train(hook, 900, 0.05, 0.9)
    held = hook.factors["0"]
    assert hook.removed == {"0": (0, 1)}
    assert float(held.max()) == pytest.approx(0.5)
    assert held[2:].tolist() == [0, 0]
    assert torch.allclose(weight, toy.h * toy.optimum / (toy.h + held), atol=1e-6)
    growing = Quadratic(toy.h, toy.optimum)
    lagging = growing.train(GrowingRegularization(SOURCE, {"0": 2}, growth=0.001, limit=9.0, interval=5), 500, 0.05, 0.9)
    assert torch.allclose(lagging[:2], (toy.h * toy.optimum / (toy.h + 0.001 * 99))[:2], atol=5e-3)


def test_greg2_picks_the_smallest_curvatures_and_magnitude_does_not() -> None:
    h = torch.linspace(2.0, 0.05, 16)
    optimum = 1 + 1e-6 * torch.arange(16)  # equal, but for what decides ties against the small curvatures
    smallest = set(range(8, 16))
    second = GrowingRegularization(SOURCE, {"0": 8}, growth=0.01, limit=1.0, interval=5, pick_growth=0.002, pick_steps=300)
    Quadratic(h, optimum).train(second, 302, 0.02, 0.9)
    first = GrowingRegularization(SOURCE, {"0": 8}, growth=0.01, limit=1.0, interval=5)
    Quadratic(h, optimum).train(first, 10, 0.02, 0.9)
    assert set(second.removed["0"]) == smallest
    assert not set(first.removed["0"]) & smallest
    assert float(second.factors["0"][:8].max()) == 0  # what stays is let go


def test_units_that_the_loss_does_not_hold_are_gone_and_growth_ends() -> None:
    toy = Quadratic(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.5, 0.6, 1.0, 1.0]))
    growth = growth_for(math.log(1000), [0.02] * 300, 0.9, 5)
    hook = GrowingRegularization(SOURCE, {"0": 2}, growth=growth, limit=5.0, interval=5)
    weight = toy.train(hook, 500, 0.02, 0.9)
    assert float(weight[:2].abs().max()) < GONE
    assert hook.largest_ratio < GONE
    assert float(hook.factors["0"].max()) < growth * 80  # it was held long before the end
    hook.after_epoch(1)
    assert hook.left == [{"0": 2}]


def test_increg_removes_the_lowest_for_good() -> None:
    torch.manual_seed(0)
    optimum = torch.linspace(0.1, 1.6, 16)
    toy = Quadratic(torch.full((16,), 0.02), optimum)
    steps = 400
    hook = IncrementalRegularization(SOURCE, {"0": 6}, ramp_steps=int(steps / ramps_until_removed(16, 6)) - 1, limit=2.5)
    weight = toy.train(hook, steps, 0.02, 0.9)
    assert hook.removed == {"0": (0, 1, 2, 3, 4, 5)}
    assert hook.early == 6
    assert weight[:6].tolist() == [0.0] * 6
    assert float((weight[6:] / optimum[6:]).min()) > 0.9
    assert hook.largest_ratio == 0


def test_increg_removes_the_first_after_its_ramp_and_the_rest_at_the_end() -> None:
    toy = Quadratic(torch.full((8,), 0.02), torch.linspace(0.1, 0.8, 8))
    hook = IncrementalRegularization(SOURCE, {"0": 4}, ramp_steps=50, limit=2.5)
    hook.start(toy.model, 60)
    for step in range(50):
        assert hook.removed["0"] == (), step
        toy.weight.grad = torch.zeros_like(toy.weight)
        hook.before_step(step)
    assert hook.removed["0"] == (0,)
    hook.finish(toy.model)
    assert (hook.early, hook.removed["0"]) == (1, (0, 1, 2, 3))


def test_increg_averages_ranks() -> None:
    """A unit that is the lowest once is not the lowest on the average."""
    toy = Quadratic(torch.ones(3), torch.tensor([1.0, 2.0, 3.0]))
    hook = IncrementalRegularization(SOURCE, {"0": 1}, ramp_steps=1000)
    hook.start(toy.model, 10)
    for step, lowest in enumerate((0, 0, 2)):
        with torch.no_grad():
            toy.weight.copy_(torch.tensor([1.0, 2.0, 3.0]).view_as(toy.weight))
            toy.weight[0, lowest] = 0.5
        toy.weight.grad = torch.zeros_like(toy.weight)
        hook.before_step(step)
    assert hook._ranks["0"].tolist() == pytest.approx([1 / 3, 4 / 3, 4 / 3])


def test_how_long_all_take_is_what_a_simulation_takes() -> None:
    for count, cuts in ((16, 6), (64, 48)):
        factors, steps, removed = torch.zeros(count, dtype=torch.float64), 0, 0
        while removed < cuts:
            factors = (factors + increments(len(factors), cuts - removed, 1 / 400)).clamp(min=0)
            steps += 1
            gone = min(int((factors >= 1 - 1e-9).sum()), cuts - removed)
            factors, removed = factors[gone:], removed + gone
        assert ramps_until_removed(count, cuts) == pytest.approx(steps / 400, rel=0.05)


def test_settings_that_cannot_work_name_what_can() -> None:
    with pytest.raises(InputError, match=r"ramp_steps is 49; lambda grows every 5 steps, .* allowed are 50 steps or more"):
        check_ramp(49, 5)
    most = largest_growth(200, 5, 0.02, 0.9)
    assert 0.02 * most * 200 / (5 * (1 - 0.9)) == pytest.approx(1)
    check_growth(most, 200, 5, 0.02, 0.9)
    with pytest.raises(
        InputError, match=r"growth is 0.2; .* at most 0.125 for 200 steps: above that the weights would oscillate"
    ):
        check_growth(0.2, 200, 5, 0.02, 0.9)
    with pytest.raises(InputError, match=r"limit is 2.5; .* at most 1 for|limit is 2.5; .* at most 1: above"):
        check_limit(2.5, 0.1, 0.9)

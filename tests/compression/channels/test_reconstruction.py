"""Least-squares reconstruction: exact where channels are redundant, and nearer to the whole network elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.reconstruction import _fit, reconstruct
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.datasets.arrays import Arrays
from hwflow.datasets.samples import Samples
from hwflow.errors import HwflowError, InputError
from tests.compression import nets

SHAPE = (2, 3, 8, 8)


@pytest.fixture(scope="module")
def samples() -> Samples:
    images = torch.randn(200, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Samples(Arrays(images, torch.arange(200) % 5, 5, mean=(0.0,), std=(1.0,), flips=False))


def pruned(model: nn.Module, grouping: Grouping, plan: dict[str, int]) -> tuple[nn.Module, dict[str, tuple[int, ...]]]:
    ranking = {group.name: tuple(range(group.units)) for group in grouping.groups}
    return prune_model(model, grouping, plan, ranking=ranking), ranking


def repeated(reader: Callable[[int, int], nn.Module]) -> nn.Module:
    """Channels 6 and 7 of `first` repeat 0 and 1; channel 5 is constant."""
    torch.manual_seed(0)

    def run(self: Any, x: Tensor) -> Tensor:
        return self.fc(self.second(self.first(x).relu()).flatten(2).mean(2))

    model = nets.Calls(run, first=nets.conv(3, 8), second=reader(8, 6), fc=nn.Linear(6, 5))
    with torch.no_grad():
        model.first.weight[6:], model.first.bias[6:] = model.first.weight[:2], model.first.bias[:2]
        model.first.weight[5], model.first.bias[5] = 0, 2.0
    return model.eval()


CONVOLUTIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "1 x 1": lambda c, m: nn.Conv2d(c, m, 1),
    "3 x 3 with a stride": lambda c, m: nn.Conv2d(c, m, 3, stride=2),
    "uneven, dilated": lambda c, m: nn.Conv2d(c, m, (1, 3), dilation=(1, 2), padding=(0, 1), padding_mode="reflect"),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_redundant_channels_are_recovered_exactly(case: str, samples: Samples) -> None:
    """By hand: the weights of repeated channels are added up, a constant channel goes into the bias."""
    model = repeated(CONVOLUTIONS[case])
    grouping = find_groups(model, SHAPE, round_to=1)
    plan = {"first": 5}
    small, ranking = pruned(model, grouping, plan)
    found = reconstruct(small, model, grouping, plan, ranking, samples, ridge=0.0)
    assert found["second"].before > 0.01
    assert found["second"].after < 1e-10
    weight = model.second.weight.detach().clone()
    weight[:, :2] += weight[:, 6:]
    assert torch.allclose(small.second.weight, weight[:, :5], atol=1e-5)
    assert torch.allclose(small.second.bias, model.second.bias + 2 * weight[:, 5].sum((1, 2)), atol=1e-4)
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(small(x), model(x), atol=1e-5)


def test_zeros_around_the_images_are_seen(samples: Samples) -> None:
    """Repeated channels are recovered with padding, too; a constant one is not constant at the border."""
    model = repeated(nets.conv)
    grouping = find_groups(model, SHAPE, round_to=1)
    small, ranking = pruned(model, grouping, {"first": 6})
    assert reconstruct(small, model, grouping, {"first": 6}, ranking, samples, ridge=0.0)["second"].after < 1e-10


def test_a_linear_layer_after_a_flattening_is_recovered(samples: Samples) -> None:
    torch.manual_seed(0)

    def run(self: Any, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(self.first(x).relu(), 2).flatten(1))

    model = nets.Calls(run, first=nets.conv(3, 8), fc=nn.Linear(32, 5)).eval()
    with torch.no_grad():
        model.first.weight[4:], model.first.bias[4:] = model.first.weight[:4], model.first.bias[:4]
    grouping = find_groups(model, SHAPE, round_to=1)
    small, ranking = pruned(model, grouping, {"first": 4})
    assert reconstruct(small, model, grouping, {"first": 4}, ranking, samples, ridge=0.0)["fc"].after < 1e-10
    weight = model.fc.weight.detach().view(5, 8, 4)
    assert torch.allclose(small.fc.weight.view(5, 4, 4), weight[:, :4] + weight[:, 4:], atol=1e-4)


@pytest.mark.parametrize("build", [nets.residual, nets.concatenated, nets.flattened, nets.twice, nets.gated])
def test_what_is_refitted_is_nearer_to_the_whole(build: Callable[[], nn.Module], samples: Samples) -> None:
    """Layers in their order, each with fewer outputs where its own channels were cut, too."""
    torch.manual_seed(0)
    model = build().eval()
    grouping = find_groups(model, SHAPE, streams=True)
    plan = {group.name: group.widths[-2] for group in grouping.groups}
    ranking = rank_channels(model, grouping)
    small = prune_model(model, grouping, plan, ranking=ranking)
    plain = prune_model(model, grouping, plan, ranking=ranking)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = reconstruct(small, model, grouping, plan, ranking, samples)
    assert set(found) == {name for group in grouping.groups for name in group.consumers}
    assert all(refit.after < refit.before for refit in found.values())
    x = torch.randn(50, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(x)
        assert float((small(x) - expected).square().mean()) < 0.8 * float((plain(x) - expected).square().mean())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    again = prune_model(model, grouping, plan, ranking=ranking)
    assert reconstruct(again, model, grouping, plan, ranking, samples) == found
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in small.state_dict().items())


@pytest.mark.parametrize("rows", [20, 200])
def test_the_solution_is_that_of_the_normal_equations(rows: int) -> None:
    """With fewer samples than weights, too, where the ridge decides."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(40, 3)
    inputs, wanted = (torch.randn(rows, n, generator=generator, dtype=torch.float64) for n in (40, 3))
    with torch.no_grad():
        before = torch.cat([layer.weight.T, layer.bias[None]]).double()
        known = torch.cat([inputs, torch.ones(rows, 1)], 1)
        penalty = 0.01 * float(known.square().sum()) / 41 * torch.eye(41, dtype=torch.float64)
        change = torch.linalg.solve(known.T @ known + penalty, known.T @ (wanted - known @ before))
        refit = _fit("layer", layer, inputs, wanted, 0.01)
        assert torch.allclose(torch.cat([layer.weight.T, layer.bias[None]]).double(), before + change, atol=1e-6)
    left = wanted - known @ (before + change)
    assert refit.after == pytest.approx(float(left.square().mean() / wanted.square().mean()))


def test_layers_that_are_not_linear_in_their_weights_stay(samples: Samples) -> None:
    class Squared(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight**2, self.bias)

    model = nets.chain(Squared(16, 16, 1), nets.conv(16, 16, groups=2)).eval()
    grouping = find_groups(model, SHAPE, round_to=4)
    plan = {group.name: group.widths[-2] for group in grouping.groups}
    small, ranking = pruned(model, grouping, plan)
    before = {name: value.clone() for name, value in small.state_dict().items()}
    assert set(reconstruct(small, model, grouping, plan, ranking, samples)) == {"second", "fc"}
    changed = {name for name, value in small.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"second.weight", "second.bias", "fc.weight", "fc.bias"}
    assert reconstruct(small, model, grouping, {}, ranking, samples) == {}


def test_what_cannot_be_refitted_is_told(samples: Samples) -> None:
    model = nets.chain().eval()
    grouping = find_groups(model, SHAPE)
    small, ranking = pruned(model, grouping, {"first": 8})
    with pytest.raises(InputError, match="the ranking of 'first' is no order of its 16 units"):
        reconstruct(small, model, grouping, {"first": 8}, {"first": [0]}, samples)
    with torch.no_grad():
        model.first.weight[0] = torch.inf
    with pytest.raises(
        HwflowError, match="second cannot be refitted: what it reads, or makes in the whole network, is not finite"
    ):
        reconstruct(small, model, grouping, {"first": 8}, ranking, samples)

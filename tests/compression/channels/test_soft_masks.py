"""Soft filter pruning: identities between its variants, and that masks are masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.schedules import Asymptotic, Constant, Falling
from hwflow.compression.channels.soft_masks import SoftMasks
from hwflow.compression.channels.surgery import shrunk
from hwflow.compression.channels.units import Channels
from hwflow.datasets import Data, from_datasets
from hwflow.errors import InputError
from hwflow.network.replica import replica
from hwflow.training import Recipe, fit

EPOCHS = 4
RECIPE = Recipe(epochs=EPOCHS, batch_size=16, learning_rate=0.05, precision="float32", device="cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 2))


@pytest.fixture(scope="module")
def data() -> Data:
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = torch.utils.data.TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    return from_datasets("halves", samples, samples, classes=2)


@pytest.fixture(scope="module")
def grouping() -> Grouping:
    return find_groups(network(), (1, 1, 8, 8), round_to=1)


def trained(data: Data, hook: SoftMasks | None, epochs: int = EPOCHS) -> nn.Module:
    model = network()
    fit(
        model,
        *data.hold_out(),
        RECIPE if epochs == EPOCHS else Recipe(**{**vars(RECIPE), "epochs": epochs}),
        hooks=[hook] if hook else [],
    )
    return model


def masks(grouping: Grouping, **changes: Any) -> SoftMasks:
    given: dict[str, Any] = {"ratio": Constant(), "scale": Falling(0.0), "epochs": EPOCHS, **changes}
    return SoftMasks(Channels(grouping), {"0": 4, "3": 2}, **given)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_srfp_that_starts_at_zero_is_sfp(data: Data, grouping: Grouping) -> None:
    assert same(
        trained(data, masks(grouping, scale=Falling(0.0, "cosine"))),
        trained(data, masks(grouping, scale=lambda t, share: 0.0)),
    )


def test_a_factor_of_one_prunes_nothing_before_the_end(data: Data, grouping: Grouping) -> None:
    def late(t: float, share: float) -> float:
        return 0.0 if t == 1 else 1.0

    plain, hook = trained(data, None), masks(grouping, scale=late)
    soft = trained(data, hook)
    for name, units in Channels(grouping).units(plain, "outputs").items():
        keep = torch.ones(units.count).index_fill(0, torch.tensor(hook.removed[name]), 0.0)
        units.scale_(keep)
    assert same(plain, soft)


@pytest.mark.parametrize("ratio", [Constant(), Asymptotic()])
@pytest.mark.parametrize("scale", [Falling(0.0), Falling(1.0)])
def test_the_masked_network_is_the_cut_one(ratio: Any, scale: Any, data: Data, grouping: Grouping) -> None:
    hook = masks(grouping, ratio=ratio, scale=scale)
    model = trained(data, hook)
    assert {name: len(units) for name, units in hook.removed.items()} == {"0": 4, "3": 2}
    assert hook.left[-1] == {"0": 4, "3": 6}
    small = shrunk(model, [(grouping[name], units) for name, units in hook.removed.items()])
    images, _ = next(data.test.batches(32))
    with torch.no_grad():
        assert torch.allclose(model(images), small.eval()(images), atol=1e-5)


def test_the_asymptotic_ratio_leaves_units_that_it_prunes_later(data: Data, grouping: Grouping) -> None:
    hook = masks(grouping, ratio=Asymptotic())
    trained(data, hook)
    assert [entry["0"] for entry in hook.left] == [5, 5, 5, 4]  # floor(8 P(t)) with P = 1/2 at t = 1/4, 1/2, 3/4, 1
    late = masks(grouping, ratio=lambda t, ratio: ratio * t)
    trained(data, late)
    assert [entry["0"] for entry in late.left] == [7, 6, 5, 4]


def test_surgery_follows_the_mask_and_not_which_weights_are_zero(data: Data, grouping: Grouping) -> None:
    """A unit that is zero by accident is not counted; the plan's number of units goes, no more."""

    class Accident(SoftMasks):
        def after_epoch(self, epoch: int) -> None:
            super().after_epoch(epoch)
            for units in self.source.units(self.model, "outputs").values():
                units.scale_(torch.ones(units.count).index_fill(0, torch.tensor([0, 1]), 0.0))

        def start(self, model: nn.Module, steps: int) -> None:
            self.model = model
            super().start(model, steps)

    hook = Accident(Channels(grouping), {"0": 4, "3": 1}, EPOCHS, Constant(), Falling(0.0))
    model = trained(data, hook)
    small: Any = shrunk(model, [(grouping[name], units) for name, units in hook.removed.items()])
    assert (small[0].out_channels, small[3].out_channels) == (4, 7)


class Linear(nn.Module):
    """Two units without a ReLU behind them, so that gradients reach a zero one: the loss wants the second."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1, bias=False)
        self.second = nn.Conv2d(2, 1, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([1.0, 0.1]).view(2, 1, 1, 1))
            self.second.weight.copy_(torch.tensor([0.0, 1.0]).view(1, 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x))
        return out


def test_a_unit_that_gradients_revive_leaves_the_mask() -> None:
    model = Linear()
    hook = SoftMasks(Channels(find_groups(model, (1, 1, 4, 4), round_to=1)), {"first": 1}, 2, Constant(), Falling(0.0))
    hook.start(model, 2)
    assert hook.removed == {"first": (1,)}
    assert float(model.first.weight[1].detach()) == 0
    optimizer = torch.optim.SGD([model.first.weight], lr=0.5)
    images = torch.ones(1, 1, 4, 4)
    for _ in range(10):
        optimizer.zero_grad()
        (model(images) - 3).square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    hook.after_epoch(1)
    assert hook.removed == {"first": (0,)}
    assert float(model.first.weight[1].detach()) == pytest.approx(3, abs=0.1)


def test_filters_alone_are_weakened_as_in_the_authors_code(data: Data, grouping: Grouping) -> None:
    hook = masks(grouping, normalization=False)
    model: Any = network()
    hook.start(model, 4)
    removed = list(hook.removed["0"])
    assert float(model[0].weight[removed].detach().abs().max()) == 0
    assert torch.equal(model[1].weight, torch.ones(8))
    hook.after_epoch(EPOCHS)
    assert float(model[1].weight[list(hook.removed["0"])].detach().abs().max()) == 0


def test_bad_settings_are_refused(grouping: Grouping) -> None:
    with pytest.raises(InputError, match="epochs of pruning while training is 0"):
        masks(grouping, epochs=0)
    with pytest.raises(InputError, match=r"ends at 0.5; it must end at 0"):
        masks(grouping, scale=lambda t, share: 0.5)
    hook = masks(grouping, epochs=2)
    hook.start(replica(network()), 4)
    with pytest.raises(InputError, match="the schedules are for 2 epochs, and this is epoch 3"):
        hook.after_epoch(3)

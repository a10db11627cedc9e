"""Units as views on a model's tensors: what belongs to them, and what each operation changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.surgery import shrunk
from hwflow.compression.channels.units import Channels, ChannelUnits, Columns, ColumnUnits, Units, checked_cuts
from hwflow.errors import InputError
from tests.compression import nets

SHAPE = (1, 3, 8, 8)


def normalised() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3)]
    model = nn.Sequential(*layers, nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(value)  # type: ignore[arg-type]
    return model.eval()


@pytest.mark.parametrize(
    ("part", "elements"),
    [("filters", 3 * 9), ("outputs", 3 * 9 + 1 + 2), ("coupled", 3 * 9 + 1 + 2 + 24 * 9)],
)
def test_parts_hold_filters_then_shift_and_normalisation_then_what_reads_them(part: str, elements: int) -> None:
    model = normalised()
    units = Channels(find_groups(model, SHAPE)).units(model, part)["0"]  # type: ignore[arg-type]
    assert units.values().shape == (16, elements)
    assert torch.equal(units.values()[:, :27], model[0].weight.flatten(1))  # type: ignore[index]


@pytest.mark.parametrize("made", [nets.residual, nets.concatenated, nets.gated, nets.decoder, nets.twice, nets.flattened])
def test_scaled_units_are_scaled_values(made: object) -> None:
    model = made()  # type: ignore[operator]
    grouping = find_groups(model, SHAPE, streams=True)
    for group in grouping.groups:
        units = ChannelUnits(model, group, "outputs")
        before, factor = units.values(), torch.rand(group.units)
        factor[0] = 1
        units.scale_(factor)
        assert torch.allclose(units.values(), factor[:, None] * before)
        assert torch.equal(units.values()[0], before[0])


def both() -> list[tuple[nn.Module, Units]]:
    model = normalised()
    return [(model, Channels(find_groups(model, SHAPE)).units(model, "coupled")["0"]), (model, ColumnUnits(model, "3"))]


@pytest.mark.parametrize("which", [0, 1])
def test_decay_is_the_gradient_of_half_the_squared_norm(which: int) -> None:
    model, units = both()[which]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    coefficient = torch.rand(units.count, dtype=torch.float64)
    units.decay_grad_(coefficient)
    before = units.values().double()
    with torch.no_grad():
        for p in model.parameters():
            p.sub_(p.grad)  # type: ignore[arg-type]
    assert torch.allclose(units.values().double(), before * (1 - coefficient[:, None]), atol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_scaling_is_one_step_on_the_norm(which: int) -> None:
    """W <- a W equals a step of gradient descent on (lambda / 2) |W|^2 with lambda = (1 - a) / eta: what the papers of soft
    pruning call incremental regularisation."""
    (one, scaled), (other, decayed) = both()[which], both()[which]
    a, eta = 0.3, 0.05
    scaled.scale_(torch.full((scaled.count,), a))
    for p in other.parameters():
        p.grad = torch.zeros_like(p)
    decayed.decay_grad_(torch.full((decayed.count,), (1 - a) / eta, dtype=torch.float64))
    torch.optim.SGD(other.parameters(), lr=eta).step()
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("which", [0, 1])
def test_gates_stop_gradients_of_their_units_only(which: int) -> None:
    model, units = both()[which]
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    keep = torch.ones(units.count)
    keep[:3] = 0
    before = units.values()
    units.gate_grad_(keep)
    with torch.no_grad():
        for p in model.parameters():
            p.sub_(p.grad)  # type: ignore[arg-type]
    moved = units.values() - before
    assert float(moved[:3].abs().max()) == 0
    assert torch.allclose(moved[3:], -torch.ones_like(moved[3:]), atol=1e-6)


def test_a_network_with_zero_units_computes_what_the_cut_one_does() -> None:
    """Normalisation included: its shift would otherwise remain."""
    model = normalised()
    grouping = find_groups(model, SHAPE)
    cuts = [(group, tuple(range(0, group.units, 3))) for group in grouping.groups]
    small = shrunk(model, cuts)
    for group, removed in cuts:
        keep = torch.ones(group.units).index_fill(0, torch.tensor(removed), 0.0)
        ChannelUnits(model, group, "outputs").scale_(keep)
    images = torch.randn(4, 3, 8, 8)
    assert torch.allclose(model(images), small(images), atol=1e-5)
    ChannelUnits(model, grouping.groups[0], "filters").scale_(torch.zeros(16))
    assert float(model[1].bias.detach().abs().max()) > 0  # type: ignore[index, union-attr]


def test_columns_are_inputs_of_the_matrix_product() -> None:
    conv = nn.Conv2d(3, 8, 3, bias=False)
    units = ColumnUnits(nn.Sequential(conv), "0")
    assert units.count == 27
    units.scale_(torch.ones(27).index_fill(0, torch.tensor([4, 26]), 0.0))
    patches = nn.functional.unfold(torch.randn(1, 3, 5, 5), 3)
    changed = patches.clone()
    changed[:, [4, 26]] = 100
    weight = conv.weight.flatten(1)
    assert torch.equal(weight @ patches, weight @ changed)


def test_columns_are_refused_of_other_layers() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.ConvTranspose2d(8, 4, 2), nn.ReLU())
    with pytest.raises(InputError, match=r"'0' has 8 groups, each with a matrix of its own.*with one group"):
        ColumnUnits(model, "0")
    for name, kind in (("1", "ConvTranspose2d"), ("2", "ReLU")):
        with pytest.raises(InputError, match=f"'{name}' is {kind}; only convolutions have columns"):
            ColumnUnits(model, name)
    with pytest.raises(InputError, match=r"unknown module of Sequential 'conv'"):
        ColumnUnits(model, "conv")


def test_a_model_that_was_not_grouped_is_refused() -> None:
    grouping = find_groups(normalised(), SHAPE)
    with pytest.raises(InputError, match=r"is not the model that was grouped: its '0.weight' is \(8, 3, 3, 3\)"):
        ChannelUnits(nn.Sequential(nn.Conv2d(3, 8, 3)), grouping.groups[0])


def test_numbers_of_units_to_remove_are_checked() -> None:
    units = Columns(("0",)).units(nn.Sequential(nn.Conv2d(3, 8, 3)), "coupled")
    assert checked_cuts({"0": 0}, units) == {}
    with pytest.raises(InputError, match=r"27 of the 27 units of '0' are to be removed, a share of 1; .* below 1"):
        checked_cuts({"0": 27}, units)
    with pytest.raises(InputError, match=r"-1 of the 27 units .* must be at least 0"):
        checked_cuts({"0": -1}, units)
    with pytest.raises(InputError, match="unknown group of units 'a'"):
        checked_cuts({"a": 1}, units)

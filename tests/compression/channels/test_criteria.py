"""Importance by hand for each criterion, what must not change it, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from torch import Tensor, nn

from hwflow.cli.prune import prune as command
from hwflow.compression.channels.criteria import CRITERIA, Criterion, affine, scores
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.surgery import rank_channels
from hwflow.compression.folder import CONFIG, Folder
from hwflow.compression.settings import Settings
from hwflow.datasets.arrays import Arrays
from hwflow.datasets.samples import Samples
from hwflow.errors import InputError
from tests.compression import nets

SHAPE = (2, 3, 8, 8)


def chain() -> tuple[nn.Module, Grouping]:
    """Filters (1), (-3), (2), scales 1, -2, 0.5, then columns (2, 2), (0, -1), (3, 0)."""
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.Flatten(2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -3.0, 2.0]).view(3, 1, 1, 1))
        model[0].bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
        model[1].weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        model[2].weight.copy_(torch.tensor([[2.0, 0.0, 3.0], [2.0, -1.0, 0.0]]).view(2, 3, 1, 1))
    return model, find_groups(model, (1, 1, 4, 4), round_to=1)


L2 = (1 + 1 + 8, 9 + 4 + 1, 4 + 0.25 + 9)
BY_HAND: dict[str, tuple[float, ...]] = {
    "l1": (1 + 1 + 4, 3 + 2 + 1, 2 + 0.5 + 3),
    "l2": L2,
    "lamp": (L2[0] / sum(L2), 1.0, L2[2] / (L2[1] + L2[2])),
    "bn_scale": (1.0, 2.0, 0.5),
    # filters: |1+3| + |1-2|, 4 + 5, 1 + 5; columns: (2, 3) and (1, 2) apart from the first, (3, 1) between the others
    "fpgm": (5 + 13**0.5 + 5**0.5, 9 + 13**0.5 + 10**0.5, 6 + 5**0.5 + 10**0.5),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_scores_by_hand(name: str) -> None:
    model, grouping = chain()
    found = scores(model, grouping, name)
    assert found == {"0": pytest.approx(BY_HAND[name])}
    order = sorted(range(3), key=lambda unit: -BY_HAND[name][unit])
    assert rank_channels(model, grouping, name) == {"0": tuple(order)}


class Squares(nn.Module):
    """Two linear layers on images of one pixel, so that gradients can be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(1, 2, bias=False), nn.Linear(2, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x.flatten(1)))


def drawn(count: int) -> Samples:
    """Images for the networks of `nets`."""
    images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Samples(Arrays(images, torch.arange(count) % 5, 5, mean=(0.0,), std=(1.0,), flips=False))


def test_taylor_by_hand() -> None:
    """x = 1, label 0, logits (a0 b00 + a1 b01, a0 b10 + a1 b11); dL/dlogits = softmax - onehot = (-q, q)."""
    model = Squares()
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    with torch.no_grad():
        model.a.weight.copy_(a.view(2, 1))
        model.b.weight.copy_(b)
    grouping = find_groups(model, (1, 1, 1, 1), round_to=1)
    logits = b @ a
    q = float(torch.softmax(logits, 0)[1])
    delta = torch.tensor([-q, q])
    expected = [float((a[c] * (b[:, c] @ delta)) ** 2 + ((b[:, c] * delta * a[c]) ** 2).sum()) for c in range(2)]
    one = Samples(Arrays(torch.ones(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64), 2, mean=(0.0,), std=(1.0,), flips=False))
    found = scores(model, grouping, "taylor", one)
    assert found == {"a": pytest.approx(expected, rel=1e-5)}
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_taylor_averages_over_batches_and_keeps_statistics() -> None:
    model = nets.chain(nn.BatchNorm2d(16))
    grouping = find_groups(model, SHAPE)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    samples = drawn(130)
    found = scores(model, grouping, "taylor", samples)
    assert found == scores(model, grouping, "taylor", samples)
    assert found != scores(model, grouping, "taylor", samples.subset(range(64)))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert model.training


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_have_one_number_for_each_unit(name: str) -> None:
    """Of groups of grouped convolutions, too, whose units are several channels."""
    model = nets.chain(nets.conv(16, 32, groups=4), nn.BatchNorm2d(32), nn.PReLU(32), nets.conv(32, 16), nn.BatchNorm2d(16))
    for norm in (model.middle1, model.middle4):
        nn.init.uniform_(norm.weight)
    grouping = find_groups(model, SHAPE, streams=True, exclude=["second"])
    groups = [group for group in grouping.groups if any(s.tensor in ("middle1.weight", "middle4.weight") for s in group.slots)]
    assert groups
    chosen = Grouping(grouping.network, tuple(groups), (), (), {})
    found = scores(model, chosen, name, drawn(8))
    assert {n: len(values) for n, values in found.items()} == {group.name: group.units for group in groups}
    for values in found.values():
        assert len(set(values)) > 1
        assert all(math.isfinite(value) and value >= 0 for value in values)


def test_the_order_of_lamp_is_that_of_l2() -> None:
    model, grouping, _ = nets.zoo("resnet20")
    assert rank_channels(model, grouping, "lamp") == rank_channels(model, grouping, "l2")


def test_a_channel_that_others_repeat_is_the_first_to_go_by_fpgm() -> None:
    """However large it is: the geometric median tells what is replaceable, not what is small."""
    model = nets.chain()
    with torch.no_grad():
        for unit in (3, 7, 11):
            model.first.weight[unit] = 10.0
            model.second.weight[:, unit] = 10.0
        model.first.weight[7] += 0.01
    grouping = find_groups(model, SHAPE)
    model.first.weight.data[0] = 40.0
    assert rank_channels(model, grouping, "l1")["first"][-1] not in (3, 7, 11)
    far = rank_channels(model, grouping, "fpgm")["first"]
    assert far[0] == 0


def test_random_scores_follow_the_seed_and_the_group_only() -> None:
    model, grouping, _ = nets.zoo("resnet20")
    found = scores(model, grouping, "random")
    assert found == scores(model, grouping, "random", seed=0) != scores(model, grouping, "random", seed=1)
    last = Grouping(grouping.network, grouping.groups[-1:], (), (), {})
    assert scores(model, last, "random") == {grouping.groups[-1].name: found[grouping.groups[-1].name]}


def test_affine_scores_are_a_line_of_the_filters_squares() -> None:
    model, grouping = nets.residual(), find_groups(nets.residual(), SHAPE, streams=True)
    squares = {
        n: [float(f.double().square().sum()) for f in model.get_submodule(n).weight.detach()] for n in ("stem", "a", "b")
    }
    found = scores(model, grouping, affine({"stem": 2.0}, {"a": 1.5, "b": -0.25}))
    assert found["a"] == pytest.approx([s + 1.5 for s in squares["a"]])
    assert found["stem"] == pytest.approx([2 * s + t - 0.25 for s, t in zip(squares["stem"], squares["b"], strict=True)])
    identity = scores(model, grouping, affine({}, {}))
    with torch.no_grad():
        model.a.weight *= 3
    scaled = scores(model, grouping, affine({"a": 1 / 9}, {}))
    for name, values in identity.items():
        assert scaled[name] == pytest.approx(values)


# Bad input -----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_scored_is_refused() -> None:
    model, grouping = nets.chain(), find_groups(nets.chain(), SHAPE)
    with pytest.raises(InputError, match=r"unknown criterion 'l3'.*bn_scale, fpgm, l1, l2, lamp, random, taylor"):
        scores(model, grouping, "l3")
    with pytest.raises(InputError, match="the criterion taylor takes gradients on training samples: give it samples"):
        scores(model, grouping, "taylor")
    with pytest.raises(InputError, match="the group 'first' has none: choose another criterion, or exclude the group"):
        scores(model, grouping, "bn_scale")
    with pytest.raises(InputError, match=r"is not the model that was grouped: its 'first.weight' does not exist"):
        scores(model.second, grouping)
    with torch.no_grad():
        model.first.weight[5] = float("nan")
    with pytest.raises(InputError, match="the importance of unit 5 of 'first' by l1 is nan: weights of first or of what"):
        scores(model, grouping)
    unlike = Criterion("mine", lambda subject, group: torch.full((group.units,), torch.inf), "a test")
    with pytest.raises(InputError, match="the importance of unit 0 of 'first' by mine is inf"):
        rank_channels(model, grouping, unlike)
    with pytest.raises(InputError, match="unknown criterion 'L1'"):
        Settings(criterion="L1")


def test_the_command_lists_all_criteria() -> None:
    option = get_args(get_type_hints(command, include_extras=True)["criterion"])[1]
    assert option.metavar == "|".join(CRITERIA)


# Folders -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_folder_of_version_0_1_goes_on_by_its_norm(tmp_path: Path, norm: str) -> None:
    """There the criterion is the proxy's `norm`."""
    now = {"settings": Settings(criterion=norm).to_data()}
    assert now["settings"].get("criterion") == (None if norm == "l1" else norm)
    old = json.loads(json.dumps({"format": 1, **now}))
    old["settings"].pop("criterion", None)
    old["settings"]["proxy"]["norm"] = norm
    (tmp_path / CONFIG).write_text(json.dumps(old))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "base.pt").write_bytes(b"")
    folder = Folder(tmp_path)
    with folder.opened(now, resume=True):
        pass
    with (
        pytest.raises(InputError, match=r"settings\.criterion was (l2|not there), now is taylor"),
        folder.opened({"settings": Settings(criterion="taylor").to_data()}, resume=True),
    ):
        pass

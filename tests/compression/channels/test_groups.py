"""What can be pruned: groups of the zoo and of a small network for every case, exact costs, and reasons for the rest."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from hwflow.compression.channels import coupling_proof, row_sizes
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.errors import ImportFailed, InputError
from hwflow.layers import Layer
from hwflow.network import Network, model_zoo
from tests.compression import nets

SHAPE = (2, 3, 8, 8)


def plans(grouping: Grouping, count: int) -> list[dict[str, int]]:
    """The least widths, then random ones."""
    chosen = random.Random(0)
    least = {group.name: group.widths[0] for group in grouping.groups}
    return [least, *({g.name: chosen.choice(g.widths) for g in grouping.groups} for _ in range(count))]


def assert_exact(model: nn.Module, grouping: Grouping, shape: tuple[int, ...], count: int = 3) -> None:
    """The pruned model runs, in both modes, and importing it gives the network that the plan is costed by."""
    ranking = rank_channels(model, grouping)
    whole = prune_model(model, grouping, {}).eval()(torch.zeros(shape))
    for plan in plans(grouping, count):
        pruned = prune_model(model, grouping, plan, ranking=ranking)
        expected = grouping.network_for(plan)
        found = Network.from_torch(pruned, shape, name=grouping.network.name)
        assert found == expected
        assert [la.params_other for la in found] == [la.params_other for la in expected]
        assert sum(p.numel() for p in pruned.parameters()) <= sum(p.numel() for p in model.parameters())
        out = pruned.eval()(torch.randn(shape))
        assert isinstance(out, dict) or out.shape == whole.shape
        pruned.train()(torch.randn(max(shape[0], 2), *shape[1:]))


# The zoo -------------------------------------------------------------------------------------------------------------

_SLOW = {"resnet50", "resnet56", "vgg16", "alexnet", "mobilenet_v2", "deeplabv3_resnet50"}
_ZOO = [pytest.param(name, marks=[pytest.mark.slow] if name in _SLOW else []) for name in model_zoo.NAMES]


@pytest.mark.parametrize("name", _ZOO)
def test_plans_of_the_zoo_are_costed_exactly(name: str) -> None:
    """Streams and all: what cannot be pruned are the outputs, and what zeros are put around."""
    model, grouping, shape = nets.zoo(name)
    assert_exact(model, grouping, shape)
    least = grouping.network_for(plans(grouping, 0)[0])
    assert least.macs < 0.2 * grouping.network.macs
    outputs = [key for key, reason in grouping.left_out.items() if reason == "they are the model's outputs"]
    assert outputs == [grouping.network.layers[-1].name]
    assert all("the others stay" in reason for key, reason in grouping.left_out.items() if key not in outputs)


def test_groups_of_a_residual_network() -> None:
    """By default those inside the blocks, in order of execution; the streams are said to be left out."""
    model = model_zoo.load_model("resnet18", num_classes=10)
    grouping = find_groups(model, (1, 3, 64, 64))
    assert [g.name for g in grouping.groups] == [f"layer{s}.{b}.conv1" for s in (1, 2, 3, 4) for b in (0, 1)]
    assert not any(group.stream for group in grouping.groups)
    first = grouping["layer1.0.conv1"]
    assert (first.producers, first.consumers, first.unit) == (("layer1.0.conv1",), ("layer1.0.conv2",), 1)
    assert (first.channels, first.widths) == (64, tuple(range(8, 65, 8)))
    assert grouping.affected("layer1.0.conv1") == ("layer1.0.conv1", "layer1.0.conv2")
    assert list(grouping.left_out) == ["conv1", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2", "fc"]
    assert "streams=True" in grouping.left_out["conv1"]
    streams = nets.zoo("resnet18")[1]
    assert [g.name for g in streams.groups if g.stream] == ["conv1", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"]
    assert streams["layer2.0.conv2"].producers == ("layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv2")


def test_shortcuts_that_pad_with_zeros() -> None:
    """ResNet-20's first stream runs through all stages, 8 and 24 channels further on; the zeros around it stay."""
    grouping = nets.zoo("resnet20")[1]
    stream = grouping["conv1"]
    assert stream.stream
    starts = {slot.tensor: slot.positions[0] for slot in stream.slots}
    assert (starts["conv1.weight"], starts["layer2.0.conv2.weight"], starts["layer3.0.conv2.weight"]) == (0, 8, 24)
    network = grouping.network_for({"conv1": 8})
    assert (network["conv1"].M, network["layer2.1.conv2"].M, network["fc"].C) == (8, 24, 56)
    assert grouping.left_out["layer2.0.conv2"].startswith(
        "16 of the 32 channels of layer2.0.conv2, layer2.1.conv2, layer2.2.conv2"
    )


def test_a_depthwise_convolution_goes_with_its_inputs() -> None:
    grouping = nets.zoo("mobilenet_v2")[1]
    group = grouping["features.3.conv.0.0"]
    assert (group.producers, group.consumers) == (("features.3.conv.0.0",), ("features.3.conv.2",))
    assert grouping.affected(group.name) == ("features.3.conv.0.0", "features.3.conv.1.0", "features.3.conv.2")
    before, after = grouping.network, grouping.network_for({group.name: 40})
    assert (before["features.3.conv.1.0"].G, after["features.3.conv.1.0"].G) == (144, 40)
    assert after["features.3.conv.1.0"].C == after["features.3.conv.1.0"].M == 1


# Every kind of coupling ----------------------------------------------------------------------------------------------

CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, int], dict[str, str]]] = {
    # name: (model, the units of its groups, what is left out besides the outputs)
    "residual": (nets.residual, {"stem": 1, "a": 1}, {}),
    "concatenation": (nets.concatenated, {"left": 1, "right": 1, "join": 1}, {}),
    "dense": (nets.dense, {"stem": 1, "conv0": 1, "conv1": 1, "conv2": 1}, {}),
    "flattened": (nets.flattened, {"a": 1, "b": 1, "hidden": 1}, {}),
    "gate": (nets.gated, {"a": 1}, {"down": "of its 8 channels none can go", "b": "of its 8 channels none can go"}),
    "channels last": (nets.channels_last_block, {"stem": 1, "up": 1}, {}),
    "decoder": (nets.decoder, {"stem": 1, "down": 1, "up": 1, "grouped": 1}, {}),
    "run twice": (nets.twice, {"stem": 1}, {}),
    "grouped": (
        lambda: nets.chain(nets.conv(16, 32, groups=4), nets.conv(32, 16)),
        {"first": 4, "middle0": 4, "middle1": 1, "second": 1},
        {},
    ),
    "grouped transposed": (
        lambda: nets.chain(nn.ConvTranspose2d(16, 16, 3, padding=1, groups=2)),
        {"first": 2, "middle0": 2, "second": 1},
        {},
    ),
    "depthwise": (lambda: nets.chain(nets.conv(16, 16, groups=16)), {"first": 1, "second": 1}, {}),
    "depthwise multiplied": (
        lambda: nets.chain(nets.conv(16, 32, groups=16), nets.conv(32, 16)),
        {"middle0": 16, "middle1": 1, "second": 1},
        {"first": "leave no channel free (16 channels, 16 groups)"},
    ),
    "group norm": (lambda: nets.chain(nn.GroupNorm(4, 16)), {"first": 4, "second": 1}, {}),
    "group norm alone": (lambda: nets.chain(nn.GroupNorm(16, 16)), {"second": 1}, {"first": "leave no channel free"}),
    "layer norm": (lambda: nets.chain(nn.LayerNorm([16, 8, 8])), {"second": 1}, {"first": "'middle0' normalises over 3 axes"}),
    "instance norm": (lambda: nets.chain(nn.InstanceNorm2d(16)), {"first": 1, "second": 1}, {}),
    "batch norm": (lambda: nets.chain(nn.BatchNorm2d(16, affine=False)), {"first": 1, "second": 1}, {}),
    "prelu": (lambda: nets.chain(nn.PReLU(16)), {"first": 1, "second": 1}, {}),
    "one prelu": (lambda: nets.chain(nn.PReLU()), {"first": 1, "second": 1}, {}),
    "reads values": (nets.reads_values, {"a": 1, "b": 1}, {}),
    # refused
    "tied weights": (nets.tied, {"c": 1}, dict.fromkeys(("stem", "a", "b"), "'a.weight' is shared by modules")),
    "features": (nets.two_outputs, {"b": 1}, {"a": "they are the model's outputs"}),
    "channel shuffle": (nets.shuffled, {"b": 1}, {"a": "the model's result depends on their order"}),
    "halves": (nets.halved, {"b": 1}, {"a": "'b' takes only some of them"}),
    "attention": (
        nets.attention,
        {"heads": 4, "up": 1},
        {"a": "does not cut MultiheadAttention", "heads.out_proj": "does not reach it"},
    ),
    "auxiliary": (nets.auxiliary, {"b": 1}, {"stem": "pruned, the model does not run in training mode"}),
    "pixel shuffle": (
        lambda: nets.chain(nn.PixelShuffle(2), nets.conv(4, 16)),
        {"middle1": 1, "second": 1},
        {"first": "torch-pruning couples them with 'middle1', which has 4 channels only"},
    ),
    "written sizes": (nets.fixed_size, {"b": 1}, {"a": "pruned to 8 of 16 channels the model does not run"}),
    "weight norm": (nets.weight_normed, {"second": 1}, {"first": "the weight of 'first' is computed"}),
    "detached": (nets.detached, {"b": 1}, {"a": "in module 'c'"}),
    "products of channels": (nets.bilinear, {}, {"a": "do not follow from its width in a straight line"}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_coupling(case: str) -> None:
    build, units, left_out = CASES[case]
    model = build()
    grouping = find_groups(model, SHAPE, streams=True)
    assert {group.name: group.unit for group in grouping.groups} == units
    outputs = {key for key, reason in grouping.left_out.items() if reason == "they are the model's outputs"}
    assert set(grouping.left_out) == outputs | set(left_out)
    for name, reason in left_out.items():
        assert reason in grouping.left_out[name]
    assert_exact(model, grouping, SHAPE)


@pytest.mark.parametrize("case", ["concatenation", "dense", "flattened", "grouped", "decoder"])
def test_measuring_at_once_and_one_by_one_agree(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CASES[case][0]()
    at_once = find_groups(model, SHAPE, streams=True)
    monkeypatch.setattr(row_sizes, "_telling", lambda groups: None)
    one_by_one = find_groups(model, SHAPE, streams=True)
    assert set(at_once.layer_steps) == set(one_by_one.layer_steps)
    assert set(at_once.other_steps) == set(one_by_one.other_steps)


def test_only_additions_make_streams() -> None:
    assert not find_groups(nets.gated(), SHAPE)["a"].stream
    assert find_groups(nets.residual(), SHAPE, streams=True)["stem"].stream
    assert "a stream" in find_groups(nets.residual(), SHAPE).left_out["stem"]


def test_frozen_and_wrapped_models_are_grouped_alike() -> None:
    model = nets.flattened()
    expected = [g.name for g in find_groups(model, SHAPE).groups]
    model.requires_grad_(False)
    assert [g.name for g in find_groups(model, SHAPE).groups] == expected
    assert [g.name for g in find_groups(nn.DataParallel(model), SHAPE).groups] == expected


def test_one_dimensional_networks() -> None:
    model = nn.Sequential(
        nn.Conv1d(2, 16, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 24, 3), nn.Flatten(), nn.Linear(24 * 6, 3)
    )
    grouping = find_groups(model, (2, 2, 10))
    assert [g.name for g in grouping.groups] == ["0", "3"]
    assert_exact(model, grouping, (2, 2, 10))


# Proof ---------------------------------------------------------------------------------------------------------------


def test_a_group_that_misses_a_tensor_is_disproved() -> None:
    """Whichever tensor of whichever group is left out, the proof fails for that group and for no other."""
    model, grouping, shape = nets.zoo("resnet20")
    groups = list(grouping.groups)
    assert coupling_proof.unproven(model, groups, [shape]) == []
    chosen = random.Random(1)
    for place in range(0, len(groups), 3):
        group = groups[place]
        missed = chosen.randrange(len(group.slots))
        broken = dataclasses.replace(group, slots=group.slots[:missed] + group.slots[missed + 1 :])
        mixed = [*groups[:place], broken, *groups[place + 1 :]]
        assert coupling_proof.unproven(model, mixed, [shape]) == [group.name], group.slots[missed].tensor


def test_the_model_stays_as_it_was() -> None:
    model = model_zoo.load_model("resnet20").train()
    model.bn1.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    find_groups(model, (1, 3, 32, 32), streams=True)
    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads
    assert model.training
    assert not model.bn1.weight.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert attributes == {name: set(vars(module)) for name, module in model.named_modules()}


def test_two_runs_give_the_same() -> None:
    model = nets.dense()
    assert find_groups(model, SHAPE) == find_groups(model, SHAPE)


# Widths and choices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "widths"),
    [
        ({}, (8, 16, 24, 32, 40, 44)),
        ({"round_to": 1, "floor": 41}, (41, 42, 43, 44)),
        ({"round_to": 16}, (16, 32, 44)),
        ({"floor": 20}, (24, 32, 40, 44)),
        ({"floor_ratio": 0.5}, (24, 32, 40, 44)),
        ({"floor_ratio": 0, "round_to": 11}, (11, 22, 33, 44)),
    ],
)
def test_widths_are_multiples_from_the_floor_on_or_full(options: dict[str, Any], widths: tuple[int, ...]) -> None:
    grouping = find_groups(nets.chain(width=44), SHAPE, **options)
    assert grouping["first"].widths == widths


def test_units_and_rounding_go_together() -> None:
    """Four groups and multiples of 6: only multiples of 12 are both."""
    grouping = find_groups(nets.chain(nn.GroupNorm(4, 40), width=40), SHAPE, round_to=6)
    assert grouping["first"].widths == (12, 24, 36, 40)


def test_what_the_user_excludes_keeps_its_outputs() -> None:
    model = nets.flattened()
    grouping = find_groups(model, SHAPE, exclude=["b"])
    assert [g.name for g in grouping.groups] == ["a", "hidden"]
    assert grouping.left_out["b"] == "excluded: b"
    blocks = find_groups(model_zoo.load_model("resnet20"), (1, 3, 32, 32), exclude=["layer1", "layer3.2.bn1"])
    assert [g.name for g in blocks.groups] == [f"layer{s}.{b}.conv1" for s, b in ((2, 0), (2, 1), (2, 2), (3, 0), (3, 1))]
    assert blocks.left_out["layer3.2.conv1"] == "excluded: layer3.2.bn1"
    assert find_groups(nets.twice(), SHAPE, exclude=["again"]).left_out["stem"] == "excluded: again"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exclude": ["hiden"]}, r"unknown module of Calls 'hiden'. Did you mean 'hidden'\? Known: a, b, fc, hidden"),
        ({"exclude": [""]}, "unknown module of Calls ''"),
        ({"round_to": 0}, "round_to is 0; it must be a whole number of channels, at least 1"),
        ({"round_to": 2.5}, "round_to is 2.5"),
        ({"floor": -1}, "floor is -1"),
        ({"floor": True}, "floor is True"),
        ({"floor_ratio": 1.5}, "floor_ratio is 1.5; it must be a share"),
    ],
)
def test_choices_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_groups(nets.flattened(), SHAPE, **options)


# Plans ---------------------------------------------------------------------------------------------------------------


def test_plans_are_checked() -> None:
    grouping = find_groups(nets.flattened(), SHAPE)
    assert grouping.widths_of({}) == (16, 24, 32)
    assert grouping.network_for({}) == grouping.network
    with pytest.raises(InputError, match=r"unknown group of Calls 'hiden'. Did you mean 'hidden'\? Known: a, b, hidden"):
        grouping.network_for({"hiden": 8})
    with pytest.raises(InputError, match="the plan keeps 10 channels of 'b'; allowed: 8, 16, 24"):
        grouping.network_for({"b": 10})
    with pytest.raises(InputError, match="unknown group of Calls 'c'"):
        grouping.affected("c")


def test_rows_one_by_one_and_what_they_depend_on() -> None:
    grouping = find_groups(nets.flattened(), SHAPE)
    assert grouping.dependence == ((0,), (0, 1), (1, 2), (2,))
    assert grouping.layer_for(2, (8, 16, 24)) == Layer("hidden", type="linear", N=2, C=16 * 16, M=24)
    assert grouping.layer_for(2, (16, 16, 24)) is grouping.layer_for(2, (8, 16, 24))
    assert [grouping.layer_for(row, (8, 16, 24)) for row in range(4)] == list(
        grouping.network_for({"a": 8, "b": 16, "hidden": 24})
    )


def test_a_grouping_is_plain_data() -> None:
    grouping = find_groups(nets.dense(), SHAPE)
    grouping.network_for({"stem": 8})
    text = json.dumps(dataclasses.asdict(grouping))
    assert json.loads(text)["groups"][0]["widths"] == [8, 16]


# Models that cannot be grouped ---------------------------------------------------------------------------------------


def test_a_model_that_cannot_be_imported_names_the_operator() -> None:
    with pytest.raises(ImportFailed, match=r"module '0' \(Conv3d\) executes aten::convolution, which hwflow cannot express"):
        find_groups(nn.Sequential(nn.Conv3d(1, 8, 3)), (1, 1, 4, 4, 4))


def test_a_model_that_torch_pruning_cannot_follow_names_the_module() -> None:
    class Labelled(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> Any:
            return {"value": super().forward(x)}

    model = nets.Calls(lambda self, x: self.b(self.a(x)["value"]), a=Labelled(3, 16, 1), b=nets.conv(16, 8))
    with pytest.raises(ImportFailed, match=r"torch-pruning .* cannot follow Calls \(the module that ran last is 'a'\)"):
        find_groups(model, SHAPE)


def test_nothing_to_prune_is_said_not_raised() -> None:
    grouping = find_groups(nn.Sequential(nets.conv(3, 16)), SHAPE)
    assert grouping.groups == ()
    assert grouping.left_out == {"0": "they are the model's outputs"}
    assert grouping.network_for({}) == grouping.network

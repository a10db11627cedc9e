"""Smaller copies: which channels stay, that the rest is untouched, and that what is computed is what is left of the whole."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
import torch_pruning
from torch import nn

from hwflow.compression.channels.coupled_channels import couplings
from hwflow.compression.channels.discovery import find_groups, rebuild
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.errors import InputError
from hwflow.network import model_zoo
from tests.compression import nets

SHAPE = (2, 3, 8, 8)


def settled(model: nn.Module) -> nn.Module:
    """In evaluation mode, with normalisations that do something."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + (0.5 if "var" in name else 0))
    return model.eval()


def some_plan(grouping: Grouping, seed: int = 0) -> dict[str, int]:
    chosen = random.Random(seed)
    return {group.name: chosen.choice(group.widths) for group in grouping.groups}


def silenced(model: nn.Module, grouping: Grouping, plan: dict[str, int]) -> nn.Module:
    """The whole model with every weight at zero that the plan removes: what is pruned must compute the same."""
    whole = prune_model(model, grouping, {})
    tensors = {**dict(whole.named_parameters()), **dict(whole.named_buffers())}
    ranking = rank_channels(model, grouping)
    with torch.no_grad():
        for group in grouping.groups:
            each = plan[group.name] // group.unit
            for slot in group.slots:
                if "running_var" not in slot.tensor:
                    positions = torch.tensor(slot.positions).view(group.units, -1)[list(ranking[group.name][each:])]
                    tensors[slot.tensor].index_fill_(slot.axis, positions.reshape(-1), 0.0)
    return whole


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2", pytest.param("deeplabv3_resnet50", marks=pytest.mark.slow)])
def test_a_pruned_network_of_the_zoo_computes_what_is_left_of_the_whole(name: str) -> None:
    model, grouping, shape = nets.zoo(name)
    model = settled(prune_model(model, grouping, {}))
    plan = some_plan(grouping)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pruned, expected = prune_model(model, grouping, plan)(x), silenced(model, grouping, plan)(x)
        assert torch.allclose(pruned, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
        assert not torch.allclose(pruned, model(x), rtol=1e-3)


@pytest.mark.parametrize(
    "build",
    [
        nets.residual,
        nets.concatenated,
        nets.dense,
        nets.flattened,
        nets.decoder,
        nets.twice,
        lambda: nets.chain(nets.conv(16, 32, groups=4), nn.BatchNorm2d(32), nn.PReLU(32), nets.conv(32, 16)),
        lambda: nets.chain(nn.ConvTranspose2d(16, 16, 3, padding=1, groups=2)),
    ],
    ids=["residual", "concatenated", "dense", "flattened", "decoder", "twice", "grouped", "transposed"],
)
def test_a_pruned_model_computes_what_is_left_of_the_whole(build: Any) -> None:
    model = settled(build())
    grouping = find_groups(model, SHAPE, streams=True, round_to=4)
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    for seed in range(3):
        plan = some_plan(grouping, seed)
        with torch.no_grad():
            pruned, expected = prune_model(model, grouping, plan)(x), silenced(model, grouping, plan)(x)
            assert torch.allclose(pruned, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_torch_prunings_own_surgery_gives_the_same_tensors(name: str) -> None:
    model, grouping, shape = nets.zoo(name)
    ranking, plan = rank_channels(model, grouping), some_plan(grouping)
    theirs = prune_model(model, grouping, {})
    graph = torch_pruning.DependencyGraph().build_dependency(theirs, torch.zeros(shape))
    for group in grouping.groups:
        removed = sorted(ranking[group.name][plan[group.name] :])
        root = theirs.get_submodule(group.name)
        if removed:
            graph.get_pruning_group(root, torch_pruning.prune_conv_out_channels, removed).prune()
    ours = prune_model(model, grouping, plan, ranking=ranking)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    assert str(ours) == str(theirs.eval().train(ours.training))


# Importance ----------------------------------------------------------------------------------------------------------


def small_chain() -> tuple[nn.Module, Grouping]:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -3.0, 2.0]).view(3, 1, 1, 1))
        model[0].bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
        model[1].weight.copy_(torch.tensor([1.0, 1.0, 1.0]))
        model[2].weight.copy_(torch.tensor([[2.0, 0.0, 3.0], [2.0, -1.0, 0.0]]).view(2, 3, 1, 1))
    return model, find_groups(model, (1, 1, 4, 4), round_to=1)


def test_importance_by_hand() -> None:
    """l1: 1 + 1 + 4 = 6, 3 + 1 + 1 = 5, 2 + 1 + 3 = 6, a tie keeps its order; l2: 10, 11, 14. Biases do not count."""
    model, grouping = small_chain()
    assert rank_channels(model, grouping) == {"0": (0, 2, 1)}
    assert rank_channels(model, grouping, "l2") == {"0": (2, 1, 0)}
    pruned = prune_model(model, grouping, {"0": 2})
    assert pruned[0].weight.flatten().tolist() == [1.0, 2.0]
    assert pruned[2].weight[:, :, 0, 0].tolist() == [[2.0, 3.0], [2.0, 0.0]]
    assert prune_model(model, grouping, {"0": 1}, ranking={"0": (1, 0, 2)})[0].weight.item() == -3.0


def test_the_order_is_torch_prunings() -> None:
    model, grouping, shape = nets.zoo("resnet18")
    graph = torch_pruning.DependencyGraph().build_dependency(prune_model(model, grouping, {}), torch.zeros(shape))
    for norm, power in (("l1", 1), ("l2", 2)):
        ranking = rank_channels(model, grouping, norm)
        score = torch_pruning.importance.MagnitudeImportance(p=power, normalizer=None)
        for group in grouping.groups:
            root = graph.model.get_submodule(group.name)
            whole = graph.get_pruning_group(root, torch_pruning.prune_conv_out_channels, list(range(group.channels)))
            scores = score(whole)[list(ranking[group.name])]
            assert bool((scores[:-1] >= scores[1:] * (1 - 1e-5)).all()), group.name


def test_larger_widths_keep_what_smaller_ones_keep() -> None:
    model = nets.chain(width=32)
    grouping = find_groups(model, SHAPE)
    kept = []
    for width in grouping["first"].widths:
        rows = prune_model(model, grouping, {"first": width}).first.weight.flatten(1)
        kept.append({tuple(row.tolist()) for row in rows})
    assert [len(rows) for rows in kept] == [8, 16, 24, 32]
    assert all(a < b for a, b in itertools.pairwise(kept))


# The copy ------------------------------------------------------------------------------------------------------------


def test_the_whole_model_is_untouched_and_nothing_is_shared() -> None:
    model = model_zoo.load_model("resnet20").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    text = str(model)
    grouping = find_groups(model, (1, 3, 32, 32))
    pruned = prune_model(model, grouping, some_plan(grouping))
    with torch.no_grad():
        for tensor in (*pruned.parameters(), *pruned.buffers()):
            tensor.zero_()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert str(model) == text != str(pruned)


def test_modes_and_frozen_parameters_are_kept() -> None:
    model = nets.residual()
    model.train()
    model.norm.eval()
    model.a.weight.requires_grad_(False)
    model(torch.randn(SHAPE)).sum().backward()
    grouping = find_groups(model, SHAPE)
    pruned = prune_model(model, grouping, {"a": 8})
    assert (pruned.training, pruned.norm.training) == (True, False)
    assert [p.requires_grad for p in pruned.parameters()] == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in pruned.parameters())
    assert pruned.a.weight.shape == (8, 16, 3, 3)


def test_a_module_that_runs_twice_is_cut_once_and_tied_weights_stay_tied() -> None:
    model = nets.twice()
    grouping = find_groups(model, SHAPE)
    assert prune_model(model, grouping, {"stem": 8}).again.weight.shape == (8, 8, 3, 3)
    model = nets.tied()
    pruned = prune_model(model, find_groups(model, SHAPE), {"c": 8})
    assert pruned.a.weight is pruned.b.weight


def test_a_pruned_model_learns() -> None:
    model, grouping, shape = nets.zoo("mobilenet_v2")
    pruned = prune_model(model, grouping, some_plan(grouping)).train()
    step = torch.optim.SGD(pruned.parameters(), 0.1)
    before = pruned.features[0][0].weight.detach().clone()
    nn.functional.cross_entropy(pruned(torch.randn(2, *shape[1:])), torch.tensor([0, 1])).backward()
    step.step()
    assert not torch.equal(before, pruned.features[0][0].weight)


@pytest.mark.parametrize(
    "build", [lambda: model_zoo.load_model("resnet20"), nets.decoder, lambda: nets.chain(nn.GroupNorm(4, 16))]
)
def test_rebuilt_from_the_whole_architecture_and_the_plan(build: Any) -> None:
    shape = (1, 3, 32, 32)
    model = settled(build())
    grouping = find_groups(model, shape, streams=True)
    plan = some_plan(grouping, 2)
    pruned = prune_model(model, grouping, plan)
    rebuilt = rebuild(build(), shape, plan).eval()
    rebuilt.load_state_dict(pruned.state_dict(), strict=True)
    x = torch.randn(shape)
    with torch.no_grad():
        assert torch.equal(rebuilt(x), pruned(x))
    assert str(rebuilt) == str(pruned)


# Wrong use -----------------------------------------------------------------------------------------------------------


def test_wrong_use_is_named() -> None:
    model = nets.flattened()
    grouping = find_groups(model, SHAPE)
    with pytest.raises(InputError, match="the plan keeps 9 channels of 'a'; allowed: 8, 16"):
        prune_model(model, grouping, {"a": 9})
    with pytest.raises(InputError, match="unknown group of Calls 'z'"):
        prune_model(model, grouping, {"z": 8})
    with pytest.raises(InputError, match="the ranking of 'a' is no order of its 16 units"):
        prune_model(model, grouping, {"a": 8}, ranking={"a": range(8)})
    with pytest.raises(InputError, match=r"not the model that was grouped: its 'a.weight' does not exist"):
        prune_model(nets.gated().b, grouping, {"a": 8}, ranking=rank_channels(model, grouping))
    other = nets.flattened()
    other.hidden = nn.Linear(384, 48)
    with pytest.raises(InputError, match=r"its 'hidden.weight' is \(48, 384\); expected were 32 elements along axis 0"):
        rank_channels(other, grouping)
    with pytest.raises(InputError, match="unknown group of Calls 'z'"):
        rebuild(model, SHAPE, {"z": 8})
    with pytest.raises(InputError, match="the plan keeps 17 channels of 'a'; this Calls has 16 there"):
        rebuild(model, SHAPE, {"a": 17})


def test_couplings_without_torch_pruning_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_pruning", None)
    with pytest.raises(ImportError, match=r'pip install "hwflow\[prune\]"'):
        couplings(nets.chain(), [torch.zeros(SHAPE)], ["first"])

"""Maps of one channel, learnt scalars, shuffles: what they do not couple is offered, what is wrong with a group stays there."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from hwflow.compression.channels import dependencies
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.surgery import prune_model
from hwflow.compression.plan_costs import PlanCosts
from hwflow.errors import ImportFailed
from hwflow.network import Network
from hwflow.network.replica import replica
from tests.compression import nets
from tests.compression.channels import gates
from tests.compression.channels.test_groups import assert_exact
from tests.compression.toys import plain

SHAPE = (2, 3, 8, 8)
ONE = "it makes a single channel, which cannot go"
ORDER = "the model's result depends on their order"

CASES: dict[str, tuple[Callable[[], nn.Module], set[str], dict[str, str]]] = {
    # name: (model, groups, what is left out besides the outputs)
    "one map opens many channels": (gates.spatial_gate, {"a", "b"}, {"gate": ONE}),
    "one map opens two branches": (gates.one_gate_for_two, {"a", "b", "c", "d"}, {"gate": ONE}),
    "CBAM": (gates.cbam, {"a", "down", "b"}, {"spatial": ONE}),
    "ECA": (gates.eca, {"b", "c"}, {"a": "which has 1 channel only: an operator on the way mixes channels", "over": ONE}),
    "attention U-Net": (gates.attention_unet, {"enc", "mid", "up", "wg", "dec"}, {"psi": ONE}),
    "fusion weights": (gates.fused, {"a", "c", "d"}, {}),
    "plain fusion weights": (lambda: gates.fused(normalised=False), {"a", "c", "d"}, {}),
    "a learnt scalar": (gates.fused_by_scalars, {"stem", "a"}, {}),
    "expand_as": (gates.expanded, {"a", "down", "b", "c"}, {"map": ONE}),
    "ShuffleNet": (
        gates.shufflenet,
        {"stem", "first1", "first2", "tail"},
        {"short": "takes only some of them, or some twice", "last2": ORDER},
    ),
    "a head on three maps": (gates.retina, {"stem", "tower"}, {}),
    "maximum over channels": (gates.summed_over_channels, {"a", "b"}, {}),
    "global context": (gates.context, {"a", "b"}, {"key": ONE, "down": "of its 8 channels none can go"}),
    "a mask among the inputs": (gates.depth_gate, {"a", "b"}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_one_channel_and_many(case: str) -> None:
    build, groups, left_out = CASES[case]
    model = build()
    grouping = find_groups(model, SHAPE, streams=True)
    assert {group.name for group in grouping.groups} == groups
    others = {k: v for k, v in grouping.left_out.items() if v != "they are the model's outputs"}
    assert set(others) == set(left_out)
    for name, reason in left_out.items():
        assert reason in others[name]
    if case != "a head on three maps":  # whose output is a list
        assert_exact(model, grouping, SHAPE, count=1)


def test_a_tied_embedding_leaves_the_other_groups() -> None:
    ids = torch.zeros(2, 5, dtype=torch.int64)
    grouping = find_groups(gates.language_model(), ids, streams=True)
    assert [group.name for group in grouping.groups] == ["up"]
    assert "does not cut Embedding" in grouping.left_out["down"]


def test_an_operator_that_torch_pruning_fails_on_costs_its_groups_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ShuffleNet's shuffle does with a division by zero: what the concatenation joins is left out, the rest is offered."""
    from torch_pruning.dependency import index_mapping

    def fails(graph: Any, node: Any) -> None:
        raise ZeroDivisionError("integer division or modulo by zero")

    monkeypatch.setattr(index_mapping, "update_concat_index_mapping", fails)
    grouping = find_groups(nets.concatenated(), SHAPE)
    assert [group.name for group in grouping.groups] == ["join"]
    expected = "they pass an operator that torch-pruning fails on (ZeroDivisionError: integer division or modulo by zero)"
    assert {grouping.left_out["left"], grouping.left_out["right"]} == {expected}


def test_a_group_that_reaches_beyond_a_tensor_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the shapes' correction torch-pruning couples 16 channels with a map of one; the check of positions says so."""
    monkeypatch.setattr(dependencies, "_changes_channels", lambda *_: False)
    grouping = find_groups(gates.spatial_gate(), SHAPE)
    assert [group.name for group in grouping.groups] == ["b"]
    assert grouping.left_out["a"].startswith("torch-pruning couples them with 'gate', which has 1 channel only")


class _Choosy(nn.Module):
    """Runs on zeros only."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nets.conv(3, 16), nets.conv(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "meta" and x.abs().sum() > 0:
            raise ValueError("these are no zeros")
        return self.b(self.a(x))


def test_a_model_that_does_not_run_on_random_inputs_loses_its_groups_not_the_run() -> None:
    grouping = find_groups(_Choosy(), SHAPE)
    assert grouping.groups == ()
    assert (
        "does not run on random weights, on which groups are proven: ValueError: these are no zeros" in grouping.left_out["a"]
    )


# Parameters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [gates.retina, nets.twice])
def test_a_budget_of_parameters_counts_a_tensor_once_at_every_width(build: Callable[[], nn.Module]) -> None:
    model = build()
    grouping = find_groups(model, SHAPE, streams=True)
    costs = PlanCosts(grouping, plain)
    for widths in ([g.channels for g in grouping.groups], [g.widths[0] for g in grouping.groups]):
        plan = costs.plan(tuple(widths))
        network, pruned = grouping.network_for(plan), prune_model(model, grouping, plan)
        assert network.params_total == sum(p.numel() for p in pruned.parameters())
        assert costs.metric(costs.totals(tuple(widths)), "params") == network.params
        assert network.params_by_kind == Network.from_torch(pruned, SHAPE).params_by_kind


def test_parameters_that_no_row_reads_follow_the_width() -> None:
    """A gain that only scales weights goes with the channels whose weights it scales."""

    class Gained(nn.Conv2d):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.gain = nn.Parameter(torch.ones(sizes[1], 1, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv2d(x, self.weight * self.gain, self.bias)

    model = nets.chain(Gained(16, 16, 1))
    grouping = find_groups(model, SHAPE, streams=True)
    assert grouping.network.params_by_kind["other"] == 16
    assert grouping.network.params_total == sum(p.numel() for p in model.parameters())
    for group in grouping.groups:
        plan = {group.name: group.widths[0]}
        pruned = prune_model(model, grouping, plan)
        assert grouping.network_for(plan).params_total == sum(p.numel() for p in pruned.parameters())


class _Standardised(nn.Conv2d):
    """Weight standardisation with a gain for each channel (Brock et al. 2021, arXiv:2101.08692)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = self.weight.flatten(1)
        scale = self.gain.flatten() * flat.shape[1] ** -0.5
        weight = nn.functional.batch_norm(flat.unsqueeze(0), None, None, scale, training=True).view_as(self.weight)
        return nn.functional.conv2d(x, weight, self.bias, padding=1)


def test_gains_of_a_convolutions_own_go_with_its_channels() -> None:
    model = nets.chain(_Standardised(16, 32), nn.ReLU(), _Standardised(32, 16))
    grouping = find_groups(model, SHAPE)
    assert {group.name for group in grouping.groups} == {"first", "middle0", "middle2", "second"}
    pruned = prune_model(model, grouping, {"middle0": 8}, ranking={g.name: range(g.units) for g in grouping.groups})
    assert torch.equal(pruned.middle0.gain, model.middle0.gain[:8])
    assert pruned.middle2.gain.shape == (16, 1, 1, 1)
    assert pruned(torch.rand(SHAPE)).shape == (2, 5)
    assert grouping.network_for({"middle0": 8}).params_total == sum(p.numel() for p in pruned.parameters())


def test_groups_that_fail_together_cost_the_fewest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each survives alone, but not the pair of `left` and `right`: one of the two goes, the others stay."""
    from hwflow.compression.channels import coupling_proof

    def survives(self: Any, groups: Any) -> bool:
        return not {"left", "right"} <= {group.name for group in groups}

    monkeypatch.setattr(coupling_proof._Probe, "survives", survives)
    grouping = find_groups(nets.concatenated(), SHAPE)
    assert {group.name for group in grouping.groups} == {"left", "join"}
    assert ORDER in grouping.left_out["right"]


# Copies --------------------------------------------------------------------------------------------------------------


class _Kept(nn.Module):
    """Keeps a feature map, alone and in containers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c, self.o = nets.conv(3, 16), nets.conv(16, 16, 1), nets.conv(16, 2, 1)
        self.kept: Any = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.a(x))
        self.kept = {"last": x, "all": [x, (x.sum(), None)]}
        return self.o(torch.relu(self.c(x)))


def _trained(how: Callable[[nn.Module], Any] | None) -> nn.Module:
    model = _Kept()
    if how is not None:
        how(model.a)
    model(torch.rand(SHAPE)).sum().backward()
    return model.eval()


HOLDERS: dict[str, tuple[Callable[[nn.Module], Any] | None, list[str]]] = {
    "feature maps": (None, ["a", "c"]),
    "old weight_norm": (nn.utils.weight_norm, ["c"]),
    "old spectral_norm": (nn.utils.spectral_norm, ["c"]),
    "mask by magnitude": (lambda m: torch.nn.utils.prune.l1_unstructured(m, "weight", 0.5), ["c"]),
    "structured mask": (lambda m: torch.nn.utils.prune.ln_structured(m, "weight", 0.5, 2, 0), ["c"]),
    "mask of the bias": (lambda m: torch.nn.utils.prune.random_unstructured(m, "bias", 0.5), ["c"]),
    "weight_norm": (nn.utils.parametrizations.weight_norm, ["c"]),
    "orthogonal": (nn.utils.parametrizations.orthogonal, ["c"]),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", HOLDERS)
def test_models_that_hold_other_tensors_are_copied(case: str) -> None:
    how, groups = HOLDERS[case]
    model = _trained(how)
    x = torch.rand(SHAPE)
    expected = model(x)
    grouping = find_groups(model, SHAPE, round_to=1)
    assert [group.name for group in grouping.groups] == groups
    if "a" not in groups:
        assert "is computed from other parameters" in grouping.left_out["a"]
    assert torch.equal(prune_model(model, grouping, {}).eval()(x), expected)
    smaller = prune_model(model, grouping, {"c": 4})
    assert smaller.eval()(x).shape == expected.shape
    assert torch.equal(model(x), expected)
    again = replica(model)
    assert torch.equal(again(x), expected)
    assert not {id(p) for p in again.parameters()} & {id(p) for p in model.parameters()}


def test_what_cannot_be_copied_is_named() -> None:
    model = _Kept()
    model.c.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(TypeError):
        copy.deepcopy(model)
    with pytest.raises(ImportFailed, match=r"_Kept cannot be copied.*attribute 'c.lock', of type lock\): TypeError: cannot"):
        find_groups(model, SHAPE)

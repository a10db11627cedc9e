"""Whole heads of attentions as groups: found, proven, pruned and costed; what only looks like one is left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hwflow.compression.channels.attention_heads import head_groups
from hwflow.compression.channels.criteria import scores
from hwflow.compression.channels.discovery import find_groups, rebuild
from hwflow.compression.channels.surgery import prune_model
from hwflow.network import Network
from tests.compression import nets

SHAPE = (2, 3, 8, 8)

ATTENTIONS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "one projection": (lambda: nets.Attention(16, 4, 6), "attention.qkv"),
    "three projections": (lambda: nets.SeparateAttention(16, 4, 6), "attention.to_q"),
}


@pytest.mark.parametrize("case", ATTENTIONS)
def test_heads_go_as_a_whole(case: str) -> None:
    """What is left computes what the whole does with the removed heads' part of the output projection at zero."""
    build, name = ATTENTIONS[case]
    torch.manual_seed(0)
    model = nets.tokens(build()).eval()
    grouping = find_groups(model, SHAPE, round_to=1)
    assert [group.name for group in grouping.groups] == [name, "up"]
    group = grouping[name]
    assert (group.channels, group.unit, group.widths) == (24, 6, (12, 18, 24))
    order = (2, 0, 3, 1)
    pruned = prune_model(model, grouping, {name: 12}, ranking={name: order, "up": range(32)})
    silenced = prune_model(model, grouping, {})
    reader = silenced.get_submodule(group.consumers[0])
    with torch.no_grad():
        for head in order[2:]:
            reader.weight[:, 6 * head : 6 * head + 6] = 0
        x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(pruned(x), silenced(x), atol=1e-6)
        assert not torch.allclose(pruned(x), model(x), atol=1e-3)
    network = Network.from_torch(pruned, SHAPE)
    assert [(row.name, row.macs) for row in network] == [(r.name, r.macs) for r in grouping.network_for({name: 12})]
    again = rebuild(nets.tokens(build()), SHAPE, {name: 12})
    again.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(x), pruned(x))


def test_what_a_head_weighs() -> None:
    """Its queries, keys and values, and its columns of the output projection; neither biases nor temperatures."""
    model = nets.tokens(nets.Attention(16, 4, 6))
    grouping = find_groups(model, SHAPE, round_to=1)
    attention = model.get_submodule("attention")
    made = attention.qkv.weight.detach().view(3, 4, 6, 16).abs().double().sum((0, 2, 3))
    read = attention.proj.weight.detach().view(16, 4, 6).abs().double().sum((0, 2))
    assert scores(model, grouping)["attention.qkv"] == pytest.approx((made + read).tolist())


class _HeadsLast(nets.Attention):
    """Its projection has the parts of a head side by side, so that what looks like a head is none."""

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, self.head_dim, 3, self.num_heads).permute(3, 0, 4, 1, 2).unbind(0)
        x = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(x.transpose(1, 2).reshape(n, tokens, self.attn_dim))


def test_heads_of_another_order_are_not_offered() -> None:
    grouping = find_groups(nets.tokens(_HeadsLast(16, 4, 6)), SHAPE, round_to=1)
    assert [group.name for group in grouping.groups] == ["up"]
    assert "the model's result depends on their order" in grouping.left_out["attention.qkv"]


def test_two_heads_stay() -> None:
    grouping = find_groups(nets.tokens(nets.Attention(16, 2, 6)), SHAPE, round_to=1)
    assert [group.name for group in grouping.groups] == ["up"]
    assert "of its 12 channels none can go" in grouping.left_out["attention.qkv"]


def test_what_is_no_attention_has_no_heads() -> None:
    """A module that states heads, whose layers' sizes do not fit to them."""
    order = ["attention.qkv", "attention.proj", "up", "down"]
    model = nets.tokens(nets.Attention(16, 4, 6))
    assert len(head_groups(model, order)) == 1
    model.get_submodule("attention").num_heads = 5
    assert head_groups(model, order) == []
    model.get_submodule("attention").num_heads = 4
    model.get_submodule("attention").qkv = nn.Linear(16, 48)
    assert head_groups(model, order) == []

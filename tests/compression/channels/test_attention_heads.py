"""Whole heads of attentions as groups: found, proven, pruned and costed; what only looks like one is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwflow.compression.channels.attention_heads import head_groups
from hwflow.compression.channels.criteria import scores
from hwflow.compression.channels.discovery import find_groups, rebuild
from hwflow.compression.channels.narrow_attention import NarrowAttention, narrowed
from hwflow.compression.channels.surgery import prune_model
from hwflow.network import Network
from tests.compression import nets

SHAPE = (2, 3, 8, 8)

ATTENTIONS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "one projection": (lambda: nets.Attention(16, 4, 6), "attention.qkv"),
    "PyTorch's": (lambda: nets.SelfAttention(16, 4), "attention.heads"),
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
    each = 4 if case == "PyTorch's" else 6
    assert (group.channels, group.unit, group.widths) == (4 * each, each, (2 * each, 3 * each, 4 * each))
    order = (2, 0, 3, 1)
    plan = {name: 2 * each}
    pruned = prune_model(model, grouping, plan, ranking={name: order, "up": range(32)})
    silenced = prune_model(model, grouping, {})
    reader = silenced.get_submodule(group.consumers[0])
    with torch.no_grad():
        for head in order[2:]:
            reader.weight[:, each * head : each * head + each] = 0
        x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(pruned(x), silenced(x), atol=1e-6)
        assert not torch.allclose(pruned(x), model(x), atol=1e-3)
    network = Network.from_torch(pruned, SHAPE)
    assert [(row.name, row.macs) for row in network] == [(r.name, r.macs) for r in grouping.network_for(plan)]
    again = rebuild(nets.tokens(build()), SHAPE, plan)
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


def multihead(**options: Any) -> nn.MultiheadAttention:
    """With a bias that does something."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 4, **options)
    if attention.in_proj_bias is not None:
        nn.init.uniform_(attention.in_proj_bias)
    return attention


CALLS: dict[str, Callable[[Tensor], dict[str, Any]]] = {
    "weights": lambda x: {},
    "weights of each head": lambda x: {"average_attn_weights": False},
    "no weights": lambda x: {"need_weights": False},
    "hidden keys": lambda x: {"key_padding_mask": torch.arange(5).expand(2, 5) > 3},
    "causal": lambda x: {"attn_mask": torch.triu(torch.ones(5, 5), 1).bool(), "need_weights": False, "is_causal": True},
    "both masks": lambda x: {"attn_mask": torch.randn(5, 5), "key_padding_mask": torch.arange(5).expand(2, 5) / 3},
    "other keys": lambda x: {"key": x.flip(1), "value": x + 1},
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_narrow_attention_with_all_heads_is_pytorchs(case: str, batch_first: bool) -> None:
    attention, narrow = (multihead(batch_first=batch_first).eval() for _ in range(2))
    narrowed(narrow)
    assert type(narrow) is NarrowAttention
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    given = CALLS[case](x)
    x, *others = (t if batch_first else t.transpose(0, 1) for t in (x, given.pop("key", x), given.pop("value", x)))
    key, value = others if case == "other keys" else (x, x)
    with torch.no_grad():
        expected, weights = attention(x, key, value, **given)
        found, told = narrow(x, key, value, **given)
    assert torch.allclose(found, expected, atol=1e-6)
    assert (weights is None) == (told is None)
    assert weights is None or torch.allclose(told, weights, atol=1e-6)


def test_a_narrow_attention_takes_one_sequence() -> None:
    attention, narrow = (multihead(bias=False).eval() for _ in range(2))
    narrowed(narrow)
    x = torch.randn(5, 16)
    with torch.no_grad():
        for expected, found in zip(attention(x, x, x), narrow(x, x, x), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)


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

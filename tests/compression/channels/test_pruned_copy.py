"""One copy that is cut again and again is what a fresh copy would be."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.pruned_copy import PrunedCopy
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.errors import InputError
from tests.compression import nets


class Attentive(nn.Module):
    """Multi-head attention over 9 tokens of 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=3)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        return self.fc((tokens + self.attention(tokens, tokens, tokens)[0]).mean(1))


def a_plan(grouping: Grouping, seed: int) -> dict[str, int]:
    chosen = random.Random(seed)
    return {group.name: chosen.choice(group.widths) for group in grouping.groups}


@pytest.mark.parametrize(
    ("model", "shape"),
    [(nets.residual(), (2, 3, 8, 8)), (Attentive(), (2, 3, 9, 9))],
    ids=["residual", "attention"],
)
def test_as_a_fresh_copy_whatever_was_cut_before(model: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = model.eval()
    grouping, x = find_groups(model, shape, streams=True), torch.randn(shape)
    ranking, before = rank_channels(model, grouping), {k: v.clone() for k, v in model.state_dict().items()}
    whole = {group.name: group.channels for group in grouping.groups}
    copy, kinds = PrunedCopy(model, grouping, ranking), set()
    for plan in (a_plan(grouping, 1), whole, a_plan(grouping, 2), a_plan(grouping, 3), whole):
        fresh, again = prune_model(model, grouping, plan, ranking=ranking), copy.cut(plan)
        assert str(again) == str(fresh)
        assert [type(m) for m in again.modules()] == [type(m) for m in fresh.modules()]
        for (name, wanted), found in zip(fresh.state_dict().items(), again.state_dict().values(), strict=True):
            assert torch.equal(wanted, found), name
        with torch.no_grad():
            assert torch.equal(again(x), fresh(x))
            for tensor in again.state_dict().values():  # as training or new statistics would
                tensor.zero_()
        kinds.add(str(again))
    assert len(kinds) > 1
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items()), "the network itself was changed"


def test_a_model_that_was_not_grouped_is_refused() -> None:
    model = nets.residual()
    grouping = find_groups(model, (2, 3, 8, 8))
    with pytest.raises(InputError, match=r"is not the model that was grouped: its '.*' .* Call find_groups on it"):
        PrunedCopy(nets.chain(width=8), grouping, rank_channels(model, grouping))
    with pytest.raises(InputError, match="is no order of its"):
        PrunedCopy(model, grouping, {})

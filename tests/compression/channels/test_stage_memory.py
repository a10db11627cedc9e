"""What is remembered from plan to plan is, to the bit, what would be computed; where it is not, nothing is remembered."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwflow.compression.channels import stage_memory
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.pruned_copy import PrunedCopy
from hwflow.compression.channels.stage_memory import StageMemory, proven
from hwflow.compression.channels.surgery import rank_channels
from hwflow.training.score import normalised_by_batch
from tests.compression.nets import Calls, conv

SHAPE = (4, 3, 8, 8)


def block(inputs: int, middle: int, outputs: int, *, first: nn.Module | None = None) -> nn.Sequential:
    inner = [conv(inputs, middle), nn.BatchNorm2d(middle), nn.ReLU(inplace=True), conv(middle, outputs)]
    return nn.Sequential(*([first] if first else []), *inner, nn.ReLU(inplace=True))


def stages(between: Any = None, **options: Any) -> nn.Module:
    """A stem, two blocks that end in 8 and 12 channels, and a classifier; `between` acts on the first one's output."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.one(self.stem(x))
        x = between(self, x) if between else x
        return self.fc(self.two(x).mean((2, 3)))

    torch.manual_seed(0)
    return Calls(run, stem=conv(3, 8), one=block(8, 16, 8), two=block(8, 16, 12, **options), fc=nn.Linear(12, 5)).eval()


def changed_in_place(self: Any, x: Tensor) -> Tensor:
    x += 0.5
    return x


def read_after(self: Any, x: Tensor) -> Tensor:
    """The block changes its input, which is read again."""
    return x + self.two(x)[:, :8]


MODELS = {
    "plain": stages,
    "output changed in place": lambda: stages(changed_in_place),
    "input changed in place": lambda: stages(read_after, first=nn.ReLU(inplace=True)),
}


def parts(model: nn.Module) -> tuple[Any, PrunedCopy, Tensor]:
    grouping = find_groups(model, SHAPE, streams=True, round_to=4)
    generator = torch.Generator().manual_seed(1)
    return grouping, PrunedCopy(model, grouping, rank_channels(model, grouping)), torch.randn(SHAPE, generator=generator)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("most", [2**20, 20_000])
def test_as_computed_for_every_plan(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where little room is left: an output of a block has 8,192 bytes."""
    monkeypatch.setattr(stage_memory, "MOST_BYTES", most)
    grouping, copy, images = parts(MODELS[name]())
    memory = proven(copy, grouping, images)
    assert (memory is None) == ("in place" in name), "what is always changed is of no use"
    memory = memory or StageMemory(copy.cut({}), grouping, most_bytes=most)
    chosen, forwards = random.Random(0), {n: "forward" in vars(m) for n, m in copy.cut({}).named_modules()}
    for _ in range(12):
        plan = {group.name: chosen.choice(group.widths) for group in grouping.groups}
        model = copy.cut(plan)
        with normalised_by_batch(model), torch.inference_mode():
            with memory.remembering(grouping.widths_of(plan), "some"):
                told = [model(images), model(2 * images)]
            assert all(map(torch.equal, told, [model(images), model(2 * images)]))
    assert 0 < memory._bytes <= most
    if most > 20_000:
        assert (memory.hits > 0) == (name == "plain")
    assert {n: "forward" in vars(m) for n, m in model.named_modules()} == forwards


def test_what_modules_tell_each_other_is_found_out() -> None:
    """The classifier adds what another branch left for it: no argument says that it depends on that branch's width."""

    def run(self: Any, x: Tensor) -> Tensor:
        self.tail.left = self.side(x).mean((2, 3))
        return self.tail(self.one(x))

    def tail(self: Any, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3))) + self.other(self.left)

    torch.manual_seed(0)
    last = Calls(tail, fc=nn.Linear(8, 5), other=nn.Linear(12, 5))
    model = Calls(run, side=block(3, 16, 12), one=block(3, 16, 8), tail=last).eval()
    grouping, copy, images = parts(model)
    assert len(grouping.groups) == 4
    assert proven(copy, grouping, images) is None


def test_modules_with_hooks_are_always_run() -> None:
    model = stages()
    model.get_submodule("one").register_forward_hook(lambda *_: None)
    grouping, copy, images = parts(model)
    assert proven(copy, grouping, images) is None


def test_a_plan_that_shares_the_first_stage_does_not_compute_it(monkeypatch: pytest.MonkeyPatch) -> None:
    grouping, copy, images = parts(stages())
    memory, ran = StageMemory(copy.cut({}), grouping), []
    inner = copy.cut({}).get_submodule("one.0")
    monkeypatch.setattr(
        type(inner), "forward", lambda self, x: ran.append(self is inner) or self._conv_forward(x, self.weight, self.bias)
    )
    for width in (12, 8):
        model = copy.cut({"two.0": width})
        with torch.inference_mode(), memory.remembering(grouping.widths_of({"two.0": width}), "some"):
            model(images)
    assert (ran.count(True), memory.hits) == (1, 1)

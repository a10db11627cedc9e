"""What every training hook promises: it leaves no trace where it does nothing, and a killed run goes on to the same bits."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwflow.datasets import Data, from_datasets
from hwflow.dynamic.elastic_network import ElasticNetwork, Sandwich
from hwflow.dynamic.elastic_space import ElasticSpace, elastic_space
from hwflow.errors import InputError
from hwflow.training import Distillation, Recipe, TrainingHook, fit
from hwflow.training.hooks import identity_of

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.05, seed=1)


def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 1, 8, 8, generator=generator)
    labels = (images.mean((1, 2, 3)) > 0).long()
    samples = torch.utils.data.TensorDataset(images, labels)
    return from_datasets("halves", samples, samples, classes=2)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


@dataclass
class Masked(TrainingHook):
    """A toy: after every epoch one more of the smallest weights of the first layer is kept at zero."""

    each: int = 3
    changes_sparsity = True

    def start(self, model: nn.Module, steps: int) -> None:
        self.weight: Tensor = next(model.parameters())
        self.kept = torch.ones_like(self.weight)
        self.steps: list[int] = []

    def before_step(self, step: int) -> None:
        assert self.weight.grad is not None
        self.weight.grad.mul_(self.kept)

    def after_step(self, step: int) -> None:
        self.steps.append(step)
        with torch.no_grad():
            self.weight.mul_(self.kept)

    def after_epoch(self, epoch: int) -> None:
        order = self.weight.detach().abs().flatten().argsort()
        self.kept = torch.ones_like(self.weight)
        self.kept.view(-1)[order[: self.each * epoch]] = 0
        self.after_step(-epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept, "steps": list(self.steps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.kept, self.steps = state["kept"], list(state["steps"])


class Idle(TrainingHook):
    """Inherits everything."""


HOOKS: dict[str, Callable[[], TrainingHook]] = {
    "idle": Idle,
    "masked": Masked,
    "distillation": lambda: Distillation(network(5), weight=0.5, temperature=2.0),
    "sandwich": lambda: Sandwich(drawn=1, seed=2),
}
"""Every hook of the package, and toys; a new one belongs here."""


def body(hook: TrainingHook) -> nn.Module:
    """A network that the hook takes part in the training of."""
    return ElasticNetwork(network(), space(), (1, 1, 8, 8)) if isinstance(hook, Sandwich) else network()


@cache
def space() -> ElasticSpace:
    return elastic_space(network(), (1, 1, 8, 8))


class Killed(Exception):
    pass


def trained(hook: TrainingHook, checkpoint: Path | None = None, kill_at: int | None = None) -> dict[str, Tensor]:
    model, source = body(hook), data()

    def progress(done: int, steps: int, where: str) -> None:
        if done == kill_at:
            raise Killed

    fit(model, *source.hold_out(), RECIPE, hooks=[hook], checkpoint=checkpoint, progress=progress)
    return model.state_dict()


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", HOOKS)
def test_a_killed_run_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    whole = trained(HOOKS[name]())
    for kill_at in (2, 6, 11):
        checkpoint = tmp_path / f"{kill_at}.checkpoint"
        with pytest.raises(Killed):
            trained(HOOKS[name](), checkpoint, kill_at)
        assert same(trained(HOOKS[name](), checkpoint), whole)


@pytest.mark.parametrize("name", HOOKS)
def test_its_state_is_tensors_and_plain_data(name: str) -> None:
    hook = HOOKS[name]()
    trained(hook)
    buffer = io.BytesIO()
    torch.save(hook.state_dict(), buffer)
    buffer.seek(0)
    again = HOOKS[name]()
    again.start(body(again), 12)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    assert again.state_dict().keys() == hook.state_dict().keys()


@pytest.mark.parametrize("name", HOOKS)
def test_its_identity_is_that_of_an_equal_one(name: str, tmp_path: Path) -> None:
    assert dict(HOOKS[name]().identity()) == dict(HOOKS[name]().identity())
    trained(HOOKS[name](), tmp_path / "c")
    one = HOOKS[name]()
    with pytest.raises(InputError, match=r"the checkpoint of another training: .* differs"):
        fit(body(one), *data().hold_out(), RECIPE, hooks=[one, HOOKS[name]()], checkpoint=tmp_path / "c")
    with pytest.raises(InputError, match=r"the checkpoint of another training: .* differs"):
        fit(body(one), *data().hold_out(), RECIPE, checkpoint=tmp_path / "c")


def test_a_hook_that_does_nothing_leaves_no_trace() -> None:
    model = network()
    fit(model, *data().hold_out(), RECIPE)
    assert same(trained(Idle()), model.state_dict())


def test_a_hook_sees_every_step_once_and_its_mask_holds() -> None:
    hook = Masked()
    weights = trained(hook)
    assert [step for step in hook.steps if step >= 0] == list(range(len([s for s in hook.steps if s >= 0])))
    assert [step for step in hook.steps if step < 0] == [-1, -2, -3]
    assert int((weights["0.weight"] == 0).sum()) == 9


def test_patience_is_refused_where_sparsity_still_changes() -> None:
    with pytest.raises(InputError, match="patience is 2, but Masked changes which weights are zero until the end"):
        fit(network(), *data().hold_out(), replace(RECIPE, patience=2), hooks=[Masked()])


def test_two_hooks_of_a_kind_are_told_apart() -> None:
    assert identity_of([Masked(1), Masked(2)]) == {"the hook Masked": "Masked(each=1)", "the hook Masked (2)": "Masked(each=2)"}

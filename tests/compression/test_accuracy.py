"""Accuracies of plans: what they depend on, and what is measured once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hwflow.compression.accuracy import Proxy, ProxySettings
from hwflow.compression.channels.discovery import find_groups
from hwflow.datasets.arrays import Arrays
from hwflow.datasets.samples import Samples
from hwflow.store import Store
from hwflow.training import Recipe
from tests.compression import nets

SHAPE = (2, 3, 8, 8)


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """A network, its groups, and samples that it classifies, but for noise on the logits."""
    torch.manual_seed(0)
    model = nets.residual().eval()
    images = torch.randn(300, 3, 8, 8)
    with torch.no_grad():
        logits = model(images)
        labels = (logits + 0.1 * logits.std() * torch.randn(300, 5)).argmax(1)
    samples = Samples(Arrays(images, labels, 5, mean=(0.0,), std=(1.0,), flips=False))
    return {
        "model": model,
        "grouping": find_groups(model, SHAPE, streams=True),
        "fit_on": samples.subset(range(150)),
        "held": samples.subset(range(150, 300)),
        "settings": ProxySettings(batches=1, batch_size=100),
        "recipe": Recipe(device="cpu", precision="float32"),
    }


PLAN = {"stem": 8, "a": 16}


def test_a_plan_is_measured_once(parts: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    first, again = (Proxy(**parts, store=store) for _ in range(2))
    assert first(PLAN) == first(PLAN) == again(PLAN)
    assert (first.measured, again.measured) == (1, 0)
    other = Proxy(**parts, store=store, criterion="random")
    refitting = Proxy(**parts, store=store, reconstructed=True)
    assert len({first(PLAN), other(PLAN), refitting(PLAN)}) > 1
    assert (other.measured, refitting.measured) == (1, 1)


def test_reconstruction_makes_plans_more_accurate(parts: dict[str, Any]) -> None:
    plain, refitting = Proxy(**parts), Proxy(**parts, reconstructed=True)
    assert refitting(PLAN) > plain(PLAN)
    model = plain.pruned(PLAN)
    assert {name for name, refit in plain.reconstruct(model, PLAN).items() if refit.after < refit.before} == {"a", "b", "fc"}
    assert plain.judge(model) == refitting(PLAN)

"""Accuracies of plans: what they depend on, and what is measured once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwflow.compression.accuracy import Proxy, ProxySettings, _at_most
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.settings import Settings
from hwflow.datasets.arrays import Arrays
from hwflow.datasets.samples import Samples
from hwflow.errors import InputError
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


def test_statistics_of_the_batch_or_of_training_samples(parts: dict[str, Any]) -> None:
    """Both are measured, by themselves, and training samples count only where statistics are theirs."""
    other = parts["fit_on"].subset(range(100))

    def told(**changes: Any) -> float:
        return Proxy(**(parts | changes))(PLAN)

    training = replace(parts["settings"], statistics="training")
    assert told() == told(fit_on=other)
    assert told(settings=training) != told(settings=training, fit_on=other)
    assert told(settings=training) == pytest.approx(told(), abs=0.1)
    with pytest.raises(InputError, match=r"unknown source of statistics .*none.* Known: batch, training"):
        ProxySettings(statistics="none")  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"measured on 1 held-out samples, .* 2 are the least. Hold out more, or let statistics"
    ):
        told(held=parts["held"].subset([0]))
    assert Proxy(**(parts | {"held": parts["held"].subset([0]), "settings": training}))(PLAN) in (0.0, 1.0)


# The race ------------------------------------------------------------------------------------------------------------


def accuracies(parts: dict[str, Any], **changes: Any) -> dict[tuple[int, int], float]:
    """Of all plans of `stem` and `a`, whose widths are the keys, measured in full."""
    proxy = Proxy(**(parts | {"settings": replace(parts["settings"], **changes)}))
    grouping = parts["grouping"]
    return {(s, a): proxy({"stem": s, "a": a}) for s in grouping["stem"].widths for a in grouping["a"].widths}


def test_who_clearly_loses_is_measured_on_the_first_samples_only(parts: dict[str, Any], tmp_path: Path) -> None:
    full = accuracies(parts)
    racing = parts | {"settings": replace(parts["settings"], first=40)}
    reference = max(full, key=lambda widths: full[widths])
    proxies = [Proxy(**racing, store=Store(tmp_path / name)) for name in ("a.sqlite", "a.sqlite", "b.sqlite")]
    seen = []
    for proxy, order in zip(proxies, (list(full), list(full)[::-1], list(full)[::-1]), strict=True):
        proxy.race_against(dict(zip(("stem", "a"), reference, strict=True)))
        assert proxy.reference == full[reference]
        plans = {widths: {"stem": widths[0], "a": widths[1]} for widths in order}
        seen.append({widths: (proxy(plan), proxy.samples_of(plan)) for widths, plan in plans.items()})
    assert seen[0] == seen[1] == seen[2], "what a plan is told depends on the order or on the store"
    lost = {widths for widths, (_, samples) in seen[0].items() if samples == 40}
    assert 0 < len(lost) < len(full)
    for widths, (accuracy, samples) in seen[0].items():
        if widths not in lost:
            assert (accuracy, samples) == (full[widths], 150)
        else:
            assert max(full[widths], accuracy) < full[reference]
    assert [proxy.measured for proxy in proxies] == [len(full), 0, len(full)]


def test_without_a_reference_all_samples_count(parts: dict[str, Any]) -> None:
    proxy = Proxy(**(parts | {"settings": replace(parts["settings"], first=40)}))
    assert (proxy(PLAN), proxy.samples_of(PLAN)) == (Proxy(**parts)(PLAN), 150)


@pytest.mark.parametrize(("share", "samples"), [(0.0, 40), (0.5, 40), (0.9, 300), (1.0, 40)])
def test_the_bound_is_where_the_share_is_three_errors_away(share: float, samples: int) -> None:
    """Wilson's: the probability p whose own standard error puts the observed share three of them below it."""
    bound = _at_most(share, samples)
    assert share <= bound <= 1
    assert bound - share == pytest.approx(3 * (bound * (1 - bound) / samples) ** 0.5, abs=1e-9)


def test_races_that_cannot_be_decided_are_refused(parts: dict[str, Any]) -> None:
    racing = replace(parts["settings"], first=40)
    with pytest.raises(InputError, match="first of the proxy is 40, and the task is segmentation: only shares of images"):
        Proxy(**(parts | {"settings": racing, "task": "segmentation"}))
    with pytest.raises(InputError, match="first of the proxy is 40: plans race against the uniform one within the budget"):
        Settings(budgets=(), proxy=racing)
    assert "first" not in Settings().to_data()["proxy"]

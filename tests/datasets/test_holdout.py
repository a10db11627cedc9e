"""Images that a network has not seen: shares of a part, other data, samples; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hwflow.datasets import Data, load_data
from hwflow.datasets.arrays import in_memory
from hwflow.datasets.holdout import with_holdout
from hwflow.errors import InputError


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits")


def positions(samples: Any) -> set[int]:
    return set(samples.indices.tolist())


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_share_leaves_its_part(digits: Data, part: str) -> None:
    found = with_holdout(digits, f"{part}:0.25")
    fit, held = found.hold_out()
    before, after = getattr(digits, part), getattr(found, part)
    assert len(held) == round(0.25 * len(before))
    assert positions(held) | positions(after) == positions(before)
    assert not positions(held) & positions(after)
    assert fit is found.train
    other = "test" if part == "train" else "train"
    assert getattr(found, other) is getattr(digits, other)
    assert found.identity != digits.identity
    assert with_holdout(digits, f"{part}:0.25").identity == found.identity != with_holdout(digits, f"{part}:0.3").identity
    counts = torch.bincount(held.labels, minlength=10)
    assert int(counts.max()) - int(counts.min()) <= 2


def test_the_test_part_of_other_data_and_samples(digits: Data) -> None:
    found = with_holdout(digits, "digits")
    assert found.held is not None
    assert found.held.identity == digits.test.identity
    assert positions(found.train) == positions(digits.train)
    some = digits.test.subset(range(20))
    assert with_holdout(digits, some).hold_out(count=5, seed=3)[1] is some


@pytest.mark.parametrize("spec", ["train:0", "test:1", "train:1.5", "test:nan", "train:half", "train:", "test:0.0001"])
def test_shares_that_hold_out_nothing_are_refused(digits: Data, spec: str) -> None:
    with pytest.raises(
        InputError, match=rf"--holdout {spec} holds out no part of [0-9,]+ images: write train:SHARE or test:SHARE"
    ):
        with_holdout(digits, spec)


def test_images_of_another_kind_are_refused(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4)
    few = in_memory("few", 4, (images, labels), (images, labels), flips=False)
    monkeypatch.setattr("hwflow.datasets.holdout.load_data", lambda spec: few)
    expected = r"--holdout few holds images of 1 x 8 x 8 in 4 classes \(classification\); digits has images of 1 x 8 x 8 in 10"
    with pytest.raises(InputError, match=expected):
        with_holdout(digits, "few")
    with pytest.raises(InputError, match="the samples given as holdout has 4 classes; digits has 10"):
        with_holdout(digits, few.test)
    with pytest.raises(InputError, match="the samples given as holdout is empty"):
        with_holdout(digits, digits.test.subset([]))

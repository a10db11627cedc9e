"""A user's own torch datasets, and names that mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from hwflow.datasets import DATASETS, _loaders, from_datasets, load_data
from hwflow.errors import InputError


class Listed:
    """A map-style dataset of what it is given."""

    def __init__(self, *items: Any, targets: Any = None) -> None:
        self.items = items
        if targets is not None:
            self.targets = targets

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


IMAGE = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))


def tensors(count: int) -> TensorDataset:
    random = torch.Generator().manual_seed(count)
    return TensorDataset(torch.randn(count, 3, 4, 5, generator=random), torch.arange(count) % 4)


def test_own_datasets_are_used_as_they_are() -> None:
    data = from_datasets("mine", tensors(30), tensors(10), 4)
    assert (data.name, data.classes, data.input_shape) == ("mine", 4, (3, 4, 5))
    images, labels = next(data.train.batches(5))
    assert torch.equal(images, tensors(30).tensors[0][:5])
    assert labels.tolist() == [0, 1, 2, 3, 0]
    assert torch.equal(
        next(data.train.batches(30, seed=0, augment=True))[0].sum(), next(data.train.batches(30, seed=0))[0].sum()
    )
    fit, held = data.hold_out()
    assert (len(fit), len(held)) == (27, 3)


def test_known_targets_are_split_by_class_and_checked() -> None:
    pairs = [(IMAGE, i % 2) for i in range(40)]
    data = from_datasets("mine", Listed(*pairs, targets=[i % 2 for i in range(40)]), tensors(10), 4)
    held = data.hold_out(10)[1].labels
    assert held is not None
    assert torch.bincount(held).tolist() == [5, 5]
    with pytest.raises(InputError, match=r"mine's train\.targets reach from 0 to 4; with 4 classes"):
        from_datasets("mine", Listed(*pairs, targets=[i % 5 for i in range(40)]), tensors(10), 4)
    with pytest.raises(InputError, match=r"mine's train\.targets is \(3,\); it must be 40 whole numbers"):
        from_datasets("mine", Listed(*pairs, targets=[0, 1, 0]), tensors(10), 4)


def test_the_identity_is_the_content_or_what_the_user_says() -> None:
    assert (
        from_datasets("mine", tensors(30), tensors(10), 4).identity
        == from_datasets("mine", tensors(30), tensors(10), 4).identity
    )
    assert (
        from_datasets("mine", tensors(30), tensors(10), 4).identity
        != from_datasets("mine", tensors(30), tensors(11), 4).identity
    )
    noisy: list[Callable[[], Any]] = [lambda: Listed(*[(torch.rand(3, 4, 5), 0)] * 3) for _ in range(2)]
    named = [from_datasets("mine", make(), make(), 4, identity="v1").identity for make in noisy]
    assert named[0] == named[1]
    assert named[0] != from_datasets("mine", noisy[0](), noisy[0](), 4, identity="v2").identity


def test_segmentation_takes_maps_of_labels() -> None:
    pair = (IMAGE, torch.full((4, 5), 255))
    data = from_datasets("maps", Listed(pair, pair), Listed(pair), 4, task="segmentation")
    assert next(data.train.batches(2))[1].shape == (2, 4, 5)


WRONG = {
    "no length": ((IMAGE for _ in ()), r"mine's train has no length; it must be a map-style torch Dataset"),
    "empty": (Listed(), r"mine's train is empty"),
    "no pair": (Listed(IMAGE), r"mine's train\[0\] is Tensor; it must be a pair \(image, label\)"),
    "bytes": (
        Listed(((IMAGE * 255).byte(), 0)),
        r"\[0\]: the image is a tensor of torch.uint8, \(3, 4, 5\); it must be a float",
    ),
    "flat": (Listed((IMAGE[0], 0)), r"\[0\]: the image is a tensor of torch.float32, \(4, 5\)"),
    "no tensor": (Listed(("cat.png", 0)), r"\[0\]: the image is str; it must be a float tensor \(C, H, W\), normalised"),
    "one-hot": (Listed((IMAGE, torch.eye(4)[0])), r"\[0\]: the label is torch.float32 of shape \(4,\); for classification"),
}


@pytest.mark.parametrize("how", WRONG)
def test_items_of_another_form_are_named(how: str) -> None:
    items, message = WRONG[how]
    with pytest.raises(InputError, match=message):
        from_datasets("mine", items, tensors(10), 4)


def test_items_that_differ_or_have_no_class_are_named_when_they_are_read() -> None:
    uneven = from_datasets("mine", Listed((IMAGE, 0), (IMAGE[:, :3], 0)), tensors(10), 4)
    with pytest.raises(InputError, match=r"mine's train\[1\]: the image is \(3, 3, 5\), the first one \(3, 4, 5\)"):
        list(uneven.train.batches(2))
    wrong = from_datasets("mine", Listed((IMAGE, 0), (IMAGE, -1)), tensors(10), 4)
    with pytest.raises(InputError, match=r"sample 1 has the label -1; with 4 classes labels are 0 to 3"):
        list(wrong.train.batches(2))


def test_classes_and_task_are_checked() -> None:
    with pytest.raises(InputError, match="classes is 1; it must be a whole number of at least 2"):
        from_datasets("mine", tensors(3), tensors(3), 1)
    with pytest.raises(InputError, match="task is 'detection'; allowed: classification, segmentation"):
        from_datasets("mine", tensors(3), tensors(3), 4, task="detection")  # type: ignore[arg-type]


def test_every_listed_data_set_can_be_loaded() -> None:
    assert set(_loaders()) == set(DATASETS)


def test_unknown_names_list_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown data set 'cifar'\. Did you mean 'cifar10'\? Known: cifar10, cityscapes"):
        load_data("cifar")
    with pytest.raises(InputError, match=r"unknown data set 'fashion'.*'fashion-mnist'"):
        load_data("fashion:/somewhere")
    with pytest.raises(InputError, match="'digits:/a' names a folder, and '/b' is given as well"):
        load_data("digits:/a", "/b")
    with pytest.raises(InputError, match="digits is embedded in scikit-learn and needs no folder"):
        load_data("digits", tmp_path)

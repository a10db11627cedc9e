"""Order, augmentation and splits follow from seeds alone."""

from __future__ import annotations

import itertools

import pytest
import torch

from hwflow.datasets import Data, load_data
from hwflow.datasets.arrays import Arrays
from hwflow.datasets.samples import Samples, shifted
from hwflow.datasets.split import stratified
from hwflow.errors import InputError


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits")


def numbered(count: int, classes: int = 3) -> Samples:
    """Images of 2 x 2 whose pixels are the sample's number."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return Samples(Arrays(images, torch.arange(count) % classes, classes, mean=(0.0,), std=(1 / 255,), flips=False))


def numbers(samples: Samples, size: int, **options: object) -> list[list[int]]:
    return [images[:, 0, 0, 0].int().tolist() for images, _ in samples.batches(size, **options)]  # type: ignore[arg-type]


def test_without_a_seed_samples_come_in_order() -> None:
    assert numbers(numbered(5), 2) == [[0, 1], [2, 3], [4]]
    assert numbers(numbered(5), 2, drop_last=True) == [[0, 1], [2, 3]]
    assert numbers(numbered(5).subset([4, 0, 3]), 2) == [[4, 0], [3]]
    assert numbers(numbered(5).subset([4, 0, 3]).subset([2, 0]), 9) == [[3, 4]]


def test_the_order_follows_from_seed_and_epoch() -> None:
    first = numbers(numbered(50), 7, seed=1, epoch=3)
    assert first == numbers(numbered(50), 7, seed=1, epoch=3)
    assert first != numbers(numbered(50), 7, seed=1, epoch=4)
    assert first != numbers(numbered(50), 7, seed=2, epoch=3)
    assert sorted(itertools.chain(*first)) == list(range(50))


def test_images_are_normalised_and_labels_go_with_them(digits: Data) -> None:
    images, labels = next(digits.train.batches(len(digits.train), seed=0))
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert images.mean().item() == pytest.approx(0, abs=0.01)
    assert images.std().item() == pytest.approx(1, abs=0.01)
    in_order, their_labels = next(digits.train.batches(len(digits.train)))
    pairs = {(tuple(i.flatten().tolist()), int(n)) for i, n in zip(in_order, their_labels, strict=True)}
    assert pairs == {(tuple(i.flatten().tolist()), int(n)) for i, n in zip(images, labels, strict=True)}


def test_augmentation_follows_from_the_seed_and_changes_with_the_epoch(digits: Data) -> None:
    def first(epoch: int) -> torch.Tensor:
        return next(digits.train.batches(64, seed=0, epoch=epoch, augment=True))[0]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_shifts_move_and_flip_as_their_chances_say() -> None:
    image = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8)
    middle = torch.tensor([[0.5, 0.5, 0.9, 0, 0]])
    assert torch.equal(shifted(image, middle, flips=True), image)
    up_left = shifted(image, torch.tensor([[0.99, 0.99, 0.9, 0, 0]]), flips=True)
    assert torch.equal(up_left[..., :7, :7], image[..., 1:, 1:])
    assert int(up_left[..., 7, :].sum() + up_left[..., 7].sum()) == 0
    mirrored = torch.tensor([[0.5, 0.5, 0.1, 0, 0]])
    assert torch.equal(shifted(image, mirrored, flips=True), image.flip(3))
    assert torch.equal(shifted(image, mirrored, flips=False), image)


def test_each_image_of_a_batch_is_shifted_by_its_own_chances() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (9, 3, 12, 16), generator=random, dtype=torch.uint8)
    chances = torch.rand(9, 5, generator=random)
    together = shifted(images, chances, flips=True)
    alone = [shifted(images[i : i + 1], chances[i : i + 1], flips=True) for i in range(9)]
    assert torch.equal(together, torch.cat(alone))
    assert len({tuple(image.flatten().tolist()) for image in together}) == 9


def test_a_part_is_held_out_with_every_class_in_its_share(digits: Data) -> None:
    fit, held = digits.hold_out()
    assert (len(fit), len(held)) == (1294, 143)
    assert not set(fit.indices.tolist()) & set(held.indices.tolist())
    assert sorted([*fit.indices.tolist(), *held.indices.tolist()]) == list(range(1437))
    assert held.labels is not None
    counts = torch.bincount(held.labels, minlength=10)
    assert int(counts.min()) >= 13
    assert int(counts.max()) <= 15
    again = digits.hold_out()[1]
    assert torch.equal(held.indices, again.indices)
    assert not torch.equal(held.indices, digits.hold_out(seed=1)[1].indices)
    assert len(digits.hold_out(100)[1]) == 100


@pytest.mark.parametrize("count", [0, -1, 1437])
def test_both_parts_must_have_samples(digits: Data, count: int) -> None:
    with pytest.raises(InputError, match=f"{count} samples of digits cannot be held out of 1437"):
        digits.hold_out(count)


def test_stratified_takes_exactly_as_many_as_asked() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    for count in (1, 7, 50, 99):
        taken, left = stratified(labels, count, 0)
        assert len(taken) == count
        assert len(taken) + len(left) == 100
        assert abs(int((labels[taken] == 1).sum()) - count / 10) <= 1


def test_identities_tell_content_and_order_apart(digits: Data) -> None:
    assert digits.identity == load_data("digits").identity
    fit, held = digits.hold_out()
    other_fit, _ = digits.hold_out(seed=1)
    known = {digits.train.identity, digits.test.identity, fit.identity, held.identity, other_fit.identity}
    assert len(known) == 5
    assert numbered(5).identity != numbered(6).identity
    assert numbered(5).identity != numbered(5).subset([1, 0, 2, 3, 4]).identity


def test_wrong_use_says_what_is_wrong() -> None:
    samples = numbered(5)
    with pytest.raises(InputError, match="batch size is 0; it must be at least 1"):
        next(samples.batches(0))
    with pytest.raises(InputError, match="augment needs a seed"):
        next(samples.batches(2, augment=True))
    with pytest.raises(InputError, match="indices reach from 0 to 5; the set has 5 samples"):
        samples.subset([0, 5])


def test_labels_out_of_range_are_named_when_they_are_read() -> None:
    source = numbered(5).source
    source.classes = 2
    with pytest.raises(InputError, match="sample 2 has the label 2; with 2 classes labels are 0 to 1"):
        list(Samples(source).batches(5))


def test_digits_have_a_fixed_split(digits: Data) -> None:
    assert (digits.classes, digits.input_shape, digits.task) == (10, (1, 8, 8), "classification")
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    assert digits.test.labels is not None
    assert torch.bincount(digits.test.labels).tolist() == [36, 36, 36, 36, 37, 36, 36, 36, 35, 36]
    assert digits.test.labels[:12].tolist() == [2, 7, 8, 1, 5, 8, 4, 0, 8, 6, 4, 4]
    assert digits.hold_out()[1].indices[:8].tolist() == [1, 6, 43, 49, 60, 61, 63, 71]
    images = next(digits.test.batches(1))[0]
    brightest = (images.max() * digits.test.source.std[0] + digits.test.source.mean[0]).item()
    assert brightest == pytest.approx(1)

"""Data sets in folders of images: class folders and Cityscapes; read, trained on, and broken."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from hwflow import training
from hwflow.datasets import load_data
from hwflow.datasets.samples import IGNORED
from hwflow.errors import InputError


class Tiny(nn.Module):
    """One strided convolution; a class for the image or, `dense`, for every pixel."""

    def __init__(self, classes: int, *, dense: bool = False) -> None:
        super().__init__()
        self.dense = dense
        self.conv = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.out = nn.Conv2d(8, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.out(torch.relu(self.bn(self.conv(x))))
        return nn.functional.interpolate(y, size=x.shape[-2:]) if self.dense else y.mean(dim=(2, 3))


def pixels(path: Path, height: int, width: int, seed: int = 0) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


# Class folders -------------------------------------------------------------------------------------------------------


def test_a_folder_is_a_data_set(class_folder: Path) -> None:
    data = load_data(str(class_folder))
    assert (data.name, data.classes, data.input_shape, data.task) == ("pets", 2, (3, 30, 30), "classification")
    assert data.train.labels is not None
    assert data.train.labels.tolist() == [0] * 8 + [1] * 8
    assert len(data.test) == 8
    images, labels = next(data.test.batches(100))
    assert (images.shape, images.dtype) == ((8, 3, 30, 30), torch.float32)
    reddish = images[:, 0].mean(dim=(1, 2)) > images[:, 1].mean(dim=(1, 2))
    assert reddish.tolist() == (labels == 0).tolist()


def test_imagenet_is_cut_to_224(class_folder: Path) -> None:
    assert load_data(f"imagenet:{class_folder}").input_shape == (3, 224, 224)


def test_test_may_stand_for_val(class_folder: Path) -> None:
    before = load_data(str(class_folder)).test.labels
    (class_folder / "val").rename(class_folder / "test")
    after = load_data(str(class_folder)).test.labels
    assert before is not None
    assert after is not None
    assert before.tolist() == after.tolist()


def test_the_middle_is_judged_and_parts_are_trained_on(class_folder: Path) -> None:
    """7/8 of the shorter side; a white frame outside of that is not seen."""
    values = np.full((64, 96, 3), 255, np.uint8)
    values[1:63, 17:79] = 100  # a little more than 56 x 56: resampling looks at neighbours
    for path in (class_folder / "val" / "cat").iterdir():
        path.unlink()
    Image.fromarray(values).save(class_folder / "val" / "cat" / "framed.png")
    data = load_data(str(class_folder))
    source = data.test.source
    middle, _ = source.read(torch.tensor([0]), None)
    assert middle.unique().tolist() == [100]
    chances = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    parts, _ = source.read(torch.zeros(6, dtype=torch.int64), chances)
    assert parts.shape == (6, 3, 30, 30)
    assert len({tuple(part.flatten().tolist()) for part in parts}) == 6
    assert torch.equal(parts, source.read(torch.zeros(6, dtype=torch.int64), chances)[0])


def test_small_images_are_taken_whole(class_folder: Path) -> None:
    for path in class_folder.rglob("*.*"):
        path.unlink()
    for part in ("train", "val"):
        for i, name in enumerate(("cat", "dog")):
            pixels(class_folder / part / name / "0.png", 16, 16, seed=i)
    data = load_data(str(class_folder))
    assert data.input_shape == (3, 16, 16)
    found, _ = data.train.source.read(torch.tensor([0]), None)
    whole = np.asarray(Image.open(class_folder / "train" / "cat" / "0.png"))
    assert found[0].permute(1, 2, 0).numpy().tolist() == whole.tolist()
    moved, _ = data.train.source.read(torch.tensor([0]), torch.tensor([[0.5, 0.5, 0.1, 0, 0]]))
    assert torch.equal(moved, found.flip(3))


def test_all_kinds_of_images_become_rgb(class_folder: Path) -> None:
    folder = class_folder / "train" / "cat"
    for mode in ("L", "RGBA", "P", "1"):
        Image.new(mode, (40, 30)).save(folder / f"mode_{mode}.png")
    Image.new("CMYK", (40, 30)).save(folder / "cmyk.jpg")
    data = load_data(str(class_folder))
    assert next(data.train.batches(100))[0].shape == (21, 3, 30, 30)


def test_reading_ahead_changes_nothing_and_may_be_left_early(class_folder: Path) -> None:
    train = load_data(str(class_folder)).train
    whole = [images for images, _ in train.batches(3, seed=1, epoch=2, augment=True)]
    again = train.batches(3, seed=1, epoch=2, augment=True)
    assert torch.equal(next(again)[0], whole[0])
    again.close()  # type: ignore[attr-defined]
    assert torch.equal(torch.cat([i for i, _ in train.batches(3, seed=1, epoch=2, augment=True)]), torch.cat(whole))


def test_a_changed_file_changes_the_identity(class_folder: Path) -> None:
    before = load_data(str(class_folder)).identity
    assert load_data(str(class_folder)).identity == before
    os.utime(class_folder / "val" / "dog" / "0.jpg", (1, 1))
    assert load_data(str(class_folder)).identity != before


def test_a_network_learns_a_folder(class_folder: Path) -> None:
    torch.manual_seed(0)
    model, history = training.train(Tiny(2), str(class_folder), epochs=8, batch_size=4, learning_rate=0.05)
    assert history.test is not None
    assert history.test.accuracy == 1
    assert model.training is False


def test_what_a_folder_lacks_is_named(class_folder: Path) -> None:
    shutil.copytree(class_folder, class_folder.parent / "other")
    shutil.rmtree(class_folder / "val" / "dog")
    with pytest.raises(InputError, match=r"val has no folder 'dog'; .* needs the same classes in .*train and .*val"):
        load_data(str(class_folder))
    shutil.rmtree(class_folder / "train" / "dog")
    with pytest.raises(InputError, match=r"train has 1 class folders; at least 2"):
        load_data(str(class_folder))
    shutil.rmtree(class_folder / "train" / "cat")
    with pytest.raises(InputError, match=r"train has no class folders: each class needs a folder of its own"):
        load_data(str(class_folder))
    shutil.rmtree(class_folder / "train")
    with pytest.raises(InputError, match=r"train is missing: .* needs train/ and val/ \(or test/\)"):
        load_data(str(class_folder))
    other = class_folder.parent / "other"
    for path in (other / "train" / "cat").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(InputError, match=r"cat holds no images \(\.bmp"):
        load_data(str(other))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _scribbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _other(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("3.png", _cut, "runcated"),
        ("2.jpg", _cut, "truncated"),
        ("3.png", _emptied, "it is empty"),
        ("3.png", _scribbled, "(CRC|checksum|broken)"),
        ("2.jpg", _other, "cannot identify image file the file"),
    ],
)
def test_one_bad_image_is_named_before_training(class_folder: Path, name: str, spoil: object, reason: str) -> None:
    spoil(class_folder / "train" / "dog" / name)  # type: ignore[operator]
    data = load_data(str(class_folder))
    with pytest.raises(InputError, match=rf"an image cannot be read: \S*train/dog/{name} \(.*{reason}.*Replace or remove them"):
        training.train(Tiny(2), data, epochs=1)


def test_many_bad_images_are_counted(class_folder: Path) -> None:
    for path in (class_folder / "val" / "dog").iterdir():
        _cut(path)
    with pytest.raises(InputError, match=r"4 images cannot be read: .*0\.jpg .*; and 1 more"):
        load_data(str(class_folder)).test.check()


def test_a_bad_image_is_named_when_it_is_read(class_folder: Path) -> None:
    _cut(class_folder / "train" / "dog" / "3.png")
    with pytest.raises(InputError, match=r"dog/3\.png cannot be read as an image: .*Replace or remove it"):
        list(load_data(str(class_folder)).train.batches(5))


# Cityscapes ----------------------------------------------------------------------------------------------------------


def test_scenes_have_the_classes_that_are_trained(scenes: Path) -> None:
    data = load_data(f"cityscapes:{scenes}")
    assert (data.classes, data.input_shape, data.task) == (19, (3, 32, 64), "segmentation")
    assert (len(data.train), len(data.test)) == (4, 2)
    images, labels = next(data.test.batches(2))
    assert (images.shape, labels.shape, labels.dtype) == ((2, 3, 32, 64), (2, 32, 64), torch.int64)
    assert labels[0, 0].unique().tolist() == [10]  # sky
    assert labels[0, 31].unique().tolist() == [IGNORED]  # unlabelled
    assert labels[0, 22, 10:30].unique().tolist() == [13]  # car
    assert labels[0, 22, :10].unique().tolist() == [0]  # road


def test_training_scenes_are_crops_whose_labels_move_along(scenes: Path) -> None:
    """The images' red is 9 times the id: at each pixel that was not blended, image and label must agree."""
    train = load_data(f"cityscapes:{scenes}").train
    random = torch.rand(12, 5, generator=torch.Generator().manual_seed(0))
    images, labels = train.source.read(torch.arange(12) % 4, random)
    assert (images.shape, labels.shape) == ((12, 3, 16, 32), (12, 16, 32))
    for id_, label in ((7, 0), (23, 10)):
        exact = images[:, 0] == id_ * 9
        assert int(exact.sum()) > 300
        assert (labels[exact] == label).float().mean() > 0.99
    outside = (images.sum(1) == 0) & (labels != IGNORED)
    assert int(outside.sum()) == 0
    assert len(set(labels.flatten().tolist()) - {0, 10, 13, IGNORED}) == 0


def test_a_network_learns_scenes(scenes: Path) -> None:
    torch.manual_seed(0)
    _, history = training.train(
        Tiny(19, dense=True), f"cityscapes:{scenes}", epochs=10, batch_size=2, learning_rate=0.5, precision="float32"
    )
    assert history.test is not None
    assert history.test.accuracy > 0.5
    assert history.epochs[-1].loss < history.epochs[0].loss / 2


@pytest.mark.slow
def test_deeplab_learns_scenes(scenes: Path, tmp_path: Path) -> None:
    file = tmp_path / "deeplab.pt"
    model, history = training.train(
        "deeplabv3_resnet50", f"cityscapes:{scenes}", epochs=2, batch_size=2, output=file, precision="float32"
    )
    assert history.epochs[1].loss < history.epochs[0].loss
    assert history.test is not None
    assert 0 <= history.test.accuracy <= 1
    assert training.load_weights(file, model)["data"] == "cityscapes"


def test_what_cityscapes_lacks_is_named(scenes: Path) -> None:
    label = scenes / "gtFine" / "val" / "bonn" / "bonn_1_gtFine_labelIds.png"
    ids = np.array(Image.open(label))
    label.unlink()
    with pytest.raises(InputError, match=r"bonn_1_gtFine_labelIds\.png is missing; it belongs to .*bonn_1_leftImg8bit\.png"):
        load_data(f"cityscapes:{scenes}")
    ids[3, 3] = 34
    Image.fromarray(ids).save(label)
    with pytest.raises(InputError, match=r"bonn_1_gtFine_labelIds\.png has the label 34; labelIds are 0 to 33"):
        list(load_data(f"cityscapes:{scenes}").test.batches(2))
    Image.fromarray(ids[:20]).save(label)
    with pytest.raises(InputError, match=r"labelIds\.png is 64 x 20; all images must have one size, here 64 x 32"):
        list(load_data(f"cityscapes:{scenes}").test.batches(2))
    shutil.rmtree(scenes / "leftImg8bit" / "train" / "bonn")
    with pytest.raises(InputError, match=r"leftImg8bit/train holds no CITY/\*_leftImg8bit\.png"):
        load_data(f"cityscapes:{scenes}")
    with pytest.raises(InputError, match=r"leftImg8bit/train is missing: .* needs leftImg8bit/ and gtFine/"):
        load_data(f"cityscapes:{scenes.parent}")

"""Folders of class folders, ImageNet among them: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from hwflow.datasets import _files
from hwflow.datasets.data import Data
from hwflow.datasets.samples import Samples, shifted
from hwflow.errors import InputError

NEEDS = "train/ and val/ (or test/), each with a folder of images for every class,"

_LARGEST = 224
_MARGIN = 8 / 7  # 256 to 224: He et al. 2015; scaled to that shorter side, then the middle is cut out
_LEAST_AREA = 0.25


class Images:
    """A source of image files, cut to `size` x `size`.

    In training a random part of the image (a quarter of its area or more, its shape kept within 3:4 and 4:3) is scaled to the
    size and mirrored at random; images that have the size already are moved instead, as `shifted` does. Otherwise the middle.
    """

    mean: tuple[float, ...] = _files.MEAN
    std: tuple[float, ...] = _files.STD
    slow = True

    def __init__(self, root: Path, paths: list[Path], labels: list[int], classes: int, size: int) -> None:
        self.paths, self.classes, self.size = paths, classes, size
        self.labels = torch.tensor(labels, dtype=torch.int64)
        self.identity = f"{_files.digest(root, paths)}:{size}"

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Tensor, chances: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images and labels at `indices`."""
        images = _files.in_threads(
            lambda k: self._image(self.paths[int(indices[k])], None if chances is None else chances[k]), range(len(indices))
        )
        return torch.stack(images), self.labels[indices]

    def check(self, indices: Tensor) -> None:
        """That the files begin and end as images do."""
        _files.check(self.paths[int(i)] for i in indices)

    def _image(self, path: Path, chances: Tensor | None) -> Tensor:
        image, size = _files.opened(path, "RGB"), self.size
        width, height = image.size
        if (width, height) == (size, size):
            content = _files.bytes_of(image)
            return content if chances is None else shifted(content[None], chances[None], flips=True)[0]
        if chances is None:
            side = min(width, height) / _MARGIN
            box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
            return _files.bytes_of(image.resize((size, size), resample=_files.BILINEAR, box=box))
        area, shape, x, y, mirrored = chances.tolist()
        part = width * height * (_LEAST_AREA + (1 - _LEAST_AREA) * area)
        ratio = (3 / 4) ** (1 - 2 * shape)
        w, h = min(width, (part * ratio) ** 0.5), min(height, (part / ratio) ** 0.5)
        left, top = x * (width - w), y * (height - h)
        content = _files.bytes_of(image.resize((size, size), resample=_files.BILINEAR, box=(left, top, left + w, top + h)))
        return content.flip(2) if mirrored < 0.5 else content


def load(name: str, root: Path, *, size: int | None = None) -> Data:
    """The data set in a folder; classes are its class folders by name, in ASCII order.

    Args:
        size: images are cut to size x size; by default 224, or the shortest side of small images.

    Raises:
        InputError: naming the folder that is missing, empty or without images, or classes that one part lacks.
    """
    parts = {"train": root / "train", "test": next((root / p for p in ("val", "test") if (root / p).is_dir()), root / "val")}
    for place in parts.values():
        if not place.is_dir():
            raise InputError(f"{place} is missing: {root} needs {NEEDS} to be a data set.")
    classes = {part: _class_folders(place) for part, place in parts.items()}
    if classes["train"] != classes["test"]:
        lacking = sorted(set(classes["train"]) ^ set(classes["test"]))
        place = parts["test"] if lacking[0] in classes["train"] else parts["train"]
        raise InputError(
            f"{place} has no folder {lacking[0]!r}; {root} needs the same classes in {' and '.join(map(str, parts.values()))}."
        )
    if len(classes["train"]) < 2:
        raise InputError(f"{parts['train']} has {len(classes['train'])} class folders; at least 2 are needed.")
    listed = {part: [_images(place / c) for c in classes[part]] for part, place in parts.items()}
    size = size or min(_LARGEST, *(min(_files.size_of(paths[0])) for paths in listed["train"]))
    samples = {}
    for part, groups in listed.items():
        labels = [label for label, paths in enumerate(groups) for _ in paths]
        paths = [path for paths in groups for path in paths]
        samples[part] = Samples(Images(root, paths, labels, len(groups), size))
    return Data(name, len(classes["train"]), (3, size, size), "classification", samples["train"], samples["test"])


def _class_folders(place: Path) -> list[str]:
    with os.scandir(place) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise InputError(f"{place} has no class folders: each class needs a folder of its own with its images.")
    return names


def _images(place: Path) -> list[Path]:
    with os.scandir(place) as entries:
        names = sorted(e.name for e in entries if os.path.splitext(e.name)[1].lower() in _files.SUFFIXES and e.is_file())
    if not names:
        raise InputError(f"{place} holds no images ({', '.join(sorted(_files.SUFFIXES))}).")
    return [place / name for name in names]


__all__ = ["NEEDS", "Images", "load"]

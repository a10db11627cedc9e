"""Cityscapes: street scenes with a class for every pixel (https://www.cityscapes-dataset.com; fine annotations).

leftImg8bit/{train,val}/CITY/*_leftImg8bit.png with gtFine/{train,val}/CITY/*_gtFine_labelIds.png. The public test part has no
labels: the networks are tested on val, as in Chen et al. 2017.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from hwflow.datasets import _files
from hwflow.datasets.data import Data
from hwflow.datasets.samples import IGNORED, Samples
from hwflow.errors import InputError

_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"
_TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label ids of the 19 classes that are trained and judged, in their order (cityscapesScripts, helpers/labels.py)."""
_IDS = 34  # 0 to 33; the others are ignored

NEEDS = "leftImg8bit/ and gtFine/, each with train/ and val/ (the archives leftImg8bit_trainvaltest and gtFine_trainvaltest),"


class Scenes:
    """A source of scenes with maps of labels; all of one size.

    In training an image is scaled by 0.5 to 2 at random, a part of half its height and width is cut out (what lies outside the
    image is black, and of no class), and mirrored at random: Chen et al. 2017, section 4.1.
    """

    mean: tuple[float, ...] = _files.MEAN
    std: tuple[float, ...] = _files.STD
    slow = True
    labels = None
    classes = len(_TRAIN_IDS)

    def __init__(self, root: Path, pairs: list[tuple[Path, Path]], size: tuple[int, int]) -> None:
        self.pairs, self.size = pairs, size
        self.identity = hashlib.sha256(_files.digest(root, (path for pair in pairs for path in pair)).encode()).hexdigest()
        self._classes = torch.full((256,), IGNORED, dtype=torch.uint8)
        self._classes[list(_TRAIN_IDS)] = torch.arange(len(_TRAIN_IDS), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, indices: Tensor, chances: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images (n, 3, H, W) and maps (n, H, W) at `indices`."""
        both = _files.in_threads(
            lambda k: self._scene(*self.pairs[int(indices[k])], None if chances is None else chances[k]), range(len(indices))
        )
        return torch.stack([image for image, _ in both]), torch.stack([labels for _, labels in both])

    def check(self, indices: Tensor) -> None:
        """That the files begin and end as images do."""
        _files.check(path for i in indices for path in self.pairs[int(i)])

    def _scene(self, image_path: Path, label_path: Path, chances: Tensor | None) -> tuple[Tensor, Tensor]:
        image, labels = _files.opened(image_path, "RGB"), _files.opened(label_path, "L")
        for path, size in ((image_path, image.size), (label_path, labels.size)):
            if size != self.size:
                raise InputError(f"{path} is {size[0]} x {size[1]}; all images must have one size, here {_shown(self.size)}.")
        most = int(labels.getextrema()[1])  # type: ignore[arg-type]
        if most >= _IDS:
            raise InputError(f"{label_path} has the label {most}; labelIds are 0 to {_IDS - 1}. Is it another kind of file?")
        if chances is None:
            return _files.bytes_of(image), self._classes[_files.bytes_of(labels).long()].long()
        scale, x, y, mirrored, _ = chances.tolist()
        factor = 0.5 * 4**scale
        width, height = self.size[0] // 2, self.size[1] // 2
        w, h = width / factor, height / factor  # the part of the image that fills the crop; larger than the image at 0.5
        left, top = round(x * (self.size[0] - w)), round(y * (self.size[1] - h))
        box = (left, top, left + round(w), top + round(h))
        found = _files.bytes_of(image.crop(box).resize((width, height), resample=_files.BILINEAR))
        ids = labels.point(self._classes.tolist()).crop(box)
        maps = _files.bytes_of(ids.resize((width, height), resample=_files.NEAREST)).long()
        return (found.flip(2), maps.flip(1)) if mirrored < 0.5 else (found, maps)


def load(root: Path) -> Data:
    """The data set in a folder; images are evaluated at their full size.

    Raises:
        InputError: naming the folder or file that is missing.
    """
    pairs = {part: _pairs(root, folder) for part, folder in (("train", "train"), ("test", "val"))}
    size = _files.size_of(pairs["train"][0][0])
    if min(size) < 2:
        raise InputError(f"{pairs['train'][0][0]} is {_shown(size)}; that is no scene.")
    parts = {part: Samples(Scenes(root, found, size)) for part, found in pairs.items()}
    return Data("cityscapes", len(_TRAIN_IDS), (3, size[1], size[0]), "segmentation", parts["train"], parts["test"])


def _pairs(root: Path, part: str) -> list[tuple[Path, Path]]:
    place = root / "leftImg8bit" / part
    if not place.is_dir():
        raise InputError(f"{place} is missing: {root} needs {NEEDS} to be Cityscapes.")
    images = sorted(place.glob(f"*/*{_IMAGE}"))
    if not images:
        raise InputError(f"{place} holds no CITY/*{_IMAGE}.")
    pairs = [(p, root / "gtFine" / part / p.parent.name / p.name.replace(_IMAGE, _LABEL)) for p in images]
    for image, label in pairs:
        if not label.is_file():
            raise InputError(f"{label} is missing; it belongs to {image}.")
    return pairs


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


__all__ = ["NEEDS", "Scenes", "load"]

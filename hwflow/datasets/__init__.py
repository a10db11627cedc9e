"""Data sets of labelled images with a training and a test part: by name, from a folder, or a user's own.

Importing this needs no torch; a set that is loaded does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwflow.datasets.data import Data, Task
from hwflow.errors import InputError, not_found
from hwflow.optional import needed

DATASETS: dict[str, str] = {
    "digits": "8 x 8 digits, 1 x 8 x 8, 10 classes; embedded in scikit-learn",
    "fashion-mnist": "clothes, 1 x 28 x 28, 10 classes; Debian's package dataset-fashion-mnist, or IDX files in a folder",
    "cifar10": "small photographs, 3 x 32 x 32, 10 classes; the binary or the Python version, unpacked in a folder",
    "imagenet": "photographs, 3 x 224 x 224, 1000 classes; a folder with train/ and val/ of class folders",
    "cityscapes": "street scenes, 19 classes of pixels; a folder with leftImg8bit/ and gtFine/",
}
"""One line for each name. Besides these: any folder with train/ and val/ (or test/) of class folders."""

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""


def load_data(spec: str, folder: str | Path | None = None) -> Data:
    """A data set by what the user wrote: a name, `name:folder`, or a folder of class folders or IDX files.

    Args:
        folder: where the files are. By default $HWFLOW_DATA/NAME, and for fashion-mnist where Debian's package puts them.

    Raises:
        InputError: for an unknown name, or files that are missing or unusable: which, and what belongs there.
        MissingDependency: where torch, scikit-learn or Pillow is needed and not installed.
    """
    name, colon, rest = spec.partition(":")
    if colon and folder is not None:
        raise InputError(f"{spec!r} names a folder, and {str(folder)!r} is given as well; leave one out.")
    named = name in DATASETS
    if not named and not Path(spec).expanduser().is_dir():
        hint = "Or a folder with train/ and val/ (or test/) of class folders, or NAME:FOLDER."
        raise not_found("data set", name if colon else spec, DATASETS, hint)
    needed("torch", f"the data set {name}")
    if not named:
        return _any_folder(Path(spec).expanduser())
    place = Path(rest) if colon else folder
    return _loaders()[name](None if place is None else Path(place).expanduser())


def from_datasets(
    name: str, train: Any, test: Any, classes: int, *, task: Task = "classification", identity: str | None = None
) -> Data:
    """A data set from two map-style `torch.utils.data.Dataset`s of the user.

    Args:
        train: items are (image, label): a float tensor (C, H, W), already normalised and augmented, and a whole number, or in
            segmentation a map (H, W) of them in which 255 means no class. An attribute `targets` with all labels is used.
        test: likewise.
        identity: what tells this data from other data of the same name; by default a digest of the lengths, the labels where
            they are known, and a few test samples.

    Raises:
        InputError: where an item is of another form, a set is empty, or a label is out of range.
    """
    needed("torch", f"the data set {name}")
    from hwflow.datasets.own import wrapped

    return wrapped(name, train, test, classes, task, identity)


def _any_folder(folder: Path) -> Data:
    from hwflow.datasets import folders, idx

    if idx.present(folder):
        return idx.load(folder.resolve().name, folder, flips=False)
    return folders.load(folder.resolve().name, folder)


def _loaders() -> dict[str, Callable[[Path | None], Data]]:
    from hwflow.datasets import arrays, cifar, cityscapes, folders, idx

    def digits(place: Path | None) -> Data:
        if place is not None:
            raise InputError(f"digits is embedded in scikit-learn and needs no folder; leave {str(place)!r} out.")
        return arrays.digits()

    def fashion(place: Path | None) -> Data:
        installed = FASHION_MNIST if FASHION_MNIST.is_dir() else None
        found = place or _place("fashion-mnist", idx.NEEDS, "or: apt install dataset-fashion-mnist", installed)
        return idx.load("fashion-mnist", found, flips=True)

    return {
        "digits": digits,
        "fashion-mnist": fashion,
        "cifar10": lambda place: cifar.load(place or _place("cifar10", cifar.NEEDS)),
        "imagenet": lambda place: folders.load("imagenet", place or _place("imagenet", folders.NEEDS), size=224),
        "cityscapes": lambda place: cityscapes.load(place or _place("cityscapes", cityscapes.NEEDS)),
    }


def _place(name: str, needs: str, more: str = "", installed: Path | None = None) -> Path:
    root = os.environ.get("HWFLOW_DATA")
    if root and (Path(root) / name).is_dir():
        return Path(root) / name
    if installed is not None:
        return installed
    looked = f"$HWFLOW_DATA/{name}, here {Path(root) / name}," if root else f"$HWFLOW_DATA/{name} (HWFLOW_DATA is not set)"
    raise InputError(
        f"the data set {name} is not here: {looked} does not exist. Put {needs} into a folder and name it: "
        f"{name}:FOLDER{'; ' + more if more else ''}. hwflow fetches no data."
    )


__all__ = ["DATASETS", "Data", "from_datasets", "load_data"]

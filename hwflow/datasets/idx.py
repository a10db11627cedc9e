"""IDX files, as MNIST and Fashion-MNIST come in: a magic number, sizes, bytes; plain or compressed with gzip.

The format: http://yann.lecun.com/exdb/mnist. Bytes 0 and 1 are zero, byte 2 is the type (8: unsigned bytes), byte 3 the number
of dimensions; their sizes follow as big-endian 32-bit numbers.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwflow.datasets.arrays import in_memory
from hwflow.datasets.data import Data
from hwflow.errors import InputError
from hwflow.files import LIMITS, open_input

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_TYPES = {8: "unsigned bytes", 9: "signed bytes", 11: "short", 12: "int", 13: "float", 14: "double"}

NEEDS = "the files " + ", ".join(name for pair in _FILES.values() for name in pair) + " (or with .gz)"


def present(folder: Path) -> bool:
    """Whether a folder holds IDX files."""
    return any(_find(folder, name) is not None for name in _FILES["train"])


def load(name: str, folder: Path, *, flips: bool) -> Data:
    """The data set in a folder of four IDX files.

    Raises:
        InputError: naming the file that is missing, truncated, of another format, or does not fit the others.
    """
    parts = {part: _part(folder, *names) for part, names in _FILES.items()}
    classes = int(max(labels.max() for _, labels in parts.values())) + 1 if name != "fashion-mnist" else 10
    return in_memory(name, classes, parts["train"], parts["test"], flips=flips)


def _part(folder: Path, image_name: str, label_name: str) -> tuple[Tensor, Tensor]:
    paths = {name: _find(folder, name) for name in (image_name, label_name)}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise InputError(f"{folder} has no {' and no '.join(missing)}; it needs {NEEDS}.")
    image_path, label_path = paths[image_name], paths[label_name]
    assert image_path is not None
    assert label_path is not None
    images, labels = _array(image_path, 3), _array(label_path, 1)
    if len(images) != len(labels):
        raise InputError(
            f"{image_path} holds {len(images):,} images, {label_path} {len(labels):,} labels; they must be as many."
        )
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).to(torch.int64)


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _array(path: Path, dimensions: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    head = 4 + 4 * dimensions
    start = _bytes(path, head)
    if len(start) < head or start[:2] != b"\0\0" or start[2] not in _TYPES:
        raise InputError(f"{path} is no IDX file: it begins with {start[:4].hex(' ') or 'nothing'}. {_again(path)}")
    if (start[2], start[3]) != (8, dimensions):
        raise InputError(
            f"{path} holds {_TYPES[start[2]]} in {start[3]} dimensions; here unsigned bytes in {dimensions} are needed."
        )
    sizes = tuple(int.from_bytes(start[i : i + 4]) for i in range(4, head, 4))
    length = head + math.prod(sizes)
    if length > LIMITS["images"]:
        raise InputError(
            f"{path} announces {' x '.join(map(str, sizes))} values, so {length:,} bytes; hwflow reads at most "
            f"{LIMITS['images']:,} of a file of images."
        )
    content = _bytes(path, length + 1)
    if len(content) != length:
        found = f"{len(content):,}" if len(content) < length else "more"
        raise InputError(
            f"{path} announces {' x '.join(map(str, sizes))} values, so {length:,} bytes, but has {found}. {_again(path)}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(sizes).copy()


def _bytes(path: Path, limit: int) -> bytes:
    """At most `limit` bytes; a damaged end gives what could be read."""
    try:
        with open_input(path, "", "images") as file, gzip.open(file) if path.suffix == ".gz" else file as handle:
            content = bytearray()
            try:
                while len(content) < limit and (piece := handle.read(min(limit - len(content), 1 << 20))):
                    content += piece
            except EOFError:
                pass
            return bytes(content)
    except (OSError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}. {_again(path)}") from error


def _again(path: Path) -> str:
    return f"Get {path.name} again."


__all__ = ["NEEDS", "load", "present"]

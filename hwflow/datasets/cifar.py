"""CIFAR-10's files (https://www.cs.toronto.edu/~kriz/cifar.html), binary or Python version.

The Python version is pickles; they are read by an unpickler that knows NumPy arrays of bytes and nothing else.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwflow.datasets.arrays import in_memory
from hwflow.datasets.data import Data
from hwflow.errors import InputError
from hwflow.files import read_bytes

_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
_TEST = ("test_batch",)
_PIXELS = 3 * 32 * 32
_FOLDERS = (".", "cifar-10-batches-bin", "cifar-10-batches-py")

NEEDS = "data_batch_1 to data_batch_5 and test_batch (all with .bin, the binary version, or all without, the Python version)"


def load(folder: Path) -> Data:
    """The data set in a folder, or in the folder that its archive unpacks to.

    Raises:
        InputError: naming the file that is missing, truncated, of another format, or has labels out of range.
    """
    for place in (folder / name for name in _FOLDERS):
        for suffix, read in ((".bin", _binary), ("", _pickled)):
            if (place / f"{_TRAIN[0]}{suffix}").is_file():
                train, test = (_joined([place / f"{n}{suffix}" for n in names], read) for names in (_TRAIN, _TEST))
                return in_memory("cifar10", 10, train, test, flips=True)
    raise InputError(f"{folder} has no data_batch_1.bin and no data_batch_1; it needs {NEEDS}, unpacked.")


def _joined(paths: list[Path], read: Any) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path} is missing; the folder needs {NEEDS}.")
        found_images, found_labels = read(path, read_bytes(path, "", "images"))
        if len(found_labels) and int(found_labels.max()) > 9:
            raise InputError(
                f"{path} has the label {int(found_labels.max())}; CIFAR-10's labels are 0 to 9. Is it another set?"
            )
        images.append(torch.from_numpy(found_images.reshape(-1, 3, 32, 32).copy()))
        labels.append(torch.from_numpy(found_labels.astype(np.int64)))
    return torch.cat(images), torch.cat(labels)


def _binary(path: Path, content: bytes) -> tuple[Any, Any]:
    """Rows of a label and 3072 pixels."""
    if not content or len(content) % (_PIXELS + 1):
        raise InputError(
            f"{path} has {len(content):,} bytes, which is no multiple of {_PIXELS + 1:,} (a label and 3 x 32 x 32 pixels): "
            "it is truncated or another format. Get it again."
        )
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, _PIXELS + 1)
    return rows[:, 1:], rows[:, 0]


def _pickled(path: Path, content: bytes) -> tuple[Any, Any]:
    """A dictionary with `data`, an array of bytes (n, 3072), and `labels`, a list of n numbers."""
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # what broken pickles raise is not bounded
        raise InputError(
            f"{path} is no pickle of CIFAR-10, or truncated ({type(error).__name__}: {error}). Get it again."
        ) from error
    data, labels = (found.get(key) if isinstance(found, dict) else None for key in (b"data", b"labels"))
    right = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == _PIXELS
    if not right or not isinstance(labels, list) or not all(isinstance(n, int) and n >= 0 for n in labels):
        raise InputError(f"{path} holds no {_PIXELS:,} bytes an image under 'data' with whole numbers under 'labels'.")
    assert isinstance(data, np.ndarray)
    if len(data) != len(labels) or not labels:
        raise InputError(f"{path} holds {len(data):,} images and {len(labels):,} labels; they must be as many.")
    return data, np.array(labels)


class _Unpickler(pickle.Unpickler):
    """Only what CIFAR-10's files contain besides plain data: how NumPy rebuilds an array. Nothing else is ever imported."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _empty_array
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise InputError(f"it asks for {module}.{name}, which CIFAR-10's files do not contain; it was not run. Get it again.")


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> Any:
    """What `numpy.core.multiarray._reconstruct` gives in these files: an array that is filled next."""
    if kind is not np.ndarray:
        raise InputError("it rebuilds something else than an array; it was not run.")
    return np.ndarray((0,), dtype=np.uint8)


__all__ = ["NEEDS", "load"]

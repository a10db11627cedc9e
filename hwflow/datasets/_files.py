"""Image files: decoded by Pillow in several threads, resized, and checked before a long run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from hwflow.errors import InputError
from hwflow.files import checked, open_input
from hwflow.optional import needed

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's images: what published weights were trained with."""

NEAREST, BILINEAR = 0, 2
"""Pillow's numbers of its filters (PIL.Image.Resampling)."""

_ENDS = {"JPEG": (b"\xff\xd9", 64 * 1024), "PNG": (b"IEND", 64)}
"""What stands at the end of a whole file, and how far from it at most: some cameras write more after it."""
_SHOWN = 3


def opened(path: Path, mode: str) -> Image:
    """A decoded image.

    Raises:
        InputError: naming the file.
    """
    pil = needed("PIL.Image", "reading images")
    try:
        with pil.open(checked(path, "", "images")) as image:
            converted: Image = image.convert(mode) if image.mode != mode else image.copy()
            return converted
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like: SyntaxError, struct.error, OSError, ...
        raise InputError(f"{path} cannot be read as an image: {_reason(error, path)}. Replace or remove it.") from error


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) from the header alone."""
    pil = needed("PIL.Image", "reading images")
    try:
        with pil.open(checked(path, "", "images")) as image:
            width, height = image.size
            return int(width), int(height)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read as an image: {_reason(error, path)}. Replace or remove it.") from error


def bytes_of(image: Image) -> Tensor:
    """(C, H, W) uint8, or (H, W) for one channel."""
    import numpy as np

    values = torch.from_numpy(np.array(image, dtype=np.uint8))
    return values if values.ndim == 2 else values.permute(2, 0, 1)


def in_threads(work: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
    """`work` on every item, in order; Pillow decodes without holding the interpreter's lock."""
    threads = min(len(items), os.cpu_count() or 1, 16)
    if threads <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads, "hwflow-decode") as pool:
        return list(pool.map(work, items))


def check(paths: Iterable[Path]) -> None:
    """That files begin and end as images do (PNG: all of it); far quicker than decoding them.

    Raises:
        InputError: naming the first few bad ones, and how many there are.
    """
    found = [problem for problem in in_threads(_problem, list(paths)) if problem is not None]
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        count = "an image" if len(found) == 1 else f"{len(found):,} images"
        raise InputError(f"{count} cannot be read: {'; '.join(found[:_SHOWN])}{more}. Replace or remove them.")


def digest(root: Path, paths: Iterable[Path]) -> str:
    """A hash of paths, sizes and modification times, instead of the content of many files."""
    found = hashlib.sha256()
    for path in paths:
        status = path.stat()
        found.update(f"{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return found.hexdigest()


def _problem(path: Path) -> str | None:
    pil = needed("PIL.Image", "reading images")
    try:
        with pil.open(checked(path, "", "images")) as image:
            end, within = _ENDS.get(image.format, (b"", 0))
            if image.format == "PNG":
                image.verify()  # checks the sums of all chunks
        if end:
            with open_input(path, "", "images") as handle:
                handle.seek(max(0, path.stat().st_size - within))
                if end not in handle.read():
                    return f"{path} (truncated)"
    except Exception as error:
        return f"{path} ({_reason(error, path)})"
    return None


def _reason(error: Exception, path: Path) -> str:
    text = " ".join(str(error).split()).replace(repr(str(path)), "the file").removeprefix(f"{path} ") or type(error).__name__
    return "it is empty" if path.is_file() and not path.stat().st_size else text.rstrip(".")


__all__ = ["BILINEAR", "MEAN", "NEAREST", "STD", "SUFFIXES", "bytes_of", "check", "digest", "in_threads", "opened", "size_of"]

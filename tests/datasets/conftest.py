"""Small data sets in the formats of the large ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.datasets.formats import IDX_FILES, idx_bytes


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """40 and 20 images of 6 x 5, four classes; the training part compressed."""
    random = np.random.default_rng(0)
    folder = tmp_path / "clothes"
    folder.mkdir()
    for count, names in ((40, IDX_FILES[:2]), (20, IDX_FILES[2:])):
        contents = (random.integers(0, 256, (count, 6, 5)), np.arange(count) % 4)
        for name, values in zip(names, contents, strict=True):
            data = idx_bytes(values)
            if count == 40:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    """cat (reddish) and dog (greenish): 8 images each to train, 4 to validate, 40 x 30 pixels."""
    random = np.random.default_rng(0)
    root = tmp_path / "pets"
    for part, count in (("train", 8), ("val", 4)):
        for label, name in enumerate(("cat", "dog")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 100, (30, 40, 3), dtype=np.uint8)
                pixels[..., label] = 250
                Image.fromarray(pixels).save(folder / f"{i}.{'png' if i % 2 else 'jpg'}")
    return root


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Cityscapes' folders: 4 scenes to train, 2 to validate, 64 x 32 pixels; sky (23) over road (7) with a car (26)."""
    root = tmp_path / "cityscapes"
    for part, count in (("train", 4), ("val", 2)):
        images, labels = root / "leftImg8bit" / part / "bonn", root / "gtFine" / part / "bonn"
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for i in range(count):
            ids = np.full((32, 64), 7, np.uint8)
            ids[:16] = 23
            ids[20:26, 10 + i : 30 + i] = 26
            ids[31] = 0
            Image.fromarray(np.stack([ids * 9, ids * 5, ids * 3], axis=-1)).save(images / f"bonn_{i}_leftImg8bit.png")
            Image.fromarray(ids).save(labels / f"bonn_{i}_gtFine_labelIds.png")
    return root

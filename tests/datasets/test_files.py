"""Data sets in files of bytes: IDX and CIFAR-10, whole and broken."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from hwflow import datasets
from hwflow.datasets import load_data
from hwflow.errors import HwflowError, InputError
from tests.datasets.formats import IDX_FILES, idx_bytes

# IDX -----------------------------------------------------------------------------------------------------------------


def test_idx_files_are_read_compressed_or_not(idx_folder: Path) -> None:
    data = load_data(str(idx_folder))
    assert (data.name, data.classes, data.input_shape) == ("clothes", 4, (1, 6, 5))
    assert (len(data.train), len(data.test)) == (40, 20)
    first = np.random.default_rng(0).integers(0, 256, (40, 6, 5))[0]
    images, labels = data.train.source.read(torch.tensor([0, 7]), None)
    assert images[0, 0].tolist() == first.tolist()
    assert labels.tolist() == [0, 3]


def test_fashion_mnist_is_found_where_the_user_says(idx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = load_data(f"fashion-mnist:{idx_folder}")
    assert (named.name, named.classes) == ("fashion-mnist", 10)
    assert load_data("fashion-mnist", idx_folder).identity == named.identity
    idx_folder.rename(idx_folder.parent / "fashion-mnist")
    monkeypatch.setenv("HWFLOW_DATA", str(idx_folder.parent))
    assert load_data("fashion-mnist").identity == named.identity


def test_fashion_mnist_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HWFLOW_DATA", raising=False)
    monkeypatch.setattr(datasets, "FASHION_MNIST", tmp_path / "nowhere")
    with pytest.raises(InputError) as caught:
        load_data("fashion-mnist")
    for part in (*IDX_FILES, "fashion-mnist:FOLDER", "apt install dataset-fashion-mnist", "HWFLOW_DATA is not set"):
        assert part in str(caught.value)


def test_debians_fashion_mnist() -> None:
    if not datasets.FASHION_MNIST.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    data = load_data("fashion-mnist")
    assert (len(data.train), len(data.test), data.input_shape) == (60_000, 10_000, (1, 28, 28))
    assert data.train.source.mean == (0.286,)
    assert data.train.source.std == (0.353,)
    assert data.test.labels is not None
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    assert len(data.hold_out()[1]) == 5000


BREAKS = {
    "magic": (b"\x89PNG" + bytes(50), r"is no IDX file: it begins with 89 50 4e 47"),
    "empty": (b"", r"is no IDX file: it begins with nothing"),
    "floats": (bytes([0, 0, 13, 3]) + bytes(100), r"holds float in 3 dimensions; here unsigned bytes in 3 are needed"),
    "labels": (idx_bytes(np.zeros(20)), r"holds unsigned bytes in 1 dimensions; here unsigned bytes in 3 are needed"),
    "truncated": (idx_bytes(np.zeros((20, 6, 5)))[:-1], r"announces 20 x 6 x 5 values, so 616 bytes, but has 615"),
    "too long": (idx_bytes(np.zeros((20, 6, 5))) + b"x", r"announces 20 x 6 x 5 values, so 616 bytes, but has more"),
    "count": (idx_bytes(np.zeros((19, 6, 5))), r"holds 19 images, .*labels.* 20 labels; they must be as many"),
    "shape": (idx_bytes(np.zeros((20, 5, 6))), r"the test images are 1x5x6, those of train 1x6x5"),
    "none": (idx_bytes(np.zeros((0, 6, 5))), r"holds 0 images"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_idx_file_is_named(idx_folder: Path, how: str) -> None:
    content, message = BREAKS[how]
    (idx_folder / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_data(str(idx_folder))
    assert "t10k-images-idx3-ubyte" in str(caught.value) or how == "shape"


def test_an_archive_that_breaks_off_is_named(idx_folder: Path) -> None:
    path = idx_folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:6], b"no archive at all"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz .*Get train-images-idx3-ubyte\.gz again"):
            load_data(str(idx_folder))


def test_an_archive_that_unpacks_without_end_is_not_read_to_it(idx_folder: Path) -> None:
    path = idx_folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((40, 6, 5))) + bytes(30_000_000)))
    with pytest.raises(InputError, match="so 1,216 bytes, but has more"):
        load_data(str(idx_folder))


def test_a_missing_idx_file_is_named(idx_folder: Path) -> None:
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=r"clothes has no t10k-labels-idx1-ubyte; it needs the files train-images"):
        load_data(str(idx_folder))


def test_labels_that_no_class_has_are_refused(idx_folder: Path) -> None:
    (idx_folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(20, 10)))
    with pytest.raises(InputError, match=r"labels of the test part reach from 10 to 10; with 10 classes they must be 0 to 9"):
        load_data(f"fashion-mnist:{idx_folder}")


# CIFAR-10 ------------------------------------------------------------------------------------------------------------

BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def rows(seed: int, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 3072), dtype=np.uint8), random.integers(0, 10, count, dtype=np.uint8)


def binary_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for i, name in enumerate(BATCHES):
        images, labels = rows(i)
        (folder / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], images], axis=1).tobytes())
    return folder


def pickled_by_python2(images: np.ndarray, labels: list[int]) -> bytes:
    """As the real files are: protocol 2, byte strings, an array rebuilt by numpy.core.multiarray._reconstruct."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def whole(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + whole(0) + whole(1) + b"\x87R"
    dtype += b"(" + whole(3) + text(b"|") + b"NNN" + whole(-1) + whole(-1) + whole(0) + b"tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + whole(0) + b"\x85" + text(b"b") + b"tR"
    content = images.tobytes()
    shape = whole(len(images)) + whole(images.shape[1]) + b"\x86"
    array = empty + b"(" + whole(1) + shape + dtype + b"\x89" + b"T" + struct.pack("<i", len(content)) + content + b"tb"
    listed = b"(" + b"".join(whole(n) for n in labels) + b"l"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


def pickled_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for i, name in enumerate(BATCHES):
        images, labels = rows(i)
        (folder / name).write_bytes(pickled_by_python2(images, labels.tolist()))
    return folder


def test_both_versions_of_cifar10_are_the_same_data(tmp_path: Path) -> None:
    binary = load_data(f"cifar10:{binary_folder(tmp_path / 'bin')}")
    pickled_folder(tmp_path / "unpacked" / "cifar-10-batches-py")
    pickled = load_data("cifar10", tmp_path / "unpacked")
    assert (binary.classes, binary.input_shape, len(binary.train), len(binary.test)) == (10, (3, 32, 32), 40, 8)
    assert binary.identity == pickled.identity
    images, labels = binary.train.source.read(torch.arange(40), None)
    assert images[8].flatten().tolist() == rows(1)[0][0].tolist()
    assert labels[8:16].tolist() == rows(1)[1].tolist()


def test_cifar10_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWFLOW_DATA", str(tmp_path))
    with pytest.raises(InputError, match=rf"cifar10 is not here: .*{tmp_path}/cifar10, does not exist\. Put data_batch_1 to"):
        load_data("cifar10")
    with pytest.raises(InputError, match=r"has no data_batch_1\.bin and no data_batch_1; it needs"):
        load_data("cifar10", tmp_path)


def test_a_pickle_that_asks_for_anything_else_is_not_run(tmp_path: Path) -> None:
    folder = pickled_folder(tmp_path / "cifar")
    command = f"touch {tmp_path}/ran".encode()
    argument = b"(X" + struct.pack("<i", len(command)) + command + b"t"
    for asked in (b"posix\nsystem", b"numpy\nfromfile", b"numpy.core.multiarray\nscalar", b"builtins\neval"):
        (folder / "data_batch_3").write_bytes(b"\x80\x02c" + asked + b"\n" + argument + b"R.")
        name = asked.decode().replace("\n", ".")
        with pytest.raises(InputError, match=rf"data_batch_3: it asks for {name}, which CIFAR-10's files do not contain"):
            load_data("cifar10", folder)
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"data_batch_2 is no pickle of CIFAR-10, or truncated \(EOFError"),
        (b"not a pickle", r"data_batch_2 is no pickle of CIFAR-10"),
        (pickled_by_python2(*[a.tolist() if a.ndim == 1 else a for a in rows(0)])[:-4000], r"or truncated \(UnpicklingError"),
        (pickle.dumps([1, 2]), r"data_batch_2 holds no 3,072 bytes an image under 'data'"),
        (pickled_by_python2(rows(0)[0][:, :100], [0] * 8), r"data_batch_2 holds no 3,072 bytes an image under 'data'"),
        (pickled_by_python2(rows(0)[0], [0] * 7), r"data_batch_2 holds 8 images and 7 labels; they must be as many"),
        (pickled_by_python2(rows(0)[0], [10] * 8), r"data_batch_2 has the label 10; CIFAR-10's labels are 0 to 9"),
    ],
)
def test_a_broken_pickle_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    folder = pickled_folder(tmp_path / "cifar")
    (folder / "data_batch_2").write_bytes(content)
    with pytest.raises(HwflowError, match=message):
        load_data("cifar10", folder)


def test_a_broken_binary_file_is_named(tmp_path: Path) -> None:
    folder = binary_folder(tmp_path / "cifar")
    path = folder / "data_batch_4.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"data_batch_4\.bin has 24,583 bytes, which is no multiple of 3,073"):
        load_data("cifar10", folder)
    path.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(InputError, match=r"data_batch_4\.bin has the label 10"):
        load_data("cifar10", folder)
    path.unlink()
    with pytest.raises(InputError, match=r"data_batch_4\.bin is missing"):
        load_data("cifar10", folder)

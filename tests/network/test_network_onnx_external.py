"""Tensors outside an ONNX file, of which only shapes and small contents are read, and sparse ones."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import ints, save, weights

from hwflow.errors import ImportFailed
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.network.from_onnx import read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


@pytest.fixture
def little_memory() -> Iterator[None]:
    """2 GiB of address space more than now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**31, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def external(path: Path, tensor: Any, location: str, **entries: int) -> Any:
    """`tensor` without its content, which is said to be elsewhere."""
    bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    bare.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        bare.external_data.add(key=key, value=str(value))
    return bare


def reshaping(path: Path, to: Any) -> Path:
    nodes = [helper.make_node("Reshape", ["x", "to"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"], name="product")]
    return save(path, nodes, {"x": [4, 6]}, [to, weights("w", 8, 2)])


def test_of_external_data_only_small_tensors_are_read(path: Path, little_memory: None) -> None:
    """The file has 64 GiB, most of it a hole; the tensor of two elements stands in its middle, and no length is given."""
    with (path.parent / "weights.bin").open("wb") as handle:
        handle.truncate(2**36)
        handle.seek(2**35)
        handle.write(np.array([3, 8], dtype=np.int64).tobytes())
    begun = time.process_time()
    assert read(reshaping(path, external(path, ints("to", 3, 8), "weights.bin", offset=2**35))).macs == 3 * 8 * 2
    assert time.process_time() - begun < 2


def test_weights_outside_the_file_may_be_missing(path: Path) -> None:
    kernel = numpy_helper.from_array(np.zeros((128, 64, 3, 3), dtype=np.float32), "w")
    save(path, [helper.make_node("Conv", ["x", "w"], ["y"])], {"x": [1, 64, 8, 8]}, [kernel])
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="weights.bin")
    (path.parent / "weights.bin").unlink()
    assert read(path).params == 128 * 64 * 9


def test_small_constants_outside_the_file_are_read(path: Path) -> None:
    reshaping(path, ints("to", 3, 8))
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert read(path).macs == 3 * 8 * 2


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../secret.bin"])
def test_nothing_outside_the_models_folder_is_read(path: Path, location: str) -> None:
    (path.parent.parent / "secret.bin").write_bytes(np.array([3, 8], dtype=np.int64).tobytes())
    with pytest.raises(
        ImportFailed, match=r"the tensor 'to' refers to .*, outside the model's folder, where hwflow reads nothing"
    ):
        read(reshaping(path, external(path, ints("to", 3, 8), location)))


def test_an_attribute_cannot_refer_to_another_file(path: Path) -> None:
    (path.parent.parent / "secret.bin").write_bytes(np.array([3, 8], dtype=np.int64).tobytes())
    nodes = [
        helper.make_node("Constant", [], ["to"], value=external(path, ints("", 3, 8), "../secret.bin")),
        helper.make_node("Reshape", ["x", "to"], ["a"]),
    ]
    save(path, nodes, {"x": [4, 6]})
    with pytest.raises(ImportFailed, match="outside the model's folder"):
        read(path)
    filled = helper.make_node("ConstantOfShape", ["size"], ["w"], value=external(path, ints("", 3), "../secret.bin"))
    save(path, [filled, helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [4, 6]}, [ints("size", 6, 2)])
    assert read(path).macs == 48


def links_out(place: Path) -> None:
    secret = place.parent.parent / "secret.bin"
    secret.write_bytes(np.array([3, 8], dtype=np.int64).tobytes())
    place.symlink_to(secret)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (links_out, "a link that leads out of the model's folder"),
        (lambda place: place.symlink_to(place), "which cannot be read"),
        (os.mkfifo, "which cannot be read .*is a named pipe, not a regular file"),
        (os.mkdir, "which cannot be read .*is a folder"),
        (lambda place: place.write_bytes(b"123"), "which ends before them"),
        (lambda place: None, "which cannot be read .*there is no such file"),
    ],
    ids=["link", "loop", "pipe", "folder", "short", "missing"],
)
def test_what_was_not_read_is_named_where_it_matters(path: Path, made: Any, reason: str) -> None:
    made(path.parent / "sizes.bin")
    with pytest.raises(
        ImportFailed, match=rf"node 'product' \(MatMul\): the shape of 'a' .*or on 'to': .*'sizes\.bin', {reason}"
    ):
        read(reshaping(path, external(path, ints("to", 3, 8), "sizes.bin")))


@pytest.mark.parametrize(
    "entries", [{"offset": "x"}, {"offset": -1}, {"location": ""}], ids=["no number", "negative", "no location"]
)
def test_external_data_that_is_damaged(path: Path, entries: dict[str, Any]) -> None:
    location = entries.pop("location", "sizes.bin")
    with pytest.raises(ImportFailed, match="the tensor 'to' is damaged"):
        read(reshaping(path, external(path, ints("to", 3, 8), location, **entries)))


def test_links_to_the_model_itself_are_followed(path: Path) -> None:
    reshaping(path, ints("to", 3, 8))
    (path.parent / "link.onnx").symlink_to(path)
    assert Network.from_onnx(path.parent / "link.onnx").macs == 48


# Sparse initializers -------------------------------------------------------------------------------------------------


def test_sparse_weights_have_their_whole_shape(path: Path) -> None:
    def sparse(name: str) -> Any:
        values = numpy_helper.from_array(np.ones(3, dtype=np.float32), name)
        return helper.make_sparse_tensor(values, ints("", 0, 5, 40), [16, 3])

    save(path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], {"x": [2, 16]})
    model = onnx.load(str(path))
    model.graph.sparse_initializer.append(sparse("w"))
    onnx.save(model, str(path))
    assert read(path).layers == (Layer("product", type="linear", N=2, C=16, M=3),)
    constant = helper.make_node("Constant", [], ["w"], sparse_value=sparse(""))
    assert read(save(path, [constant, helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 16]})).macs == 96

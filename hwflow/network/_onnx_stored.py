"""Tensors in an ONNX file or beside it; of weights only the shapes are read, not the data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from hwflow.errors import ImportFailed, InputError
from hwflow.files import read_part
from hwflow.network._onnx_values import SMALL, Tensor, known

_PACKED = frozenset(["FLOAT4E2M1", "INT2", "INT4", "UINT2", "UINT4"])


def stored(tensor: Any, path: Path, unread: dict[str, str], name: str) -> Tensor:
    """The value of an initializer or of the attribute of a Constant.

    Args:
        name: of the value, in errors.
        path: of the model; data outside it is read from its folder alone.
        unread: receives, by the tensor's name, why a small tensor's content could not be read.

    Raises:
        ImportFailed: where the tensor is damaged, or its content is outside the model's folder.
    """
    dims = tuple(tensor.dims)
    label = f"{path}: the tensor {name!r}"
    if any(n < 0 for n in dims) or tensor.data_type not in TensorProto.DataType.values():
        raise ImportFailed(f"{label} is damaged: its shape is {list(dims)}, its element type {tensor.data_type}.")
    bare = Tensor(tensor.data_type, dims, True)
    if math.prod(dims) > SMALL:
        return bare
    if tensor.data_location == TensorProto.EXTERNAL:
        content = _external(tensor, path, label)
        if isinstance(content, str):
            unread[name] = content
            return bare
        whole = TensorProto(data_type=tensor.data_type, dims=dims, raw_data=content)
    else:
        whole = tensor
    try:
        return known(np.asarray(numpy_helper.to_array(whole)).reshape(dims))
    except Exception as error:  # onnx raises arbitrary exceptions on damaged tensors
        raise ImportFailed(f"{label} is damaged: {' '.join(str(error).split())}.") from error


def sparse(tensor: Any, path: Path) -> Tensor:
    """A sparse initializer counts with its dense shape; which products are skipped depends on the accelerator."""
    name, dims = tensor.values.name, tuple(tensor.dims)
    if any(n < 0 for n in dims):
        raise ImportFailed(f"{path}: the sparse tensor {name!r} is damaged: its shape is {list(dims)}.")
    return Tensor(tensor.values.data_type, dims, True)


def has_external(node: Any) -> bool:
    """Whether an attribute of the node refers to another file."""
    return any(t.data_location == TensorProto.EXTERNAL for a in node.attribute for t in (a.t, *a.tensors))


def _external(tensor: Any, path: Path, label: str) -> bytes | str:
    """The bytes of the tensor, or why they cannot be read."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    try:
        offset = int(entries.get("offset", "0"))
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (ValueError, KeyError, TypeError) as error:
        raise ImportFailed(f"{label} is damaged: where its content is cannot be read ({error}).") from error
    if not location or offset < 0:
        raise ImportFailed(f"{label} is damaged: its content is at {offset} in {location!r}.")
    if TensorProto.DataType.Name(tensor.data_type) in _PACKED:
        return f"its values are in {location!r} and of a type that no shape has"
    if Path(location).is_absolute() or ".." in Path(location).parts:
        raise ImportFailed(
            f"{label} refers to {location!r}, outside the model's folder, where hwflow reads nothing. Save the model with its "
            "external data beside it."
        )
    wanted = kind.itemsize * math.prod(tensor.dims)
    try:
        place = (path.parent / location).resolve()
        if not place.is_relative_to(path.parent.resolve()):
            return f"its values are in {location!r}, a link that leads out of the model's folder"
        content = read_part(place, "", offset, wanted)
    except (InputError, OSError, ValueError, RuntimeError) as error:  # a null byte in the name, or a cycle of links
        return f"its values are in {location!r}, which cannot be read ({str(error).rstrip('.')})"
    if len(content) < wanted:
        return f"its values are in {location!r}, which ends before them"
    return content

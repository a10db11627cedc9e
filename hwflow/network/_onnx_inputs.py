"""Sizes for the dynamic dimensions of an ONNX model's inputs, the batch among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwflow.errors import ImportFailed, InputError, not_found
from hwflow.network._inputs import InputSpec, inputs_of
from hwflow.network._rows import checked_batch, shown


def fix_inputs(graph: Any, path: Path, input_shape: Any, batch: int | None) -> None:
    """Write the user's sizes into the inputs of `graph`; a symbolic size is replaced everywhere.

    Raises:
        InputError: where the sizes contradict each other or the file.
        ImportFailed: naming an input and its dimension that are still open, and the option.
    """
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored and value.type.HasField("tensor_type")]
    checked_batch(None, batch)
    given = _given(input_shape, inputs, path)
    symbols: dict[str, int] = {}
    for value, spec in given:
        checked_batch(spec.shape, batch)
        _write(value, spec.shape, path, symbols)
    if batch is not None:
        sized = {value.name for value, _ in given}
        _write_batch([value for value in inputs if value.name not in sized], batch, symbols)
    for value in inputs:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") and dim.dim_param in symbols:
                dim.dim_value = symbols[dim.dim_param]
            if not dim.HasField("dim_value") or dim.dim_value < 1:
                raise _open(value, axis, path)
        if not value.type.tensor_type.HasField("shape"):
            raise ImportFailed(
                f"{path}: input {value.name!r} has no shape in the file; give it with --input 1x3x224x224 (input_shape=)."
            )


def _given(input_shape: Any, inputs: list[Any], path: Path) -> list[tuple[Any, InputSpec]]:
    """The inputs of the graph that the user described, by name or else in the graph's order."""
    if input_shape is None:
        return []
    specs = inputs_of(input_shape)
    ordered = [spec for spec in specs if spec.name is None]
    by_name = {value.name: value for value in inputs}
    for spec in specs:
        if spec.name is not None and spec.name not in by_name:
            raise not_found(f"input in {path}", spec.name, list(by_name))
    free = [value for value in inputs if value.name not in {spec.name for spec in specs}]
    if len(ordered) > len(free) or (len(ordered) > 1 and len(ordered) < len(free)):
        names = ", ".join(by_name)
        raise InputError(
            f"input_shape has {len(specs)} shapes; {path} has {len(inputs)} inputs: {names}. Name the "
            f"inputs that are meant: --input {next(iter(by_name), 'x')}=SIZES (a mapping in Python)."
        )
    named = [(by_name[spec.name], spec) for spec in specs if spec.name is not None]
    found = [*zip(free, ordered, strict=False), *named]
    for value, spec in found:
        _check_type(value, spec, path)
    return found


def _check_type(value: Any, spec: InputSpec, path: Path) -> None:
    from onnx import TensorProto

    name = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    written = {"float": "float32", "double": "float64"}.get(name, name)
    if spec.dtype not in (None, written):
        raise InputError(
            f"input_shape says {spec.dtype} for input {value.name!r}; {path} fixes it at {written}. Leave the type out."
        )


def _write(value: Any, shape: tuple[int, ...], path: Path, symbols: dict[str, int]) -> None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        for size in shape:
            kind.shape.dim.add().dim_value = size
        return
    written = _sizes(kind)
    if len(kind.shape.dim) != len(shape):
        raise InputError(
            f"input_shape is {shown(shape)}; input {value.name!r} of {path} has {len(kind.shape.dim)} axes: {written}."
        )
    for axis, (dim, size) in enumerate(zip(kind.shape.dim, shape, strict=True)):
        if axis > 0 and dim.HasField("dim_value") and 0 < dim.dim_value != size:
            raise InputError(
                f"input_shape is {shown(shape)}; {path} fixes dimension {axis} of input {value.name!r} at {dim.dim_value}: "
                f"{written}."
            )
        if dim.dim_param and symbols.setdefault(dim.dim_param, size) != size:
            raise InputError(
                f"input_shape gives dimension {dim.dim_param!r} of {path} two sizes: {symbols[dim.dim_param]} and {size}."
            )
        dim.dim_value = size


def _write_batch(inputs: list[Any], batch: int, symbols: dict[str, int]) -> None:
    """Set the batch: the open first axes of the inputs or, if the file fixes them, those equal to the first input's."""
    first = [v.type.tensor_type.shape.dim[0] for v in inputs if len(v.type.tensor_type.shape.dim)]
    leading = [dim for dim in first if not dim.HasField("dim_value") or dim.dim_value < 1]
    if not leading and first and not symbols:
        leading = [dim for dim in first if dim.dim_value == first[0].dim_value]
    for dim in leading:
        if dim.dim_param:
            symbols.setdefault(dim.dim_param, batch)
        dim.dim_value = symbols.get(dim.dim_param, batch)


def _open(value: Any, axis: int, path: Path) -> ImportFailed:
    dims = value.type.tensor_type.shape.dim
    also = [other for other in range(axis + 1, len(dims)) if not dims[other].HasField("dim_value") or dims[other].dim_value < 1]
    named = [f"{one} ({dims[one].dim_param!r})" if dims[one].dim_param else str(one) for one in (axis, *also)]
    remedy = "--batch 1 (batch=), or the whole shape with --input" if axis == 0 and not also else "--input"
    which, them = (f"dimensions {', '.join(named)}", "are left open") if also else (f"dimension {named[0]}", "is left open")
    return ImportFailed(
        f"{path}: {which} of input {value.name!r}, {_sizes(value.type.tensor_type)}, {them} by the file; give "
        f"{'all' if also else 'it'} with {remedy} {_example(value)} (input_shape=)."
    )


def _sizes(kind: Any) -> str:
    return shown([d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim])


def _example(value: Any) -> str:
    dims = value.type.tensor_type.shape.dim
    usual = [1, 3, 224, 224] if len(dims) == 4 else [1] * len(dims)
    return shown([d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else n for d, n in zip(dims, usual, strict=True)])

"""An ONNX node with its input and output values, as shape inference and rows use it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwflow.errors import ImportFailed
from hwflow.network._onnx_values import Other, Tensor, Value
from hwflow.network._rows import shown


class Node:
    """One node where it is executed.

    Attributes:
        proto: the node in the file, with references to attributes of the enclosing function resolved.
        inputs: None for an omitted optional input.
        outputs: empty until they are known; None for an unnamed output.
        name: of its row; see `named`.
    """

    def __init__(
        self, proto: Any, inputs: Sequence[Value | None], path: Path, prefix: str = "", unread: Mapping[str, str] | None = None
    ) -> None:
        self.proto = proto
        self.op: str = proto.op_type
        self.inputs = list(inputs)
        self.outputs: list[Value | None] = []
        self.attributes = {a.name: a for a in proto.attribute}
        self.name = named(proto, self.inputs, prefix)
        self.path = path
        self._unread = unread or {}

    # Values ----------------------------------------------------------------------------------------------------------

    def has(self, position: int) -> bool:
        """Whether an optional input is present."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def value(self, position: int) -> Value:
        """A required input."""
        value = self.inputs[position] if self.has(position) else None
        if value is None:
            raise self.failure(f"its input {position + 1} is missing, so this is no whole ONNX file; export the model again")
        return value

    def tensor(self, position: int) -> Tensor:
        """A required input that must be a tensor."""
        value = self.value(position)
        if isinstance(value, Other) and value.type is None:
            raise self.failure(f"the type of its input {self._input_name(position)!r} is unknown; it depends on data")
        if not isinstance(value, Tensor):
            raise self.failure(f"its input {self._input_name(position)!r} is no tensor")
        return value

    def shape(self, position: int) -> tuple[int, ...]:
        """The complete shape of a required input."""
        return self._sizes(self.tensor(position), self._input_name(position))

    def result(self) -> tuple[int, ...]:
        """The complete shape of the first output."""
        value = self.outputs[0] if self.outputs else None
        if not isinstance(value, Tensor):
            raise self.failure("its output 1 is missing, so this is no whole ONNX file; export the model again")
        return self._sizes(value, self.proto.output[0])

    def fixed(self, position: int) -> bool:
        """Whether an input is a constant: weights, not activations."""
        return self.tensor(position).constant

    def size(self, position: int) -> int:
        """The number of elements of an optional constant input."""
        value = self.inputs[position] if self.has(position) else None
        return value.elements if isinstance(value, Tensor) and value.constant else 0

    def content(self, position: int) -> list[int] | None:
        """The integers in a small constant input; None where it is omitted.

        Raises:
            ImportFailed: where they depend on data.
        """
        if not self.has(position):
            return None
        value = self.tensor(position)
        if value.data is None:
            raise self.failure(f"its input {self._input_name(position)!r} depends on data{self._why_unread()}")
        return [int(n) for n in value.data.ravel().tolist()]

    def _input_name(self, position: int) -> str:
        return str(self.proto.input[position]) if position < len(self.proto.input) else f"input {position + 1}"

    def _sizes(self, value: Tensor, name: str) -> tuple[int, ...]:
        if value.sizes is None:
            found = "unknown" if value.shape is None else shown(["?" if n is None else n for n in value.shape])
            raise self.failure(f"the shape of {name!r} is {found}; it depends on data{self._why_unread()}")
        return value.sizes

    def _why_unread(self) -> str:
        return "".join(f", or on {name!r}: {why}" for name, why in list(self._unread.items())[:1])

    # Attributes ------------------------------------------------------------------------------------------------------

    def ints(self, name: str, default: Sequence[int] = ()) -> list[int]:
        return list(self.attributes[name].ints) if name in self.attributes else list(default)

    def integer(self, name: str, default: int = 0) -> int:
        return int(self.attributes[name].i) if name in self.attributes else default

    def text(self, name: str, default: str = "") -> str:
        return self.attributes[name].s.decode(errors="replace") if name in self.attributes else default

    def positive(self, name: str, default: int = 0) -> int:
        """An attribute that must be a whole number of at least 1."""
        value = self.integer(name, default)
        if value < 1:
            raise self.failure(f"its attribute {name} is {value}; it must be at least 1")
        return value

    def unknown(self, operator: str, why: str) -> ImportFailed:
        """The error for an unknown operator."""
        return ImportFailed(f"{self.path}: node {self.name!r} is the operator {operator}, {why}.")

    def failure(self, why: str) -> ImportFailed:
        return ImportFailed(f"{self.path}: node {self.name!r} ({self.op}): {why}.")


def named(proto: Any, inputs: Sequence[Value | None] = (), prefix: str = "") -> str:
    """The PyTorch module that a node comes from, where the file says so; else the node's name, or its result's.

    PyTorch's exporter since 2.5 calls nodes `node_Conv_4` and writes the modules around them into the metadata
    `pkg.torch.onnx.name_scopes`, innermost operator last. A node that was fused from two carries one of their scopes, so where
    the weights are a parameter of a module, that module is the name, as in `Network.from_torch`.
    """
    scopes = _scopes(proto)
    if scopes:
        weights = [v.origin.parameters[0].rpartition(".")[0] for v in inputs[1:2] if isinstance(v, Tensor) and v.origin]
        modules = [name for name in (*weights, *scopes[-2:-1]) if name]
        return prefix + (modules[0] if modules else scopes[-1] or _own(proto))
    return prefix + _own(proto)


def _own(proto: Any) -> str:
    return str(proto.name or next((name for name in proto.output if name), proto.op_type))


def _scopes(proto: Any) -> list[str]:
    text = next((e.value for e in getattr(proto, "metadata_props", ()) if e.key == "pkg.torch.onnx.name_scopes"), "")
    try:
        found = ast.literal_eval(text) if 0 < len(text) < 10_000 else []
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = []
    return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else []


__all__ = ["Node", "named"]

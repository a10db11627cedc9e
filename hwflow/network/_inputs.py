"""What users say of a network's inputs: for each a shape, and where it matters an element type, a name, or a tensor itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwflow.errors import InputError, shown

DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
"""Element types by the names that PyTorch and NumPy give them."""

_TEXT = re.compile(r"(?:(?P<name>[^=:]+)=)?(?:(?P<dtype>[^=:]+):)?(?P<sizes>[^=:]+)")
_FORM = "[NAME=][TYPE:]SIZES, batch first, such as 1x3x224x224, int64:1x128 or input_ids=int64:1x128"
_DIGITS = 18  # of a size


@dataclass(frozen=True)
class InputSpec:
    """One input of a network.

    Attributes:
        shape: batch included.
        dtype: one of `DTYPES`; None for the type of the network's parameters, or the one that its file states.
        name: of the argument or of the graph's input; None for the next one in order.
        tensor: the user's own, whose values are used.
    """

    shape: tuple[int, ...]
    dtype: str | None = None
    name: str | None = None
    tensor: Any = None

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but a shape."""
        return self.dtype is None and self.name is None and self.tensor is None


def inputs_of(given: Any) -> tuple[InputSpec, ...]:
    """All inputs that `input_shape=` describes, the named ones last.

    It may be a shape, a text such as "int64:1x128", a tensor, a tuple of these for several inputs in order, or a mapping from
    names to these.

    Raises:
        InputError: where it is none of that.
    """
    if isinstance(given, Mapping):
        if not given or not all(isinstance(name, str) and name for name in given):
            raise InputError(f"input_shape is {given!r}; as a mapping it must name at least one input, by texts.")
        found = [_one(part, given, name) for name, part in given.items()]
    elif _is_sequence(given) and len(given) > 0 and all(_is_sequence(p) or _describes(p) for p in given):
        found = [_one(part, given) for part in given]
    else:
        found = [_one(given, given)]
    names = [spec.name for spec in found if spec.name is not None]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"input {twice[0]!r} is given {names.count(twice[0])} times; give each input once.")
    return tuple(sorted(found, key=lambda spec: spec.name is not None))


def parsed_input(text: str, option: str = "input_shape") -> InputSpec:
    """One input from a text of the form `[NAME=][TYPE:]SIZES`.

    Raises:
        InputError: where the text has another form, or the type is unknown.
    """
    parts = _TEXT.fullmatch(text.strip())
    sizes = parts["sizes"].lower().split("x") if parts else []
    shape = tuple(int(p) for p in sizes if p.strip().isdecimal() and len(p) <= _DIGITS and int(p) > 0)
    if parts is None or len(shape) != len(sizes):
        raise InputError(f"{option} is {shown(text)}; it must be whole numbers with x between them: {_FORM}.")
    dtype = parts["dtype"] and parts["dtype"].strip().lower()
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"{option} is {shown(text)}: there is no element type {dtype!r}; there are {', '.join(DTYPES)}.")
    return InputSpec(shape, dtype, parts["name"] and parts["name"].strip())


def parsed_inputs(texts: Sequence[str] | None) -> tuple[int, ...] | tuple[InputSpec, ...] | None:
    """What `--input` says, once or several times, as `input_shape=` takes it."""
    if not texts:
        return None
    specs = tuple(parsed_input(text, "--input") for text in texts)
    return specs[0].shape if len(specs) == 1 and specs[0].is_plain else specs


def _one(given: Any, whole: Any, name: str | None = None) -> InputSpec:
    if isinstance(given, InputSpec):
        return given
    if isinstance(given, str):
        spec = parsed_input(given)
        if name is not None and spec.name is not None:
            raise InputError(f"input_shape names an input twice: {name!r} and {spec.name!r}.")
        return InputSpec(spec.shape, spec.dtype, name or spec.name)
    if _describes(given):
        return InputSpec(tuple(given.shape), None, name, given)
    if _is_sequence(given) and given and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in given):
        return InputSpec(tuple(given), None, name)
    raise InputError(
        f"input_shape is {whole!r}; it must be whole numbers of at least 1, batch first, as in (1, 3, 224, 224), a text such "
        'as "int64:1x128", a tensor, or a tuple or mapping of these for several inputs.'
    )


def _describes(value: Any) -> bool:
    """Whether a value is an input by itself: a text, a tensor of whatever library, or what this module made of one."""
    return isinstance(value, (str, InputSpec)) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


__all__ = ["DTYPES", "InputSpec", "inputs_of", "parsed_input", "parsed_inputs"]

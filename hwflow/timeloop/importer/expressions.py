"""Arithmetic in Timeloop's files: `width: word * 4`, `depth: ceil(2**10 / 3)`. Parsed as Python and never executed.

Numbers, names, arithmetic, comparisons, `and`, `or`, `not`, `a if b else c` and a few functions, and nothing else.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from hwflow.expressions import ARITHMETIC, Foreign, Vocabulary

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "float": float,
    "floor": math.floor,
    "int": int,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "max": max,
    "min": min,
    "pow": lambda *values: _power(*values),  # noqa: PLW0108  (defined below)
    "round": round,
    "sqrt": math.sqrt,
}
_LARGEST = 2.0**256


class Unreadable(ValueError):
    """A text that is no expression over the names that are known; the message says what in it is not."""


def value_of(text: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression.

    Raises:
        Unreadable: naming what cannot be computed.
    """
    if len(text) > 1000:
        raise Unreadable("it is too long")
    try:
        return _VOCABULARY.value(ast.parse(text.strip(), mode="eval").body, lambda name: _lookup(names, name))
    except Foreign as error:
        known = f"numbers, names, arithmetic, comparisons and {', '.join(_FUNCTIONS)}"
        raise Unreadable(f"{str(error)!r} is none of {known}") from None
    except (SyntaxError, RecursionError, MemoryError, ValueError, TypeError, ArithmeticError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(error.msg if isinstance(error, SyntaxError) else str(error)) from None


def _lookup(names: Mapping[str, Any], name: str) -> Any:
    if isinstance(value := names.get(name), (bool, int, float, str)):
        return value
    raise Unreadable(f"{name!r} is not known")


def bounded(operation: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    """One step of arithmetic on two numbers, whose result is a size of a chip and no larger.

    Raises:
        Unreadable: where it is larger, or one of them is no number.
    """
    first, second = _number(one), _number(other)
    result = _power(first, second) if operation is operator.pow else operation(first, second)
    if abs(result) > _LARGEST:
        raise Unreadable("it is too large")
    return result


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)):
        raise Unreadable(f"{value!r} is no number")
    return value


def _power(base: float, exponent: float) -> float:
    """Refuses what would take all memory: numbers are sizes of chips."""
    if exponent * math.log2(max(abs(base), 1)) > math.log2(_LARGEST):
        raise Unreadable(f"{base}**{exponent} is too large")
    found: Any = base**exponent
    if isinstance(found, complex):
        raise Unreadable(f"{base}**{exponent} is no real number")
    return float(found) if isinstance(found, float) else int(found)


_VOCABULARY = Vocabulary(
    number=_number,
    step=bounded,
    arithmetic={**ARITHMETIC, ast.Pow: operator.pow},
    functions=_FUNCTIONS,
    choices=True,
)

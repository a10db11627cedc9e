"""`Constraint`: an expression over the fields of an accelerator, such as `pe_array.rows * pe_array.columns <= 512`.

It is read as Python and walked here, never run: numbers, texts, lists, fields, arithmetic, comparisons, `and`, `or` and `not`,
and nothing else. A dotted name is a field's name; no attribute of any object is looked at.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from hwflow.errors import InputError, not_found
from hwflow.expressions import COMPARISONS, Foreign, Vocabulary

_ALLOWED = "fields, numbers, texts, lists, + - * / // %, comparisons, in, and, or, not"


class Constraint:
    """What must hold between the fields of a design.

    Attributes:
        text: as the user wrote it.
        names: the fields that it speaks of.

    Raises:
        InputError: where the text is no such expression; it names what it cannot hold.
    """

    def __init__(self, text: str, where: str) -> None:
        self.text, self._where = text, where
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
            self.names = list(dict.fromkeys(_VOCABULARY.names(self._tree)))
        except Foreign as error:
            shown = ast.get_source_segment(text.strip(), error.node) or type(error.node).__name__
            raise InputError(f"{where}: {text!r} holds {shown!r}; it may hold {_ALLOWED}.") from None
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            raise InputError(f"{where}: {text!r} is no expression: {reason}.") from None

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for these values of the fields.

        Raises:
            InputError: where it cannot be computed, as a division by zero; with the values.
        """
        try:
            return bool(_VOCABULARY.value(self._tree, values.__getitem__))
        except (TypeError, ZeroDivisionError, OverflowError) as error:
            shown = ", ".join(f"{name}={values[name]!r}" for name in self.names)
            raise InputError(f"{self._where}: {self.text!r} cannot be computed where {shown}: {error}.") from None

    def known(self, fields: Mapping[str, Any]) -> None:
        """Refuse the expression if it speaks of other fields.

        Raises:
            InputError: naming the field.
        """
        for name in self.names:
            if name not in fields:
                raise not_found(f"field in {self._where}", name, fields)


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return value


_VOCABULARY = Vocabulary(
    number=_number,
    comparisons={
        **COMPARISONS,
        ast.In: lambda one, many: one in many,
        ast.NotIn: lambda one, many: one not in many,
    },
    lists=True,
    dotted=True,
)

"""`Constraint`: an expression over the fields of an accelerator, such as `pe_array.rows * pe_array.columns <= 512`.

It is read as Python and walked here, never run: numbers, texts, lists, fields, arithmetic, comparisons, `and`, `or` and `not`,
and nothing else. A dotted name is a field's name; no attribute of any object is looked at.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from hwflow.errors import InputError, not_found
from hwflow.expressions import ARITHMETIC, COMPARISONS, UNARY

_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    **COMPARISONS,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
}
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
        self.text, self._where, self.names = text, where, list[str]()
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
            self._check(self._tree)
        except InputError:
            raise
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            raise InputError(f"{where}: {text!r} is no expression: {reason}.") from None

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for these values of the fields.

        Raises:
            InputError: where it cannot be computed, as a division by zero; with the values.
        """
        try:
            return bool(self._value(self._tree, values))
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

    def _check(self, node: ast.AST) -> None:
        match node:
            case ast.BoolOp(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
                children: list[ast.expr] = parts
            case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
                children = [operand]
            case ast.BinOp(op=op, left=left, right=right) if type(op) in ARITHMETIC:
                children = [left, right]
            case ast.Compare(ops=ops, left=left, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
                children = [left, *others]
            case ast.Constant(value=bool() | int() | float() | str()):
                children = []
            case ast.Name() | ast.Attribute() if (name := _dotted(node)) is not None:
                children = []
                if name not in self.names:
                    self.names.append(name)
            case _:
                shown = ast.get_source_segment(self.text.strip(), node) or type(node).__name__
                raise InputError(f"{self._where}: {self.text!r} holds {shown!r}; it may hold {_ALLOWED}.")
        for child in children:
            self._check(child)

    def _value(self, node: ast.AST, values: Mapping[str, Any]) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name() | ast.Attribute():
                return values[str(_dotted(node))]
            case ast.BinOp(op=op, left=left, right=right):
                return ARITHMETIC[type(op)](_number(self._value(left, values)), _number(self._value(right, values)))
            case ast.BoolOp(op=ast.And(), values=parts):
                return all(self._value(part, values) for part in parts)
            case ast.BoolOp(values=parts):
                return any(self._value(part, values) for part in parts)
            case ast.UnaryOp(op=op, operand=operand):
                return UNARY[type(op)](self._value(operand, values))
            case ast.Compare(ops=ops, left=left, comparators=others):
                numbers = [self._value(part, values) for part in (left, *others)]
                return all(_COMPARISONS[type(op)](numbers[i], numbers[i + 1]) for i, op in enumerate(ops))
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [self._value(part, values) for part in parts]
        raise AssertionError(ast.dump(node))


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return value


def _dotted(node: ast.AST) -> str | None:
    """`pe_array.rows` of the nodes that Python reads it as."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (head := _dotted(node.value)) is not None:
        return f"{head}.{node.attr}"
    return None

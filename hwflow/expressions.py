"""Expressions in users' files: read as Python and walked here, never run. No attribute of any object is looked at.

A `Vocabulary` says what may stand in one. All have numbers, texts, names, `and`, `or`, `not`, arithmetic and comparisons.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Operators = Mapping[type[ast.AST], Callable[..., Any]]
"""Functions by the nodes that Python reads operators as."""

ARITHMETIC: Operators = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
COMPARISONS: Operators = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIGNS: Operators = {ast.USub: operator.neg, ast.UAdd: operator.pos}


class Foreign(ValueError):
    """Something that the vocabulary does not have.

    Attributes:
        node: what Python reads it as.
    """

    def __init__(self, node: ast.AST) -> None:
        super().__init__(ast.unparse(node))
        self.node = node


@dataclass(frozen=True)
class Vocabulary:
    """What may stand in an expression.

    Attributes:
        number: gives a number back, and raises for anything else: what arithmetic, signs and functions are given.
        step: does one step of arithmetic on two numbers.
        functions: by name; they take numbers.
        choices: whether it knows `a if b else c`; lists: whether `[a, b]`; dotted: whether `a.b` is a name.
    """

    number: Callable[[Any], float]
    step: Callable[[Callable[..., Any], float, float], Any] = field(default=lambda operation, one, other: operation(one, other))
    arithmetic: Operators = field(default_factory=lambda: ARITHMETIC)
    comparisons: Operators = field(default_factory=lambda: COMPARISONS)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    choices: bool = False
    lists: bool = False
    dotted: bool = False

    def names(self, node: ast.AST) -> Iterator[str]:
        """The names in an expression.

        Raises:
            Foreign: at the first thing that cannot stand in it, names or not.
        """
        if (name := self._name(node)) is not None:
            yield name
        for part in self._parts(node):
            yield from self.names(part)

    def value(self, node: ast.AST, lookup: Callable[[str], Any]) -> Any:
        """The value of an expression; what is not needed for it, after `or` for one, is not looked at.

        Args:
            lookup: the value of a name.

        Raises:
            Foreign: at what cannot stand in it. And what `lookup`, `number`, `step` and the functions raise.
        """
        parts = self._parts(node)
        match node:
            case ast.Constant(value=value):
                return value
            case ast.BinOp(op=op, left=left, right=right):  # as deep as a sum is long, so without a frame in between
                one, other = self.number(self.value(left, lookup)), self.number(self.value(right, lookup))
                return self.step(self.arithmetic[type(op)], one, other)
            case ast.UnaryOp(op=op, operand=operand):
                value = self.value(operand, lookup)
                return not value if isinstance(op, ast.Not) else _SIGNS[type(op)](self.number(value))
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self.value(body if self.value(test, lookup) else otherwise, lookup)
        values = (self.value(part, lookup) for part in parts)
        match node:
            case ast.BoolOp(op=junction):
                return all(values) if isinstance(junction, ast.And) else any(values)
            case ast.Compare(ops=ops):
                known = list(values)
                return all(self.comparisons[type(op)](known[i], known[i + 1]) for i, op in enumerate(ops))
            case ast.Call(func=ast.Name(id=function)):
                return self.functions[function](*map(self.number, values))
            case ast.List() | ast.Tuple():
                return list(values)
        return lookup(str(self._name(node)))

    def _parts(self, node: ast.AST) -> list[ast.expr]:
        """The expressions that a node joins."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str()):
                return []
            case ast.BinOp(op=op, left=left, right=right) if type(op) in self.arithmetic:
                return [left, right]
            case ast.UnaryOp(op=op, operand=operand) if isinstance(op, ast.Not) or type(op) in _SIGNS:
                return [operand]
            case ast.BoolOp(values=parts):
                return parts
            case ast.Compare(ops=ops, left=left, comparators=others) if all(type(op) in self.comparisons for op in ops):
                return [left, *others]
            case ast.IfExp(test=test, body=body, orelse=otherwise) if self.choices:
                return [test, body, otherwise]
            case ast.Call(func=ast.Name(id=function), args=parts, keywords=[]) if function in self.functions:
                return parts
            case ast.List(elts=parts) | ast.Tuple(elts=parts) if self.lists:
                return parts
        if self._name(node) is None:
            raise Foreign(node)
        return []

    def _name(self, node: ast.AST) -> str | None:
        """`pe_array.rows` of the nodes that Python reads it as."""
        if isinstance(node, ast.Name):
            return node.id
        if self.dotted and isinstance(node, ast.Attribute) and (head := self._name(node.value)) is not None:
            return f"{head}.{node.attr}"
        return None

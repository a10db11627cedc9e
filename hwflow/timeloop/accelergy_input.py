"""Restrictions on Accelergy's input: Accelergy evaluates unquoted text as Python and renders templates without a sandbox.

It hides Python's built-in functions from what it evaluates, but not the attributes of objects, by which all else is found. So
what comes from a user's file and is more than arithmetic is refused before Accelergy sees it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import yaml

from hwflow.errors import InputError, shown

_ARITHMETIC = (
    ast.Expression,
    ast.Constant,
    ast.Name,
    ast.expr_context,
    ast.BinOp,
    ast.operator,
    ast.UnaryOp,
    ast.unaryop,
    ast.BoolOp,
    ast.boolop,
    ast.Compare,
    ast.cmpop,
    ast.IfExp,
    ast.List,
    ast.Tuple,
)
_TEMPLATES = ("{{", "{%", "{#")


def check_input(files: Mapping[str, str], where: str) -> None:
    """Refuse input in which Accelergy would run code; `where` names the chip, for errors.

    Args:
        files: YAML by name, without tags of its own.

    Raises:
        InputError: with the text.
    """
    for content in files.values():
        for text, quoted in _texts(yaml.compose(content, Loader=yaml.SafeLoader), set()):
            if any(sign in text for sign in _TEMPLATES) or not (quoted or _harmless(text)):
                raise InputError(
                    f"{where}: Accelergy would run the text {shown(text)} as code. It is given arithmetic alone: numbers, "
                    "names and functions. Put what is meant as a text in quotes, or take other energies (--energy auto)."
                )


def _texts(node: yaml.Node | None, seen: set[int]) -> Iterator[tuple[str, bool]]:
    """All texts, keys included, and whether they stand in quotes."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield node.value, node.style in ("'", '"')
        return
    for part in node.value:
        for one in part if isinstance(part, tuple) else (part,):
            yield from _texts(one, seen)


def _harmless(text: str) -> bool:
    """Whether evaluating a text does arithmetic at most."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return len(text) < 10_000  # it is no Python to Accelergy either
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if any(not isinstance(call.func, ast.Name) or call.keywords for call in calls):
        return False
    others = (node for node in ast.walk(tree) if not isinstance(node, ast.Call))
    return all(isinstance(node, _ARITHMETIC) and "__" not in getattr(node, "id", "") for node in others)

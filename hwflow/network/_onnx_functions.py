"""Functions that an ONNX model defines, checked for size and recursion, then expanded like a subgraph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx

from hwflow.errors import ImportFailed

MOST_NODES = 100_000
"""Most nodes followed in one model, each counted as often as it runs. The largest exported networks have some ten thousand."""

DEEPEST = 100
"""Largest nesting depth of functions, branches and loop bodies."""

Key = tuple[str, str, str]


def key(node: Any) -> Key:
    """The key of the function that a node calls."""
    return ("" if node.domain == "ai.onnx" else node.domain, node.op_type, getattr(node, "overload", ""))


def by_key(model: Any) -> dict[Key, Any]:
    """The functions of a model."""
    return {("" if f.domain == "ai.onnx" else f.domain, f.name, getattr(f, "overload", "")): f for f in model.functions}


def check_size(model: Any, functions: Mapping[Key, Any], path: Path) -> None:
    """Refuse functions that are recursive, nested too deeply, or expand to too many nodes, before any is followed.

    Raises:
        ImportFailed: naming the function.
    """
    counted: dict[Key, int] = {}

    def count(nodes: Iterable[Any], what: str, inside: tuple[Key, ...]) -> int:
        calls = _calls(nodes, functions)
        for name in calls:
            if name in inside:
                raise ImportFailed(
                    f"{path}: the function {_label(name)} calls itself, by way of {what}, so it never ends. Export the model "
                    "again."
                )
            if len(inside) == DEEPEST:
                raise ImportFailed(
                    f"{path}: its functions call each other more than {DEEPEST} deep, the last of them {_label(name)}; hwflow "
                    "follows no further. Inline them first (onnx.inliner), or export the model without functions."
                )
            if name not in counted:
                counted[name] = count(functions[name].node, f"the function {_label(name)}", (*inside, name))
        total = sum(1 for _ in _every(nodes)) + sum(counted[name] for name in calls)
        if total > MOST_NODES:
            raise too_many(path, what, total)
        return total

    count(model.graph.node, "the graph", ())


def too_many(path: Path, what: str, count: int) -> ImportFailed:
    """The error for a model that expands to too many nodes."""
    return ImportFailed(
        f"{path}: {what} has {count} nodes once its functions are expanded and its loops unrolled; the limit is {MOST_NODES}. "
        "Describe the network as a YAML layer list, or export a part of it."
    )


def body(function: Any, call: Any) -> list[Any]:
    """The nodes of a function with the attributes of a call substituted."""
    given = {a.name: a for a in function.attribute_proto}
    given.update({a.name: a for a in call.attribute})
    return [bound(node, given) for node in function.node]


def bound(node: Any, given: Mapping[str, Any]) -> Any:
    """A node with its references to the function's attributes resolved; attributes that the call omits are omitted."""
    if not any(a.ref_attr_name or a.HasField("g") or a.graphs for a in node.attribute):
        return node
    result = onnx.NodeProto()
    result.CopyFrom(node)
    del result.attribute[:]
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name in given:
                taken = result.attribute.add()
                taken.CopyFrom(given[attribute.ref_attr_name])
                taken.name = attribute.name
            continue
        kept = result.attribute.add()
        kept.CopyFrom(attribute)
        for graph in (*([kept.g] if kept.HasField("g") else []), *kept.graphs):
            inner = [bound(n, given) for n in graph.node]
            del graph.node[:]
            graph.node.extend(inner)
    return result


def _label(name: Key) -> str:
    return f"{name[0]}::{name[1]}" if name[0] else name[1]


def _every(nodes: Iterable[Any]) -> Iterable[Any]:
    """The nodes and those of their subgraphs, which protobuf limits to a depth of 100."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _every(graph.node)


def _calls(nodes: Iterable[Any], functions: Mapping[Key, Any]) -> list[Key]:
    return [key(node) for node in _every(nodes) if key(node) in functions]


__all__ = ["DEEPEST", "MOST_NODES", "Key", "body", "bound", "by_key", "check_size", "key", "too_many"]

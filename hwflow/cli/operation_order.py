"""What `hwflow list operations` prints: the order of execution that is assumed of a network, and what each operation reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwflow.errors import InputError
from hwflow.text import visible

if TYPE_CHECKING:
    from hwflow.network import Network


def operations_text(network: Network, form: str) -> str:
    """A table, or JSON where `form` is that.

    Raises:
        InputError: where it is not known which operator reads what.
    """
    entries = _operations(network)
    if form == "json":
        return json.dumps(entries, indent=2) + "\n"
    headings = ["", "operation", "type", "reads", "writes (words)", "alive (words)"]
    rows = [
        [str(e["place"]), e["name"], e["type"], ", ".join(e["reads"]), f"{e['words']:,}", f"{e['words_alive']:,}"]
        for e in entries
    ]
    places, operations, types, reads, words, alive = zip(headings, *rows, strict=True)
    columns = [_right(places), _left(operations), _left(types), _left(reads), _right(words), _right(alive)]
    lines = [visible("  ".join(cells).rstrip()) for cells in zip(*columns, strict=True)]
    return "\n".join(lines) + "\n"


def _left(cells: Sequence[str]) -> list[str]:
    return [cell.ljust(max(map(len, cells))) for cell in cells]


def _right(cells: Sequence[str]) -> list[str]:
    return [cell.rjust(max(map(len, cells))) for cell in cells]


def _operations(network: Network) -> list[dict[str, Any]]:
    """In order: the operations that wrote what each reads, the words that it writes and those that are alive meanwhile."""
    graph = network.graph
    if graph is None:
        raise InputError(
            f"network {network.name}: it is not known which operator reads what, so no order of execution is assumed."
        )
    writers = dict.fromkeys(graph.inputs, "input")
    entries = []
    for place, operation in enumerate(graph.operations):
        row = (network.layers if operation.part == "layers" else network.other)[operation.row]
        reads = [writers.get(tensor, "-") for tensor in operation.reads]
        writers |= dict.fromkeys(operation.writes, row.name)
        words, alive = (sum(graph.words[t] for t in tensors) for tensors in (operation.writes, graph.live[place]))
        entry = {"place": place, "name": row.name, "type": row.type, "reads": reads, "words": words, "words_alive": alive}
        entries.append(entry)
    return entries


__all__ = ["operations_text"]

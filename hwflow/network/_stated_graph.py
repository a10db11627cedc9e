"""The graph of a layer list whose entries name what they read."""

from __future__ import annotations

from collections.abc import Sequence

from hwflow.errors import InputError, not_found
from hwflow.layers import Layer
from hwflow.network.graph import Graph, GraphBuilder, Made
from hwflow.network.network import Network, OtherOp

INPUT = "input"
"""The network's own input, as entries name it."""

Inputs = Sequence[Sequence[str] | None]
"""For each entry the names of what it reads, or None where it does not say."""


def stated_graph(layers: Sequence[Layer], layer_inputs: Inputs, other: Sequence[OtherOp], other_inputs: Inputs) -> Graph | None:
    """The graph, in the order of execution: layers as they are listed, and each operator, as listed, as soon as it can run.

    A layer that does not say what it reads reads what the layer before it wrote, the first one the network's input.

    Raises:
        InputError: where an entry reads what nothing writes or does not say what it reads, a name stands twice, or each of two
            entries waits for the other.
    """
    names = [*(layer.name for layer in layers), *(op.name for op in other)]
    for name in (*names, INPUT):
        if names.count(name) > (name != INPUT):
            why = "means the network's own input" if name == INPUT else "stands twice"
            raise InputError(f"the name {name!r} {why}, and inputs must say which entry they mean; rename it.")
    before = [INPUT, *(layer.name for layer in layers)]
    reads = [list(given) if given is not None else [before[i]] for i, given in enumerate(layer_inputs)]
    for i, given in enumerate(other_inputs):
        if given is None:
            raise InputError(
                f"other[{i}].inputs is missing ({other[i].name}): where an entry of the list says what it reads, every "
                "operator must."
            )
    asked = [*reads, *(list(given or ()) for given in other_inputs)]
    for i, given in enumerate(asked):
        where = f"layers[{i}]" if i < len(layers) else f"other[{i - len(layers)}]"
        if not given:
            raise InputError(f"{where}.inputs is empty; it must name at least one entry, or {INPUT}.")
        for name in given:
            if name != INPUT and name not in names:
                raise not_found(f"producer in {where}.inputs", name, [INPUT, *names])
    return _connected(layers, other, asked)


def _connected(layers: Sequence[Layer], other: Sequence[OtherOp], asked: Sequence[Sequence[str]]) -> Graph | None:
    flow, made = GraphBuilder(), {}
    first = next((layer for layer, given in zip(layers, asked, strict=False) if INPUT in given), layers[0])
    made[INPUT] = flow.tensor(first.words("inputs"))
    at = {"layers": 0, "other": 0}
    while at["layers"] < len(layers) or at["other"] < len(other):
        ready = None
        for part, rows, offset in (("other", other, len(layers)), ("layers", layers, 0)):
            if at[part] < len(rows) and all(name in made for name in asked[offset + at[part]]):
                ready = part, rows[at[part]], asked[offset + at[part]]
                break
        if ready is None:
            raise InputError(_stuck(layers, other, asked, at, made))
        part, entry, given = ready
        at[part] += 1
        words = entry.words("outputs") if isinstance(entry, Layer) else entry.words_out
        made[entry.name] = flow.tensor(words)
        row = Made("layers", entry.type, words) if isinstance(entry, Layer) else Made("other", entry.type, words)
        flow.ran([row], [made[name] for name in given], [made[entry.name]])
    read = {name for given in asked for name in given}
    return flow.graph([made[INPUT]], [place for name, place in made.items() if name not in read and name != INPUT])


def inputs_of(network: Network) -> tuple[list[list[str]], list[list[str]]] | None:
    """What each layer and each operator reads, such that `stated_graph` gives a network's graph again; None where names cannot
    say it: several inputs, an order of execution that a list does not have, tensors that no entry makes.

    The size of the network's input is that of the first layer's kernel positions in a list, padding included.
    """
    graph = network.graph
    if graph is None or len(graph.inputs) != 1:
        return None
    made = {graph.inputs[0]: INPUT}
    reads: dict[str, list[list[str]]] = {"layers": [[] for _ in network.layers], "other": [[] for _ in network.other]}
    rows: dict[str, Sequence[Layer | OtherOp]] = {"layers": network.layers, "other": network.other}
    for operation in graph.operations:
        if not all(tensor in made for tensor in operation.reads):
            return None
        reads[operation.part][operation.row] = list(dict.fromkeys(made[tensor] for tensor in operation.reads))
        made |= dict.fromkeys(operation.writes, rows[operation.part][operation.row].name)
    try:
        again = stated_graph(network.layers, reads["layers"], network.other, reads["other"])
    except InputError:  # a name that stands twice, an operator without inputs
        return None
    if again is None or (again.operations, again.inputs, again.outputs) != (graph.operations, graph.inputs, graph.outputs):
        return None
    same = (n == m for place, (n, m) in enumerate(zip(again.words, graph.words, strict=True)) if place not in graph.inputs)
    return (reads["layers"], reads["other"]) if all(same) else None


def _stuck(
    layers: Sequence[Layer], other: Sequence[OtherOp], asked: Sequence[Sequence[str]], at: dict[str, int], made: dict[str, int]
) -> str:
    waits = []
    for part, rows, offset in (("layers", layers, 0), ("other", other, len(layers))):
        if at[part] < len(rows):
            missing = [name for name in asked[offset + at[part]] if name not in made]
            waits.append(f"{part}[{at[part]}] ({rows[at[part]].name}) waits for {', '.join(missing)}")
    return (
        f"no order of execution: {', and '.join(waits)}. Entries may not read in a circle, and layers and operators stand each "
        "in the order in which they run."
    )


__all__ = ["INPUT", "inputs_of", "stated_graph"]

"""Networks as they run: `executed` puts the rows and operators of executions in the place of layers, data flow included.

`EXECUTIONS` holds the executions that can be asked for by name, of a whole network or of single layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hwflow.cost.execution import Execution, MatrixProduct, VirtualPooling
from hwflow.cost.winograd import TRANSFORMS, Winograd
from hwflow.errors import InputError, not_found
from hwflow.layers import DIRECT, Layer
from hwflow.network import Network, OtherOp
from hwflow.network.graph import Graph, Operation

AUTO = "auto"
"""Each layer as it costs least, among the executions with the same results."""
REST = "*"
"""In a mapping, all layers that it does not name."""

EXECUTIONS: dict[str, Execution] = {
    **{f"winograd{m}": Winograd(m) for m in TRANSFORMS},
    "im2col": MatrixProduct(),
    "vip": VirtualPooling(),
}
"""By name; one line adds another one. A layer that has none of them runs directly."""

NAMES = (DIRECT, *EXECUTIONS, AUTO)

Asked = str | Mapping[str, str]
"""One name for all layers, or names by layer; `*` stands for the layers that are not named, which else run directly."""


def checked(asked: Asked) -> Asked:
    """An execution as it can be asked for; a mapping is copied in its order.

    Raises:
        InputError: naming what is no execution.
    """
    if isinstance(asked, str):
        if asked not in NAMES:
            raise not_found("execution", asked, NAMES)
        return asked
    if not isinstance(asked, Mapping) or not asked:
        raise InputError(
            f"execution is {asked!r}; it must be a name ({', '.join(NAMES)}), or a mapping of layers to names: "
            '{"conv1": "direct", "*": "winograd4"}.'
        )
    for layer, name in asked.items():
        if name not in NAMES:
            raise not_found(f"execution of layer {layer}", str(name), NAMES)
    return _Frozen(asked)


class _Frozen(dict[str, str]):
    """A mapping that options, which are compared and hashed, can hold."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))


def wanted(network: Network, asked: Asked, *, some: bool = True) -> dict[str, str]:
    """The executions of a network's layers by name, where they are not to run directly; `auto` stays as it is.

    Args:
        some: whether one layer at least must be able to run as is asked of all.

    Raises:
        InputError: for a layer that there is not; for one that was named and cannot run so, and why; where none can that were
            meant together.
    """
    named = {} if isinstance(asked, str) else {name: how for name, how in asked.items() if name != REST}
    rest = asked if isinstance(asked, str) else asked.get(REST, DIRECT)
    layers = {layer.name: layer for layer in network}
    for name, how in named.items():
        if name not in layers:
            raise not_found(f"layer of {network.name}", name, layers)
        if how in EXECUTIONS and (why := EXECUTIONS[how].why_not(layers[name])):
            raise InputError(f"layer {name!r} cannot run as {how}: {why}. Let it run directly, or choose another execution.")
    found = {name: how for name, how in named.items() if how != DIRECT}
    skipped: dict[str, str] = {}
    others = {name: layer for name, layer in layers.items() if name not in named}
    if rest in EXECUTIONS:
        skipped = {name: why for name, layer in others.items() if (why := EXECUTIONS[rest].why_not(layer))}
        if some and others and len(skipped) == len(others):
            name, why = next(iter(skipped.items()))
            more = f", and so on for all {len(others)} layers" if len(others) > 1 else ""
            raise InputError(
                f"no layer of {network.name} can run as {rest}: {name}: {why}{more}. Choose another execution, or leave it out."
            )
    if rest != DIRECT:
        found |= {name: rest for name in others if name not in skipped}
    return {layer.name: found[layer.name] for layer in network if layer.name in found}


def run_as(network: Network, names: Mapping[str, str]) -> Network:
    """A network with executions by name of the layer, none of them `auto`."""
    return executed(network, {layer: EXECUTIONS[name] for layer, name in names.items() if name != DIRECT})


def executed(network: Network, executions: Mapping[str, Execution]) -> Network:
    """A network with the rows and the operators of executions in the place of its layers.

    Rows say what they are of (`Layer.execution`). Its graph is known where that of the network is, and every execution is a
    chain of steps. An operator that reads the layer's input reads as many words as that has; a layer's own count has padding.

    Raises:
        InputError: for an execution of a row that the network does not have.
    """
    if not executions:
        return network
    known = {layer.name for layer in network}
    for name in executions:
        if name not in known:
            raise not_found(f"row of the compressed {network.name}", name, known)
    reads = _words_read(network)
    rows: list[Layer] = []
    other = list(network.other)
    chains: dict[int, list[tuple[str, int]] | None] = {}
    for place, layer in enumerate(network.layers):
        execution = executions.get(layer.name)
        if execution is None:
            chains[place] = [("layers", len(rows))]
            rows.append(layer)
            continue
        steps = execution.steps(layer)
        chain: list[tuple[str, int]] = []
        parts: Sequence[Layer | OtherOp] = (*execution.rows(layer), *execution.other(layer)) if steps is None else steps
        for step in parts:
            if isinstance(step, Layer):
                chain.append(("layers", len(rows)))
                rows.append(step.with_(execution=execution.name or type(execution).__name__))
            else:
                first = not chain and place in reads
                chain.append(("other", len(other)))
                other.append(step._replace(words_in=min(step.words_in, reads[place])) if first else step)
        chains[place] = None if steps is None else chain
    graph = None
    if network.graph is not None and all(chain is not None for chain in chains.values()):
        graph = _graph(network.graph, {place: chain or [] for place, chain in chains.items()}, rows, other)
    return replace(network, layers=tuple(rows), other=tuple(other), graph=graph)


def _words_read(network: Network) -> dict[int, int]:
    """Elements of what each layer reads, by its place, where that is known."""
    graph = network.graph
    if graph is None:
        return {}
    return {
        operation.row: sum(graph.words[tensor] for tensor in operation.reads)
        for operation in graph.operations
        if operation.part == "layers"
    }


def _graph(graph: Graph, chains: Mapping[int, list[tuple[str, int]]], rows: list[Layer], other: list[OtherOp]) -> Graph:
    """The data flow with each layer's operation drawn out to its chain, whose steps hand a tensor of their own on."""
    words = list(graph.words)
    operations: list[Operation] = []
    for operation in graph.operations:
        if operation.part == "other":
            operations.append(operation)
            continue
        chain, reads = chains[operation.row], operation.reads
        for i, (part, row) in enumerate(chain):
            writes = operation.writes
            if i + 1 < len(chain):
                writes = (len(words),)
                words.append(rows[row].words("outputs") if part == "layers" else other[row].words_out)
            operations.append(Operation("layers" if part == "layers" else "other", row, reads, writes))
            reads = writes
    return replace(graph, words=tuple(words), operations=tuple(operations))


def exact_executions(layer: Layer) -> Iterable[tuple[str, Execution]]:
    """What `auto` chooses among for a layer, beside running it directly."""
    return ((name, one) for name, one in EXECUTIONS.items() if one.exact and not one.why_not(layer))


__all__ = [
    "AUTO",
    "EXECUTIONS",
    "NAMES",
    "REST",
    "Asked",
    "checked",
    "exact_executions",
    "executed",
    "run_as",
    "wanted",
]

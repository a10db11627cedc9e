"""torch-pruning's dependency graph of a model, corrected where the shapes that autograd records contradict it.

The graph is built from autograd's. torch-pruning treats an unknown operator as element-wise with the same number of channels;
shapes tell where that is wrong: where one channel is combined with many, and where channels are summed.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from hwflow.errors import ImportFailed
from hwflow.optional import needed

Shape = tuple[int, ...]


class Dependencies(NamedTuple):
    """The graph.

    Attributes:
        graph: a `torch_pruning.DependencyGraph`.
        unread: operators that torch-pruning fails on, as nodes of the graph, and how.
    """

    graph: Any
    unread: dict[Any, str]

    def coupled(self, root: nn.Module) -> list[Coupled]:
        """Everything that depends on the output channels of a module, itself first, up to an unread operator at the most.

        As `get_pruning_group` finds it, which infers all index mappings of the graph anew for each group, and compares each
        step with all those before.
        """
        from torch_pruning._helpers import _HybridIndex

        pruner = self.graph.get_pruner_of_module(root)
        start = [_HybridIndex(idx=i, root_idx=i) for i in range(pruner.get_out_channels(root))]
        found: dict[tuple[Any, Any], dict[int, int]] = {}
        taken: set[Any] = set()
        steps: list[tuple[Any, Any, list[Any]]] = []

        def take(node: Any, handler: Any, indices: list[Any]) -> None:
            if (step := (node, handler, tuple(indices))) not in taken:
                taken.add(step)
                steps.append((node, handler, indices))
                positions = found.setdefault((node, handler), {})
                for index in indices:
                    positions.setdefault(index.idx, index.root_idx)

        take(self.graph.module2node[root], pruner.prune_out_channels, start)
        while steps:
            node, handler, indices = steps.pop()
            if node in self.unread:
                break
            for dependency in node.dependencies:
                if not dependency.is_triggered_by(handler):
                    continue
                mapped = indices
                for mapping in dependency.index_mapping:
                    mapped = mapped if mapping is None else mapping(mapped)
                if mapped:
                    take(dependency.target, dependency.handler, mapped)
        return [Coupled(node, handler, tuple((c, p) for p, c in at.items())) for (node, handler), at in found.items()]


class Coupled(NamedTuple):
    """A node of the graph with channels of a group.

    Attributes:
        handler: the pruning function that torch-pruning would call.
        pairs: (channel of the root, position in the node).
    """

    node: Any
    handler: Any
    pairs: tuple[tuple[int, int], ...]


def dependencies(model: nn.Module, inputs: Sequence[torch.Tensor]) -> Dependencies:
    """Run the model once, in evaluation mode, and follow what autograd records.

    Raises:
        ImportFailed: where torch-pruning cannot follow the model; naming the module that ran last.
        MissingDependency: where torch-pruning is not installed.
    """
    torch_pruning = needed("torch_pruning", "pruning")
    entered = [""]

    def enters(name: str) -> Callable[..., None]:
        return lambda *_: entered.append(name)

    handles = [m.register_forward_pre_hook(enters(name)) for name, m in model.named_modules() if _hookable(m)]
    graph = torch_pruning.DependencyGraph()
    try:
        # It warns of bare parameters; whether it treats them rightly is proven later.
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            try:
                graph.build_dependency(model, tuple(inputs), forward_fn=lambda m, x: m(*x))
            except Exception:
                if not hasattr(graph, "module2node"):
                    raise  # the model itself, or the way through its operators; the rest is inferred anew below
            _untie(graph)
            _follow_padding(graph)
            unread = _unread(graph)
    except Exception as error:
        last = f" (the module that ran last is {entered[-1]!r})" if entered[-1] else ""
        raise ImportFailed(
            f"torch-pruning {torch_pruning.__version__} cannot follow {type(model).__name__}{last}: {type(error).__name__}: "
            f"{error}. Without its dependency graph hwflow cannot tell which channels may be pruned."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return Dependencies(graph, unread)


def _hookable(module: nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule)


# Operators that torch-pruning fails on --------------------------------------------------------------------------------


class _Sized:
    """A graph that knows the channels of its nodes, each inferred once.

    torch-pruning infers them anew at every question, along all paths: where branches are joined and split again, as in
    ShuffleNet, each unit doubles the paths.
    """

    def __init__(self, graph: Any) -> None:
        from torch_pruning.dependency import shape_infer

        self._graph = graph
        self._inward: dict[Any, int] = {}
        self._outward: dict[Any, int] = {}
        self.module2node = graph.module2node
        ordered = _inputs_first(graph)
        for nodes, known, infer in (
            (ordered, self._outward, shape_infer.infer_out_channels_recursively),
            (ordered[::-1], self._inward, shape_infer.infer_in_channels_recursively),
        ):
            for node in nodes:
                with contextlib.suppress(Exception):  # on what this fails, the question fails again
                    if (channels := infer(self, node, [0])) is not None:
                        known[node] = channels

    def get_out_channels(self, node: Any) -> int | None:
        return self._outward[node] if node in self._outward else self._graph.get_out_channels(node)

    def get_in_channels(self, node: Any) -> int | None:
        return self._inward[node] if node in self._inward else self._graph.get_in_channels(node)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)


def _inputs_first(graph: Any) -> list[Any]:
    """The nodes of a graph, each after those that it reads."""
    found: dict[Any, None] = {}
    begun: set[Any] = set()
    for last in graph.module2node.values():
        stack = [last]
        while stack:
            node = stack[-1]
            ahead = [] if node in begun else [n for n in node.inputs if n not in begun]
            begun.add(node)
            if ahead:
                stack += ahead
            else:
                found.setdefault(stack.pop())
    return list(found)


class _OneNode:
    """A graph that shows one node only, so that what fails on it fails alone."""

    def __init__(self, graph: Any, module: Any) -> None:
        self._graph = graph
        self.module2node = {module: graph.module2node[module]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)


def _unread(graph: Any) -> dict[Any, str]:
    """Infer what torch-pruning infers of its graph node by node; those on which that fails are taken out of the inference."""
    from torch_pruning.dependency import index_mapping, shape_infer
    from torch_pruning.ops import OPTYPE

    failed: dict[Any, str] = {}
    for infer in (shape_infer.init_shape_information, index_mapping.update_index_mapping):
        sized = _Sized(graph)
        for module, node in graph.module2node.items():
            try:
                infer(_OneNode(sized, module))
            except Exception as error:
                failed[node] = f"{type(error).__name__}: {error}"
                node.type = OPTYPE.ELEMENTWISE
    return failed


# One channel and many -------------------------------------------------------------------------------------------------


def _untie(graph: Any) -> None:
    """Remove ties between maps of one channel and of many: neither a broadcast nor a sum over channels couples them."""
    from torch_pruning.ops import OPTYPE

    nodes = {node.grad_fn: node for node in graph.module2node.values() if node.grad_fn is not None}
    sized = _Sized(graph)
    for node in nodes.values():
        for dependency in node.dependencies:  # inferred from wrong ties; `_unread` infers it again
            dependency.index_mapping = [None, None]
    ties = [
        (nodes[function], node)
        for node in nodes.values()
        if node.type in (OPTYPE.ELEMENTWISE, OPTYPE.EXPAND)
        for function, place in node.grad_fn.next_functions
        if function in nodes and _changes_channels(sized, nodes[function], _shape(function, place), node.grad_fn)
    ]
    for source, node in ties:
        source.dependencies = [d for d in source.dependencies if d.target is not node]
        node.dependencies = [d for d in node.dependencies if d.target is not source]
        source.outputs = [n for n in source.outputs if n is not node]
        node.inputs = [n for n in node.inputs if n is not source]
    for node in nodes.values():
        if node.type == OPTYPE.CONCAT:
            shapes = [_shape(function, place) for function, place in node.grad_fn.next_functions if function is not None]
            known = [shape[1] for shape in shapes if len(shape) > 1]
            node.module.concat_sizes = known if len(known) == len(node.inputs) else None


def _shape(function: Any, place: int = 0) -> Shape:
    """The shape of an operator's result; of none where autograd does not tell."""
    if hasattr(function, "variable"):
        return tuple(function.variable.shape)
    told = getattr(function, "_input_metadata", ())
    return tuple(told[place].shape) if place < len(told) else ()


def _changes_channels(graph: Any, source: Any, before: Shape, operator: Any) -> bool:
    """Whether an operator makes many channels of one, or one of many: along axis 1, unless the channels lie elsewhere."""
    from torch_pruning.dependency import shape_infer

    after = _shape(operator)
    aligned = (*[1] * (len(after) - len(before)), *before)  # as broadcasting aligns shapes
    channels = shape_infer.infer_out_channels_recursively(graph, source, [0])
    if len(aligned) > 1 and channels in aligned[2:] and aligned[1] != channels:
        return False
    if len(before) > 2 and len(after) == len(before) - 1:
        return 1 in _reduced(operator, len(before))
    return len(after) > 1 and len(aligned) == len(after) and aligned[1] != after[1] and 1 in (aligned[1], after[1])


def _reduced(operator: Any, axes: int) -> Iterator[int]:
    """The axes that an operator sums up or chooses from."""
    told = getattr(operator, "_saved_dim", ())
    for axis in told if isinstance(told, (tuple, list)) else (told,):
        yield (axis - 2**64 if axis >= 2**63 else axis) % axes  # autograd shows -1 as an unsigned number


# Zeros around channels ------------------------------------------------------------------------------------------------


class _Padding(NamedTuple):
    """Zeros around the channels, as in the shortcuts of CIFAR's ResNets: what torch-pruning has no operator for."""

    inputs: int
    outputs: int


class _PaddingWidth:
    """Passes the two widths of a padding to torch-pruning's shape inference."""

    pruning_dim = None

    def get_in_channels(self, padding: _Padding) -> int:
        return padding.inputs

    def get_out_channels(self, padding: _Padding) -> int:
        return padding.outputs


def _follow_padding(graph: Any) -> None:
    """Zeros before the channels shift them; torch-pruning would leave them in place."""
    padded = [
        node
        for node in graph.module2node.values()
        if getattr(node.grad_fn, "name", str)() == "ConstantPadNdBackward0" and len(node.grad_fn._input_metadata[0].shape) > 1
    ]
    if not padded:
        return
    graph.CUSTOMIZED_PRUNERS[_Padding] = _PaddingWidth()
    for node in graph.module2node.values():  # what was inferred from wrong widths; get_pruning_group infers it again
        for dependency in node.dependencies:
            dependency.index_mapping = [None, None]
    for node in padded:
        shape, pad = node.grad_fn._input_metadata[0].shape, node.grad_fn._saved_pad
        before, after = (*pad[2 * (len(shape) - 2) :], 0, 0)[:2]
        node.module = _Padding(shape[1] - before - after, shape[1])
        for dependency in node.dependencies:
            if dependency.target in node.inputs:
                dependency.index_mapping[0] = _shift(-before, node.module.inputs)
        for source in node.inputs:
            for dependency in source.dependencies:
                if dependency.target is node:
                    dependency.index_mapping[1] = _shift(before, shape[1])


def _shift(offset: int, size: int) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda indices: [i._replace(idx=i.idx + offset) for i in indices if 0 <= i.idx + offset < size]


__all__ = ["Coupled", "Dependencies", "dependencies"]

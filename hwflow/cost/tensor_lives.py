"""The tensors between a network's operations: how long each lives, what it takes of a memory, whether it may stay there.

Tensors are those of `hwflow.network.graph`: what shares storage is one tensor, which stays as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from hwflow.cost.assignment import Problem, Room, Step
from hwflow.cost.residency import Homes
from hwflow.layers import Bits, Layer, Tensor
from hwflow.network import Network
from hwflow.network.graph import Graph, Operation


class Operand(NamedTuple):
    """A tensor that an operation reads or writes, and as what: of a layer, its inputs or outputs."""

    tensor: int
    role: Tensor


@dataclass(frozen=True)
class Lives:
    """A network's tensors on a chip.

    Attributes:
        homes: where tensors can stay.
        bits: of the words of each tensor, all together, [tensor].
        widths: bits of one word, [tensor].
        asked: whether anything is to stay.
    """

    network: Network
    graph: Graph
    homes: Homes
    bits: tuple[int, ...]
    widths: tuple[int, ...]
    asked: bool

    @classmethod
    def of(cls, network: Network, graph: Graph, homes: Homes, widths: Sequence[Bits], *, asked: bool = True) -> Lives:
        """`widths`: the word widths of the network's layers."""
        each = graph.widths(widths)
        return cls(network, graph, homes, tuple(n * w for n, w in zip(graph.words, each, strict=True)), each, asked)

    def layer_of(self, step: int) -> Layer | None:
        """The layer that an operation is, if it is one."""
        operation = self.graph.operations[step]
        return self.network.layers[operation.row] if operation.part == "layers" else None

    def name_of(self, step: int) -> str:
        """Of an operation: that of its row."""
        operation = self.graph.operations[step]
        return (self.network.layers if operation.part == "layers" else self.network.other)[operation.row].name

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The first and the last operation that touches each tensor."""
        first, last = [len(self.graph.operations)] * len(self.bits), [-1] * len(self.bits)
        for step, operation in enumerate(self.graph.operations):
            for tensor in (*operation.reads, *operation.writes):
                first[tensor], last[tensor] = min(first[tensor], step), max(last[tensor], step)
        return tuple(zip(first, last, strict=True))

    @cached_property
    def reasons(self) -> Mapping[int, str]:
        """The tensors that cannot stay in any case, and why."""
        found = dict(self.kinds)
        for tensor in range(len(self.bits)):
            for memory, size, bits in zip(self.homes.memories, self.homes.sizes, self._whole(tensor), strict=True):
                if bits > size:
                    found.setdefault(tensor, f"larger than {memory.name} ({_kib(bits)} of {_kib(size)})")
        return found

    @cached_property
    def kinds(self) -> Mapping[int, str]:
        """The tensors that cannot stay whatever their size, and why."""
        found: dict[int, str] = {}
        for tensor in self.graph.inputs:
            found[tensor] = "an input of the network, which comes from DRAM"
        for tensor in self.graph.outputs:
            found.setdefault(tensor, "a result of the network, which goes to DRAM")
        read = {tensor for operation in self.graph.operations for tensor in operation.reads}
        written = {tensor for operation in self.graph.operations for tensor in operation.writes}
        for tensor in range(len(self.bits)):
            if tensor not in written:  # in layer lists: what is not listed makes a tensor smaller
                found.setdefault(tensor, "written by an operator that is not listed")
            elif tensor not in read:
                found.setdefault(tensor, "read by no operator that is listed")
        for step, operation in enumerate(self.graph.operations):
            layer = self.layer_of(step)
            if layer is None:
                continue
            if layer.type == "matmul" or len(operation.reads) > 1:
                for tensor in operation.reads:
                    found.setdefault(
                        tensor, f"read by {layer.name}, a product of two activations, whose operands come from DRAM"
                    )
            if len(operation.writes) > 1:
                for tensor in operation.writes:
                    found.setdefault(tensor, f"written by {layer.name}, which has several results")
        for tensor in range(len(self.bits)):
            if not self.asked:
                found.setdefault(tensor, "everything goes through DRAM")
            if not self.homes.memories:
                found.setdefault(tensor, self.homes.why)
        return found

    def operands(self, step: int) -> tuple[Operand, ...]:
        """The tensors whose stay changes what an operation costs."""
        operation = self.graph.operations[step]
        if self.layer_of(step) is None:
            read = [Operand(tensor, "inputs") for tensor in operation.reads if tensor not in operation.writes]
            return (*read, *(Operand(tensor, "outputs") for tensor in operation.writes))
        reads = [Operand(tensor, "inputs") for tensor in operation.reads] if self._reads_one(operation) else []
        return (*reads, *(Operand(tensor, "outputs") for tensor in operation.writes[:1]))

    def moved(self, step: int) -> int | None:
        """The tensor that is moved after an operation if it stays: what a layer writes and something reads."""
        operation = self.graph.operations[step]
        return operation.writes[0] if operation.part == "layers" and operation.writes else None

    @cached_property
    def problem(self) -> Problem:
        """What `hwflow.cost.assignment` is asked."""
        candidates = frozenset(range(len(self.bits))) - frozenset(self.reasons)
        steps = tuple(self._step(step, candidates) for step in range(len(self.graph.operations)))
        return Problem(steps, candidates, self.homes.sizes)

    def _step(self, step: int, candidates: frozenset[int]) -> Step:
        layer, homes = self.layer_of(step), self.homes
        operands = {tensor: role for tensor, role in self.operands(step) if tensor in candidates}
        held: dict[int, Room] = {}
        for tensor, (first, last) in enumerate(self.spans):
            if tensor not in candidates or not first <= step <= last:
                continue
            room = list(self._whole(tensor))
            if layer is not None and tensor in operands:  # the layer's tile holds it, or what it reads or writes of it
                role = operands[tensor]
                beside = max(0, self.bits[tensor] - layer.words(role) * self.widths[tensor])
                if role == "inputs" or first == step:
                    room = [0] * len(room)
                room[homes.place(role)] = max(room[homes.place(role)], homes.rows(beside, homes.place(role)))
            held[tensor] = tuple(room)
        return Step(tuple(operands), held)

    def _whole(self, tensor: int) -> Room:
        """What a tensor takes of each memory where it lies: in that from which it is read."""
        return tuple(self.homes.rows(self.bits[tensor], m) if m == 0 else 0 for m in range(len(self.homes.memories)))

    def _reads_one(self, operation: Operation) -> bool:
        return len(operation.reads) == 1 and self.network.layers[operation.row].type != "matmul"


def _kib(bits: int) -> str:
    return f"{bits / 8192:,.1f} KiB"


__all__ = ["Lives", "Operand"]

"""`Graph`: which operator of a network reads what which other one wrote, in order of execution, and what that holds in memory.

Peak activation memory is the largest sum, over the operators in their order of execution, of the tensors that exist while one
runs: what it reads, what it writes, and what a later one still reads. A tensor exists from the operator that writes it to the
last one that reads it; the network's inputs exist from the start, its outputs to the end. Views share the storage of what they
show. An element-by-element operator writes over an input of its result's size that nobody reads afterwards, as compilers and
runtimes let it (memory planning of ONNX Runtime and TensorFlow Lite), so a graph with a ReLU of its own needs what one with
`inplace=True` needs. Weights are no activations; nor are scratch buffers that an implementation may need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from hwflow.layers import Bits

_NAMES = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BatchNormalization BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
    CastLike Ceil Celu Clip Cos Cosh DequantizeLinear Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual
    HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu
    Pow QuantizeLinear Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan
    Tanh ThresholdedRelu Where Xor
"""
_ELEMENTWISE = frozenset(_NAMES.split())
"""ONNX's names of operators whose results depend on the elements at the same place only, as normalisation's at inference do."""

Part = Literal["layers", "other"]


class Operation(NamedTuple):
    """One row of `Network.layers`, or of `Network.other`, with the places in `Graph.words` of what it reads and writes."""

    part: Part
    row: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]


class Made(NamedTuple):
    """What one of an operator's rows is, as a builder is told of it: `words` are the elements of its result."""

    part: Part
    type: str
    words: int


class Reading(NamedTuple):
    """Which layers, rows of `Network.layers`, read what of one another.

    Attributes:
        values: for each row the numbers of the values that it reads; two rows with one number read the same one.
        readers: for each row the next rows that read its result: as it is or, where none does, what other operators (an
            addition, a normalisation, a pooling) make of it.
        given: rows whose result, or what other operators make of it, the network returns, or nobody reads.
    """

    values: Mapping[int, tuple[int, ...]]
    readers: Mapping[int, tuple[int, ...]]
    given: frozenset[int]


@dataclass(frozen=True)
class Graph:
    """The data flow of a network.

    Attributes:
        words: elements of each tensor; tensors that share storage are one.
        operations: in order of execution.
        inputs, outputs: the network's own, by place.
    """

    words: tuple[int, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def live(self) -> tuple[tuple[int, ...], ...]:
        """For each operation the tensors that exist while it runs."""
        first: dict[int, int] = dict.fromkeys(self.inputs, 0)
        last: dict[int, int] = {}
        for place, operation in enumerate(self.operations):
            for tensor in (*operation.reads, *operation.writes):
                first.setdefault(tensor, place)
                last[tensor] = place
        last |= dict.fromkeys(self.outputs, len(self.operations))
        held: list[list[int]] = [[] for _ in self.operations]
        for tensor, start in first.items():
            for place in range(start, min(last.get(tensor, -1), len(self.operations) - 1) + 1):
                held[place].append(tensor)
        return tuple(map(tuple, held))

    @cached_property
    def reading(self) -> Reading:
        """Which layers read what of one another."""
        made: dict[int, int] = {tensor: number for number, tensor in enumerate(self.inputs)}  # the value that a tensor holds
        count = len(self.inputs)
        read: dict[int, list[int]] = {}
        by: dict[int, list[int]] = {}
        passed: dict[int, list[int]] = {}
        written: dict[int, int] = {}
        for operation in self.operations:
            values = [made[tensor] for tensor in operation.reads if tensor in made]
            for tensor in operation.writes:
                made[tensor] = count
                count += 1
            results = [made[tensor] for tensor in operation.writes]
            if operation.part == "layers":
                read.setdefault(operation.row, []).extend(values)
                for value in values:
                    by.setdefault(value, []).append(operation.row)
                written.update(dict.fromkeys([operation.row], results[0]) if results else {})
            else:
                for value in values:
                    passed.setdefault(value, []).extend(results)
        given = {made[tensor] for tensor in self.outputs if tensor in made}

        def readers(value: int) -> tuple[set[int], bool]:
            outside = value in given
            if value in by:
                return set(by[value]), outside
            found = [readers(result) for result in passed.get(value, ())]
            return set().union(*(rows for rows, _ in found)), outside or any(out for _, out in found)

        first = {row: readers(value) for row, value in written.items()}
        return Reading(
            {row: tuple(values) for row, values in read.items()},
            {row: tuple(sorted(rows)) for row, (rows, _) in first.items()},
            frozenset(row for row, (rows, outside) in first.items() if outside or not rows),
        )

    def widths(self, bits: Sequence[Bits]) -> tuple[int, ...]:
        """Bits of a word of each tensor, from the word widths of the rows of `Network.layers`.

        A tensor has the width at which a layer writes it. What another operator writes is as wide as the widest that it reads.
        An input of the network has the width at which the layers that read it want it; where none does, the first layer's.
        """
        found: dict[int, int] = {}
        wanted: dict[int, int] = {}
        for operation in self.operations:
            if operation.part == "layers":
                for tensor in operation.reads:
                    wanted[tensor] = max(wanted.get(tensor, 0), bits[operation.row].inputs)
        for tensor in self.inputs:
            found[tensor] = wanted.get(tensor, bits[0].inputs)
        for operation in self.operations:
            if operation.part == "layers":
                width = bits[operation.row].outputs
            else:
                width = max((found[tensor] for tensor in operation.reads if tensor in found), default=bits[0].outputs)
            for tensor in operation.writes:
                found[tensor] = max(found.get(tensor, 0), width)
        return tuple(found.get(tensor, bits[0].outputs) for tensor in range(len(self.words)))

    def peak_bytes(self, bits: Sequence[Bits]) -> int:
        """The largest sum of tensors that exist at once, in whole bytes; `bits` are the word widths of the layers' rows."""
        sizes = [words * width for words, width in zip(self.words, self.widths(bits), strict=True)]
        return -(-max((sum(sizes[tensor] for tensor in held) for held in self.live), default=0) // 8)

    def scaled(self, factor: int, divisor: int) -> Graph | None:
        """Every tensor `factor` / `divisor` times as large; None where that gives no whole numbers."""
        if any(words * factor % divisor for words in self.words):
            return None
        return replace(self, words=tuple(words * factor // divisor for words in self.words))


class GraphBuilder:
    """Collects the data flow while an importer meets operator after operator; tensors are numbers that it gives out."""

    def __init__(self) -> None:
        self.known = True
        """Whether the data flow is known so far; otherwise there is no graph."""
        self._words: list[int] = []
        self._operations: list[tuple[Made, Operation]] = []
        self._rows: dict[Part, int] = {"layers": 0, "other": 0}

    def tensor(self, words: int) -> int:
        """A new tensor of so many elements."""
        self._words.append(words)
        return len(self._words) - 1

    def ran(self, rows: Sequence[Made], reads: Iterable[int], writes: Iterable[int]) -> None:
        """An operator that is one row or several: then each reads the one before, and what it reads is held until the last."""
        inputs = tuple(dict.fromkeys(reads))
        between: tuple[int, ...] = ()
        for row in rows[:-1]:
            made = (self.tensor(row.words),)
            self._add(row, (*inputs, *between), made)
            between = made
        if rows:
            self._add(rows[-1], (*inputs, *between), tuple(dict.fromkeys(writes)))

    def _add(self, row: Made, reads: tuple[int, ...], writes: tuple[int, ...]) -> None:
        self._operations.append((row, Operation(row.part, self._rows[row.part], reads, writes)))
        self._rows[row.part] += 1

    def graph(self, inputs: Iterable[int], outputs: Iterable[int]) -> Graph | None:
        """What was collected, with tensors that share storage made one, and results that nobody reads left out."""
        if not self.known:
            return None
        given, results = tuple(dict.fromkeys(inputs)), set(outputs)
        last: dict[int, float] = {}
        for place, (_, operation) in enumerate(self._operations):
            last |= dict.fromkeys(operation.reads, place)
        last |= dict.fromkeys(results, math.inf)
        storage = list(range(len(self._words)))
        operations = []
        for place, (row, operation) in enumerate(self._operations):
            # What a pooling or a normalisation gives beside its result is rarely wanted; then it is not made.
            writes = tuple(t for t in operation.writes if t in last) or operation.writes[:1]
            if row.part == "other" and row.type in _ELEMENTWISE and len(writes) == 1 and writes[0] not in operation.reads:
                dying = [t for t in operation.reads if last[t] == place and self._words[t] == self._words[writes[0]]]
                storage[writes[0]] = storage[dying[0]] if dying else writes[0]
            operations.append(operation._replace(writes=writes))
        places: dict[int, int] = {}
        for tensor in (*given, *(t for operation in operations for t in (*operation.reads, *operation.writes)), *results):
            places.setdefault(storage[tensor], len(places))

        def placed(tensors: Iterable[int]) -> tuple[int, ...]:
            return tuple(dict.fromkeys(places[storage[t]] for t in tensors))

        made = tuple(o._replace(reads=placed(o.reads), writes=placed(o.writes)) for o in operations)
        return Graph(tuple(self._words[t] for t in places), made, placed(given), tuple(sorted(placed(results))))


__all__ = ["Graph", "GraphBuilder", "Made", "Operation", "Part", "Reading"]

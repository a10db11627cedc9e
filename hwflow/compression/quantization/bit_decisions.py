"""`BitDecisions`: the word widths of a network's weights and activations as decisions, and the widths of rows that follow.

A decision of weights is made for each tensor of weights, one of activations for each value that layers read: layers that read
the same value share it, since it is stored once. A layer's result is stored as wide as the widest layer that reads it next
wants it, so a row's cost depends on the bits of its own operands and on those of the layers behind it. What no layer reads, as
the network's output, keeps the chip's width. The last option of each decision is that width, which leaves the layer as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from torch import nn

from hwflow.compression.decision import Decision
from hwflow.compression.quantization.powers import TERM_BITS
from hwflow.compression.quantization.quantized_layers import Code, quantizable
from hwflow.cost.coarse import bits_of
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Bits
from hwflow.network import Network

WEIGHTS, ACTIVATIONS = "weight_bits", "activation_bits"
"""What decisions are called after their layer's name."""

CODED = 8
"""Bits up to which values are rounded to codes; at wider words the network computes as it was trained."""

Chosen = Sequence[int]
"""Bits of each decision, in their order."""


class RowBits(NamedTuple):
    """What a row's word widths follow from: places of decisions, or the chip's own widths.

    Attributes:
        weights, inputs: a decision, or None.
        outputs: decisions of the layers that read the result next.
        floor: the least width of the result, which others want.
        whole: the chip's own.
    """

    weights: int | None
    inputs: int | None
    outputs: tuple[int, ...]
    floor: int
    whole: Bits

    @property
    def on(self) -> tuple[int, ...]:
        """The decisions, ascending."""
        return tuple(sorted({place for place in (self.weights, self.inputs, *self.outputs) if place is not None}))

    def bits(self, chosen: Chosen) -> Bits | None:
        """The widths; None where they are the chip's own, which runs the row as it is described."""
        weights = self.whole.weights if self.weights is None else chosen[self.weights]
        inputs = self.whole.inputs if self.inputs is None else chosen[self.inputs]
        found = Bits(weights, inputs, max([self.floor, *(chosen[place] for place in self.outputs)]))
        return None if found == self.whole else found


@dataclass(frozen=True)
class BitDecisions:
    """The decisions of one network on one chip.

    Attributes:
        decisions: in order of execution.
        weights, inputs: by name of a module the place of its decision.
        rows: one for each row of the network.
        shifts: whether weights are sums of powers of two.
    """

    decisions: tuple[Decision, ...]
    weights: Mapping[str, int]
    inputs: Mapping[str, int]
    rows: tuple[RowBits, ...]
    shifts: bool

    @cached_property
    def word_widths(self) -> tuple[Bits, ...]:
        """All that a row can have beside the chip's own."""
        found: dict[Bits, None] = {}
        for combination in {self._options(row) for row in self.rows}:
            whole, floor, weights, inputs, *outputs = combination
            for w, i, *reads in itertools.product(weights, inputs, *outputs):
                bits = Bits(w, i, max([floor, *reads]))
                if bits != whole:
                    found[bits] = None
        return tuple(sorted(found))

    def codes(self, chosen: Chosen) -> dict[str, tuple[Code | None, int | None]]:
        """For each module how its weights are coded and how many bits its inputs are rounded to; None for as they are."""
        return {
            name: (self._code(chosen[place]), chosen[read] if chosen[read] <= CODED else None)
            for (name, place), read in zip(self.weights.items(), self.inputs.values(), strict=True)
        }

    def _code(self, bits: int) -> Code | None:
        if bits > CODED:
            return None
        return Code("powers", bits // TERM_BITS) if self.shifts else Code("integer", bits)

    def _options(self, row: RowBits) -> tuple[Any, ...]:
        def of(place: int | None, whole: int) -> tuple[int, ...]:
            return (whole,) if place is None else self.decisions[place].options

        outputs = (self.decisions[place].options for place in row.outputs)
        return (row.whole, row.floor, of(row.weights, row.whole.weights), of(row.inputs, row.whole.inputs), *outputs)


def bit_decisions(
    model: nn.Module, network: Network, accelerator: Accelerator | None, options: Sequence[int], edge: int
) -> BitDecisions:
    """The decisions for all plain convolutions and linear layers of a model.

    Args:
        network: its rows.
        options: bits to choose from, beside the chip's own width.
        edge: the least bits of the first and of the last layer.

    Raises:
        InputError: where there is no such layer, or bits that the chip cannot take.
    """
    able = set(quantizable(model))
    modules = [layer.name.partition("#")[0] for layer in network.layers]
    decided = [row for row, name in enumerate(modules) if name in able]
    if not decided:
        raise InputError(f"{network.name} has no Conv2d and no Linear layer: there are no bits to decide.")
    whole = [bits_of(layer if accelerator is None else accelerator.typed(layer), accelerator) for layer in network.layers]
    shifts = accelerator is not None and accelerator.mac.arithmetic in ("shift1", "shift2")
    edges = {modules[decided[0]], modules[decided[-1]]}
    values = _values(network, modules, decided)
    tensors = {name: id(model.get_submodule(name).weight) for name in dict.fromkeys(modules[row] for row in decided)}

    decisions: list[Decision] = []
    places: dict[tuple[str, int], int] = {}  # of the tensor of weights or the value
    weights, inputs = dict[str, int](), dict[str, int]()
    for row in decided:
        name = modules[row]
        for kind, key, known in ((WEIGHTS, tensors[name], weights), (ACTIVATIONS, values[name], inputs)):
            sharing = [n for n in tensors if (tensors if kind == WEIGHTS else values)[n] == key]
            if (kind, key) not in places:
                own = whole[row].weights if kind == WEIGHTS else whole[row].inputs
                least = max(edge, min(options)) if edges & set(sharing) else min(options)
                found = tuple(sorted({n for n in options if least <= n < own} | {own}))
                places[kind, key] = len(decisions)
                decisions.append(Decision(f"{name}.{kind}", found, ()))
            known[name] = places[kind, key]
    rows = _rows(network, modules, weights, inputs, whole)
    for place, one in enumerate(decisions):
        decisions[place] = Decision(one.name, one.options, tuple(r for r, row in enumerate(rows) if place in row.on))
    made = BitDecisions(tuple(decisions), weights, {name: inputs[name] for name in weights}, rows, shifts)
    _check(made, accelerator, options)
    return made


def _values(network: Network, modules: Sequence[str], decided: Sequence[int]) -> dict[str, int]:
    """For each module a number of what it reads; modules that read the same value have the same one.

    A module that runs several times rounds all that it reads alike. Where the data flow is not known, each reads its own.
    """
    found: dict[str, int] = {}
    groups: dict[int, int] = {}  # of values
    for row in decided:
        name = modules[row]
        read = () if network.graph is None else network.graph.reading.values.get(row, ())[:1]
        number = found.setdefault(name, groups.get(read[0], row) if read else row)
        for value in read:
            other = groups.setdefault(value, number)
            if other != number:  # a module that reads both
                found = {n: number if g == other else g for n, g in found.items()}
                groups = {v: number if g == other else g for v, g in groups.items()}
    return found


def _rows(
    network: Network, modules: Sequence[str], weights: Mapping[str, int], inputs: Mapping[str, int], whole: Sequence[Bits]
) -> tuple[RowBits, ...]:
    rows = []
    for row, name in enumerate(modules):
        own = whole[row]
        outputs: tuple[int, ...] = ()
        floor = own.outputs
        if network.graph is not None and row not in network.graph.reading.given:
            readers = network.graph.reading.readers.get(row, ())
            outputs = tuple(sorted({inputs[modules[reader]] for reader in readers if modules[reader] in inputs}))
            floor = max((whole[reader].inputs for reader in readers if modules[reader] not in inputs), default=1)
        rows.append(RowBits(weights.get(name), inputs.get(name), outputs, floor, own))
    return tuple(rows)


def _check(made: BitDecisions, accelerator: Accelerator | None, options: Sequence[int]) -> None:
    """Refuse bits that there are no codes for, or that the chip cannot take."""
    asked = ",".join(map(str, options))
    if all(len(one.options) == 1 for one in made.decisions):
        own = made.rows[0].whole
        raise InputError(
            f"--word-bits is {asked}, and without fewer bits than the chip's own there is nothing to decide: these are "
            f"{own.weights} of weights and {own.inputs} of activations."
        )
    if accelerator is None:
        return
    terms = sorted({n for one in made.decisions if one.name.endswith(WEIGHTS) for n in one.options} if made.shifts else ())
    odd = [n for n in terms if n % TERM_BITS]
    if odd:
        raise InputError(
            f"--word-bits is {asked}: {accelerator.name} computes by shifts, and weights of {odd[0]} bits are no sum of powers "
            f"of two, each of which takes {TERM_BITS} bits. Ask for multiples of {TERM_BITS} (--word-bits 4,8)."
        )
    for bits in made.word_widths:
        try:
            accelerator.with_bits(bits)
        except InputError as error:
            raise InputError(
                f"--word-bits is {asked}, and {accelerator.name} cannot run weights of {bits.weights} and activations of "
                f"{bits.inputs} bits that leave as {bits.outputs}: {error}"
            ) from None


__all__ = ["ACTIVATIONS", "CODED", "WEIGHTS", "BitDecisions", "Chosen", "RowBits", "bit_decisions"]

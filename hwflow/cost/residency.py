"""Tensors that stay on the chip between layers: where they can lie, and what a layer costs beside them.

A tensor is written as outputs of one layer and read as inputs of others. It can stay where a memory on the chip, of which
there is one instance, keeps outputs and one keeps inputs. Where these are two, it is written into the first and moved to the
second at the price of a read and a write of each word before the next operation runs.

A layer reads and writes tensors that stay as a mapping whose DRAM level bypasses them, so that the memory is their outermost
store and holds them whole; Timeloop judges such mappings as they are. What other tensors take, in whole rows, is taken off the
memory's size for the search; energies are those of the whole memory. A layer's input in Timeloop is the hull that its windows
span, padding included: the layer holds that while it runs, the operations between hold the tensor without padding.

Where a batch runs in several rounds (`hwflow.cost.batch_rounds`), weights can stay over all of them in the outermost memory
that keeps weights, if there is one instance of it: they are read from DRAM once, before the first round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from hwflow.cost.assignment import Room
from hwflow.cost.chip import Chip
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Memory
from hwflow.hardware.stored_bits import stored_bits, widened
from hwflow.layers import DIMS, TENSORS, Dim, Layer, Tensor
from hwflow.mapping import Mapping as LayerMapping
from hwflow.occupancy import OperatorCost


@dataclass(frozen=True)
class Homes:
    """The memories in which tensors stay: read as inputs from the first, written as outputs into that at the place `written`.

    These can be the same, and there can be none, for the reason `why`. `kept` is the place of the memory in which weights stay
    over the rounds of a batch, if there is one and that was asked for; it can be one of the others.
    """

    memories: tuple[Memory, ...]
    why: str = ""
    written: int = 0
    kept: int | None = None

    @property
    def sizes(self) -> Room:
        """In bits."""
        return tuple(memory.size_bits or 0 for memory in self.memories)

    def place(self, tensor: Tensor) -> int:
        """Of the memory of a layer's tensor among `memories`."""
        if tensor == "weights":
            assert self.kept is not None
            return self.kept
        return self.written if tensor == "outputs" else 0

    def rows(self, bits: int, place: int) -> int:
        """Bits of the whole rows that so many bits take."""
        width = self.memories[place].width_bits
        return -(-bits // width) * width


def homes_of(accelerator: Accelerator, *, weights: bool = False) -> Homes:
    """Where tensors can stay on a chip, or why they cannot.

    Args:
        weights: whether weights may stay, too, where one memory on the chip can hold them.
    """
    if accelerator.own_constraints is not None:
        return Homes((), f"{accelerator.name} is described by Timeloop's files, in which no memory is made smaller")
    found: list[Memory] = []
    for tensor in ("inputs", "outputs"):
        home = home_of(accelerator, tensor)
        if isinstance(home, str):
            return Homes((), home)
        found.append(home)
    memories = tuple(found[:1] if found[0] == found[1] else found)
    homes = Homes(memories, written=len(memories) - 1)
    third = home_of(accelerator, "weights") if weights else ""
    if isinstance(third, str):
        return homes
    more = () if third in memories else (third,)
    return replace(homes, memories=(*memories, *more), kept=(*memories, *more).index(third))


def home_of(accelerator: Accelerator, tensor: Tensor) -> Memory | str:
    """The outermost memory on a chip that keeps a tensor, or why it can hold none as a whole."""
    keepers = [lv for lv in accelerator.levels[1:] if lv.memory is not None and tensor in lv.memory.keeps]
    if not keepers or keepers[0].memory is None:
        return f"no memory on {accelerator.name} keeps {tensor}"
    if keepers[0].instances > 1:
        return (
            f"the outermost memory on {accelerator.name} that keeps {tensor} is {keepers[0].name}, of which there are "
            f"{keepers[0].instances}, so that a tensor would lie in parts"
        )
    return keepers[0].memory


def resident_chip(chip: Chip, homes: Homes, resident: Sequence[Tensor], room: Room) -> Chip | None:
    """The chip as a layer sees it whose `resident` tensors stay, with `room` bits left by others; None where that is less than
    a row of a memory."""
    changes = {}
    for memory, size, bits in zip(homes.memories, homes.sizes, room, strict=True):
        own = chip.accelerator[memory.name]
        assert isinstance(own, Memory)
        words = bits // own.width_bits * own.block_words
        if words == 0:
            return None
        if bits < size:
            changes[f"{memory.name}.size_words"] = words
    if not changes:
        return replace(chip, resident=tuple(resident))
    smaller = chip.accelerator.with_(changes)
    levels = {level.name: level for level in smaller.levels}
    constraints = tuple(replace(rule, level=levels[rule.level.name]) for rule in chip.constraints)
    return replace(chip, accelerator=smaller, constraints=constraints, resident=tuple(resident))


def tiles_of(layer: Layer, chip: Chip, mapping: LayerMapping, homes: Homes) -> tuple[dict[Tensor, int], ...]:
    """Bits that each tensor's tile takes of each memory while a layer runs, double buffers included, in whole rows together.

    Tiles are taken at the bounds of their loops, those of ragged mappings at full passes.
    """
    extents = dict.fromkeys(DIMS, 1)
    found: dict[str, dict[Tensor, int]] = {}
    for mapped in reversed(mapping.levels):
        for loop in mapped.loops:
            extents[loop.dim] *= loop.bound
        part = chip.accelerator[mapped.level] if mapped.keeps else None
        if isinstance(part, Memory):
            found[mapped.level] = {
                t: math.ceil(hull(layer, t, extents) * part.buffering * _width(part, layer, t))
                for t in TENSORS
                if t in mapped.keeps
            }
    return tuple(found.get(memory.name, {}) for memory in homes.memories)


def least_room(layer: Layer, chip: Chip, homes: Homes, resident: Sequence[Tensor]) -> Room:
    """Bits of each memory that any mapping takes: a tensor that stays is held whole, of all others a word."""
    found = []
    for place, memory in enumerate(homes.memories):
        part = chip.accelerator[memory.name]
        assert isinstance(part, Memory)
        whole = {d for t in resident if homes.place(t) == place for d in layer.relevant(t)}
        extents = {d: n if d in whole else 1 for d, n in layer.dims.items()}
        kept = [t for t in part.keeps if t in resident or t not in part.may_bypass]
        bits = sum(math.ceil(hull(layer, t, extents) * part.buffering * _width(part, layer, t)) for t in kept)
        found.append(homes.rows(bits, place))
    return tuple(found)


def _width(memory: Memory, layer: Layer, tensor: Tensor) -> int:
    """Bits that are set aside for an element: outputs are sums before they are complete."""
    return stored_bits(memory, layer).sums[TENSORS.index(tensor)]


def hull(layer: Layer, tensor: Tensor, extents: Mapping[Dim, int]) -> int:
    """Elements of a tensor that loops of these extents touch, the gaps between windows included."""
    axes = layer.projections[tensor]
    return math.prod(1 + sum(term.coefficient * (extents[term.dim] - 1) for term in axis) for axis in axes)


class Move(NamedTuple):
    """What it takes to bring a tensor from the memory of outputs to that of inputs."""

    energy: float
    cycles: int


def move_of(elements: int, layer: Layer, chip: Chip, homes: Homes) -> Move | None:
    """The move of a tensor that a layer writes; None where both memories are one.

    Reads and writes of the two overlap; the slower sets the pace. An accumulator holds every element in a word of its own.
    """
    if homes.written == 0:
        return None
    target, source = (chip.accelerator[homes.memories[place].name] for place in (0, homes.written))
    assert isinstance(source, Memory)
    assert isinstance(target, Memory)
    parts = widened(chip.table, chip.accelerator, layer).parts
    out = elements * stored_bits(source, layer).own[TENSORS.index("outputs")]
    into = elements * stored_bits(target, layer).own[TENSORS.index("outputs")]  # which the next one's inputs are
    energy = parts[source.name].read * -(-out // source.width_bits) + parts[target.name].write * -(-into // target.width_bits)
    paces = [pace(chip.accelerator, source, -(-out // source.word_bits), 0)]
    paces.append(pace(chip.accelerator, target, 0, -(-into // target.word_bits)))
    return Move(energy, max(paces))


def weight_bits(layer: Layer, chip: Chip, homes: Homes) -> int:
    """What a layer's weights take of the memory in which they can stay, in whole rows."""
    assert homes.kept is not None
    memory = chip.accelerator[homes.memories[homes.kept].name]
    assert isinstance(memory, Memory)
    return homes.rows(
        math.ceil(hull(layer, "weights", layer.dims) * memory.buffering * _width(memory, layer, "weights")), homes.kept
    )


def load_of(layer: Layer, chip: Chip, homes: Homes) -> Move:
    """What it takes to bring a layer's weights from DRAM into the memory in which they stay; reads and writes overlap."""
    assert homes.kept is not None
    own, parts = TENSORS.index("weights"), widened(chip.table, chip.accelerator, layer).parts
    energy, paces = 0.0, []
    for name, written in ((chip.accelerator.dram.name, False), (homes.memories[homes.kept].name, True)):
        memory = chip.accelerator[name]
        assert isinstance(memory, Memory)
        bits = layer.words("weights") * stored_bits(memory, layer).own[own]
        energy += (parts[name].write if written else parts[name].read) * -(-bits // memory.width_bits)
        words = -(-bits // memory.word_bits)
        paces.append(pace(chip.accelerator, memory, 0 if written else words, words if written else 0))
    return Move(energy, max(paces))


def load_cost(name: str, layer: Layer, chip: Chip, homes: Homes, rounds: int) -> OperatorCost:
    """The load of weights that stay over all rounds, as a row beside the layers."""
    assert homes.kept is not None
    load, dram, memory = load_of(layer, chip, homes), chip.accelerator.dram, homes.memories[homes.kept].name
    bits = layer.words("weights") * stored_bits(dram, layer).own[TENSORS.index("weights")]
    return OperatorCost(
        name=name,
        type="Load",
        operations=0,
        energy=load.energy,
        energy_unit=chip.table.unit,
        energy_by_part={f"{dram.name} to {memory}": load.energy},
        cycles=load.cycles,
        latency_s=load.cycles * chip.accelerator.cycle_s,
        dram_bytes=bits / 8,
        note=f"weights, once for {rounds} rounds",
    )


def pace(accelerator: Accelerator, memory: Memory, reads: int, writes: int) -> int:
    """Cycles that a memory's bandwidths take for so many words."""
    both = accelerator.words_per_cycle(memory)
    limits = ((memory.read_words_per_cycle, reads), (memory.write_words_per_cycle, writes), (both, reads + writes))
    return max((math.ceil(round(words / limit, 6)) for limit, words in limits if limit is not None), default=0)


def move_cost(name: str, move: Move, chip: Chip, homes: Homes) -> OperatorCost:
    """A move as a row beside the layers."""
    target, source = (homes.memories[place].name for place in (0, homes.written))
    return OperatorCost(
        name=name,
        type="Move",
        operations=0,
        energy=move.energy,
        energy_unit=chip.table.unit,
        energy_by_part={f"{source} to {target}": move.energy},
        cycles=move.cycles,
        latency_s=move.cycles * chip.accelerator.cycle_s,
        dram_bytes=0.0,
        note=f"from {source} to {target}",
    )


__all__ = [
    "Homes",
    "Move",
    "home_of",
    "homes_of",
    "hull",
    "least_room",
    "load_cost",
    "load_of",
    "move_cost",
    "move_of",
    "pace",
    "resident_chip",
    "tiles_of",
    "weight_bits",
]

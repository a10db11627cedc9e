"""What a chip does about zeros: which accesses and products it saves, and which tensors lie compressed in its memories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator, Field, model_validator

from hwflow.hardware.components import Memory, Part, Positive
from hwflow.layers import TENSORS, Tensor
from hwflow.validation import Strict

Operand = Literal["weights", "inputs"]
OPERANDS: tuple[Operand, ...] = get_args(Operand)
Encoding = Literal["rle", "coordinates", "bitmask"]
OffsetBits = Annotated[int, Field(strict=True, ge=0, le=64)]

ROWS_COMPRESSED = (1, 2, 4, 8, 16, 32)
"""Words of a row for which Timeloop's model of compressed tiles has coefficients."""


class Compressed(Strict):
    """How tensors lie in one memory: nonzero elements, and beside them indices that say where they belong.

    `rle` stores for each nonzero element the length of the run of zeros before it, `coordinates` its place in the tile, both in
    `index_bits`; `bitmask` stores one bit for every element. `offset_bits`: of the pointer to each tile that the next memory
    asks for; 0 where tiles are read in the order in which they lie. `index_row_bits`: of the indices that an access brings; by
    default as many whole ones as a row of the memory has room for.
    """

    weights: Encoding | None = None
    inputs: Encoding | None = None
    outputs: Encoding | None = None
    index_bits: Positive | None = None
    offset_bits: OffsetBits = 0
    index_row_bits: Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> Compressed:
        if not self.encodings:
            raise ValueError(
                f"it names no tensor; give one of {', '.join(TENSORS)} an encoding: {', '.join(get_args(Encoding))}"
            )
        indexed = [tensor for tensor, encoding in self.encodings.items() if encoding != "bitmask"]
        if indexed and self.index_bits is None:
            raise ValueError(
                f"index_bits is missing: {indexed[0]} is stored as {self.encodings[indexed[0]]}, with an index each"
            )
        if not indexed and self.index_bits is not None:
            raise ValueError(f"index_bits is {self.index_bits}, and a bitmask has one bit for each element: leave it out")
        if self.index_row_bits is not None and self.index_row_bits % (self.index_bits or 1):
            raise ValueError(
                f"index_row_bits is {self.index_row_bits}; it must be a whole multiple of index_bits, {self.index_bits}"
            )
        return self

    @property
    def encodings(self) -> dict[Tensor, Encoding]:
        """Those of the compressed tensors."""
        found = {tensor: getattr(self, tensor) for tensor in TENSORS}
        return {tensor: encoding for tensor, encoding in found.items() if encoding is not None}

    def bits(self, tensor: Tensor) -> int:
        """Bits of one index of a compressed tensor."""
        return 1 if self.encodings[tensor] == "bitmask" else self.index_bits or 0

    def row_bits(self, memory: Memory) -> int:
        """Bits of indices in an access: as many whole indices, of whichever tensor, as a row has room for; 0: not even one."""
        if self.index_row_bits is not None:
            return self.index_row_bits
        sizes = [*(self.bits(tensor) for tensor in self.encodings), self.offset_bits or 1]
        return memory.width_bits - memory.width_bits % math.lcm(*sizes)


class Saving(NamedTuple):
    """Accesses to `tensor` in a memory that are left out where the element of any of `zeros_of` is zero.

    `skips`: the next access takes its place; otherwise its cycle passes unused.
    """

    memory: str
    tensor: Tensor
    zeros_of: tuple[Operand, ...]
    skips: bool


def _by_operand(value: Any) -> Any:
    """`weights` and `[weights, inputs]` are short for `{weights: [], inputs: []}`."""
    if isinstance(value, str):
        return {value: ()}
    return dict.fromkeys(value, ()) if isinstance(value, (list, tuple)) else value


Saved = Annotated[dict[Operand, tuple[str, ...]], BeforeValidator(_by_operand)]


class Sparsity(Strict):
    """What happens where an element is zero.

    `skips`: by operand, the memories whose accesses are left out, and with them the products, where an element of the operand
    is zero; what comes next takes the cycle. `gates`: the same, but the cycle passes. No memories stands for the innermost
    ones of all other tensors. `compressed`: by memory, how tensors lie there.
    """

    skips: Saved = Field(default_factory=dict)
    gates: Saved = Field(default_factory=dict)
    compressed: dict[str, Compressed] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Sparsity:
        if both := [operand for operand in self.skips if operand in self.gates]:
            raise ValueError(f"{both[0]} are both in skips and in gates; a zero costs a cycle or it does not: leave one out")
        if not (self.skips or self.gates or self.compressed):
            raise ValueError("it says nothing; give skips, gates or compressed, or leave sparsity out")
        return self

    def encoding(self, memory: str, tensor: Tensor) -> Encoding | None:
        """How a tensor lies compressed in a memory, by name; None where it does not."""
        stored = self.compressed.get(memory)
        return None if stored is None else stored.encodings.get(tensor)

    def check(self, hierarchy: Sequence[Part]) -> None:
        """Refuse what does not fit the parts of a chip.

        Raises:
            ValueError: naming the field and the part.
        """
        memories = {part.name: part for part in hierarchy if isinstance(part, Memory)}
        for name, stored in self.compressed.items():
            if name not in memories:
                raise ValueError(f"sparsity.compressed: there is no memory {name!r}; the memories are {', '.join(memories)}")
            _check_stored(memories[name], stored, list(memories.values()), self)
        self.savings(hierarchy)

    def savings(self, hierarchy: Sequence[Part]) -> tuple[Saving, ...]:
        """The accesses that are left out, the innermost memory first.

        Raises:
            ValueError: naming the field and the part, where a memory cannot save anything.
        """
        memories = [part for part in hierarchy if isinstance(part, Memory)]
        found: dict[tuple[str, Tensor], dict[Operand, str]] = {}
        for field in ("skips", "gates"):
            for operand, named in getattr(self, field).items():
                innermost = {t: m.name for t in TENSORS if t != operand for m in memories if t in m.keeps}
                places = named or tuple(dict.fromkeys(innermost.values()))
                for place in places:
                    if place not in innermost.values():
                        raise ValueError(
                            f"sparsity.{field}.{operand} names {place!r}, which is not the innermost memory of another tensor; "
                            f"these are {', '.join(dict.fromkeys(innermost.values()))}"
                        )
                other = innermost["inputs" if operand == "weights" else "weights"]
                if other not in places:
                    raise ValueError(
                        f"sparsity.{field}.{operand} names {', '.join(places)} and not {other}, from which the other operand "
                        "would still be read for every product: add it"
                    )
                for tensor, place in innermost.items():
                    if place in places:
                        found.setdefault((place, tensor), {})[operand] = field
        result = []
        for memory in reversed(memories):
            for tensor in memory.keeps:
                by_operand = found.get((memory.name, tensor), {})
                if len(set(by_operand.values())) > 1:
                    raise ValueError(
                        f"sparsity: accesses to {tensor} in {memory.name} are skipped for one operand and gated for the other; "
                        "name memories so that each is one of the two"
                    )
                if by_operand:
                    zeros = tuple(operand for operand in OPERANDS if operand in by_operand)
                    result.append(Saving(memory.name, tensor, zeros, "skips" in by_operand.values()))
        return tuple(result)


def _check_stored(memory: Memory, stored: Compressed, memories: Sequence[Memory], sparsity: Sparsity) -> None:
    where = f"sparsity.compressed.{memory.name}"
    for tensor, encoding in stored.encodings.items():
        if tensor not in memory.keeps:
            raise ValueError(f"{where}.{tensor} is {encoding}, and {memory.name} keeps {', '.join(memory.keeps)} only")
        for outer in memories[: memories.index(memory)]:
            above = sparsity.compressed.get(outer.name)
            if tensor in outer.keeps and (above is None or above.encodings.get(tensor) != encoding):
                raise ValueError(
                    f"{where}.{tensor} is {encoding}, and {outer.name}, from which they come, does not store them so: Timeloop "
                    "has no model of compression on the way inwards. Compress them in every memory from the outermost on"
                )
    if memory.block_words not in ROWS_COMPRESSED:
        raise ValueError(
            f"{where}: an access moves {memory.block_words} words; Timeloop's model of compressed tiles knows "
            f"{', '.join(map(str, ROWS_COMPRESSED))}"
        )
    if stored.row_bits(memory) == 0:
        raise ValueError(f"{where}: its indices do not fit an access of {memory.width_bits} bits; make them narrower")


__all__ = ["OPERANDS", "Compressed", "Encoding", "Operand", "Saving", "Sparsity"]

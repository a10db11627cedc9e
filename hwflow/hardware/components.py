"""The parts of a chip: memories, fan-outs and MAC units, as typed, validated fields."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from hwflow.layers import TENSORS, Dim, Tensor
from hwflow.validation import Strict

DramType = Literal["DDR3", "DDR4", "DDR5", "LPDDR", "LPDDR4", "LPDDR5", "LPDDR5X", "GDDR5", "GDDR6", "HBM2", "HBM3"]
DRAM_TYPES: tuple[DramType, ...] = get_args(DramType)


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not yes or no")
    return value


def _above_zero(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
        raise ValueError("it must be above 0")
    return _number(value)


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Positive = Annotated[int, BeforeValidator(_number), Field(ge=1, le=2**40)]
Cycles = Annotated[int, BeforeValidator(_number), Field(ge=0, le=2**40)]
PositiveFloat = Annotated[float, BeforeValidator(_above_zero), Field(ge=1e-9, le=1e15, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class NamedPart(Strict):
    """What all parts have: a name, by which users address their fields."""

    name: Name


class Memory(NamedPart):
    """A storage level. Sizes are of one instance.

    `word_bits` is the width of a stored element, `width_bits` of one access (a vector of `width_bits / word_bits` words, and
    what one entry of the energy table pays for). Bandwidths are words per cycle and instance; `bandwidth_gb_s` is a total
    that reads and writes share, in 1e9 byte/s. A memory without any bandwidth is never the bottleneck.

    `keeps` are the tensors that pass through the memory. Those of them in `may_bypass` need not: whether they do is chosen for
    each mapping.

    `network_fill_latency` and `network_drain_latency` are cycles that the network from the memory to what is inside it adds to
    every layer, before its first word and after its last; names and meaning are Timeloop's.
    """

    kind: Literal["dram", "sram", "regfile"]
    role: Name
    keeps: tuple[Tensor, ...] = TENSORS
    may_bypass: tuple[Tensor, ...] = ()
    word_bits: Positive
    width_bits: Positive
    size_kib: PositiveFloat | None = None
    size_words: Positive | None = None
    banks: Positive = 1
    ports: Literal[1, 2] = 1
    read_words_per_cycle: PositiveFloat | None = None
    write_words_per_cycle: PositiveFloat | None = None
    bandwidth_gb_s: PositiveFloat | None = None
    buffering: Annotated[PositiveFloat, Field(ge=1)] = 1.0
    dram_type: Annotated[DramType | None, BeforeValidator(_upper)] = None
    network_fill_latency: Cycles = 0
    network_drain_latency: Cycles = 0

    @model_validator(mode="after")
    def _check(self) -> Memory:
        if self.width_bits % self.word_bits:
            raise ValueError(
                f"width_bits (={self.width_bits}) must be a whole multiple of word_bits (={self.word_bits}): "
                "one access moves whole words"
            )
        if self.kind == "dram":
            if self.size_kib is not None or self.size_words is not None:
                raise ValueError("a dram has no size: it holds everything. Leave out size_kib and size_words")
        elif (self.size_kib is None) == (self.size_words is None):
            raise ValueError("give exactly one of size_kib and size_words")
        elif self.size_bits is not None and (self.size_bits % self.width_bits or self.size_bits < self.width_bits):
            raise ValueError(f"its size (={self.size_bits} bit) must be a whole multiple of width_bits (={self.width_bits})")
        if not self.keeps or len(set(self.keeps)) != len(self.keeps):
            raise ValueError(f"keeps (={list(self.keeps)}) must name at least one of {', '.join(TENSORS)}, each once")
        if self.may_bypass:
            if self.kind == "dram":
                raise ValueError(f"may_bypass (={list(self.may_bypass)}) is of memories on the chip; a dram keeps everything")
            if not set(self.may_bypass) <= set(self.keeps) or len(set(self.may_bypass)) != len(self.may_bypass):
                raise ValueError(
                    f"may_bypass (={list(self.may_bypass)}) must name tensors of keeps (={list(self.keeps)}), each once"
                )
            object.__setattr__(self, "may_bypass", tuple(t for t in self.keeps if t in self.may_bypass))  # in one order
        if (self.dram_type is not None) != (self.kind == "dram"):
            raise ValueError("dram_type belongs to a memory of kind dram, and every dram states it")
        return self

    @property
    def size_bits(self) -> int | None:
        """Capacity of one instance in bits, or None for a DRAM."""
        if self.size_words is not None:
            return self.size_words * self.word_bits
        return None if self.size_kib is None else math.floor(self.size_kib * 8192)

    @property
    def words(self) -> int | None:
        """Capacity of one instance in words, or None for a DRAM."""
        return None if self.size_bits is None else self.size_bits // self.word_bits

    @property
    def block_words(self) -> int:
        """Words that one access moves."""
        return self.width_bits // self.word_bits

    @property
    def depth(self) -> int | None:
        """Rows of `width_bits`, or None for a DRAM."""
        return None if self.size_bits is None else self.size_bits // self.width_bits


class Fanout(NamedPart):
    """A spatial array: every instance above serves `rows` x `columns` instances of what follows.

    `row_dims` and `column_dims` say which loop dimensions the wiring can spread over each axis; None means any.
    """

    kind: Literal["fanout"]
    role: Name
    rows: Positive | None = None
    columns: Positive | None = None
    row_dims: tuple[Dim, ...] | None = None
    column_dims: tuple[Dim, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Fanout:
        if self.rows is None and self.columns is None:
            raise ValueError("give rows, columns or both")
        for axis, dims in (("rows", self.row_dims), ("columns", self.column_dims)):
            if dims is not None and getattr(self, axis) is None:
                raise ValueError(f"{axis[:-1]}_dims is given, but {axis} is not")
        return self


class MacUnit(NamedPart):
    """The arithmetic at the end of the hierarchy: one multiply-accumulate per cycle and instance.

    `arithmetic`: integer or floating-point multiplication, a shift by a power of two (shift1), two shifts and an addition
    (shift2), or XNOR and popcount; `multiplier_bits` are then those of the activations. `energies`: the table of arithmetic
    that prices it (`hwflow.hardware.arithmetic`).
    """

    kind: Literal["mac"]
    multiplier_bits: Positive
    adder_bits: Positive
    arithmetic: Literal["int", "fp", "shift1", "shift2", "xnor"] = "int"
    energies: Literal["aladdin", "horowitz"] = "aladdin"


class VectorUnit(Strict):
    """What runs the operators that are no layers, element by element.

    `energy_pj` is that of one operation; without it, one costs what a multiply-accumulate of the chip does.
    """

    operations_per_cycle: PositiveFloat
    energy_pj: PositiveFloat | None = None


Part = Annotated[Memory | Fanout | MacUnit, Field(discriminator="kind")]

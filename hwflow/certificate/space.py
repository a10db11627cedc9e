"""The mappings that a certificate speaks of, and the quantities of a chip that their costs consist of.

Everything is derived from the layer, the accelerator, its energies and the dataflow's rules, and nothing from the file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.storage_level import LevelConstraint
from hwflow.layers import DIMS, TENSORS, Layer

WEIGHTS, INPUTS, OUTPUTS = range(len(TENSORS))

MOST = 500_000
"""Spatial mappings that a certificate can cover: more would take hours to check."""
_TOO_MANY = (
    f"a certificate does not cover a layer with more than {MOST} choices of spatial loops on this accelerator; restrict the "
    "dimensions that the dataflow spreads over its fan-outs, or use hwflow map --proof, which proves without one."
)

Factors = tuple[int, ...]
"""One factor for each dimension, in the order of `DIMS`."""
Spread = tuple[Factors, ...]
"""The spatial loops of a mapping: the factors over the fan-out below each level, from the innermost level outwards."""


@dataclass(frozen=True)
class Storage:
    """One level with the fan-out below it.

    Attributes:
        keeps: the tensors (indices) that it keeps; `words`: room for their tiles, infinite for DRAM.
        block: words per access; `read`, `write`, `update`: energies of an access of one instance, `leak`: of a cycle.
        limits: words per cycle that one instance can read, can write, and can move in total; infinite where unlimited.
        fanout: instances of the next inner level below one.
        temporal, spatial: the dimensions whose loops may stand here, and over the fan-out, there in this order, innermost last.
        innermost: those whose temporal loops must be inside all others here.
    """

    name: str
    keeps: frozenset[int]
    words: float
    block: int
    read: float
    write: float
    update: float
    leak: float
    limits: tuple[float, float, float]
    fanout: int
    temporal: frozenset[int]
    spatial: tuple[int, ...]
    innermost: frozenset[int]


@dataclass(frozen=True)
class Transfer:
    """Words of a tensor that cross from level `high` to `low`, the next level inside that keeps it, or -1: the MAC units."""

    tensor: int
    low: int
    high: int


@dataclass(frozen=True)
class Space:
    """All mappings of a layer with perfect factors that the rules allow.

    Attributes:
        levels: from the innermost outwards.
        axes: for each tensor its axes, each as pairs of a dimension and how far one step of it moves along the axis.
        windows: the axes of inputs that two dimensions longer than 1 move along: the dimensions and their steps.
        compute: energy of all multiply-accumulates; `edges`: cycles that networks add to every mapping.
    """

    sizes: Factors
    levels: tuple[Storage, ...]
    axes: tuple[tuple[tuple[tuple[int, int], ...], ...], ...]
    windows: tuple[tuple[tuple[int, int], tuple[int, int]], ...]
    compute: float
    edges: int

    @classmethod
    def of(cls, layer: Layer, accelerator: Accelerator, table: EnergyTable, rules: Sequence[LevelConstraint]) -> Space:
        """Raises `InputError` where the formulas do not cover the layer or the chip; says why."""
        if reason := _uncovered(layer, accelerator):
            raise InputError(f"a certificate does not cover {reason}; hwflow map --proof proves without one.")
        levels = tuple(_storage(rule, accelerator, table) for rule in reversed(rules))
        axes = tuple(
            tuple(
                tuple((DIMS.index(term.dim), term.coefficient) for term in axis if layer.dims[term.dim] > 1)
                for axis in layer.projections[tensor]
            )
            for tensor in TENSORS
        )
        windows = tuple((axis[0], axis[1]) for axis in axes[INPUTS] if len(axis) == 2)
        edges = sum(memory.network_fill_latency + memory.network_drain_latency for memory in accelerator.memories)
        compute = layer.macs * table.parts[accelerator.mac.name].compute
        return cls(tuple(layer.dims[d] for d in DIMS), levels, axes, windows, compute, edges)

    def words(self, tensor: int, extents: Sequence[npt.NDArray[np.float64] | float]) -> npt.NDArray[np.float64]:
        """Words of the tile that spans `extents`, by dimension: the product over its axes of 1 + sum of step (extent - 1)."""
        result = np.ones(())
        for axis in self.axes[tensor]:
            result = result * (1 + sum((step * (extents[d] - 1.0) for d, step in axis), np.zeros(())))
        return result

    @cached_property
    def relevant(self) -> tuple[frozenset[int], ...]:
        """For each tensor the dimensions longer than 1 that it depends on."""
        return tuple(frozenset(d for axis in axes for d, _ in axis) for axes in self.axes)

    @cached_property
    def idle(self) -> tuple[frozenset[int], ...]:
        """For each tensor the dimensions longer than 1 that it does not depend on; no dimension is idle for two tensors."""
        return tuple(frozenset(d for d, n in enumerate(self.sizes) if n > 1) - relevant for relevant in self.relevant)

    @cached_property
    def reach(self) -> tuple[frozenset[int], ...]:
        """For each level the dimensions that temporal loops at it or inside can have; for -1, the last entry, none."""
        reach = [frozenset().union(*(level.temporal for level in self.levels[: k + 1])) for k in range(len(self.levels))]
        return (*reach, frozenset())

    @cached_property
    def transfers(self) -> tuple[Transfer, ...]:
        """All of them."""
        result = []
        for t in range(len(TENSORS)):
            kept = [k for k, level in enumerate(self.levels) if t in level.keeps]
            result += [Transfer(t, low, high) for low, high in zip([-1, *kept], kept, strict=False)]
        return tuple(result)

    @cached_property
    def outermost_fan(self) -> int:
        """The outermost level with a fan-out below it; 0 where there is none."""
        return max((k for k, level in enumerate(self.levels) if level.fanout > 1), default=0)

    @cached_property
    def spread_dims(self) -> frozenset[int]:
        """The dimensions that any fan-out can have."""
        return frozenset().union(*(level.spatial for level in self.levels if level.fanout > 1))

    def spreads(self) -> list[Spread]:
        """All spatial mappings, in a fixed order."""
        choices = [_factors(self.sizes, level) for level in self.levels]
        result = list(itertools.islice(_products(self.sizes, choices), MOST + 1))
        if len(result) > MOST:
            raise InputError(_TOO_MANY)
        return result


def _products(left: Factors, choices: list[list[Factors]]) -> Iterator[Spread]:
    if not choices:
        yield ()
        return
    for factors in choices[0]:
        if all(n % f == 0 for n, f in zip(left, factors, strict=True)):
            rest = tuple(n // f for n, f in zip(left, factors, strict=True))
            for others in _products(rest, choices[1:]):
                yield (factors, *others)


def _factors(sizes: Factors, level: Storage) -> list[Factors]:
    """The factors of all loops over one fan-out."""
    ways = [
        [f for f in range(1, min(n, level.fanout) + 1) if n % f == 0] if d in level.spatial else [1]
        for d, n in enumerate(sizes)
    ]
    if math.prod(map(len, ways)) > MOST:
        raise InputError(_TOO_MANY)
    return [factors for factors in itertools.product(*ways) if math.prod(factors) <= level.fanout]


def _uncovered(layer: Layer, accelerator: Accelerator) -> str | None:
    levels = accelerator.levels[::-1]
    if layer.type == "conv_transpose":
        return f"layer {layer.name!r}, a transposed convolution"
    if layer.densities is not None:
        return f"layer {layer.name!r}, whose zeros (densities={tuple(layer.densities)}) it does not count"
    if layer.bits is not None:
        return f"layer {layer.name!r}, whose widths (bits={tuple(layer.bits)}) may differ from the words of the memories"
    if levels[0].fanout > 1:
        return f"{accelerator.label}, whose MAC units below {levels[0].name} hand operands to one another"
    if free := [memory.name for memory in accelerator.memories if memory.may_bypass]:
        return f"{accelerator.label}, where tensors may bypass {', '.join(free)}"
    if shared := [level.name for level in levels if level.cluster > 1]:
        return f"{accelerator.label}, where instances of {', '.join(shared)} share their accesses"
    return None


def _storage(rule: LevelConstraint, accelerator: Accelerator, table: EnergyTable) -> Storage:
    level, memory = rule.level, rule.level.memory
    temporal, innermost = (frozenset(DIMS.index(d) for d in some) for some in (rule.temporal, rule.innermost))
    dims = (temporal, tuple(DIMS.index(d) for d in rule.spatial), innermost)
    if memory is None:
        return Storage(
            level.name, frozenset(), math.inf, 1, 0.0, 0.0, 0.0, 0.0, (math.inf, math.inf, math.inf), level.fanout, *dims
        )
    part = table.parts[memory.name]
    limits = (memory.read_words_per_cycle, memory.write_words_per_cycle, accelerator.words_per_cycle(memory))
    read, write, both = (math.inf if limit is None else float(limit) for limit in limits)
    return Storage(
        level.name,
        frozenset(TENSORS.index(t) for t in memory.keeps),
        math.inf if memory.words is None else int(memory.words // memory.buffering),
        memory.block_words,
        part.read,
        part.write,
        part.update,
        part.leak,
        (read, write, both),
        level.fanout,
        *dims,
    )

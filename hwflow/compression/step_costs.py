"""Operations of a network at all plans: which widths they follow from, what lies in memory beside them, sums over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwflow.arrays import Floats
from hwflow.compression.channels.groups import Grouping, Widths
from hwflow.compression.plan_costs import Parts, PlanTotals
from hwflow.compression.row_values import RowValues
from hwflow.cost.tensor_lives import Lives
from hwflow.metrics import ADDITIVE


class StepCosts:
    """Costs of plans as sums over operations (`RowCosts`), which bound those of `WholePlanCosts`.

    Args:
        costs: that are bound.
        sizes: of each operation the sums of widths that its costs follow from.
        values: [plan, operation, column], metrics in the order of `ADDITIVE` from column `first` on.
    """

    def __init__(self, costs: PlanTotals, sizes: Sequence[tuple[Parts, ...]], values: RowValues, first: int) -> None:
        self.groups, self.full = costs.groups, costs.full
        self._sizes, self._values, self._first = tuple(sizes), values, first

    @property
    def dependence(self) -> tuple[tuple[int, ...], ...]:
        """For each operation the groups that its costs depend on."""
        return self._values.dependence

    def width_sums(self, row: int) -> tuple[Parts, ...]:
        """The sums of widths that an operation's costs follow from."""
        return self._sizes[row]

    def row(self, row: int, plans: Sequence[Widths]) -> Floats:
        """One operation in each of several plans, [plan, metric]."""
        return self._values.row(row, plans)[:, self._first : self._first + len(ADDITIVE)]


@dataclass(frozen=True)
class TensorRoom:
    """What tensors take, while an operation runs, of the memory in which they lie.

    Attributes:
        sizes: of the memories, in bits; tensors lie in the first.
        row: bits of a row of the first.
        alive: whether a tensor that can stay lies there while an operation runs that does not touch it, [operation, tensor].
        bits: of each tensor in the unpruned network; `lost`: with a unit of each group less, [tensor, group].
        parts: the sums of widths that a tensor's size follows from.
        units, channels: of each group: channels of a unit, and of the full width.
    """

    sizes: tuple[int, ...]
    row: int
    alive: npt.NDArray[np.bool_]
    bits: npt.NDArray[np.int64]
    lost: npt.NDArray[np.int64]
    parts: tuple[tuple[Parts, ...], ...]
    units: npt.NDArray[np.int64]
    channels: npt.NDArray[np.int64]

    @classmethod
    def of(cls, grouping: Grouping, lives: Lives) -> TensorRoom:
        steps, tensors = len(lives.graph.operations), len(lives.bits)
        alive = np.zeros((steps, tensors), dtype=bool)
        for tensor, (first, last) in enumerate(lives.spans):
            if tensor not in lives.kinds:
                alive[first : last + 1, tensor] = True
        for step in range(steps):
            alive[step, [operand.tensor for operand in lives.operands(step)]] = False
        lost = np.zeros((tensors, len(grouping.groups)), dtype=np.int64)
        parts: list[list[tuple[int, int]]] = [[] for _ in range(tensors)]
        for one in grouping.tensor_steps:
            lost[one.row, one.group] += one.per_unit * lives.widths[one.row]
            parts[one.row].append((one.group, one.per_unit))
        memories = lives.homes.memories
        return cls(
            lives.homes.sizes,
            memories[0].width_bits if memories else 1,
            alive,
            np.array(lives.bits, dtype=np.int64),
            lost,
            tuple((tuple(sorted(own)),) if own else () for own in parts),
            np.array([group.unit for group in grouping.groups], dtype=np.int64),
            np.array([group.channels for group in grouping.groups], dtype=np.int64),
        )

    @property
    def none(self) -> bool:
        """Whether nothing can stay whatever its size."""
        return not self.alive.any()

    def beside(self, step: int, stays: frozenset[int]) -> list[int]:
        """The tensors that lie there while an operation runs that does not touch them."""
        return [tensor for tensor in sorted(stays) if self.alive[step, tensor]]

    def fits(self, plans: Sequence[Widths], taken: Floats) -> npt.NDArray[np.bool_]:
        """Whether there is room for all that can stay; `taken`: of the memories by operations, [plan, operation, memory]."""
        if not self.sizes:
            return np.ones(len(plans), dtype=bool)
        removed = (self.channels - np.array(plans, dtype=np.int64)) // self.units
        rows = -(-(self.bits - removed @ self.lost.T) // self.row) * self.row
        held = np.where(rows > self.sizes[0], 0, rows) @ self.alive.T
        room = np.array(self.sizes, dtype=np.float64) - taken
        room[:, :, 0] -= held
        return np.asarray((room >= 0).all(axis=(1, 2)))


def step_sizes(grouping: Grouping) -> tuple[tuple[Parts, ...], ...]:
    """Of each operation the sums of widths that its sizes and those of its tensors follow from."""
    graph = grouping.network.graph
    assert graph is not None
    found = []
    for operation in graph.operations:
        rows = grouping.layer_steps if operation.part == "layers" else grouping.other_steps
        own = [(("row", one.field), one) for one in rows if one.row == operation.row]
        touched = {*operation.reads, *operation.writes}
        own += [(("tensor", str(one.row)), one) for one in grouping.tensor_steps if one.row in touched]
        sizes: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for key, one in own:
            sizes.setdefault(key, []).append((one.group, one.per_unit))
        found.append(tuple(dict.fromkeys(tuple(sorted(parts)) for parts in sizes.values())))
    return tuple(found)


def groups_of(sizes: Sequence[Parts]) -> tuple[int, ...]:
    """The groups of these sums."""
    return tuple(sorted({group for parts in sizes for group, _ in parts}))


__all__ = ["StepCosts", "TensorRoom", "groups_of", "step_sizes"]

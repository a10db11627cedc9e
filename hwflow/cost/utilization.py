"""Utilisation of a mapping as a product of factors, with the reason why each is below one.

MACs / (cycles x MAC units) is, exactly, the product of what is spread over each axis of the fan-outs over the axis's size, of
each dimension's size over the size to which ragged loops pad it, and of compute cycles over all cycles. Where a user's own
constraints allow no loop on an axis, that axis is not a level of a mapping; the share of MAC units in use is then the first
factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hwflow.hardware.accelerator import Accelerator, Level
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.layers import DIMS, Dim, Layer
from hwflow.mapping import Mapping

_ROUND = 8  # channel counts that people choose are multiples of it


@dataclass(frozen=True)
class Share:
    """One factor of the utilisation: `used` of `available`; `why` says in a clause why not all, and is empty where all is."""

    name: str
    loops: str
    used: int
    available: int
    why: str = ""

    @property
    def value(self) -> float:
        """Between 0 and 1."""
        return self.used / self.available


def shares(
    layer: Layer,
    accelerator: Accelerator,
    constraints: Sequence[LevelConstraint],
    mapping: Mapping,
    cycles: int,
    bound_by: str,
) -> tuple[Share, ...]:
    """The factors of the utilisation of a mapping: axes of fan-outs from the outside in, ragged dimensions, waiting.

    Args:
        constraints: of the dataflow on the accelerator, outermost level first, as `mapping` has its levels.
        cycles, bound_by: of the mapping's cost.
    """
    result: list[Share] = []
    usable = math.prod(rule.level.fanout for rule in constraints)
    if usable < accelerator.mac_units:
        why = "the constraints let nothing lie on the axis of the others"
        result.append(Share("usable MAC units", "", usable, accelerator.mac_units, why))
    padded = dict.fromkeys(DIMS, 1)
    ragged: dict[Dim, list[str]] = {d: [] for d in DIMS}
    computing = math.prod(loop.bound for mapped in mapping.levels for loop in mapped.temporal)
    for mapped, rule in zip(mapping.levels, constraints, strict=True):
        place = _axis(rule.level)
        if rule.level.fanout > 1:
            used = math.prod(loop.bound for loop in mapped.spatial)
            why = "" if used == rule.level.fanout else _idle(layer, rule, used)
            result.append(Share(place, " ".join(map(str, mapped.spatial)), used, rule.level.fanout, why))
        for loops, where in ((mapped.temporal, mapped.level), (mapped.spatial, place)):
            for loop in loops:
                padded[loop.dim] *= loop.bound
                if loop.ragged:
                    ragged[loop.dim].append(f"{loop.residual} of {loop.bound} at {where}")
    for d, passes in ragged.items():
        if passes:
            why = f"the last pass of {d} has only {', '.join(passes)}"
            result.append(Share(f"passes of {d}", f"{d}={layer.dims[d]}", layer.dims[d], padded[d], why))
    result.append(
        Share("cycles computing", "", computing, cycles, "" if computing == cycles else f"the rest wait for {bound_by}")
    )
    return tuple(result)


def neighbours(layer: Layer) -> tuple[tuple[Dim, Layer], ...]:
    """The layer with a channel less or more, and at the next multiples of 8: in and out (per group), or groups if depthwise."""
    widths: tuple[Dim, ...] = ("G",) if layer.G > 1 and layer.C == layer.M == 1 else ("C", "M")
    result = []
    for dim in widths:
        size = layer.dims[dim]
        near = {size - 1, size + 1, (size - 1) // _ROUND * _ROUND, (size // _ROUND + 1) * _ROUND}
        result += [(dim, layer.with_(**{dim: n})) for n in sorted(near) if n > 0]
    return tuple(result)


def _axis(level: Level) -> str:
    return f"{level.array} {'columns' if level.axis == 'X' else 'rows'}"


def _idle(layer: Layer, rule: LevelConstraint, used: int) -> str:
    """Why an axis is not full."""
    room = rule.level.fanout
    sizes = {d: layer.dims[d] for d in rule.spatial if layer.dims[d] > 1}
    if not sizes:
        allowed = f"only {_listed(rule.spatial)} may lie there" if rule.spatial else "no loop may lie there"
        return f"{allowed}, and this layer has nothing of it to spread" if rule.spatial else allowed
    evenly = {1}
    for n in sizes.values():
        evenly = {a * f for a in evenly for f in range(1, n + 1) if n % f == 0 and a * f <= room}
    named = _listed([f"{d}={n}{' (prime)' if n > room and _prime(n) else ''}" for d, n in sizes.items()])
    if max(evenly) > used:
        return f"in even passes {named} could fill {max(evenly)}, but the mapping found is no worse by the objective"
    if max(evenly) < used:
        return f"in even passes {named} would fill only {max(evenly)}"
    return f"in even passes {named} cannot fill more"


def _prime(n: int) -> bool:
    return n > 1 and all(n % f for f in range(2, math.isqrt(n) + 1))


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

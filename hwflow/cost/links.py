"""Link transfers: tiles that neighbouring instances of a fan-out hand on instead of fetching them from the level above.

After Timeloop's `NestAnalysis::ComputeNetworkLinkTransfers`: at a time step an instance takes its delta from a neighbour on the
mesh if that neighbour received exactly the same set of words one step before. It is used at the steps where it lowers the reads
of the level above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hwflow.cost.nest import Batch

Vector = npt.NDArray[np.int64]


def transfers(
    coefficients: npt.NDArray[np.int64], batch: Batch, level: int, index: int, inner: Vector
) -> tuple[float, float, float] | None:
    """Reads above, words delivered from above and words handed on, per instance of `level`, or None where links save nothing.

    `coefficients` is the tensor's projection [axis, dimension], `inner` the extents of the tile below.
    """
    steps = _steps(coefficients, batch, level, index, inner)
    if steps is None:
        return None
    offsets = _offsets(coefficients, batch, level, index, inner)
    distinct, count = len(np.unique(offsets, axis=0)), len(offsets)
    reads = weighted = handed = 0.0
    used = False
    for weight, words, motion, linkable in steps:
        taken = _linked(offsets, motion) if linkable else np.zeros(count, dtype=np.bool_)
        left = len(np.unique(offsets[~taken], axis=0)) if not taken.all() else 0
        if left < distinct:
            used = True
            reads += weight * words * left
            weighted += weight * words * int(count - taken.sum())
            handed += weight * words * int(taken.sum())
        else:
            reads += weight * words * distinct
            weighted += weight * words * count
    return (reads, weighted, handed) if used else None


_Step = tuple[int, float, Vector, bool]


def _steps(coefficients: npt.NDArray[np.int64], batch: Batch, level: int, index: int, inner: Vector) -> list[_Step] | None:
    """The kinds of time steps: how often, words delivered to an instance, the tile's motion, and whether a neighbour can help.

    None where no kind can: a stationary step between two moves empties what the neighbours received last. Below level 0 is the
    arithmetic, which keeps nothing and asks for its operands at every step, so there every step delivers a whole "tile".
    """
    memoryless = level == 0
    sides = 1 + coefficients @ (inner - 1)
    tile = float(sides.prod())
    loops: list[tuple[int, Vector]] = []
    extents = inner * batch.spatial[level, :, index]
    for k in range(level, batch.temporal.shape[0]):
        if k > level:
            extents = extents * batch.spatial[k, :, index]
        for d in batch.order[k, :, index]:
            bound = int(batch.temporal[k, d, index])
            if bound > 1:
                loops.append((bound, coefficients[:, d] * extents[d]))
        extents = extents * batch.temporal[k, :, index]
    first = next((i for i, (_, motion) in enumerate(loops) if motion.any()), None)
    if not loops or (first != 0 and not memoryless):
        return None
    bounds = [b for b, _ in loops]
    after = [int(np.prod(bounds[i + 1 :], dtype=object)) for i in range(len(loops))]
    start = loops[0][1]
    partial = tile if memoryless else tile - float(np.maximum(sides - np.abs(start), 0).prod())
    whole = partial == tile
    jumps, behind = [start], start
    for _, motion in loops[1:]:
        jumps.append(motion - behind)
        behind = behind + motion
    deltas = [partial]
    for jump in jumps[1:]:
        same, still = (jump == start).all(), not jump.any()
        deltas.append(tile if memoryless else 0.0 if still else partial if same else tile)
    steps: list[_Step] = [(1, tile, start, False)]
    # A step of loop m (the first) follows the very first tile, or a step of one of the outer loops.
    steps.append((bounds[0] - 1, partial, start, whole))
    for h in range(1, len(loops)):
        times = (bounds[h] - 1) * after[h]
        steps.append((times * (bounds[0] - 1), partial, start, deltas[h] == partial))
        steps.append((times, deltas[h], jumps[h], deltas[h] == partial and deltas[h] > 0))
    return [s for s in steps if s[1] > 0 and s[0] > 0]


def _offsets(coefficients: npt.NDArray[np.int64], batch: Batch, level: int, index: int, inner: Vector) -> Vector:
    """Where the tile of each instance lies relative to the first one's, [instance, axis], in the order of the mesh."""
    offsets = np.zeros((1, coefficients.shape[0]), dtype=np.int64)
    for d in batch.spatial_order[level]:
        bound = int(batch.spatial[level, d, index])
        shift = coefficients[:, d] * inner[d]
        offsets = (offsets[:, None, :] + np.arange(bound)[None, :, None] * shift).reshape(-1, coefficients.shape[0])
    return offsets


def _linked(offsets: Vector, motion: Vector) -> npt.NDArray[np.bool_]:
    """Which instances find their tile at a neighbour: the one before or after them on their axis of the mesh."""
    taken = np.zeros(len(offsets), dtype=np.bool_)
    if len(offsets) > 1:
        forward = ((offsets[:-1] - offsets[1:]) == motion).all(axis=1)
        backward = ((offsets[1:] - offsets[:-1]) == motion).all(axis=1)
        taken[1:] |= forward
        taken[:-1] |= backward
    return taken

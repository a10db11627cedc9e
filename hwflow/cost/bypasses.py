"""What the memories of a chip can keep, where some tensors may bypass some of them (`Memory.may_bypass`)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Tensor
from hwflow.loopnest.nest import Keeps


def keeps_of(accelerator: Accelerator, resident: Sequence[Tensor] = ()) -> list[Keeps]:
    """Every choice of what each level keeps, the innermost level first; in the first choice all that the chip says.

    Tensors that are `resident` bypass DRAM, and lie in the outermost memory on the chip that keeps them, in every choice.
    """
    at_levels: list[list[tuple[Tensor, ...]]] = []
    home = set(resident)  # tensors whose memory is not found yet
    for k, level in enumerate(accelerator.levels):
        keeps, free = (level.memory.keeps, level.memory.may_bypass) if level.memory else ((), ())
        if k == 0:
            at_levels.append([tuple(t for t in keeps if t not in resident)])
            continue
        free = tuple(t for t in free if t not in home)
        home -= set(keeps)
        left_out = itertools.chain.from_iterable(itertools.combinations(free, n) for n in range(len(free) + 1))
        at_levels.append([tuple(t for t in keeps if t not in out) for out in left_out])
    return [tuple(reversed(choice)) for choice in itertools.product(*at_levels)]

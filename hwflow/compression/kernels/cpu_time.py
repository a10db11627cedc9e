"""CPU time of calls that are compared: interleaved, in one thread, with the least and the median of several rounds.

CPU time rather than wall-clock time, which on a machine with other work is many times as long; calls in turn, so that what
slows one down slows down the others; the least, since whatever else happens only adds time.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_SHORTEST_S = 1e-3  # of what is timed at once: shorter calls are repeated
_MOST_REPEATED = 50


@dataclass(frozen=True)
class CpuTime:
    """Seconds of CPU time of a call in one thread.

    Attributes:
        least_s, median_s: of all rounds.
    """

    least_s: float
    median_s: float

    def __str__(self) -> str:
        return f"{1e3 * self.least_s:.3g} ms (median {1e3 * self.median_s:.3g})"


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes with one thread meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cpu_times(calls: Mapping[str, Callable[[], Any]], *, rounds: int = 7, at_most_s: float = math.inf) -> dict[str, CpuTime]:
    """CPU time of each call, by name. Each is called once before that, which compiles what is compiled late.

    Args:
        rounds: in each of which every call has a turn.
        at_most_s: of all rounds together; three are done whatever it is.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    with one_thread(), torch.inference_mode():
        repeats = {}
        for name, call in calls.items():
            call()
            first = _timed(call, 1)
            repeats[name] = min(_MOST_REPEATED, max(1, math.ceil(_SHORTEST_S / max(first, 1e-6))))
        start = time.thread_time()
        for done in range(rounds):
            if done >= 3 and time.thread_time() - start > at_most_s:
                break
            for name, call in calls.items():
                taken[name].append(_timed(call, repeats[name]))
    return {name: CpuTime(min(found), statistics.median(found)) for name, found in taken.items()}


def _timed(call: Callable[[], Any], repeats: int) -> float:
    start = time.thread_time()
    for _ in range(repeats):
        call()
    return (time.thread_time() - start) / repeats


__all__ = ["CpuTime", "cpu_times", "one_thread"]

"""How many threads PyTorch computes with: by the size of a training step and by what else the machine is doing.

A small step is split into parts that wait for each other: with two threads, an epoch of ResNet-20 on digits took 30 s and 52 s
on a machine of two cores at load 7.5, with one thread 6 s and 7 s (2026-11-30). Sums in another order differ in their last
bits, so that trained weights depend on the number of threads; small steps take one thread whatever the machine and its load.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from hwflow.errors import ImportFailed, check_whole
from hwflow.network.from_torch import trace

_SMALL_MACS = 2_000_000_000  # of a training step's forward pass: ResNet-20 on digits has 0.3 G, on CIFAR-10 5 G
_MOST = 1024


@dataclass(frozen=True)
class ThreadCount:
    """A number of threads, and in words why."""

    count: int
    reason: str

    def __str__(self) -> str:
        noun = "thread" if self.count == 1 else "threads"
        return (
            f"PyTorch computes with {self.count} {noun}: {self.reason}. Trained weights depend on this number in their last "
            f"bits; --threads {self.count} repeats it."
        )


def thread_count(model: nn.Module, input_shape: tuple[int, ...], batch_size: int, asked: int | None = None) -> ThreadCount:
    """The number of threads for training a network: `asked`, or one for a small step, or the cores that are free.

    Args:
        input_shape: of one sample.
        batch_size: samples in a step.

    Raises:
        InputError: where `asked` is no number of threads.
    """
    if asked is not None:
        check_whole("--threads", asked, _MOST)
        return ThreadCount(asked, "--threads")
    try:
        macs = trace(model, (1, *input_shape)).macs * batch_size
    except ImportFailed:  # the training says what is wrong, or does well without rows
        macs = _SMALL_MACS
    if macs < _SMALL_MACS:
        return ThreadCount(1, f"a step has only {macs * 1e-9:.2g} G multiply-accumulates")
    cores, load = usable_cores(), _load()
    free = max(1, cores - round(load))
    return ThreadCount(free, f"the load is {load:.1f} on {cores} {'core' if cores == 1 else 'cores'}")


@contextlib.contextmanager
def limited(count: int) -> Iterator[None]:
    """PyTorch with so many threads inside; what it had before comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load() -> float:
    """Processes that are running or waiting for a core, over the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


__all__ = ["ThreadCount", "limited", "thread_count", "usable_cores"]

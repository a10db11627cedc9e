"""`training_session`: around what a command trains, the number of threads, a bar, and how to go on after an interruption."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def training_session(title: str, module: Any, data: Any, batch_size: int, threads: int | None, output: Path) -> Iterator[Any]:
    """Say and set the number of threads, and give the bar of a command that `--resume` continues.

    Args:
        module: the `torch.nn.Module` that is trained.
        data: the `hwflow.datasets.Data` it is trained on.
        threads: as `--threads` has it.
        output: where everything is that an interrupted command leaves.

    Raises:
        InterruptError: instead of KeyboardInterrupt.
    """
    from hwflow.cli.console import InterruptError, progress, say
    from hwflow.training.threads import limited, thread_count

    chosen = thread_count(module, data.input_shape, batch_size, threads)
    say(str(chosen))
    try:
        with limited(chosen.count), progress(title) as bar:
            yield bar
    except KeyboardInterrupt:
        raise InterruptError(
            f"interrupted. The same command with --resume goes on where it was; everything is in {output}."
        ) from None


__all__ = ["training_session"]

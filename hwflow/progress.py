"""Progress of long work: a bar in a terminal, a line in a notebook, nothing elsewhere unless requested.

Nothing is shown of work that takes less than a second.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

from hwflow.text import visible

_WAIT_S = 0.7  # work that is done by then shows nothing
_EVERY_S = 5.0  # between the lines of `lines`


class Progress(Protocol):
    """Called with the number of finished tasks, the number of all tasks, and the current activity."""

    def __call__(self, done: int, total: int, text: str) -> None: ...


Shown = Progress | Literal[False] | None
"""What public functions take: a `Progress`, None for what suits the place where they run, False for nothing."""


def headed(progress: Progress | None, heading: str) -> Progress | None:
    """The same progress, with a heading before each text."""
    if progress is None:
        return None
    return lambda done, total, text: progress(done, total, f"{heading}: {text}" if text else heading)


@contextlib.contextmanager
def shown(progress: Shown, title: str) -> Iterator[Progress | None]:
    """The progress to tell: what the caller gave, or a display that suits the terminal or the notebook."""
    if progress is False:
        yield None
    elif progress is not None:
        yield progress
    elif sys.stderr is not None and sys.stderr.isatty():
        with bar(title) as tell:
            yield tell
    elif (display := _notebook()) is not None:
        with _cell(title, display) as tell:
            yield tell
    else:
        yield None


@contextlib.contextmanager
def bar(title: str) -> Iterator[Progress]:
    """A progress bar on standard error, gone at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}", markup=False),
    )
    drawn = Bar(*columns, console=Console(stderr=True), transient=True)
    task = drawn.add_task(visible(title), total=None, now="")
    start = time.monotonic()

    def tell(done: int, total: int, text: str) -> None:
        drawn.update(task, completed=done, total=total, now=visible(text))
        if not drawn.live.is_started and time.monotonic() - start >= _WAIT_S:
            drawn.start()

    try:
        yield tell
    finally:
        drawn.stop()


@contextlib.contextmanager
def lines(title: str) -> Iterator[Progress]:
    """A line on standard error at the beginning, and one every few seconds: for logs."""
    start = last = time.monotonic()
    sys.stderr.write(f"hwflow: {title}\n")
    sys.stderr.flush()

    def tell(done: int, total: int, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            sys.stderr.write(f"hwflow: {_line(title, done, total, text)} ({last - start:.0f} s)\n")
            sys.stderr.flush()

    yield tell


@contextlib.contextmanager
def _cell(title: str, display: Callable[..., Any]) -> Iterator[Progress]:
    """One line of a notebook's output, replaced as work goes on and empty at its end."""
    start, handle = time.monotonic(), None

    def tell(done: int, total: int, text: str) -> None:
        nonlocal handle
        if time.monotonic() - start < _WAIT_S:
            return
        content = {"text/plain": _line(title, done, total, text)}
        if handle is None:
            handle = display(content, raw=True, display_id=True)
        else:
            handle.update(content, raw=True)

    try:
        yield tell
    finally:
        if handle is not None:
            handle.update({"text/plain": ""}, raw=True)


def _line(title: str, done: int, total: int, text: str) -> str:
    return visible(", ".join(filter(None, [title, f"{done:,} of {total:,}" if total else "", text])))


def _notebook() -> Callable[..., Any] | None:
    """IPython's `display`, where this runs in a notebook's kernel."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display


__all__ = ["Progress", "Shown", "bar", "headed", "lines", "shown"]

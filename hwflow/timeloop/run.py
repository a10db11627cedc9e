"""One run of a Timeloop tool: a new folder, the input, the tool, the check of its result, and the numbers.

Timeloop's exit status says little: with no mapping found it is 0 and every file exists, empty. So a run has succeeded when the
status is 0 *and* the statistics can be read. A run that failed keeps its folder, and its error says where that is.
"""

from __future__ import annotations

import functools
import re
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hwflow import scratch
from hwflow.errors import HwflowError, NotMappable, ToolError
from hwflow.files import write_text
from hwflow.timeloop.engine import Engine
from hwflow.timeloop.process import OUTPUT, Completed, new_folder
from hwflow.timeloop.render import command

T = TypeVar("T")

PREFIX = "hwflow-"

_REASONS = re.compile(
    r"(?i)error:|couldn't map|no valid mappings|invalid mappings \(|what\(\):|terminate called|assertion|assert\b|exception|"
    r"segmentation|no such file|cannot |can not |unable|not found|denied"
)
_STAMP = re.compile(r"^[\d-]+ [\d:,]+ [A-Z]+\s+")
_ASIDE = re.compile(r"^[\d-]+ [\d:,]+ (INFO|WARNING)\b")
_UNMAPPABLE = re.compile(r"(?i)no valid mappings found|couldn't map level")
_SHOWN = 4
_LONG = 300


def run_tool(
    argv: list[str], files: dict[str, str], engine: Engine, *, limit_s: float, read: Callable[[Path], T], what: str
) -> tuple[T, float]:
    """Run `argv` on `files` and return what `read` makes of the folder, and the seconds that the tool took.

    Args:
        limit_s: wall-clock limit in seconds.
        read: reads the results; its `ToolError` says what is missing.
        what: what is being done, for errors: "timeloop-model on layer conv1".

    Raises:
        NotMappable: the tool says that no mapping fits.
        ToolMissing: the tool cannot be run here.
        ToolError: it crashed, hung, or wrote nothing or rubbish.
    """
    _clean_once(tempfile.gettempdir())
    run = scratch.hold(new_folder(PREFIX))
    folder = run.path
    try:
        for name, text in files.items():
            write_text(folder / name, text)
        write_text(folder / "command.txt", shlex.join(argv) + "\n")
        done = engine.run(argv, folder, limit_s)
    except BaseException:
        run.remove()
        raise
    try:
        result = _result(done, folder, engine, limit_s=limit_s, read=read, what=what)
    except BaseException:
        run.keep()
        raise
    run.remove()
    return result, done.seconds


def _result(done: Completed, folder: Path, engine: Engine, *, limit_s: float, read: Callable[[Path], T], what: str) -> T:
    if done.timed_out:
        raise ToolError(
            f"{what} was stopped after {limit_s:g} s (engine {engine.name}).{_last_words(done)} "
            f"{_where(folder)} Let it search less (a smaller --effort), or judge a mapping of hwflow's (--mapper hwflow)."
        )
    if done.returncode != 0:
        raise _failure(f"{what} failed with exit status {_status(done.returncode)}", done, folder, engine)
    try:
        return read(folder)
    except HwflowError as error:
        raise _failure(f"{what} ended without an answer: {str(error).rstrip('.')}", done, folder, engine) from error


@functools.cache
def _clean_once(place: str) -> None:
    """The first run of a process removes what killed ones have left."""
    scratch.clean(Path(place), PREFIX)


def run_timeloop(
    files: dict[str, str], engine: Engine, limit_s: float, read: Callable[[Path], T], layer: str
) -> tuple[T, float]:
    """The same for the model or the mapper, whichever `files` are for."""
    argv = command(files)
    return run_tool(argv, files, engine, limit_s=limit_s, read=read, what=f"{argv[0]} on layer {layer}")


def tool_words(output: str) -> list[str]:
    """The first lines in which a tool says what went wrong, each once, without the time of day, cut at a readable length."""
    telling = [line for line in output.splitlines() if _REASONS.search(line) and not _ASIDE.match(line)]
    lines = [re.sub(r"\s+", " ", _STAMP.sub("", line)).strip() for line in telling]
    return [line[:_LONG] for line in dict.fromkeys(lines)][:_SHOWN]


def _failure(what: str, done: Completed, folder: Path, engine: Engine) -> HwflowError:
    words = tool_words(done.output)
    said = f" It said: {' | '.join(words)}." if words else _last_words(done)
    if _UNMAPPABLE.search(done.output):
        return NotMappable(
            f"{what} (engine {engine.name}).{said} {_where(folder)} Enlarge the memory or the array that is named, choose "
            "another dataflow (flexible allows most), or search longer (--effort)."
        )
    return ToolError(
        f"{what} (engine {engine.name}).{said} {_where(folder)} Run its command.txt there to see it again; "
        "'hwflow doctor' says which tools answer."
    )


def _last_words(done: Completed) -> str:
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    return f" Its last line was: {lines[-1][:300]}." if lines else " It printed nothing."


def _where(folder: Path) -> str:
    return f"Input and output are kept in {folder} (what it printed: {OUTPUT})."


def _status(code: int) -> str:
    import signal

    if code < 0:
        return f"{code} (killed by {signal.Signals(-code).name})"
    return str(code)

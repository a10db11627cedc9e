"""Execution of one external program in its own process group, with a time limit, a clean environment and output to a file."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwflow.errors import ToolError, ToolMissing

OUTPUT = "output.log"
"""The file in the run's folder that takes standard output and standard error."""

_GRACE_S = 5.0
_NO_PROGRAM = 127
_KEPT_BYTES = 16 * 2**20
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before the fork, where nothing may be


@dataclass(frozen=True)
class Completed:
    """How a program ended. `output` is standard output and standard error together; `seconds` is wall-clock time."""

    returncode: int
    output: str
    timed_out: bool
    seconds: float


def clean_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment without the variables TIMELOOP_*, which change results, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIMELOOP_")}
    return kept | (extra or {})


def run_group(
    argv: Sequence[str],
    folder: Path,
    limit_s: float,
    *,
    environment: dict[str, str] | None = None,
    on_kill: Callable[[], None] | None = None,
    grace_s: float = _GRACE_S,
) -> Completed:
    """Run `argv` in `folder`, for at most `limit_s` seconds, as the leader of a process group of its own.

    Past the limit, and whenever this process is interrupted, the whole group gets SIGINT and after `grace_s` SIGKILL; then
    `on_kill` is called, for what a signal does not reach.

    Raises:
        ToolMissing: where the program does not exist or may not be executed.
    """
    start = time.monotonic()
    with (folder / OUTPUT).open("wb") as log:
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=folder,
                env=clean_environment() if environment is None else environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - calls the kernel and nothing else
            )
        except OSError as error:
            raise ToolMissing(f"{argv[0]} cannot be run: {error.strerror or error}.") from error
        timed_out = False
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            _stop(process, grace_s, on_kill)
        except BaseException:
            _stop(process, grace_s, on_kill)
            raise
    return Completed(process.returncode, _end(folder / OUTPUT), timed_out, time.monotonic() - start)


def _end(output: Path) -> str:
    """What a program printed: of very much only the end, where programs say why they stop."""
    with output.open("rb") as log:
        log.seek(max(0, output.stat().st_size - _KEPT_BYTES))
        return log.read(_KEPT_BYTES).decode("utf-8", errors="replace").replace("\r\n", "\n")


def _die_with_parent() -> None:
    """In the child, before the program starts: the kernel ends it when this process is killed without a chance to do so."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def ask(argv: Sequence[str], limit_s: float = 10.0) -> tuple[int, str]:
    """Exit status and output of a short question to a program; 127 where it does not exist or does not answer in time."""
    try:
        done = subprocess.run(
            list(argv),
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _NO_PROGRAM, str(error)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", errors="replace").strip()


def _stop(process: subprocess.Popen[bytes], grace_s: float, on_kill: Callable[[], None] | None) -> None:
    """End the group politely, then not. The leader's id stays reserved until `wait` has reaped it, so no stranger is hit."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and _runs(process):
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if on_kill is not None:
        on_kill()


def _runs(process: subprocess.Popen[bytes]) -> bool:
    """Whether the leader still runs, without reaping it."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False


def new_folder(prefix: str = "hwflow-") -> Path:
    """A fresh folder for one run, in the system's place for temporary files (TMPDIR).

    Raises:
        ToolError: where none can be made, or its path has characters that Timeloop's own command lines do not survive.
    """
    import tempfile

    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    except OSError as error:
        raise ToolError(f"no folder for a run of Timeloop can be made in {tempfile.gettempdir()}: {error.strerror}.") from error
    if set(str(folder)) & set(" \t'\"$&;|<>()*?"):
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise ToolError(
            f"Timeloop cannot run in {folder}: it builds command lines without quotes, and the path has spaces or characters "
            "that a shell reads. Set TMPDIR to a folder without them."
        )
    return folder

"""The `hwflow` command: its subcommands, global options, signals and exit codes.

Exit codes: 0 done; 1 a run failed and says why; 2 wrong use or bad input; 130 interrupted by Ctrl-C. Errors are one
paragraph on standard error; a traceback is shown with `--debug` only, which may be given anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hwflow.cli.cache import cache
from hwflow.cli.compare import compare
from hwflow.cli.compress import compress
from hwflow.cli.doctor import examine
from hwflow.cli.estimate import estimate
from hwflow.cli.levels import levels
from hwflow.cli.library import library
from hwflow.cli.list import listing
from hwflow.cli.live import live
from hwflow.cli.manage import manage
from hwflow.cli.map import show_mapping
from hwflow.cli.points import points
from hwflow.cli.ppa import ppa
from hwflow.cli.prune import prune
from hwflow.cli.render import render
from hwflow.cli.report import report
from hwflow.cli.search import search
from hwflow.cli.show import show
from hwflow.cli.sweep import sweep
from hwflow.cli.train import train
from hwflow.cli.train_policy import train_policy
from hwflow.cli.verify import verify
from hwflow.errors import HwflowError
from hwflow.version import __version__


class _Commands(TyperGroup):
    """Says in plain words what Typer says in Pydantic's, where an option's value is of another type."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            for told, plain in _PLAIN.items():
                if error.message.startswith(told):
                    error.message = plain
            raise


_PLAIN = {
    "Input should be a valid integer": "it must be a whole number.",
    "Input should be a valid number": "it must be a number.",
}

app = typer.Typer(
    name="hwflow",
    cls=_Commands,
    help="Energy and latency of every layer of a CNN on an accelerator, at three levels: coarse, mid (own analysis and mapping "
    "search) and fine (Timeloop and Accelergy).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
app.command("estimate")(estimate)
app.command("compare")(compare)
app.command("map")(show_mapping)
app.command("verify")(verify)
app.command("render")(render)
app.command("train")(train)
app.command("prune")(prune)
app.command("train-policy")(train_policy)
app.command("compress")(compress)
app.command("search")(search)
app.command("points")(points)
app.command("levels")(levels)
app.command("library")(library)
app.command("manage")(manage)
app.command("live")(live)
app.command("sweep")(sweep)
app.command("report")(report)
app.command("list")(listing)
app.command("show")(show)
app.add_typer(ppa, name="ppa")
app.add_typer(cache, name="cache")
app.command("doctor")(examine)


_ANYWHERE = frozenset({"--debug", "-q", "--quiet", "-v", "--verbose"})


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"hwflow {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress and no notes of files written; may be given anywhere.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print progress as lines where there is no terminal; may be given anywhere.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may be given anywhere.")] = False,
) -> None:
    pass


def _terminated(*_: object) -> None:
    """SIGTERM acts like Ctrl-C: running tools are stopped, finished work is kept."""
    raise KeyboardInterrupt


def _refused(error: OSError) -> str:
    """An error of the operating system, with the remedy where one is known."""
    named = f" ({error.filename})" if error.filename is not None else ""
    remedy = "'--debug' shows what was being done."
    if error.errno in (errno.EMFILE, errno.ENFILE):
        remedy = "Raise the limit (ulimit -n 1024), or use fewer processes (--jobs)."
    return f"the system reports: {error.strerror or error}{named}. {remedy}"


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the `hwflow` command; ends by `SystemExit`."""
    from hwflow.cli.console import InterruptError, loudness, say

    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None or sys.stderr is None:  # closed by the caller: hwflow ... >&-
        sys.stdout, sys.stderr = (s or open(os.devnull, "w") for s in (sys.stdout, sys.stderr))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it: a name may not fit the encoding
    debug = "--debug" in arguments
    loudness.quiet = bool({"-q", "--quiet"} & set(arguments))
    loudness.verbose = bool({"-v", "--verbose"} & set(arguments))
    arguments = [a for a in arguments if a not in _ANYWHERE]
    with contextlib.suppress(ValueError):  # not in the main thread: whoever runs us there handles signals
        signal.signal(signal.SIGTERM, _terminated)
    try:
        app(args=arguments, prog_name="hwflow")
    except HwflowError as error:
        if debug and not isinstance(error, InterruptError):
            raise
        say(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away: `hwflow ... | head`
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            say(_refused(error))
            sys.exit(1)
        say(f"the answer cannot be written: {error.strerror}. Make room, or write it elsewhere (-o FILE).")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left cannot be flushed
        sys.exit(1)
    except MemoryError:
        if debug:
            raise
        say("memory ran out. Use a smaller input or fewer processes (--jobs), or a machine with more of it.")
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        say(f"{type(error).__name__}: {error}. This is a defect of hwflow; '--debug' shows where it is.")
        sys.exit(1)


__all__ = ["app", "main"]

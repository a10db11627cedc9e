"""Output of the commands: tables for a terminal (rich) or as plain text that is never cut off, messages, progress.

Names come from files of others. In all that is printed here their control characters are written out.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hwflow.errors import HwflowError
from hwflow.progress import Progress, lines, shown
from hwflow.text import visible

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType

_ROOMY = 100  # from this width on there is room for two spaces between columns
_FOLDED = 12  # columns of words are not folded below this many characters


@dataclass
class Loudness:
    """What `-q` and `-v` say of this run of the command."""

    quiet: bool = False
    verbose: bool = False


loudness = Loudness()


class InterruptError(HwflowError):
    """The user pressed Ctrl-C: 128 and the signal's number, as a shell has it."""

    exit_code = 130


@dataclass(frozen=True)
class Table:
    """Headings (with units), rows of text, and optionally a row of totals. `left` are the columns that hold words."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    totals: Sequence[str] | None = None
    left: frozenset[int] = frozenset({0})

    def __post_init__(self) -> None:
        object.__setattr__(self, "headings", [*map(visible, self.headings)])
        object.__setattr__(self, "rows", [[*map(visible, row)] for row in self.rows])
        if self.totals is not None:
            object.__setattr__(self, "totals", [*map(visible, self.totals)])


@dataclass(frozen=True)
class Page:
    """What a command prints: a title, tables, and lines below them."""

    title: str
    tables: Sequence[Table]
    lines: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", visible(self.title, keep="\n"))
        object.__setattr__(self, "lines", [*map(visible, self.lines)])

    def plain(self) -> str:
        """For a pipe or a file: aligned columns, no boxes, no colours, nothing cut off or wrapped."""
        parts = [self.title, *(_plain(t) for t in self.tables)]
        if self.lines:
            parts.append("\n".join(self.lines))
        return "\n\n".join(parts) + "\n"

    def markdown(self) -> str:
        """For an issue, a wiki or a notebook: a heading, tables with pipes, and the lines as a list."""
        head, _, rest = self.title.partition("\n")
        parts = [f"### {head}", *([f"```\n{rest.strip()}\n```"] if rest.strip() else []), *map(_piped, self.tables)]
        if self.lines:
            parts.append("\n".join(f"- {line}" for line in self.lines))
        return "\n\n".join(parts) + "\n"


def deliver(page: Page, output: Path | None = None) -> None:
    """Print a page to standard output as it suits the reader, or write it to a file."""
    if output is not None or not sys.stdout.isatty():
        deliver_text(page.plain(), output)
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(page.title, style="bold", markup=False)
    for table in page.tables:
        console.print()
        console.print(_rich(table, console.width), soft_wrap=False, crop=False)
    console.print()
    for line in page.lines:
        console.print(line, markup=False)


def deliver_text(text: str, output: Path | None = None) -> None:
    """Print text as it is, or write it to a file whole or not at all."""
    if output is None:
        sys.stdout.write(visible(text, keep="\n\t") if sys.stdout.isatty() else text)
        sys.stdout.flush()
        return
    from hwflow.files import write_text

    write_text(output, text)
    remark(f"wrote {output}")


def remark(text: str) -> None:
    """What `-q` leaves out: what was written where, and other notes that change no result."""
    if not loudness.quiet:
        say(text)


def say(text: str) -> None:
    """One paragraph on standard error."""
    sys.stderr.write(f"hwflow: {visible(' '.join(text.split()))}\n")
    sys.stderr.flush()


def number(value: float | None, digits: int = 2) -> str:
    """A number with thousands separated; a dash where nothing is known."""
    return "-" if value is None else f"{value:,.{digits}f}"


def counted(count: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C inside ends the command in one sentence."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptError(
            "interrupted. What was finished until then is kept in the cache: the same command goes on from there."
        ) from None


@contextlib.contextmanager
def progress(title: str, *, wanted: bool = True) -> Iterator[Progress | Literal[False]]:
    """What a command gives a function of the library as its progress: a bar in a terminal; elsewhere lines with `-v`."""
    if not wanted or loudness.quiet:
        yield False
    elif sys.stderr.isatty():
        with shown(None, title) as tell:
            yield tell or False
    elif loudness.verbose:
        with lines(title) as tell:
            yield tell
    else:
        yield False


def _plain(table: Table) -> str:
    body = [list(table.headings), *(list(r) for r in table.rows)]
    if table.totals is not None:
        body.append(list(table.totals))
    widths = [max(len(row[i]) for row in body) for i in range(len(table.headings))]
    lines = []
    for row in body:
        cells = [c.ljust(w) if i in table.left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    rule = "  ".join("-" * w for w in widths)
    lines.insert(1, rule)
    if table.totals is not None:
        lines.insert(len(lines) - 1, rule)
    return "\n".join(lines)


def _piped(table: Table) -> str:
    """The table in GitHub's Markdown; the row of totals is bold."""
    totals = [] if table.totals is None else [[f"**{cell}**" if cell else "" for cell in table.totals]]
    rule = [":---" if i in table.left else "---:" for i in range(len(table.headings))]
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in (table.headings, *table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [escaped[0], rule, *escaped[1:], *totals])


def _rich(table: Table, width: int) -> RenderableType:
    """Words may be folded, numbers not; a table that is still too wide is printed as plain text, which the terminal wraps."""
    from rich.table import Table as RichTable
    from rich.text import Text

    body = [*table.rows, *([table.totals] if table.totals is not None else [])]
    drawn = RichTable(
        box=None,
        show_footer=table.totals is not None,
        header_style="bold underline",
        footer_style="bold",
        padding=(0, 2 if width >= _ROOMY else 1, 0, 0),
        pad_edge=False,
    )
    least = -1
    for i, heading in enumerate(table.headings):
        lines = heading if width >= _ROOMY else heading.replace(" (", "\n(")
        longest = max(len(line) for line in lines.split("\n"))
        contents = max((len(row[i]) for row in body), default=0)
        needed = max(longest, min(contents, _FOLDED) if i in table.left else contents)
        footer = Text(table.totals[i]) if table.totals is not None else ""
        justify: JustifyMethod = "left" if i in table.left else "right"
        drawn.add_column(Text(lines), footer=footer, justify=justify, overflow="fold", min_width=needed)
        least += needed + 1
    if least > width:
        return Text(_plain(table) + "\n", no_wrap=True, overflow="ignore")
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn

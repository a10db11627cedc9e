"""`Page`, `Section` and the blocks of a page. They hold text and numbers; the template turns them into HTML.

Text is text: whatever it holds is escaped. Figures are Plotly's data and layout as plain objects; colours in them are names of
the palette (`@after`), so that a page can change from light to dark. Text that goes into a figure passes through `label`.
"""

from __future__ import annotations

import functools
import html
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hwflow.files import read_text
from hwflow.optional import needed
from hwflow.reporting.page.palette import THEMES

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Tile:
    """One number that a reader should see first; `detail` may have lines; `mark` is "good" or "bad" where it is that."""

    label: str
    value: str
    detail: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Tiles:
    """Tiles in a row."""

    tiles: Sequence[Tile]
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Cell:
    """A table's cell. `value` is what it is sorted by where that is not the text; cells without a value come last."""

    text: str
    value: float | None = None
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Rows that can be sorted by every column. `left` are the columns that hold words; `folded` hides the rows at first."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    left: frozenset[int] = frozenset({0})
    folded: bool = False
    kind: ClassVar[str] = "table"

    @property
    def cells(self) -> list[list[Cell]]:
        """All rows, texts as cells."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Figure:
    """A chart, which downloads under its title; `note` says how to read it."""

    title: str
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    note: str = ""
    height: int = 380
    kind: ClassVar[str] = "figure"

    @property
    def drawing(self) -> dict[str, Any]:
        """What Plotly is given; numbers that are not finite are gaps."""
        return {"data": _finite(self.data), "layout": _finite({"height": self.height, **self.layout})}


@dataclass(frozen=True)
class Beside:
    """Blocks side by side, where the window is wide enough."""

    blocks: Sequence[Block]
    kind: ClassVar[str] = "beside"


@dataclass(frozen=True)
class Choice:
    """Blocks of which one option is shown at a time, the last at first."""

    label: str
    options: Mapping[str, Sequence[Block]]
    kind: ClassVar[str] = "choice"


@dataclass(frozen=True)
class Chooser:
    """Designs to choose from: the least of one quantity among those that keep limits on the others.

    Attributes:
        quantities: names and units of what is known of a design, in the order of its `values`.
        groups: what can be compared, each with its designs.
        start: the quantity that is minimised at first.
        headings: of the design's `setting`.
    """

    quantities: Sequence[tuple[str, str]]
    groups: Mapping[str, Sequence[Design]]
    headings: Sequence[str]
    start: str
    kind: ClassVar[str] = "chooser"

    @property
    def content(self) -> dict[str, Any]:
        """What the page's script reads."""
        rows = {name: [[d.name, d.values, d.setting, d.command] for d in group] for name, group in self.groups.items()}
        return {"quantities": self.quantities, "headings": self.headings, "groups": _finite(rows)}


@dataclass(frozen=True)
class Design:
    """One of a chooser's designs: `values` in the units of its quantities, `setting` in the order of its headings."""

    name: str
    values: Sequence[float | None]
    setting: Sequence[str]
    command: str


Block = Text | Tiles | Table | Figure | Beside | Choice | Chooser


@dataclass(frozen=True)
class Section:
    """A heading and what is under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A report: a title, one sentence that says what came out, blocks that everybody reads, and sections."""

    title: str
    lead: str
    top: Sequence[Block]
    sections: Sequence[Section] = field(default_factory=tuple)

    @property
    def _chooses(self) -> bool:
        return any(isinstance(block, Chooser) for section in self.sections for block in section.blocks)

    def html(self) -> str:
        """One file with everything in it.

        Raises:
            MissingDependency: where plotly is not installed.
        """
        from markupsafe import Markup

        place = _TEMPLATE
        return (
            _environment()
            .get_template("page.html")
            .render(
                page=self,
                themes=THEMES,
                number=itertools.count(1).__next__,
                style=Markup(read_text(place / "page.css", "")),
                script=Markup(read_text(place / "page.js", "")),
                chooser=Markup(read_text(place / "chooser.js", "")) if self._chooses else "",
                plotly=Markup(_plotly()),
            )
        )


def percent_cell(value: float | None, places: int = 1) -> Cell:
    """A share under a heading that says %."""
    return Cell("-" if value is None else f"{100 * value:.{places}f}", value)


def label(text: str) -> str:
    """Text for a figure, where Plotly would take `<b>` for a command."""
    return html.escape(text, quote=False)


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with a title, which makes room for its labels."""
    return {"title": {"text": title}, "automargin": True, **more}


def wide_axis(title: str, values: Iterable[float | None]) -> dict[str, Any]:
    """An axis that is logarithmic where the values span more than a factor of thirty; narrower ones leave it without ticks."""
    known = [value for value in values if value is not None and value > 0]
    wide = bool(known) and max(known) > _WIDE * min(known)
    return axis(title, type="log", dtick=1) if wide else axis(title)


_WIDE = 30
_TEMPLATE = Path(__file__).with_name("template")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(_TEMPLATE), undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    found.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False, "separators": (",", ":")}
    return found


def _plotly() -> str:
    needed("plotly", "a report", "report")
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value

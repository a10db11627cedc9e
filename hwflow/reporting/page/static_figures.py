"""Figures of a page as PNG and SVG files, for papers.

Drawn by matplotlib from the same data as the page's figures, on light ground. Plotly itself would need a browser for that; and
matplotlib gives equal bytes for equal figures, and text in SVG as text.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.files import write_bytes
from hwflow.optional import needed
from hwflow.reporting.page.blocks import Figure, Page
from hwflow.reporting.page.notebook_figures import figures_of
from hwflow.reporting.page.palette import THEMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = 7.2  # wide: both columns of a page
_PIXELS_PER_INCH = 110  # of the page's heights
_DOTS_PER_INCH = 300
_GAP = 0.8  # of bars' places is filled where a figure does not say
_DASHES = {"dot": ":", "dash": "--", "solid": "-"}
_MARKS = {
    "circle": "o",
    "diamond": "D",
    "square": "s",
    "x": "X",
    "cross": "P",
    "triangle-up": "^",
    "triangle-down": "v",
    "star": "*",
}
_HATCHES = {"": "", "/": "////", "x": "xxxx"}
_STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "hwflow",
}


def write_figures(page: Page, folder: Path) -> list[Path]:
    """Write every figure of a page as PNG and SVG, named by what is on it; of a choice the figures of all options.

    Raises:
        MissingDependency: where matplotlib is not installed.
        HwflowError: where a file cannot be written.
    """
    written: list[Path] = []
    names: dict[str, int] = {}
    for title, figure in figures_of(page):
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        names[name] = names.get(name, 0) + 1
        name += f"-{names[name]}" if names[name] > 1 else ""
        for kind, content in _drawn(figure).items():
            written.append(folder / f"{name}.{kind}")
            write_bytes(written[-1], content)
    return written


def _drawn(figure: Figure) -> dict[str, bytes]:
    needed("matplotlib", "a figure as PNG or SVG", "report")
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    drawing = figure.drawing
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(_INCHES, figure.height / _PIXELS_PER_INCH), layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.add_subplot()
        _Drawing(axes, drawing["layout"]).draw(drawing["data"])
        files = {}
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            canvas.savefig(buffer, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)
            files[kind] = buffer.getvalue()
    return files


class _Drawing:
    """One figure's traces on matplotlib's axes. What it doesn't know is an error, not a gap."""

    def __init__(self, axes: Axes, layout: Mapping[str, Any]) -> None:
        self.axes, self.layout = axes, layout
        self.places: dict[str, dict[str, int]] = {"x": {}, "y": {}}
        for letter in "xy":
            for name in layout.get(f"{letter}axis", {}).get("categoryarray", ()):
                self._place(letter, name)
        self.stacked: dict[tuple[str, float], float] = {}
        self.handles: list[Any] = []

    def draw(self, data: Sequence[Mapping[str, Any]]) -> None:
        bars = [trace for trace in data if trace["type"] == "bar"]
        before: Mapping[str, Any] = {}
        for trace in data:
            if trace["type"] == "bar":
                self._bars(trace, bars.index(trace), len(bars))
            elif trace["type"] == "scatter":
                self._scatter(trace, before)
            else:
                raise ValueError(f"no static drawing is known for a trace of type {trace['type']!r}")
            before = trace
        self._extras()
        for letter in "xy":
            self._axis(letter)
        if self.handles and self.layout.get("showlegend", len(self.handles) > 1):
            columns = min(4, len(self.handles))
            backwards = self.layout.get("legend", {}).get("traceorder") == "reversed"
            handles = self.handles[::-1] if backwards else self.handles
            self.axes.figure.legend(handles=handles, loc="outside upper left", ncols=columns, fontsize=7)

    def _scatter(self, trace: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        mode, line = trace.get("mode", "lines"), trace.get("line", {})
        x, y = ([self._number(letter, value) for value in trace[letter]] for letter in "xy")
        if trace.get("fill") == "tonexty":
            fill, opacity = _colour(trace["fillcolor"])
            low, steps = [self._number("y", value) for value in before["y"]], line.get("shape") == "hv"
            self.axes.fill_between(x, low, y, color=fill, alpha=opacity, step="post" if steps else None, linewidth=0)
            return
        (drawn,) = self.axes.plot(x, y, label=_text(trace.get("name", "")), **_style(trace, mode))
        for at, text in enumerate(trace.get("text", ()) if "text" in mode else ()):
            self.axes.annotate(_text(text), (x[at], y[at]), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7)
        if trace.get("showlegend", True) and line.get("width", 2):
            self.handles.append(drawn)

    def _bars(self, trace: Mapping[str, Any], number: int, count: int) -> None:
        flat = trace.get("orientation") == "h"
        along, across = ("y", "x") if flat else ("x", "y")
        mode, marker = self.layout.get("barmode", "group"), trace.get("marker", {})
        colour, alpha = _colour(marker.get("color", "@after"))
        width = trace.get("width", 1 - self.layout.get("bargap", 1 - _GAP))
        places = [self._number(along, value) for value in trace[along]]
        if mode == "group" and count > 1:
            width /= count
            places = [place + (number - (count - 1) / 2) * width for place in places]
        sizes = [0.0 if value is None else value for value in trace[across]]
        starts = self._stacked(along, places, sizes) if mode == "stack" else [0.0] * len(places)
        pattern = marker.get("pattern", {}).get("shape", "")
        style = {"color": None, "facecolor": colour, "alpha": alpha * marker.get("opacity", 1.0), "linewidth": 0}
        style |= {"hatch": _HATCHES[pattern], "edgecolor": _colour("@panel")[0], "label": _text(trace.get("name", ""))}
        drawn = self._drawn_bars(flat, places, sizes, width, starts, style)
        for place, start, size, text in zip(places, starts, sizes, trace.get("text", ()), strict=False):
            spot = (start + size, place) if flat else (place, start + size)
            self.axes.annotate(_text(text), spot, xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
        if trace.get("showlegend", True):
            self.handles.append(drawn)

    def _drawn_bars(
        self, flat: bool, places: list[float], sizes: list[float], width: float, starts: list[float], style: Mapping[str, Any]
    ) -> Any:
        if flat:
            return self.axes.barh(places, sizes, height=width, left=starts, **style)
        return self.axes.bar(places, sizes, width=width, bottom=starts, **style)

    def _stacked(self, along: str, places: list[float], sizes: list[float]) -> list[float]:
        """Where bars begin that stand on those before them."""
        starts = [self.stacked.get((along, place), 0.0) for place in places]
        self.stacked |= {(along, p): start + size for p, start, size in zip(places, starts, sizes, strict=True)}
        return starts

    def _extras(self) -> None:
        """Lines across the figure, and notes on it."""
        for shape in self.layout.get("shapes", ()):
            style = {"color": _colour(shape["line"]["color"])[0], "linewidth": 0.7 * shape["line"].get("width", 2)}
            style["linestyle"] = _DASHES[shape["line"].get("dash", "solid")]
            if shape.get("yref") == "paper":
                self.axes.axvline(shape["x0"], **style)
            else:
                self.axes.plot([shape["x0"], shape["x1"]], [shape["y0"], shape["y1"]], **style)
        for note in self.layout.get("annotations", ()):
            colour, _ = _colour(note.get("font", {}).get("color", "@ink"))
            where = self.axes.get_xaxis_transform() if note.get("yref") == "paper" else self.axes.transData
            spot, shift = (note["x"], note["y"]), (note.get("xshift", 0), 0)
            self.axes.annotate(
                _text(note["text"]), spot, xycoords=where, xytext=shift, textcoords="offset points", color=colour, fontsize=7
            )

    def _axis(self, letter: str) -> None:
        from matplotlib.ticker import LogFormatter

        told = self.layout.get(f"{letter}axis", {})
        side = getattr(self.axes, f"{letter}axis")
        if told.get("type") == "log":
            getattr(self.axes, f"set_{letter}scale")("log")
            side.set_major_formatter("{x:g}")
            side.set_minor_formatter(LogFormatter(labelOnlyBase=False))  # within less than about a decade
        getattr(self.axes, f"set_{letter}label")(_text(told.get("title", {}).get("text", "")))
        if "tickvals" in told:
            texts = [_text(text) for text in told.get("ticktext", told["tickvals"])]
            side.set_ticks(told["tickvals"], texts, **(_turn(told) if letter == "x" else {}))
        elif self.places[letter]:
            side.set_ticks(list(self.places[letter].values()), [_text(name) for name in self.places[letter]])
        self._limit(letter, told)
        if told.get("showgrid", True) and not self.places[letter]:
            side.grid(visible=True, color=_colour("@line")[0], linewidth=0.5)
        side.set_visible(told.get("visible", True))
        if not told.get("visible", True):
            self.axes.spines["left" if letter == "y" else "bottom"].set_visible(False)

    def _limit(self, letter: str, told: Mapping[str, Any]) -> None:
        limit = getattr(self.axes, f"set_{letter}lim")
        if "range" in told:
            limit(*told["range"])
        elif told.get("rangemode") == "tozero":
            limit(**{"left" if letter == "x" else "bottom": 0})

    def _place(self, letter: str, name: str) -> int:
        return self.places[letter].setdefault(name, len(self.places[letter]))

    def _number(self, letter: str, value: float | str | None) -> float:
        if isinstance(value, str):
            return float(self._place(letter, value))
        return float("nan") if value is None else float(value)


def _style(trace: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """How a scatter is drawn."""
    line, marker = trace.get("line", {}), trace.get("marker", {})
    colour, alpha = _colour(line.get("color") or marker.get("color") or "@after")
    return {
        "color": colour,
        "alpha": alpha * trace.get("opacity", marker.get("opacity", 1.0)),
        "linestyle": _DASHES[line.get("dash", "solid")] if "lines" in mode else "none",
        "linewidth": 0.7 * line.get("width", 2),
        "drawstyle": "steps-post" if line.get("shape") == "hv" else "default",
        "marker": _MARKS[marker.get("symbol", "circle")] if "markers" in mode else None,
        "markersize": 0.55 * marker.get("size", 6),
        "markeredgewidth": 0,
    }


def _turn(told: Mapping[str, Any]) -> dict[str, Any]:
    """Long names along the x axis are turned, more where there are many."""
    upright = 90 if told.get("tickangle") else 45 if len(told["tickvals"]) > 8 else 0
    return {"rotation": upright, "ha": "right", "rotation_mode": "anchor"} if upright else {}


def _colour(name: str) -> tuple[str, float]:
    """The light theme's colour of this name, and how opaque it is."""
    bare, _, alpha = name.removeprefix("@").partition("/")
    return THEMES["light"][bare], float(alpha or 1)


def _text(text: object) -> str:
    """What a figure's text is to a reader; matplotlib would take dollars for formulas."""
    return html.unescape(str(text).replace("<br>", "\n")).replace("$", r"\$")

"""Figures of a page for a notebook, as Plotly figures with the colours of the light theme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hwflow.optional import needed
from hwflow.reporting.page.blocks import Beside, Block, Choice, Figure, Page
from hwflow.reporting.page.palette import THEMES


def figures_of(page: Page) -> Iterator[tuple[str, Figure]]:
    """Every figure of a page by what is on it; of a choice the figures of all options."""
    blocks = (block for section in page.sections for block in section.blocks)
    yield from _figures([*page.top, *blocks], "")


def plotly_figures(page: Page) -> dict[str, Any]:
    """Every figure of a page as a `plotly.graph_objects.Figure`, by its title.

    Raises:
        MissingDependency: where plotly is not installed.
    """
    needed("plotly", "a figure", "report")
    from plotly.graph_objects import Figure as Drawn

    found: dict[str, Any] = {}
    for title, figure in figures_of(page):
        drawing = _coloured(figure.drawing)
        layout = {"template": "plotly_white", "title": {"text": figure.title}, **drawing["layout"]}
        found.setdefault(title, Drawn(data=drawing["data"], layout=layout))
    return found


def _figures(blocks: Sequence[Block], under: str) -> Iterator[tuple[str, Figure]]:
    for block in blocks:
        if isinstance(block, Figure):
            yield (block.title if under in block.title else f"{under} {block.title}"), block
        elif isinstance(block, Beside):
            yield from _figures(block.blocks, under)
        elif isinstance(block, Choice):
            for name, inner in block.options.items():
                yield from _figures(inner, name)


def _coloured(value: Any) -> Any:
    """The same with every name of the palette, `@after` or `@after/0.3`, as a colour."""
    if isinstance(value, str) and value.startswith("@"):
        name, _, alpha = value.removeprefix("@").partition("/")
        colour = THEMES["light"].get(name)
        if colour is None:
            return value
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red}, {green}, {blue}, {alpha})" if alpha else colour
    if isinstance(value, Mapping):
        return {name: _coloured(item) for name, item in value.items()}
    return [_coloured(item) for item in value] if isinstance(value, (list, tuple)) else value


__all__ = ["figures_of", "plotly_figures"]

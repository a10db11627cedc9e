"""Figures for papers: every figure of a page becomes a PNG and an SVG, and shows what the page shows."""

from __future__ import annotations

import dataclasses
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from hwflow import cli
from hwflow.errors import MissingDependency
from hwflow.reporting import write_report
from hwflow.reporting.page.blocks import Beside, Choice, Figure, Page, Section
from hwflow.reporting.page.static_figures import write_figures
from tests.reporting.folders import write_run
from tests.reporting.reading import Read
from tests.reporting.sweeps import write_sweep

BARS = [
    {"type": "bar", "name": "one", "x": [0, 1], "y": [3.0, None], "marker": {"color": "@part-1"}},
    {"type": "bar", "name": "two", "x": [0, 1], "y": [1.0, 2.0], "marker": {"color": "@part-2", "pattern": {"shape": "/"}}},
]
LAYOUT = {
    "barmode": "stack",
    "xaxis": {"tickvals": [0, 1], "ticktext": ["a$b", "c<br>&lt;d&gt;"]},
    "yaxis": {"title": {"text": "mJ"}},
}


def drawn(tmp_path: Path, figure: Figure) -> list[Path]:
    return write_figures(Page("t", "l", [figure]), tmp_path / "figures")


def test_bars_have_their_heights_and_labels_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    seen: list[tuple[Any, Any, Any]] = []
    bar = Axes.bar

    def spy(self: Axes, x: Any, height: Any, **more: Any) -> Any:
        seen.append((x, height, more["bottom"]))
        return bar(self, x, height, **more)

    monkeypatch.setattr(Axes, "bar", spy)
    png, svg = drawn(tmp_path, Figure("Energy of all", BARS, LAYOUT))
    assert seen[:2] == [([0.0, 1.0], [3.0, 0.0], [0.0, 0.0]), ([0.0, 1.0], [1.0, 2.0], [3.0, 0.0])]
    assert (png.name, svg.name) == ("energy-of-all.png", "energy-of-all.svg")
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    texts = {text.strip() for element in ET.parse(svg).iter() if (text := element.text)}
    assert {"a$b", "c", "<d>", "mJ", "one", "two"} <= texts


def test_figures_of_all_options_are_written_and_equal_ones_are_equal_bytes(tmp_path: Path) -> None:
    figure = Figure("Roofline", BARS, LAYOUT)
    choice = Choice("Configuration", {"x/mid": [figure], "y/mid": [Beside([figure, figure])]})
    page = Page("t", "l", [], [Section("s", [choice, figure])])
    names = sorted(path.name for path in write_figures(page, tmp_path / "one") if path.suffix == ".svg")
    assert names == ["roofline.svg", "x-mid-roofline.svg", "y-mid-roofline-2.svg", "y-mid-roofline.svg"]
    write_figures(page, tmp_path / "two")
    for name in (*names, "roofline.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_cannot_be_drawn_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no static drawing is known for a trace of type 'pie'"):
        drawn(tmp_path, Figure("f", [{"type": "pie"}], {}))


def test_a_missing_matplotlib_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match=re.escape('pip install "hwflow[report]"')):
        drawn(tmp_path, Figure("f", BARS, LAYOUT))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_every_figure_of_a_page_is_written(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "x", seeds=(0, 1)) if kind == "run" else write_sweep(tmp_path / "x")
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", str(folder), "--static", str(tmp_path / "figures")])
    assert ended.value.code == 0
    assert f"and its figures to {tmp_path / 'figures'}" in capsys.readouterr().err
    figures = Read(folder / "report.html").figures
    written = sorted((tmp_path / "figures").iterdir())
    assert len(written) == 2 * len(figures)
    for path in written:
        if path.suffix == ".svg":
            ET.parse(path)
        assert path.stat().st_size > 3000
    one = dataclasses.replace(Figure("f", figures[0]["data"], figures[0]["layout"]))
    assert drawn(tmp_path / "again", one)
    assert write_report(folder, tmp_path / "page.html").read_bytes() == (folder / "report.html").read_bytes()

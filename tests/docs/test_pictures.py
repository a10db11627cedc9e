"""docs/pictures.py: the pictures are small, used, and what hwflow draws now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pages" / "pictures"
_NAMES = re.compile(r'\b(?:id|xlink:href|clip-path)="[^"]*"')  # made of hashes


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_made_by_the_command_for_light_and_dark_pages(pictures: ModuleType) -> None:
    names = {name for _, figures in pictures.REPORTS.values() for name in figures.values()} | set(pictures.DRAWN)
    expected = {f"{name}-{theme}.svg" for name in names for theme in ("light", "dark")}
    assert {path.name for path in PICTURES.iterdir()} == expected


def test_every_picture_is_small_and_shown_on_a_page(pictures: ModuleType) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "pages").rglob("*.md"))
    for path in PICTURES.iterdir():
        assert path.stat().st_size <= pictures.MAX_BYTES, path.name
        theme = path.stem.rpartition("-")[2]
        assert f"pictures/{path.name}#only-{theme}" in pages, path.name


def test_a_dark_picture_differs_in_its_colours_only(pictures: ModuleType) -> None:
    for light in PICTURES.glob("*-light.svg"):
        dark = light.with_name(light.name.replace("-light", "-dark")).read_text(encoding="utf-8")
        assert dark == pictures._dark(light.read_text(encoding="utf-8"))
        assert not re.search(r"#(?:ffffff|000000)\b", dark), light.name


@pytest.mark.slow
def test_the_readmes_picture_is_what_hwflow_draws_now(pictures: ModuleType, tmp_path: Path) -> None:
    """`make pictures` draws it again. Another version of matplotlib may place things a little differently."""
    pytest.importorskip("matplotlib", reason="comes with the extra report")
    pictures.write(tmp_path, ["estimate"])
    for name in ("energy-light.svg", "utilization-light.svg", "roofline-light.svg"):
        shown, drawn = ((folder / name).read_text(encoding="utf-8") for folder in (PICTURES, tmp_path))
        labels = re.compile(r"<text[^>]*>(.*?)</text>")
        assert labels.findall(drawn) == labels.findall(shown)
        numbers = [[float(n) for n in re.findall(r"-?\d+\.?\d*", _NAMES.sub("", text))] for text in (drawn, shown)]
        assert numbers[0] == pytest.approx(numbers[1], abs=1.5)

"""Colours of a chip's parts: never twice on one chip, and far enough apart to be told from each other."""

from __future__ import annotations

import itertools
import math

import pytest

from hwflow import Accelerator
from hwflow.hardware.accelerator import presets
from hwflow.reporting.page.palette import THEMES, parts

_DISTINCT = 14.0  # CIE 1976 distance; 2.3 is just noticeable


def lab(colour: str) -> tuple[float, float, float]:
    """CIE L*a*b* of an sRGB colour under D65 (IEC 61966-2-1, CIE 15)."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue))
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def chip_parts(name: str) -> list[str]:
    chip = Accelerator.load(name)
    return [*(memory.name for memory in chip.memories), chip.mac.name]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_of_parts_can_be_told_apart(theme: str) -> None:
    colours = {name: lab(colour) for name, colour in THEMES[theme].items() if name.startswith("part-")}
    assert len(colours) == 14
    near = {pair: math.dist(colours[pair[0]], colours[pair[1]]) for pair in itertools.combinations(colours, 2)}
    assert {pair: d for pair, d in near.items() if d < _DISTINCT} == {}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_up_to_three_presets_share_no_colour_unless_the_palette_is_used_up(count: int) -> None:
    for names in itertools.combinations(presets(), count):
        chips = [chip_parts(name) for name in names]
        found = parts(chips)
        every = {part for chip in chips for part in chip}
        assert len(set(found.values())) == min(len(every), 14), names


@pytest.mark.parametrize("chips", [list(presets()), list(presets())[::-1]])
def test_two_parts_of_one_chip_never_share_a_colour(chips: list[str]) -> None:
    found = parts(chip_parts(name) for name in chips)
    for name in chips:
        own = chip_parts(name)
        assert len({found[part] for part in own}) == len(own)


def test_beyond_the_palette_only_parts_of_different_chips_share_colours() -> None:
    chips = [["dram", *(f"m{i}.{j}" for j in range(9)), "mac"] for i in range(4)]
    found = parts(chips)
    assert len(set(found.values())) == 14
    assert all(len({found[part] for part in chip}) == len(chip) for chip in chips)

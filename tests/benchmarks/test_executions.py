"""The tables of executions: their rows, and the page against what the command prints."""

from __future__ import annotations

from pathlib import Path

from benchmarks import executions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "how-to" / "execution.md"


def test_a_row_has_energy_cycles_and_what_bounds_it() -> None:
    heading, rule, row = executions.table(executions.FOUR[3:], "eyeriss", "mid", (*executions.NAMES, executions.HALF))
    assert heading == "| eyeriss, mid: uJ / kcycles | direct | winograd2 | winograd4 | im2col | vip | half the columns |"
    assert rule == "|---|---|---|---|---|---|---|"
    assert row == ("| 16 > 16, 32 x 32 | 24 / 21 (d) | 28 / 75 (d) | 16 / 46 (d) | 43 / 92 (d) | 8 / 13 (d) | 23 / 51 (d) |")
    assert row in PAGE.read_text(encoding="utf-8")


def test_every_plain_layer_of_the_networks_is_in_the_page() -> None:
    layers = executions.layers_of(["resnet18", "vgg16"])
    assert len(layers) == 13
    text = PAGE.read_text(encoding="utf-8")
    for layer in layers:
        assert text.count(f"| {layer.name}: {layer.C} > {layer.M}, {layer.P} x {layer.Q} |") == 3

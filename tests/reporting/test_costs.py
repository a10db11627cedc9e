"""Reports of estimates and comparisons: energy by tensor adds up, layers lie under the roof, numbers are the command's own."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from hwflow import Accelerator, InputError, Network, NetworkCost, cli, estimate
from hwflow.cost.energy_sources import energy_table
from hwflow.hardware.energy_table import EnergyTable
from hwflow.reporting import write_costs, write_report
from hwflow.reporting.estimates.configuration import LEAKAGE, configuration, split_by_tensor
from hwflow.reporting.estimates.layer_rows import limit_of
from hwflow.reporting.page.palette import THEMES
from hwflow.reporting.page.values import number, quantity
from hwflow.reporting.pruning.run_records import LayerRecord
from tests.reporting.reading import Read, strings

LAYERS = [
    {"name": "conv1", "C": 3, "M": 8, "P": 8, "Q": 8, "R": 3, "S": 3},
    {"name": "conv2", "C": 8, "M": 16, "P": 4, "Q": 4, "R": 3, "S": 3, "strides": [2, 2]},
    {"name": "fc", "type": "linear", "C": 16, "M": 10},
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("networks") / "tiny.yaml"
    file.write_text(json.dumps({"name": "tiny", "layers": LAYERS}), encoding="utf-8")
    return file


def costed(file: Path, preset: str = "eyeriss", level: str = "mid") -> tuple[NetworkCost, Accelerator, EnergyTable]:
    chip = Accelerator.load(preset)
    return estimate(Network.from_yaml(file), chip, level=level), chip, energy_table(chip)


def figure(page: Read, y_title: str) -> dict[str, Any]:
    return next(f for f in page.figures if f["layout"].get("yaxis", {}).get("title", {}).get("text", "") == y_title)


# Energy by tensor ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["eyeriss", "simba", "tpu_like", "shidiannao_like"])
@pytest.mark.parametrize("level", ["coarse", "mid"])
def test_energy_by_tensor_adds_up_to_what_the_level_says(file: Path, preset: str, level: str) -> None:
    cost, chip, table = costed(file, preset, level)
    for row in cost.rows:
        split = split_by_tensor(row, chip, table)
        assert split is not None
        sums = {part: sum(tensors.values()) * 1e12 for part, tensors in split.items()}
        assert sums == pytest.approx(dict(row.energy_by_level), rel=1e-9)
        counts, dram = row.accesses[chip.dram.name]["weights"], table.parts[chip.dram.name]
        blocks = math.ceil(counts["reads"] / chip.dram.block_words)
        assert split[chip.dram.name]["weights"] == pytest.approx(blocks * dram.read * 1e-12)


def test_leakage_stands_apart_and_what_does_not_add_up_is_not_split(file: Path) -> None:
    cost, chip, table = costed(file)
    row, buffer = cost.rows[0], "global_buffer"
    leaking = {**table.parts, buffer: dataclasses.replace(table.parts[buffer], leak=table.parts[buffer].leak + 0.5)}
    assert row.cycles
    more = {**row.energy_by_level, buffer: row.energy_by_level[buffer] + 0.5 * row.cycles}
    split = split_by_tensor(dataclasses.replace(row, energy_by_level=more), chip, dataclasses.replace(table, parts=leaking))
    assert split is not None
    assert split[buffer][LEAKAGE] == pytest.approx((table.parts[buffer].leak + 0.5) * row.cycles * 1e-12)
    near = {**row.energy_by_level, buffer: row.energy_by_level[buffer] + 0.004}  # pJ; Timeloop prints leakage to 0.01
    assert split_by_tensor(dataclasses.replace(row, energy_by_level=near), chip, table) is None
    printed = split_by_tensor(dataclasses.replace(row, energy_by_level=near, level="fine"), chip, table)
    assert printed is not None
    assert sum(printed[buffer].values()) == pytest.approx(near[buffer] * 1e-12, rel=1e-12)
    wrong = {**row.energy_by_level, buffer: row.energy_by_level[buffer] * 1.001}
    assert split_by_tensor(dataclasses.replace(row, energy_by_level=wrong), chip, table) is None
    assert split_by_tensor(dataclasses.replace(row, accesses={}), chip, table) is None


# The page of an estimate ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Read:
    cost, chip, table = costed(file)
    return Read(
        write_costs([configuration(cost, chip, [table] * len(cost.rows))], tmp_path_factory.mktemp("page") / "tiny.html")
    )


def test_totals_and_layers_are_on_the_page(page: Read, file: Path) -> None:
    cost, _, _ = costed(file)
    assert cost.energy_pj
    assert cost.latency_s
    assert f"One inference of tiny costs {number(cost.energy_pj * 1e-3)} nJ and {number(cost.latency_s * 1e6)} µs." in page.text
    assert f"{cost.cycles:,} cycles" in page.text
    rows = {row[0]: row for row in page.tables["Every layer at mid"][1:]}
    for row in cost.rows:
        assert row.utilization is not None
        assert rows[row.layer.name][5:7] == [row.bound_by, f"{100 * row.utilization:.1f}"]
    assert {row.bound_by for row in cost.rows} == {"dram"}
    assert "Bound: 3 layers by the memory dram, 100.0 % of the latency." in page.text
    answered = page.tables["What answered"][1]
    assert answered[0] == "eyeriss/mid/row_stationary"
    assert answered[2].startswith("recorded (Accelergy")


def test_the_stack_by_part_and_tensor_is_the_layers_energy(page: Read, file: Path) -> None:
    cost, _, _ = costed(file)
    stacks = [f for f in page.figures if "energy" in f["layout"]["yaxis"]["title"]["text"]]
    assert len(stacks) == 2
    assert {"dram: weights", "psum_spad: outputs", "mac"} <= {t["name"] for t in stacks[1]["data"]}
    for stack in stacks:
        for i, row in enumerate(cost.rows):
            assert row.energy_pj
            assert sum(t["y"][i] or 0.0 for t in stack["data"]) == pytest.approx(row.energy_pj * 1e-3)  # nJ


def test_layers_lie_under_the_roof(page: Read) -> None:
    roofline = figure(page, "GMAC/s")
    roof, *marks = roofline["data"]
    peak, slope = roof["y"][1], roof["y"][0] / roof["x"][0]
    assert sum(len(mark["x"]) for mark in marks) == len(LAYERS)
    for mark in marks:
        for x, y in zip(mark["x"], mark["y"], strict=True):
            assert y <= min(peak, x * slope) * (1 + 1e-9)
    assert peak == pytest.approx(168 * 0.2)  # MAC units at 200 MHz


def test_without_an_accelerator_the_page_says_what_is_not_known(file: Path, tmp_path: Path) -> None:
    cost = estimate(Network.from_yaml(file), level="coarse")
    found = Read(write_costs([configuration(cost)], tmp_path / "page.html"))
    assert "Latencies are not known at coarse without an accelerator." in found.text
    assert "normalized" in found.text
    assert "Energy is split by part of the chip only" in found.text


# Comparisons ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    place = tmp_path_factory.mktemp("compared")
    arguments = ["compare", str(file), "-a", "eyeriss,tpu_like", "--levels", "coarse,mid", "--jobs", "1"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--format", "json", "-o", str(place / "c.json"), "--html", str(place / "c.html")])
    assert ended.value.code == 0
    return place, json.loads((place / "c.json").read_text())


def test_the_comparison_shows_the_commands_numbers(compared: tuple[Path, dict[str, Any]]) -> None:
    place, content = compared
    found = Read(place / "c.html")
    rows = {row[0]: row for row in found.tables["The configurations"][1:]}
    assert list(rows) == ["eyeriss/coarse", "eyeriss/mid/row_stationary", "tpu_like/coarse", "tpu_like/mid/weight_stationary"]
    for row, variant in zip(rows.values(), content["variants"], strict=True):
        assert row[2] == f"{variant['energy_ratio']:.3f}"
        assert row[4] == f"{variant['latency_ratio']:.3f}"
        assert row[-2:] == [f"{variant[f'{metric}_rank_correlation']:.3f}" for metric in ("energy", "latency")]
    sides = [f for f in found.figures if f["layout"].get("xaxis", {}).get("title", {}).get("text", "").startswith("energy (")]
    for i, variant in enumerate(content["variants"]):
        assert sum(t["x"][i] or 0.0 for t in sides[0]["data"]) == pytest.approx(variant["cost"]["totals"]["energy_pj"] * 1e-6)
    pair = next(f for f in found.figures if "by tpu_like/coarse" in str(f["layout"]["xaxis"].get("title")))
    assert len(pair["data"][1]["x"]) == len(LAYERS)


WORDS = r"\b[Ww]ays?\b|searched|judged|changed of the preset"


def test_pages_speak_of_configurations_and_changes_to_the_preset(compared: tuple[Path, dict[str, Any]]) -> None:
    found = Read(compared[0] / "c.html")
    assert "tiny: 4 configurations compared" in found.text
    assert found.tables["What answered"][0][0] == "configuration"
    assert "changes to the preset" in found.tables["What answered"][0]
    assert not re.search(WORDS, found.text)


def row(bound_by: str | None, utilization: float | None) -> LayerRecord:
    return LayerRecord.model_validate(
        {"name": "x", "type": "conv", "macs": 1, "params": 1, "level": "mid", "engine": "e", "energy_source": "s", "shape": {}}
        | {"bound_by": bound_by, "utilization": utilization}
    )


@pytest.mark.parametrize(
    ("bound_by", "utilization", "limit"),
    [
        ("compute", 0.015, "array utilization"),
        ("compute", 0.49, "array utilization"),
        ("compute", 0.5, "compute"),
        ("compute", 1.0, "compute"),
        ("compute", None, "compute"),
        ("dram", 0.015, "dram"),
        (None, 0.015, "unknown"),
    ],
)
def test_a_layer_that_leaves_most_of_the_array_idle_is_bound_by_array_utilization(
    bound_by: str | None, utilization: float | None, limit: str
) -> None:
    assert limit_of(row(bound_by, utilization)) == limit


def test_the_page_names_array_utilization(tmp_path: Path) -> None:
    depthwise = {"name": "tiny", "layers": [{"name": "dw", "G": 8, "C": 1, "M": 1, "P": 4, "Q": 4, "R": 3, "S": 3}]}
    (tmp_path / "dw.yaml").write_text(json.dumps(depthwise))
    chip = Accelerator.load("simba").with_({"dram.bandwidth_gb_s": 1000})
    cost = estimate(Network.from_yaml(tmp_path / "dw.yaml"), chip)
    assert (cost.rows[0].bound_by, cost.rows[0].utilization < 0.1) == ("compute", True)  # type: ignore[operator]
    found = Read(write_costs([configuration(cost, chip)], tmp_path / "page.html"))
    assert "Bound: 1 layer by array utilization, 100.0 % of the latency. Array utilization: compute sets" in found.text


def test_a_json_file_gives_the_same_tables(compared: tuple[Path, dict[str, Any]]) -> None:
    place, _ = compared
    written = write_report(place / "c.json", place / "again.html")
    one, two = Read(place / "c.html"), Read(written)
    assert one.tables["The configurations"] == two.tables["The configurations"]
    assert one.tables["Every layer at mid"] == two.tables["Every layer at mid"]
    assert sum("GMAC/s" in str(f["layout"]) for f in two.figures) >= 2  # the presets are known again, so rooflines are drawn
    assert "Energy is split by part of the chip only" in two.text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is damaged: "),
        ('{"a": 1}', "holds no costs"),
        ('{"variants": []}', "variants: at least one is needed"),
        ('{"variants": [{}]}', "variants.0.cost: a mapping is needed"),
        ('{"layers": [], "network": "n"}', "accelerator: field required"),
    ],
)
def test_a_file_that_is_not_costs(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=re.escape(problem)):
        write_report(tmp_path / "x.json")


def test_a_description_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("networks: [resnet20]")
    with pytest.raises(
        InputError, match=r"x\.yaml is a description, and a report is made of results: .*'hwflow sweep .*x\.yaml -o"
    ):
        write_report(tmp_path / "x.yaml")
    assert not (tmp_path / "x.html").exists()


def test_the_command_writes_page_and_table(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "e.html"
    with pytest.raises(SystemExit) as ended:
        cli.main(["estimate", str(file), "-a", "eyeriss", "--html", str(target)])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert said.out.startswith("tiny on eyeriss, level mid, batch 1")
    assert f"wrote {target}" in said.err
    assert "dram: weights" in target.read_text(encoding="utf-8")


def test_names_are_text_in_pages_of_costs(file: Path, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><b onclick='x'>&"
    cost, chip, table = costed(file)
    rows = tuple(dataclasses.replace(row, layer=row.layer.with_(name=evil)) for row in cost.rows)
    configurations = [
        configuration(dataclasses.replace(cost, network=evil, rows=rows), chip, [table] * len(rows)),
        configuration(cost),
    ]
    target = write_costs(configurations, tmp_path / "page.html")
    found = Read(target)
    assert evil in found.text
    assert not [tag for tag, attributes in found.tags if tag == "b" or "onclick" in attributes]
    assert not [text for one in found.figures for text in strings(one) if "<script" in text or "<b " in text]
    assert "<script>alert" not in target.read_text(encoding="utf-8")


def test_plotly_knows_every_property(page: Read, compared: tuple[Path, dict[str, Any]]) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for one in (*page.figures, *Read(compared[0] / "c.html").figures):
        text = re.sub(r'"@([\w-]+)[^"]*"', lambda name: json.dumps(THEMES["light"][name[1]]), json.dumps(one))
        drawn = graph_objects.Figure(json.loads(text))  # which refuses what it does not know
        assert [trace.type for trace in drawn.data] == [trace["type"] for trace in one["data"]]


def test_a_batch_has_figures_per_image(file: Path, tmp_path: Path) -> None:
    cost = estimate(Network.from_yaml(file), "eyeriss", batch=4)
    found = Read(write_costs([configuration(cost)], tmp_path / "page.html"))
    assert "Per image" in found.text
    for value, unit in (((cost.energy_pj or 0.0) * 1e-12, "J"), (cost.latency_s or 0.0, "s")):
        assert quantity(value / 4, unit).replace("\xa0", " ") in found.text.replace("\xa0", " ")
    one = write_costs([configuration(estimate(Network.from_yaml(file), "eyeriss"))], tmp_path / "one.html")
    assert "Per image" not in Read(one).text

"""`hwflow map`."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hwflow import from_timeloop, map_layer
from hwflow.cli.mapping_page import Neighbour, map_page
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.network import zoo
from tests.cli.terminal import WRITTEN, Run, cells, untimed


def test_map_prints_the_nest_and_writes_it_for_timeloop(hw: Run, tmp_path: Path) -> None:
    target = tmp_path / "map.yaml"
    code, out, err = hw("map", "resnet20", "--layer", "layer1.0.conv1", "-a", "eyeriss", "-o", str(target))
    assert (code, err) == (0, f"hwflow: wrote {target}\n")
    for part in (
        "dram [weights, inputs, outputs]",
        "parallel-for",
        "multiply-accumulate",
        "reads (words)",
        "bound by",
        "Objective edp",
    ):
        assert part in out
    layer, acc = zoo("resnet20")["layer1.0.conv1"], Accelerator.load("eyeriss")
    assert Mapping.from_timeloop(target, layer, acc)


def test_map_shows_where_the_cycles_of_the_array_go(hw: Run, odd: str) -> None:
    code, out, err = hw("map", odd, "--layer", "conv", "-a", "eyeriss")
    assert (code, err) == (0, "")
    shares = [float(cells(out, name)[-1]) / 100 for name in ("pe_array columns", "pe_array rows", "cycles computing")]
    assert re.search(r"^where MAC cycles go +loops +used +of +share \(%\)$", out, re.MULTILINE)
    total = float(cells(out, "utilisation (product)")[-1]) / 100
    passes = re.search(r"^passes of M .* ([\d.]+)$", out, re.MULTILINE)  # where the search found a shorter last pass
    assert total == pytest.approx(math.prod(shares) * (float(passes[1]) / 100 if passes else 1), abs=0.002)
    assert f"utilisation {100 * total:.1f} %" in out


def test_map_shows_where_other_widths_cost_less(hw: Run, odd: str) -> None:
    out = hw("map", odd, "--layer", "conv", "-a", "eyeriss", "--objective", "latency")[1]
    assert cells(out, "this")[-1] == "1.000"
    cycles = {w: int(cells(out, w)[2].replace(",", "")) for w in ("this", "C=7", "C=9", "C=16", "M=32", "M=36", "M=38", "M=40")}
    wider = [w for w, n in cycles.items() if n < cycles["this"] and w in ("C=9", "C=16", "M=38", "M=40")]
    narrower = [w for w, n in cycles.items() if n > cycles["this"] and w in ("C=7", "M=32", "M=36")]
    told = re.findall(r"^Raggedness: (\S+) is (wider|narrower) and has (less|more) latency: energy", out, re.MULTILINE)
    assert sorted(told) == sorted([(w, "wider", "less") for w in wider] + [(w, "narrower", "more") for w in narrower])


def test_map_says_where_raggedness_costs() -> None:
    found = map_layer(Layer("l", C=8, M=37, P=8), Accelerator.load("eyeriss"))
    cost = found.cost
    assert cost.cycles is not None
    half = 100 * (cost.cycles // 2 / cost.cycles - 1)
    beside = [
        Neighbour("M=36", wider=False, cost=replace(cost, cycles=2 * cost.cycles)),
        Neighbour("M=35", wider=False, cost=cost),
        Neighbour("M=38", wider=True, cost=replace(cost, cycles=cost.cycles // 2)),
        Neighbour("M=39", wider=True, cost=None),
        Neighbour("M=40", wider=True, cost=replace(cost, cycles=cost.cycles + 1)),
    ]
    page = map_page(found, "eyeriss", "latency", "row_stationary", (), beside)
    assert [line for line in page.lines if "Raggedness" in line] == [
        "Raggedness: M=36 is narrower and has more latency: energy +0.0 %, cycles +100.0 %.",
        f"Raggedness: M=38 is wider and has less latency: energy +0.0 %, cycles {half:.1f} %.",
    ]
    assert ["M=39", "no mapping", "-", "-", "-"] in page.tables[-1].rows


def test_map_compares_groups_of_depthwise_layers_and_can_be_quick(hw: Run, odd: str) -> None:
    out = hw("map", odd, "--layer", "depthwise", "-a", "eyeriss")[1]
    assert [line.split()[0] for line in out.splitlines() if line.startswith("G=")] == ["G=8", "G=15", "G=17", "G=24"]
    quick = hw("map", odd, "--layer", "depthwise", "-a", "eyeriss", "--quick")[1]
    assert "width" not in quick
    assert "where MAC cycles go" in quick


def test_map_takes_files_and_counts_units_that_nothing_can_use(hw: Run, odd: str, tmp_path: Path) -> None:
    target = tmp_path / "map.yaml"
    code, out, _ = hw("map", odd, "--layer", "conv", "--timeloop-arch", WRITTEN, "--quick", "-o", str(target))
    assert code == 0
    assert cells(out, "usable MAC units")[2:4] == ["16", "256"]
    shares = [float(cells(out, name)[-1]) / 100 for name in ("PE rows", "passes of M", "cycles computing")]
    total = float(cells(out, "utilisation (product)")[-1]) / 100
    assert total == pytest.approx(math.prod(shares) / 16, abs=0.002)
    chip = from_timeloop(WRITTEN)
    mapping = Mapping.from_timeloop(target, Layer("conv", C=8, M=37, P=8, Q=8, R=3, S=3), chip)
    assert str(mapping) in out
    assert hw("render", odd, "--timeloop-arch", WRITTEN, "-o", str(tmp_path / "run"))[0] == 0
    rendered = [yaml.safe_load(path.read_text())["mapping"] for path in (tmp_path / "run" / "conv" / "mapping.yaml", target)]
    assert rendered[0] == rendered[1]
    assert (tmp_path / "run" / "conv" / "architecture.yaml").read_text() == chip.architecture


def test_map_as_json_and_markdown(hw: Run, odd: str, tmp_path: Path) -> None:
    asked = ["map", odd, "--layer", "conv", "-a", "eyeriss", "--quick"]
    code, out, err = hw(*asked, "--format", "json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert data["layer"]["name"] == "conv"
    assert data["accelerator"] == "eyeriss"
    assert set(data["accesses"]["dram"]["weights"]) == {"reads", "fills", "updates"}
    assert math.prod(s["share"] for s in data["where_mac_cycles_go"]) == pytest.approx(data["layer"]["utilization"])
    assert hw(*asked, "-o", str(tmp_path / "a.json"))[0] == 0
    assert untimed((tmp_path / "a.json").read_text()) == untimed(out)
    assert hw(*asked, "-o", str(tmp_path / "a.md"))[0] == 0
    assert (tmp_path / "a.md").read_text().startswith("### conv (")
    refused = hw(*asked, "-o", str(tmp_path / "a.csv"))[2]
    assert refused.endswith("this command writes no csv; its files end in .json, .md, .markdown, .txt.\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--proof", "gap"],
            r"edp: proven to have 5\d(\.\d)? % less edp than perfect factors allow, and within 0\.\d+ % of the",
        ),
        (["--perfect", "--proof", "optimal", "--gap", "0"], r"edp: proven to have the least edp that perfect factors allow\."),
    ],
)
def test_map_says_of_which_mappings_the_proof_is(hw: Run, options: list[str], told: str) -> None:
    """Imperfect factors have less than half of the EDP of perfect ones here."""
    code, out, err = hw("map", "resnet18", "--layer", "layer3.0.downsample.0", "-a", "eyeriss", "--quick", *options)
    assert (code, err) == (0, "")
    assert re.search(told, " ".join(out.split()))

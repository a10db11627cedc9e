"""`hwflow points` and `hwflow list points`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.terminal import Run


def test_the_table_shows_what_each_point_buys(hw: Run, tiny: str, tmp_path: Path) -> None:
    file = tmp_path / "points.yaml"
    file.write_text(
        "units: [{name: npu, nominal_v: 1, points: [{clock_mhz: 100, voltage_v: 0.8}, {clock_mhz: 4000, voltage_v: 2}]}]"
    )
    code, out, err = hw("points", tiny, "--accelerator", "eyeriss", "--points", str(file))
    assert (code, err) == (0, "")
    assert out.splitlines()[0].endswith("at the operating points of npu, mid")
    assert "latency (ms)  energy (uJ)  power (mW)" in out
    told = json.loads(hw("points", tiny, "-a", "eyeriss", "--points", str(file), "--format", "json")[1])
    slow, fast = told["points"]
    assert (slow["unit"], slow["clock_mhz"], slow["voltage_v"]) == ("npu", 100, 0.8)
    assert slow["power_w"] * slow["latency_s"] == slow["energy_j"]
    assert fast["energy_j"] > slow["energy_j"]
    assert hw("points", tiny, "--points", "exynos5422", "--format", "csv")[1].startswith(
        "network,unit,clock_mhz,voltage_v,latency_s"
    )


def test_a_dropped_point_is_shown(hw: Run, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("layers: [{name: f, type: linear, C: 64, M: 64}]")
    (tmp_path / "p.yaml").write_text(
        "units: [{name: npu, nominal_v: 1, points: [{clock_mhz: 100, voltage_v: 0.8}, {clock_mhz: 200, voltage_v: 1}]}]"
    )
    _, out, _ = hw("points", str(tmp_path / "net.yaml"), "-a", "eyeriss", "--points", str(tmp_path / "p.yaml"))
    assert "buys nothing against 100 MHz" in out


def test_units_must_be_named(hw: Run, tiny: str) -> None:
    assert hw("points", tiny)[2].startswith("hwflow: no unit is named; give --accelerator")
    assert (
        "--set changes the accelerator of --accelerator"
        in hw("points", tiny, "--points", "exynos5422", "--set", "clock_mhz=5")[2]
    )
    assert [line.split()[0] for line in hw("list", "points")[1].splitlines()] == ["exynos5422", "eyeriss"]

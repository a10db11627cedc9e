"""`hwflow levels`, its report, and `hwflow manage` on what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwflow.dynamic import load_levels
from tests.cli.terminal import Run
from tests.dynamic.test_level_run import POINTS


def test_the_command_and_its_report(hw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plotly")
    (tmp_path / "grouped_net.py").write_text("from tests.dynamic.nets import plain\n\n\ndef net():\n    return plain()\n")
    (tmp_path / "points.yaml").write_text(json.dumps(POINTS))
    monkeypatch.chdir(tmp_path)
    common = ["levels", "grouped_net:net", "--data", "digits", "-a", "eyeriss", "--points", "points.yaml", "-o", "run"]
    code, out, err = hw(*common, "--groups", "2", "--epochs", "1", "--measure", "1", "--level", "coarse")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "grouped_net:net in 2 levels"
    assert sum(line.startswith("npu") for line in lines) == 4
    assert sum(line.startswith("cpu-1-thread") for line in lines) == 2
    assert "Costs on npu: coarse." in lines
    assert "load of the machine" in out
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for title in ("Accuracy against cost", "Measured latency", "Training of each group"):
        assert title in page
    assert load_levels("run", allow_import=["grouped_net"]).level == 2
    assert "--measure is 'two'; it must be a number of threads" in hw(*common, "--measure", "two")[2]
    assert (
        "holds levels already: --resume continues that run"
        in hw(*common, "--groups", "2", "--epochs", "1", "--level", "coarse")[2]
    )
    (tmp_path / "trace.yaml").write_text("frames: 20\nlimits: {latency_s: 0.001}\nevents: [{frame: 9, offline: npu}]\n")
    assert hw("manage", "run", "--trace", "trace.yaml")[0] == 0
    assert hw("manage", "run", "--measured", "--trace", "trace.yaml")[2].startswith("hwflow: unknown unit in events[0]")

"""`hwflow library`, its report, and `hwflow manage` on what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwflow.dynamic import load_library
from tests.cli.terminal import Run
from tests.dynamic.test_level_run import POINTS


@pytest.mark.slow  # the network's groups are found three times
def test_the_command_and_what_it_writes(hw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elastic_net.py").write_text("from tests.dynamic.nets import staged\n\n\ndef net():\n    return staged()\n")
    (tmp_path / "points.yaml").write_text(json.dumps(POINTS))
    monkeypatch.chdir(tmp_path)
    common = ["library", "elastic_net:net", "--data", "digits", "-a", "eyeriss", "--points", "points.yaml", "-o", "run"]
    short = [*common, "--epochs", "1", "--level", "coarse", "--steps", "2", "--population", "4", "--generations", "2"]
    code, out, err = hw(*short, "--members", "2", "--statistics", "200", "--measure", "1")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "library of elastic_net:net, 2 members"
    assert sum(line.startswith("npu") for line in lines) == 4
    assert "of the front's hypervolume; no other choice keeps more" in out
    assert "holds a library already: --resume continues that run" in hw(*short)[2]
    assert load_library("run", allow_import=["elastic_net"]).members[0].number == 1
    (tmp_path / "trace.yaml").write_text("frames: 20\nlimits: {latency_s: 0.001}\nevents: [{frame: 9, offline: npu}]\n")
    assert hw("manage", "run", "--trace", "trace.yaml")[0] == 0


def test_what_it_refuses(hw: Run, tmp_path: Path) -> None:
    common = ["library", "resnet20", "--data", "digits", "-a", "eyeriss", "-o", str(tmp_path / "run")]
    assert "--widths is 'half'; it must be shares with commas between them" in hw(*common, "--widths", "half")[2]
    assert "unknown metric of a library 'params'" in hw(*common, "--metric", "params")[2]
    assert "members is 0; it must be a whole number of at least 1" in hw(*common, "--members", "0")[2]
    assert not (tmp_path / "run").exists()

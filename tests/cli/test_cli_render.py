"""`hwflow render`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from terminal import WRITTEN, Run


@pytest.mark.parametrize("mapper", ["hwflow", "timeloop"])
def test_render_writes_a_folder_a_distinct_layer(hw: Run, tiny: str, tmp_path: Path, mapper: str) -> None:
    code, out, err = hw("render", tiny, "-a", "eyeriss", "--mapper", mapper, "-o", str(tmp_path / "run"))
    assert (code, err) == (0, "")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["conv1", "conv2"]
    assert re.search(r"run/conv2 +2  conv2, conv2_again", out)
    files = {p.name for p in (tmp_path / "run" / "conv1").iterdir()}
    line = (tmp_path / "run" / "conv1" / "command.txt").read_text()
    assert line.count("\n") == 1
    program, *inputs = line.split()
    assert program == ("timeloop-model" if mapper == "hwflow" else "timeloop-mapper")
    assert set(inputs) == files - {"command.txt"}
    assert {"ERT.yaml", "ART.yaml", "problem.yaml", "architecture.yaml"} <= files


def test_what_mid_refuses_of_files_is_rendered_for_timeloops_own_search(hw: Run, tiny: str, tmp_path: Path) -> None:
    text = Path(WRITTEN).read_text()
    (tmp_path / "half.yaml").write_text(text.replace("depth: 16384", "depth: 16384, min_utilization: 0.5"))
    asked = ["render", tiny, "--timeloop-arch", str(tmp_path / "half.yaml"), "-o", str(tmp_path / "run")]
    code, _, err = hw(*asked)
    assert code == 2
    assert "mid cannot answer for" in err
    assert not (tmp_path / "run").exists()
    code, _, err = hw(*asked, "--mapper", "timeloop")
    assert code == 0
    assert "min_utilization: 0.5" in (tmp_path / "run" / "conv1" / "architecture.yaml").read_text()
    assert "inter_PE_spatial" in (tmp_path / "run" / "conv1" / "constraints.yaml").read_text()

"""`hwflow verify`, and `--certificate` of `hwflow map`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.terminal import Run


def test_a_certificate_is_written_checked_and_refused_when_changed(hw: Run, tmp_path: Path) -> None:
    file = tmp_path / "layer.json"
    asked = ("map", "resnet20", "--layer", "fc", "-a", "eyeriss", "--quick", "--certificate", str(file))
    code, _, err = hw(*asked)
    assert code == 2
    assert "it speaks of mappings with perfect factors alone; add --perfect" in err
    code, _, err = hw(*asked, "--perfect")
    assert (code, err) == (0, f"hwflow: wrote {file}: check it with 'hwflow verify {file}'\n")
    code, out, err = hw("verify", str(file))
    assert (code, err) == (0, "")
    assert out.startswith(f"{file}: holds. ")
    assert "no mapping with perfect factors is below" in out
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"bound": content["bound"] * 1.01}))
    code, out, err = hw("verify", str(file))
    assert (code, out) == (1, "")
    assert "the certificate does not hold: bound: it is" in err

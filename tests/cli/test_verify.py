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
    assert "it covers mappings with perfect factors only; add --perfect" in err
    code, _, err = hw(*asked, "--perfect")
    assert code == 0
    assert f"hwflow: wrote {file}: no mapping with perfect factors has edp below " in err
    assert f"hwflow: check it with 'hwflow verify {file}'\n" in err
    code, out, err = hw("verify", str(file))
    assert (code, err) == (0, "")
    assert out.startswith(f"{file}: holds. ")
    assert "holds. The layer (linear: C=64 M=10), which the file calls fc, on eyeriss" in out
    assert "on eyeriss, dataflow row_stationary, energies recorded" in out
    assert "and no mapping with perfect factors costs less than" in out
    code, out, err = hw("verify", str(file), "--network", "resnet20", "--layer", "fc", "-a", "eyeriss", "--objective", "edp")
    assert (code, err) == (0, "")
    assert hw("verify", str(file), "--dataflow", "row_stationary")[0] == 0
    for option, value, claim in (
        ("-a", "simba", "question.accelerator: it is eyeriss, which differs from simba"),
        ("--objective", "energy", "question.objective: it is edp, and energy was asked for"),
        ("--dataflow", "flexible", "question.dataflow: it is row_stationary, whose rules are not those of flexible"),
    ):
        code, out, err = hw("verify", str(file), option, value)
        assert (code, out) == (1, "")
        assert f"this certificate answers another question: {claim}." in err
    code, _, err = hw("verify", str(file), "--network", "resnet20", "--layer", "conv1")
    assert code == 1
    assert "question.layer: it is (linear: C=64 M=10), and 'conv1' is (conv: C=3 M=16 P=32 Q=32 R=3 S=3)" in err
    code, _, err = hw("verify", str(file), "--layer", "fc")
    assert (code, "--network and --layer go together: give both, or neither." in err) == (2, True)
    code, _, err = hw("verify", str(file), "--objective", "power")
    assert (code, "power" in err) == (2, True)
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"bound": content["bound"] * 1.01}))
    code, out, err = hw("verify", str(file))
    assert (code, out) == (1, "")
    assert "the certificate does not hold: bound: it is" in err
    good = tmp_path / "good.json"
    good.write_text(json.dumps(content))
    code, out, err = hw("verify", str(file), str(good), str(tmp_path / "none.json"))
    assert code == 2
    assert out.startswith(f"{good}: holds.")
    told = " ".join(err.split())
    assert f"{file}: the certificate does not hold: bound: it is" in told
    assert f"{tmp_path / 'none.json'}: certificate" in told
    assert "is not a certificate" not in told

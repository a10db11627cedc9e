"""`--density` of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwflow.cli.densities import with_densities
from hwflow.errors import InputError
from hwflow.layers import Densities, Layer
from hwflow.network import Network
from tests.cli.terminal import SMALL, Run

NET = Network("net", (Layer("a", C=4, M=8, type="linear"),))


def test_shares_for_all_layers() -> None:
    assert with_densities(NET, "weights=0.4, inputs=0.5")["a"].densities == Densities(0.4, 0.5)
    assert with_densities(NET, None) is NET


@pytest.mark.parametrize("text", ["0.4", "weights", "weights=half", "weights=0.4,"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"--density is .*must be shares of nonzero elements, such as weights=0\.4,inputs=0\.5"
    ):
        with_densities(NET, text)


def test_an_estimate_counts_zeros_of_a_file(hw: Run, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(SMALL)
    (tmp_path / "densities.yaml").write_text("conv1: {weights: 0.5}\n'*': {weights: 0.25, inputs: 0.5}\n")
    asked = ("estimate", str(tmp_path / "net.yaml"), "-a", "eyeriss", "--set", "sparsity.gates=inputs")
    code, out, err = hw(*asked, "--density", str(tmp_path / "densities.yaml"))
    assert (code, err) == (0, "")
    assert "tiny on eyeriss (sparsity.gates={'inputs': []}), level mid" in out
    assert "* zeros are counted; the mapping is the best with them of those that are best without" in out
    told = json.loads(hw(*asked, "--density", str(tmp_path / "densities.yaml"), "--format", "json")[1])
    assert [row["densities"]["weights"] for row in told["layers"]] == [0.5, 0.25, 0.25]
    code, out, _ = hw(*asked)
    assert "* dense: no densities are given, and eyeriss would save zeros." in out

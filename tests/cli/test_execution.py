"""`--execution` of the commands that cost a network, and `execution` of a sweep file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.terminal import Run

NET = """
name: net
layers:
  - {name: stem, C: 3, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: down, C: 8, M: 8, P: 4, Q: 4, R: 3, S: 3, strides: [2, 2]}
  - {name: fc, type: linear, C: 128, M: 10}
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.yaml").write_text(NET)
    return str(tmp_path / "net.yaml")


def test_an_estimate_names_executions(hw: Run, net: str) -> None:
    code, out, err = hw("estimate", net, "-a", "eyeriss", "--execution", "winograd4")
    assert (code, err) == (0, "")
    assert "net on eyeriss, level mid, batch 1, execution winograd4" in out
    assert "bound by  execution" in out
    assert "stem   conv 108>288 4x1 g36" in out
    assert "Executions: direct x2, winograd4 x1." in out
    assert "Run directly: down: its stride is 2 x 2." in out
    assert "Run directly: fc: it is a linear layer." in out
    assert "Not counted: WinogradInput4 x1, WinogradOutput4 x1." in out
    mixed = ("--execution", "im2col", "--execution", "stem=winograd2", "--format", "json")
    told = json.loads(hw("estimate", net, "-a", "eyeriss", *mixed)[1])
    assert [row["execution"] for row in told["layers"]] == ["winograd2", "im2col", "direct"]
    assert told["provenance"]["execution"]["asked"] == {"*": "im2col", "stem": "winograd2"}
    assert "execution" not in hw("estimate", net, "-a", "eyeriss")[1]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("down=winograd2", "layer 'down' cannot run as winograd2: its stride is 2 x 2. Let it run directly"),
        ("winograd", "unknown execution 'winograd'"),
        ("conv=vip", "unknown layer of net 'conv'"),
    ],
)
def test_wrong_executions_are_named(hw: Run, net: str, asked: str, text: str) -> None:
    code, _, err = hw("estimate", net, "-a", "eyeriss", "--execution", asked)
    assert (code, text in " ".join(err.split())) == (2, True)


def test_executions_side_by_side_and_in_a_mapping(hw: Run, net: str) -> None:
    out = hw("compare", net, "-a", "eyeriss", "--levels", "mid", "--executions", "direct,winograd2,auto")[1]
    assert "eyeriss/mid/row_stationary/winograd2" in out
    assert "eyeriss/mid/row_stationary/auto" in out
    out = hw("map", net, "--layer", "stem", "-a", "eyeriss", "--execution", "winograd4", "--quick")[1]
    assert out.startswith("stem, run as winograd4 (conv 108>288 4x1 g36) on eyeriss")
    _, _, err = hw("map", net, "--layer", "down", "-a", "eyeriss", "--execution", "winograd4")
    assert "layer 'down' cannot run as winograd4: its stride is 2 x 2" in " ".join(err.split())


def test_a_report_names_executions(hw: Run, net: str, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    page = tmp_path / "page.html"
    assert hw("estimate", net, "-a", "eyeriss", "--execution", "winograd4", "--html", str(page))[0] == 0
    text = page.read_text()
    assert "winograd4" in text
    assert "<th" in text
    assert "execution" in text


@pytest.mark.parametrize(("execution", "macs"), [("winograd2", 8 * 3 * 16 * 16 + 9216 + 1280), ("auto", 13824 + 9216 + 1280)])
def test_a_sweep_runs_layers_as_its_file_says(hw: Run, net: str, tmp_path: Path, execution: str, macs: int) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"networks: [net.yaml]\naccelerators: [eyeriss]\nlevels: [mid]\nexecution: {execution}\nobjective: energy\n"
    )
    code, _, err = hw("sweep", str(file), "-o", str(tmp_path / "runs"), "--jobs", "1")
    assert (code, "failed" in err) == (0, False)
    point = pandas.read_csv(tmp_path / "runs" / "results.csv").iloc[0]
    told = json.loads(
        hw("estimate", net, "-a", "eyeriss", "--execution", execution, "--objective", "energy", "--format", "json")[1]
    )
    assert point["energy_pj"] == pytest.approx(told["totals"]["energy_pj"])
    assert point["macs"] == macs
    file.write_text(file.read_text().replace(f"execution: {execution}", "execution: {stem: auto}"))
    _, _, err = hw("sweep", str(file), "-o", str(tmp_path / "more"))
    assert "execution is auto for some layers; in a sweep, one execution is chosen for all layers or none" in " ".join(
        err.split()
    )

"""`hwflow list`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.terminal import Run


def test_lists(hw: Run) -> None:
    assert "mobilenet_v2  " in hw("list", "networks")[1]
    assert "eyeriss_256  " in hw("list", "accelerators")[1]
    code, out, err = hw("list", "dataflows")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [
        "flexible",
        "output_stationary",
        "row_stationary",
        "weight_stationary",
    ]


def test_the_operations_of_a_network_in_the_order_that_is_assumed(hw: Run, tmp_path: Path) -> None:
    _, out, _ = hw("list", "operations", "resnet20")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["operation", "type", "reads", "writes", "(words)", "alive", "(words)"]
    # the addition reads what the normalisation and, long before, the first ReLU wrote
    assert lines[9] == ["8", "layer1.0", "Add", "layer1.0.bn2,", "relu", "16,384", "32,768"]
    told = json.loads(hw("list", "operations", "resnet20", "--format", "json")[1])
    assert told[8] == {
        "place": 8,
        "name": "layer1.0",
        "type": "Add",
        "reads": ["layer1.0.bn2", "relu"],
        "words": 16384,
        "words_alive": 32768,
    }
    assert hw("list", "operations")[2].startswith("hwflow: NETWORK is missing: 'hwflow list operations NETWORK' lists")
    assert "'hwflow list networks' takes no network; leave resnet20 out" in hw("list", "networks", "resnet20")[2]
    (tmp_path / "product.yaml").write_text("layers: [{name: p, type: matmul, C: 2, M: 2, P: 2}]")
    code, _, err = hw("list", "operations", str(tmp_path / "product.yaml"))
    assert (code, "it is not known which operator reads what" in err) == (2, True)


def test_the_operations_of_a_module_at_the_shape_of_its_input(hw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    (tmp_path / "listed_net.py").write_text("import torch\n\n\ndef net():\n    return torch.nn.Conv2d(1, 2, 3)\n")
    monkeypatch.chdir(tmp_path)
    assert "needs the shape of its input, batch first: --input" in hw("list", "operations", "listed_net:net")[2]
    assert "72" in hw("list", "operations", "listed_net:net", "--input", "1x1x8x8")[1].split()  # 2 x 6 x 6 words
    assert "'hwflow list networks' reads no network; leave it out" in hw("list", "networks", "--input", "1x1x8x8")[2]

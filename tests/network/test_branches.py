"""A model whose layers or sizes depend on the values of its input is traced for one input, and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwflow import Network, cli, estimate
from hwflow.reporting import write_costs
from hwflow.reporting.estimates.configuration import configuration
from tests.reporting.reading import Read


class Gate(nn.Module):
    """Takes the one or the other layer, as the given function of its input says."""

    def __init__(self, decide: Any) -> None:
        super().__init__()
        self.decide = decide
        self.narrow, self.wide = nn.Linear(4, 4), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Any:
        return self.wide(x) if self.decide(x) else self.narrow(x)


class Inside(nn.Module):
    """The gate in a module of a module."""

    def __init__(self, decide: Any) -> None:
        super().__init__()
        self.stem, self.gate = nn.Linear(4, 4), Gate(decide)

    def forward(self, x: Tensor) -> Any:
        return self.gate(self.stem(x))


VALUES = [
    (lambda x: x.mean() > 0, "_local_scalar_dense"),
    (lambda x: bool(x.any()), "_local_scalar_dense"),
    (lambda x: x.argmax().item() > 2, "_local_scalar_dense"),
    (lambda x: float(x.sum()) > 1, "_local_scalar_dense"),
    (lambda x: torch.equal(x, x + 1), "equal"),
    (lambda x: torch.is_nonzero(x.sum()), "_local_scalar_dense"),
    (lambda x: x.abs().sum().tolist() > 0, "tolist"),
    (lambda x: max(x[0].tolist()) > 0, "tolist"),
    (lambda x: x.numpy().max() > 0, "numpy"),
    (lambda x: np.asarray(x).max() > 0, "__array__"),
    (lambda x: len(torch.nonzero(x)) > 2, "nonzero"),
    (lambda x: len(x[x > 0]) > 2, "index"),
    (lambda x: len(torch.masked_select(x, x > 0)) > 2, "masked_select"),
    (lambda x: len(torch.unique(x)) > 2, "_unique2"),
]


@pytest.mark.parametrize(("decide", "op"), VALUES)
def test_a_branch_on_values_is_said(decide: Any, op: str) -> None:
    network = Network.from_torch(Inside(decide), (1, 4))
    assert [layer.name for layer in network.layers] in (["stem", "gate.narrow"], ["stem", "gate.wide"])
    notes = [note for note in network.notes if note.startswith("module 'gate' (Gate) depends on values of the input")]
    assert any(f"::{op})" in note for note in notes), network.notes
    assert "zeros unless a tensor was given" in notes[0]


@pytest.mark.parametrize(
    "decide",
    [
        lambda x: x.shape[0] > 1,
        lambda x: x.numel() > 2,
        lambda x: x.dim() == 2,
        lambda x: len(x[torch.tensor([0, 0])]) > 1,
        lambda x: torch.zeros(3).sum() > 0,
        lambda x: torch.equal(torch.ones(2), torch.ones(2)),
        lambda x: len(torch.nonzero(torch.eye(3))) > 2,
        lambda x: x.dtype == torch.float32,
    ],
)
def test_shapes_and_constants_decide_for_every_input(decide: Any) -> None:
    assert Network.from_torch(Gate(decide), (1, 4)).notes == ()


def test_a_tensor_of_the_users_own_decides() -> None:
    gate = Gate(lambda x: x.mean() > 0)
    zeros, ones = Network.from_torch(gate, (1, 4)), Network.from_torch(gate, torch.ones(1, 4))
    assert [layer.name for layer in (*zeros.layers, *ones.layers)] == ["narrow", "wide"]
    assert zeros.notes == ones.notes
    (note,) = ones.notes
    assert note.startswith("the model itself (Gate) depends on values of the input (aten::_local_scalar_dense): these are the ")
    assert note.endswith("zeros unless a tensor was given. Other inputs may execute others.")


def test_the_command_the_file_and_the_report_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
from torch import nn


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 8)

    def forward(self, x):
        return self.b(x) if x.mean() > 0 else self.a(x)
"""
    (tmp_path / "gate_example.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["estimate", "gate_example:Gate", "--input", "1x4", "-o", "out.json"])
    assert ended.value.code == 0
    assert "Gate: the model itself (Gate) depends on values of the input" in " ".join(capsys.readouterr().err.split())
    assert "depends on values" in json.loads(Path("out.json").read_text())["provenance"]["network_notes"][0]
    cost = estimate(Network.from_torch(Gate(lambda x: x.mean() > 0), (1, 4)), "eyeriss")
    assert "depends on values of the input" in Read(write_costs([configuration(cost)], tmp_path / "page.html")).text

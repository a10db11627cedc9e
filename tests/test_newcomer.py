"""A newcomer's first hour: thirty commands and twenty lines of Python, as typed, none of which may fail or show a traceback."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import hwflow
from hwflow import cli

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's older exporter

MODULE = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.conv2(self.conv1(x).relu()).relu()
        return self.head(x.mean((2, 3)))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(100, 16), nn.Linear(16, 4)

    def forward(self, input_ids, attention_mask):
        return self.head(self.embedding(input_ids) * attention_mask[..., None])
"""
CHIP = """
base: eyeriss
name: my_chip
pe_array.rows: 8
global_buffer.size_kib: 64
"""
LAYERS = """
name: mynet
layers:
  - {name: conv1, C: 3, M: 16, P: 16, Q: 16, R: 3, S: 3}
  - {name: fc, type: linear, C: 16, M: 10}
"""
SWEEP = """
networks: [layers.yaml]
accelerators:
  - base: eyeriss
    set: {pe_array.rows: [6, 12], global_buffer.size_kib: [54, 108]}
levels: [coarse, mid]
energy: fitted
"""

COMMANDS = [
    ("hwflow --version", "0."),
    ("hwflow --help", "estimate"),
    ("hwflow list networks", "resnet18"),
    ("hwflow list accelerators", "eyeriss"),
    ("hwflow list dataflows", "row_stationary"),
    ("hwflow list datasets", "digits"),
    ("hwflow show eyeriss", "global_buffer"),
    ("hwflow estimate resnet18", "no accelerator"),
    ("hwflow estimate resnet20 -a eyeriss", "resnet20 on eyeriss"),
    ("hwflow estimate resnet20 -a eyeriss --level coarse --batch 4", "batch 4"),
    ("hwflow estimate layers.yaml -a eyeriss --set pe_array.rows=24", "pe_array.rows=24"),
    ("hwflow estimate layers.yaml -a chip.yaml --bits 8,8", "8-bit weights"),
    ("hwflow estimate layers.yaml -a eyeriss -o costs.csv", ""),
    ("hwflow estimate layers.yaml -a eyeriss -o costs.json", ""),
    ("hwflow estimate layers.yaml -a eyeriss --format markdown", "| conv1"),
    ("hwflow estimate layers.yaml -a eyeriss --html costs.html", "mynet on eyeriss"),
    ("hwflow estimate mynets:Small --input 1x3x32x32 -a eyeriss", "conv2"),
    ("hwflow estimate mynets:Tokens --input int64:1x16 --input 1x16 -a eyeriss", "head"),
    ("hwflow estimate mynets:Tokens --input input_ids=int64:1x16 --input attention_mask=1x16", "head"),
    ("hwflow estimate small.onnx -a eyeriss", "conv2"),
    ("hwflow compare layers.yaml -a eyeriss,simba", "simba"),
    ("hwflow compare layers.yaml -a eyeriss --levels coarse,mid --html compare.html", "coarse"),
    ("hwflow map layers.yaml --layer conv1 -a eyeriss", "conv1"),
    ("hwflow map layers.yaml --layer conv1 -a eyeriss --objective energy -o map.yaml", "conv1"),
    ("hwflow render layers.yaml -a eyeriss -o rendered", ""),
    ("hwflow report costs.json", ""),
    ("hwflow cache info", ""),
    ("hwflow doctor", "eyeriss"),
    ("hwflow sweep sweep.yaml -o runs/sweep", "8 points, 0 failed"),
    ("hwflow report runs/sweep --static figures", ""),
]
FILES = [
    "costs.csv",
    "costs.json",
    "costs.html",
    "compare.html",
    "map.yaml",
    "runs/sweep/results.csv",
    "runs/sweep/report.html",
]

TRAINING = [
    ("hwflow train resnet20 --data digits --epochs 1 -o weights.pt", "Test accuracy"),
    (
        "hwflow prune resnet20 --data digits --weights weights.pt -a eyeriss --budget 0.6 --episodes 4 --epochs 1 -o runs/p",
        "held-out split (%)",
    ),
    ("hwflow report runs/p", ""),
]

PYTHON = """
import torch
import hwflow
from mynets import Small, Tokens
cost = hwflow.estimate("resnet20", "eyeriss")
print(cost, cost.energy_pj, cost.latency_s)
print(cost.to_frame()[["name", "energy_pj", "cycles"]].head())
chip = hwflow.Accelerator.load("eyeriss").with_({"pe_array.rows": 24})
print(hwflow.estimate("layers.yaml", chip).title)
print(hwflow.estimate(Small(), "chip.yaml", input_shape=(1, 3, 32, 32)))
print(hwflow.estimate(Tokens(), input_shape={"input_ids": "int64:1x16", "attention_mask": (1, 16)}, level="coarse"))
net = hwflow.Network.from_torch(Small(), (1, 3, 32, 32))
print(net, hwflow.Network.from_onnx("small.onnx").macs == net.macs)
print(hwflow.compare(net, ["eyeriss", "simba"]))
best = hwflow.map_layer(net["conv2"], chip)
best.mapping.to_timeloop("mapping.yaml")
table = hwflow.cost_table(net, "eyeriss", fill=False)
print(best, table.cost("conv2", M=8).cycles)
print(type(best.plot()).__name__, type(table.plot()).__name__, type(cost.plot("roofline")).__name__)
print(cost.to_html("page.html"))
print(len(hwflow.sweep("sweep.yaml", "runs/python")))
"""

PRUNING = """
import hwflow
network, history = hwflow.train("resnet20", "digits", epochs=1)
result = hwflow.prune(network, "digits", "eyeriss", budget=0.6, episodes=4, epochs=1, output="runs/python-prune")
print(result, result.plan)
print(type(result.plot()).__name__, type(hwflow.load_pruned("runs/python-prune", network)).__name__)
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of somebody who has a model, a chip, an ONNX file and a sweep in mind."""
    torch = pytest.importorskip("torch")
    for name, text in (("mynets.py", MODULE), ("chip.yaml", CHIP), ("layers.yaml", LAYERS), ("sweep.yaml", SWEEP)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sys.modules.pop("mynets", None)
    import mynets  # type: ignore[import-not-found]

    torch.onnx.export(mynets.Small().eval(), (torch.zeros(1, 3, 32, 32),), "small.onnx", dynamo=False)
    return tmp_path


def typed(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says; it must end well."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(line)[1:])
    out, err = capsys.readouterr()
    assert ended.value.code in (None, 0), f"{line}: {err}"
    assert "Traceback" not in out + err, line
    return out + err


def test_thirty_commands(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(COMMANDS) == 30
    for line, shown in COMMANDS:
        said = typed(line, capsys)
        assert shown in said, f"{line}\n{said}"
    assert [name for name in FILES if not (desk / name).is_file()] == []
    assert list((desk / "figures").glob("*.png"))
    assert list((desk / "rendered").glob("*/command.txt"))


def run(source: str, desk: Path) -> str:
    place = str(Path(hwflow.__file__).parents[1])
    argv = [sys.executable, "-W", "error::UserWarning", "-c", f"import sys; sys.path.insert(0, {place!r})\n{source}"]
    done = subprocess.run(argv, cwd=desk, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_twenty_lines_of_python(desk: Path) -> None:
    pytest.importorskip("plotly")
    assert len(PYTHON.strip().splitlines()) == 20
    said = run(PYTHON, desk)
    assert "<NetworkCost resnet20 on eyeriss, level mid" in said
    assert "mynet on eyeriss (pe_array.rows=24)" in said
    assert "Small on my_chip" in said
    assert "Figure Figure Figure" in said
    assert said.splitlines()[-1] == "8"


@pytest.mark.slow
def test_training_and_pruning_on_the_command_line(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, shown in TRAINING:
        assert shown in typed(line, capsys), line
    assert (desk / "runs" / "p" / "report.html").is_file()
    assert isinstance(hwflow.load_pruned(desk / "runs" / "p"), object)


@pytest.mark.slow
def test_training_and_pruning_in_python(desk: Path) -> None:
    pytest.importorskip("plotly")
    said = run(PRUNING, desk)
    assert "<PruneResult CifarResNet" in said
    assert "Figure" in said

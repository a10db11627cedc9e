# mypy: allow-subclassing-any
"""`python tools/folder_fixtures.py FOLDER`: write a sweep's and a pruning run's folder with the hwflow that is importable.

`tests/data/folders_8e21d58.tar.gz` was written with it by that commit (PYTHONPATH set to its tree, Timeloop not on PATH), the
last one before the packages were arranged anew. `tests/test_old_folders.py` reads them. Networks and weights are made here, so
that they are the same on every machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import hwflow
from hwflow.datasets import load_data
from hwflow.pruning import Budget, Hyperparameters, ProxySettings, Settings

NETWORK = """\
name: tiny
layers:
  - {name: conv1, C: 3, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: conv2, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
"""
SWEEP = """\
networks: [tiny.yaml]
accelerators:
  - base: eyeriss
    set: {pe_array.rows: [4, 12], dram.bandwidth_gb_s: [0.5, 2]}
levels: [coarse, mid]
energy: normalized
"""
SETTINGS = Settings(
    levels=("coarse",),
    budgets=(Budget("energy", 0.6),),
    episodes=3,
    agent=Hyperparameters(hidden=4, updates=1),
    proxy=ProxySettings(samples=40, batches=1, batch_size=40),
)


class Small(nn.Module):
    """Three convolutions for 8 x 8 images, with weights from a formula."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.inner, self.outer = nn.Conv2d(16, 24, 3, 1, 1), nn.Conv2d(24, 16, 1)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            for value in self.parameters():
                count = torch.arange(value.numel(), dtype=torch.float64)
                value.copy_((((count * 37 + 11) % 101 - 50) / 500).reshape(value.shape))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, [N, 10]."""
        x = self.norm(self.stem(x)).relu()
        x = self.outer(self.inner(x).relu()).relu()
        return self.head(x.mean((2, 3)))


def write(place: Path) -> None:
    """`sweep.yaml`, `tiny.yaml`, and the folders `sweep` and `prune`."""
    place.mkdir(parents=True)
    (place / "tiny.yaml").write_text(NETWORK, encoding="utf-8")
    (place / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    hwflow.sweep(place / "sweep.yaml", place / "sweep", store=False)
    chip = hwflow.Accelerator.load("eyeriss")
    hwflow.prune(Small(), load_data("digits"), chip, settings=SETTINGS, output=place / "prune", store=False)
    for made in (*place.rglob("report.html"), *place.rglob("*.onnx"), *place.rglob(".lock")):
        made.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]))

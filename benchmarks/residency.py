"""How long an estimate with tensors that stay on the chip takes from an empty store.

python -m benchmarks.residency [--jobs 1] [--networks resnet20,vit] [-o FILE.json]

Wall clock means little beside other work; processor time is what the estimate takes on one core that it has for itself, and
twice what it takes on two. Imports and the tracing of the network are not in it.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

import hwflow
from hwflow.cost.inputs import network_of
from hwflow.network import Network

NETWORKS = ("resnet20", "resnet56", "resnet18", "resnet50", "mobilenet_v2", "vit")
CHIPS = ("eyeriss", "tpu_like", "simba")


class Attention(nn.Module):  # type: ignore[misc]  # torch is not followed
    """A block of a vision transformer of the small size (Touvron et al., arXiv:2012.12877: 384 wide, 6 heads)."""

    def __init__(self, width: int = 384, heads: int = 6) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        parts = self.queries(self.before(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.out(mixed)
        return x + self.narrow(nn.functional.gelu(self.wide(self.after(x))))


class Vit(nn.Module):  # type: ignore[misc]
    """Twelve such blocks on 197 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.head = nn.Sequential(*(Attention() for _ in range(12))), nn.Linear(384, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x)[:, 0])


def network(name: str) -> Network:
    return Network.from_torch(Vit().eval(), (1, 197, 384), name="vit") if name == "vit" else network_of(name)


def seconds() -> float:
    """Of the processors, of this process and those that it began and that have ended."""
    return sum(r.ru_utime + r.ru_stime for r in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("-o", "--output", type=Path, help="write the record")
    options = parser.parse_args()
    rows = []
    print("| network | chip | wall clock (s) | processor time (s) | tensors that stay | proven |", "|---" * 6 + "|", sep="\n")
    for name in options.networks.split(","):
        whole = network(name)
        for chip in CHIPS:
            with tempfile.TemporaryDirectory() as folder:
                store = hwflow.Store(Path(folder) / "store.sqlite")
                wall, busy = time.perf_counter(), seconds()
                cost = hwflow.estimate(whole, chip, activations="resident", jobs=options.jobs, store=store)
                wall, busy = time.perf_counter() - wall, seconds() - busy
                store.close()
            told = cost.occupancy
            assert told is not None
            stay = f"{len(told.stayed)} of {len(told.tensors)}"
            print(f"| {name} | {chip} | {wall:.1f} | {busy:.1f} | {stay} | {'yes' if told.proven else 'no'} |", flush=True)
            row = {"network": name, "chip": chip, "wall_s": round(wall, 2), "processor_s": round(busy, 2)}
            rows.append(row | {"stay": len(told.stayed), "tensors": len(told.tensors), "proven": told.proven})
    if options.output:
        about = {"date": str(datetime.now(UTC).date()), "machine": platform.machine(), "jobs": options.jobs, "rows": rows}
        options.output.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

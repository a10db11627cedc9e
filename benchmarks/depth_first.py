"""High-resolution networks layer by layer, beside what is published of DepFiN, which runs them depth first.

    python -m benchmarks.depth_first [-o FILE.json]

DepFiN (Goetschalckx et al., IEEE JSSC 58(5), 2023, doi 10.1109/JSSC.2022.3210591) is not described in DeFiNES (Mei et al., HPCA
2023, arXiv:2212.05344), whose repository has networks and chips of its own. Here its FSRCNN and MC-CNN-fast run on its chip
Meta_prototype_DF with 1 MB for activations (`depth_first.yaml`), in normalised energies: with everything through DRAM, with
tensors that stay where they fit, and with a buffer so large that all do. `needed` is the traffic of inputs, weights and results
alone, each once, which no schedule undercuts.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hwflow
from hwflow.layers import Layer
from hwflow.network import Network

CHIP = Path(__file__).with_suffix(".yaml")
LARGE = {"activation_buffer.size_kib": 128 * 1024}


def _conv(name: str, inputs: int, outputs: int, height: int, width: int, kernel: int) -> Layer:
    return Layer(name, C=inputs, M=outputs, P=width, Q=height, R=kernel, S=kernel)


NETWORKS = {
    # sizes of inputs/WL/Meta_prototype/workload_fsrcnn.py, but for the last layer: 4 channels, a factor of 2, as DepFiN's
    "fsrcnn": [
        _conv("feature", 1, 56, 550, 970, 5),
        _conv("shrink", 56, 12, 550, 970, 1),
        _conv("map1", 12, 12, 548, 968, 3),
        _conv("map2", 12, 12, 546, 966, 3),
        _conv("map3", 12, 12, 544, 964, 3),
        _conv("map4", 12, 12, 542, 962, 3),
        _conv("expand", 12, 56, 542, 962, 1),
        _conv("up", 56, 4, 540, 960, 3),
    ],
    # inputs/WL/Meta_prototype/workload_mccnn.py
    "mc_cnn_fast": [
        _conv("conv1", 1, 64, 1248, 382, 3),
        _conv("conv2", 64, 64, 1246, 380, 3),
        _conv("conv3", 64, 64, 1244, 378, 3),
        _conv("conv4", 64, 64, 1242, 376, 3),
    ],
}
PUBLISHED = {
    "fsrcnn": {"off-chip features": 3.2e6, "source": "abstract of VLSI Circuits 2021: 2x super-resolution"},
    "mc_cnn_fast": {
        "TOPS/W without IO": 8.2,
        "TOPS/W with IO": 3.95,
        "largest gain of depth first": 18,
        "source": "abstract of JSSC 2022, 8 bit; 0.6 V, the gain at 0.65 V",
    },
}


def network(name: str) -> Network:
    """A chain, as a list of layers."""
    rows = [{"name": layer.name, **layer.dims} for layer in NETWORKS[name]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(json.dumps({"name": name, "layers": rows}), encoding="utf-8")
        return Network.from_yaml(path)


def measured(name: str) -> dict[str, Any]:
    """What hwflow says of a network."""
    net, chip = network(name), hwflow.Accelerator.load(CHIP)
    costs = {
        "dram": hwflow.estimate(net, chip, energy="normalized"),
        "resident": hwflow.estimate(net, chip, energy="normalized", activations="resident"),
        "all stays": hwflow.estimate(net, chip.with_(LARGE), energy="normalized", activations="resident"),
    }
    first, last = net.layers[0], net.layers[-1]
    found: dict[str, Any] = {
        "macs": costs["dram"].macs,
        "needed": first.words("inputs") + last.words("outputs") + costs["dram"].params,
        "largest tensor": max(layer.words("outputs") for layer in net.layers[:-1]),
        "published": PUBLISHED[name],
    }
    for way, cost in costs.items():
        share = sum(row.energy_by_level["dram"] for row in cost.rows) / (cost.energy_normalized or 1)
        assert cost.occupancy is not None or way == "dram"
        found[way] = {
            "off-chip features": cost.dram_bytes,
            "cycles": cost.cycles,
            "utilization": cost.utilization,
            "energy per MAC (normalised)": (cost.energy_normalized or 0) / cost.macs,
            "share of DRAM": share,
            "stay": len(cost.occupancy.stayed) if cost.occupancy else 0,
        }
    return found


def main() -> None:
    """Print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="write the record")
    options = parser.parse_args()
    record: dict[str, Any] = {
        "date": str(datetime.now(UTC).date()),
        "machine": platform.machine(),
        "hwflow": hwflow.__version__,
        "networks": {name: measured(name) for name in NETWORKS},
    }
    print(
        "| network | schedule | off-chip (M features) | cycles (M) | utilization | energy a MAC | of it DRAM |",
        "|---" * 7 + "|",
        sep="\n",
    )
    for name, found in record["networks"].items():
        for way in ("dram", "resident", "all stays"):
            cost = found[way]
            energy, share = cost["energy per MAC (normalised)"], cost["share of DRAM"]
            print(
                f"| {name} | {way} | {cost['off-chip features'] / 1e6:.1f} | {cost['cycles'] / 1e6:.1f} | "
                f"{100 * cost['utilization']:.0f} % | {energy:.1f} | {100 * share:.0f} % |"
            )
        print(f"| {name} | needed | {found['needed'] / 1e6:.1f} | | | | |")
    if options.output:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

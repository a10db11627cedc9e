"""Chains of layers whose tensors between them stay on the chip: hwflow's optimum beside AccelForge's fused one.

    python -m benchmarks.fusion [--python .venv/accelforge/bin/python] [--chains resnet20_pair] [--no-search] [-o FILE.json]

Both search on the chip of `benchmarks.rivals.chip`, each by its own model, for the least energy. hwflow's mappings are judged
by AccelForge's model, too; the loop trees that AccelForge finds are in the record. Convolutions are without padding, so that
one layer's output is the next one's input; loops divide their dimensions, as AccelForge's do.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hwflow
from benchmarks.rivals.chip import shared_chip, to_request
from benchmarks.rivals.nest import express
from benchmarks.rivals.outputs import from_accelforge
from benchmarks.rivals.tools import RIVALS, answers
from hwflow.cost import mid
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Memory
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import Layer, Tensor
from hwflow.mapping import Mapping
from hwflow.network import Network

CHAINS = {
    "resnet20_pair": (
        Layer("conv1", C=16, M=16, P=32, Q=32, R=3, S=3),
        Layer("conv2", C=16, M=16, P=30, Q=30, R=3, S=3),
    ),
    "pointwise_pair": (
        Layer("expand", C=16, M=96, P=16, Q=16),
        Layer("project", C=96, M=24, P=16, Q=16),
    ),
    "mobilenet_block": (
        Layer("expand", C=64, M=384, P=16, Q=16),
        Layer("depthwise", G=384, C=1, M=1, P=14, Q=14, R=3, S=3),
        Layer("project", C=384, M=64, P=14, Q=14),
    ),
}


def network(name: str) -> Network:
    """A chain as a list of layers, each of which reads what the one before it wrote."""
    rows = [{"name": la.name, **la.dims} for la in CHAINS[name]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(json.dumps({"name": name, "layers": rows}), encoding="utf-8")
        return Network.from_yaml(path)


def ours(name: str, chip: Accelerator) -> dict[str, hwflow.NetworkCost]:
    """hwflow's answers."""
    options: dict[str, Any] = {"objective": "energy", "energy": "recorded", "ragged": False}
    return {way: hwflow.estimate(network(name), chip, activations=way, **options) for way in ("dram", "resident")}


def given(name: str, cost: hwflow.NetworkCost, chip: Accelerator, table: EnergyTable) -> dict[str, Any]:
    """hwflow's mappings of a chain, and which memories hold what of it all the time: tensor i is what layer i reads."""
    layers, count = CHAINS[name], len(CHAINS[name])
    mappings = [Mapping.from_directives([dict(entry) for entry in row.mapping or ()], chip) for row in cost.rows]
    rows = to_request(chip, table, layers, mappings, {})["layers"]
    kept = {i + 1 for i, row in enumerate(cost.rows) if "outputs" in row.resident}
    home = cost.occupancy.stayed[0].memory if cost.occupancy and cost.occupancy.stayed else None
    shared = {chip.dram.name: [f"T{i}" for i in range(count + 1) if i not in kept] + [f"W{i}" for i in range(count)]}
    if home is not None:
        shared[home] = [f"T{i}" for i in sorted(kept)]
    return {"layers": rows, "shared": shared}


def judged(name: str, tree: Sequence[Any], chip: Accelerator, table: EnergyTable) -> dict[str, float] | str:
    """hwflow's verdict on AccelForge's loop tree, energy (pJ) and cycles; where layers share loops, why there is none.

    A tensor that a memory does not hold bypasses it; one that is never in DRAM stays on the chip.
    """
    shared = [["storage", *node[1:]] for node in tree[1:] if node[0] == "storage"]
    parts = [node for node in tree[1:] if node[0] == "Sequential"]
    if len(parts) != 1 or any(child[0] != "Nested" for child in parts[0][1:]):
        return "layers share loops, which hwflow does not model"
    energy, cycles = 0.0, 0
    for i, (layer, child) in enumerate(zip(CHAINS[name], parts[0][1:], strict=True)):
        own: dict[str, Tensor] = {f"T{i}": "inputs", f"W{i}": "weights", f"T{i + 1}": "outputs"}
        nodes: list[list[Any]] = []
        for kind, *rest in (*shared, *child[1:]):
            if kind == "storage":
                nodes.append([kind, rest[0], [own[t] for t in rest[1] if t in own]])
            elif kind == "temporal":
                nodes.append([kind, rest[0][0], rest[1]])
            elif kind == "spatial":
                nodes.append([kind, rest[0], rest[1][0], rest[2]])
        kept: dict[str, list[Tensor]] = {}
        for node in nodes:
            if node[0] == "storage":
                kept.setdefault(node[1], []).extend(node[2])
        resident = tuple(tensor for tensor in own.values() if tensor not in kept[chip.dram.name])
        nodes.insert(0, ["storage", chip.dram.name, list(resident)])
        found = express(from_accelforge({"nest": nodes}, layer, keeping(chip, kept)), layer, keeping(chip, kept), table)
        dram, *levels = found.mapping.levels
        stored = replace(dram, keeps=tuple(tensor for tensor in dram.keeps if tensor not in resident))
        cost = mid.analyse(layer, found.accelerator, Mapping((stored, *levels)), found.table)
        assert cost.energy is not None
        assert cost.cycles is not None
        energy, cycles = energy + cost.energy, cycles + cost.cycles
    return {"energy": energy, "cycles": cycles}


def keeping(chip: Accelerator, kept: MappingABC[str, Sequence[Tensor]]) -> Accelerator:
    """The chip whose memories hold these tensors alone, DRAM all."""
    parts = [
        part.model_copy(update={"keeps": tuple(t for t in part.keeps if t in kept.get(part.name, ()))})
        if isinstance(part, Memory) and part.kind != "dram"
        else part
        for part in chip.hierarchy
    ]
    content = chip.model_dump(exclude_none=True) | {"hierarchy": [part.model_dump(exclude_none=True) for part in parts]}
    return Accelerator.from_dict(content)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "search": not options.no_search,
        "metric": "ENERGY",
        "explore_loop_orders": options.loop_orders,
        "max_fused_loops": options.fused_loops,
        "objective_tolerance": options.tolerance,
    }


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, default=RIVALS["accelforge"].python("accelforge"))
    parser.add_argument("--chains", default=",".join(CHAINS))
    parser.add_argument("--loop-orders", action="store_true", help="AccelForge: explore loop orders, too (its default, slow)")
    parser.add_argument("--no-search", action="store_true", help="only judge hwflow's mappings by AccelForge's model")
    parser.add_argument("--fused-loops", type=int, default=1, help="AccelForge: the most loops that layers share")
    parser.add_argument("--tolerance", type=float, default=0.0, help="AccelForge: its objective_tolerance")
    parser.add_argument("-o", "--output", type=Path, help="write the record")
    options = parser.parse_args()
    chip, table = shared_chip()
    names = options.chains.split(",")
    found = {name: ours(name, chip) for name in names}
    request = to_request(chip, table, (), (), _settings(options))
    request["chains"] = [
        {"name": name, "given": {way: given(name, cost, chip, table) for way, cost in found[name].items()}} for name in names
    ]
    rows = answers(options.python, "run_fused.py", request)
    record: dict[str, Any] = {
        "date": str(datetime.now(UTC).date()),
        "machine": platform.machine(),
        "hwflow": hwflow.__version__,
        "tool": next(rows),
        "settings": _settings(options),
        "chains": {},
    }
    for row in rows:
        mine = {way: {"energy": cost.energy_pj, "cycles": cost.cycles} for way, cost in found[row["name"]].items()}
        if "mapping" in row:
            row["judged"] = judged(row["name"], row["mapping"], chip, table)
        record["chains"][row["name"]] = {"hwflow": mine, "accelforge": row}
        print(json.dumps({row["name"]: {**mine, **{k: v for k, v in row.items() if k != "name"}}}), flush=True)
    if options.output:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

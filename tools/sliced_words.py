"""Timeloop's input in which it counts bits natively: every element as several words, the slices of an element.

Timeloop knows one word for all tensors of a level. So an element of b bits becomes b / g words of g bits: three dimensions of
the problem, one for each tensor, number the slices, and the innermost fan-out spreads all of them over MAC units that share
what they read. Then counts, room, bandwidth and accesses of shared memories are Timeloop's own; only MACs are more than there
are, each at a fraction of the energy. Links between the MACs of one element are none of the chip's: run it without
(TIMELOOP_DISABLE_LINK_TRANSFERS=1).
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Memory
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.stored_bits import stored_bits
from hwflow.layers import TENSORS, Layer
from hwflow.mapping import Mapping
from hwflow.timeloop.render import render

SLICES = ("X", "Y", "Z")  # of weights, inputs, outputs


def sliced(layer: Layer, accelerator: Accelerator, mapping: Mapping, table: EnergyTable) -> dict[str, str] | None:
    """Files for timeloop-model, or None where slices cannot say it: sums and complete outputs of two widths, or odd ones.

    Args:
        accelerator: the one that serves the layer; nothing lies between its innermost memory and the MAC units.
    """
    assert layer.bits is not None
    counts = [bits // math.gcd(*layer.bits) for bits in layer.bits]
    files = render(layer, accelerator, (), table, mapping=mapping)
    content = {name: yaml.safe_load(text) for name, text in files.items()}
    local = content["architecture.yaml"]["architecture"]["subtree"][0]["local"]
    for memory in accelerator.memories:
        per_row = _slices_per_row(memory, layer, counts)
        if per_row is None:
            return None
        level = next(part for part in local if _name(part) == memory.name)
        rate = per_row / memory.block_words
        level["attributes"] |= {"width": per_row, "datawidth": 1, "block_size": per_row}
        level["attributes"] |= {k: v * rate for k, v in level["attributes"].items() if k.endswith("_bandwidth")}
        if memory.depth is not None:
            level["attributes"]["depth"] = memory.depth
    units, mac = math.prod(counts), local[-1]
    mac["attributes"]["meshX"] *= units
    mac["name"] = f"{accelerator.mac.name}[1..{accelerator.mac_units * units}]"
    for file in ("ERT", "ART"):
        content[f"{file}.yaml"][file]["tables"][-1]["name"] = f"system.{mac['name']}"
    for action in content["ERT.yaml"]["ERT"]["tables"][-1]["actions"]:
        action["energy"] /= units
    problem = content["problem.yaml"]["problem"]
    problem["shape"]["dimensions"] += SLICES
    for space, dim in zip(problem["shape"]["data_spaces"], SLICES, strict=True):
        space["projection"].append([[dim]])
    problem["instance"] |= dict(zip(SLICES, counts, strict=True))
    directives: list[dict[str, Any]] = content["mapping.yaml"]["mapping"]
    for directive in directives:
        if "factors" in directive:
            directive["factors"] += " X=1 Y=1 Z=1"
            directive["permutation"] += "".join(SLICES)
    ones = " ".join(f"{d}=1" for d in "NGCMPQRS")
    factors = f"{ones} {' '.join(f'{d}={n}' for d, n in zip(SLICES, counts, strict=True))}"
    last = {"target": accelerator.memories[-1].name, "type": "spatial", "factors": factors}
    directives.append({**last, "permutation": "NGCMPQRSXYZ", "split": 11})
    return {name: yaml.safe_dump(data, sort_keys=False, default_flow_style=None) for name, data in content.items()}


def _slices_per_row(memory: Memory, layer: Layer, counts: list[int]) -> int | None:
    """How many slices an access of a memory moves."""
    stored = stored_bits(memory, layer)
    kept = [TENSORS.index(t) for t in memory.keeps]
    found = {memory.width_bits * counts[t] / stored.own[t] for t in kept}
    if any(stored.own[t] != stored.sums[t] for t in kept) or len(found) > 1:
        return None
    per_row = found.pop()
    return int(per_row) if per_row == int(per_row) else None


def _name(part: dict[str, Any]) -> str:
    return str(part["name"]).partition("[")[0]

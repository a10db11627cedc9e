"""Winograd products whose positions differ in their zeros, computed in parts: one for the positions of equal density.

Timeloop knows one density of each tensor of a problem. At each position of a tile a Winograd product is a product of its own,
with weights, inputs and outputs of its own, so that the positions of one density, run by themselves, are a problem to which
that density applies: nothing is averaged. The parts run one after the other, and the layer's cost is their sum. What has no
weights left is not run. (Parts: ours.)

Without this the product is costed as one problem with the mean of all densities, as where layers of a network depend on one
another (`CostOptions.whole_network`). Then tiles without any weight, which a position with few has many of, are not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Densities, Layer
from hwflow.results import Accesses, LayerCost
from hwflow.types import Tensor

APART = "positions of different densities run one after the other, and those without weights not at all"


def differs(layer: Layer) -> bool:
    """Whether the row is a product whose positions have densities of their own.

    A product has its tiles along P, and Q is 1. A convolution of 1 x 1 with as many groups, to which `*` gave these densities
    too, has outputs of two axes; only where it has a single row of them can it not be told apart.
    """
    positions = layer.position_densities
    product = layer.R == layer.S == layer.Q == 1
    return positions is not None and len(positions) == layer.G > 1 and product


def parts_of(layer: Layer, accelerator: Accelerator | None) -> tuple[Layer, ...]:
    """What is computed of a layer: positions of equal density together, the densest first, on a chip that does something about
    zeros; on another one the layer, of which it sees no density."""
    if accelerator is None or not accelerator.sparse:
        known = layer.densities is not None or layer.position_densities is not None
        return (layer.with_(densities=None, position_densities=None) if known else layer,)
    if not differs(layer):
        return (layer,)
    positions = layer.position_densities
    assert positions is not None
    others = layer.densities or Densities()
    found: list[Layer] = []
    for share in sorted(set(positions) - {0.0}, reverse=True):
        count = positions.count(share)
        name = f"{layer.name} ({count} of {layer.G} positions, density {share:.3g})"
        bias = 0 if found else layer.params_other
        own = others._replace(weights=share)
        found.append(layer.with_(name=name, G=count, densities=own, position_densities=None, params_other=bias))
    return tuple(found)


def merged(layer: Layer, parts: Sequence[LayerCost], accelerator: Accelerator) -> LayerCost:
    """A layer's row from those of its parts, which run one after the other; it has no mapping of its own.

    Accesses are per instance of the most that a part uses.
    """
    first = parts[0]
    if len(parts) == 1 and first.layer.G == layer.G:
        return replace(first, layer=layer)
    cycles, slowest = sum(part.cycles or 0 for part in parts), max(parts, key=lambda part: part.cycles or 0)
    names = dict.fromkeys(name for part in parts for name in part.utilized_instances)
    instances = {name: max(part.utilized_instances.get(name, 0.0) for part in parts) or 1.0 for name in names}
    return replace(
        first,
        layer=layer,
        energy=sum(part.energy or 0.0 for part in parts),
        energy_by_level={
            name: sum(part.energy_by_level.get(name, 0.0) for part in parts)
            for name in dict.fromkeys(name for part in parts for name in part.energy_by_level)
        },
        cycles=cycles,
        latency_s=cycles * accelerator.cycle_s,
        bound_by=slowest.bound_by,
        utilization=layer.macs / (cycles * accelerator.mac_units),
        dram_bytes=sum(part.dram_bytes for part in parts),
        seconds=sum(part.seconds for part in parts),
        accesses=_accesses(parts, instances),
        utilized_instances=instances,
        mapping=None,
        note="; ".join(dict.fromkeys([*(note for part in parts for note in part.note.split("; ") if note), APART])),
        proven_optimal=None,
        bound=None,
        perfect_bound=None,
    )


def _accesses(parts: Sequence[LayerCost], instances: Mapping[str, float]) -> Accesses:
    """The sums of all parts, for each of so many instances."""
    found: dict[str, dict[Tensor, dict[str, float]]] = {}
    for part in parts:
        for name, tensors in part.accesses.items():
            weight = part.utilized_instances.get(name, 1.0) / instances.get(name, 1.0)
            for tensor, counts in tensors.items():
                sums = found.setdefault(name, {}).setdefault(tensor, {})
                for kind, count in counts.items():
                    sums[kind] = sums.get(kind, 0.0) + count * weight
    return found


__all__ = ["APART", "differs", "merged", "parts_of"]

"""Timeloop's native input (format 0.4) for one layer, from the descriptions that all levels share.

Everything that can change a result is in the text, nothing else is: names of layers and networks do not appear, so equal work
has equal input. The energy and area tables are part of the input, so that Timeloop never asks Accelergy by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator, Level, Memory
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import TENSORS, Dim, Layer, Tensor
from hwflow.mapping import TIMELOOP_TENSORS, Mapping
from hwflow.timeloop import permutations
from hwflow.timeloop.importer.translation import directives_of, energies_of
from hwflow.timeloop.templates import fill

METRICS: dict[str, str] = {"energy": "energy", "latency": "delay", "edp": "edp"}
"""hwflow's names of the objectives and Timeloop's."""

_DIMS: tuple[Dim, ...] = ("C", "M", "R", "S", "N", "P", "Q", "G")
_COEFFICIENTS: dict[Dim, str] = {"P": "Wstride", "Q": "Hstride", "R": "Wdilation", "S": "Hdilation"}
_CLASSES = {"dram": "DRAM", "sram": "SRAM", "regfile": "regfile"}


@dataclass(frozen=True)
class SearchSettings:
    """Settings of `timeloop-mapper`. All of them, the number of threads included, change what it finds.

    `victory_condition`: valid mappings in a row that bring no improvement, after which a thread stops. `timeout`: invalid
    mappings in a row, after which it gives up. `search_size`: valid mappings in total, 0 for no limit.
    """

    algorithm: Literal["random_pruned", "random", "linear_pruned", "exhaustive", "hybrid"] = "random_pruned"
    threads: int = 2
    victory_condition: int = 500
    timeout: int = 30000
    search_size: int = 0
    max_permutations_per_if_visit: int = 16


def render(
    layer: Layer,
    accelerator: Accelerator,
    constraints: Sequence[LevelConstraint],
    table: EnergyTable,
    *,
    mapping: Mapping | None = None,
    objective: str = "edp",
    search: SearchSettings | None = None,
) -> dict[str, str]:
    """The input files for one layer, by name: for `timeloop-model` where a mapping is given, otherwise for `timeloop-mapper`.

    Raises:
        InputError: where the objective is unknown, the mapping is not one of this layer, or a size exceeds what Timeloop reads.
    """
    if objective not in METRICS:
        raise InputError(f"objective is {objective!r}; allowed: {', '.join(METRICS)}.")
    files = {
        "architecture.yaml": _architecture_text(accelerator),
        "problem.yaml": fill("problem.yaml.j2", _problem(layer)),
        "ERT.yaml": fill("ERT.yaml.j2", {"unit": table.unit, "parts": _energies(accelerator, table)}),
        "ART.yaml": fill("ART.yaml.j2", {"parts": _energies(accelerator, table)}),
    }
    own = accelerator if isinstance(accelerator, TimeloopAccelerator) else None
    if own:
        files |= own.extra
    if mapping is not None:
        mapping.check(layer, accelerator)
        files["mapping.yaml"] = fill("mapping.yaml.j2", {"directives": _directives(mapping, accelerator)})
        return files
    places = _places(accelerator)
    targets = [dict(target) for target in own.targets] if own else _targets(constraints)
    if own or permutations.size(targets, layer, places) >= permutations.LARGEST:
        targets = permutations.fixed(targets, layer, places)
    files["constraints.yaml"] = fill("constraints.yaml.j2", {"targets": targets})
    settings = {"metric": METRICS[objective], "search": search or SearchSettings()}
    files["mapper.yaml"] = fill("mapper.yaml.j2", settings)
    return files


def command(files: dict[str, str]) -> list[str]:
    """The command that judges or searches, to be run inside the folder that holds `files`. No shell is needed."""
    return ["timeloop-model" if "mapping.yaml" in files else "timeloop-mapper", *files]


# Architecture --------------------------------------------------------------------------------------------------------


def _architecture_text(accelerator: Accelerator) -> str:
    if isinstance(accelerator, TimeloopAccelerator):
        return accelerator.architecture
    return fill("architecture.yaml.j2", _architecture(accelerator))


def _architecture(accelerator: Accelerator) -> dict[str, Any]:
    levels = [_level(level, accelerator) for level in accelerator.levels]
    mac = accelerator.mac
    x, y = _mac_mesh(accelerator)
    levels.append(
        {
            "component": _component(mac.name, x * y),
            "class": "intmac",
            "attributes": {"datawidth": mac.multiplier_bits, "meshX": x, "meshY": y},
        }
    )
    return {"technology_nm": accelerator.technology_nm, "cycle_s": accelerator.cycle_s, "levels": levels}


def _level(level: Level, accelerator: Accelerator) -> dict[str, Any]:
    mesh = {"meshX": level.mesh_x, "meshY": level.mesh_y}
    if level.memory is None:
        attributes: dict[str, Any] = {"depth": 1, "width": 1, "datawidth": 1, "block_size": 1}
        return {"component": _component(level.name, level.instances), "class": "dummy_storage", "attributes": attributes | mesh}
    memory = level.memory
    attributes = {
        "width": memory.width_bits,
        "datawidth": memory.word_bits,
        "block_size": memory.block_words,
        "n_banks": memory.banks,
        "n_ports": memory.ports,
    }
    if memory.depth is not None:
        attributes = {"depth": memory.depth} | attributes | {"multiple_buffering": memory.buffering}
    attributes |= _bandwidths(memory, accelerator)
    return {
        "component": _component(level.name, level.instances),
        "class": _CLASSES[memory.kind],
        "attributes": attributes | mesh,
    }


def _bandwidths(memory: Memory, accelerator: Accelerator) -> dict[str, float]:
    """Words per cycle and instance; what is not given is no bound."""
    words = {
        "read_bandwidth": memory.read_words_per_cycle,
        "write_bandwidth": memory.write_words_per_cycle,
        "shared_bandwidth": accelerator.words_per_cycle(memory),
    }
    return {name: value for name, value in words.items() if value is not None}


def _mac_mesh(accelerator: Accelerator) -> tuple[int, int]:
    """Columns and rows of all MAC units together."""
    last = accelerator.levels[-1]
    x = last.mesh_x * (last.fanout if last.axis == "X" else 1)
    y = last.mesh_y * (last.fanout if last.axis == "Y" else 1)
    return x, y


def _component(name: str, instances: int) -> str:
    return name if instances == 1 else f"{name}[1..{instances}]"


# Problem -------------------------------------------------------------------------------------------------------------


def _problem(layer: Layer) -> dict[str, Any]:
    values = (*layer.strides, *layer.dilations)
    coefficients = dict(zip(_COEFFICIENTS.values(), values, strict=True))
    spaces = [{"name": TIMELOOP_TENSORS[t], "projection": _projection(layer, t), "read_write": t == "outputs"} for t in TENSORS]
    instance: dict[str, int] = {d: layer.dims[d] for d in _DIMS}
    return {"dims": _DIMS, "coefficients": coefficients, "data_spaces": spaces, "instance": instance | coefficients}


def _projection(layer: Layer, tensor: Tensor) -> list[list[list[str]]]:
    """Axes of terms; a term is a dimension and, where it shares its axis, the name of its coefficient."""
    return [[[t.dim] if len(axis) == 1 else [t.dim, _COEFFICIENTS[t.dim]] for t in axis] for axis in layer.projections[tensor]]


# Constraints and mapping ---------------------------------------------------------------------------------------------


def _targets(constraints: Sequence[LevelConstraint]) -> list[dict[str, Any]]:
    targets: list[dict[str, Any]] = []
    for rule in constraints:
        kept = rule.level.memory.keeps if rule.level.memory else ()
        keep = [TIMELOOP_TENSORS[t] for t in TENSORS if t in kept]
        bypass = [TIMELOOP_TENSORS[t] for t in TENSORS if t not in kept]
        targets.append({"target": rule.level.name, "type": "bypass", "keep": keep, "bypass": bypass})
    for rule in constraints:
        temporal: dict[str, Any] = {"target": rule.level.name, "type": "temporal", **_ones(rule.temporal)}
        if rule.innermost:
            temporal["permutation"] = "".join(rule.innermost)
        if len(temporal) > 2:
            targets.append(temporal)
        if rule.level.fanout > 1:
            split = len(_DIMS) if rule.level.axis == "X" else 0
            targets.append({"target": rule.level.name, "type": "spatial", **_ones(rule.spatial), "split": split})
    return targets


def _places(accelerator: Accelerator) -> list[permutations.Place]:
    if isinstance(accelerator, TimeloopAccelerator):
        return [permutations.Place(place.name, place.fanout) for place in accelerator.places]
    axes = {"X": (1, 0), "Y": (0, 1), None: (0, 0)}
    return [
        permutations.Place(level.name, (max(level.fanout * x, 1), max(level.fanout * y, 1)))
        for level in accelerator.levels
        for x, y in [axes[level.axis]]
    ]


def _ones(allowed: tuple[Dim, ...]) -> dict[str, str]:
    fixed = " ".join(f"{d}=1" for d in _DIMS if d not in allowed)
    return {"factors": fixed} if fixed else {}


def _directives(mapping: Mapping, accelerator: Accelerator) -> list[dict[str, Any]]:
    """Without the spatial directives of fan-outs of 1, for which Timeloop knows no spatial level."""
    if isinstance(accelerator, TimeloopAccelerator):
        return directives_of(mapping, accelerator)
    spread = {level.name for level in accelerator.levels if level.fanout > 1}
    return [d for d in mapping.directives() if d["type"] != "spatial" or d["target"] in spread]


# Energy and area -----------------------------------------------------------------------------------------------------


def _energies(accelerator: Accelerator, table: EnergyTable) -> list[dict[str, Any]]:
    """One entry a component, the empty levels included: for a component that is missing Timeloop takes numbers of its own."""
    if isinstance(accelerator, TimeloopAccelerator):
        return energies_of(accelerator, table)
    entries = []
    for level in accelerator.levels:
        actions = dict.fromkeys(("read", "write", "update", "leak"), 0.0)
        area = 0.0
        if level.memory is not None:
            part = table.parts[level.name]
            actions = {"read": part.read, "write": part.write, "update": part.update, "leak": part.leak}
            area = part.area_um2 or 0.0
        entries.append({"component": _component(level.name, level.instances), "actions": actions, "area": area})
    x, y = _mac_mesh(accelerator)
    mac = table.parts[accelerator.mac.name]
    entries.append(
        {
            "component": _component(accelerator.mac.name, x * y),
            "actions": {"compute": mac.compute, "leak": mac.leak},
            "area": mac.area_um2 or 0.0,
        }
    )
    return entries

"""Timeloop's native input (format 0.4) for one layer, from the descriptions that all levels share.

Everything that can change a result is in the text, nothing else is: names of layers and networks do not appear, so equal work
has equal input. The energy and area tables are part of the input, so that Timeloop never asks Accelergy by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.counted_zeros import counts_zeros
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.stored_bits import accelerator_for_timeloop, widened
from hwflow.layers import TENSORS, Dim, Layer, Tensor
from hwflow.mapping import TIMELOOP_TENSORS, Mapping
from hwflow.timeloop.architecture import architecture_of
from hwflow.timeloop.sparse_optimizations import WRITTEN_ZEROS, optimizations
from hwflow.timeloop.templates import fill

METRICS: dict[str, str] = {"energy": "energy", "latency": "delay", "edp": "edp"}
"""hwflow's names of the objectives and Timeloop's."""

_DIMS: tuple[Dim, ...] = ("C", "M", "R", "S", "N", "P", "Q", "G")
_COEFFICIENTS: dict[Dim, str] = {"P": "Wstride", "Q": "Hstride", "R": "Wdilation", "S": "Hdilation"}


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

    Where tensors of several widths share a memory, Timeloop counts words of the widest; `hwflow.cost.fine` says what becomes of
    the counts.

    Raises:
        InputError: where the objective is unknown, the mapping is not one of this layer, or a size exceeds what Timeloop reads.
    """
    if objective not in METRICS:
        raise InputError(f"objective is {objective!r}; allowed: {', '.join(METRICS)}.")
    chip, zeros = accelerator_for_timeloop(accelerator, layer, judging=mapping is not None), counts_zeros(layer, accelerator)
    architecture = architecture_of(chip if zeros else chip.dense())
    energies = architecture.energies(widened(table, accelerator, layer))
    files = {
        "architecture.yaml": architecture.text,
        "problem.yaml": fill("problem.yaml.j2", _problem(layer, sparse=zeros)),
        "ERT.yaml": fill("ERT.yaml.j2", {"unit": table.unit, "parts": energies}),
        "ART.yaml": fill("ART.yaml.j2", {"parts": energies}),
        **architecture.extra,
    }
    if accelerator.sparsity is not None:
        files.pop(WRITTEN_ZEROS, None)  # of a chip from Timeloop's files, whose section `sparsity` says as well
    if accelerator.sparsity is not None and zeros:
        targets = optimizations(accelerator, layer, mapping)
        files["sparse_optimizations.yaml"] = fill("sparse_optimizations.yaml.j2", {"targets": targets})
    if mapping is not None:
        mapping.check(layer, accelerator)
        files["mapping.yaml"] = fill("mapping.yaml.j2", {"directives": architecture.directives(mapping)})
        return files
    files["constraints.yaml"] = fill("constraints.yaml.j2", {"targets": architecture.targets(constraints, layer)})
    settings = {"metric": METRICS[objective], "search": search or SearchSettings()}
    files["mapper.yaml"] = fill("mapper.yaml.j2", settings)
    return files


def command(files: dict[str, str]) -> list[str]:
    """The command that judges or searches, to be run inside the folder that holds `files`. No shell is needed."""
    return ["timeloop-model" if "mapping.yaml" in files else "timeloop-mapper", *files]


# Problem -------------------------------------------------------------------------------------------------------------


def _problem(layer: Layer, *, sparse: bool = False) -> dict[str, Any]:
    values = (*layer.strides, *layer.dilations)
    coefficients = dict(zip(_COEFFICIENTS.values(), values, strict=True))
    spaces = [{"name": TIMELOOP_TENSORS[t], "projection": _projection(layer, t), "read_write": t == "outputs"} for t in TENSORS]
    instance: dict[str, int] = {d: layer.dims[d] for d in _DIMS}
    content: dict[str, Any] = instance | coefficients
    if sparse and layer.densities is not None:
        content["densities"] = {
            TIMELOOP_TENSORS[t]: {"distribution": "fixed_structured", "density": share}
            for t, share in zip(TENSORS, layer.densities, strict=True)
        }
    return {"dims": _DIMS, "coefficients": coefficients, "data_spaces": spaces, "instance": content}


def _projection(layer: Layer, tensor: Tensor) -> list[list[list[str]]]:
    """Axes of terms; a term is a dimension and, where it shares its axis, the name of its coefficient."""
    return [[[t.dim] if len(axis) == 1 else [t.dim, _COEFFICIENTS[t.dim]] for t in axis] for axis in layer.projections[tensor]]

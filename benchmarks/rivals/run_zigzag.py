"""Runs in ZigZag's own interpreter: `python run_zigzag.py REQUEST.json` prints JSON lines, in ZigZag's terms:
about itself, of the given mapping, and of its own search.

Reads what `benchmarks.rivals.chip` wrote, knows nothing of hwflow, and decides nothing: chip, layers and the search's settings
are in the request.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from zigzag.mapping.spatial_mapping import MappingSingleOADim, SpatialMapping
from zigzag.mapping.temporal_mapping import TemporalMappingType
from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
from zigzag.stages.parser.workload_parser import WorkloadParserStage
from zigzag.stages.workload_iterator import WorkloadStage

OPERANDS = {"inputs": "I1", "weights": "I2", "outputs": "O"}
DIRECTIONS = {"read": {"I1": ["tl"], "I2": ["tl"], "O": ["tl", "th"]}, "write": {"I1": ["fh"], "I2": ["fh"], "O": ["fh", "fl"]}}
DIMS = {"N": "B", "G": "G", "C": "C", "M": "K", "P": "OX", "Q": "OY", "R": "FX", "S": "FY"}


class DividingUnrollings(SpatialMappingGeneratorStage):  # type: ignore[misc]  # untyped here: ZigZag is not installed
    """ZigZag's generator of unrollings, ranking unchanged, but with factors that divide the layer's sizes.

    As it is, it takes divisors of what fits on the array: 7 and 14 of 14 columns for 64 channels, but not 8. It has no option
    for the other.
    """

    nb_mappings_generated: int

    def generate_spatial_mapping_single_oa_dim(
        self, unroll_hints: set[Any], max_unrollings: dict[Any, int], oa_dim_size: int
    ) -> Iterator[MappingSingleOADim]:
        sizes = {d: int(n) for d, n in self.layer.layer_dim_sizes.items() if d in unroll_hints and n > 1}
        factors = [
            [f for f in (1, *self.non_trivial_divisors(n)) if f <= min(max_unrollings[d], oa_dim_size)]
            for d, n in sizes.items()
        ]
        for chosen in itertools.product(*factors):
            if math.prod(chosen) <= oa_dim_size:
                unrolled = {d: f for d, f in zip(sizes, chosen, strict=True) if f > 1}
                yield MappingSingleOADim(unrolled or {next(iter(sizes)): 1})

    def generate_spatial_mappings(self) -> Iterator[SpatialMapping]:
        wanted = self.nb_mappings_generated
        self.nb_mappings_generated = 16 * wanted  # some do not divide
        sizes = self.layer.layer_dim_sizes
        found = super().generate_spatial_mappings()
        whole = (m for m in found if all(n % m.get_total_unrolling_of_layer_dim(d) == 0 for d, n in sizes.items()))
        yield from itertools.islice(whole, wanted)


def port(name: str, kind: str, memory: dict[str, Any], bits_per_cycle: float) -> dict[str, Any]:
    """One port with all the movements that it carries. The cost of an access is that of `bits_per_cycle` bits."""
    kinds = ("read", "write") if kind == "read_write" else (kind,)
    operands = [OPERANDS[t] for t in memory["keeps"]]
    return {
        "name": name,
        "type": kind,
        "bandwidth_min": min(memory["access_bits"], int(bits_per_cycle)),
        "bandwidth_max": int(bits_per_cycle),
        "allocation": [f"{op}, {way}" for op in operands for k in kinds for way in DIRECTIONS[k][op]],
    }


def accelerator(chip: dict[str, Any]) -> dict[str, Any]:
    """ZigZag's description, memories innermost first as it wants them."""
    memories = {}
    for memory in reversed(chip["memories"]):
        bits = memory["bits_per_cycle"]
        if "shared" in bits:
            ports, widest = [port("rw_port_1", "read_write", memory, bits["shared"])], bits["shared"]
        else:
            ports = [port("r_port_1", "read", memory, bits["read"]), port("w_port_1", "write", memory, bits["write"])]
            widest = bits["read"]
        memories[memory["name"]] = {
            "size": memory["size_bits"] or 10**12,
            "r_cost": memory["read_energy"] * widest / memory["access_bits"],
            "w_cost": memory["write_energy"] * widest / memory["access_bits"],
            "area": 0.0,
            "latency": 1,
            "operands": [OPERANDS[t] for t in memory["keeps"]],
            "ports": ports,
            "served_dimensions": ["D1", "D2"] if memory["above_array"] else [],
        }
    array = {"unit_energy": chip["mac_energy"], "unit_area": 0.0, "dimensions": ["D1", "D2"]}
    return {
        "name": chip["name"],
        "memories": memories,
        "operational_array": array | {"sizes": [chip["columns"], chip["rows"]]},
    }


def workload(layer: dict[str, Any], bits: int) -> list[dict[str, Any]]:
    """One convolution without padding: the input is the hull that the window spans."""
    (sx, sy), (dx, dy) = layer["strides"], layer["dilations"]
    return [
        {
            "id": 0,
            "name": layer["name"],
            "operator_type": "Conv",
            "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
            "dimension_relations": [f"ix={sx}*ox+{dx}*fx", f"iy={sy}*oy+{dy}*fy"],
            "loop_dims": list(DIMS.values()),
            "loop_sizes": [layer["dims"][d] for d in DIMS],
            "operand_precision": {"I": bits, "W": bits, "O": bits, "O_final": bits},
            "operand_source": {"I": 0, "W": 0},
        }
    ]


def verdicts(layer: dict[str, Any], request: dict[str, Any], folder: Path, mapping: dict[str, Any]) -> Iterator[Any]:
    """ZigZag's verdicts on all mappings of one layer that it tries, within what `mapping` fixes."""
    settings = request["settings"]
    (folder / "mapping.yaml").write_text(yaml.safe_dump([{"name": "default", **mapping}]))
    stages = [
        AcceleratorParserStage,
        WorkloadStage,
        DividingUnrollings if settings["only_divisors"] and not mapping else SpatialMappingGeneratorStage,
        TemporalMappingGeneratorStage,
        CostModelStage,
    ]
    first = WorkloadParserStage(
        stages,
        workload=workload(layer, request["chip"]["word_bits"]),
        accelerator=str(folder / "accelerator.yaml"),
        mapping=str(folder / "mapping.yaml"),
        loma_lpf_limit=settings["loma_lpf_limit"],
        loma_show_progress_bar=False,
        nb_mappings_generated=settings["nb_mappings_generated"],
        enable_mix_spatial_mapping_generation=True,
        temporal_mapping_type=TemporalMappingType(settings["temporal_mapping_type"]),
        access_same_data_considered_as_no_access=False,  # as in Timeloop, every MAC reads its operands
    )
    return (found for found, _ in first.run())


def run(layer: dict[str, Any], request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """ZigZag's best mappings of one layer by EDP in its own model, the best one first; of those so far where time runs out."""
    cpu = time.process_time()
    best: list[dict[str, Any]] = []
    keep, ended = request["settings"]["candidates"], True
    for found in verdicts(layer, request, folder, {}):
        if time.process_time() - cpu > request["cap_s"]:
            ended = False
            break
        edp = found.energy_total * found.latency_total2
        if len(best) < keep or edp < best[-1]["edp"]:
            best = sorted([*best, {"edp": edp, **described(found)}], key=lambda c: c["edp"])[:keep]
    row = {"ended": ended, "cpu_seconds": time.process_time() - cpu, "candidates": best}
    return row if ended else row | {"ran_out_of": "time"}


def given(layer: dict[str, Any], request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """ZigZag's verdict on the given loops; it splits them over the memories by itself."""
    nest = layer["nest"]
    spatial: dict[str, list[str]] = {"D1": [], "D2": []}
    for _, axis, dim, bound in (n for n in nest if n[0] == "spatial"):
        spatial["D1" if axis == "columns" else "D2"].append(f"{DIMS[dim]}, {bound}")
    order = [[DIMS[dim], bound] for _, dim, bound in (n for n in nest if n[0] == "temporal")][::-1]
    try:
        mapping = {"spatial_mapping": {k: v or ["C, 1"] for k, v in spatial.items()}, "temporal_ordering": order}
        found = min(verdicts(layer, request, folder, mapping), key=lambda f: f.energy_total * f.latency_total2)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"energy": found.energy_total, "cycles": found.latency_total2}


def described(found: Any) -> dict[str, Any]:
    """One verdict of ZigZag's with its mapping."""
    names = {v: k for k, v in DIMS.items()}
    operands = {"W": "weights", "I": "inputs", "O": "outputs"}
    loops = {
        operands[op.name]: [[[names[dim.name], int(size)] for dim, size in level] for level in levels]
        for op, levels in found.temporal_mapping.mapping_dic_origin.items()
    }
    spatial = {
        axis.name: [[names[d.name], int(n)] for d, n in unrolled.items()]
        for axis, unrolled in found.layer.spatial_mapping.items()
    }
    return {"energy": found.energy_total, "cycles": found.latency_total2, "temporal": loops, "spatial": spatial}


def main() -> None:
    """Answer the request."""
    request = json.loads(Path(sys.argv[1]).read_text())
    logging.disable(logging.WARNING)
    print(json.dumps({"tool": "zigzag-dse", "version": version("zigzag-dse"), "python": sys.version.split()[0]}), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "accelerator.yaml").write_text(yaml.safe_dump(accelerator(request["chip"]), sort_keys=False))
        (layer,) = request["layers"]
        print(json.dumps({"given": given(layer, request, folder)}), flush=True)
        print(json.dumps(run(layer, request, folder)), flush=True)


if __name__ == "__main__":
    main()

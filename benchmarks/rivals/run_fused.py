"""Runs in AccelForge's own interpreter: `python run_fused.py REQUEST.json` prints one JSON object a chain, in its terms.

Reads what `benchmarks.fusion` wrote, as `run_accelforge.py` does for single layers: a cycle is its second, a picojoule its
joule. A chain is a cascade of Einsums, each of which reads what the one before it wrote.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import accelforge
import yaml
from accelforge.frontend.mapper.metrics import Metrics
from accelforge.mapper.FFM.main import map_workload_to_arch
from accelforge.model.main import evaluate_mapping
from accelforge.util.parallel import set_n_parallel_jobs
from run_accelforge import PREFIX, architecture, verdict  # type: ignore[import-not-found]  # of this folder


def fusing(chip: dict[str, Any]) -> str:
    """The chip, whose outermost memory need not keep what one Einsum writes and the next reads."""
    first = chip["memories"][0]
    text: str = architecture(chip)
    kept = json.dumps({"keep": " | ".join(first["keeps"])})
    assert text.count(kept) == 1
    return text.replace(kept, json.dumps({"keep": "~Intermediates", "may_keep": "All"}))


def cascade(chain: dict[str, Any], bits: int) -> str:
    """The layers as Einsums, without padding; tensor i is written by layer i - 1 and read by layer i."""
    einsums = []
    for i, layer in enumerate(chain["given"]["dram"]["layers"]):
        dims = {d: n for d, n in layer["dims"].items() if n > 1}
        grouped = "G" in dims

        def var(dim: str, number: int = i) -> str:
            return f"{dim.lower()}{number}"

        def axis(dim: str, kernel: str, known: dict[str, int] = dims, number: int = i) -> str:
            return " + ".join(f"{d.lower()}{number}" for d in (dim, kernel) if d in known)

        read = {f"C{i}": var("G" if grouped else "C"), f"X{i}": axis("P", "R"), f"Y{i}": axis("Q", "S")}
        written = {f"C{i + 1}": var("G" if grouped else "M"), f"X{i + 1}": var("P"), f"Y{i + 1}": var("Q")}
        weights = {f"W{i}{d}": var(d) for d in "GCMRS" if d in dims}
        einsums.append(
            {
                "name": f"layer{i}",
                "tensor_accesses": [
                    {"name": f"T{i}", "projection": read},
                    {"name": f"W{i}", "projection": weights},
                    {"name": f"T{i + 1}", "projection": written, "output": True},
                ],
                "iteration_space_shape": [f"0 <= {var(d)} < {n}" for d, n in dims.items()],
                "renames": {"input": f"T{i}", "weight": f"W{i}", "output": f"T{i + 1}"}
                | {"inputs": f"T{i}", "weights": f"W{i}", "outputs": f"T{i + 1}"},
            }
        )
    return yaml.safe_dump({"workload": {"bits_per_value": {"All": bits}, "einsums": einsums}}, sort_keys=False)


def given(chain: dict[str, Any]) -> str:
    """hwflow's mappings one after the other, under the memories in which their tensors stay between them."""
    count = len(chain["layers"])
    tensors = {(i, t): f"{'W' if t == 'weights' else 'T'}{i + (t == 'outputs')}" for i in range(count) for t in _TENSORS}
    lines = []
    for memory, held in chain["shared"].items():
        lines.append(f"  - !Storage {json.dumps({'component': PREFIX + memory, 'tensors': held})}")
    lines += ["  - !Sequential", "    nodes:"]
    for i, layer in enumerate(chain["layers"]):
        lines += ["    - !Nested", "      nodes:"]
        size = dict(layer["dims"])
        for kind, *rest in layer["nest"]:
            if kind == "storage":
                own = [tensors[i, t] for t in rest[1] if tensors[i, t] not in chain["shared"].get(rest[0], ())]
                if own:
                    lines.append(f"      - !Storage {json.dumps({'component': PREFIX + rest[0], 'tensors': own})}")
                continue
            *where, dim, bound = rest
            size[dim] = -(-size[dim] // bound)
            loop = {"rank_variable": f"{dim.lower()}{i}", "tile_shape": size[dim]}
            if kind == "spatial":
                lines.append(f"      - !Spatial {json.dumps(loop | {'name': where[0], 'component': 'array'})}")
            else:
                lines.append(f"      - !Temporal {json.dumps(loop)}")
        lines.append(f"      - !Compute {json.dumps({'einsum': f'layer{i}', 'component': 'mac'})}")
    return "\n".join(["mapping:", "  nodes:", *lines, ""])


_TENSORS = ("weights", "inputs", "outputs")


def run(chain: dict[str, Any], request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What AccelForge says of the given mappings of one chain, and its own best one."""
    settings = request["settings"]
    (folder / "workload.yaml").write_text(cascade(chain, request["chip"]["word_bits"]))
    (folder / "arch.yaml").write_text(fusing(request["chip"]))
    files = [str(folder / name) for name in ("arch.yaml", "workload.yaml")]
    answer: dict[str, Any] = {"name": chain["name"], "given": {}}
    for way, mappings in chain["given"].items():
        (folder / "mapping.yaml").write_text(given(mappings))
        try:
            asked = accelforge.Spec.from_yaml(*files, str(folder / "mapping.yaml"))
            asked.model.metrics = Metrics.ENERGY | Metrics.LATENCY
            answer["given"][way] = verdict(asked.evaluate_mapping().data)
        except Exception as error:
            answer["given"][way] = {"error": f"{type(error).__name__}: {error}"}
        print(f"{chain['name']}, {way}: {answer['given'][way]}", file=sys.stderr, flush=True)
    if settings["search"]:
        try:
            answer |= searched(files, settings, request["chip"])
        except Exception as error:
            answer["found"] = {"error": f"{type(error).__name__}: {error}"}
    return answer


def searched(files: list[str], settings: dict[str, Any], chip: dict[str, Any]) -> dict[str, Any]:
    """AccelForge's own best mapping: with the registers of a PE in each of their orders, of which it searches one a time."""
    shared, registers = ([m for m in chip["memories"] if m["above_array"] == above] for above in (True, False))
    start, orders = time.process_time(), []
    for order in itertools.permutations(registers):
        Path(files[0]).write_text(fusing(chip | {"memories": [*shared, *order]}))
        spec = accelforge.Spec.from_yaml(*files)
        spec.mapper.metrics = getattr(Metrics, settings["metric"])
        for name in ("explore_loop_orders", "max_fused_loops", "objective_tolerance"):
            setattr(spec.mapper, name, settings[name])
        found = map_workload_to_arch(spec, print_progress=False, eval_in_detail=False)
        best = found.data["Total<SEP>mapping"].iloc[0]
        judged = deepcopy(spec)
        judged.model.metrics = Metrics.ENERGY | Metrics.LATENCY
        judged.mapping = best(_for_model=True)
        own = evaluate_mapping(judged, flattened_arches=found.flattened_arches, evaluated_specs=found.evaluated_specs)
        orders.append({"found": verdict(own.data), "mapping": tree(best())})
        print([m["name"] for m in order], orders[-1]["found"], file=sys.stderr, flush=True)
    least = min(orders, key=lambda one: one["found"]["energy"])
    return {**least, "orders": len(orders), "cpu_seconds": time.process_time() - start}


def tree(node: Any) -> Any:
    """The loop tree, as nested lists of [kind, ...]; tile shapes as AccelForge has them."""
    kind = type(node).__name__
    if hasattr(node, "nodes"):
        return [kind, *(tree(child) for child in node.nodes)]
    if kind == "Spatial":
        return ["spatial", str(node.name), str(node.rank_variable), int(node.tile_shape)]
    if kind == "Temporal":
        return ["temporal", str(node.rank_variable), int(node.tile_shape)]
    if hasattr(node, "tensors"):
        return [kind.lower(), str(node.component).removeprefix(PREFIX), [str(t) for t in node.tensors]]
    return [kind.lower(), str(getattr(node, "einsum", ""))]


def main() -> None:
    """Answer the request."""
    request = json.loads(Path(sys.argv[1]).read_text())
    answer = sys.stdout
    print(json.dumps({"tool": "accelforge", "version": version("accelforge"), "python": sys.version.split()[0]}), flush=True)
    set_n_parallel_jobs(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # it writes a picture of every mapping into the working directory
        for chain in request["chains"]:
            sys.stdout = sys.stderr
            row = run(chain, request, folder)
            print(json.dumps(row), file=answer, flush=True)


if __name__ == "__main__":
    main()

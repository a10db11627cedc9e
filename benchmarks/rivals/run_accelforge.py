"""Runs in AccelForge's own interpreter: `python run_accelforge.py REQUEST.json` prints JSON lines, in its terms:
about itself, of the given mapping, and of its own search.

Reads what `benchmarks.rivals.chip` wrote, knows nothing of hwflow, and decides nothing: chip, layers and the search's settings
are in the request. AccelForge counts in seconds and joule; here a cycle is its second and a picojoule its joule.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import accelforge
import yaml
from accelforge.frontend.mapper.metrics import Metrics
from accelforge.frontend.mapping import Compute, Spatial, Storage, Temporal
from accelforge.mapper.FFM.main import map_workload_to_arch
from accelforge.model.main import evaluate_mapping
from accelforge.util.parallel import set_n_parallel_jobs

PREFIX = "at_"  # names that begin with global_ are AccelForge's own


def node(memory: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """One memory; its time is the longer of reading and writing, or their sum where they share its bandwidth."""
    bits = memory["bits_per_cycle"]
    if "shared" in bits:
        latency = f"sum(a.n_calls for a in actions) * {memory['access_bits']} / {bits['shared']}"
    else:
        latency = f"max(a.n_calls for a in actions) * {memory['access_bits']} / {bits['read']}"
    actions = [
        {"name": kind, "energy": memory[f"{kind}_energy"], "bits_per_action": memory["access_bits"], "throughput": "inf"}
        for kind in ("read", "write")
    ]
    return "Memory", {
        "name": PREFIX + memory["name"],
        "size": memory["size_bits"] or "inf",
        "leak_power": memory["leak"],
        "area": 0,
        "total_latency": latency,
        "tensors": {"keep": " | ".join(memory["keeps"])},
        "actions": actions,
    }


def architecture(chip: dict[str, Any]) -> str:
    """The chip as AccelForge's YAML, whose nodes are told apart by tags."""
    nodes = [node(m) for m in chip["memories"] if m["above_array"]]
    spatial = [{"name": axis, "fanout": chip[axis]} for axis in ("columns", "rows")]
    nodes.append(("Container", {"name": "array", "spatial": spatial}))
    nodes += [node(m) for m in chip["memories"] if not m["above_array"]]
    compute = [{"name": "compute", "energy": chip["mac_energy"], "throughput": 1}]
    nodes.append(("Compute", {"name": "mac", "leak_power": 0, "area": 0, "actions": compute}))
    lines = [f"  - !{tag} {json.dumps(fields)}" for tag, fields in nodes]
    return "\n".join(["arch:", "  nodes:", *lines, ""])


def index(dim: str, coefficient: int) -> str:
    return dim.lower() if coefficient == 1 else f"{coefficient} * {dim.lower()}"


def workload(layer: dict[str, Any], bits: int) -> str:
    """One convolution without padding: the input is the hull that the window spans."""
    (sx, sy), (dx, dy) = layer["strides"], layer["dilations"]
    dims = {d: n for d, n in layer["dims"].items() if n > 1}

    def axis(dim: str, stride: int, kernel: str, dilation: int) -> str | None:
        terms = [index(d, c) for d, c in ((dim, stride), (kernel, dilation)) if d in dims]
        return " + ".join(terms) or None

    def plain(names: str) -> dict[str, str]:
        return {d: d.lower() for d in names if d in dims}

    wide = {"X": axis("P", sx, "R", dx), "Y": axis("Q", sy, "S", dy)}
    accesses = [
        {"name": "inputs", "projection": {f"I{d}": e for d, e in {**plain("NGC"), **wide}.items() if e}},
        {"name": "weights", "projection": {f"W{d}": e for d, e in plain("GCMRS").items()}},
        {"name": "outputs", "projection": {f"O{d}": e for d, e in plain("NGMPQ").items()}, "output": True},
    ]
    einsum = {
        "name": "layer",
        "tensor_accesses": accesses,
        "iteration_space_shape": [f"0 <= {d.lower()} < {n}" for d, n in dims.items()],
        "renames": {"input": "inputs", "weight": "weights", "output": "outputs"},
    }
    return yaml.safe_dump({"workload": {"bits_per_value": {"All": bits}, "einsums": [einsum]}}, sort_keys=False)


def nest(mapping: Any) -> list[list[Any]]:
    """The loop tree of one layer, which is a path: [kind, ...], outermost first, tile shapes as AccelForge has them."""
    path: list[list[Any]] = []
    for found in mapping._flatten():
        if isinstance(found, Spatial):
            path.append(["spatial", str(found.name), str(found.rank_variable), int(found.tile_shape)])
        elif isinstance(found, Temporal):
            path.append(["temporal", str(found.rank_variable), int(found.tile_shape)])
        elif isinstance(found, Storage):
            path.append(["storage", str(found.component).removeprefix(PREFIX), [str(t) for t in found.tensors]])
        elif isinstance(found, Compute):
            path.append(["compute", str(found.component)])
    return path


def given(layer: dict[str, Any], dims: dict[str, int]) -> str:
    """The given mapping as AccelForge's YAML: a loop states the size of the tile that is left inside it."""
    size = dict(dims)
    lines = []
    for kind, *rest in layer["nest"]:
        if kind == "storage":
            fields = {"component": PREFIX + rest[0], "tensors": rest[1]}
            lines.append(f"  - !Storage {json.dumps(fields)}")
            continue
        *axis, dim, bound = rest
        size[dim] = -(-size[dim] // bound)
        loop = {"rank_variable": dim.lower(), "tile_shape": size[dim]}
        if kind == "spatial":
            lines.append(f"  - !Spatial {json.dumps(loop | {'name': axis[0], 'component': 'array'})}")
        else:
            lines.append(f"  - !Temporal {json.dumps(loop)}")
    compute = {"einsum": "layer", "component": "mac"}
    return "\n".join(["mapping:", "  nodes:", *lines, f"  - !Compute {json.dumps(compute)}", ""])


def verdict(data: Any) -> dict[str, float]:
    """Energy and cycles of the first mapping."""
    own = data.iloc[0]
    return {"energy": float(own["Total<SEP>energy"]), "cycles": float(own["Total<SEP>latency"])}


def run(request: dict[str, Any], folder: Path, file: Path) -> None:
    """AccelForge's best mapping for each order of registers that is not in the file yet, which is written after each.

    With its default settings a register's loops lie outside those of the registers listed after it. These are no hierarchy, so
    every order is a search.
    """
    settings, chip = dict(request["settings"]), request["chip"]
    shared, registers = ([m for m in chip["memories"] if m["above_array"] == above] for above in (True, False))
    orders = list(itertools.permutations(registers)) if settings.pop("register_orders") else [registers]
    for order in orders:
        names, candidates = [m["name"] for m in order], json.loads(file.read_text())
        if any(c["order"] == names for c in candidates):
            continue
        (folder / "arch.yaml").write_text(architecture(chip | {"memories": [*shared, *order]}))
        spec = accelforge.Spec.from_yaml(*(str(folder / name) for name in ("arch.yaml", "workload.yaml")))
        spec.mapper.metrics = Metrics.ENERGY_DELAY_PRODUCT
        for setting, value in settings.items():
            setattr(spec.mapper, setting, value)
        found = map_workload_to_arch(spec, print_progress=False, eval_in_detail=False)
        best = found.data["Total<SEP>mapping"].iloc[0]
        judged = deepcopy(spec)
        judged.model.metrics = Metrics.ENERGY | Metrics.LATENCY
        judged.mapping = best(_for_model=True)
        own = evaluate_mapping(judged, flattened_arches=found.flattened_arches, evaluated_specs=found.evaluated_specs)
        candidates.append(verdict(own.data) | {"order": names, "nest": nest(best())})
        new = file.with_suffix(".new")
        new.write_text(json.dumps(sorted(candidates, key=lambda c: c["energy"] * c["cycles"])))
        new.replace(file)


def said_of(layer: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What AccelForge says of the given mapping, or why it cannot."""
    (folder / "mapping.yaml").write_text(given(layer, layer["dims"]))
    try:
        asked = accelforge.Spec.from_yaml(*(str(folder / name) for name in ("arch.yaml", "workload.yaml", "mapping.yaml")))
        asked.model.metrics = Metrics.ENERGY | Metrics.LATENCY
        return verdict(asked.evaluate_mapping().data)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def searched(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The search in a process of its own, which is ended once it has used so many more CPU seconds, or so much memory.

    AccelForge has limits of its own, but they are of a single job of its search, and it lifts limits of the operating system.
    A thread could not watch it: some of its jobs hold the interpreter's lock for many minutes.
    """
    file = folder / "found.json"
    file.write_text(json.dumps(request["found"]))
    spent, reason = request["spent_s"], None
    child = os.fork()
    if child == 0:
        try:
            run(request, folder, file)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG if reason is None else 0)
        if done:
            break
        seconds, megabytes = used(child)
        if spent + seconds >= request["cap_s"] or megabytes >= request["memory_mb"]:
            reason = "time" if spent + seconds >= request["cap_s"] else "memory"
            os.kill(child, signal.SIGKILL)
        else:
            time.sleep(0.5)
    if status and reason is None:
        sys.exit("AccelForge's search failed.")
    row = {"ended": reason is None, "cpu_seconds": spent + usage.ru_utime + usage.ru_stime}
    return row | {"candidates": json.loads(file.read_text())} | ({} if reason is None else {"ran_out_of": reason})


def used(process: int) -> tuple[float, float]:
    """CPU seconds and MB of memory of a process, as `ps` prints them; zeros where it has just ended."""
    asked = subprocess.run(["ps", "-o", "time=,rss=", "-p", str(process)], capture_output=True, text=True, check=False)
    if not asked.stdout.split():
        return 0.0, 0.0
    clock, kilobytes = asked.stdout.split()
    days, _, rest = clock.rpartition("-")
    seconds = 0.0
    for part in rest.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds + 86_400 * int(days or 0), int(kilobytes) * 1e-3


def main() -> None:
    """Answer the request."""
    request = json.loads(Path(sys.argv[1]).read_text())
    answer = sys.stdout
    print(json.dumps({"tool": "accelforge", "version": version("accelforge"), "python": sys.version.split()[0]}), flush=True)
    set_n_parallel_jobs(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # it writes a picture of every mapping into the working directory
        (layer,), chip = request["layers"], request["chip"]
        sys.stdout = sys.stderr  # it prints, too
        (folder / "arch.yaml").write_text(architecture(chip))
        (folder / "workload.yaml").write_text(workload(layer, chip["word_bits"]))
        print(json.dumps({"given": said_of(layer, folder)}), file=answer, flush=True)
        row = searched(request, folder)
        print(json.dumps(row), file=answer, flush=True)


if __name__ == "__main__":
    main()

"""Coverage-guided inputs for the parsers that `test_parsers.py` fuzzes, by atheris; a wheel of it is on PyPI for Linux.

    python tests/fuzz/guided.py [TARGET ...] [--seconds 60]      (`make fuzz-guided`)

Each target starts from its whole input and runs in a process of its own for so many seconds. Anything but an answer or one of
hwflow's errors, or more than 20 seconds for one input, ends it; the input is kept beside its corpus in build/fuzz.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

from tests.fuzz.mutations import damaged_yaml, garbled

CORPUS = Path(__file__).resolve().parents[2] / "build" / "fuzz"

with atheris.instrument_imports(include=["hwflow"]):
    from hwflow.compression.plan_files import plan_from_file
    from hwflow.errors import HwflowError
    from hwflow.network import Network
    from hwflow.timeloop import stats
    from tests.fuzz.test_onnx import WHOLE
    from tests.fuzz.test_parsers import OUTPUTS, YAML, Parser, model

    for lazy in (
        "hwflow.network.from_onnx",
        "hwflow.network._onnx_graph",
        "hwflow.sweeping.description",
    ):  # imported where they are used
        importlib.import_module(lazy)

PLAN = {"network": "n", "groups": [{"name": "a", "channels": 16, "kept": 8, "producers": ["a"]}], "left_out": {}}
TARGETS: dict[str, tuple[Parser, Callable[[], bytes], str]] = {
    **{name: (parser, whole, f"{name}.yaml") for name, (parser, whole) in YAML.items()},
    "plan": (plan_from_file, lambda: json.dumps(PLAN).encode(), "plan.json"),
    "onnx": (Network.from_onnx, lambda: bytes(model().SerializeToString()), "net.onnx"),
    **{name: (Network.from_onnx, whole, "net.onnx") for name, whole in WHOLE.items()},
    "statistics": (
        lambda path: stats.read_stats(path.parent, "timeloop-model"),
        (OUTPUTS / "tiny" / "timeloop-model.stats.txt").read_bytes,
        "timeloop-model.stats.txt",
    ),
}
"""What is fuzzed, by name: the parser, a whole input, and the name of the file that holds it."""


def mutated(data: bytes, size: int, seed: int) -> bytes:
    """libFuzzer's change of bytes, `garbled`, or `damaged` where the bytes are YAML or JSON: one in three each."""
    change = (None, garbled, damaged_yaml)[seed % 3]
    changed = change(data, seed) if change else b""
    return changed if changed and len(changed) <= size else bytes(atheris.Mutate(data, size))


def guided(name: str, seconds: int) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    parser, whole, file = TARGETS[name]
    place = CORPUS / name
    (place / "corpus").mkdir(parents=True, exist_ok=True)
    (place / "corpus" / "whole").write_bytes(whole())
    path = place / file
    xml = "timeloop-model.map+stats.xml"
    if name == "statistics":
        (place / xml).write_bytes((OUTPUTS / "tiny" / xml).read_bytes())

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            parser(path)
        except HwflowError as error:
            assert str(error).strip()  # noqa: PT017  (not a test)

    limits = [f"-max_total_time={seconds}", "-timeout=20", "-max_len=65536", "-rss_limit_mb=4096", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={place}/", str(place / "corpus")], one, custom_mutator=mutated)
    atheris.Fuzz()


def main() -> None:
    """Run the targets one after the other; ends with 1 if any found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", action="store_true", help="the one target in this process")
    options = parser.parse_args()
    if options.here:
        guided(options.targets[0], options.seconds)
        return
    failed = []
    for name in options.targets or TARGETS:
        argv = [sys.executable, "-m", "tests.fuzz.guided", name, "--here", "--seconds", str(options.seconds)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        tried = [line for line in done.stdout.splitlines() if "number_of_executed_units" in line]
        inputs = tried[0].split()[-1] if tried else "?"
        print(f"{name:12}  {inputs:>9} inputs  {'nothing found' if not done.returncode else 'FOUND'}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-3000:], flush=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

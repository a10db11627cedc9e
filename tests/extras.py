"""Each extra alone: the wheel with it in an empty environment, outside the repository, and what it enables there.

    python tests/extras.py [--pythons python3.11,python3.12,python3.13] [--extras none,onnx,prune,...]      (`make extras`)

What needs PyTorch runs on the first Python only. Prints a line for each environment, and ends with 1 if any failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SWEEP = """\
networks: [resnet20]
accelerators: [{base: eyeriss, set: {global_buffer.size_kib: [54, 108]}}]
levels: [coarse, mid]
"""
ONNX = """\
import onnx
from onnx import TensorProto, helper
values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 8, 8]), ("y", [1, 4, 8, 8]))]
weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 3, 3], [0.0] * 108)
node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])
graph = helper.make_graph([node], "net", values[:1], values[1:], [weights])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), "net.onnx")
"""
COMMANDS: dict[str, list[str]] = {
    "none": ["hwflow estimate resnet18 --accelerator eyeriss --level mid", "hwflow doctor --quick"],
    "sdist": ["hwflow estimate resnet20 --accelerator eyeriss --level mid"],
    "onnx": ["python make_onnx.py", "hwflow estimate net.onnx --accelerator eyeriss"],
    "prune": [
        "hwflow train resnet20 --data digits --epochs 1 -o net.pt",
        "hwflow prune resnet20 --data digits --weights net.pt --accelerator eyeriss --metric energy --budget 0.5 "
        "--episodes 2 --epochs 1 -o runs/pruned",
        "python -c \"import hwflow; hwflow.load_pruned('runs/pruned')\"",
    ],
    "sweep": ["hwflow sweep sweep.yaml -o runs/sweep"],
    "report": ["hwflow estimate resnet20 --accelerator eyeriss --html page.html", "hwflow report runs/other -o other.html"],
    "ray": ["hwflow sweep sweep.yaml -o runs/ray --runner ray"],
    "docs": [f"python -m mkdocs build --quiet --strict -f {ROOT}/mkdocs.yml -d {{here}}/site"],
}
TORCH = {"prune"}


def runs(python: str) -> bool:
    """Whether there is such a Python; pyenv puts commands on PATH for all that it has, of which few may run."""
    return shutil.which(python) is not None and not subprocess.run([python, "-V"], capture_output=True, check=False).returncode


def tried(wheel: Path, python: str, extra: str, place: Path) -> str:
    """An empty string, or the command that failed with the end of what it printed."""
    here = place / f"{Path(python).name}-{extra}"
    here.mkdir()
    (here / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    (here / "make_onnx.py").write_text(ONNX, encoding="utf-8")
    if (swept := place / "swept").exists():
        shutil.copytree(swept, here / "runs" / "other")
    keep = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = {
        **keep,
        "PATH": f"{here}/venv/bin{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(here / "cache"),
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "NO_MKDOCS_2_WARNING": "1",
    }
    what = {"none": str(wheel), "sdist": str(next(wheel.parent.glob("*.tar.gz")))}.get(extra, f"{wheel}[{extra}]")
    steps = [f"{python} -m venv venv", f"venv/bin/pip install --quiet --no-compile --disable-pip-version-check '{what}'"]
    for step in [*steps, *COMMANDS[extra]]:
        argv = ["bash", "-c", step.replace("{here}", str(here))]
        done = subprocess.run(
            argv, cwd=here, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            return f"{step}\n{(done.stdout + done.stderr)[-2000:]}"
    if extra == "sweep" and not swept.exists():
        shutil.copytree(here / "runs" / "sweep", swept)
    shutil.rmtree(here)
    return ""


def main() -> None:
    """Build the wheel and try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", default="python3.11,python3.12,python3.13")
    parser.add_argument("--extras", default=",".join(COMMANDS))
    options = parser.parse_args()
    failed, pythons = 0, options.pythons.split(",")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run([sys.executable, "-m", "build", "--outdir", folder, str(ROOT)], check=True, capture_output=True)
        (wheel,) = place.glob("*.whl")
        for python in pythons:
            if not runs(python):
                print(f"{python:10}  left out: not on PATH, or it does not run", flush=True)
                continue
            for extra in sorted(options.extras.split(","), key=list(COMMANDS).index):  # sweep before report, which shows it
                if extra in TORCH and python != pythons[0]:
                    continue
                start = time.perf_counter()
                trouble = tried(wheel, python, extra, place)
                failed += bool(trouble)
                print(f"{Path(python).name:10}  {extra:6}  {'FAILED: ' + trouble if trouble else 'works'}  ", end="")
                print(f"{time.perf_counter() - start:.0f} s", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

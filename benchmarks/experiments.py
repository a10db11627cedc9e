"""The pruning experiments of the documentation: `python -m benchmarks.experiments` (`make experiments`) runs what is missing.

Every run is one `hwflow` command, which it prints. What was interrupted goes on, what is complete is left alone; so hours of
work can be spread over many calls. At the end come the tables of docs/pages/explanation/pruning-measured.md; `--tables FOLDER`
gives them alone, of the runs in a folder, and `--record FOLDER` copies there what they are made of. One thread each, so that
two runs side by side do not wait for one another: accuracies are the same bits only for one number of threads.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = "fashion-mnist"
HERE = Path("runs/experiments")
KEPT = ("config.json", "comparison.json", "metrics.json", "plan.json", "times.json", "tuning.json")


@dataclass(frozen=True)
class Run:
    """One command: `name` of its file or folder, and `arguments` without the output's."""

    name: str
    arguments: tuple[str, ...]

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        path = HERE / self.name
        return path.exists() if path.suffix else (path / "metrics.json").exists()

    @property
    def command(self) -> list[str]:
        """What to call; a pruning run that was begun goes on."""
        path = HERE / self.name
        resume = ["--resume"] if (path / "config.json").exists() else []
        return ["hwflow", *self.arguments, "-o", str(path), *resume]


def training(network: str, epochs: int) -> Run:
    """The unpruned network."""
    return Run(f"{network}.pt", ("train", network, "--data", DATA, "--epochs", str(epochs), "--seed", "0"))


def pruning(network: str, name: str, budget: str, *more: str) -> Run:
    """A network pruned on eyeriss at mid; in steps of 4 channels, since steps of 8 leave a layer of 16 two widths."""
    about = (
        "prune",
        network,
        "--data",
        DATA,
        "--weights",
        str(HERE / f"{network}.pt"),
        "--accelerator",
        "eyeriss",
        "--round-to",
        "4",
    )
    return Run(f"{network}-{name}", (*about, "--level", "mid", "--budget", budget, *more))


TUNING = ("--epochs", "10")
SEARCH = (*TUNING, "--episodes", "200", "--samples", "1500", "--seed", "0,1,2")
SHORT = ("--epochs", "4", "--episodes", "120", "--samples", "1500", "--seed", "0")  # ResNet-56 takes three times as long
RUNS = (
    training("resnet20", 30),
    pruning("resnet20", "energy", "energy=0.5", *SEARCH),
    pruning("resnet20", "energy-uniform", "energy=0.5", *TUNING, "--plan", "uniform"),
    pruning("resnet20", "latency", "latency=0.5", *SEARCH),
    pruning("resnet20", "latency-uniform", "latency=0.5", *TUNING, "--plan", "uniform"),
    training("resnet56", 8),
    pruning("resnet56", "both", "energy=0.5,latency=0.5", *SHORT),
)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=None, metavar="NAME", help="run these only")
    parser.add_argument("--tables", type=Path, default=None, metavar="FOLDER", help="run nothing")
    parser.add_argument("--record", type=Path, default=None, metavar="FOLDER", help="run nothing")
    asked = parser.parse_args()
    if unknown := set(asked.only or ()) - {run.name for run in RUNS}:
        parser.error(f"there is no run {', '.join(sorted(unknown))}; there are {', '.join(run.name for run in RUNS)}")
    for run in RUNS:
        if asked.tables or asked.record or run.done or (asked.only is not None and run.name not in asked.only):
            continue
        print(" ".join(run.command), flush=True)
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        code = subprocess.run([sys.executable, "-m", *run.command], env=environment, check=False).returncode
        if code:  # it has said why
            sys.exit(code)
    for run in RUNS:
        if asked.record and run.done:
            record(HERE / run.name, asked.record / run.name)
        folder = (asked.tables or HERE) / run.name
        if (folder / "metrics.json").exists():
            print(table(run, folder))


def record(run: Path, folder: Path) -> None:
    """What the tables are made of, and every plan that was tried."""
    if run.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            if (run / name).exists():
                shutil.copyfile(run / name, folder / name)
        if (run / "log.jsonl").exists():
            log = gzip.compress((run / "log.jsonl").read_bytes(), mtime=0)
            (folder / "log.jsonl.gz").write_bytes(log)


def table(run: Run, folder: Path) -> str:
    """The comparison and the fine-tuned network of one run, in Markdown."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    lines = [f"### {run.name}", "", f"`{' '.join(('hwflow', *run.arguments, '-o', str(HERE / run.name)))}`", ""]
    file = folder / "comparison.json"
    if file.exists():
        lines += _comparison(*(json.loads(path.read_text(encoding="utf-8")) for path in (file, folder / "times.json")))
    before, after = metrics["before"], metrics["after"]
    shares = {name: after["mid"][name] / before["mid"][name] for name in ("energy_pj", "latency_s", "macs", "params")}
    costs = ", ".join(f"{name.split('_')[0]} {share:.3f}" for name, share in shares.items())
    lines += [
        f"Accuracy on the test set: {100 * after['accuracy']:.2f} % after fine-tuning, "
        f"{100 * before['accuracy']:.2f} % unpruned.",
        f"Cost as a share of the unpruned network's: {costs}.",
        "",
    ]
    return "\n".join(lines)


def _comparison(found: dict[str, Any], times: dict[str, Any]) -> list[str]:
    by: dict[str, list[dict[str, Any]]] = {}
    for candidate in found["candidates"]:
        by.setdefault(candidate["by"], []).append(candidate)
    lines = [
        "| plan by | held-out split %, mean (each seed) | search split % | energy | latency | MACs |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in by.items():
        judged = [100 * row["judged"] for row in rows]
        each = f" ({', '.join(f'{j:.2f}' for j in judged)})" if len(rows) > 1 else ""
        searched = statistics.mean(100 * row["searched"] for row in rows)
        shares = [statistics.mean(row["shares"][metric] for row in rows) for metric in ("energy", "latency", "macs")]
        lines.append(
            f"| {name} | {statistics.mean(judged):.2f}{each} | {searched:.2f} | {' | '.join(f'{s:.3f}' for s in shares)} |"
        )
    seconds = ", ".join(f"{name} {s:.1f} s" for name, s in times["seconds"].items())
    return [*lines, "", f"Time: {seconds}.", ""]


if __name__ == "__main__":
    main()

"""Folders of finished pruning runs, written without running one: costs are real estimates of a network of three layers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwflow import Accelerator, Network, estimate

CHANNELS = {"conv1": 16, "conv2": 32}
KEPT = {"conv1": 8, "conv2": 24}
SEARCHES = ("random", "agent on MACs", "agent")


def write_run(
    folder: Path,
    *,
    network: str = "tiny",
    accelerator: str | None = "eyeriss",
    levels: Sequence[str] = ("coarse", "mid"),
    budgets: Sequence[tuple[str, float]] = (("energy", 0.8),),
    seeds: Sequence[int] = (0,),
    plan: str | None = None,
    episodes: int = 6,
    task: str = "classification",
) -> Path:
    """A run's folder, with every file that a report reads; `plan` as a run that did not search has it."""
    folder.mkdir(parents=True)
    chip = Accelerator.load(accelerator) if accelerator else None
    costs = {level: [_cost(folder, network, chip, level, widths) for widths in (CHANNELS, KEPT)] for level in levels}
    settings = {
        "levels": list(levels),
        "keep": 3,
        "budgets": [{"metric": metric, "share": share} for metric, share in budgets],
        "metric": "energy",
        "episodes": episodes,
        "seeds": list(seeds),
    }
    files: dict[str, Any] = {
        "config": {
            "format": 1,
            "network": network,
            "data": "digits",
            "task": task,
            "accelerator": accelerator,
            "plan": plan,
            "settings": settings,
            "versions": {"hwflow": "0.1.0", "torch": "2.13.0"},
        },
        "metrics": {
            **{
                side: {"accuracy": accuracy, "loss": 0.1, **{level: pair[i]["totals"] for level, pair in costs.items()}}
                for i, (side, accuracy) in enumerate((("before", 0.9875), ("after", 0.9625)))
            },
            "not_available": {"fine": "Timeloop was not found"},
        },
        "costs": {level: {"before": before, "after": after} for level, (before, after) in costs.items()},
        "plan": {
            "network": network,
            "groups": [{"name": n, "channels": c, "kept": KEPT[n], "producers": [n]} for n, c in CHANNELS.items()],
            "left_out": {"fc": "they are the model's outputs"},
        },
        "tuning": {
            "epochs": [{"number": n, "loss": 1 / n, "accuracy": 1 - 0.1 / n, "held_loss": 0.5 / n} for n in range(1, 6)],
            "kept": 4,
        },
    }
    if plan is None:
        files["comparison"] = _comparison(levels, seeds, episodes)
        files["times"] = _times(levels)
        lines = (json.dumps(line) for line in _episodes(seeds, episodes))
        (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for name, content in files.items():
        write_json(folder / f"{name}.json", content)
    return folder


def write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _cost(folder: Path, name: str, chip: Accelerator | None, level: str, widths: dict[str, int]) -> dict[str, Any]:
    """As `hwflow.pruning` writes it."""
    one, two = widths["conv1"], widths["conv2"]
    rows = [
        {"name": "conv1", "C": 3, "M": one, "P": 8, "Q": 8, "R": 3, "S": 3},
        {"name": "conv2", "C": one, "M": two, "P": 8, "Q": 8, "R": 3, "S": 3},
        {"name": "fc", "type": "linear", "C": two, "M": 10},
    ]
    file = folder / "network.yaml"
    write_json(file, {"name": "tiny", "layers": rows})  # JSON is YAML
    network = Network.from_yaml(file)
    file.unlink()
    return {**estimate(network, chip, level=level).to_dict(), "network": name}


def _comparison(levels: Sequence[str], seeds: Sequence[int], episodes: int) -> dict[str, Any]:
    def candidate(by: str, seed: int | None, accuracy: float, share: float) -> dict[str, Any]:
        shares = {"energy": share, "latency": share, "macs": share, "params": share, "dram_bytes": share, "edp": share**2}
        tried = {"unpruned": 0, "uniform": 1}.get(by, episodes)
        return {
            "by": by,
            "seed": seed,
            "plan": KEPT,
            "searched": accuracy + 0.01,
            "judged": accuracy,
            "shares": shares,
            "keeps_budget": share <= 0.8,
            "evaluations": tried,
        }

    candidates = [candidate("unpruned", None, 0.97, 1.0), candidate("uniform", None, 0.70, 0.75)]
    for place, by in enumerate(SEARCHES):
        candidates += [candidate(by, seed, 0.80 + 0.05 * place + 0.02 * i, 0.78) for i, seed in enumerate(seeds)]
    orders = ((2, 1, 3), (3, 1, 2))
    refined = [
        {
            "level": level,
            "rank": rank,
            "was": was,
            "cut": was == 2,
            "accuracy": 0.95 - 0.01 * rank,
            "shares": {"energy": 0.75, "latency": 0.7},
            "plan": KEPT,
        }
        for level, order in zip(levels[1:], orders, strict=False)
        for rank, was in enumerate(order, start=1)
    ]
    finalists = [
        {
            "by": by,
            "seed": seeds[place],
            "plan": KEPT,
            "searched": searched,
            "chosen": searched - lost,
            "judged": searched - lost - 0.01,
            "shares": {"energy": 0.75, "latency": 0.7},
        }
        for by, place, searched, lost in (("random", -1, 0.90, 0.01), ("agent", 0, 0.91, 0.04))
    ]
    return {"candidates": candidates, "refined": refined, "finalists": finalists}


def _times(levels: Sequence[str]) -> dict[str, Any]:
    seconds = {f"tables at {level}": 1.5 for level in levels} | {"accuracy of plans": 20.0, "searches": 10.0, "judging": 2.0}
    return {"seconds": seconds | {f"refining at {x}": 0.25 for x in levels[1:]}}


def _episodes(seeds: Sequence[int], episodes: int) -> list[dict[str, Any]]:
    numbers = random.Random(0)
    lines = []
    for by in SEARCHES:
        for seed in seeds:
            for number in range(1, episodes + 1):
                accuracy = round(numbers.uniform(0.5, 0.9), 4)
                noise = None if number < 3 else 0.5
                lines.append(
                    {
                        "by": by,
                        "seed": seed,
                        "number": number,
                        "reward": accuracy,
                        "accuracy": accuracy,
                        "noise": noise,
                        "plan": KEPT,
                    }
                )
    return lines

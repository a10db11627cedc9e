"""The tables of `benchmarks.execution_accuracy`, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

Record = dict[str, Any]
Key = tuple[str, str, float]

_NAMES = {
    "sparse": "single weights by magnitude (`sparse`)",
    "winograd-spatial": "stage 1 (`winograd-spatial`)",
    "winograd": "stages 1 and 2 (`winograd`)",
    "winograd-native": "native (`winograd-native`)",
    "winograd-magnitude": "transformed weights by magnitude (`winograd-magnitude`)",
}


def tables(records: Sequence[Record]) -> str:
    """Those of which there are runs."""
    parts = {"winograd": _zeros, "vip": _curves, "channels": _combined}
    known = {record["run"][0] for record in records}
    return "\n\n".join("\n".join(make(records)) for part, make in parts.items() if part in known)


def _zeros(records: Sequence[Record]) -> Iterator[str]:
    yield "| zeros (%) | method | test accuracy (%) | without zeros (%) | time of the network (least, one thread) | seeds |"
    yield "|---|---|---|---|---|---|"
    groups = _grouped(record for record in records if record["run"][0] == "winograd")
    order = list(_NAMES)
    for (_, method, share), found in sorted(groups.items(), key=lambda item: (item[0][2], order.index(item[0][1]))):
        times = [one["cpu"]["networks"] for one in found if "cpu" in one]
        shares = [one["executed"]["least_s"] / one["before"]["least_s"] for one in times]
        yield (
            f"| {100 * share:.0f} | {_NAMES[method]} | {_mean(found, 'after')} | {_mean(found, 'before')} | "
            f"{f'{statistics.mean(shares):.2f} of that before' if shares else '-'} | {len(found)} |"
        )


def _curves(records: Sequence[Record]) -> Iterator[str]:
    yield "| network | layers pooled | energy | latency | accuracy (%), 3,000 images | seeds |"
    yield "|---|---|---|---|---|---|"
    for (network, _, _), found in _grouped(record for record in records if record["run"][0] == "vip").items():
        count = min(len(one["curve"]) for one in found)
        for i in range(count):
            rounds = [one["curve"][i] for one in found]
            layers = statistics.mean(sum(len(r["layers"]) for r in one["curve"][: i + 1]) for one in found)
            energy, latency = (statistics.mean(r["shares"][name] for r in rounds) for name in ("energy", "latency"))
            yield f"| {network} | {layers:g} | {energy:.3f} | {latency:.3f} | {_mean(rounds, 'accuracy')} | {len(found)} |"


def _combined(records: Sequence[Record]) -> Iterator[str]:
    yield "| budget | method | energy | latency | test accuracy (%) | whole network (%) | seeds |"
    yield "|---|---|---|---|---|---|---|"
    for (_, method, share), found in _grouped(record for record in records if record["run"][0] == "channels").items():
        energy, latency = (statistics.mean(one[name] for one in found) for name in ("energy", "latency"))
        yield (
            f"| {share:g} | {method} | {energy:.3f} | {latency:.3f} | {_mean(found, 'after')} | {_mean(found, 'before')} | "
            f"{len(found)} |"
        )


def _grouped(records: Iterator[Record]) -> dict[Key, list[Record]]:
    """Runs that differ in their seed alone."""
    found: dict[Key, list[Record]] = {}
    for record in records:
        _, network, method, target, _ = record["run"]
        found.setdefault((network, method, target), []).append(record)
    return found


def _mean(found: Sequence[Record], field: str) -> str:
    values = [100 * one[field] for one in found]
    each = f" ({', '.join(f'{value:.2f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{each}"


__all__ = ["tables"]

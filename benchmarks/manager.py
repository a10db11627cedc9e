"""How many decisions a second the runtime manager makes: `python -m benchmarks.manager`.

Limits are new in every frame, which is the most work: equal limits are answered from memory. Process time, which other
processes do not change much.
"""

from __future__ import annotations

import random
import time

from hwflow.dynamic.level_table import LevelTable, Row, front
from hwflow.dynamic.manager import Manager
from hwflow.dynamic.placement import Limits

FRAMES = 5000


def table(network: str, units: int, levels: int = 4, clocks: int = 5) -> LevelTable:
    """Rows none of which is dominated: each clock is faster, and takes more energy."""
    rows = [
        Row(network, k, f"unit{u}", 100.0 * c, 1.0, 0.5 + 0.1 * k, k * (1 + 0.1 * u) / c, k * (0.3 + 0.02 * c * c), 1000 * k)
        for u in range(units)
        for k in range(1, levels + 1)
        for c in range(1, clocks + 1)
    ]
    return LevelTable(network, "modelled", tuple(rows))


def rate(networks: int, units: int, *, same: bool = False) -> tuple[int, float]:
    """Rows on fronts, and decisions a second."""
    tables = [table(f"net{n}", units) for n in range(networks)]
    manager, draw = Manager(tables), random.Random(0)
    limits = [Limits(latency_s=draw.uniform(0.2, 5), power_w=draw.uniform(0.2, 5) * networks) for _ in range(FRAMES)]
    if same:
        limits = limits[:1] * FRAMES
    start = time.process_time()
    for one in limits:
        manager.decide(one)
    return sum(len(front(t.rows)) for t in tables), FRAMES / (time.process_time() - start)


def main() -> None:
    """Print them."""
    for networks, units in ((1, 1), (1, 2), (2, 2), (3, 3), (4, 4)):
        rows, found = rate(networks, units)
        print(f"{networks} networks on {units} units, {rows} rows, new limits in each frame: {found:,.0f} decisions a second")
    rows, found = rate(1, 2, same=True)
    print(f"1 network on 2 units, {rows} rows, the same limits: {found:,.0f} decisions a second")


if __name__ == "__main__":
    main()

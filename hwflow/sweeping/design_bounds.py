"""`DesignBounds`: lower bounds on what designs cost, from formulas that no mapping search can undercut.

Energy and cycles of a layer, or of the parts in which it is computed, are bounded as mappings are (`hwflow.cost.mid.least`); a
network's are sums of its layers', the EDP's bound is the product of both, and the area is known exactly. Nothing is searched,
so a design takes a hundredth of the time that its mappings take.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

from hwflow.cost.assembly import area_um2
from hwflow.cost.mid import least
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import plan_for
from hwflow.cost.position_rows import parts_of
from hwflow.errors import HwflowError
from hwflow.layers import DIRECT
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.store.pool import workers
from hwflow.sweeping.case import Case, identity
from hwflow.sweeping.objectives import combined
from hwflow.sweeping.space import Design, Space

_TASTED = 8  # designs by which the time of the others is judged
_AT_ONCE = 16  # designs that a worker is given together
_WORTH_S = 1.5  # of work for each worker, from which on starting it pays


@dataclass(frozen=True)
class DesignBounds:
    """Bounds on some objectives, columns of a sweep's results, at one level.

    Attributes:
        options: what every point is asked for; its level is that of the sweep.
    """

    space: Space
    cases: Sequence[Case]
    options: CostOptions
    objectives: Sequence[str]

    @property
    def known(self) -> bool:
        """Whether there are any: of mid, whose mappings are bounded, with each layer run by itself and directly, and where no
        other program must be asked for energies."""
        asked = self.options
        plain = not asked.whole_network and asked.execution == DIRECT
        return asked.level == "mid" and plain and asked.energy != "accelergy"

    def __call__(
        self, designs: Sequence[Design], *, jobs: int = 1, progress: Progress | None = None
    ) -> list[tuple[float, ...]]:
        """The bounds of designs; 0 where none is known.

        Args:
            jobs: processes, begun where the first designs show that the others take longer than these take to start. The
                bounds that a process was at when it died are computed in this one.
        """
        if not self.known:
            return [(0.0,) * len(self.objectives)] * len(designs)
        found = self._some(designs[:_TASTED])  # what is remembered between designs is computed with the first
        begin = time.perf_counter()
        found += self._some(designs[_TASTED : 2 * _TASTED])
        seconds = (time.perf_counter() - begin) / _TASTED * (len(designs) - len(found))
        if jobs > 1 and seconds > _WORTH_S * jobs:
            with contextlib.suppress(BrokenProcessPool), workers(jobs) as pool:
                for some in self._on(pool, designs[len(found) :], 2 * jobs):
                    found += some
                    _tell(progress, len(found), len(designs))
        while len(found) < len(designs):
            found += self._some(designs[len(found) :][:_AT_ONCE])
            _tell(progress, len(found), len(designs))
        return found

    def _on(self, pool: Executor, designs: Sequence[Design], ahead: int) -> Iterator[list[tuple[float, ...]]]:
        """The bounds of designs in order, some at a time; `ahead`: so many are asked for at once."""
        asked: deque[Future[list[tuple[float, ...]]]] = deque()
        for start in range(0, len(designs), _AT_ONCE):
            asked.append(pool.submit(self._some, designs[start : start + _AT_ONCE]))
            if len(asked) == ahead:
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()

    def _some(self, designs: Sequence[Design]) -> list[tuple[float, ...]]:
        return [self._of(design) for design in designs]

    def _of(self, design: Design) -> tuple[float, ...]:
        try:
            each = [self._totals(design, case) for case in self.cases]
        except HwflowError:  # the design cannot be costed either, which its record will say
            return (0.0,) * len(self.objectives)
        return tuple(combined([totals.get(name, 0.0) for totals in each]) for name in self.objectives)

    def _totals(self, design: Design, case: Case) -> dict[str, float]:
        asked = replace(self.options, dataflow=self.space.dataflows[design.dataflow])
        plan = plan_for(Network("sweep", case.widths), self.space.accelerator(design), asked, None)
        energy = cycles = 0.0
        counted = Counter(identity(layer) for layer in case.network)
        distinct = {identity(layer): layer for layer in case.network}
        for name, layer in distinct.items():
            chip = plan.chip(layer)
            for part in parts_of(plan.layer(layer), chip.accelerator):
                costs = least(part, chip.accelerator, chip.constraints, chip.table, ragged=asked.ragged)
                energy, cycles = energy + counted[name] * costs[0], cycles + counted[name] * costs[1]
        assert plan.accelerator is not None
        latency_s = cycles * plan.accelerator.cycle_s
        unit = chip.table.unit
        return {
            "energy_pj" if unit == "pJ" else "energy_normalized": energy,
            "cycles": cycles,
            "latency_s": latency_s,
            "area_um2": area_um2(replace(plan, network=Network("sweep", tuple(distinct.values())))) or 0.0,
            **({"edp_pj_s": energy * latency_s} if unit == "pJ" else {}),
        }


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total, "lower bounds of designs")

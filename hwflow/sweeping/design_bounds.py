"""`DesignBounds`: lower bounds on what designs cost, from formulas that no mapping search can undercut.

Energy and cycles of a layer, or of the parts in which it is computed, are bounded as mappings are (`hwflow.cost.mid.least`); a
network's are sums of its layers', the EDP's bound is the product of both, and the area is known exactly. Nothing is searched,
so a design takes a hundredth of the time that its mappings take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwflow.cost.assembly import area_um2
from hwflow.cost.mid import least
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import plan_for
from hwflow.cost.position_rows import parts_of
from hwflow.errors import HwflowError
from hwflow.layers import DIRECT
from hwflow.network import Network
from hwflow.sweeping.case import Case, identity
from hwflow.sweeping.objectives import combined
from hwflow.sweeping.space import Design, Space


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

    def __call__(self, designs: Sequence[Design]) -> list[tuple[float, ...]]:
        """The bounds of designs; 0 where none is known."""
        return [self._of(design) for design in designs]

    def _of(self, design: Design) -> tuple[float, ...]:
        nothing = (0.0,) * len(self.objectives)
        if not self.known:
            return nothing
        try:
            each = [self._totals(design, case) for case in self.cases]
        except HwflowError:  # the design cannot be costed either, which its record will say
            return nothing
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

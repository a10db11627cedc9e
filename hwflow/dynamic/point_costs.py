"""Time and energy of networks at every operating point of a unit.

An accelerator is costed anew at each clock: DRAM keeps its GB/s, so cycles change with the clock. Its energies are those of
its own clock and `nominal_v` (V0), scaled: on the chip by (V/V0)^2, leakage per time by V/V0, DRAM not at all, which has a
supply of its own. That dynamic energy goes with the square of the voltage is how CMOS behaves; that leakage is linear in it is
our assumption. Mappings are searched with the energies of the point.

A processor takes MACs / (macs_per_cycle f) seconds at coefficient x f x V^2 + static_w watts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwflow.cost.chip import Chip
from hwflow.cost.estimator import carry_out
from hwflow.cost.options import CostOptions, check_each_alone
from hwflow.cost.plan import Plan, plan_for
from hwflow.cost.session import Notify, opened
from hwflow.dynamic.operating_points import OperatingPoint, Unit
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable
from hwflow.network import Network
from hwflow.progress import Shown, shown
from hwflow.results import NetworkCost
from hwflow.store import Store

_PJ = 1e-12


@dataclass(frozen=True)
class PointCost:
    """One frame of a network on one unit at one operating point; fields as of `hwflow.dynamic.level_table.Row`.

    Attributes:
        level: that answered; `processor` for a processor's table.
        note: what a reader must know (a fallback, and why).
    """

    unit: str
    clock_mhz: float
    voltage_v: float
    latency_s: float
    energy_j: float | None
    static_w: float
    stages: tuple[tuple[float, float], ...]
    level: str
    note: str = ""

    @property
    def power_w(self) -> float | None:
        """The mean over a frame."""
        return None if self.energy_j is None else self.energy_j / self.latency_s

    @property
    def criteria(self) -> tuple[float, ...]:
        """What is minimised, as `hwflow.dynamic.level_table.dominators` takes it for one network."""
        known = () if self.energy_j is None else (self.energy_j, self.energy_j / self.latency_s)
        return (0.0, self.latency_s, *known)


def point_costs(
    networks: Sequence[Network],
    units: Sequence[Unit],
    options: CostOptions,
    *,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
) -> list[list[PointCost]]:
    """For each network its costs at every point of every unit, in their order.

    Raises:
        InputError: where the level gives no time, or an accelerator cannot be costed at another clock.
    """
    check_each_alone(options, "a table of operating points")
    found: list[list[PointCost]] = [[] for _ in networks]
    title = f"{len(networks)} networks on {', '.join(unit.name for unit in units)}"
    with opened(store, notify) as (cache, tell), shown(progress, title) as bar:
        for unit in units:
            if unit.accelerator is None:
                for costs, network in zip(found, networks, strict=True):
                    costs += [on_processor(unit, point, network) for point in unit.points]
                continue
            nominal = [plan_for(network, unit.accelerator, options, cache) for network in networks]
            plans = [_at_point(plan, unit, point, options) for plan in nominal for point in unit.points]
            answers = carry_out(plans, options, cache, bar, tell)
            for i, (plan, cost) in enumerate(zip(plans, answers, strict=True)):
                n, p = divmod(i, len(unit.points))
                found[n].append(_on_accelerator(unit, unit.points[p], plan, cost))
    return found


def at_clock(accelerator: Accelerator, clock_mhz: float) -> Accelerator:
    """The accelerator at another clock; memories keep the bandwidths that are given in GB/s."""
    return accelerator if clock_mhz == accelerator.clock_mhz else accelerator.with_({"clock_mhz": clock_mhz})


def scaled(table: EnergyTable, accelerator: Accelerator, point: OperatingPoint, nominal_v: float) -> EnergyTable:
    """A chip's energies at an operating point, from those at its own clock and `nominal_v`."""
    assert point.voltage_v is not None
    ratio, slower = point.voltage_v / nominal_v, accelerator.clock_mhz / point.clock_mhz
    if ratio == slower == 1:
        return table
    parts = {}
    for name, part in table.parts.items():
        dynamic, leak = (1.0, 1.0) if name == accelerator.dram.name else (ratio**2, ratio)
        parts[name] = replace(
            part,
            read=part.read * dynamic,
            write=part.write * dynamic,
            update=part.update * dynamic,
            compute=part.compute * dynamic,
            leak=part.leak * leak * slower,  # per cycle, and cycles are longer
        )
    return replace(table, parts=parts, source=f"{table.source}, scaled to {point.voltage_v:g} V")


def _at_point(plan: Plan, unit: Unit, point: OperatingPoint, options: CostOptions) -> Plan:
    assert unit.accelerator is not None
    assert unit.nominal_v is not None
    chips = {}
    for bits, chip in plan.chips.items():
        clocked = at_clock(chip.accelerator, point.clock_mhz)
        table = scaled(chip.table, chip.accelerator, point, unit.nominal_v)
        chips[bits] = Chip(clocked, constrain(clocked, options.dataflow), table)
    return replace(plan, accelerator=at_clock(unit.accelerator, point.clock_mhz), chips=chips)


def _on_accelerator(unit: Unit, point: OperatingPoint, plan: Plan, cost: NetworkCost) -> PointCost:
    assert point.voltage_v is not None
    latency = cost.latency_s
    if latency is None:
        raise InputError(f"level {cost.level} gives no latency of {cost.network} on {unit.name}; use mid or fine.")
    energy = None if cost.energy_pj is None else cost.energy_pj * _PJ
    static = 0.0 if energy is None else _leakage_pj(plan, cost) * _PJ / latency
    notes = dict.fromkeys(row.note for row in cost.rows if row.note)
    return PointCost(
        unit.name,
        point.clock_mhz,
        point.voltage_v,
        latency,
        energy,
        static,
        _stages(plan, cost),
        cost.level,
        "; ".join(notes),
    )


def _leakage_pj(plan: Plan, cost: NetworkCost) -> float:
    """Of all memories at work, in all layers; in the rows' energies."""
    total = 0.0
    for row in cost.rows:
        parts = plan.chip(row.layer).table.parts
        at_work = row.utilized_instances
        total += sum(parts[name].leak * count * (row.cycles or 0) for name, count in at_work.items() if name in parts)
    return total


def _stages(plan: Plan, cost: NetworkCost) -> tuple[tuple[float, float], ...]:
    """Latency and DRAM transfer time of each layer, those in the same ratio as one; empty where DRAM has no bandwidth."""
    assert plan.accelerator is not None
    bandwidth = plan.accelerator.dram.bandwidth_gb_s
    if bandwidth is None:
        return ()
    together: dict[float, tuple[float, float]] = {}
    for row in cost.rows:
        latency = row.latency_s or 0.0
        transfer = min(row.dram_bytes / (bandwidth * 1e9), latency)  # cycles are rounded
        ratio = round(transfer / latency, 9) if latency else 0.0
        before = together.get(ratio, (0.0, 0.0))
        together[ratio] = (before[0] + latency, before[1] + transfer)
    return tuple(together.values())


def on_processor(unit: Unit, point: OperatingPoint, network: Network) -> PointCost:
    assert unit.processor is not None
    assert point.voltage_v is not None
    processor = unit.processor
    latency = network.macs / (processor.macs_per_cycle * point.clock_mhz * 1e6)
    dynamic_w = processor.dynamic_uw_per_mhz_v2 * 1e-6 * point.clock_mhz * point.voltage_v**2
    energy = (dynamic_w + processor.static_w) * latency
    return PointCost(unit.name, point.clock_mhz, point.voltage_v, latency, energy, processor.static_w, (), "processor")


__all__ = ["PointCost", "at_clock", "point_costs", "scaled"]

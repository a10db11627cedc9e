"""Costs at operating points: time at another clock, energy at another voltage, and points that buy nothing."""

from __future__ import annotations

import pytest

import hwflow
from hwflow.cost.options import CostOptions
from hwflow.dynamic.level_table import Row, dominators
from hwflow.dynamic.operating_points import OperatingPoint, Unit, load_units
from hwflow.dynamic.point_costs import PointCost, at_clock, point_costs, scaled
from hwflow.errors import InputError
from hwflow.hardware.energy_table import recorded
from hwflow.layers import Layer
from hwflow.network import Network

EYERISS = hwflow.Accelerator.load("eyeriss")
COMPUTES = Layer("c", C=8, M=8, P=8, Q=8, R=3, S=3)  # bound by its multiply-accumulates up to 200 MHz
LOADS = Layer("f", type="linear", C=64, M=64)  # bound by DRAM from 25 MHz on


def costs(layer: Layer, *points: tuple[float, float], level: str = "mid", **options: str) -> list[PointCost]:
    described = [{"clock_mhz": clock, "voltage_v": voltage} for clock, voltage in points]
    units = load_units({"units": [{"name": "eyeriss", "nominal_v": 1.0, "points": described}]}, EYERISS)
    net = Network("net", (layer,))
    return point_costs([net], units, CostOptions(level=level, **options), store=False, progress=False)[0]  # type: ignore[arg-type]


def test_at_the_own_clock_and_voltage_nothing_changes() -> None:
    own = hwflow.estimate(Network("net", (COMPUTES,)), EYERISS, store=False)
    (cost,) = costs(COMPUTES, (200, 1.0))
    assert own.energy_pj is not None
    assert (cost.latency_s, cost.energy_j) == (own.latency_s, own.energy_pj * 1e-12)
    assert (cost.level, cost.note) == ("mid", "")


def test_dram_keeps_its_bandwidth_at_every_clock() -> None:
    slow, fast = costs(COMPUTES, (25, 1.0), (50, 1.0))
    assert slow.latency_s == 2 * fast.latency_s
    slow, fast = costs(LOADS, (100, 1.0), (400, 1.0))
    assert fast.latency_s == pytest.approx(slow.latency_s, rel=0.01)  # cycles are whole
    transfers = 2 * (64 * 64 + 64 + 64) / 0.72e9
    assert fast.latency_s == pytest.approx(transfers, rel=0.01)


def test_energy_goes_with_the_square_of_the_voltage_but_for_drams() -> None:
    """At coarse: MACs and compulsory traffic, so that no mapping differs."""
    own = hwflow.estimate(Network("net", (COMPUTES,)), EYERISS, level="coarse", store=False)
    by_level = own.rows[0].energy_by_level
    (low,) = costs(COMPUTES, (200, 0.5), level="coarse")
    expected = by_level["dram"] + 0.25 * sum(energy for name, energy in by_level.items() if name != "dram")
    assert low.energy_j == pytest.approx(expected * 1e-12, rel=1e-12)


def test_the_energies_of_a_point_are_those_of_the_chip_scaled() -> None:
    table = recorded(EYERISS)
    assert table is not None
    found = scaled(table, EYERISS, OperatingPoint(clock_mhz=50, voltage_v=0.8), 1.0)
    before, after = table.parts["global_buffer"], found.parts["global_buffer"]
    assert after.read == pytest.approx(0.64 * before.read)
    assert after.leak == pytest.approx(0.8 * 4 * before.leak)  # a cycle is four times as long
    assert before.leak > 0
    assert found.parts["dram"].read == table.parts["dram"].read
    assert found.parts["mac"].compute == pytest.approx(0.64 * table.parts["mac"].compute)
    assert found.source == f"{table.source}, scaled to 0.8 V"
    assert scaled(table, EYERISS, OperatingPoint(clock_mhz=200, voltage_v=1.0), 1.0) is table


def test_mid_finds_a_mapping_for_the_energies_of_the_point() -> None:
    """No worse than the mapping of the own point at the formula of the module, and no better than the least factor."""
    own = hwflow.estimate(Network("net", (COMPUTES,)), EYERISS, objective="energy", store=False).rows[0]
    (low,) = costs(COMPUTES, (200, 0.5), objective="energy")
    chip = sum(energy for name, energy in own.energy_by_level.items() if name != "dram")
    leak = low.static_w * low.latency_s
    assert low.energy_j is not None
    assert own.energy is not None
    assert 0.25 * own.energy * 1e-12 <= low.energy_j <= (own.energy_by_level["dram"] + 0.25 * chip) * 1e-12 + leak


def test_less_bandwidth_costs_what_the_same_mapping_costs_there() -> None:
    for layer, clock in ((COMPUTES, 200.0), (LOADS, 200.0)):
        (cost,) = costs(layer, (clock, 1.0))
        row = Row("net", 1, "eyeriss", clock, 1.0, 0.9, cost.latency_s, cost.energy_j, 1, cost.static_w, cost.stages)
        best = hwflow.map_layer(layer, EYERISS, store=False)
        for share in (0.5, 0.1):
            less = EYERISS.with_({"dram.bandwidth_gb_s": 0.72 * share})
            mapping = hwflow.Mapping.from_directives([dict(entry) for entry in best.cost.mapping or ()], less)
            real = hwflow.analyse(layer, less, mapping, store=False)
            assert real.latency_s is not None
            assert row.at_share(share).latency_s == pytest.approx(real.latency_s, abs=2 * EYERISS.cycle_s)
        longer = row.at_share(0.1)
        assert longer.energy_j == pytest.approx((row.energy_j or 0) + row.static_w * (longer.latency_s - row.latency_s))
        assert row.at_share(1) is row


def test_a_clock_that_dram_makes_useless_is_dropped() -> None:
    found = costs(LOADS, (50, 0.8), (200, 1.0), (400, 1.3))
    assert dominators([c.criteria for c in found], ["u"] * 3, 0.01) == [None, 0, 0]
    found = costs(COMPUTES, (50, 0.8), (100, 0.8))
    assert dominators([c.criteria for c in found], ["u"] * 2, 0.01) == [None, None]  # slower, but with half the power


def test_a_processor_with_static_power_has_a_best_clock_in_the_middle() -> None:
    """V = k f: E(f) = a k^2 f^2 W + P_s W / f for W MACs, so f*^3 = P_s / (2 a k^2). The best row is a neighbour of f*."""
    for static, k in ((0.05, 0.001), (0.4, 0.0007), (0.01, 0.002)):
        clocks = range(100, 2001, 100)
        described = [{"clock_mhz": f, "voltage_v": k * f} for f in clocks]
        processor = {"macs_per_cycle": 1, "dynamic_uw_per_mhz_v2": 300, "static_w": static}
        units = load_units({"units": [{"name": "cpu", "processor": processor, "points": described}]})
        found = point_costs([Network("net", (COMPUTES,))], units, CostOptions(), store=False, progress=False)[0]
        best = min(found, key=lambda cost: cost.energy_j or 0)
        optimum = (static / (2 * 300e-6 * k**2)) ** (1 / 3)
        assert 100 < optimum < 2000
        assert abs(best.clock_mhz - optimum) < 100


def test_the_ranges_of_the_exynos() -> None:
    """Its public tables alone, one core, four levels of a quarter each: 76 times in time, 15 times in energy."""
    levels = [Network(f"level{k}", (COMPUTES.with_(M=2 * k),)) for k in (1, 2, 3, 4)]
    found = point_costs(levels, load_units("exynos5422"), CostOptions(), store=False, progress=False)
    rows = [cost for level in found for cost in level]
    times, energies = [cost.latency_s for cost in rows], [cost.energy_j or 0 for cost in rows]
    assert max(times) / min(times) == pytest.approx(76, rel=0.01)
    assert max(energies) / min(energies) == pytest.approx(15.4, rel=0.01)
    assert {cost.level for cost in rows} == {"processor"}


def test_what_cannot_be_costed_at_points_is_refused() -> None:
    with pytest.raises(
        InputError, match="activations is 'resident', and a table of operating points prices each layer by itself"
    ):
        costs(COMPUTES, (200, 1.0), activations="resident")
    assert at_clock(EYERISS, 200) is EYERISS
    assert isinstance(load_units("exynos5422")[0], Unit)

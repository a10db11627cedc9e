"""DRAMs that Accelergy does not know: their energies follow from the listed currents, and every result says whose they are."""

from __future__ import annotations

from typing import get_args

import pytest

import hwflow
from hwflow.cost import energy_sources
from hwflow.errors import InputError
from hwflow.files import folder, read_yaml
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import DRAM_TYPES, DramType
from hwflow.hardware.dram_energies import DERIVED_DRAMS, derived_drams
from hwflow.hardware.energy_fit.polynomials import shipped
from hwflow.layers import Layer
from hwflow.network import Network
from tools import dram_energies

ACC = Accelerator.load("eyeriss")
NET = Network("net", (Layer("a", C=4, M=8, P=6, Q=6, R=3, S=3),))
FILE = folder("arch_templates") / "energy" / "dram.yaml"


def chip(kind: str) -> Accelerator:
    return ACC.with_({"dram.dram_type": kind})


def test_the_shipped_energies_are_what_the_currents_give() -> None:
    assert FILE.read_text() == dram_energies.document(read_yaml(FILE, "energies of DRAMs"))


def test_energies_of_one_memory_by_hand() -> None:
    """Two rails, of which one feeds the output drivers; 8 pins at 2 Gb/s, 16 bursts of 64 bits per activation."""
    rails = {
        "VDD": {"volts": 1.2, "idd0": 50, "idd2n": 30, "idd3n": 40, "idd4r": 140, "idd4w": 120},
        "VDDQ": {"volts": 0.5, "idd3n": 0, "idd4r": 32, "idd4w": 0, "io": True},
    }
    found = dram_energies.derive({"pins": 8, "gbit_s_per_pin": 2, "burst_bits": 64, "t_rc_ns": 40, "rails": rails}, 16)
    assert found["burst_read"] == pytest.approx(1.2 * 100 / 16)  # V x mA / (Gb/s) = pJ/bit
    assert found["burst_write"] == pytest.approx(1.2 * 80 / 16)
    assert found["io_read"] == pytest.approx(0.5 * 32 / 16)
    assert found["activate"] == pytest.approx(round(1.2 * 20 * 40 / 1024, 3))
    assert found["standby"] == pytest.approx(1.2 * 40 / 16)
    assert found["read"] == pytest.approx(7.5 + 1.0 + 0.9375, abs=1e-3)


def test_termination_draws_current_for_half_of_the_bits() -> None:
    ends = {"volts": 1.35, "driver_ohm": 40, "read_ohm": 60, "write_ohm": 120}
    found = dram_energies.derive({"pins": 1, "gbit_s_per_pin": 14, "rails": {}, "termination": ends}, 16)
    assert found["io_read"] == pytest.approx(1.35**2 / 100 / 2 / 14e9 * 1e12, abs=1e-3)
    assert found["io_write"] == pytest.approx(1.35**2 / 160 / 2 / 14e9 * 1e12, abs=1e-3)


def test_the_same_formula_agrees_with_published_energies_where_these_are_of_the_same_thing() -> None:
    """LPDDR4 and HBM2 within a third of what Accelergy holds; its DDR3 includes standby of lightly loaded channels."""
    compared = read_yaml(FILE, "energies of DRAMs")["compared"]
    ratio = {kind: memory["pj_per_bit"]["read"] / memory["accelergy_pj_per_bit"] for kind, memory in compared.items()}
    assert ratio["LPDDR4"] == pytest.approx(1, abs=1 / 3)
    assert ratio["HBM2"] == pytest.approx(1, abs=1 / 3)
    assert ratio["DDR3"] < 0.3


def test_each_type_has_energies_of_one_source_only() -> None:
    asked = {name.removeprefix("dram ") for name in shipped()[0] if name.startswith("dram ")}
    assert get_args(DramType) == DRAM_TYPES
    assert asked | set(derived_drams()) == set(DRAM_TYPES)
    assert not asked & set(derived_drams())
    assert set(derived_drams()) == set(DERIVED_DRAMS)


@pytest.mark.parametrize("kind", sorted(derived_drams()))
def test_each_memory_names_its_sources_and_its_bandwidth(kind: str) -> None:
    memory = derived_drams()[kind]
    assert memory["sources"]["currents"]
    assert memory["includes"]
    assert memory["interface"]["standard"].startswith("JESD")
    assert memory["bandwidth_gb_s"] == pytest.approx(memory["interface"]["bits"] * memory["gbit_s_per_pin"] / 8)


@pytest.mark.parametrize("level", ["coarse", "mid"])
def test_a_dram_type_changes_energy_and_states_its_source(level: str) -> None:
    base = hwflow.estimate(NET, ACC, level=level, store=False)
    cost = hwflow.estimate(NET, chip("LPDDR5"), level=level, store=False)
    assert cost.energy_pj is not None
    assert base.energy_pj is not None
    assert cost.energy_pj < base.energy_pj
    (source,) = cost.energy_sources
    assert "dram: LPDDR5 derived from data-sheet currents of Micron MT62F1G32D2" in source
    assert "CactiDRAM" not in source
    assert cost.provenance["energy"]["dram"]["pj_per_bit"]["read"] == derived_drams()["LPDDR5"]["pj_per_bit"]["read"]


def test_an_access_costs_its_bits() -> None:
    table = energy_sources.energy_table(chip("GDDR6"))
    assert table.parts["dram"].read == pytest.approx(64 * derived_drams()["GDDR6"]["pj_per_bit"]["read"])
    assert table.parts["dram"].update == table.parts["dram"].write


@pytest.mark.parametrize("source", ["recorded", "fitted", "auto"])
def test_all_sources_without_accelergy_give_the_same_dram(source: str) -> None:
    table = energy_sources.energy_table(chip("HBM3"), source)
    assert table.parts["dram"] == energy_sources.energy_table(chip("HBM3")).parts["dram"]
    assert "dram: HBM3 derived from currents extrapolated from 36 measured HBM2 stacks" in table.source


def test_a_size_that_was_not_recorded_is_fitted_beside_a_derived_dram() -> None:
    table = energy_sources.energy_table(chip("DDR5").with_({"global_buffer.size_kib": 64, "global_buffer.banks": 16}))
    assert table.source.startswith("recorded (Accelergy: CactiSRAM+Library; dram: DDR5 derived from")
    assert ", but global_buffer fitted (held-out error" in table.source


def test_lower_case_is_accepted_and_an_unknown_type_refused_with_all_types() -> None:
    assert chip("lpddr5x").dram.dram_type == "LPDDR5X"
    with pytest.raises(InputError, match=r"dram.dram_type is 'HBM9': it must be DDR3, .* GDDR6, HBM2 or HBM3"):
        chip("HBM9")


def test_accelergy_is_not_asked_for_what_it_does_not_know() -> None:
    from hwflow.timeloop.accelergy import characterise
    from hwflow.timeloop.engine import Native

    with pytest.raises(InputError, match=r"no energies of GDDR6 \(accelerator eyeriss, dram.dram_type\). Use --energy auto"):
        characterise(chip("GDDR6"), Native())


@pytest.mark.timeloop
def test_timeloop_is_given_the_same_table() -> None:
    mid, fine = (hwflow.estimate(NET, chip("LPDDR5"), level=level, store=False) for level in ("mid", "fine"))
    assert fine.rows[0].level == "fine"
    assert fine.energy_sources == mid.energy_sources
    assert fine.energy_pj == pytest.approx(mid.energy_pj, rel=1e-3)

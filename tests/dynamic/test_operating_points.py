"""Operating points: presets, users' files, and what is refused, by field and value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hwflow.dynamic.operating_points import load_units, points_text, presets
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator

EYERISS = Accelerator.load("eyeriss")
PROCESSOR = {"macs_per_cycle": 1, "dynamic_uw_per_mhz_v2": 100}


def unit(**fields: Any) -> dict[str, Any]:
    return {"units": [{"name": "u", "nominal_v": 1.0, "points": [{"clock_mhz": 100, "voltage_v": 0.9}], **fields}]}


@pytest.mark.parametrize("name", presets())
def test_presets_say_where_their_numbers_come_from(name: str) -> None:
    accelerator = EYERISS if name == "eyeriss" else None
    for one in load_units(name, accelerator):
        assert one.sources["points"]
        assert [p.clock_mhz for p in one.points] == sorted(p.clock_mhz for p in one.points)


def test_the_preset_of_an_accelerator_is_found_by_its_name_and_takes_variants() -> None:
    small = EYERISS.with_({"pe_array.rows": 6})
    (one,) = load_units(None, small)
    assert one.accelerator == small
    assert points_text([one]) == "eyeriss at 50, 100, 150, 200, 250 MHz"
    with pytest.raises(InputError, match=r"no operating points are known for simba: give a YAML file \(--points FILE\)"):
        load_units(None, Accelerator.load("simba"))
    with pytest.raises(InputError, match="no operating points are named: give a preset, a YAML file, or an accelerator"):
        load_units(None)


def test_a_file_describes_accelerators_and_processors_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "points.yaml"
    file.write_text(
        "units:\n"
        "  - {name: npu, accelerator: {base: eyeriss, clock_mhz: 100}, nominal_v: 0.9,\n"
        "     points: [{clock_mhz: 200, voltage_v: 1.1}, {clock_mhz: 100}]}\n"
        "  - {name: cpu, processor: {macs_per_cycle: 2, dynamic_uw_per_mhz_v2: 90}, points: [{clock_mhz: 600, voltage_v: 1}]}\n"
    )
    npu, cpu = load_units(file)
    assert npu.accelerator is not None
    assert [(p.clock_mhz, p.voltage_v) for p in npu.points] == [(100, 0.9), (200, 1.1)]  # the slowest first, V0 by default
    assert cpu.processor is not None
    assert cpu.processor.static_w == 0


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (unit(points=[{"clock_mhz": 100, "voltage_v": 0}]), "units[0].points[0].voltage_v is 0: it must be above 0"),
        (unit(points=[{"clock_mhz": -1}]), "units[0].points[0].clock_mhz is -1: it must be above 0"),
        (unit(points=[]), "units[0].points"),
        (
            unit(points=[{"clock_mhz": 100}, {"clock_mhz": 100.0, "voltage_v": 1}]),
            "points of u: 100 MHz stands there twice; give each clock one voltage",
        ),
        (
            unit(points=[{"clock_mhz": 300}]),
            "units.u.points: 300 MHz is above the clock of eyeriss, 200 MHz, and has no voltage_v; say which voltage it needs",
        ),
        (
            unit(nominal_v=None),
            "units.u.nominal_v is missing: the voltage at which the energies of eyeriss hold, at its 200 MHz",
        ),
        (unit(voltage=1), "units[0].voltage: unknown field"),
        (unit(accelerator="eyeriss", processor=PROCESSOR), "u has an accelerator and a processor; give one of them"),
        (
            unit(processor=PROCESSOR),
            "u is a processor, and nominal_v is the voltage of an accelerator's energies; leave it out",
        ),
        (
            unit(processor=PROCESSOR, nominal_v=None, points=[{"clock_mhz": 100}]),
            "points of u: 100 MHz has no voltage_v, and a processor's power needs it",
        ),
        ({"units": [*unit()["units"], *unit()["units"]]}, "units: the name 'u' stands there twice; every unit needs its own"),
        (
            unit(accelerator="eyeriss"),
            "every unit says itself what it is, so the accelerator eyeriss changes nothing; leave it out",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(content: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as error:
        load_units(content, EYERISS)
    assert text in str(error.value)


def test_a_unit_without_an_accelerator_needs_one() -> None:
    with pytest.raises(InputError, match="unit u has no accelerator and no processor; give one in the file, or name"):
        load_units(unit())
    with pytest.raises(InputError, match=r"unknown operating points 'eyris'\. Did you mean 'eyeriss'"):
        load_units("eyris")

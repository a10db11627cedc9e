"""Operating points: the pairs of clock and supply voltage at which a unit can run, from users' files and presets.

A unit is an accelerator, whose time and energy are costed anew at each clock (`hwflow.dynamic.point_costs`), or a processor
that a table describes: so many multiply-accumulates a cycle, so much power.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from hwflow.errors import InputError, not_found
from hwflow.files import folder, read_yaml
from hwflow.hardware.accelerator import Accelerator
from hwflow.validation import Strict, explain

_Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
_Name = Annotated[str, Field(min_length=1, max_length=100)]


class OperatingPoint(Strict):
    """A clock and the supply voltage that it needs.

    An accelerator's point without a voltage runs at `nominal_v`, which is allowed up to the clock at which that voltage holds.
    """

    clock_mhz: _Positive
    voltage_v: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None


class Processor(Strict):
    """A processor as a table of numbers describes it.

    Attributes:
        macs_per_cycle: multiply-accumulates a cycle that a network reaches, stalls included.
        dynamic_uw_per_mhz_v2: dynamic power is this times clock times voltage squared, as Linux' `dynamic-power-coefficient`.
        static_w: power that flows whatever the clock, for as long as a frame takes.
    """

    macs_per_cycle: _Positive
    dynamic_uw_per_mhz_v2: _Positive
    static_w: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 0.0


class _Unit(Strict):
    """A unit as a file describes it: a processor, or an accelerator (by default that of `--accelerator`)."""

    name: _Name
    accelerator: str | dict[str, Any] | None = None
    processor: Processor | None = None
    nominal_v: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    points: Annotated[tuple[OperatingPoint, ...], Field(min_length=1)]
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> _Unit:
        clocks = [point.clock_mhz for point in self.points]
        if twice := [clock for clock, times in Counter(clocks).items() if times > 1]:
            raise ValueError(f"points of {self.name}: {twice[0]:g} MHz stands there twice; give each clock one voltage")
        if self.processor is None:
            return self
        if self.accelerator is not None:
            raise ValueError(f"{self.name} has an accelerator and a processor; give one of them")
        if self.nominal_v is not None:
            raise ValueError(
                f"{self.name} is a processor, and nominal_v is the voltage of an accelerator's energies; leave it out"
            )
        if without := [point.clock_mhz for point in self.points if point.voltage_v is None]:
            raise ValueError(f"points of {self.name}: {without[0]:g} MHz has no voltage_v, and a processor's power needs it")
        return self


class _File(Strict):
    description: str = ""
    units: Annotated[tuple[_Unit, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> _File:
        names = Counter(unit.name for unit in self.units)
        if twice := [name for name, times in names.items() if times > 1]:
            raise ValueError(f"units: the name {twice[0]!r} stands there twice; every unit needs its own")
        return self


class Unit(Strict):
    """What runs networks, and at which clocks and voltages.

    Attributes:
        accelerator: None for a processor.
        nominal_v: the voltage at which the accelerator's energies hold, at its own clock; None for a processor.
        points: every one with its voltage, the slowest first.
        sources: where the numbers come from, or "assumed".
    """

    name: str
    accelerator: Accelerator | None = None
    processor: Processor | None = None
    nominal_v: float | None = None
    points: tuple[OperatingPoint, ...]
    sources: Mapping[str, str] = Field(default_factory=dict)


@functools.cache
def presets() -> dict[str, Path]:
    """The tables of operating points that ship with hwflow: name to file."""
    return {path.stem: path for path in sorted((folder("arch_templates") / "operating_points").glob("*.yaml"))}


def load_units(spec: str | Path | Mapping[str, Any] | None, accelerator: Accelerator | None = None) -> tuple[Unit, ...]:
    """The units of a preset, a YAML file, or a mapping with its content.

    Args:
        spec: None takes the preset that is called like the accelerator.
        accelerator: of the units that name none themselves.

    Raises:
        InputError: naming the file, the unit and the field whose value cannot be used, and what is allowed.
    """
    if spec is None:
        if accelerator is None:
            raise InputError("no operating points are named: give a preset, a YAML file, or an accelerator that has a preset.")
        if accelerator.name not in presets():
            raise InputError(
                f"no operating points are known for {accelerator.name}: give a YAML file (--points FILE). There are presets "
                f"for {', '.join(presets())}."
            )
        spec = accelerator.name
    content, where = _content(spec)
    try:
        described = _File.model_validate(content)
    except ValidationError as error:
        raise InputError(explain(error, content, where, _FIELDS)) from None
    takes = [unit for unit in described.units if unit.processor is None and unit.accelerator is None]
    if accelerator is not None and not takes:
        raise InputError(
            f"{where}: every unit says itself what it is, so the accelerator {accelerator.name} changes nothing; leave it out."
        )
    if accelerator is None and takes:
        raise InputError(
            f"{where}: unit {takes[0].name} has no accelerator and no processor; give one in the file, or name the accelerator "
            "(--accelerator)."
        )
    return tuple(_unit(unit, accelerator, where) for unit in described.units)


_FIELDS = frozenset(name for model in (_File, _Unit, Processor, OperatingPoint) for name in model.model_fields)


def _content(spec: str | Path | Mapping[str, Any]) -> tuple[Any, str]:
    if isinstance(spec, Mapping):
        return dict(spec), "operating points"
    text = str(spec)
    if text in presets():
        return read_yaml(presets()[text], f"operating points {text}"), f"operating points: {text}"
    if text.endswith((".yaml", ".yml")) or "/" in text:
        return read_yaml(text, "operating points"), f"operating points: {text}"
    raise not_found("operating points", text, presets(), "Or give the path of a YAML file.")


def _unit(unit: _Unit, given: Accelerator | None, where: str) -> Unit:
    points = sorted(unit.points, key=lambda point: point.clock_mhz)
    if unit.processor is not None:
        return Unit(name=unit.name, processor=unit.processor, points=tuple(points), sources=unit.sources)
    own = unit.accelerator
    chip = given if own is None else _accelerator(own, f"{where}: units.{unit.name}.accelerator")
    assert chip is not None
    if unit.nominal_v is None and any(point.voltage_v is not None for point in points):
        raise InputError(
            f"{where}: units.{unit.name}.nominal_v is missing: the voltage at which the energies of {chip.name} hold, at its "
            f"{chip.clock_mhz:g} MHz."
        )
    for point in points:
        if point.voltage_v is None and point.clock_mhz > chip.clock_mhz:
            raise InputError(
                f"{where}: units.{unit.name}.points: {point.clock_mhz:g} MHz is above the clock of {chip.name}, "
                f"{chip.clock_mhz:g} MHz, and has no voltage_v; say which voltage it needs."
            )
    nominal = 1.0 if unit.nominal_v is None else unit.nominal_v
    voltages = [nominal if point.voltage_v is None else point.voltage_v for point in points]
    known = tuple(OperatingPoint(clock_mhz=p.clock_mhz, voltage_v=v) for p, v in zip(points, voltages, strict=True))
    return Unit(name=unit.name, accelerator=chip, nominal_v=nominal, points=known, sources=unit.sources)


def _accelerator(own: str | Mapping[str, Any], where: str) -> Accelerator:
    return Accelerator.load(own) if isinstance(own, str) else Accelerator.from_dict(own, where)


def points_text(units: Sequence[Unit]) -> str:
    """`eyeriss at 50, 100 MHz; a7 at 200 MHz`."""
    return "; ".join(f"{unit.name} at {', '.join(f'{point.clock_mhz:g}' for point in unit.points)} MHz" for unit in units)


__all__ = ["OperatingPoint", "Processor", "Unit", "load_units", "points_text", "presets"]

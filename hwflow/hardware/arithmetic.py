"""Energies and areas of arithmetic that is not an integer multiplier with an adder: floating point, shifts, XNOR.

A unit is the sum of its parts. The parts are Aladdin's (Y. S. Shao et al., ISCA 2014), as Accelergy's plug-ins have them: 40
nm, 32 bits, 1 ns. From these a multiplier scales with the product of its operands' widths, an adder with its width, a shifter
with width x stages, bitwise logic with its width (ours, but for the multiplier and the adder, which Accelergy's component
library scales so). Other technologies follow the library's integer multiplier with adder, of which it scales every part alike.

Horowitz' table (M. Horowitz, ISSCC 2014, 45 nm, 0.9 V) is a second opinion, for all arithmetic of a chip at once
(`MacUnit.energies`). It has no shifter, which is taken as two adders (ours), no bitwise logic and no areas. The two sources
differ by a factor of 3 to 4 in an integer multiplier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwflow.errors import InputError
from hwflow.hardware.components import MacUnit
from hwflow.hardware.part_energy import PartEnergy
from hwflow.layers import Bits

_STAGES = 5
"""Of a shifter of 32 bits by up to 31 places."""
_EXPONENT_BITS = 3
"""Of a power of two: weights of one sign and so many bits shift by up to 7 places."""
_REACH: int = 2**_EXPONENT_BITS - 1
_TERM_BITS = 1 + _EXPONENT_BITS
_LANES = 8
"""XNOR products that one addition of the popcount serves."""
_SIGNIFICAND_BITS = 24
"""Of single precision."""


@dataclass(frozen=True)
class _Part:
    """Energy of an operation in pJ, energy of an idle nanosecond in pJ, area in square micrometres."""

    energy: float
    idle: float = 0.0
    area: float = 0.0

    def __mul__(self, factor: float) -> _Part:
        return _Part(self.energy * factor, self.idle * factor, self.area * factor)

    def __add__(self, other: _Part) -> _Part:
        return _Part(self.energy + other.energy, self.idle + other.idle, self.area + other.area)


_ADD = _Part(0.21, 0.0024, 278)
_MULTIPLY = _Part(12.68, 0.08, 6350)
_SHIFT = _Part(0.417, 0.002, 250)
_BITWISE = _Part(0.0181, 0.001, 50.4)
_FP_ADD = _Part(16.68, 0.159, 4360)
# the table's area of the multiplier is the adder's; ours: an integer multiplier of the significands
_FP_MULTIPLY = _Part(35.3, 0.36, _MULTIPLY.area * (_SIGNIFICAND_BITS / 32) ** 2)

_HOROWITZ_ADD = 0.1
_HOROWITZ_MULTIPLY, _HOROWITZ_MULTIPLY_8 = 3.1, 0.2
_HOROWITZ_FP = {16: 0.4 + 1.1, 32: 0.9 + 3.7}

REFERENCE = MacUnit(name="reference", kind="mac", multiplier_bits=16, adder_bits=16)
"""What other arithmetic is priced against at a technology."""

_TYPES = {
    "int": "integers",
    "fp": "floating point",
    "shift1": "one power of two",
    "shift2": "two powers of two",
    "xnor": "one bit",
}


def check_operands(mac: MacUnit, bits: Bits) -> None:
    """Refuse operands that the arithmetic cannot take.

    Raises:
        InputError: saying what is allowed.
    """
    weights, inputs = bits.weights, bits.inputs
    kind = mac.arithmetic
    floats = (32,) if mac.energies == "aladdin" else (16, 32)
    allowed = {
        "int": "",
        "fp": "" if weights == inputs and weights in floats else f"weights and inputs of {' or '.join(map(str, floats))} bits",
        "shift1": "" if weights <= _TERM_BITS else f"weights of at most {_TERM_BITS} bits, a sign and an exponent",
        "shift2": "" if weights <= 2 * _TERM_BITS else f"weights of at most {2 * _TERM_BITS} bits, two signs and exponents",
        "xnor": "" if weights == inputs == 1 else "weights and inputs of 1 bit",
    }[kind]
    if allowed:
        raise InputError(
            f"{mac.name}.arithmetic is {kind} ({_TYPES[kind]}), which takes {allowed}, not {weights} and {inputs}. Ask for "
            "such bits (--bits, or bits of the layer), or for another arithmetic (--pe-type, 'hwflow list pe-types')."
        )


def is_plain(mac: MacUnit) -> bool:
    """Whether recorded and fitted energies hold: those of an integer multiplier with an adder."""
    return mac.arithmetic == "int" and mac.energies == "aladdin"


def relative_energy(mac: MacUnit) -> float:
    """Energy of a unit over that of `REFERENCE`, in its own table."""
    if mac.energies == "horowitz":
        return _horowitz(mac) / _horowitz(REFERENCE)
    return unit_40nm(mac).energy / unit_40nm(REFERENCE).energy


def priced(mac: MacUnit, reference: PartEnergy, reference_45nm: PartEnergy) -> PartEnergy:
    """Energy and area of a unit.

    Args:
        reference: those of `REFERENCE` at the chip's technology and clock; `reference_45nm`: at 45 nm.
    """
    if mac.energies == "horowitz":
        scale = reference.compute / reference_45nm.compute
        return PartEnergy(compute=_horowitz(mac) * scale, estimator=f"Horowitz ISSCC 2014 ({mac.arithmetic})")
    unit, plain = unit_40nm(mac), unit_40nm(REFERENCE)
    return PartEnergy(
        compute=reference.compute * relative_energy(mac),
        leak=reference.leak * unit.idle / plain.idle,
        area_um2=None if reference.area_um2 is None else reference.area_um2 * unit.area / plain.area,
        estimator=f"Aladdin ({mac.arithmetic})",
    )


def unit_40nm(mac: MacUnit) -> _Part:
    """A unit at 40 nm and 1 ns: the sum of its parts, with its accumulator's adder."""
    bits, shifted = mac.multiplier_bits, mac.multiplier_bits + _REACH
    if mac.arithmetic == "fp":
        return _FP_MULTIPLY + _FP_ADD
    if mac.arithmetic == "shift1":
        return _shifter(shifted) + _adder(mac.adder_bits)
    if mac.arithmetic == "shift2":
        return _shifter(shifted) * 2 + _adder(shifted + 1) + _adder(mac.adder_bits)
    if mac.arithmetic == "xnor":
        return _BITWISE * (1 / 32) + _adder(mac.adder_bits) * (1 / _LANES)
    return _MULTIPLY * (bits * bits / 1024) + _adder(mac.adder_bits)


def _adder(bits: int) -> _Part:
    return _ADD * (bits / 32)


def _shifter(bits: int) -> _Part:
    return _SHIFT * (bits * _EXPONENT_BITS / (32 * _STAGES))


def _horowitz(mac: MacUnit) -> float:
    """Energy of a unit in pJ at 45 nm."""
    bits, shifted = mac.multiplier_bits, mac.multiplier_bits + _REACH
    add = _HOROWITZ_ADD / 32
    shift = 2 * _HOROWITZ_ADD * shifted * _EXPONENT_BITS / (32 * _STAGES)
    if mac.arithmetic == "xnor":
        raise InputError(
            f"{mac.name}.energies is horowitz, whose table has no bitwise logic for {mac.name}.arithmetic xnor; leave it at "
            "aladdin."
        )
    if mac.arithmetic == "fp":
        return _HOROWITZ_FP[16 if bits <= 16 else 32]
    if mac.arithmetic == "shift1":
        return shift + add * mac.adder_bits
    if mac.arithmetic == "shift2":
        return 2 * shift + add * (shifted + 1 + mac.adder_bits)
    exponent = math.log(_HOROWITZ_MULTIPLY / _HOROWITZ_MULTIPLY_8, 4)
    return _HOROWITZ_MULTIPLY * float((bits / 32) ** exponent) + add * mac.adder_bits

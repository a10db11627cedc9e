"""`Knob`: a field of a chip with the range in which it is varied; and Latin hypercubes of chips over knobs and PE types."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwflow.arrays import Floats
from hwflow.errors import InputError, is_number, not_found, shown
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Memory
from hwflow.optional import needed
from hwflow.ppa.variables import OWN, field_of

_DIGITS = 3
"""Significant digits of a value without a step."""
_FACTORS = {"fanout": (0.5, 2.0), "regfile": (0.5, 2.0), "sram": (0.5, 4.0), "dram": (1.0, 16.0)}
"""By kind of part, from which to which multiple of the base's value a field is varied unless told otherwise; ours."""
_WORDS = 4
"""Register files hold multiples of it: rows of 4 bits are the narrowest, and hold 4 words of 1 bit."""


@dataclass(frozen=True)
class Knob:
    """One varied field.

    Attributes:
        low, high: the smallest and the largest value.
        step: values are multiples of it; None where they are not rounded but to three digits.
    """

    field: str
    low: float
    high: float
    step: int | None

    def value(self, place: float) -> int | float:
        """The value at a place from 0 to 1, which is even over the logarithm."""
        exact = self.low * (self.high / self.low) ** place
        if self.step is not None:
            nearest = self.step * math.floor(exact / self.step + 0.5)
            return int(min(max(nearest, self.low), self.high))
        return min(max(float(f"{exact:.{_DIGITS}g}"), self.low), self.high)


def default_knobs(base: Accelerator) -> dict[str, Knob]:
    """Rows and columns of fan-outs, sizes of the memories on the chip, and the bandwidth of DRAM."""
    found = []
    for part in base.hierarchy:
        low, high = _FACTORS.get(part.kind, (1.0, 1.0))
        names = ("rows", "columns") if part.kind == "fanout" else ("bandwidth_gb_s",) if part.kind == "dram" else ()
        if isinstance(part, Memory) and part.kind != "dram":
            names = ("size_words",) if part.size_words is not None else ("size_kib",)
        for name in names:
            if (value := getattr(part, name)) is not None:
                field, least, most = f"{part.name}.{name}", low * value, high * value
                if (step := _step(field)) is not None:
                    least, most = _rounded(least, step), _rounded(most, step)
                found.append(Knob(field, least, most, step))
    return {knob.field: knob for knob in found if knob.low < knob.high}


def knobs_of(base: Accelerator, ranges: Mapping[str, Sequence[float]]) -> tuple[Knob, ...]:
    """The default knobs, with other ranges of some, and with further ones; a range of one value fixes the field.

    Raises:
        InputError: naming the field whose range cannot be used.
    """
    knobs = default_knobs(base)
    for name, given in ranges.items():
        if field_of(base, name) is None:
            raise not_found(f"number among the fields of {base.name}", name, knobs)
        knobs[name] = _knob(name, given)
    return tuple(knobs.values())


def configurations(knobs: Sequence[Knob], pe_types: Sequence[str], chips: int, seed: int) -> list[dict[str, Any]]:
    """Chips of a Latin hypercube (`scipy.stats.qmc`), in which the PE type is one of the dimensions: `chips` of each type.

    Returns:
        For each the fields that are set; `pe_type` is none of them where the PEs are the base's own.

    Raises:
        MissingDependency: where scipy is not installed.
    """
    cube = hypercube(1 + len(knobs), chips * len(pe_types), seed)
    return [
        {**_typed(pe_types[min(int(row[0] * len(pe_types)), len(pe_types) - 1)]), **_values(knobs, row[1:])}
        for row in cube.tolist()
    ]


def hypercube(dimensions: int, points: int, seed: int) -> Floats:
    """Points of the unit cube, of which each dimension's every `1 / points` has one.

    Raises:
        MissingDependency: where scipy is not installed.
    """
    needed("scipy.stats", "a Latin hypercube", "sweep")
    from scipy.stats import qmc

    return np.asarray(qmc.LatinHypercube(dimensions, rng=np.random.default_rng(seed)).random(points))


def values_at(knobs: Sequence[Knob], cube: Iterable[Sequence[float]]) -> Floats:
    """The knobs' values at places of the unit cube, [place, knob]."""
    return np.array([[knob.value(u) for knob, u in zip(knobs, row, strict=True)] for row in cube], dtype=np.float64)


def _typed(pe_type: str) -> dict[str, Any]:
    return {} if pe_type == OWN else {"pe_type": pe_type}


def _values(knobs: Sequence[Knob], row: Sequence[float]) -> dict[str, Any]:
    return {knob.field: knob.value(u) for knob, u in zip(knobs, row, strict=True)}


def _knob(name: str, given: Any) -> Knob:
    ends = list(given) if isinstance(given, (list, tuple)) else [given]
    if len(ends) not in (1, 2) or not all(is_number(end) for end in ends):
        raise InputError(f"the range of {name} is {shown(given)}; it must be two numbers, the smallest and the largest value.")
    low, high = ends[0], ends[-1]
    if not 0 < low <= high < math.inf:
        raise InputError(
            f"the range of {name} is {low:g} to {high:g}; it must begin above 0, and not end below where it begins."
        )
    step = _step(name)
    if step is not None and any(end % step for end in ends):
        raise InputError(f"the range of {name} is {low:g} to {high:g}; both ends must be multiples of {step}.")
    return Knob(name, low, high, step)


def _step(field: str) -> int | None:
    name = field.rpartition(".")[2]
    return {"size_words": _WORDS, "bandwidth_gb_s": None, "clock_mhz": None, "technology_nm": None}.get(name, 1)


def _rounded(value: float, step: int) -> int:
    return max(step, step * math.floor(value / step + 0.5))

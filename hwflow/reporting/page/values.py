"""Number formats for readers: few digits, units with prefixes, shares in percent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

_PREFIXES = {12: "T", 9: "G", 6: "M", 3: "k", 0: "", -3: "m", -6: "µ", -9: "n", -12: "p"}
_DIGITS = 4
_TIED = "\u00a0"  # keeps a number and its unit on one line


def number(value: float | None, digits: int = _DIGITS) -> str:
    """With so many significant digits, thousands separated; a dash where nothing is known."""
    if value is None:
        return "-"
    if not value:
        return "0"
    if not math.isfinite(value):  # a sum of numbers that a damaged file holds can be
        return f"{value:g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def prefix(values: Sequence[float | None]) -> tuple[float, str]:
    """The divisor and the prefix with which the largest of these is between 1 and 1000."""
    largest = max((abs(v) for v in values if v and math.isfinite(v)), default=1.0)
    power = 3 * math.floor(math.log10(largest) / 3)
    power = min(max(power, min(_PREFIXES)), max(_PREFIXES))
    return 10.0**power, _PREFIXES[power]


def quantity(value: float | None, unit: str) -> str:
    """A number with its prefixed unit: `60.25 µJ`."""
    return quantities([value], unit)[0]


def quantities(values: Sequence[float | None], unit: str) -> list[str]:
    """Numbers with one prefixed unit, which suits the largest."""
    divisor, letter = prefix(values)
    return ["-" if v is None else f"{number(v / divisor)}{_TIED}{prefixed(letter, unit)}".rstrip() for v in values]


def prefixed(letter: str, unit: str) -> str:
    """A unit behind its prefix; one that begins with a space keeps it: `M normalized`."""
    return f"{letter}{unit}".strip()


def share_of(share: float) -> str:
    """A share that somebody chose, with no more digits than it was given: `50 %`."""
    return f"{100 * share:g}{_TIED}%"


def percent(share: float | None, places: int = 1) -> str:
    """A share as `49.7 %`."""
    return "-" if share is None else f"{100 * share:.{places}f}{_TIED}%"


def spread(shares: Sequence[float], places: int = 1) -> str:
    """The mean of shares in percent and, of several, the sample's standard deviation: `91.5 ± 0.4`."""
    middle = f"{100 * mean(shares):.{places}f}"
    return middle if len(shares) < 2 else f"{middle} ± {100 * stdev(shares):.{places}f}"


def counted(count: int, noun: str) -> str:
    """`1 epoch`, `20 epochs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def capital(text: str) -> str:
    """The same with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def settings_by_name(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as one list of dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from settings_by_name(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", "-" if value is None else value if isinstance(value, str) else json.dumps(value)

"""Colours by meaning, for light and dark themes; the same thing has the same colour in every figure.

Methods are from Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), parts of a chip begin with Paul Tol's "muted"
(https://sronpersonalpages.nl/~pault/); both can be told apart with any common colour blindness. Some are lighter on dark.
Fifths run from blue, the best, over grey to orange.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

THEMES: Mapping[str, Mapping[str, str]] = {
    "light": {
        "ground": "#f4f6f8",
        "panel": "#ffffff",
        "ink": "#1b2430",
        "muted": "#566270",
        "line": "#d8dee6",
        "accent": "#0b5cad",
        "good": "#14713f",
        "bad": "#b3261e",
        "before": "#98a2b0",
        "after": "#0072b2",
        "uniform": "#b4569a",
        "random": "#d98200",
        "agent-on-macs": "#009e73",
        "part-1": "#332288",
        "part-2": "#88ccee",
        "part-3": "#44aa99",
        "part-4": "#ddcc77",
        "part-5": "#cc6677",
        "part-6": "#882255",
        "part-7": "#117733",
        "part-8": "#999933",
        "part-9": "#aa4499",
        "part-10": "#ee7733",
        "part-11": "#7a7a7a",
        "part-12": "#4477aa",
        "part-13": "#e8a5c8",
        "part-14": "#6b4226",
        "fifth-1": "#0072b2",
        "fifth-2": "#4d9ecf",
        "fifth-3": "#a9a9a9",
        "fifth-4": "#e0a04a",
        "fifth-5": "#c05a00",
    },
    "dark": {
        "ground": "#12161c",
        "panel": "#1a2029",
        "ink": "#e6eaf0",
        "muted": "#a0abb9",
        "line": "#323c49",
        "accent": "#76b7ff",
        "good": "#5fd08f",
        "bad": "#ff8f86",
        "before": "#7f8b9a",
        "after": "#4aa8e0",
        "uniform": "#db8cc4",
        "random": "#f0a63a",
        "agent-on-macs": "#35c297",
        "part-1": "#8c7fe0",
        "part-2": "#88ccee",
        "part-3": "#44aa99",
        "part-4": "#ddcc77",
        "part-5": "#e58a98",
        "part-6": "#b8507f",
        "part-7": "#4faf74",
        "part-8": "#9aa23a",
        "part-9": "#d58bc8",
        "part-10": "#ee7733",
        "part-11": "#9a9a9a",
        "part-12": "#4f8fd6",
        "part-13": "#f3c6de",
        "part-14": "#a5744f",
        "fifth-1": "#4ab4f5",
        "fifth-2": "#3b7fae",
        "fifth-3": "#77808c",
        "fifth-4": "#a8752c",
        "fifth-5": "#e07b28",
    },
}

METHODS: Mapping[str, str] = {
    "unpruned": "@before",
    "uniform": "@uniform",
    "global": "@part-8",
    "random": "@random",
    "greedy": "@part-5",
    "evolution": "@part-2",
    "model": "@part-9",
    "legr": "@part-4",
    "exact": "@part-1",
    "agent on MACs": "@agent-on-macs",
    "agent": "@after",
}
"""Of what proposes plans; in figures `@name` is the theme's colour of that name, `@name/0.2` the same, a fifth opaque."""


def methods(names: Iterable[str]) -> dict[str, str]:
    """The colours of what proposed some plans, in the order in which they are shown; those that are not known come first."""
    found = dict.fromkeys(names)
    known = {name: colour for name, colour in METHODS.items() if name in found}
    others = [name for name in found if name not in known]
    return {**{name: f"@part-{10 + i % (_PARTS - 9)}" for i, name in enumerate(others)}, **known}


_PARTS = sum(name.startswith("part-") for name in THEMES["light"])


def parts(splits: Iterable[Iterable[str]]) -> dict[str, str]:
    """The colour of each part of a chip that some energies are split by.

    Two parts of one split never share a colour. Parts of different chips do only where there are more than the palette has.
    """
    ordered = sorted((list(split) for split in splits), key=len, reverse=True)
    names = dict.fromkeys(name for split in ordered for name in split)
    beside: dict[str, set[str]] = {name: set() for name in names}
    for split in {tuple(split) for split in ordered}:
        for name in split:
            beside[name].update(split)
    found: dict[str, int] = {}
    for name in names:
        taken = {found[other] for other in beside[name] if other in found}
        uses = Counter(found.values())
        found[name] = min(range(_PARTS), key=lambda i: (i in taken, uses[i], i))
    return {name: f"@part-{i + 1}" for name, i in found.items()}


def several(count: int) -> list[str]:
    """Colours for so many things that have none of their own; beyond those of the palette they repeat."""
    return [f"@part-{i % _PARTS + 1}" for i in range(count)]

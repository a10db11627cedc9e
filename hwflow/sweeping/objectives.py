"""The objectives of a search: of a design, over all networks that it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hwflow.errors import InputError
from hwflow.sweeping.point_record import energy_source
from hwflow.sweeping.searcher import Values


def objectives_of(points: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Values:
    """A design's objectives: of each the geometric mean over networks, so that none dominates by its size (hwflow's own)."""
    if any(point["status"] != "ok" for point in points):
        return None
    for name in names:
        if any(point[name] is None for point in points):
            raise InputError(
                f"sample.objectives: {name} is not known of {points[0]['accelerator']}, whose energies are "
                f"{energy_source(points[0])}. Name other objectives, or other energies (energy: fitted, accelergy)."
            )
    return tuple(combined([point[name] for point in points]) for name in names)


def combined(values: Sequence[float]) -> float:
    """Their geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values)) if all(values) else 0.0

"""`PartEnergy`: what the actions of one part of a chip cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PartEnergy:
    """Energy per action of one instance, in the table's unit; `leak` is per cycle. A MAC unit has `compute` only.

    `estimator` names what answered; `area_um2` is the area of one instance, or None where nothing is known of it.
    """

    read: float = 0.0
    write: float = 0.0
    update: float = 0.0
    compute: float = 0.0
    leak: float = 0.0
    area_um2: float | None = None
    estimator: str = ""

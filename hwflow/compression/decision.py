"""`Decision`: what a compression method chooses once, and `Choice`: one option for every decision, which `plan.json` holds."""

from __future__ import annotations

from dataclasses import dataclass

Choice = dict[str, int]
"""The option that each decision takes, by the decision's name: of a group of channels, how many of them are kept."""


@dataclass(frozen=True)
class Decision:
    """One value that a method chooses: channels kept of a group, bits of a layer, the size of a kernel.

    Attributes:
        name: of the group or layer that it is made for.
        options: what can be chosen, ascending; the last one leaves the network as it is.
        rows: indices into `Network.layers` of the rows whose cost depends on it.
    """

    name: str
    options: tuple[int, ...]
    rows: tuple[int, ...]


__all__ = ["Choice", "Decision"]

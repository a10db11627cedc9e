"""`Decision`: what a compression method chooses once, and `Choice`: one option for every decision, which `plan.json` holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

Choice = dict[str, int]
"""The option that each decision takes, by the decision's name: of a group of channels, how many of them are kept."""


class Variable(Protocol):
    """What a search sets: a group of channels, or another `Decision`.

    Attributes:
        widths: what it can be, ascending; the last one, `channels`, leaves the network as it is.
        unit: all widths are multiples of it.
    """

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> int: ...

    @property
    def widths(self) -> tuple[int, ...]: ...

    @property
    def unit(self) -> int: ...

    @property
    def stream(self) -> bool: ...


@dataclass(frozen=True)
class Decision:
    """One value that a method chooses: channels kept of a group, bits of a layer, the size of a kernel.

    A search sees it as the `Variable` that it is.

    Attributes:
        name: of the group or layer that it is made for.
        options: what can be chosen, ascending; the last one leaves the network as it is.
        rows: indices into `Network.layers` of the rows whose cost depends on it.
    """

    name: str
    options: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The options."""
        return self.options

    @property
    def channels(self) -> int:
        """The last option."""
        return self.options[-1]

    @property
    def unit(self) -> int:
        """Options are multiples of 1."""
        return 1

    @property
    def stream(self) -> bool:
        """No addition ties producers of channels together here."""
        return False


__all__ = ["Choice", "Decision", "Variable"]

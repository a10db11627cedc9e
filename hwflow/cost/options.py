"""The options of an estimate, and which of them each level uses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from hwflow.cost import energy_sources
from hwflow.errors import MOST_EFFORT, MOST_JOBS, InputError, check_whole, not_found
from hwflow.results import LEVELS
from hwflow.types import LevelName, Mapper, Objective

Fallback = Literal["mid", "coarse", "none"]
ENGINES = ("native", "container", "pytimeloop")

_MAPPED: frozenset[LevelName] = frozenset({"mid", "fine"})
_FINE: frozenset[LevelName] = frozenset({"fine"})
USED_AT: dict[str, tuple[frozenset[LevelName], tuple[Any, ...]]] = {
    "dataflow": (_MAPPED, (None,)),
    "objective": (_MAPPED, ("edp",)),
    "effort": (_MAPPED, (1,)),
    "ragged": (_MAPPED, (True,)),
    "mapper": (_FINE, ("hwflow",)),
    "engine": (_FINE, (None,)),
    "fallback": (_FINE, ("mid", "none")),
}
"""For each option the levels whose answer it can change, and the values that ask for nothing. What is not listed (energy, jobs)
holds at all levels. An engine also runs Accelergy, at any level."""


@dataclass(frozen=True)
class Options:
    """What an estimate is asked for; see `hwflow.estimate`."""

    level: LevelName = "mid"
    dataflow: str | None = None
    objective: Objective = "edp"
    energy: str = "auto"
    mapper: Mapper = "hwflow"
    engine: str | None = None
    effort: int = 1
    fallback: Fallback = "none"
    jobs: int = 1
    ragged: bool = True

    def __post_init__(self) -> None:
        allowed = {
            "level": LEVELS,
            "objective": get_args(Objective),
            "mapper": get_args(Mapper),
            "fallback": get_args(Fallback),
            "energy": energy_sources.SOURCES,
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise not_found(name, str(getattr(self, name)), choices)
        if self.engine is not None and self.engine not in ENGINES:
            raise not_found("engine", self.engine, ENGINES)
        check_whole("effort", self.effort, MOST_EFFORT)
        check_whole("jobs", self.jobs, MOST_JOBS)
        if not isinstance(self.ragged, bool):
            raise InputError(f"ragged is {self.ragged!r}; it must be True or False.")


def used_at(level: LevelName, **options: Any) -> dict[str, Any]:
    """Of these options those that the level looks at: for a caller that asks several levels with one set of them."""
    return {name: value for name, value in options.items() if name not in USED_AT or level in USED_AT[name][0]}


def check_used(options: Options, levels: Collection[LevelName] | None = None, *, file: Path | None = None) -> None:
    """Refuse an option that none of the levels looks at: it would change nothing, and its user thinks that it does.

    Args:
        levels: those that are asked for with these options; by default the one in them.
        file: where the options are fields of it.

    Raises:
        InputError: naming the option, its value and the levels at which it means something.
    """
    asked = set(levels or (options.level,))
    for name, (used_at, silent) in USED_AT.items():
        value = getattr(options, name)
        if value in silent or asked & used_at or (name == "engine" and options.energy == "accelergy"):
            continue
        at = " and ".join(level for level in LEVELS if level in used_at)
        here = ", ".join(level for level in LEVELS if level in asked)
        more = ", and for energy accelergy" if name == "engine" else ""
        where = f"{file}: {name}" if file else f"{name} (--{name})"
        raise InputError(
            f"{where} is {value!r}, which changes nothing at level {here}: it is for {at}{more}. Ask for that level, or leave "
            "it out."
        )
    if options.mapper == "timeloop" and asked == {"fine"} and not options.ragged:
        raise InputError("ragged is False beside mapper timeloop, whose mappings are never ragged; leave it out.")


__all__ = ["ENGINES", "USED_AT", "Fallback", "Objective", "Options", "check_used", "used_at"]

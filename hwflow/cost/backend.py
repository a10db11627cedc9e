"""`CostBackend`: what answers for a level, and `BACKENDS`, the levels there are, by name.

A new level is one class and one entry of the dictionary; the suite in tests/conformance/test_backends.py says whether it keeps
its promises. The estimator does the rest: equal layers once, the store, worker processes, fallback, totals and provenance.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from hwflow.cost.chip import Chip
from hwflow.cost.fitted import Ppa
from hwflow.cost.levels import Coarse, Fine, Mid
from hwflow.cost.options import USED_BY, CostOptions
from hwflow.errors import InputError, not_found
from hwflow.layers import Layer
from hwflow.results import LayerCost, LevelName


class Job(Protocol):
    """One layer's cost, still to be computed: plain data, since it may be sent to a worker process."""

    @property
    def key(self) -> str:
        """A hash of everything that the cost depends on, the backend's version included, and of no name of a layer."""
        ...

    def cost(self) -> LayerCost:
        """The cost; equal keys, equal costs.

        Raises:
            NotMappable: where the layer has no mapping on the chip.
            ToolMissing, ToolError: where another program does not answer.
        """
        ...


class CostBackend(Protocol):
    """What answers for one level."""

    @property
    def name(self) -> str:
        """The level, and the kind of its answers in the store."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever an answer can change."""
        ...

    @property
    def needs_chip(self) -> bool:
        """Whether there is no answer without an accelerator."""
        ...

    @property
    def maps(self) -> bool:
        """Whether its answers are those of a mapping: dataflow, objective, effort and ragged matter."""
        ...

    @property
    def external(self) -> bool:
        """Whether another program answers: mapper, engine and fallback matter."""
        ...

    @property
    def fitted(self) -> bool:
        """Whether a model answers that was fitted to another level: ppa_model and extrapolate matter."""
        ...

    def seconds(self, options: CostOptions) -> float | None:
        """About how long one answer takes of another program; None: that is measured; 0: so short that it is not worth keeping
        in the store, or the way to a worker process."""
        ...

    def ready(self, options: CostOptions) -> CostBackend:
        """The backend with the tools that it needs.

        Raises:
            ToolMissing: where one is not here; what is asked for then falls back.
        """
        ...

    def judges(self, options: CostOptions) -> str | None:
        """The level whose mappings it judges, if it finds none itself."""
        ...

    def job(self, layer: Layer, chip: Chip | None, options: CostOptions, before: LayerCost | None) -> Job:
        """What is to be computed for one layer; `before` is what the level that it judges answered."""
        ...


BACKENDS: dict[LevelName, CostBackend] = {"coarse": Coarse(), "mid": Mid(), "fine": Fine(), "ppa": Ppa()}
"""What answers for each level, from the most abstract to the most detailed, and last what was fitted to one of these."""


def backend_of(level: LevelName) -> CostBackend:
    """What answers for a level.

    Raises:
        InputError: where there is no such level.
    """
    if not isinstance(level, str) or level not in BACKENDS:
        raise not_found("level", str(level), BACKENDS)
    return BACKENDS[level]


def used_at(level: LevelName, **options: Any) -> dict[str, Any]:
    """Of these options those that the level looks at: for a caller that asks several levels with one set of them."""
    backend = backend_of(level)
    return {name: value for name, value in options.items() if name not in USED_BY or getattr(backend, USED_BY[name][0])}


def check_used(options: CostOptions, levels: Collection[LevelName] | None = None, *, file: Path | None = None) -> None:
    """Refuse an option that none of the levels looks at: it would change nothing, and its user thinks that it does.

    Args:
        levels: those that are asked for with these options; by default the one in them.
        file: where the options are fields of it.

    Raises:
        InputError: where there is no such level; naming the option, its value and the levels at which it means something.
    """
    asked = [backend_of(level) for level in levels or (options.level,)]
    for name, (attribute, silent) in USED_BY.items():
        value = getattr(options, name)
        if value in silent or any(getattr(backend, attribute) for backend in asked):
            continue
        if name == "engine" and options.energy == "accelergy":
            continue
        if name == "objective" and options.chooses_execution:
            continue
        at = " and ".join(level for level, backend in BACKENDS.items() if getattr(backend, attribute))
        here = ", ".join(level for level, backend in BACKENDS.items() if backend in asked)
        more = ", and for energy accelergy" if name == "engine" else ""
        where = f"{file}: {name}" if file else f"{name} (--{name.replace('_', '-')})"
        raise InputError(
            f"{where} is {_plain(value)!r}, which changes nothing at level {here}: it is for {at}{more}. Ask for that level, "
            "or leave it out."
        )
    if options.mapper == "timeloop" and not options.ragged and all(backend.external for backend in asked):
        raise InputError("ragged is False beside mapper timeloop, whose mappings are never ragged; leave it out.")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


__all__ = ["BACKENDS", "CostBackend", "Job", "backend_of", "check_used", "used_at"]

"""`Dataflow`: constraints on mappings, by role of a memory, for mid's search and for Timeloop's mapper."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from hwflow.errors import InputError, not_found
from hwflow.files import folder, read_yaml
from hwflow.hardware.accelerator import Accelerator, Fanout, presets
from hwflow.hardware.components import Name
from hwflow.hardware.storage_level import LevelConstraint
from hwflow.layers import DIMS, Dim
from hwflow.validation import Strict, explain


class LevelRule(Strict):
    """What a dataflow allows at the part with one role.

    `temporal`: the dimensions whose loops may stand at this memory (None: all). `innermost`: of these, the order of the
    innermost ones, the very innermost first. `rows`, `columns`: the dimensions that may be spread over an array's axes,
    beyond what its wiring already forbids.
    """

    temporal: tuple[Dim, ...] | None = None
    innermost: tuple[Dim, ...] = ()
    rows: tuple[Dim, ...] | None = None
    columns: tuple[Dim, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> LevelRule:
        for label in ("temporal", "innermost", "rows", "columns"):
            dims = getattr(self, label)
            if dims is not None and len(set(dims)) != len(dims):
                raise ValueError(f"{label} (={list(dims)}) names a dimension twice")
        if self.temporal is not None and not set(self.innermost) <= set(self.temporal):
            raise ValueError(
                f"innermost (={list(self.innermost)}) names dimensions that temporal (={list(self.temporal)}) forbids"
            )
        return self


class Dataflow(Strict):
    """A named set of constraints. `requires`: lists of roles, one of which the accelerator must have in full."""

    name: Name
    description: str
    source: str
    requires: tuple[tuple[Name, ...], ...] = ((),)
    rules: dict[Name, LevelRule] = Field(default_factory=dict)

    def fits(self, accelerator: Accelerator) -> bool:
        """Whether the accelerator has the parts that this dataflow speaks of."""
        roles = _roles(accelerator)
        return any(set(alternative) <= roles for alternative in self.requires)


def load_dataflow(name: str | Path) -> Dataflow:
    """A dataflow by name, or from a YAML file.

    Raises:
        InputError: naming the field, its value and what is allowed.
    """
    text = str(name)
    if text in dataflows():
        return _shipped(dataflows()[text])
    if not text.endswith((".yaml", ".yml")):
        raise not_found("dataflow", text, dataflows(), "Or give the path of a YAML file that describes one.")
    return _read(Path(text))


@functools.cache
def _shipped(path: Path) -> Dataflow:
    return _read(path)


def _read(path: Path) -> Dataflow:
    content: Any = read_yaml(path, "dataflow")
    try:
        return Dataflow.model_validate(content)
    except ValidationError as error:
        known = {*Dataflow.model_fields, *LevelRule.model_fields}
        raise InputError(explain(error, content, str(path), known)) from None


@functools.cache
def dataflows() -> dict[str, Path]:
    """The dataflows that ship with hwflow: name to file."""
    return {p.stem: p for p in sorted(folder("mappings").glob("*.yaml"))}


def dataflow_identity(accelerator: Accelerator | None, dataflow: str | None = None) -> str | None:
    """What a run records of the dataflow that it maps with: its name, and of one's own file a hash of its rules.

    An accelerator's fingerprint leaves its dataflow out, since costs are stored under the constraints that follow from it.

    Args:
        dataflow: that was asked for instead of the accelerator's own.
    """
    if accelerator is None or accelerator.own_constraints is not None:  # of which the fingerprint tells
        return None
    name = dataflow or accelerator.dataflow
    if name in dataflows():
        return name
    rules = load_dataflow(name).model_dump(mode="json")["rules"]
    return f"{name} {hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:16]}"


def constrain(accelerator: Accelerator, dataflow: Dataflow | str | None = None) -> tuple[LevelConstraint, ...]:
    """Constraints for every level of `accelerator`, outermost first; None takes the accelerator's own dataflow.

    Raises:
        InputError: where the dataflow does not fit the accelerator; lists the pairs that are legal.
    """
    if (own := accelerator.own_constraints) is not None:
        if dataflow is not None:
            name = dataflow.name if isinstance(dataflow, Dataflow) else dataflow
            raise InputError(
                f"dataflow {name!r}: the constraints of {accelerator.name} are those of its Timeloop files; leave the dataflow "
                "out."
            )
        return own
    chosen = dataflow if isinstance(dataflow, Dataflow) else load_dataflow(dataflow or accelerator.dataflow)
    if not chosen.fits(accelerator):
        raise InputError(_misfit(chosen, accelerator))
    known = _preset_roles() | _roles(accelerator)
    for role in chosen.rules:
        if role not in known:
            raise not_found(f"role in the rules of dataflow {chosen.name!r}", role, known, "A rule for it would bind nothing.")
    arrays = {p.name: p for p in accelerator.hierarchy if isinstance(p, Fanout)}
    result = []
    for level in accelerator.levels:
        rule = chosen.rules.get(level.memory.role, LevelRule()) if level.memory else LevelRule(temporal=())
        temporal = DIMS if rule.temporal is None else rule.temporal
        spatial: tuple[Dim, ...] = ()
        if level.array is not None:
            shape = chosen.rules.get(arrays[level.array].role, LevelRule())
            allowed = shape.columns if level.axis == "X" else shape.rows
            spatial = tuple(d for d in (DIMS if allowed is None else allowed) if d in level.spatial_dims)
        result.append(LevelConstraint(level, temporal, rule.innermost, spatial))
    return tuple(result)


def _roles(accelerator: Accelerator) -> set[str]:
    return {p.role for p in accelerator.hierarchy if p.kind != "mac"}


@functools.cache
def _preset_roles() -> frozenset[str]:
    """The roles that parts of the presets have: what a dataflow can speak of."""
    return frozenset(role for name in presets() for role in _roles(Accelerator.load(name)))


def _misfit(dataflow: Dataflow, accelerator: Accelerator) -> str:
    needed = " or ".join("+".join(alternative) for alternative in dataflow.requires)
    legal = [name for name in dataflows() if load_dataflow(name).fits(accelerator)]
    chips = [name for name in presets() if dataflow.fits(Accelerator.load(name))]
    return (
        f"dataflow {dataflow.name!r} does not fit accelerator {accelerator.name!r}: it needs parts with the roles {needed}, "
        f"and {accelerator.name} has {', '.join(sorted(_roles(accelerator)))}. Dataflows that fit {accelerator.name}: "
        f"{', '.join(legal)}. Accelerators that {dataflow.name} fits: {', '.join(chips) or 'none of the presets'}."
    )


__all__ = ["Dataflow", "LevelConstraint", "LevelRule", "constrain", "dataflows", "load_dataflow"]

"""`TimeloopAccelerator`: a chip described in Timeloop's own format.

Mid sees an `Accelerator` derived from the files; fine runs the architecture as it is written. What the first cannot express
of the second is in words: `notes` where the numbers are not touched, `refusals` where mid's numbers would be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NoReturn

from pydantic import ValidationError

from hwflow.errors import InputError, listed
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.components import Memory, Name
from hwflow.hardware.storage_level import Level, LevelConstraint
from hwflow.layers import Bits, Dim
from hwflow.validation import Strict, explain

OTHERS = "not of the files' classes"
"""What the source of energies says of a chip from Timeloop's files whose own classes were not asked."""


class Limits(Strict):
    """What the files allow at one level of hwflow's: dimensions of temporal loops, their forced innermost order (the very
    innermost first), and dimensions over the fan-out below, the outermost first."""

    temporal: tuple[Dim, ...]
    innermost: tuple[Dim, ...]
    spatial: tuple[Dim, ...]


class Place(Strict):
    """One storage level of the user's architecture.

    Attributes:
        component: its name with its range, as tables of energies have it.
        memory: the memory that it is, or None: it stores nothing.
        mesh: columns and rows of all its instances.
        fanout: how many times as many columns and rows the level below has.
        axes: those of its axes along which anything can lie; of two, Timeloop has the loops on Y outside.
        array: the fan-out's name among the parts, or None where there is none before the next memory.
    """

    name: Name
    component: str
    memory: Name | None
    mesh: tuple[int, int]
    fanout: tuple[int, int]
    axes: tuple[Literal["X", "Y"], ...]
    array: Name | None

    @property
    def levels(self) -> tuple[tuple[str, Literal["X", "Y"] | None], ...]:
        """The names of hwflow's levels here, outermost first, each with the axis below it."""
        if len(self.axes) < 2:
            return ((self.name, self.axes[0] if self.axes else None),)
        return (self.name, self.axes[0]), (f"{self.name}_columns", self.axes[1])


class Written(Strict):
    """What a part is in the files: its class, and its attributes with those that it inherits."""

    kind: str
    attributes: dict[str, Any]


class TimeloopAccelerator(Accelerator):
    """An accelerator derived from Timeloop's files (`hwflow.from_timeloop`), which it carries.

    Attributes:
        architecture: the native architecture as YAML, for Timeloop.
        targets: the constraints on mappings, for timeloop-mapper.
        components: the classes of components that the files define as YAML, for Accelergy.
        places: the storage levels of the architecture, outermost first; `unit` is the arithmetic's name with its range.
        limits: what `targets` mean for each level of hwflow's.
        clusters: for memories of which several instances are one physical array, how many.
        unpriced: parts for which no recorded or fitted energies hold, and why.
        extra: further input of Timeloop, by file.
        refusals: what makes mid's numbers wrong; notes: what else is not as the files have it.
    """

    architecture: str
    targets: tuple[dict[str, Any], ...]
    components: str
    written: dict[Name, Written]
    places: tuple[Place, ...]
    unit: str
    limits: dict[Name, Limits]
    clusters: dict[Name, int]
    unpriced: dict[Name, str]
    extra: dict[str, str]
    refusals: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def derived(cls, content: dict[str, Any], where: str) -> TimeloopAccelerator:
        """Validate what was derived; `where` are the files, for errors."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(explain(error, content, where)) from None

    def dense(self) -> Accelerator:
        """Itself: the architecture stays as it is written, and without `sparse_optimizations` it does nothing about zeros."""
        return self

    def with_(self, changes: Mapping[str, Any]) -> NoReturn:
        """Refused: the files say what the chip is."""
        raise InputError(
            f"accelerator {self.name} comes from Timeloop's files, so {', '.join(changes)} cannot be set; change it in these."
        )

    def with_bits(self, bits: Bits) -> NoReturn:
        """Refused: word widths are the files' `datawidth`."""
        raise InputError(
            f"accelerator {self.name} comes from Timeloop's files, so word widths of {bits.weights}, {bits.inputs} and "
            f"{bits.outputs} bits cannot be set; leave them out, or change datawidth in the files."
        )

    @property
    def sparse(self) -> bool:
        """Whether the files have `sparse_optimizations`."""
        return "sparse.yaml" in self.extra

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The storage levels of the architecture one by one, those that store nothing included: ragged loops see each."""
        found = []
        for place in self.places:
            x, y = place.mesh
            for name, axis in place.levels:
                memory = self[place.memory] if name == place.memory else None
                assert memory is None or isinstance(memory, Memory)
                level = Level(name, memory, x * y, x, y, cluster=self.clusters.get(name, 1))
                if axis is not None:
                    size = place.fanout[0 if axis == "X" else 1]
                    level = replace(level, fanout=size, axis=axis, array=place.array, spatial_dims=self.limits[name].spatial)
                    x, y = (x * size, y) if axis == "X" else (x, y * size)
                found.append(level)
        return tuple(found)

    @cached_property
    def own_constraints(self) -> tuple[LevelConstraint, ...]:
        """What the files allow at each level."""
        found = [(level, self.limits[level.name]) for level in self.levels]
        return tuple(LevelConstraint(level, own.temporal, own.innermost, own.spatial) for level, own in found)

    @property
    def mid_answers(self) -> bool:
        """Whether the files hold nothing that mid has no counterpart of."""
        return not self.refusals

    @property
    def remarks(self) -> tuple[str, ...]:
        """What mid has not as the files have it."""
        return (*self.notes, *(f"mid cannot answer for {refusal}" for refusal in self.refusals))

    @property
    def origin(self) -> Mapping[str, Any]:
        """The same for a result's provenance."""
        return {"timeloop_files": {"notes": list(self.notes), "refusals": list(self.refusals)}}

    @property
    def without_energies(self) -> tuple[str, ...]:
        """Of the parts whose attributes say too little, why."""
        return tuple(self.unpriced.values())

    @property
    def energy_remark(self) -> str:
        """That the classes that the files define were not asked."""
        return OTHERS

    def sharers(self, part: str) -> int:
        """A cluster's size."""
        return self.clusters.get(part, 1)

    @cached_property
    def physical(self) -> Accelerator:
        """The parts as they are built, for their energies: a cluster's array as one memory of its whole width."""
        content = {name: getattr(self, name) for name in ("name", "technology_nm", "clock_mhz")}
        parts = [part.model_dump(exclude_none=True) for part in self.hierarchy]
        for part in parts:
            cluster = self.clusters.get(part["name"], 1)
            for field in ("width_bits", "size_words"):
                if field in part:
                    part[field] *= cluster
        return Accelerator.from_dict({**content, "hierarchy": parts})

    def check(self) -> None:
        """Refuse where mid's numbers would be wrong.

        Raises:
            InputError: saying of what in the files.
        """
        if self.refusals:
            raise InputError(
                f"accelerator {self.name}: mid cannot answer for it: {listed(self.refusals)}. Change that in the files, or "
                "let Timeloop search: hwflow estimate --level fine --mapper timeloop --strict."
            )

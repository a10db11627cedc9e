"""`Space`: the designs that a sweep file describes. A design is an accelerator with its fields set, and a dataflow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from hwflow.errors import InputError, shown
from hwflow.hardware.accelerator import Accelerator, label_of, presets
from hwflow.hardware.dataflow import dataflows, load_dataflow
from hwflow.sweeping.constraint import Constraint
from hwflow.sweeping.description import AcceleratorSpec, Description
from hwflow.validation import sentence


class Design(NamedTuple):
    """One design by its places: of the accelerator, of each of its fields' values, of the dataflow."""

    entry: int
    values: tuple[int, ...]
    dataflow: int


@dataclass(frozen=True)
class Entry:
    """One accelerator of a sweep file: the values of its swept fields; `present` has its own of all numbers."""

    name: str
    base: Accelerator
    fields: Mapping[str, tuple[Any, ...]]
    constraint: Constraint | None
    present: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Combinations of values, allowed or not."""
        return math.prod(map(len, self.fields.values()))

    def settings(self, places: Sequence[int]) -> dict[str, Any]:
        """The fields' values, by name."""
        return {name: values[i] for (name, values), i in zip(self.fields.items(), places, strict=True)}


@dataclass(frozen=True)
class Space:
    """All designs; in their fixed order, the dataflow changes fastest, then the last field."""

    entries: tuple[Entry, ...]
    dataflows: tuple[str | None, ...]

    @property
    def size(self) -> int:
        """Designs, allowed or not."""
        return sum(entry.size for entry in self.entries) * len(self.dataflows)

    @property
    def genes(self) -> int:
        """How many numbers `decode` takes."""
        return 2 + max(len(entry.fields) for entry in self.entries)

    def designs(self) -> Iterator[Design]:
        """All that the constraints allow."""
        for e, entry in enumerate(self.entries):
            for values in itertools.product(*(range(len(v)) for v in entry.fields.values())):
                if self.allows(Design(e, values, 0)):
                    yield from (Design(e, values, d) for d in range(len(self.dataflows)))

    def allows(self, design: Design) -> bool:
        """Whether the accelerator's constraint holds."""
        entry = self.entries[design.entry]
        return entry.constraint is None or entry.constraint.holds({**entry.present, **entry.settings(design.values)})

    def decode(self, genes: Sequence[float]) -> Design:
        """The design at a place of the unit cube: accelerator, dataflow, and each field's place among its values."""
        entry = _place(genes[0], len(self.entries))
        values = tuple(_place(gene, len(v)) for gene, v in zip(genes[2:], self.entries[entry].fields.values(), strict=False))
        return Design(entry, values, _place(genes[1], len(self.dataflows)))

    def encode(self, design: Design) -> list[float]:
        """The middle of the part of the unit cube that `decode` reads as this design."""
        entry = self.entries[design.entry]
        places = [(design.entry, len(self.entries)), (design.dataflow, len(self.dataflows))]
        places += zip(design.values, map(len, entry.fields.values()), strict=True)
        genes = [(place + 0.5) / count for place, count in places]
        return genes + [0.5] * (self.genes - len(genes))

    def accelerator(self, design: Design) -> Accelerator:
        """The chip.

        Raises:
            InputError: where the values make none together.
        """
        entry = self.entries[design.entry]
        settings = entry.settings(design.values)
        return entry.base.with_(settings) if settings else entry.base

    def label(self, design: Design) -> str:
        """The chip's name: its base, with what is set."""
        entry = self.entries[design.entry]
        return label_of(entry.name, entry.settings(design.values))

    def fields(self, design: Design) -> dict[str, Any]:
        """The values of all swept fields, of any accelerator of the file; None where this one has none."""
        entry = self.entries[design.entry]
        settings = {**entry.present, **entry.settings(design.values)}
        return {name: settings.get(name) for name in self.values}

    @cached_property
    def values(self) -> dict[str, tuple[Any, ...]]:
        """Every swept field with all values that it takes anywhere."""
        names = dict.fromkeys(name for entry in self.entries for name in entry.fields)
        return {n: tuple(v for e in self.entries for v in e.fields.get(n, (e.present.get(n),))) for n in names}

    def parts(self) -> list[str]:
        """The memories and MAC units of all chips, by name."""
        return list(dict.fromkeys(part.name for e in self.entries for part in (*e.base.memories, e.base.mac)))

    def dataflow(self, design: Design) -> str:
        """The dataflow's name; the accelerator's own where the file names none."""
        return self.dataflows[design.dataflow] or self.entries[design.entry].base.dataflow


def space_of(description: Description, folder: Path) -> Space:
    """The designs that a sweep file describes; files are named relative to `folder`.

    Raises:
        InputError: for an accelerator, a dataflow or a field that does not exist, a value that a field cannot have, and where
            constraints leave no design.
    """
    entries = tuple(_entry(spec, f"accelerators[{i}]", folder) for i, spec in enumerate(description.accelerators))
    names = tuple(None if name is None else located(name, folder, dataflows()) for name in description.dataflows)
    for name in names:
        if name is not None:
            load_dataflow(name)
    space = Space(entries, names)
    for i, entry in enumerate(entries):
        alone = Space((entry,), (None,))
        if next(itertools.islice(alone.designs(), 1), None) is None and entry.constraint is not None:
            raise InputError(
                f"accelerators[{i}]: where {entry.constraint.text!r} leaves no design: it holds for none of the "
                f"{entry.size:,} combinations of {', '.join(entry.fields) or 'no field'}. Loosen it, or widen the values."
            )
    return space


def located(name: str, folder: Path, known: Mapping[str, Any] | Sequence[str]) -> str:
    """A name as it is, or a file or folder beside the sweep file."""
    beside = name not in known and (name.endswith((".yaml", ".yml", ".onnx")) or (folder / name).is_dir())
    return str(folder / name) if beside else name


def _place(gene: float, count: int) -> int:
    return min(int(gene * count), count - 1)


def _entry(spec: AcceleratorSpec, where: str, folder: Path) -> Entry:
    base = Accelerator.load(located(spec.base, folder, presets()))
    if spec.pe_types is not None and "pe_type" in spec.set:
        raise InputError(f"{where}: pe_types and set.pe_type say the same; leave one out.")
    fields = spec.set if spec.pe_types is None else {"pe_type": spec.pe_types, **spec.set}
    for field, values in fields.items():
        _check(base, field, values, f"{where}.set")
    constraint = Constraint(spec.where, f"{where}.where") if spec.where else None
    present = _values(base)
    if constraint is not None:
        constraint.known({**present, **fields})
    return Entry(spec.base, base, fields, constraint, present)


def _values(accelerator: Accelerator) -> dict[str, Any]:
    """All fields that are numbers, as users name them."""
    content: dict[str, Any] = {name: getattr(accelerator, name) for name in ("technology_nm", "clock_mhz")}
    for part in accelerator.hierarchy:
        content |= {f"{part.name}.{name}": value for name, value in part if isinstance(value, (int, float))}
    for name, value in accelerator.vector_unit or ():
        content |= {f"vector_unit.{name}": value} if isinstance(value, (int, float)) else {}
    return content


def _check(accelerator: Accelerator, field: str, values: Sequence[Any], where: str) -> None:
    """Refuse a field that does not exist, or cannot be swept, and a value that it can never have."""
    if field in ("name", "description", "dataflow"):
        hint = "name dataflows beside accelerators" if field == "dataflow" else "it changes no cost"
        raise InputError(f"{where}: {field} cannot be swept here: {hint}.")
    head, _, rest = field.partition(".")
    part: Any = next((p for p in accelerator.hierarchy if p.name == head), None)
    if head == "vector_unit" and rest:
        part = accelerator.vector_unit
        if part is None:
            raise InputError(f"{where}: {field}: {accelerator.name} has no vector_unit; describe one in a file of its own.")
    if head == "sparsity" and rest:  # no preset has one, so that only with a value it can be checked
        for value in values:
            try:
                accelerator.with_({field: value})
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        return
    owner = accelerator if part is None else part
    name = rest if part is not None else head
    accelerator.with_({field: getattr(owner, name, None)})  # the error for a field that is none
    info = type(owner).model_fields[name]
    adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
    for value in values:
        try:
            valid = adapter.validate_python(value)
        except ValidationError as error:
            problem = sentence(error.errors()[0])
            raise InputError(f"{where}: {field} is {shown(value)}: {problem}.") from None
        if isinstance(value, str) and valid != value:  # it would be no number to `where`, and a text in the tables
            raise InputError(f"{where}: {field} is {value!r}, a text: write {valid!r}, without quotes.")

"""`Accelerator`: one typed, validated description of a chip, for all three levels.

A chip is a hierarchy, outermost first: memories, fan-outs between them, and one kind of MAC unit at the end. Mid computes from
this description, fine renders Timeloop's files from it, so a number that both need is written once.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from hwflow import display
from hwflow.errors import InputError, not_found
from hwflow.files import folder, parse_yaml, read_text, read_yaml
from hwflow.hardware.arithmetic import check_operands, is_plain
from hwflow.hardware.components import Fanout, MacUnit, Memory, Part, PositiveFloat, VectorUnit
from hwflow.hardware.fields import assign, assigned_order
from hwflow.hardware.identity import fingerprint_of, flat
from hwflow.hardware.pe_types import PE_TYPES, PeTypeName, pe_type
from hwflow.hardware.sparsity import Compressed, Sparsity
from hwflow.hardware.storage_level import Level, LevelConstraint, with_fanout
from hwflow.hardware.word_widths import misfit_text, set_word_widths
from hwflow.layers import TENSORS, Bits, Layer
from hwflow.text import label_of
from hwflow.validation import Strict, explain

MOST_BYPASSES = 8
"""Tensors that memories may bypass, all together: a mapping search is repeated for each of their combinations."""

_LISTED = 8  # changes that a label lists; with more, it is a chip of its own under a preset's name


class Accelerator(Strict):  # noqa: PLW1641  (pydantic's hash of frozen models)
    """A chip: hierarchy outermost first, technology and clock. Immutable; `with_` makes variants.

    Raises:
        InputError: from `load`, `from_dict` and `with_`, naming the field's path, its value and what is allowed.
    """

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    technology_nm: PositiveFloat
    clock_mhz: PositiveFloat
    dataflow: str = "flexible"
    pe_type: PeTypeName | None = None
    hierarchy: tuple[Part, ...]
    vector_unit: VectorUnit | None = None
    sparsity: Sparsity | None = None
    sources: dict[str, str] = Field(default_factory=dict)

    _origin: Accelerator | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check(self) -> Accelerator:
        parts = self.hierarchy
        names = [p.name for p in parts]
        for n in names:
            if names.count(n) > 1:
                raise ValueError(f"hierarchy: the name {n!r} appears twice; every part needs its own")
        if not parts:
            raise ValueError("hierarchy: it is empty; it must begin with a memory and end in one part of kind mac")
        if not isinstance(parts[-1], MacUnit) or any(isinstance(p, MacUnit) for p in parts[:-1]):
            found = ", ".join(f"{p.name} ({p.kind})" for p in parts)
            raise ValueError(f"hierarchy: it must end in one part of kind mac, and have no other; it is {found}")
        first = parts[0]
        if not isinstance(first, Memory) or set(first.keeps) != set(TENSORS):
            raise ValueError(
                "hierarchy: the first part must be a memory that keeps weights, inputs and outputs; it is "
                f"{first.name} ({first.kind})"
            )
        for above, below in itertools.pairwise(parts):
            if isinstance(above, Fanout) and isinstance(below, Fanout):
                raise ValueError(
                    f"hierarchy: {above.name} and {below.name} are two fan-outs in a row; make them one with rows and columns, "
                    "or put a memory between them"
                )
        if any(isinstance(p, Memory) and p.kind == "dram" for p in parts[1:]):
            raise ValueError("hierarchy: only the first part can be a dram")
        roles = [(p.role, p.name) for p in parts if not isinstance(p, MacUnit)]
        for role, name in roles:
            if [r for r, _ in roles].count(role) > 1:
                raise ValueError(
                    f"hierarchy: {name}: the role {role!r} is taken by another part; a dataflow finds parts by role"
                )
        free = [(p.name, t) for p in parts if isinstance(p, Memory) for t in p.may_bypass]
        if len(free) > MOST_BYPASSES:
            raise ValueError(
                f"hierarchy: may_bypass names {len(free)} tensors at {', '.join(dict.fromkeys(name for name, _ in free))}; at "
                f"most {MOST_BYPASSES} in all, since every combination is searched"
            )
        if self.sparsity is not None:
            if free:
                raise ValueError(f"hierarchy: {free[0][0]}: may_bypass cannot be combined with the section sparsity")
            self.sparsity.check(parts)
        return self

    # Reading and changing --------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, spec: str | Path) -> Accelerator:
        """A preset by name, or a description from a YAML file (a path, or a name that ends in .yaml or .yml).

        The name of a PE type (`hwflow list pe-types`) stands for Eyeriss with such PEs.
        """
        text = str(spec)
        if text in presets():
            return _preset(presets()[text])
        if text in PE_TYPES:
            return cls.load("eyeriss").with_({"pe_type": text})
        if text.endswith((".yaml", ".yml")) or "/" in text:
            content = read_text(text, "accelerator")
            if re.search(r"^arch(itecture)?\s*:", content, re.MULTILINE):
                raise InputError(
                    f"accelerator {text} is an architecture in Timeloop's format, not hwflow's; give it with --timeloop-arch "
                    "(in Python: hwflow.from_timeloop)."
                )
            return cls.from_dict(parse_yaml(content, f"accelerator: {text}"), text)
        raise not_found("accelerator", text, (*presets(), *PE_TYPES), "Or give the path of a YAML file that describes one.")

    @classmethod
    def from_dict(cls, content: Any, where: str = "accelerator") -> Accelerator:
        """Validate a description; one that has `base` starts from that preset and changes the fields given beside it."""
        if not isinstance(content, Mapping):
            raise InputError(f"{where}: an accelerator is a mapping of fields, not {type(content).__name__}.")
        if "base" in content:
            return _derive(content, where)
        return _validated(dict(content), where)

    def with_(self, changes: Mapping[str, Any]) -> Accelerator:
        """A variant: `{"pe_array.rows": 16, "global_buffer.size_kib": 64, "clock_mhz": 500}`.

        `pe_type` changes arithmetic and words of all parts (`hwflow.hardware.pe_types`), before anything else is changed.
        """
        content = self.model_dump(exclude_none=True)
        for path in assigned_order(changes):
            assign(content, path, changes[path], f"accelerator {self.name}", Accelerator.model_fields)
        variant = _validated(content, f"accelerator {self.name}")
        if self.name not in presets():  # what a preset was is known by its name
            variant._origin = self._origin or self
        return variant

    def dense(self) -> Accelerator:
        """This chip without `sparsity`, as for a layer of which no density is known."""
        return self if self.sparsity is None else self.with_({"sparsity": None})

    def with_bits(self, bits: Bits) -> Accelerator:
        """Word widths for these tensors: each memory takes the largest of what it keeps, sizes in bytes stay as they are.

        The multiplier takes the wider operand; the adder keeps its own width unless outputs need more, and so do memories for
        outputs alone, which hold sums. How narrower elements of a layer lie in a memory's words is said in
        `hwflow.hardware.stored_bits`.
        """
        check_operands(self.mac, bits)
        content = self.model_dump(exclude_none=True)
        if misfits := set_word_widths(content["hierarchy"], bits):
            common = math.gcd(*(memory.width_bits for memory in self.memories))
            raise InputError(f"accelerator {self.name}: {misfit_text(misfits, common)}")
        return _validated(content, f"accelerator {self.name}")

    def serving(self, layer: Layer) -> Accelerator:
        """This chip with the word widths that a layer asks for, if any.

        Raises:
            InputError: naming the layer and the fields that its words do not fit.
        """
        if layer.bits is None:
            return self
        try:
            return self.with_bits(layer.bits)
        except InputError as error:
            raise InputError(f"layer {layer.name}: {error}") from None

    @property
    def own_bits(self) -> tuple[int, int] | None:
        """Bits of weights and activations at which layers run that state none, where the PEs are of a type."""
        return None if self.pe_type is None else (pe_type(self.pe_type).weights, pe_type(self.pe_type).activations)

    def typed(self, layer: Layer) -> Layer:
        """A layer at `own_bits` where it states none."""
        if self.own_bits is None or layer.bits is not None:
            return layer
        weights, activations = self.own_bits
        return layer.with_(bits=Bits(weights, activations, activations))

    def differences(self, other: Accelerator) -> dict[str, Any]:
        """The fields in which this chip differs from `other`, by the names that `with_` takes, with this chip's values."""
        mine, theirs = flat(self), flat(other)
        return {path: mine.get(path) for path in dict.fromkeys([*mine, *theirs]) if mine.get(path) != theirs.get(path)}

    # What it is ------------------------------------------------------------------------------------------------------

    @cached_property
    def changes(self) -> dict[str, Any]:
        """What a variant changes of the preset whose name it bears, or of the description that `with_` made it from."""
        origin = self._origin
        if origin is None and self.name in presets():
            origin = Accelerator.load(self.name)
        if origin is None:
            return {}
        if self.pe_type != origin.pe_type and self.pe_type is not None:
            typed = origin.with_({"pe_type": self.pe_type})
            found = {"pe_type": self.pe_type} | self.differences(typed)
        else:
            found = self.differences(origin)
        for one, other in (("size_kib", "size_words"), ("size_words", "size_kib")):  # two ways to say one thing
            for path in [p for p in found if p.endswith(f".{one}") and found[p] is None]:
                if found.get(f"{path.removesuffix(one)}{other}") is not None:
                    del found[path]
        return found

    @cached_property
    def label(self) -> str:
        """How titles, tables and files call this chip: its name and what a variant changes, `eyeriss (pe_array.rows=24)`."""
        if len(self.changes) > _LISTED:
            return f"{self.name} ({len(self.changes)} fields changed, {self.fingerprint[:8]})"
        return label_of(self.name, self.changes)

    def __repr__(self) -> str:
        memories = " > ".join(memory.name for memory in self.memories)
        units = f"{self.mac_units:,} x {self.mac.name}"
        return f"<{type(self).__name__} {self.label}: {memories} > {units}, {self.clock_mhz:g} MHz>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        shared = {"name", "kind", "role"}
        parts = [
            (part.name, part.kind, part.model_dump(exclude_none=True, exclude_defaults=True, exclude=shared))
            for part in self.hierarchy
        ]
        line = f"{self.mac_units:,} MAC units, {self.clock_mhz:g} MHz, {self.technology_nm:g} nm, dataflow {self.dataflow}"
        return display.accelerator_html(self.label, parts, line)

    def __eq__(self, other: object) -> bool:
        """Compared by content, regardless of the preset that a variant was made from."""
        return type(other) is type(self) and isinstance(other, Accelerator) and other.model_dump() == self.model_dump()

    def __getitem__(self, name: str) -> Memory | Fanout | MacUnit:
        for part in self.hierarchy:
            if part.name == name:
                return part
        raise not_found(f"part of accelerator {self.name}", name, (p.name for p in self.hierarchy))

    @cached_property
    def memories(self) -> tuple[Memory, ...]:
        """Storage levels, outermost first."""
        return tuple(p for p in self.hierarchy if isinstance(p, Memory))

    @cached_property
    def dram(self) -> Memory:
        """The outermost memory."""
        return self.memories[0]

    @cached_property
    def mac(self) -> MacUnit:
        """The arithmetic unit."""
        last = self.hierarchy[-1]
        assert isinstance(last, MacUnit)
        return last

    @cached_property
    def mac_units(self) -> int:
        """How many MAC units the chip has."""
        return math.prod((p.rows or 1) * (p.columns or 1) for p in self.hierarchy if isinstance(p, Fanout))

    @property
    def cycle_s(self) -> float:
        """Duration of a cycle in seconds."""
        return 1e-6 / self.clock_mhz

    def words_per_cycle(self, memory: Memory) -> float | None:
        """`bandwidth_gb_s` of one instance as words per cycle, or None where it has none."""
        if memory.bandwidth_gb_s is None:
            return None
        return memory.bandwidth_gb_s * 1e9 / (memory.word_bits / 8) * self.cycle_s

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Storage levels outermost first, the empty ones of two-dimensional fan-outs included."""
        levels: list[Level] = []
        x = y = 1
        for part, below in zip(self.hierarchy, self.hierarchy[1:], strict=False):
            if not isinstance(part, Memory):
                continue
            here = Level(part.name, part, x * y, x, y)
            if not isinstance(below, Fanout):
                levels.append(here)
                continue
            if below.columns is not None:
                levels.append(with_fanout(here, below, "X"))
                x *= below.columns
                here = Level(below.name, None, x * y, x, y)
            if below.rows is not None:
                levels.append(with_fanout(here, below, "Y"))
                y *= below.rows
        return tuple(levels)

    # What chips from Timeloop's files answer otherwise: `hwflow.hardware.timeloop_accelerator` --------------------------

    def check(self) -> None:
        """Refuse where mid's numbers would be wrong, which they are for no description of hwflow's own."""

    @property
    def mid_answers(self) -> bool:
        """Whether `check` passes."""
        return True

    @property
    def sparse(self) -> bool:
        """Whether it does something about zeros."""
        return self.sparsity is not None

    @property
    def own_constraints(self) -> tuple[LevelConstraint, ...] | None:
        """The constraints on mappings that belong to the chip; None where they are those of a dataflow."""
        return None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What whoever uses the chip should be told of it before any result."""
        return ()

    @property
    def origin(self) -> Mapping[str, Any]:
        """What a result's provenance holds of the files that the chip was derived from."""
        return {}

    @property
    def physical(self) -> Accelerator:
        """The chip whose parts are priced; one instance of a part of this chip is one of `sharers` of one of its parts."""
        return self

    def sharers(self, _part: str) -> int:
        """How many instances of a memory are one physical array."""
        return 1

    @property
    def without_energies(self) -> tuple[str, ...]:
        """Why no recorded or fitted energies hold for the chip; empty where they do."""
        return ()

    @property
    def energy_remark(self) -> str:
        """What must be said of energies that were not asked of Accelergy."""
        return ""

    # -----------------------------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that can change the cost of a layer: to layers, chips with the same one are the same."""
        return fingerprint_of(self, plain=is_plain(self.mac))


@functools.cache
def presets() -> dict[str, Path]:
    """The accelerators that ship with hwflow: name to file."""
    return {p.stem: p for p in sorted((folder("arch_templates") / "accelerators").glob("*.yaml"))}


@functools.cache
def _preset(path: Path) -> Accelerator:
    return Accelerator.from_dict(read_yaml(path, f"accelerator {path.stem}"), str(path))


def _derive(content: Mapping[str, Any], where: str) -> Accelerator:
    changes = dict(content)
    name = str(changes.pop("base"))
    if name not in presets():
        raise not_found(f"base of {where}", name, presets(), "A description starts from a preset.")
    base = Accelerator.load(name)
    renamed: dict[str, Any] = {k: changes.pop(k) for k in ("name", "description", "sources") if k in changes}
    flat: dict[str, Any] = {}
    for key, value in changes.items():
        if not isinstance(key, str):
            raise InputError(f"{where}: {key!r} is no name of a field.")
        if isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": v for inner, v in value.items()})
        else:
            flat[key] = value
    draft = base.model_dump(exclude_none=True)
    for path in assigned_order(flat):
        assign(draft, path, flat[path], where, Accelerator.model_fields)
    sources = renamed.pop("sources", {})
    if not isinstance(sources, Mapping):
        raise InputError(f"{where}: sources is {sources!r}; it must be a mapping of fields to texts.")
    draft["sources"] = {**base.sources, **sources}
    return _validated({**draft, **renamed}, where)


_FIELDS = frozenset(
    name for model in (Accelerator, Memory, Fanout, MacUnit, VectorUnit, Sparsity, Compressed) for name in model.model_fields
)


def _validated(content: dict[str, Any], where: str) -> Accelerator:
    try:
        return Accelerator.model_validate(content)
    except ValidationError as error:
        raise InputError(explain(error, content, where, _FIELDS)) from None


__all__ = ["Accelerator", "Fanout", "Level", "MacUnit", "Memory", "explain", "label_of", "presets"]

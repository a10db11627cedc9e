"""`Accelerator`: one typed, validated description of a chip, for all three levels.

A chip is a hierarchy, outermost first: memories, fan-outs between them, and one kind of MAC unit at the end. Mid computes from
this description, fine renders Timeloop's files from it, so a number that both need is written once.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from hwflow import display
from hwflow.errors import InputError, not_found, shown
from hwflow.files import folder, parse_yaml, read_text, read_yaml
from hwflow.hardware.components import Fanout, MacUnit, Memory, NamedPart, Part, PositiveFloat
from hwflow.layers import DIMS, TENSORS, Bits, Dim, Layer
from hwflow.validation import explain

_LISTED = 8  # changes that a label lists; with more, it is a chip of its own under a preset's name

_WIDEST = 64
"""Bits: words of more are no values of a layer's."""


@dataclass(frozen=True)
class Level:
    """A storage level as the loop-nest analysis and Timeloop see it, with the spatial boundary below it.

    A two-dimensional fan-out is two boundaries: its columns below the memory above it, its rows below a level of its own
    that stores nothing (`memory` is None), so that one loop dimension can lie on both axes. `cluster`: so many instances are
    one physical array, and an access of any of them pays for all of it (Timeloop's `cluster_size`).
    """

    name: str
    memory: Memory | None
    instances: int
    mesh_x: int
    mesh_y: int
    fanout: int = 1
    axis: Literal["X", "Y"] | None = None
    array: str | None = None
    spatial_dims: tuple[Dim, ...] = ()
    cluster: int = 1


class Accelerator(BaseModel):  # noqa: PLW1641  (pydantic's hash of frozen models)
    """A chip: hierarchy outermost first, technology and clock. Immutable; `with_` makes variants.

    Raises:
        InputError: from `load`, `from_dict` and `with_`, naming the field's path, its value and what is allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    technology_nm: PositiveFloat
    clock_mhz: PositiveFloat
    dataflow: str = "flexible"
    hierarchy: tuple[Part, ...]
    sources: dict[str, str] = {}

    _origin: Accelerator | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check(self) -> Accelerator:
        parts = self.hierarchy
        names = [p.name for p in parts]
        for n in names:
            if names.count(n) > 1:
                raise ValueError(f"hierarchy: the name {n!r} stands twice; every part needs its own")
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
        return self

    # Reading and changing --------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, spec: str | Path) -> Accelerator:
        """A preset by name, or a description from a YAML file (a path, or a name that ends in .yaml or .yml)."""
        text = str(spec)
        if text in presets():
            return _preset(presets()[text])
        if text.endswith((".yaml", ".yml")) or "/" in text:
            content = read_text(text, "accelerator")
            if re.search(r"^arch(itecture)?\s*:", content, re.MULTILINE):
                raise InputError(
                    f"accelerator {text} is an architecture in Timeloop's format, not hwflow's; give it with --timeloop-arch "
                    "(in Python: hwflow.from_timeloop)."
                )
            return cls.from_dict(parse_yaml(content, f"accelerator: {text}"), text)
        raise not_found("accelerator", text, presets(), "Or give the path of a YAML file that describes one.")

    @classmethod
    def from_dict(cls, content: Any, where: str = "accelerator") -> Accelerator:
        """Validate a description; one that has `base` starts from that preset and changes the fields given beside it."""
        if not isinstance(content, Mapping):
            raise InputError(f"{where}: an accelerator is a mapping of fields, not {type(content).__name__}.")
        if "base" in content:
            return _derive(content, where)
        return _validated(dict(content), where)

    def with_(self, changes: Mapping[str, Any]) -> Accelerator:
        """A variant: `{"pe_array.rows": 16, "global_buffer.size_kib": 64, "clock_mhz": 500}`."""
        content = self.model_dump(exclude_none=True)
        for path, value in changes.items():
            _assign(content, path, value, f"accelerator {self.name}")
        variant = _validated(content, f"accelerator {self.name}")
        if self.name not in presets():  # what a preset was is known by its name
            variant._origin = self._origin or self
        return variant

    def with_bits(self, bits: Bits) -> Accelerator:
        """Word widths for these tensors: each memory takes the largest of what it keeps, sizes in bytes stay as they are.

        The multiplier takes the wider operand; the adder keeps its own width unless outputs need more. So do accumulators:
        memories for outputs alone whose words are wider than the multiplier's operands hold sums that no narrower word could.
        """
        width = dict(zip(TENSORS, bits, strict=True))
        content = self.model_dump(exclude_none=True)
        misfits: dict[str, int] = {}
        for part in content["hierarchy"]:
            if part["kind"] == "mac":
                part["multiplier_bits"] = max(bits.weights, bits.inputs)
                part["adder_bits"] = max(part["adder_bits"], bits.outputs) if bits.outputs else part["adder_bits"]
            elif part["kind"] != "fanout":
                old, new = part["word_bits"], max(width[t] for t in part["keeps"])
                if set(part["keeps"]) == {"outputs"} and old > self.mac.multiplier_bits:
                    new = max(old, new)
                if part["width_bits"] % new:
                    misfits[f"{part['name']}.width_bits (={part['width_bits']})"] = new
                    continue
                part["word_bits"] = new
                if "size_words" in part:
                    total = part["size_words"] * old
                    part["size_words"] = total // part["width_bits"] * (part["width_bits"] // new)
                for field in ("read_words_per_cycle", "write_words_per_cycle"):
                    if field in part:
                        part[field] *= old / new
        if misfits:
            raise InputError(f"accelerator {self.name}: {self._misfit(misfits)}")
        return _validated(content, f"accelerator {self.name}")

    def _misfit(self, misfits: Mapping[str, int]) -> str:
        """Why words do not fit into the accesses of memories, given by their fields, and what does."""
        asked = sorted(set(misfits.values()))
        common = math.gcd(*(memory.width_bits for memory in self.memories))
        fitting = [str(n) for n in range(1, common + 1) if common % n == 0 and n <= _WIDEST]
        words = " and ".join(map(str, asked))
        return (
            f"words of {words} bits do not fill {', '.join(misfits)}, for an access moves whole words. Ask for "
            f"{', '.join(fitting)} bits (--bits, or bits of the layer), in which narrower values can be stored; or make each "
            f"of these fields, and its memory's size, a multiple of {words} and of its word_bits."
        )

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

    def differences(self, other: Accelerator) -> dict[str, Any]:
        """The fields in which this chip differs from `other`, by the names that `with_` takes, with this chip's values."""
        mine, theirs = _flat(self), _flat(other)
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
        """By content: where a variant comes from is only told."""
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
                levels.append(_spread(here, below, "X"))
                x *= below.columns
                here = Level(below.name, None, x * y, x, y)
            if below.rows is not None:
                levels.append(_spread(here, below, "Y"))
                y *= below.rows
        return tuple(levels)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that can change a result: two accelerators with the same one are the same chip."""
        content = self.model_dump(mode="json", exclude={"name", "description", "sources", "dataflow"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _spread(level: Level, array: Fanout, axis: Literal["X", "Y"]) -> Level:
    """`level` with one axis of `array` below it. A fan-out of 1 is none: Timeloop knows no spatial loops there."""
    count, dims = (array.columns, array.column_dims) if axis == "X" else (array.rows, array.row_dims)
    if count is None or count == 1:
        return level
    return replace(level, fanout=count, axis=axis, array=array.name, spatial_dims=DIMS if dims is None else dims)


def label_of(name: str, changes: Mapping[str, Any]) -> str:
    """A chip's name with what is changed of it, written as `--set` takes it."""
    told = ", ".join(f"{path}={_value_text(value)}" for path, value in changes.items())
    return f"{name} ({told})" if told else name


def _value_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"[{', '.join(map(str, value))}]" if isinstance(value, (list, tuple)) else str(value)


@functools.cache
def presets() -> dict[str, Path]:
    """The accelerators that ship with hwflow: name to file."""
    return {p.stem: p for p in sorted((folder("arch_templates") / "accelerators").glob("*.yaml"))}


@functools.cache
def _preset(path: Path) -> Accelerator:
    return Accelerator.from_dict(read_yaml(path, f"accelerator {path.stem}"), str(path))


def _flat(accelerator: Accelerator) -> dict[str, Any]:
    content = accelerator.model_dump(mode="json", exclude={"name", "description", "sources", "hierarchy"})
    for part in accelerator.model_dump(mode="json")["hierarchy"]:
        content |= {f"{part['name']}.{field}": value for field, value in part.items() if field != "name" and value is not None}
    return content


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
    for path, value in flat.items():
        _assign(draft, path, value, where)
    sources = renamed.pop("sources", {})
    if not isinstance(sources, Mapping):
        raise InputError(f"{where}: sources is {sources!r}; it must be a mapping of fields to texts.")
    draft["sources"] = {**base.sources, **sources}
    return _validated({**draft, **renamed}, where)


def _assign(content: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Set one field, named as users name it, in the plain content of an accelerator."""
    head, _, rest = path.partition(".")
    if not rest:
        fields = [f for f in Accelerator.model_fields if f not in ("hierarchy", "sources")]
        if head not in fields:
            hint = f"Fields of a part are written part.field; the parts are {', '.join(_parts(content))}."
            raise not_found(f"field of {where}", path, fields, hint, spellings=_paths(content))
        content[head] = value
        return
    for part in content["hierarchy"]:
        if part["name"] == head:
            models: dict[str, type[NamedPart]] = {"fanout": Fanout, "mac": MacUnit}
            model = models.get(part["kind"], Memory)
            allowed = [f for f in model.model_fields if f not in ("name", "kind")]
            if rest not in allowed:
                raise not_found(f"field of {where}", path, [f"{head}.{f}" for f in allowed])
            if value is None:
                part.pop(rest, None)
                return
            if rest in ("size_kib", "size_words"):  # two ways to say one thing: the last one holds
                part.pop("size_kib", None)
                part.pop("size_words", None)
            part[rest] = value
            return
    raise not_found(f"part in field {shown(path)} of {where}", head, _parts(content))


def _parts(content: dict[str, Any]) -> list[str]:
    return [p["name"] for p in content["hierarchy"]]


def _paths(content: dict[str, Any]) -> list[str]:
    return [f"{p['name']}.{f}" for p in content["hierarchy"] for f in p if f not in ("name", "kind", "role")]


_FIELDS = frozenset(name for model in (Accelerator, Memory, Fanout, MacUnit) for name in model.model_fields)


def _validated(content: dict[str, Any], where: str) -> Accelerator:
    try:
        return Accelerator.model_validate(content)
    except ValidationError as error:
        raise InputError(explain(error, content, where, _FIELDS)) from None


__all__ = ["Accelerator", "Fanout", "Level", "MacUnit", "Memory", "explain", "label_of", "presets"]

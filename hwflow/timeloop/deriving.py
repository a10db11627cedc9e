"""From Timeloop's native architecture and constraints to the `Accelerator` that mid computes on.

A storage level that keeps something becomes a memory; fan-outs between two memories become one array, whose axes are theirs.
Attributes mean what they mean to Timeloop (`model/buffer.cpp`, `ParseSpecs`); those that change its numbers and have no
counterpart in hwflow are refusals, so that mid never answers with other numbers in silence.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hwflow.errors import InputError
from hwflow.layers import TENSORS, Tensor
from hwflow.native import Limits, Place, TimeloopAccelerator, Written
from hwflow.timeloop.allowing import Allowed, Verdicts, allowed, target_of, with_groups
from hwflow.timeloop.files import Input
from hwflow.timeloop.hierarchy import COMPUTE, NETWORK, STORAGE, Component, Constraint, components, is_class
from hwflow.timeloop.writing import settled, written

_WORD_BITS = 16
_CYCLE_S = 1e-9
_KINDS = {"sram": ("SRAM",), "regfile": ("regfile", "_RF", "register", "RegFile")}

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "allow_overbooking": (False,),
    "bandwidth": (),
    "energy_per_hop": (0,),
    "energy-per-ingress": (0,),
    "drain_latency": (0,),
    "fill_latency": (0,),
    "has_power_gating": (False,),
    "min_utilization": (0,),
    "network_drain": (),
    "network_drain_latency": (0,),
    "network_fill": (),
    "network_fill_latency": (0,),
    "network_operand": (),
    "network_read": (),
    "network_result": (),
    "network_type": (),
    "network_update": (),
    "power_gated_at": (),
    "per_dataspace_bandwidth_consumption_scale": ({},),
    "reduction_supported": (True,),
    "router_energy": (0,),
    "wire_energy": (0,),
    "vector_access_energy": (),
    "addr_gen_energy": (),
    "energy": (),
}
"""Attributes that change Timeloop's numbers and have no counterpart in hwflow, with the values at which they change nothing."""

_WORDS = ("word_bits", "word_width", "datawidth")
_READ = (
    *_NEUTRAL,
    *_WORDS,
    *("width", "memory_width", "data_storage_width", "block_size", "n_words", "cluster_size"),
    *("entries", "depth", "memory_depth", "data_storage_depth", "sizeKB", "num_banks", "n_banks", "multiple_buffering"),
    *("read_bandwidth", "write_bandwidth", "shared_bandwidth", "meshX", "meshY", "instances"),
    *("type", "technology", "global_cycle_seconds", "multiplier_width", "adder_width"),
)
"""Attributes that mean something to Timeloop or hwflow; what is nearly one of them is misspelt."""


@dataclass(frozen=True)
class _Level:
    """A storage level of the architecture with its place on the mesh and the fan-out below it."""

    component: Component
    mesh: tuple[int, int]
    fanout: tuple[int, int]
    rules: Allowed

    @property
    def keeps(self) -> tuple[Tensor, ...]:
        return tuple(t for t in TENSORS if t not in self.rules.bypass)


def derive(found: Input, constraints: Sequence[Constraint], name: str) -> TimeloopAccelerator:
    """The accelerator of a native architecture.

    Raises:
        InputError: naming the file, the component and what it lacks, where no accelerator can be derived at all.
    """
    assert found.architecture is not None
    where, verdicts = found.where, Verdicts()
    levels, mac, constraints = _levels(found, constraints, verdicts)
    if found.sparse:
        verdicts.refusals.append("sparse_optimizations: its layers are dense")
    verdicts.notes += [f"{section}: left out, {why}" for section, why in found.ignored.items()]
    hierarchy, places, limits = _hierarchy(levels, mac, where, verdicts)
    unpriced: dict[str, str] = {}
    parts: list[dict[str, Any]] = []
    cycle_s = _cycle_s([level.component for level in levels] + [mac], where, verdicts)
    memories = iter([level for level in levels if level.keeps])
    kept = [level.component for level in levels if level.keeps]
    for entry in hierarchy:
        parts.append(entry if entry["kind"] == "fanout" else _memory(next(memories), cycle_s, where, unpriced, first=not parts))
    parts.append(_mac(mac, where))
    for component in (*kept, mac):
        _unknown(component, verdicts)
    content = {
        "name": name,
        "description": f"from Timeloop's files {where}",
        "technology_nm": _technology([*kept[1:], mac], where, unpriced),
        "clock_mhz": 1e-6 / cycle_s,
        "dataflow": "timeloop",
        "hierarchy": parts,
        "architecture": written({"architecture": settled(found.architecture)}),
        "targets": tuple(target_of(one) for one in constraints),
        "components": written({"compound_components": {"version": 0.4, "classes": found.components}}),
        "written": {c.name: Written(kind=c.subclass or c.kind, attributes=_plain(c.inherited)) for c in (*kept, mac)},
        "places": places,
        "unit": mac.ranged,
        "limits": limits,
        "clusters": {c.name: n for c in kept if (n := _blocks(c, where)[1]) > 1},
        "unpriced": unpriced,
        "extra": {"sparse.yaml": written({"sparse_optimizations": settled(found.sparse)})} if found.sparse else {},
        "refusals": tuple(dict.fromkeys(verdicts.refusals)),
        "notes": tuple(dict.fromkeys(verdicts.notes)),
    }
    return TimeloopAccelerator.derived(content, where)


# The levels ----------------------------------------------------------------------------------------------------------


def _levels(
    found: Input, constraints: Sequence[Constraint], verdicts: Verdicts
) -> tuple[list[_Level], Component, list[Constraint]]:
    where = found.where
    assert found.architecture is not None
    storage, macs = [], []
    for component in components(found.architecture, found.variables, where):
        if is_class(component.kind, STORAGE):
            storage.append(component)
        elif is_class(component.kind, COMPUTE):
            macs.append(component)
        elif is_class(component.kind, NETWORK):
            verdicts.refusals.append(f"{component.name}: its networks cost nothing, so not a {component.kind}")
        else:
            raise InputError(
                f"{where}: {component.name}.class is {component.kind!r}, which Timeloop knows neither as a memory "
                f"({', '.join(STORAGE)}) nor as arithmetic ({', '.join(COMPUTE)}): a class's name must contain one of these. "
                "Name the class so, or give it as subclass of storage or compute."
            )
    if len(macs) != 1 or not storage:
        raise InputError(
            f"{where}: the architecture has {len(storage)} memories and {len(macs)} kinds of arithmetic; it needs one memory "
            "or more and one kind of arithmetic."
        )
    names = [c.name for c in (*storage, *macs)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where}: the name {name!r} stands twice in the architecture; every component needs its own.")
    meshes = [c.mesh(where) for c in (*storage, *macs)]
    fanouts = {}
    for component, outer, inner in zip(storage, meshes, meshes[1:], strict=False):
        if inner[0] % outer[0] or inner[1] % outer[1]:
            raise InputError(
                f"{where}: below {component.name}, with a mesh of {outer[0]} x {outer[1]}, the mesh is {inner[0]} x {inner[1]}"
                "; each axis must be a whole multiple of the one above."
            )
        fanouts[component.name] = inner[0] // outer[0], inner[1] // outer[1]
    grouped = [with_groups(one) for one in constraints]
    rules = allowed(grouped, fanouts, where, verdicts)
    levels = [_Level(c, mesh, fanouts[c.name], rules[c.name]) for c, mesh in zip(storage, meshes, strict=False)]
    if set(levels[0].keeps) != set(TENSORS):
        raise InputError(f"{where}: {storage[0].name}, the outermost memory, must keep Weights, Inputs and Outputs.")
    return levels, macs[0], grouped


def _hierarchy(
    levels: list[_Level], mac: Component, where: str, verdicts: Verdicts
) -> tuple[list[dict[str, Any]], list[Place], dict[str, Limits]]:
    """Memories (as their names alone) and arrays, where everything lies, and what is allowed there."""
    parts: list[dict[str, Any]] = []
    places: list[Place] = []
    limits: dict[str, Limits] = {}
    starts = [i for i, level in enumerate(levels) if level.keeps]
    taken = {level.component.name for level in levels if level.keeps} | {mac.name}
    for start, stop in itertools.pairwise([*starts, len(levels)]):
        group, memory = levels[start:stop], levels[start].component.name
        parts.append({"kind": "memory", "name": memory})
        _note(group, verdicts)
        array = None
        if sizes := [size for level in group for size in level.fanout if size > 1]:
            last = next(level.component.name for level in reversed(group) if max(level.fanout) > 1)
            array = _array_name(last, memory, taken)
            taken.add(array)
            columns, rows = math.prod(level.fanout[0] for level in group), math.prod(level.fanout[1] for level in group)
            axes = {axis: size for axis, size in (("columns", columns), ("rows", rows)) if size > 1}
            assert math.prod(sizes) == math.prod(axes.values())
            parts.append({"kind": "fanout", "name": array, "role": array, **axes})
        for i, level in enumerate(group):
            place = _place(level, memory if i == 0 else None, array)
            places.append(place)
            own = level.rules if i == 0 else Allowed(temporal=())
            for n, (name, axis) in enumerate(place.levels):
                dims = {"X": level.rules.columns, "Y": level.rules.rows}[axis] if axis else ()
                limits[name] = Limits(
                    temporal=own.temporal if n == 0 else (), innermost=own.innermost if n == 0 else (), spatial=dims
                )
            if len(place.levels) > 1:
                _two_axes(place, verdicts)
    return parts, places, limits


def _place(level: _Level, memory: str | None, array: str | None) -> Place:
    """An axis along which nothing can lie is none."""
    (columns, rows), rules = level.fanout, level.rules
    axes: list[Literal["X", "Y"]] = ["Y"] if rows > 1 and rules.rows else []
    if columns > 1 and rules.columns:
        axes.append("X")
    return Place(
        name=level.component.name,
        component=level.component.ranged,
        memory=memory,
        mesh=level.mesh,
        fanout=level.fanout,
        axes=tuple(axes),
        array=array,
    )


def _array_name(level: str, memory: str, taken: set[str]) -> str:
    """A fan-out's name: its container's, which pytimeloop puts between two words."""
    plain = re.sub(r"^inter_(\w+)_spatial$", r"\1", level)
    candidates = [plain] if level != memory else []
    candidates += [f"{memory}_array", *(f"{memory}_array_{n}" for n in range(2, 100))]
    return next(name for name in candidates if name not in taken)


def _note(group: list[_Level], verdicts: Verdicts) -> None:
    free = [t for t in group[0].keeps if t not in group[0].rules.keep]
    memory = group[0].component.name
    if free and group[0].component.kind != "DRAM":
        verdicts.notes.append(f"{memory} may keep or bypass {', '.join(free)}: hwflow's search keeps them there")
    for level in group[1:]:
        if level.rules.temporal:
            verdicts.notes.append(f"{level.component.name} stores nothing: hwflow's search puts no temporal loops there")


def _two_axes(place: Place, verdicts: Verdicts) -> None:
    """One fan-out with two axes is two levels here, which is not the same for ragged loops and windows that slide over both."""
    verdicts.refusals.append(
        f"{place.name}: one fan-out with two axes, both of which can be used; make it two fan-outs with one axis each, as two "
        "containers are, or fix the dimensions of one axis at 1"
    )


# Parts ---------------------------------------------------------------------------------------------------------------


def _memory(level: _Level, cycle_s: float, where: str, unpriced: dict[str, str], *, first: bool) -> dict[str, Any]:
    component = level.component
    name, text = component.name, component.subclass or component.kind
    word = component.whole(where, "word_bits", "word_width", "datawidth") or _WORD_BITS
    words, _ = _blocks(component, where)
    part: dict[str, Any] = {
        "name": name,
        "role": name,
        "keeps": level.keeps,
        "word_bits": word,
        "width_bits": word * words,
        "banks": component.whole(where, "num_banks", "n_banks") or 2,
    }
    if first:
        kind = component.attributes.get("type")
        part |= {"kind": "dram", "dram_type": str(kind) if kind in _DRAMS else "LPDDR4"}
        if kind not in _DRAMS:
            unpriced[name] = f"{name}.type is {kind!r}, which is none of {', '.join(_DRAMS)}"
        if "DRAM" not in component.kind:
            raise InputError(f"{where}: {name}, the outermost memory, is a {component.kind}; hwflow needs a DRAM there.")
    else:
        known = [kind for kind, marks in _KINDS.items() if any(mark in text for mark in marks)]
        part["kind"] = known[0] if known else "sram"
        if not known:
            unpriced[name] = f"the class {text!r} of {name} is none that hwflow knows energies of"
        part["size_words"] = _size(component, word, words, where)
        if (buffering := component.number(where, "multiple_buffering")) is not None:
            part["buffering"] = buffering
    for field, attribute in (("read_words_per_cycle", "read_bandwidth"), ("write_words_per_cycle", "write_bandwidth")):
        if (rate := component.number(where, attribute)) is not None:
            part[field] = rate
    if (shared := component.number(where, "shared_bandwidth")) is not None:
        part["bandwidth_gb_s"] = _per_second(shared, word, cycle_s)
    return part


_DRAMS = ("DDR3", "DDR4", "LPDDR", "LPDDR4", "GDDR5", "HBM2")


def _blocks(component: Component, where: str) -> tuple[int, int]:
    """Words that one access of an instance moves, and instances that share an array, as Timeloop works them out."""
    word = component.whole(where, "word_bits", "word_width", "datawidth") or _WORD_BITS
    width = component.whole(where, "width", "memory_width", "data_storage_width")
    block_words, cluster = component.whole(where, "block_size", "n_words"), component.whole(where, "cluster_size")
    if width is None:
        return block_words or 1, cluster or 1
    if width % (word * (block_words or 1)):
        raise InputError(
            f"{where}: {component.name}.width (={width}) is no whole multiple of its words of {word} bits"
            + (f" times block_size (={block_words})." if block_words else ".")
        )
    if block_words and cluster and block_words * word * cluster != width:
        raise InputError(
            f"{where}: {component.name}: block_size (={block_words}) x datawidth (={word}) x cluster_size (={cluster}) is not "
            f"its width (={width})."
        )
    if cluster:
        if width % (word * cluster):
            raise InputError(
                f"{where}: {component.name}.width (={width}) is no whole multiple of cluster_size (={cluster}) words of "
                f"{word} bits."
            )
        return width // cluster // word, cluster
    return (block_words, width // (word * block_words)) if block_words else (width // word, 1)


def _size(component: Component, word: int, words: int, where: str) -> int:
    entries, depth = component.whole(where, "entries"), component.whole(where, "depth", "memory_depth", "data_storage_depth")
    kib = component.whole(where, "sizeKB")
    size = entries or (depth and depth * words) or (kib and kib * 8192 // word)
    if not size:
        raise InputError(f"{where}: {component.name} has no size; give depth (and width), entries or sizeKB.")
    return size


def _per_second(words: float, word_bits: int, cycle_s: float) -> float:
    """A rate in 1e9 byte/s that `Accelerator.words_per_cycle` turns back into `words`, to the last bit where there is one."""
    guess = words * (word_bits / 8) / cycle_s / 1e9
    clock_s = 1e-6 / (1e-6 / cycle_s)
    candidates = [guess]
    for direction in (0.0, math.inf):
        step = guess
        for _ in range(4):
            step = math.nextafter(step, direction)
            candidates.append(step)
    return next((c for c in candidates if c * 1e9 / (word_bits / 8) * clock_s == words), guess)


def _mac(component: Component, where: str) -> dict[str, Any]:
    bits = component.whole(where, "multiplier_width", "datawidth", "word_bits") or _WORD_BITS
    adder = component.whole(where, "adder_width", "datawidth", "word_bits") or bits
    return {"name": component.name, "kind": "mac", "multiplier_bits": bits, "adder_bits": adder}


def _unknown(component: Component, verdicts: Verdicts) -> None:
    for key, neutral in _NEUTRAL.items():
        value = component.attributes.get(key)
        if value is not None and value not in neutral:
            verdicts.refusals.append(f"{component.name}.{key} (={value})")
    if not any(key in component.attributes for key in (*_WORDS, "multiplier_width")):
        verdicts.notes.append(
            f"{component.name} has no datawidth: its words are taken to have {_WORD_BITS} bits, as Timeloop does"
        )
    for key in component.attributes:
        if key not in _READ and (meant := difflib.get_close_matches(str(key), _READ, 1, 0.85)):
            verdicts.notes.append(f"{component.name}.{key} means nothing to Timeloop; did you mean {meant[0]}?")
    depth = component.attributes.get("depth", component.attributes.get("entries"))
    if component.kind == "DRAM" and depth is not None:
        verdicts.notes.append(f"{component.name} holds everything at mid, whatever its depth (={depth}); fine observes it")


def _technology(parts: Sequence[Component], where: str, unpriced: dict[str, str]) -> float:
    """The chip's technology in nm: that of its arithmetic. Parts of another one have no fitted energies."""
    found: dict[str, float] = {}
    for part in parts:
        text = str(part.inherited.get("technology", ""))
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:nm)?", text)
        if match is None or not 1 <= float(match[1]) <= 1000:
            raise InputError(
                f'{where}: the technology of {part.name} is {text!r}; it must be a length such as "45nm". Give it in the '
                'attributes of a container around it, or as variables: {technology: "45nm"} in a file (--timeloop-arch again).'
            )
        found[part.name] = float(match[1])
    chip = found[parts[-1].name]
    for name, value in found.items():
        if value != chip:
            unpriced[name] = f"{name} is of {value:g} nm and {parts[-1].name} of {chip:g} nm"
    return chip


def _cycle_s(parts: Sequence[Component], where: str, verdicts: Verdicts) -> float:
    given = {str(v): v for part in parts if (v := part.inherited.get("global_cycle_seconds")) is not None}
    if len(given) > 1:
        raise InputError(
            f"{where}: global_cycle_seconds has several values, {', '.join(sorted(given))}; give one for the chip."
        )
    if not given:
        verdicts.notes.append(f"global_cycle_seconds is not given: a cycle is taken to last {_CYCLE_S:g} s")
        return _CYCLE_S
    (value,) = given.values()
    try:
        cycle_s = float(value)
    except (TypeError, ValueError):
        cycle_s = math.nan
    if not 1e-15 <= cycle_s <= 1:
        raise InputError(f"{where}: global_cycle_seconds is {value!r}; it must be a number of seconds such as 1e-9.")
    return cycle_s


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Without what means nothing to Accelergy."""
    return {key: value for key, value in attributes.items() if value is not None and key not in ("meshX", "meshY", "version")}

"""The places of mapping constraints in Timeloop's files: five sections, with lists of several forms.

The places follow Timeloop's `applications/mapper/mapper.cpp`, the lists `mapping/constraints.cpp`. What Timeloop would ignore,
such as a field in the wrong place, is an error here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwflow.errors import InputError, shown
from hwflow.mapping import TIMELOOP_TENSORS
from hwflow.timeloop.importer.constraints import BYPASS, level_of
from hwflow.timeloop.importer.source_files import Input, Section

ARCHITECTURE = (
    *("architecture.constraints", "architecture.subtree.constraints"),  # of the innermost subtree
    *("arch_constraints", "architecture_constraints"),
)
"""The places of the architecture's constraints. Timeloop reads the first that there is."""

MAPSPACE = ("mapspace", "mapspace_constraints")
"""The places of the map space's constraints, which come on top. Timeloop refuses files that have both."""


def gather(found: Input, *, native: bool) -> list[dict[str, Any]]:
    """All constraints of the files, each as one flat mapping with target and type.

    Raises:
        InputError: naming the section, where Timeloop would pass over what it says, or a file of constraints has none.
    """
    filled: dict[str, Section] = {}
    entries: list[dict[str, Any]] = []
    asked = set(found.asked)
    for section in found.sections:
        where = f"{section.path}: {section.name}"
        if section.name in ("mapping", "mapspace") and _left_out(section, native=native):
            found.leave_out(section.name)
        if section.name in ARCHITECTURE[:2] and not native:
            raise InputError(f"{where}: pytimeloop's front end knows none there; put them in architecture_constraints:.")
        listed = _listed(section, where, native=native)
        if section.name == "mapping" and native:
            listed = [item for item in listed if found.lowered and _empties(item)]
        if not listed:
            continue
        asked.discard(section.given)
        if native and section.name != "mapping":
            _in_one_place(section, filled)
        if section.name == ARCHITECTURE[0]:
            found.notes.append(_UNREAD)
        filled.setdefault(section.name, section)
        entries += [flat for item in listed for flat in _flat(item, where, native=native)]
    if asked:
        raise InputError(
            f"{', '.join(sorted(asked))}: no constraints in it. Give the file with architecture_constraints: or "
            "mapspace_constraints:, or leave --timeloop-constraints out."
        )
    return entries


# ParseTreeSpecs (model/topology.cpp) assigns one yaml-cpp node to another, which makes `architecture` the innermost subtree for
# whoever asks for its constraints afterwards.
_UNREAD = (
    "architecture.constraints: obeyed here, but timeloop-mapper passes over it, for it looks in the innermost subtree; both "
    "read architecture_constraints:"
)


def _left_out(section: Section, *, native: bool) -> bool:
    """Whether a section says more than constraints."""
    if section.name == "mapping":
        return native and bool(section.content)
    return isinstance(section.content, Mapping) and any(key not in _KNOWN for key in section.content)


def _empties(item: Any) -> bool:
    """Whether a directive makes a level store nothing, as pytimeloop has for fan-outs; for a model, in `mapping:`."""
    bypass = item.get("bypass") if isinstance(item, Mapping) and item.get("type") in BYPASS else None
    return isinstance(bypass, list) and set(TIMELOOP_TENSORS.values()) <= set(map(str, bypass))


def _in_one_place(section: Section, filled: Mapping[str, Section]) -> None:
    places = next((group for group in (ARCHITECTURE, MAPSPACE) if section.name in group), None)
    if places is None:
        raise InputError(
            f"{section.path}: {section.name}: Timeloop does not read it beside a native architecture (subtree:). Rename it "
            "architecture_constraints."
        )
    for name in places:
        if name in filled:
            twice = f"twice, in {filled[name].path} and {section.path}" if name == section.name else f"both in {name}: and here"
            does = "reads the first alone" if places is ARCHITECTURE or name == section.name else "refuses that"
            raise InputError(
                f"{section.path}: {section.name}: constraints of one kind stand {twice}; Timeloop {does}. Make them one list."
            )


_KNOWN = ("version", "targets", "constraints")


def _listed(section: Section, where: str, *, native: bool) -> list[Any]:
    """The list of a section: the section itself, or an entry of it."""
    content = section.content
    if content is None:
        return []
    if isinstance(content, Mapping):
        named = content.get("constraints")
        inside = "constraints"
        if isinstance(named, str):  # the name of the list, which is given beside it
            inside = f"constraints_{named}"
            if inside not in content:
                raise InputError(f"{where}.constraints is {shown(named)}, but there is no list {inside} beside it.")
        elif named is None:
            inside = "targets"
        elif content.get("targets"):
            raise InputError(
                f"{where} has constraints and targets, of which Timeloop reads the first alone; make them one list."
            )
        unknown = [str(k) for k in content if k not in _KNOWN and not str(k).startswith("constraints_")]
        if unknown and section.name != "mapspace":
            raise InputError(f"{where} has {', '.join(unknown)}; its constraints stand in a list, targets.")
        if section.name == "mapspace" and not native and content.get(inside):
            raise InputError(f"{where}.{inside}: pytimeloop's front end knows none there; put them in mapspace_constraints:.")
        content, where = content.get(inside), f"{where}.{inside}"
    if content is None:
        return []
    if not isinstance(content, list):
        raise InputError(f"{where} is {shown(content)}; it must be a list of constraints, each with target and type.")
    return content


_ATTRIBUTES = ("factors", "default_max_factor", "default_min_factor", "permutation", "keep", "bypass", "min")
"""The fields that Timeloop reads from a constraint's `attributes:`, where it has them."""


def _flat(item: Any, where: str, *, native: bool) -> list[dict[str, Any]]:
    """The constraints of one target."""
    if not isinstance(item, Mapping):
        raise InputError(f"{where}: {shown(item)} is no constraint, a mapping with target and type.")
    inner = item.get("constraints")
    if inner is None:
        return [_one(item, {}, where, native=native)]
    if not isinstance(inner, list):
        raise InputError(f"{where}: constraints of {level_of(item)} is {shown(inner)}; it must be a list of constraints.")
    outside = {str(k): v for k, v in item.items() if k != "constraints"}
    if stray := [key for key in outside if key not in ("target", "name")]:
        raise InputError(
            f"{where}: {level_of(item)}: {', '.join(stray)} beside a list of constraints, where Timeloop reads target alone; "
            "move it into the list."
        )
    return [_one(one, outside, where, native=native) for one in inner]


def _one(content: Any, outside: Mapping[str, Any], where: str, *, native: bool) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: {shown(content)} is no constraint, a mapping with target and type.")
    place = f"{where}: constraint {content.get('type')} of {level_of(outside or content)}"
    if outside and (stray := [key for key in ("target", "name") if key in content]):
        raise InputError(f"{place}: {stray[0]} is also in the list, where Timeloop does not read it; take it out.")
    own = {str(k): v for k, v in content.items() if k != "attributes"}
    attributes = content.get("attributes")
    if attributes is None:
        attributes = {}
    elif not isinstance(attributes, Mapping):
        raise InputError(f"{place}: attributes is {shown(attributes)}; it must be a mapping.")
    elif native:
        _in_their_place(own, attributes, place)
    flat = {**outside, **own, **{str(k): v for k, v in attributes.items()}}
    if native:
        for field in ("factors", "permutation"):
            if isinstance(flat.get(field), list):
                raise InputError(
                    f"{place}: {field} is the list {shown(flat[field])}, which Timeloop does not read in a native file; write "
                    f'a text, {field}: "{" ".join(map(str, flat[field]))[:200]}".'
                )
    return flat


def _in_their_place(own: Mapping[str, Any], attributes: Mapping[Any, Any], place: str) -> None:
    for field in own:
        if field in _ATTRIBUTES:
            raise InputError(
                f"{place}: {field} is beside attributes:, where Timeloop does not read it; move it into attributes:."
            )
    for field in map(str, attributes):
        if field not in _ATTRIBUTES:
            raise InputError(f"{place}: {field} is in attributes:, where Timeloop does not read it; move it out.")

"""Lowering of `nodes:` with `!Container`, `!Component` and `!Parallel` to the architecture that Timeloop's executables read.

What pytimeloop's front end does with the common subset (Accelergy-Project/timeloop-python, `timeloopfe/common/
version_transpilers/v4_to_v3.py` and `timeloopfe/v4/processors`), as far as it does not depend on the layer: a fan-out becomes a
level of its own that stores nothing, parallel memories become levels that each bypass what the others keep, a container's
attributes go to all that follows, and dimensions whose factor is 1 come first in a permutation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hwflow.errors import InputError, not_found, shown
from hwflow.layers import DIMS, TENSORS
from hwflow.mapping import TIMELOOP_TENSORS
from hwflow.timeloop.importer.constraints import BYPASS, constraint_of
from hwflow.timeloop.importer.expressions import Unreadable, value_of
from hwflow.timeloop.importer.hierarchy import STORAGE, is_class, whole_of
from hwflow.timeloop.importer.source_files import Input, Quoted, Tagged

ALL = tuple(TIMELOOP_TENSORS[t] for t in TENSORS)
REMEDY = "Lower the files with pytimeloop, whose runs write parsed-processed-input.yaml, and give hwflow that file instead"


@dataclass
class _Node:
    """A leaf with what was gathered for it."""

    name: str
    content: Mapping[str, Any]
    container: bool
    constraints: dict[str, dict[str, Any]] = field(default_factory=dict)


def lower(found: Input) -> None:
    """Put the native form in the place of `nodes:` in `found.architecture`, and its constraints among `found.targets`.

    Raises:
        InputError: naming the node and the field that hwflow's reader does not know, and what to do.
    """
    assert found.architecture is not None
    variables = _evaluated(found.variables, {}, f"{found.where}: variables")
    _known(found.architecture, "architecture", ("version", "nodes"), found.where)
    walk = _Walk(found.where, variables)
    leaves = list(walk.leaves(found.architecture.get("nodes"), parallel=False))
    _attach(found, leaves)
    local, targets, top = walk.placed(leaves)
    found.architecture = {
        "version": 0.4,
        "subtree": [{"name": top, "attributes": {k: v for k, v in variables.items() if k != "version"}, "local": local}],
    }
    found.targets = targets
    zeros = [(node.name, node.content.get("sparse_optimizations")) for node in leaves]
    if own := [{"name": name, **_section(content, name, found.where)} for name, content in zeros if content]:
        found.sparse = {"targets": own}


_CONTAINER = ("name", "attributes", "spatial", "constraints", "enabled")
_COMPONENT = (*_CONTAINER, "class", "subclass", "required_actions", "sparse_optimizations")


class _Walk:
    def __init__(self, where: str, variables: Mapping[str, Any]) -> None:
        self.where, self.names = where, dict(variables)

    def leaves(self, nodes: Any, *, parallel: bool) -> Iterator[_Node]:
        """Containers and components in their order; of parallel ones each bypasses what the others keep."""
        if not isinstance(nodes, list) or not nodes:
            raise InputError(
                f"{self.where}: architecture.nodes is {shown(nodes)}; it must be a list of nodes, outermost first."
            )
        for content in nodes:
            tag = content.tag if isinstance(content, Tagged) else None
            if tag is None:
                raise InputError(
                    f"{self.where}: architecture.nodes: {shown(content)} has no tag; a node is !Container, !Component, "
                    "!Parallel or !Hierarchical."
                )
            if not isinstance(content.get("enabled", True), bool):
                raise InputError(
                    f"{self.where}: {content.get('name')}.enabled is {shown(content['enabled'])}; it must be true or false."
                )
            if content.get("enabled", True) is False or tag == "Nothing":
                continue
            if tag in ("Parallel", "Hierarchical"):
                _known(content, f"!{tag}", ("nodes", "enabled"), self.where)
                if parallel:
                    raise InputError(f"{self.where}: a !{tag} inside a !Parallel is not known to hwflow. {REMEDY}.")
                inner = list(self.leaves(content.get("nodes"), parallel=tag == "Parallel"))
                if tag == "Parallel":
                    self._share(inner, content["nodes"])
                yield from inner
                continue
            if tag == "Pipelined":
                raise InputError(f"{self.where}: !Pipelined is not known to hwflow. {REMEDY}.")
            name = content.get("name")
            if not isinstance(name, str):
                raise InputError(f"{self.where}: a !{tag} has the name {shown(name)}; every node needs one.")
            _known(content, name, _CONTAINER if tag == "Container" else _COMPONENT, self.where)
            if parallel and (tag == "Container" or _fanout(content, name, self.where, self.names) != (1, 1)):
                raise InputError(f"{self.where}: {name} is a fan-out inside a !Parallel, which Timeloop cannot express.")
            yield _Node(name, content, tag == "Container", self._own(content, name))

    def _own(self, content: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
        groups = content.get("constraints") or {}
        if not isinstance(groups, Mapping) or not all(isinstance(v, Mapping) for v in groups.values() if v is not None):
            raise InputError(f"{self.where}: {name}.constraints is {shown(groups)}; it must be a mapping by type.")
        found: dict[str, dict[str, Any]] = {}
        for kind, group in ((str(kind), group) for kind, group in groups.items() if group):
            plain = _type(kind, name, self.where)
            if plain in found:
                raise InputError(f"{self.where}: {name}.constraints.{kind} is another {plain} constraint; make them one.")
            found[plain] = _unfolded(group, f"{self.where}: {name}.constraints.{kind}")
        return found

    def _share(self, nodes: list[_Node], contents: list[Any]) -> None:
        """Each branch of a !Parallel bypasses what it does not keep; together they, !Nothing included, keep every tensor."""
        keeps = [set(node.constraints.get("dataspace", {}).get("keep", ())) for node in nodes]
        for node, keep in zip(nodes, keeps, strict=True):
            space = node.constraints.setdefault("dataspace", {})
            space["bypass"] = [t for t in ALL if t not in keep]
            if "keep" in space:
                space["keep"] = [t for t in ALL if t in keep]
        for content in contents:
            if isinstance(content, Tagged) and content.tag == "Nothing":
                keeps.append(set(self._own(content, "!Nothing").get("dataspace", {}).get("keep", ())))
        if missing := [t for t in ALL if not any(t in keep for keep in keeps)]:
            names = ", ".join(node.name for node in nodes)
            raise InputError(
                f"{self.where}: of the parallel {names} none keeps {', '.join(missing)}; say in one of them "
                f"constraints: {{dataspace: {{keep: [{', '.join(missing)}]}}}}, or in a !Nothing beside them."
            )

    # Placing ---------------------------------------------------------------------------------------------------------

    def placed(self, leaves: list[_Node]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
        """The components of the one subtree, their constraints, and its name."""
        local: list[dict[str, Any]] = []
        targets: list[dict[str, Any]] = []
        inherited: dict[str, Any] = {}
        mesh = (1, 1)
        for node in leaves:
            fan = _fanout(node.content, node.name, self.where, self.names)
            attributes = _evaluated(node.content.get("attributes") or {}, self.names, f"{self.where}: {node.name}.attributes")
            if node.container:
                inherited |= attributes
                self.names |= attributes
            if fan != (1, 1):
                dummy = f"inter_{node.name}_spatial"
                local.append(_placed(dummy, "dummy_storage", {"width": 1, "depth": 1, "datawidth": 1}, mesh))
                targets += _spread(dummy, node.constraints.pop("spatial", {}), self.where)
                mesh = (mesh[0] * fan[0], mesh[1] * fan[1])
            elif node.constraints.get("spatial"):
                raise InputError(
                    f"{self.where}: {node.name} has spatial constraints, but no fan-out; give it spatial: {{meshX: ...}}."
                )
            if node.container:
                if node.constraints:
                    kinds = ", ".join(node.constraints)
                    raise InputError(f"{self.where}: {node.name} is a container, which takes spatial constraints, not {kinds}.")
                continue
            kind = node.content.get("class")
            if not isinstance(kind, str):
                raise InputError(f"{self.where}: {node.name}.class is {shown(kind)}; every component needs one.")
            entry = _placed(node.name, kind, {**inherited, **attributes}, mesh)
            extra = {key: node.content[key] for key in ("subclass", "required_actions") if node.content.get(key)}
            local.append({**entry, **extra})
            targets += _own_targets(node, kind, self.where)
        first = leaves[0]
        return local, targets, f"{first.name}_top_level" if first.container else "top_level"


def _known(content: Mapping[str, Any], name: str, fields: tuple[str, ...], where: str) -> None:
    """Refuse what would be passed over: a misspelt field, scales of energies, networks."""
    for key, value in content.items():
        if key not in fields and value not in (None, [], {}):
            raise InputError(f"{where}: {name}.{key} is not known to hwflow, which reads {', '.join(fields)}. {REMEDY}.")


def _section(content: Any, name: str, where: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: {name}.sparse_optimizations is {shown(content)}; it must be a mapping.")
    return content


def _placed(name: str, kind: str, attributes: Mapping[str, Any], mesh: tuple[int, int]) -> dict[str, Any]:
    size = mesh[0] * mesh[1]
    return {
        "name": f"{name}[1..{size}]",
        "class": kind,
        "attributes": {**attributes, "meshX": mesh[0], "meshY": mesh[1]},
    }


def _spread(dummy: str, spatial: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The constraints of a fan-out: its spatial loops, no others, and nothing kept."""
    ones = " ".join(f"{d}=1" for d in DIMS)
    return [
        {"target": dummy, "type": "spatial", **_ordered(spatial, dummy, where)},
        {"target": dummy, "type": "temporal", "factors": ones},
        {"target": dummy, "type": "bypass", "bypass": list(ALL)},
    ]


def _own_targets(node: _Node, kind: str, where: str) -> list[dict[str, Any]]:
    found = []
    for type_, group in node.constraints.items():
        content = _ordered(group, node.name, where) if type_ == "temporal" and is_class(kind, STORAGE) else group
        found.append({"target": node.name, "type": "bypass" if type_ == "dataspace" else type_, **content})
    return found


def _ordered(group: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """With the dimensions whose factor is 1 first in the permutation, as pytimeloop has it."""
    parsed = constraint_of({**group, "target": name, "type": "factors"}, where)
    if parsed.suffix:
        return group
    order = list(parsed.prefix)
    for dim, factor in parsed.factors.items():
        if factor == 1 and dim not in order:
            order.insert(0, dim)
    return {**group, **({"permutation": "".join(order)} if order else {})}


def _attach(found: Input, leaves: list[_Node]) -> None:
    """Constraints from lists go to the nodes that they name; what a node says by itself cannot be said otherwise there."""
    for target in found.targets:
        name = str(target.get("target", target.get("name")))
        nodes = [n for n in leaves if n.name == name]
        if not nodes:
            raise not_found(f"target in the constraints of {found.where}", name, (n.name for n in leaves))
        kind = _type(str(target.get("type")), name, found.where)
        group = {k: v for k, v in target.items() if k not in ("target", "name", "type")}
        own = nodes[0].constraints.setdefault(kind, {})
        for key, value in _unfolded(group, f"{found.where}: {name}").items():
            if key in own and own[key] != value:
                raise InputError(f"{found.where}: {name}: {kind}.{key} is {own[key]!r} in one place and {value!r} in another.")
            own[key] = value


def _type(kind: str, name: str, where: str) -> str:
    """One name for each type of constraint."""
    plain = "dataspace" if kind in BYPASS else kind
    if plain not in ("dataspace", "temporal", "spatial"):
        raise InputError(
            f"{where}: {name} has a constraint of type {shown(kind)}; hwflow's reader knows dataspace, temporal and spatial. "
            f"{REMEDY}."
        )
    return plain


_FOLDED = ("maximize_dims", "must_iterate_over_dataspaces", "no_iteration_over_dataspaces")


def _unfolded(group: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The macros of pytimeloop written out."""
    content = {str(key): value for key, value in group.items() if value is not None}
    for name in _FOLDED:
        if content.pop(name, None):
            raise InputError(f"{where}.{name} is not known to hwflow's reader. {REMEDY}.")
    for macro, other in (("keep_only", "bypass"), ("bypass_only", "keep")):
        if (only := content.pop(macro, None)) is not None:
            tensors = _tensors(only, f"{where}.{macro}")
            content |= {macro.split("_", maxsplit=1)[0]: tensors, other: [t for t in ALL if t not in tensors]}
    for name in ("keep", "bypass"):
        if name in content:
            content[name] = _tensors(content[name], f"{where}.{name}")
    if (only := content.pop("factors_only", None)) is not None:
        given = constraint_of({"target": "factors_only", "type": "factors", "factors": only}, where)
        content["factors"] = [*given.texts, *(f"{d}=1" for d in DIMS if d not in given.named)]
    return content


def _tensors(names: Any, place: str) -> list[str]:
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list):
        raise InputError(f"{place} is {shown(names)}; it must be a list of tensors such as [Weights].")
    for name in listed:
        if name not in ("*", *ALL):
            raise not_found(f"tensor in {place}", str(name), ALL)
    return list(ALL) if "*" in listed else list(listed)


_AXES = ("meshX", "meshY")


def _fanout(content: Mapping[str, Any], name: str, where: str, names: Mapping[str, Any]) -> tuple[int, int]:
    spatial = content.get("spatial") or {}
    if not isinstance(spatial, Mapping):
        raise InputError(f"{where}: {name}.spatial is {shown(spatial)}; it must be {{meshX: ..., meshY: ...}}.")
    if not set(spatial) <= set(_AXES):
        raise InputError(f"{where}: {name}.spatial names {', '.join(map(str, spatial))}; it knows {' and '.join(_AXES)} only.")
    sizes = _evaluated(spatial, names, f"{where}: {name}.spatial")
    found = []
    for axis in _AXES:
        found.append(whole_of(sizes.get(axis, 1), f"{where}: {name}.spatial.{axis}"))
    return found[0], found[1]


def _evaluated(attributes: Mapping[str, Any], names: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Attributes with their expressions computed, in their order: each can name those before it."""
    if not isinstance(attributes, Mapping):
        raise InputError(f"{where} is {shown(attributes)}; it must be a mapping.")
    known, found = dict(names), dict[str, Any]()
    for key, value in attributes.items():
        result = value
        if isinstance(value, str) and not isinstance(value, Quoted):
            try:
                result = value_of(value, known)
            except Unreadable:
                result = value  # a name such as LPDDR4; where a number is needed, its absence is an error there
        elif isinstance(value, Quoted):
            result = str(value)
        if isinstance(result, float) and result.is_integer() and abs(result) < 2**53:
            result = int(result)  # of `192 / 2`; Timeloop takes 96.0 for no whole number
        known[str(key)] = found[str(key)] = result
    return found

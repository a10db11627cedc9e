"""A `Network` from Timeloop's problem files: one `problem:` per layer, in one file or a folder.

Names of coefficients that differ from the shape's in their letters' case only (`HStride` for `Hstride`, as in files that are
published with Timeloop) are read as intended. Timeloop ignores them and assumes 1; a note says so.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwflow.errors import InputError, check_whole, not_found, shown
from hwflow.files import read_text
from hwflow.layers import TENSORS, Densities
from hwflow.network._problem_shape import CNN_LAYER, GEMM, DataSpace, Shape, Term, layer_of
from hwflow.network.network import Network
from hwflow.timeloop.importer.source_files import read_file

SUFFIXES = (".yaml", ".yml", ".jinja", ".jinja2", ".j2")
_WHAT = "Timeloop's problem"
_HEAD = re.compile(r"(?m)^problem[\w-]*\s*:")
_TEMPLATE = re.compile(r"(?m)^\s*(\{\{|\{%)")
_LAYERS = re.compile(r"(?m)^layers\s*:")
_NAMED = {"cnn_layer": CNN_LAYER, "gemm_abz": GEMM}
_SIZES = {"H", "W", "Hpad", "Wpad"}  # sizes of the input that files often state, although they follow from the shape
_DENSITIES = ("densities", "commonDensity")
_OTHER = {"name", "version", "shape", *_DENSITIES}


def is_problem(path: Path) -> bool:
    """Whether a file looks like a problem file and not like a layer list."""
    if path.suffix.lower() in SUFFIXES[2:]:
        return True
    text = read_text(path, "layer list")
    return bool(_HEAD.search(text)) or (bool(_TEMPLATE.search(text)) and not _LAYERS.search(text))


def read(path: str | Path) -> Network:
    """The network of a problem file, or of all problem files of a folder, in the order of their names.

    Templates may include files from the file's folder and its parent.

    Raises:
        InputError: naming the file and the field, where one is missing or wrong, or the shape is no layer of hwflow's.
    """
    path = Path(path)
    files = _listed(path) if path.is_dir() else [path]
    notes = _Notes()
    layers = []
    for file in files:
        for name, problem, where in _problems(file, notes, alone=not path.is_dir()):
            shape = _shape(problem.get("shape"), f"{where}.shape")
            layer, remarks = _layer(name, problem, shape, where, notes)
            layers.append(layer)
            for remark in remarks:
                notes.add(remark, name)
    if not layers:
        raise InputError(f"{path}: none of its *.yaml has a section problem:.{_folders(path)}")
    name = path.resolve().name if path.is_dir() else _name(path)
    return Network(name, tuple(layers), notes=notes.texts())


def _name(path: Path) -> str:
    """The file's name, or its folder's where all are called problem.yaml."""
    stem = path.name.split(".")[0]
    return path.resolve().parent.name if stem in ("problem", "prob") else stem


@dataclass
class _Notes:
    """Deviations from Timeloop, and the layers concerned."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, text: str, layer: str) -> None:
        self.found.setdefault(text, []).append(layer)

    def texts(self) -> tuple[str, ...]:
        return tuple(f"{text} ({_several(list(dict.fromkeys(layers)))})" for text, layers in self.found.items())


def _several(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more layers"


# Files ---------------------------------------------------------------------------------------------------------------


def _listed(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if found:
        return sorted(found, key=lambda p: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", p.name)])
    raise InputError(f"{folder}: there is no *.yaml in this folder.{_folders(folder)}")


def _folders(folder: Path) -> str:
    inner = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    others = f" It has folders: {', '.join(inner[:20])}." if inner else ""
    return f"{others} Give a folder of Timeloop's problem files, or one of them."


def _problems(path: Path, notes: _Notes, *, alone: bool) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Name, content and place of each problem in a file."""
    folder = path.resolve().parent
    content = read_file(path, (folder, folder.parent))
    if not isinstance(content, Mapping):
        raise InputError(f"{path} is {shown(content)}; {_WHAT} is a mapping with a section problem:.")
    if "problem" not in content:
        if alone:
            raise InputError(f"{path} has no section problem:; it has {', '.join(map(str, content)) or 'nothing'}.")
        notes.add("left out, since it has no section problem:", path.name)
        return
    given, stem = content["problem"], _name(path)
    if not isinstance(given, list):
        yield stem, _mapping(given, f"{path}: problem"), f"{path}: problem"
        return
    for i, item in enumerate(given):
        where = f"{path}: problem[{i}]"
        outer = _mapping(item, where)
        problem = _mapping(outer.get("problem", outer), where)  # of an included file as a whole
        yield str(problem.get("name") or f"{stem}_{i:0{len(str(len(given) - 1))}}"), problem, where


def _mapping(section: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(section, Mapping):
        raise InputError(f"{where} is {shown(section)}; it must be a mapping.")
    return section


# One problem -----------------------------------------------------------------------------------------------------------


def _layer(name: str, problem: Mapping[str, Any], shape: Shape, where: str, notes: _Notes) -> tuple[Any, list[str]]:
    inside = "instance" in problem
    instance = _mapping(problem["instance"], f"{where}.instance") if inside else problem
    if inside:
        where = f"{where}.instance"
    values = _values(name, shape, instance, where, notes)
    if missing := [d for d in shape.dims if d not in values]:
        raise InputError(f"{where} has no {', '.join(missing)}; it gives each dimension of {shape.name} a size.")
    for key, value in values.items():
        check_whole(f"{where}.{key}", value)
    sizes = {d: values[d] for d in shape.dims}
    coefficients = {c: values.get(c, default) for c, default in shape.coefficients.items()}
    try:
        layer, remarks = layer_of(name, shape, sizes, coefficients)
        return layer.with_(densities=_densities(name, shape, instance, notes)), remarks
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _densities(name: str, shape: Shape, instance: Mapping[str, Any], notes: _Notes) -> Densities | None:
    """The shares of nonzero elements; None where there are none, or none that hwflow knows how to read."""
    if not any(instance.get(key) for key in _DENSITIES):
        return None
    given = instance.get("densities")
    tensors = {tensor.capitalize(): tensor for tensor in TENSORS}
    if {space.name for space in shape.spaces} != set(tensors):
        notes.add(f"densities are left out: the data spaces are not called {', '.join(tensors)}", name)
        return None
    if instance.get("commonDensity") or not isinstance(given, Mapping):
        notes.add("densities are left out: hwflow reads those that name a data space each", name)
        return None
    found: dict[str, Any] = {}
    for space, entry in given.items():
        kind = entry.get("distribution") if isinstance(entry, Mapping) else "fixed"
        if kind not in ("fixed", "fixed_structured"):
            notes.add(f"densities are left out: {space} is {kind}, and hwflow spreads zeros evenly (fixed_structured)", name)
            return None
        if space not in tensors:
            raise not_found("data space in densities", str(space), tensors)
        found[tensors[space]] = entry.get("density") if isinstance(entry, Mapping) else entry
    return Densities(**found)  # which a layer checks


def _values(name: str, shape: Shape, instance: Mapping[str, Any], where: str, notes: _Notes) -> dict[str, Any]:
    """Sizes and coefficients by the shape's names."""
    known = (*shape.dims, *shape.coefficients)
    values = {key: instance[key] for key in known if key in instance}
    for key, value in instance.items():
        if key in known or key in _SIZES or key in _OTHER:
            continue
        meant = next((k for k in known if len(k) > 1 and k.lower() == str(key).lower().replace("_", "")), None)
        if meant is None:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            notes.add(f"{key} means nothing to {shape.name}, so Timeloop and hwflow pass over it{hint}", name)
            continue
        if values.get(meant, 1) not in (1, value):
            both = f"{meant} (={shown(values[meant])}) and {key} (={shown(value)})"
            raise InputError(f"{where} has {both}; leave one of them out.")
        values[meant] = value
        notes.add(f"{key} is read as {meant}; Timeloop itself passes over {key} and takes {meant} to be 1", name)
    return values


# The shape -------------------------------------------------------------------------------------------------------------


def _shape(content: Any, where: str) -> Shape:
    if content is None:
        return CNN_LAYER  # as in Timeloop
    if isinstance(content, str):
        found = _NAMED.get(content.lower().replace("-", "_").removesuffix(".yaml").removesuffix(".cfg"))
        if found is None:
            raise InputError(
                f"{where} is {content!r}; of the shapes that Timeloop finds by name hwflow knows cnn-layer and gemm-ABZ. Write "
                "the shape out: dimensions and data_spaces."
            )
        return found
    content = {str(key).replace("-", "_"): value for key, value in _mapping(content, where).items()}
    if content.get("flatten"):
        raise InputError(f"{where}.flatten: hwflow does not read flattened dimensions; write the shape without them.")
    dims = _names(content.get("dimensions"), f"{where}.dimensions")
    coefficients = {}
    for i, item in enumerate(_list(content.get("coefficients") or [], f"{where}.coefficients")):
        at = f"{where}.coefficients[{i}]"
        entry = _mapping(item, at)
        default = entry.get("default", 1)
        check_whole(f"{at}.default", default)
        coefficients[str(entry.get("name"))] = default
    spaces = []
    for i, item in enumerate(_list(content.get("data_spaces"), f"{where}.data_spaces")):
        at = f"{where}.data_spaces[{i}]"
        entry = {str(key).replace("-", "_"): value for key, value in _mapping(item, at).items()}
        written = entry.get("read_write", False)
        axes = tuple(
            _axis(axis, dims, coefficients, f"{at}.projection[{n}]")
            for n, axis in enumerate(_list(entry.get("projection"), f"{at}.projection"))
        )
        spaces.append(DataSpace(str(entry.get("name", i)), axes, written is True or str(written).lower() == "true"))
    return Shape(str(content.get("name") or "shape"), dims, coefficients, tuple(spaces))


def _axis(axis: Any, dims: Sequence[str], coefficients: Mapping[str, int], where: str) -> tuple[Term, ...]:
    """One axis: a dimension, or a list of terms, each a dimension or a dimension and a coefficient."""
    terms = []
    for term in [[axis]] if isinstance(axis, str) else _list(axis, where):
        parts = [str(part) for part in ([term] if isinstance(term, str) else _list(term, where))]
        if not 1 <= len(parts) <= 2 or parts[0] not in dims or (len(parts) == 2 and parts[1] not in coefficients):
            raise InputError(
                f"{where} is {shown(axis)}; it must be a list of terms, each a dimension ({', '.join(dims)}) and at most one "
                f"coefficient ({', '.join(coefficients) or 'none is declared'})."
            )
        terms.append(Term(*parts))
    return tuple(terms)


def _names(given: Any, where: str) -> tuple[str, ...]:
    names = tuple(str(name) for name in _list(given, where))
    if wrong := [name for name in names if len(name) != 1]:
        raise InputError(f"{where}: {wrong[0]!r} has {len(wrong[0])} letters; Timeloop's dimensions have one.")
    if len(set(names)) < len(names):
        raise InputError(f"{where} names a dimension twice: {', '.join(names)}.")
    return names


def _list(given: Any, where: str) -> list[Any]:
    if not isinstance(given, list):
        raise InputError(f"{where} is {shown(given) if given is not None else 'missing'}; it must be a list.")
    return given


__all__ = ["is_problem", "read"]

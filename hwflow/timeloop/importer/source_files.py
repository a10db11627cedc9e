"""Timeloop's input files as users write them: YAML with the front end's tags, sandboxed Jinja, several files merged.

Files are text of someone else: YAML is read with the safe loader, templates cannot run code, and what they include must lie
in the folders of the files that were given.
"""

from __future__ import annotations

import difflib
import glob
import operator
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from hwflow.errors import InputError, shown
from hwflow.files import SafeLoader, checked, parse_yaml, read_text
from hwflow.timeloop.importer.expressions import bounded
from hwflow.timeloop.importer.keywords import underscored
from hwflow.timeloop.importer.merge_key import merged

TAGS = ("Component", "Container", "Parallel", "Hierarchical", "Pipelined", "Nothing")

_LEFT_OUT = {
    "problem": "the layers are the network's",
    "mapping": "hwflow searches for mappings (hwflow.Mapping.from_timeloop reads one)",
    "mapper": "searches take hwflow's settings (--effort)",
    "mapspace": "searches take hwflow's settings (--effort)",
    "model": "hwflow sets timeloop-model up by itself",
    "ERT": "energies are those of --energy",
    "ART": "areas are those of --energy",
    "globals": "hwflow sets Timeloop's environment",
}
"""Sections that Timeloop or its front end reads and hwflow does not, and why."""

_SECTIONS = (
    *("architecture", "arch", "architecture_constraints", "arch_constraints", "mapspace_constraints", "constraints"),
    *("components", "compound_components", "variables", "sparse_optimizations", "layout"),
    *_LEFT_OUT,
)
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d{1,3}")  # which plain YAML 1.1 takes for a text
_MERGE = "tag:yaml.org,2002:merge"


class Tagged(dict[str, Any]):
    """A mapping with a tag of Timeloop's front end: `!Component {name: ...}`."""

    tag: str = ""


class Quoted(str):
    """A text in quotes, which is never an expression."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A section that can hold constraints; `given` is what the user named to have `path` read."""

    name: str
    content: Any
    path: Path
    given: str


@dataclass
class Input:
    """What all files together say.

    Attributes:
        where: the files, for errors.
        architecture: the content of `architecture:`, or `arch:`.
        sections: those that can hold constraints; `asked`: what the user named for its constraints.
        targets: constraints on mappings, once they are gathered (`constraints.gather`).
        components: classes of components.
        variables: what expressions can name.
        sparse, layout, problem: the content of `sparse_optimizations:`, `layout:` and `problem:`, or None.
        lowered: whether pytimeloop's front end wrote one of them, with what it has from `nodes:`.
        ignored: sections that mean nothing to hwflow, and why; notes: what else is to be told.
    """

    where: str
    architecture: dict[str, Any] | None = None
    sections: list[Section] = field(default_factory=list)
    asked: tuple[str, ...] = ()
    targets: list[Any] = field(default_factory=list)
    components: list[Any] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    sparse: Any = None
    layout: Any = None
    problem: Any = None
    lowered: bool = False
    ignored: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, name: str) -> None:
        """Take note of a section that hwflow does not read."""
        near = difflib.get_close_matches(name, _SECTIONS, 1, 0.8)
        unknown = "neither Timeloop nor hwflow knows such a section" + (f"; did you mean {near[0]}?" if near else "")
        self.ignored[name] = _LEFT_OUT.get(name, unknown)


def read_files(files: Sequence[str | Path], constraints: Sequence[str | Path] = ()) -> Input:
    """All files as one input; a folder means all of its `*.yaml`.

    Args:
        constraints: further files, of which each says something about mappings.

    Raises:
        InputError: naming the file and the field, where one is missing, no YAML, or says twice what can be said once.
    """
    given = [*files, *constraints]
    found = Input(", ".join(str(path) for path in given), asked=tuple(map(str, constraints)))
    folders = tuple({path.resolve().parent for one in given for path in _listed(Path(one))})
    for one in given:
        for path in _listed(Path(one)):
            content = _Reader(folders).read(path)
            if not isinstance(content, Mapping):
                value = "empty" if content is None else shown(content)
                raise InputError(f"{path} is {value}; Timeloop's input is a mapping of sections such as architecture:.")
            for name, section in content.items():
                _add(found, str(name), section, path, str(one))
    if found.architecture is None:
        raise InputError(
            f"{found.where}: none of the files has a section architecture:, which says what the chip is. Give the file that "
            "has it (--timeloop-arch)."
        )
    return found


def _listed(given: Path) -> list[Path]:
    found = sorted(given.glob("*.yaml")) if given.is_dir() else [given]
    if not found:
        raise InputError(f"{given}: there is no *.yaml in this folder; give the files, or the folder that has them.")
    return [checked(path, "Timeloop's input", "description") for path in found]


def _add(found: Input, name: str, section: Any, path: Path, given: str) -> None:
    if name in ("architecture", "arch"):
        if found.architecture is not None:
            raise InputError(f"{path}: architecture: (or arch:) appears twice in the files {found.where}; give one.")
        found.architecture = dict(_mapping(section, f"{path}: {name}"))
        for place, node in (("architecture", found.architecture), ("architecture.subtree", _innermost(found.architecture))):
            if "constraints" in node:
                found.sections.append(Section(f"{place}.constraints", node.pop("constraints"), path, given))
    elif name.endswith("constraints") or name in ("mapping", "mapspace"):
        found.sections.append(Section(name, section, path, given))
    elif name in ("components", "compound_components"):
        classes = _mapping(section, f"{path}: {name}").get("classes") or []
        if not isinstance(classes, list) or not all(isinstance(c, Mapping) for c in classes):
            raise InputError(f"{path}: {name}.classes is {shown(classes)}; it must be a list of classes, each a mapping.")
        found.components += classes
    elif name == "variables":
        found.variables |= _mapping(section, f"{path}: variables")
    elif name == "sparse_optimizations":
        found.sparse = section
    elif name == "layout":
        found.layout = section
    elif name == "dumped_by_timeloop_front_end":
        found.lowered = bool(section)
    elif section:
        if name == "problem":
            found.problem = section
        found.leave_out(name)


def _innermost(node: dict[str, Any]) -> dict[str, Any]:
    """The subtree that has no other one in it."""
    inner = node.get("subtree")
    while isinstance(inner, list) and len(inner) == 1 and isinstance(inner[0], dict):
        node, inner = inner[0], inner[0].get("subtree")
    return node


def _mapping(section: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(section, Mapping):
        raise InputError(f"{where} is {shown(section)}; it must be a mapping.")
    return section


# One file ------------------------------------------------------------------------------------------------------------


def read_file(path: Path, folders: tuple[Path, ...]) -> Any:
    """The content of one file, whose templates may include what lies in some folders, given resolved.

    Raises:
        InputError: naming the file, where it is missing or no YAML, or a template fails.
    """
    return _Reader(folders).read(path)


_BOUNDED = {"**": operator.pow, "*": operator.mul}


class _Sandbox(SandboxedEnvironment):
    """The sandbox, in which numbers are those of expressions: `9**9**9` and `"a" * 10**10` are refused."""

    intercepted_binops = frozenset(_BOUNDED)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # Jinja's names
        return bounded(_BOUNDED[operator], left, right)


class _Reader:
    """Reads one file and what it includes."""

    def __init__(self, folders: tuple[Path, ...], depth: int = 0) -> None:
        self._folders, self._depth, self._included = folders, depth, dict[str, Any]()

    def read(self, path: Path) -> Any:
        text = read_text(path, "Timeloop's input")
        if "{{" in text or "{%" in text:
            text = self._filled(text, path)
        where = f"Timeloop's input: {path}"
        return merged(parse_yaml(underscored(text), where, self._loader(path)), where)

    def _filled(self, text: str, path: Path) -> str:
        environment = _Sandbox(undefined=StrictUndefined, autoescape=False)
        environment.globals = {
            "cwd": lambda: str(path.resolve().parent),
            "add_to_path": lambda folder: "",
            "path_exists": lambda name: bool(self._paths(name, path)),
            "include": lambda name, key="": self._include(name, key, path),
            "include_all": lambda name, key="": self._include(name, key, path, every=True),
            "include_text": lambda name: self._text(name, path),
        }
        try:
            return environment.from_string(text).render()
        except InputError:
            raise
        except Exception as error:  # whatever the methods of texts and lists raise, which a template can call
            raise InputError(
                f"{path}: its template cannot be filled in: {str(error) or type(error).__name__}. hwflow gives it cwd, "
                "path_exists, add_to_path, include, include_all and include_text alone; instead of it, give the files that it "
                "would include."
            ) from error

    def _paths(self, name: str, path: Path) -> list[Path]:
        """The file that a name in a template refers to, within the folders that the user named.

        What lies outside is refused by its name, before anything is looked up: whether it exists is no business of a template.
        """
        wanted = [Path(os.path.normpath(folder / str(name))) for folder in (path.resolve().parent, *self._folders)]
        inside = [(one, home) for one in wanted if (home := self._home(one)) is not None]
        if not inside:
            raise self._outside(name, path)
        for one, home in inside:
            found = [home]
            for part in one.relative_to(home).parts:
                below = [below for above in found for below in _matching(above, part)]
                found = [one.resolve() for one in below]
                if any(self._home(one) is None for one in found):  # a link leads there
                    raise self._outside(name, path)
            found = [one for one in found if one.exists()]
            if found:
                return sorted(found)
        return []

    def _home(self, path: Path) -> Path | None:
        """The folder of the user in which a path lies."""
        return next((folder for folder in self._folders if path.is_relative_to(folder)), None)

    def _outside(self, name: str, path: Path) -> InputError:
        return InputError(
            f"Timeloop's input: {path} includes {shown(name)}, which is outside of the folders of the files that were given; "
            "give that file, too."
        )

    def _include(self, name: str, key: str, path: Path, *, every: bool = False) -> str:
        paths = self._paths(name, path)
        if not paths or (len(paths) > 1 and not every) or self._depth > 8:
            reason = "includes itself" if self._depth > 8 else f"includes {name}, which is {len(paths)} files"
            raise InputError(f"Timeloop's input: {path} {reason}; an include is one file, include_all any number.")
        contents = [_at(_Reader(self._folders, self._depth + 1).read(one), key, one) for one in paths]
        merged = [item for c in contents for item in (c if isinstance(c, list) else [c])] if every else contents[0]
        self._included[str(len(self._included))] = merged
        return f"!included {len(self._included) - 1}"

    def _text(self, name: str, path: Path) -> str:
        """The text of other files, in place: their anchors are known here."""
        paths = self._paths(name, path)
        if not paths or self._depth > 8:
            reason = "includes itself" if self._depth > 8 else f"includes {name}, which does not exist"
            raise InputError(f"Timeloop's input: {path} {reason}.")
        self._depth += 1
        try:
            return "\n".join(self._filled(read_text(one, "Timeloop's input"), one) for one in paths)
        finally:
            self._depth -= 1

    def _loader(self, path: Path) -> type[Any]:
        included = self._included

        class Loader(SafeLoader):
            """The safe loader with the tags of Timeloop's front end, and merged keys (`<<`)."""

            def construct_mapping(self, node: Any, deep: bool = False) -> Any:
                self.flatten_mapping(node)
                return super().construct_mapping(node, deep)

            def flatten_mapping(self, node: Any) -> None:
                """Each key once, or merges of merges would have it so often that no memory holds them."""
                seen: set[Any] = set()
                for key, _ in node.value:
                    if key.tag != _MERGE and _key(key) in seen:
                        problem = f"the key {key.value!r} appears twice"
                        raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                    seen.add(_key(key))
                super().flatten_mapping(node)
                node.value = list({_key(key): (key, value) for key, value in node.value}.values())

        def text(loader: Any, node: yaml.ScalarNode) -> str | float:
            value = str(loader.construct_scalar(node))
            if node.style in ("'", '"'):
                return Quoted(value)
            return float(value) if _NUMBER.fullmatch(value) else value

        def tagged(loader: Any, node: yaml.Node) -> Tagged:
            if not isinstance(node, yaml.MappingNode):
                raise yaml.constructor.ConstructorError(None, None, f"{node.tag} needs a mapping", node.start_mark)
            content = Tagged(loader.construct_mapping(node, deep=True))
            content.tag = node.tag[1:].capitalize()
            return content

        Loader.add_constructor("tag:yaml.org,2002:str", text)
        Loader.add_constructor("!included", lambda loader, node: included[str(loader.construct_scalar(node))])
        for tag in TAGS:
            Loader.add_constructor(f"!{tag}", tagged)
            Loader.add_constructor(f"!{tag.lower()}", tagged)
        return Loader


def _matching(folder: Path, part: str) -> list[Path]:
    """The entries of a folder that a part of a path names: one, there or not, or those of a pattern."""
    if not glob.has_magic(part):
        return [folder / part]
    return [Path(one) for one in glob.glob(os.path.join(glob.escape(str(folder)), part))]


def _key(node: yaml.Node) -> Any:
    return (node.tag, node.value) if isinstance(node, yaml.ScalarNode) else node


def _at(content: Any, key: str, path: Path) -> Any:
    for step in filter(None, str(key).split(".")):
        if not isinstance(content, Mapping) or step not in content:
            raise InputError(f"Timeloop's input: {path} has no section {key}, which another file includes.")
        content = content[step]
    return content

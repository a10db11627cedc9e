"""`from_timeloop`: an accelerator from a user's own Timeloop files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwflow.errors import InputError
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.timeloop.importer.constraint_sections import gather
from hwflow.timeloop.importer.constraints import constraint_of
from hwflow.timeloop.importer.derivation import derive
from hwflow.timeloop.importer.front_end import lower
from hwflow.timeloop.importer.keywords import with_variables
from hwflow.timeloop.importer.source_files import read_files


def from_timeloop(
    files: str | Path | Sequence[str | Path], *, constraints: str | Path | Sequence[str | Path] = ()
) -> TimeloopAccelerator:
    """An accelerator from an architecture in Timeloop's format, native (`subtree:`) or of its front end (`nodes:`).

    Fine runs the architecture as it is written; mid computes on what is derived from it. `notes` of the result say what is
    not as the files have it, `refusals` why mid cannot answer, where it cannot.

    Args:
        files: the architecture, and what belongs to it: classes of components, variables. A folder means all of its `*.yaml`.
        constraints: files with constraints on mappings, beside those that the architecture has.

    Raises:
        InputError: naming the file, the field, its value and what to do.
    """
    given = [files] if isinstance(files, (str, Path)) else list(files)
    more = [constraints] if isinstance(constraints, (str, Path)) else list(constraints)
    if not given:
        raise InputError("from_timeloop: no files are given; give the one with the architecture.")
    found = read_files(given, more)
    assert found.architecture is not None
    native = "nodes" not in found.architecture
    _check_version(found.architecture, found.where, native=native)
    if native:
        variables = found.variables
        found.architecture = with_variables(found.architecture, variables, found.where)
        found.sections = [replace(s, content=with_variables(s.content, variables, found.where)) for s in found.sections]
    found.targets = gather(found, native=native)
    if not native:
        lower(found)
    parsed = [constraint_of(target, found.where) for target in found.targets]
    return derive(found, parsed, _name(Path(given[0])))


_NATIVE = ("0.2", "0.3", "0.4")
"""The versions that Timeloop reads as a tree, all alike (`model/engine.cpp`)."""


def _check_version(architecture: Mapping[str, Any], where: str, *, native: bool) -> None:
    version = str(architecture.get("version", ""))
    if not version and native and ("storage" in architecture or "arithmetic" in architecture):
        raise InputError(
            f"{where}: architecture has storage: and arithmetic: and no version, which is Timeloop's first format; hwflow "
            "reads trees of components (subtree:, version 0.2 to 0.4)."
        )
    allowed = _NATIVE if native else _NATIVE[-1:]
    if version not in allowed:
        raise InputError(
            f"{where}: architecture.version is {version!r}; hwflow reads {', '.join(allowed)}"
            f"{' of native files' if native else ' of those of the front end (nodes:)'}."
        )
    if native and "subtree" not in architecture:
        raise InputError(f"{where}: architecture has neither subtree: (native) nor nodes: (pytimeloop's front end).")


def _name(path: Path) -> str:
    """The file's name, or its folder's where all are called arch.yaml."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    return path.parent.name if path.stem in ("arch", "architecture") else path.name.split(".")[0]

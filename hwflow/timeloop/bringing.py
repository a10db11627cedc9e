"""`from_timeloop`: a user's own Timeloop files as an accelerator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwflow.errors import InputError
from hwflow.native import TimeloopAccelerator
from hwflow.timeloop.deriving import derive
from hwflow.timeloop.files import read_files
from hwflow.timeloop.hierarchy import constraint_of
from hwflow.timeloop.lowering import lower


def from_timeloop(
    files: str | Path | Sequence[str | Path], *, constraints: str | Path | Sequence[str | Path] = ()
) -> TimeloopAccelerator:
    """An accelerator from a v0.4 architecture in Timeloop's format, native (`subtree:`) or of its front end (`nodes:`).

    Fine runs the architecture as it is written; mid computes on what is derived from it. `notes` of the result say what is
    not as the files have it, `refusals` why mid cannot answer, where it cannot.

    Args:
        files: the architecture, and what belongs to it: classes of components, variables. A folder stands for its `*.yaml`.
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
    version = str(found.architecture.get("version", ""))
    if version != "0.4":
        raise InputError(f"{found.where}: architecture.version is {version!r}; hwflow reads 0.4, Timeloop's current format.")
    if "nodes" in found.architecture:
        lower(found)
    elif "subtree" not in found.architecture:
        raise InputError(f"{found.where}: architecture has neither subtree: (native) nor nodes: (pytimeloop's front end).")
    parsed = [constraint_of(target, found.where) for target in found.targets]
    return derive(found, parsed, _name(Path(given[0])))


def _name(path: Path) -> str:
    """The file's name, or its folder's where all are called arch.yaml."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    return path.parent.name if path.stem in ("arch", "architecture") else path.name.split(".")[0]

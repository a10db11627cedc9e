"""Optional dependencies: imported where they are used, with one error message that says what to install."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwflow.errors import MissingDependency

_REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9._-]+)\s*(?:\[(?P<extras>[^\]]*)\])?[^;]*(?:;(?P<marker>.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*['"](?P<extra>[^'"]+)['"]""")
_SOURCE = Path(__file__).resolve().parents[1]
_NAMES = {"PIL": "Pillow", "sklearn": "scikit-learn", "torch": "PyTorch", "torch_pruning": "torch-pruning"}


def needed(module: str, purpose: str, extra: str = "prune") -> Any:
    """The module, imported.

    Raises:
        MissingDependency: naming the purpose, the package and the command that installs the extra which brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name != root:
            raise
        raise missing(root, purpose, extra) from error


def missing(module: str, purpose: str, extra: str) -> MissingDependency:
    """The error of a package that is not installed."""
    return MissingDependency(
        f"{purpose} needs {_NAMES.get(module, module)}, which is not installed here: {install_command(extra)}"
    )


def install_command(extra: str) -> str:
    """The command that installs an extra here: pip takes the extras of an installed hwflow from its metadata, without an index
    that has hwflow; a source tree on PYTHONPATH has no metadata and is named by its path."""
    if _requirements():
        return f'pip install "hwflow[{extra}]"'
    return f'pip install "{_SOURCE}[{extra}]"'


def source_command() -> str:
    """The command that installs hwflow itself from the source tree that it runs from."""
    return f'pip install "{_SOURCE}"'


def required() -> tuple[str, ...]:
    """The packages that hwflow always needs; empty where it runs from a source tree that is not installed."""
    return tuple(name for name, _, extra in _requirements() if extra is None)


def extras() -> Mapping[str, tuple[str, ...]]:
    """The packages of each extra that is for users; each package stands under the smallest extra that brings it."""
    members: dict[str, dict[str, None]] = {}
    for name, _, extra in _requirements():
        if extra is not None and name != "hwflow":
            members.setdefault(extra, {})[name] = None
    offered = sorted(members.keys() - _NO_USERS, key=lambda e: (len(members[e]), e))
    found: dict[str, tuple[str, ...]] = {}
    for extra in offered:
        found[extra] = tuple(name for name in members[extra] if not any(name in names for names in found.values()))
    return found


_NO_USERS = {"all", "dev", "docs"}  # what has others, and what those who build hwflow need


@functools.cache
def _requirements() -> tuple[tuple[str, tuple[str, ...], str | None], ...]:
    """Each requirement in hwflow's metadata: the package, the extras asked of it, and hwflow's extra that it belongs to."""
    try:
        lines = importlib.metadata.requires("hwflow") or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    found = []
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match is None:
            continue
        inner = tuple(part.strip() for part in (match["extras"] or "").split(",") if part.strip())
        extra = _EXTRA.search(match["marker"] or "")
        found.append((match["name"].lower(), inner, extra["extra"] if extra else None))
    return tuple(found)


__all__ = ["extras", "install_command", "missing", "needed", "required", "source_command"]

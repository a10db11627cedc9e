"""`package.module:callable` as a network; it runs code, so a name in a *file* needs the user's consent.

A callable that is given as NETWORK, on the command line or in Python, runs because the user asks for it. Where a file names it
(a sweep file, the config.json of a run), it is imported only if the user allows its module, and nothing is added to Python's
path for it.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.errors import HwflowError, ImportFailed, InputError, not_found, shown
from hwflow.optional import needed

if TYPE_CHECKING:
    from torch import nn

_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class NamedIn:
    """The file that names a network, and the modules that the user allows it to import, submodules included.

    Raises:
        InputError: where `allowed` is no list of modules.
    """

    file: Path
    allowed: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = self.allowed
        if isinstance(names, str) or not all(isinstance(n, str) and _MODULE.fullmatch(n) for n in names):
            raise InputError(
                f"allow_import is {shown(names)}; it must list modules by their dotted names, such as ('mypackage',) "
                "(--allow-import mypackage)."
            )

    def allows(self, module: object) -> bool:
        """Whether a module is allowed, or is a submodule of an allowed one."""
        return isinstance(module, str) and any(module == name or module.startswith(f"{name}.") for name in self.allowed)

    def check(self, spec: str) -> None:
        """Refuse a callable whose module is not allowed.

        Raises:
            InputError: naming the file, the callable and the option that allows it.
        """
        module = spec.partition(":")[0]
        if not self.allows(module):
            raise self.refusal(spec, "which is Python code to be run", module)

    def refusal(self, spec: str, reason: str, module: str) -> InputError:
        """The error for a callable that must not run."""
        return InputError(
            f"{self.file} names the network {shown(spec)}, {reason}. hwflow imports what a file names only where its module is "
            f'allowed: once you trust that code, add --allow-import {module} (allow_import=("{module}",) in Python).'
        )


def is_callable(spec: str) -> bool:
    """Whether a text has the form `package.module:callable`."""
    return _CALLABLE.fullmatch(spec) is not None


def module_of(spec: str, named_in: NamedIn | None = None) -> nn.Module:
    """The module that `package.module:callable` returns; the callable chooses its sizes itself.

    Args:
        named_in: the file that names it; None where the user did, and then the current folder is importable meanwhile.

    Raises:
        InputError: where a file names it and its module is not allowed, or there is no such name.
        ImportFailed: where the callable fails or returns something else.
        MissingDependency: where torch is not installed.
    """
    if named_in is not None:
        named_in.check(spec)
    needed("torch", f"the model {spec}")
    from torch import nn

    try:
        with _current_folder(importable=named_in is None):
            found = _named(spec)
            if named_in is not None and not isinstance(found, nn.Module):
                _check_home(spec, found, named_in)
            model = found if isinstance(found, nn.Module) else found()
    except HwflowError:
        raise
    except Exception as error:
        raise _failed(spec, named_in, error) from error
    if not isinstance(model, nn.Module):
        raise ImportFailed(f"{spec} returned {type(model).__name__}; it must return a torch.nn.Module.")
    return model


def check_name(spec: str, named_in: NamedIn | None = None) -> None:
    """Refuse a name that there is not, without calling what it names; arguments and errors as of `module_of`."""
    if named_in is not None:
        named_in.check(spec)
    needed("torch", f"the model {spec}")
    try:
        with _current_folder(importable=named_in is None):
            _named(spec)
    except HwflowError:
        raise
    except Exception as error:
        raise _failed(spec, named_in, error) from error


def _named(spec: str) -> Any:
    module_name, _, attribute = spec.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise not_found(f"name in {module_name}", attribute, [n for n in vars(found) if not n.startswith("_")])
        found = getattr(found, part)
    return found


def _failed(spec: str, named_in: NamedIn | None, error: Exception) -> ImportFailed:
    where = "importable from the current folder or installed"
    if named_in is not None:
        where = "installed, or on PYTHONPATH: a file does not make the current folder importable"
    return ImportFailed(
        f"{spec} failed: {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}. The module must be "
        f"{where}, and the callable must need no arguments."
    )


def _check_home(spec: str, found: object, named_in: NamedIn) -> None:
    """Refuse what an allowed module has only imported: `mypackage:os.abort`, where mypackage says `import os`."""
    home = getattr(found, "__module__", None)
    if not named_in.allows(home):
        known = isinstance(home, str) and _MODULE.fullmatch(home) is not None
        told = f"which is defined in {home}" if known else "which no module defines"
        raise named_in.refusal(spec, told, str(home) if known else "MODULE")


@contextmanager
def _current_folder(*, importable: bool) -> Iterator[None]:
    folder = str(Path.cwd()) if importable else ""
    if not importable or folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


__all__ = ["NamedIn", "check_name", "is_callable", "module_of"]

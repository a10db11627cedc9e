"""Where the data that ships with hwflow lies: `arch_templates/` and `mappings/`, and how YAML is read and files are written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from hwflow.errors import HwflowError, InputError

_PACKAGE = Path(__file__).resolve().parent
_REPEATED = 10
_LEVELS = 100
_BITS = 10_000


def folder(name: str) -> Path:
    """The data folder `name`: inside the package in a wheel, beside it in a source tree.

    Raises:
        HwflowError: where neither exists, which is a broken installation.
    """
    for place in (_PACKAGE / name, _PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise HwflowError(
        f"hwflow's data folder {name!r} is missing: neither {_PACKAGE / name} nor {_PACKAGE.parent / name} exists. "
        "The installation is broken; install hwflow again."
    )


def read_yaml(path: str | Path, what: str) -> Any:
    """The content of a YAML file, read with the safe loader; `what` names its purpose in errors.

    Raises:
        InputError: where the file is missing, unreadable or no YAML; with the line.
    """
    return parse_yaml(read_text(path, what), f"{what}: {path}")


def read_text(path: str | Path, what: str) -> str:
    """The content of a text file; `what` names its purpose in errors.

    Raises:
        InputError: where the file is missing or unreadable.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{what} {path}: there is no such file; check the path.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{what}: {path} is no text: {error}. Give a text file in UTF-8.") from error
    except OSError as error:
        raise InputError(f"{what}: {path} cannot be read: {error}.") from error


def parse_yaml(text: str, where: str, loader: type[Any] | None = None) -> Any:
    """The content of a YAML text; `where` names it in errors, `loader` is a `SafeLoader` that may know more tags.

    Raises:
        InputError: where it is no YAML, with the line, repeats its parts without end, or nests them too deep.
    """
    try:
        content = yaml.load(text, Loader=loader or SafeLoader)
        elements, levels = _measured(content, {})
    except yaml.reader.ReaderError as error:
        character = chr(error.character)
        line = text.count("\n", 0, text.find(character)) + 1
        raise InputError(f"{where}, line {line} is not valid YAML: the character {character!r} is not allowed.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"{where}{place} is not valid YAML: {problem}.") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        # PyYAML's, of dates that do not exist, numbers of 5000 digits, tags that do not fit: `!!int ""`, `!!bool x`
        raise InputError(f"{where} is not valid YAML: {error}.") from error
    if elements > _REPEATED * (len(text) + 1000):  # written out, it could not have more elements than characters
        raise InputError(f"{where} repeats its parts by aliases, over and over; write out what it means.")
    if levels > _LEVELS:
        raise InputError(f"{where} has {levels} lists and mappings within one another; hwflow reads {_LEVELS} at most.")
    return content


def _measured(content: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Elements with every alias written out, and the levels of lists and mappings; elements are very many, where something
    contains itself."""
    if isinstance(content, int) and content.bit_length() > _BITS:  # Python would refuse to print it
        raise ValueError(f"it has a whole number of more than {_BITS} bits")
    if not isinstance(content, (dict, list, tuple, set)):  # tuples are those of `!!pairs`, sets of `!!set`
        return 1, 0
    if id(content) not in known:
        known[id(content)] = 2**63, 0
        parts = [*content, *content.values()] if isinstance(content, dict) else content
        measured = [_measured(part, known) for part in parts]
        known[id(content)] = (
            1 + sum(elements for elements, _ in measured),
            1 + max((levels for _, levels in measured), default=0),
        )
    return known[id(content)]


class SafeLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, refusing a key that stands twice in one mapping: plain YAML would drop the first in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int, float)) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            if isinstance(key, (str, int, float)):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as `write_bytes` does, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all: to a temporary file beside it, then renamed. A link is followed, a device written to.

    Raises:
        HwflowError: naming the file and the system's reason, where it cannot be written.
    """
    path = Path(path)
    target = path.resolve() if path.is_symlink() else path
    made: list[Path] = []
    temporary = ""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # /dev/stdout, a pipe: nothing to replace
            with path.open("wb") as handle:
                handle.write(content)
            return
        made = [p for p in (target.parent, *target.parent.parents) if not p.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name}.", delete=False) as handle:
            temporary = handle.name
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            if temporary:
                os.unlink(temporary)
            for folder_made in made:
                folder_made.rmdir()
        left = "What stood there before still does." if target.is_file() else "Nothing was left there."
        raise HwflowError(f"cannot write {path}: {error.strerror or error}. {left}") from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current

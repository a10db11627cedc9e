"""Files: the location of shipped data, reading of inputs within limits, and atomic writing.

Every input is opened here: it must be a regular file, no larger than the limit of its kind. Named pipes, devices and the like,
which block or never end, are refused before they are opened. The limits bound the time, too: YAML, which takes longest, is read
in about ten seconds at most.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import yaml

from hwflow.errors import HwflowError, InputError

_PACKAGE = Path(__file__).resolve().parent
_MIB = 2**20

Kind = Literal["description", "result", "records", "onnx", "weights", "images", "table"]
LIMITS: dict[Kind, int] = {
    "description": 4 * _MIB,  # YAML: accelerators, layer lists, sweeps, mappings, Timeloop's files; 1 to 3 s a MiB
    "result": 128 * _MIB,  # JSON that a run left, and what a tool printed
    "records": 16_384 * _MIB,  # a sweep's records, read line by line; about 10 kB a point
    "onnx": 2048 * _MIB,  # the most that protobuf allows
    "weights": 8192 * _MIB,
    "images": 4096 * _MIB,  # IDX, CIFAR and image files; of compressed files what they hold, too
    "table": 4096 * _MIB,  # Parquet
}
"""Bytes that are read of one file at most, by its kind."""
LINE_LIMIT = 64 * _MIB
"""Bytes of one line of a file that is read line by line."""
_NAMES: dict[Kind, str] = {
    "description": "a description",
    "result": "a result",
    "records": "a file of records",
    "onnx": "an ONNX file",
    "weights": "a file of weights",
    "images": "a file of images",
    "table": "a table",
}
_PREFIX = 50  # characters of a file's name in that of the temporary file beside it, whose name must not grow too long
_MISSING = ": there is no such file; check the path"
_REPEATED = 10
_LEVELS = 100
_NESTED = f"it has more than {_LEVELS} lists and mappings within one another"
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


# Reading -------------------------------------------------------------------------------------------------------------


def checked(path: str | Path, what: str, kind: Kind | None, missing: str = _MISSING) -> Path:
    """`path`, where it is a regular file within the limit of its kind; for libraries that open files themselves.

    Args:
        what: the purpose of the file, in errors; may be empty.
        kind: None where only a part is read, so that the file may have any size.
        missing: ends the sentence that says there is no such file.

    Raises:
        InputError: where there is none, or it is a folder, a pipe, a device, a loop of links, or too large.
    """
    label = _label(what, path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise InputError(f"{label}{missing}.") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise InputError(f"{label} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{label} is a folder; name a file.")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"{label} is {_special(status.st_mode)}, not a regular file. Save its content to a file and give that instead."
        )
    if kind is not None and status.st_size > LIMITS[kind]:
        raise _too_large(label, kind, f"it has {_size(status.st_size)}")
    if kind == "weights" and (unpacked := _unpacked(path)) > LIMITS[kind]:
        raise _too_large(label, kind, f"unpacked it has {_size(unpacked)}")
    return Path(path)


def open_input(path: str | Path, what: str, kind: Kind, missing: str = _MISSING) -> io.BufferedReader:
    """A file that `checked` accepts, open for reading bytes.

    Raises:
        InputError: as `checked`, and where the system does not let it be read.
    """
    checked(path, what, kind, missing)
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{_label(what, path)} cannot be read: {error.strerror or error}.") from error


def read_bytes(path: str | Path, what: str, kind: Kind, missing: str = _MISSING) -> bytes:
    """The content of a file.

    Raises:
        InputError: as `open_input`, and where it grew beyond the limit meanwhile.
    """
    label = _label(what, path)
    try:
        with open_input(path, what, kind, missing) as handle:
            content = handle.read(LIMITS[kind] + 1)
    except OSError as error:
        raise InputError(f"{label} cannot be read: {error.strerror or error}.") from error
    if len(content) > LIMITS[kind]:
        raise _too_large(label, kind, "it has more")
    return content


def read_part(path: str | Path, what: str, offset: int, count: int) -> bytes:
    """`count` bytes of a file of any size, fewer where it ends before.

    Raises:
        InputError: as `open_input`.
    """
    checked(path, what, None)
    try:
        with open(path, "rb") as handle:
            handle.seek(offset)
            return handle.read(count)
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{_label(what, path)} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def read_text(path: str | Path, what: str, kind: Kind = "description", missing: str = _MISSING) -> str:
    """The content of a text file in UTF-8, with lines that end in a line feed.

    Raises:
        InputError: as `read_bytes`, and where it is no text.
    """
    try:
        text = read_bytes(path, what, kind, missing).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{_label(what, path)} is no text: {error}. Give a text file in UTF-8.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_lines(handle: BinaryIO, where: str) -> Iterator[bytes]:
    """The lines of an open file, each with its line feed, which the last may lack.

    Raises:
        InputError: where a line is longer than `LINE_LIMIT`; `where` names the file.
    """
    number = 0
    while line := handle.readline(LINE_LIMIT + 1):
        number += 1
        if len(line) > LINE_LIMIT:
            raise InputError(f"{where}, line {number} has more than {_size(LINE_LIMIT)}, the most that hwflow reads of a line.")
        yield line


def read_yaml(path: str | Path, what: str) -> Any:
    """The content of a YAML file, read with the safe loader; `what` names its purpose in errors.

    Raises:
        InputError: where the file is missing, unreadable or no YAML; with the line.
    """
    return parse_yaml(read_text(path, what), f"{what}: {path}")


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: saying what is wrong with it: it is no JSON, or nests its parts too deep.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError(_NESTED) from None
    level = [content]
    for _ in range(_LEVELS + 1):
        level = [
            part
            for parts in level
            if isinstance(parts, (dict, list))
            for part in (parts.values() if isinstance(parts, dict) else parts)
            if isinstance(part, (dict, list))
        ]
        if not level:
            return content
    raise ValueError(_NESTED)


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
    except RecursionError:
        raise InputError(f"{where} is not valid YAML: {_NESTED}, the most that hwflow reads.") from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
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
    """The safe loader, refusing a key that appears twice in one mapping: plain YAML would drop the first in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int, float)) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} appears twice", key_node.start_mark)
            if isinstance(key, (str, int, float)):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _unpacked(path: str | Path) -> int:
    """Bytes that the archive at `path` says it holds, as files of weights are; 0 where it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return 0


def _label(what: str, path: str | Path) -> str:
    return f"{what} {path}" if what else str(path)


def _special(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def _too_large(label: str, kind: Kind, found: str) -> InputError:
    return InputError(f"{label} is too large: {found}; hwflow reads at most {_size(LIMITS[kind])} of {_NAMES[kind]}.")


def _size(count: int) -> str:
    return f"{count:,} bytes" if count < _MIB else f"{count / _MIB:,.1f} MiB".replace(".0 MiB", " MiB")


# Writing -------------------------------------------------------------------------------------------------------------


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as `write_bytes` does, in UTF-8; halves of surrogate pairs, which it has no bytes for, written out."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all: to a temporary file beside it, then renamed. A link is followed, a device written to.

    Raises:
        HwflowError: naming the file and the system's reason, where it cannot be written.
    """
    path = target = Path(path)
    made: list[Path] = []
    temporary = ""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.stat(path)  # fails where links lead back to themselves, which is not to be taken for a file that is missing
        if path.is_symlink():
            target = Path(os.path.realpath(path))
        if path.exists() and not path.is_file() and not path.is_dir():  # /dev/stdout, a pipe: nothing to replace
            with path.open("wb") as handle:
                handle.write(content)
            return
        made = [p for p in (target.parent, *target.parent.parents) if not p.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name[:_PREFIX]}.", delete=False) as handle:
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
        left = "What stood there before still does." if os.path.isfile(target) else "Nothing was left there."
        remedy = _REMEDIES.get(error.errno or 0, "")
        raise HwflowError(f"cannot write {path}: {error.strerror or error}. {left}{remedy}") from error


_REMEDIES = {
    errno.ENOSPC: " Free space there, or write elsewhere.",
    errno.EDQUOT: " Free space there, or write elsewhere.",
    errno.EROFS: " Write elsewhere.",
    errno.EACCES: " Write elsewhere, or change the permissions.",
}


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current

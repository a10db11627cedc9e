"""A sweep's folder, and `records.jsonl` in it, the truth: one line a point, only ever appended to.

sweep.yaml       the sweep file as it was run
records.jsonl    first what the file's names stood for, then every point as it was finished, with its layers' rows
results.parquet, results.csv, layers.parquet    made of the records, whenever a run ends
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hwflow.data import checked, parse_json, read_bytes, read_lines, read_yaml, write_bytes
from hwflow.errors import HwflowError, InputError
from hwflow.folders import differences, held

FORMAT = 1
_SYNC_S = 1.0
"""How often lines are forced to the disk. A killed process loses nothing that it has written; a power cut at most so much."""


class Records:
    """The lines of `records.jsonl`; where a point stands there twice, the later line holds."""

    def __init__(self, handle: BinaryIO, path: Path) -> None:
        self._handle, self._path, self._synced = handle, path, time.monotonic()
        self._places: dict[int, int] = {}
        self._asked: dict[int, int] = {}
        self._passing: set[int] = set()
        self.header: dict[str, Any] | None = None
        self._read()

    def finished(self, head: Mapping[str, Any]) -> bool:
        """Whether a point need not be costed again: all but those that failed for a reason which may be gone by now.

        A search goes another way where such a point is answered after all. Its later numbers then stand for other designs than
        in the records, so what a record was asked must be what is asked now.
        """
        point = head["point"]
        return self._asked.get(point) == _asked(head) and point not in self._passing

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All records, in the order of their points."""
        return (self[point] for point in sorted(self._places))

    def __getitem__(self, point: int) -> dict[str, Any]:
        self._handle.seek(self._places[point])
        record: dict[str, Any] = json.loads(self._handle.readline())
        return record

    def add(self, record: Mapping[str, Any]) -> None:
        """One finished point."""
        self._note(record, self._write(record))

    def begin(self, header: Mapping[str, Any]) -> None:
        """The first line."""
        self.header = dict(header)
        self._write(header)
        self.sync()

    def sync(self) -> None:
        """Have all lines on the disk."""
        with self._writing():
            os.fsync(self._handle.fileno())
        self._synced = time.monotonic()

    def _note(self, record: Mapping[str, Any], place: int) -> None:
        point = int(record["point"])
        self._asked[point] = _asked(record)
        self._places[point] = place
        (self._passing.add if record["passing"] else self._passing.discard)(point)

    def _write(self, content: Mapping[str, Any]) -> int:
        line = json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._writing():
            place = self._handle.seek(0, os.SEEK_END)
            self._handle.write(line)
            self._handle.flush()
        if time.monotonic() - self._synced > _SYNC_S:
            self.sync()
        return place

    def _read(self) -> None:
        """Where each point is; a last line that was torn by a kill goes."""
        place = 0
        for number, line in enumerate(read_lines(self._handle, str(self._path)), 1):
            if not line.endswith(b"\n"):
                with self._writing():
                    self._handle.truncate(place)
                return
            try:
                content = parse_json(line)
                if number == 1:
                    self.header = {"format": content["format"], **content}
                else:
                    self._note(content, place)
            except (ValueError, KeyError, TypeError):
                remedy = "remove the line, and its point is costed again; or name another folder"
                if number == 1:
                    remedy = "it says what was swept. Name another folder; layers that were costed already are in the cache"
                raise InputError(f"{self._path}, line {number} is damaged: {remedy}.") from None
            place += len(line)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HwflowError(
                f"cannot write {self._path}: {error.strerror or error}. What is there already is kept."
            ) from error


@contextlib.contextmanager
def opened(folder: Path, file: Path, header: Mapping[str, Any]) -> Iterator[Records]:
    """Begin the sweep of `file` in `folder`, or go on with it. Meanwhile no other run can.

    Raises:
        InputError: where the folder holds something else, or another sweep: it lists what differs.
        HwflowError: where nothing can be written.
        MissingDependency: where filelock is not installed.
    """
    path = folder / "records.jsonl"
    if folder.exists() and (not folder.is_dir() or (not path.exists() and _content(folder, file))):
        raise InputError(f"{folder} is no sweep's folder and is not empty: name another, or a new one.")
    if folder.is_symlink() and not folder.exists():
        raise InputError(f"{folder} is a link that leads nowhere: name another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HwflowError(f"cannot write in {folder}: {error.strerror or error}.") from error
    with held(folder, folder / ".lock", "sweep"):
        handle = _open(path)
        try:
            records = Records(handle, path)
            _begin(records, folder, file, json.loads(json.dumps(header)))
            yield records
        finally:
            with contextlib.suppress(OSError):  # what a full disk refused is tried once more, and was told already
                handle.close()


def _asked(record: Mapping[str, Any]) -> int:
    """What a point stands for, small enough to be kept of millions."""
    return hash(tuple(record[name] for name in ("network", "accelerator", "dataflow", "level", "batch", "bits")))


def _content(folder: Path, file: Path) -> list[str]:
    """What is in a folder without records, but for what a sweep of this file can have left there that was killed at once."""
    names = {entry.name for entry in folder.iterdir()} - {".lock"}
    if "sweep.yaml" in names and _bytes(folder / "sweep.yaml") == _bytes(file):
        names.remove("sweep.yaml")
    return sorted(names)


def _bytes(file: Path) -> bytes:
    return read_bytes(file, "sweep file", "description")


def _open(path: Path) -> BinaryIO:
    try:
        return open(checked(path, "", "records"), "r+b") if path.exists() else open(path, "w+b")
    except OSError as error:
        raise HwflowError(f"cannot write {path}: {error.strerror or error}.") from error


def _begin(records: Records, folder: Path, file: Path, header: dict[str, Any]) -> None:
    copy = folder / "sweep.yaml"
    if records.header is None:
        write_bytes(copy, _bytes(file))
        records.begin(header)
        return
    changed = differences(read_yaml(copy, "sweep file"), read_yaml(file, "sweep file"))
    changed += differences(records.header, header)
    if changed:
        more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
        raise InputError(
            f"{folder} holds another sweep than {file}, which cannot be continued by it: {'; '.join(changed[:6])}{more}. Name "
            "another folder (layers that were costed already are in the cache), or run the sweep.yaml in the folder."
        )

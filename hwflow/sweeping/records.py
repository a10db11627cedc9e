"""A sweep's folder, and `records.jsonl` in it, the append-only file with one line per point that all tables derive from.

sweep.yaml       the sweep file as it was run
records.jsonl    first what the file's names stood for, then every point as it was finished, with its layers' rows
results.parquet, results.csv, layers.parquet    made of the records, whenever a run ends

Lines that are no records of the sweep (see `hwflow.sweeping.point_record`) are taken out when the folder is opened; their
points are costed again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hwflow.errors import HwflowError, InputError, shown
from hwflow.files import checked, parse_json, read_bytes, read_lines, read_yaml, write_bytes
from hwflow.run_folder import differences, held
from hwflow.sweeping.point_record import Checker

FORMAT = 2
_SYNC_S = 1.0
"""How often lines are forced to the disk. A killed process loses nothing that it has written; a power cut at most so much."""

_ASKED = ("network", "accelerator", "base", "dataflow", "level", "batch", "bits", "macs", "params")


class Records:
    """The lines of `records.jsonl`; of several lines for one point the last one is valid.

    Attributes:
        header: the first line, or None where there is none yet.
        damaged: lines that were no records when the file was opened, as `line 7: energy_pj is nan: ...`.
        others: points whose record was of another design than the sweep's.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._synced = path, time.monotonic()
        self._places: dict[int, int] = {}
        self._asked: dict[int, int] = {}
        self._transient: set[int] = set()
        self.damaged: list[str] = []
        self.others: set[int] = set()
        self.header: dict[str, Any] | None = None
        self._handle = self._open()

    def finished(self, head: Mapping[str, Any]) -> bool:
        """Whether a point need not be costed again: all but those that failed for a reason which may be gone by now.

        A search goes another way where such a point is answered after all. Its later numbers then stand for other designs than
        in the records, so what a record was asked must be what is asked now.
        """
        point = head["point"]
        if point in self._asked and self._asked[point] != _asked(head):
            self.others.add(point)
            return False
        return point in self._asked and point not in self._transient

    def leave_out(self, first: int) -> list[int]:
        """Forget the points from this number on, which are not of the sweep; gives those that there were."""
        points = sorted(point for point in self._places if point >= first)
        for point in points:
            del self._places[point], self._asked[point]
        return points

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

    def read_header(self) -> None:
        """The first line, where there is one."""
        line = next(read_lines(self._handle, str(self._path)), b"")
        if not line.endswith(b"\n"):
            with self._writing():
                self._handle.truncate(0)
            return
        try:
            content = parse_json(line)
            self.header = {"format": content["format"], **content}
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self._path}, line 1 is damaged: it says what was swept. Name another folder; layers that were costed "
                "already are in the cache."
            ) from None

    def read(self, checker: Checker) -> None:
        """Find out where each point is; a last line that was torn by a kill goes, and so do lines that are no records."""
        self._handle.seek(0)
        place = offset = len(self._handle.readline())
        kept, torn = [(0, offset)], False
        for number, line in enumerate(read_lines(self._handle, str(self._path)), 2):
            torn = not line.endswith(b"\n")
            if torn:
                break
            try:
                self._note(checker.read(line), place)
            except ValueError as error:
                self.damaged.append(f"line {number}: {error}")
                kept.append((offset + len(line), offset + len(line)))
            else:
                place += len(line)
                kept[-1] = kept[-1][0], offset + len(line)
            offset += len(line)
        if self.damaged:
            self._keep(kept)
        elif torn:
            with self._writing():
                self._handle.truncate(place)

    def _keep(self, parts: list[tuple[int, int]]) -> None:
        """Rewrite the file with these parts of it alone, each from a byte to another."""
        content = bytearray()
        for begin, end in parts:
            self._handle.seek(begin)
            content += self._handle.read(end - begin)
        self.close()
        write_bytes(self._path, bytes(content))
        self._handle = self._open()

    def sync(self) -> None:
        """Have all lines on the disk."""
        with self._writing():
            os.fsync(self._handle.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """At the end."""
        with contextlib.suppress(OSError):  # what a full disk refused is tried once more, and was told already
            self._handle.close()

    def _note(self, record: Mapping[str, Any], place: int) -> None:
        point = int(record["point"])
        self._asked[point] = _asked(record)
        self._places[point] = place
        (self._transient.add if record["transient"] else self._transient.discard)(point)

    def _write(self, content: Mapping[str, Any]) -> int:
        line = json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._writing():
            place = self._handle.seek(0, os.SEEK_END)
            self._handle.write(line)
            self._handle.flush()
        if time.monotonic() - self._synced > _SYNC_S:
            self.sync()
        return place

    def _open(self) -> BinaryIO:
        try:
            return open(checked(self._path, "", "records"), "r+b") if self._path.exists() else open(self._path, "w+b")
        except OSError as error:
            raise HwflowError(f"cannot write {self._path}: {error.strerror or error}.") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HwflowError(
                f"cannot write {self._path}: {error.strerror or error}. What is there already is kept."
            ) from error


@contextlib.contextmanager
def opened(folder: Path, file: Path, header: Mapping[str, Any], checker: Checker, *, grows: bool = False) -> Iterator[Records]:
    """Begin the sweep of `file` in `folder`, or go on with it. Meanwhile no other run can.

    Args:
        grows: whether the sweep's first designs are those of the same sweep with fewer points, whose folder it then continues.

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
        records = Records(path)
        try:
            records.read_header()
            _begin(records, folder, file, json.loads(json.dumps(header)), grows=grows)
            records.read(checker)
            yield records
        finally:
            records.close()


def _asked(record: Mapping[str, Any]) -> int:
    """A hash of what a point was asked for, small enough to keep for millions of points."""
    return hash((*(record[name] for name in _ASKED), json.dumps(record["fields"], sort_keys=True)))


def _content(folder: Path, file: Path) -> list[str]:
    """What is in a folder without records, but for what a sweep of this file can have left there that was killed at once."""
    names = {entry.name for entry in folder.iterdir()} - {".lock"}
    if "sweep.yaml" in names and _bytes(folder / "sweep.yaml") == _bytes(file):
        names.remove("sweep.yaml")
    return sorted(names)


def _bytes(file: Path) -> bytes:
    return read_bytes(file, "sweep file", "description")


def _begin(records: Records, folder: Path, file: Path, header: dict[str, Any], *, grows: bool) -> None:
    copy = folder / "sweep.yaml"
    if records.header is None:
        write_bytes(copy, _bytes(file))
        records.begin(header)
        return
    if records.header["format"] != FORMAT:
        raise InputError(
            f"{folder} was begun by another version of hwflow, whose records (format {shown(records.header['format'])}) this "
            f"one (format {FORMAT}) does not continue: name another folder. Layers that were costed already are in the cache."
        )
    before, now = read_yaml(copy, "sweep file"), read_yaml(file, "sweep file")
    changed = differences(before, now)
    changed += differences(records.header, header)
    if len(changed) == 1 and changed[0].startswith("sample.points was"):
        if grows and before["sample"]["points"] < now["sample"]["points"]:
            write_bytes(copy, _bytes(file))
            return
        changed[0] += " (only a sample of method random, smaller than the space, can grow)"
    if changed:
        more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
        raise InputError(
            f"{folder} holds another sweep than {file}, which cannot be continued by it: {'; '.join(changed[:6])}{more}. Name "
            "another folder (layers that were costed already are in the cache), or run the sweep.yaml in the folder."
        )

"""The records of a folder of a library: `library.json` beside the tables. Read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hwflow.errors import InputError
from hwflow.reporting.dynamic.level_records import LevelRecord, LevelRun, config_of, with_tables
from hwflow.reporting.pruning.cost_details import Record
from hwflow.reporting.pruning.run_records import parsed, text_of

LIBRARY = "library.json"


class MemberRecord(LevelRecord):
    """A member: as a level, and what it is of the network."""

    choice: dict[str, int]
    costs: dict[str, float]


class VolumeRecord(Record):
    """Hypervolumes: of the members, of the whole front, and what no choice of as many members exceeds."""

    members: float
    front: float
    bound: float


class LibraryRecord(Record):
    """`library.json`.

    Attributes:
        measured: of every sub-network that was measured its accuracy, and its costs on the units.
    """

    network: str
    metric: str
    units: tuple[str, ...]
    members: Annotated[tuple[MemberRecord, ...], Field(min_length=1)]
    front: int
    measured: tuple[tuple[float, tuple[float, ...]], ...]
    hypervolume: VolumeRecord


@dataclass(frozen=True)
class LibraryRun:
    """A folder of a library; `levels` are its members."""

    library: LibraryRecord
    levels: LevelRun


def is_library(folder: Path) -> bool:
    """Whether a folder holds a library, finished or not."""
    return {"space", "members"} <= config_of(folder).keys()


def read_library(folder: Path) -> LibraryRun:
    """The library in a folder.

    Raises:
        InputError: where it is not finished, or a file is damaged: which field.
    """
    if not (folder / LIBRARY).exists():
        raise InputError(
            f"{folder} holds a library that is not finished. The same 'hwflow library' command with --resume goes on."
        )
    library = parsed(folder / LIBRARY, text_of(folder / LIBRARY), LibraryRecord)
    return LibraryRun(library, with_tables(folder, library.members))


__all__ = ["LibraryRecord", "LibraryRun", "MemberRecord", "is_library", "read_library"]

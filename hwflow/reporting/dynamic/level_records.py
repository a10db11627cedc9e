"""The records of a folder of levels: `levels.json`, `table.json` and `measured.json`. Read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from hwflow.errors import InputError
from hwflow.files import parse_json
from hwflow.reporting.pruning.cost_details import Known, Record
from hwflow.reporting.pruning.run_records import parsed, text_of

CONFIG, LEVELS, TABLE, MEASURED = "config.json", "levels.json", "table.json", "measured.json"


class EpochRecord(Record):
    """One epoch of a group's training."""

    number: int
    loss: float
    accuracy: float


class LevelRecord(Record):
    """One level."""

    number: Annotated[int, Field(ge=1)]
    held_accuracy: Annotated[float, Field(ge=0, le=1)]
    accuracy: Annotated[float, Field(ge=0, le=1)]
    macs: int
    params: int
    epochs: tuple[EpochRecord, ...] = ()


class LevelsRecord(Record):
    """`levels.json`."""

    network: str
    levels: Annotated[tuple[LevelRecord, ...], Field(min_length=1)]


class RowRecord(Record):
    """A row of a table."""

    level: int
    unit: str
    clock_mhz: float
    voltage_v: Known = None
    accuracy: float
    latency_s: Annotated[float, Field(gt=0)]
    energy_j: Known = None
    memory_bytes: int
    dominated_by: tuple[int, str, float] | None = None


class TimingRecord(Record):
    """A measured latency."""

    median_s: float
    lower_quartile_s: float
    upper_quartile_s: float
    frames: int
    threads: int
    load: Known = None
    least_s: Known = None  # of folders from before it was kept


class AboutRecord(Record):
    """Where the numbers of a table come from."""

    data: str = ""
    level: str = ""
    notes: tuple[str, ...] = ()
    units: dict[str, dict[str, str]] = Field(default_factory=dict)
    machine: str = ""
    torch: str = ""
    onnxruntime: str = ""
    timings: dict[str, dict[str, TimingRecord]] = Field(default_factory=dict)


class TableRecord(Record):
    """`table.json` or `measured.json`."""

    network: str
    about: AboutRecord = AboutRecord()
    rows: Annotated[tuple[RowRecord, ...], Field(min_length=1)]


@dataclass(frozen=True)
class LevelRun:
    """A folder of levels.

    Attributes:
        config: as it is.
        measured: None where nothing was measured.
    """

    config: dict[str, Any]
    levels: tuple[LevelRecord, ...]
    table: TableRecord
    measured: TableRecord | None


def config_of(folder: Path) -> dict[str, Any]:
    """The settings of a folder's run, as they are; nothing where they are missing or no such file."""
    file = folder / CONFIG
    try:
        content = parse_json(text_of(file)) if file.exists() else None
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {}


def is_levels(folder: Path) -> bool:
    """Whether a folder holds levels, finished or not."""
    return isinstance(config_of(folder).get("groups"), int)


def read_levels(folder: Path) -> LevelRun:
    """The run in a folder.

    Raises:
        InputError: where it is not finished, or a file is damaged: which field.
    """
    if not (folder / LEVELS).exists():
        raise InputError(
            f"{folder} holds levels that are not finished. The same 'hwflow levels' command with --resume goes on."
        )
    levels = parsed(folder / LEVELS, text_of(folder / LEVELS), LevelsRecord)
    return with_tables(folder, levels.levels)


def with_tables(folder: Path, levels: tuple[LevelRecord, ...]) -> LevelRun:
    """Levels with the settings and the tables that stand beside them.

    Raises:
        InputError: where a file is missing or damaged.
    """
    config: dict[str, Any] = parsed(folder / CONFIG, text_of(folder / CONFIG), dict[str, Any])
    table = parsed(folder / TABLE, text_of(folder / TABLE), TableRecord)
    file = folder / MEASURED
    measured = parsed(file, text_of(file), TableRecord) if file.exists() else None
    return LevelRun(config, levels, table, measured)


__all__ = ["LevelRecord", "LevelRun", "RowRecord", "TableRecord", "config_of", "is_levels", "read_levels", "with_tables"]

"""`records.jsonl` of a characterisation: first what was asked, then each configuration as it was answered.

The file is appended to only; what a kill tore, or what else is no record, is taken out and costed again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from hwflow.errors import HwflowError, InputError
from hwflow.files import parse_json, read_bytes, write_bytes
from hwflow.run_folder import differences, held
from hwflow.validation import Strict

NAME = "records.jsonl"
KIND, FORMAT = "hwflow ppa characterisation", 1
_SHOWN = 6

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]


class Row(Strict):
    """One layer on one chip; energies by part of the chip, in the unit of the record."""

    energies: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    on_chip_cycles: Annotated[int, Field(ge=1)]
    cycles: Annotated[int, Field(ge=1)]
    dram_bytes: _Positive
    bound_by: str


class Record(Strict):
    """One configuration: the rows of all layers, in their order, or the reason why there are none."""

    configuration: _Count
    reason: str = ""
    transient: bool = False
    area_um2: _Positive | None = None
    unit: str = ""
    source: str = ""
    rows: tuple[Row, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.rows) == bool(self.reason):
            raise ValueError("it must have either rows or a reason")
        return self


@dataclass
class Records:
    """The answers so far, by number; `damaged` counts lines that were taken out."""

    path: Path
    header: dict[str, Any]
    answers: dict[int, Record]
    damaged: int = 0

    def add(self, record: Record) -> None:
        """Append one.

        Raises:
            HwflowError: where it cannot be written; what is there stays.
        """
        self.answers[record.configuration] = record
        line = json.dumps(record.model_dump(mode="json", exclude_defaults=True), separators=(",", ":")).encode() + b"\n"
        try:
            with open(self.path, "ab") as handle:
                handle.write(line)
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise HwflowError(f"cannot write {self.path}: {error.strerror or error}. What is there already is kept.") from error


@contextlib.contextmanager
def opened(folder: Path, header: Mapping[str, Any]) -> Iterator[Records]:
    """Begin a characterisation in a folder, or go on with it. Meanwhile no other run can.

    Raises:
        InputError: where the folder holds something else, or another characterisation: it lists what differs.
        HwflowError: where nothing can be written.
        MissingDependency: where filelock is not installed.
    """
    path, asked = folder / NAME, json.loads(json.dumps({"kind": KIND, "format": FORMAT, **header}))
    if folder.exists() and (not folder.is_dir() or (not path.exists() and {p.name for p in folder.iterdir()} - {".lock"})):
        raise InputError(f"{folder} is no folder of a characterisation and is not empty: name another, or a new one.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HwflowError(f"cannot write in {folder}: {error.strerror or error}.") from error
    with held(folder, folder / ".lock", "sweep"):
        if not path.exists() or b"\n" not in read_bytes(path, "", "records"):
            write_bytes(path, json.dumps(asked, separators=(",", ":")).encode() + b"\n")
        records = read(folder)
        if changed := differences(records.header, asked):
            more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
            raise InputError(
                f"{folder} holds another characterisation, which cannot be continued by this one: "
                f"{'; '.join(changed[:_SHOWN])}{more}. Name another folder (layers that were costed already are in the cache)."
            )
        if records.damaged:
            kept = [json.dumps(records.header, separators=(",", ":")).encode() + b"\n"]
            kept += [
                json.dumps(r.model_dump(mode="json", exclude_defaults=True), separators=(",", ":")).encode() + b"\n"
                for r in records.answers.values()
            ]
            write_bytes(path, b"".join(kept))
        yield records


def read(folder: Path) -> Records:
    """The records in a folder.

    Raises:
        InputError: where there are none, or they are of another format.
    """
    path = folder / NAME
    lines = read_bytes(
        path, "the characterisation's records", "records", ": there is no such file. 'hwflow ppa characterise' writes it"
    ).splitlines(keepends=True)
    try:
        header = parse_json(lines[0])
        known = header["kind"] == KIND and header["format"] == FORMAT
    except (ValueError, KeyError, TypeError, IndexError):
        known = False
    if not known:
        raise InputError(
            f"{path} holds no characterisation of format {FORMAT}, as its first line says: name the folder that 'hwflow ppa "
            "characterise' wrote."
        )
    records = Records(path, header, {})
    for line in lines[1:]:
        try:
            if not line.endswith(b"\n"):
                raise ValueError("torn")
            record = Record.model_validate(parse_json(line))
            if (record.rows and len(record.rows) != len(header["layers"])) or record.configuration >= len(
                header["configurations"]
            ):
                raise ValueError("another characterisation's")
        except (ValidationError, ValueError):
            records.damaged += 1
        else:
            records.answers[record.configuration] = record
    return records

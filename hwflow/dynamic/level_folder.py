"""`LevelFolder`: the files of a run that makes levels, and what its network is made of again.

config.json      the inputs and settings of the run: a continued run must have the same
levels.pt        the weights of all groups: one file, as many networks as groups
levels.json      each level's accuracy, size and training
table.json       modelled rows, for a device and for `hwflow manage`
measured.json    measured rows, where they were asked for
report.html
checkpoints/     state of the trainings, one file a group, from which a run continues; the lock of a running one
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from hwflow.datasets import Data
from hwflow.errors import HwflowError, InputError
from hwflow.files import parse_json, read_text, write_text
from hwflow.network.callables import NamedIn
from hwflow.network.load import load_module
from hwflow.network.replica import replica
from hwflow.run_folder import differences, held, other_run
from hwflow.validation import explain

CONFIG, WEIGHTS, LEVELS = "config.json", "levels.pt", "levels.json"

_FORMAT = 1
_LOCK = ".lock"
_Size = Annotated[int, Field(ge=1, le=100_000)]


@dataclass(frozen=True)
class LevelFolder:
    """The files of one run.

    Attributes:
        kind: what it makes, for messages.
        last: the file that is written at the end.
        command: that makes it, for messages.
    """

    path: Path
    kind: str = "levels"
    last: str = LEVELS
    command: str = "hwflow levels"

    @property
    def checkpoints(self) -> Path:
        """Where the trainings keep their state."""
        return self.path / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / self.last).exists()

    @contextlib.contextmanager
    def opened(self, config: Mapping[str, Any], *, resume: bool, free: Collection[str] = ()) -> Iterator[None]:
        """Begin, or go on where the same run was interrupted. Meanwhile no other run can.

        Args:
            free: fields that a continued run may change; the file keeps those before until `rewrite`.

        Raises:
            InputError: where the folder holds a run and `resume` is not asked for, or another run, or something else.
            HwflowError: where nothing can be written.
        """
        wanted = _plain(config)
        file = self.path / CONFIG
        if file.exists():
            if not resume:
                raise InputError(f"{self.path} holds {self.kind} already: --resume continues that run; or name another folder.")
            before = read_json(file, self.command)
            if isinstance(before, dict):
                before |= {name: wanted[name] for name in free}
            if changed := differences(before, wanted):
                raise other_run(self.path, "run", changed)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InputError(f"{self.path} is no folder of {self.kind} and is not empty: name another, or a new one.")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HwflowError(f"cannot make the folder {self.checkpoints}: {error.strerror or error}.") from error
        with held(self.path, self.checkpoints / _LOCK, "prune"):
            if not file.exists():
                self.write(CONFIG, wanted)
            yield

    def rewrite(self, config: Mapping[str, Any]) -> None:
        """Before the files of the end are written over: the run is unfinished again, and its settings are these.

        Raises:
            HwflowError: where nothing can be written.
        """
        try:
            (self.path / self.last).unlink(missing_ok=True)
        except OSError as error:
            raise HwflowError(f"cannot remove {self.path / self.last}: {error.strerror or error}.") from error
        self.write(CONFIG, _plain(config))

    def write(self, name: str, content: Any) -> None:
        """One JSON file, whole or not at all."""
        write_text(self.path / name, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _plain(config: Mapping[str, Any]) -> Any:
    """As `config.json` has it."""
    return json.loads(json.dumps({"format": _FORMAT, **config}))


class Origin(BaseModel):
    """Of `config.json` what the network is made of again.

    Attributes:
        module: whether the run was given a module, of which nothing but the class's name is known.
        input_shape: (C, H, W).
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    network: Annotated[str, Field(min_length=1)]
    module: bool
    classes: _Size
    input_shape: Annotated[list[_Size], Field(min_length=3, max_length=3)]


class GroupedOrigin(Origin):
    """The same of a network in groups."""

    groups: Annotated[int, Field(ge=1, le=64)]


def read_origin(folder: Path) -> GroupedOrigin:
    """What a run's network was.

    Raises:
        InputError: where the folder holds no levels, or its config.json is damaged: which field, and its value.
    """
    content = read_json(folder / CONFIG)
    try:
        return GroupedOrigin.model_validate(content)
    except ValidationError as error:
        raise InputError(explain(error, content, f"{folder / CONFIG} is damaged")) from None


def module_of(model: str | nn.Module, data: Data) -> nn.Module:
    """The network that a run is given, by name for the data's channels and classes, or a copy of a module."""
    if isinstance(model, str):
        return load_module(model, num_classes=data.classes, in_channels=data.input_shape[0])
    return replica(model)


def model_again(folder: Path, origin: Origin, model: nn.Module | None, allow_import: Sequence[str]) -> nn.Module:
    """The network that a run began with, whatever its weights.

    Args:
        model: what a user gives, who must where the run was given a module.
        allow_import: modules of which the folder may name a callable, to be imported and called.

    Raises:
        InputError: where it cannot be made.
    """
    if model is not None:
        return model
    if origin.module:
        raise InputError(f"{folder} was made from a module of your own, {origin.network}: give it as `model=`.")
    named_in = NamedIn(folder / CONFIG, allow_import)
    return load_module(origin.network, num_classes=origin.classes, in_channels=origin.input_shape[0], named_in=named_in)


@contextlib.contextmanager
def place_of(output: str | Path | None) -> Iterator[Path]:
    """The folder of a run, or one that is gone afterwards."""
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="hwflow-") as place:
        yield Path(place)


def read_json(path: Path, command: str = "hwflow levels") -> Any:
    """A JSON file of a run.

    Args:
        command: that writes such a file.

    Raises:
        InputError: where it is missing or damaged.
    """
    text = read_text(path, "", "result", f" does not exist; it is a file that '{command}' writes")
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


__all__ = [
    "CONFIG",
    "LEVELS",
    "WEIGHTS",
    "GroupedOrigin",
    "LevelFolder",
    "Origin",
    "model_again",
    "module_of",
    "place_of",
    "read_json",
    "read_origin",
]

"""The files of a library, and the networks that they hold.

config.json      the inputs and settings of the run: a continued run must have the same, but for the number of members
elastic.pt       the weights that all members share
statistics.pt    each member's own statistics of normalisations
library.json     the members, and how much of the front they keep
archive.jsonl    every sub-network that was measured
table.json       modelled rows, for a device and for `hwflow manage`
measured.json    measured rows, where they were asked for
report.html
checkpoints/     state of the trainings, from which a run continues; the lock of a running one
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from hwflow.compression.decision import Choice
from hwflow.dynamic.elastic_network import ElasticNetwork
from hwflow.dynamic.elastic_space import space_with
from hwflow.dynamic.level_folder import CONFIG, LevelFolder, Origin, model_again, read_json
from hwflow.dynamic.level_table import MEASURED, TABLE
from hwflow.errors import InputError, not_found
from hwflow.training import checkpoint as tensors
from hwflow.training.weights import load_weights
from hwflow.validation import explain

LIBRARY, ELASTIC, STATISTICS, ARCHIVE = "library.json", "elastic.pt", "statistics.pt", "archive.jsonl"

_KIND = "statistics"
_COMMAND = "hwflow library"


@dataclass(frozen=True)
class Member:
    """One sub-network of a library.

    Attributes:
        number: from 1, that with the fewest multiply-accumulates; the level of its rows in a table.
        choice: channels and blocks that it keeps.
        held_accuracy: on held-out samples, by which it was chosen.
        accuracy: on the test set, by which nothing is chosen.
        macs, params: `params` are all parameters.
        costs: on each unit at its own clock, in the library's metric (s, J, or J s).
    """

    number: int
    choice: Choice
    held_accuracy: float
    accuracy: float
    macs: int
    params: int
    costs: Mapping[str, float]


@dataclass(frozen=True)
class LibraryNetworks:
    """The networks of a library.

    Attributes:
        network: with the weights that all of them share.
        members: the smallest first.
        statistics: of each member's normalisations, by their names in its module.
    """

    network: ElasticNetwork
    members: tuple[Member, ...]
    statistics: Mapping[int, Mapping[str, Tensor]]

    def module(self, number: int) -> nn.Module:
        """A member as a plain module in evaluation mode, with its own statistics.

        Raises:
            InputError: where there is none of this number.
        """
        for member in self.members:
            if member.number == number:
                module = self.network.extracted(member.choice)
                state = module.state_dict() | dict(self.statistics[number])
                module.load_state_dict(state)
                return module
        raise not_found("member of the library", str(number), [str(member.number) for member in self.members])


class _Space(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    groups: dict[str, list[Annotated[int, Field(ge=1)]]]
    stages: dict[str, list[Annotated[int, Field(ge=1)]]]


class LibraryOrigin(Origin):
    """Of `config.json` what the networks are made of again."""

    space: _Space


class MemberRecord(BaseModel):
    """A member in `library.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    number: Annotated[int, Field(ge=1)]
    choice: dict[str, int]
    held_accuracy: Annotated[float, Field(ge=0, le=1)]
    accuracy: Annotated[float, Field(ge=0, le=1)]
    macs: Annotated[int, Field(ge=0)]
    params: Annotated[int, Field(ge=0)]
    costs: dict[str, float]


class LibraryRecord(BaseModel):
    """Of `library.json` the members."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    members: Annotated[list[MemberRecord], Field(min_length=1)]


def library_folder(place: Path) -> LevelFolder:
    """The folder of a library."""
    return LevelFolder(place, "a library", LIBRARY, _COMMAND)


def choices_digest(members: Sequence[Member]) -> str:
    """What each member keeps, as one number: files of a library that are of other members have another one."""
    text = json.dumps([[member.number, list(member.choice.items())] for member in members])
    return hashlib.sha256(text.encode()).hexdigest()


def save_statistics(file: Path, statistics: Mapping[int, Mapping[str, Tensor]], choices: str) -> None:
    """Write each member's statistics, and the members' `choices_digest`."""
    flat = {f"{number}:{name}": value for number, own in statistics.items() for name, value in own.items()}
    tensors.save(file, {"kind": _KIND, "statistics": flat, "choices": choices})


def statistics_of(module: nn.Module) -> dict[str, Tensor]:
    """A module's buffers: what its normalisations have measured."""
    return {name: value.detach().cpu().clone() for name, value in module.named_buffers()}


def load_library(folder: str | Path, model: nn.Module | None = None, *, allow_import: Sequence[str] = ()) -> LibraryNetworks:
    """The networks of a finished library; `module(k)` of it is member k as a plain module.

    Args:
        model: the network, where the run was given a module of one's own; its weights do not matter.
        allow_import: modules of which the folder may name a callable, `package.module:callable`, to be imported and called.

    Raises:
        InputError: where the folder holds no finished library, the network cannot be made anew, or a file is missing, damaged
            or does not fit it.
    """
    place = Path(folder)
    origin = _validated(LibraryOrigin, place / CONFIG)
    if not library_folder(place).finished:
        raise InputError(f"{place} holds a library that is not finished: it has no {LIBRARY}. Continue with --resume.")
    record = _validated(LibraryRecord, place / LIBRARY)
    whole = model_again(place, origin, model, allow_import)
    space = space_with(whole, (1, *origin.input_shape), origin.space.groups, origin.space.stages, name=origin.network)
    network = ElasticNetwork(whole, space, (1, *origin.input_shape))
    load_weights(place / ELASTIC, network.whole)
    network.eval()
    members = tuple(Member(**one.model_dump()) for one in record.members)
    for member in members:
        space.checked(member.choice)
    for name in (TABLE, MEASURED):
        if (place / name).exists():
            content = read_json(place / name, _COMMAND)
            about = content.get("about") if isinstance(content, dict) else None
            _check_choices(place / name, about.get("choices") if isinstance(about, dict) else None, members)
    return LibraryNetworks(network, members, _statistics(place / STATISTICS, network, members))


def _check_choices(file: Path, choices: Any, members: Sequence[Member]) -> None:
    """Refuse a file that was written for other members; those that hwflow wrote at first do not say for which."""
    if choices is not None and choices != choices_digest(members):
        raise InputError(
            f"{file} is of other members than {LIBRARY}: the folder's files are of two runs. Run the same 'hwflow library' "
            "command with --resume, which measures nothing anew, or copy the whole folder."
        )


def _statistics(file: Path, network: ElasticNetwork, members: Sequence[Member]) -> dict[int, dict[str, Tensor]]:
    if not file.exists():
        raise InputError(
            f"{file} is missing: without its own statistics of normalisations a member answers wrongly. Copy the whole folder, "
            "or run 'hwflow library' anew."
        )
    content = tensors.read(file, "the statistics")
    flat = content.get("statistics")
    _check_choices(file, content.get("choices"), members)
    if content.get("kind") != _KIND or not isinstance(flat, dict):
        raise InputError(f"{file} is no file of a library's statistics; take the one that 'hwflow library' wrote.")
    found: dict[int, dict[str, Tensor]] = {}
    for member in members:
        wanted = dict(network.extracted(member.choice).named_buffers())
        own = {name: flat.get(f"{member.number}:{name}") for name in wanted}
        for name, value in own.items():
            if not isinstance(value, Tensor) or value.shape != wanted[name].shape:
                raise InputError(
                    f"{file} is damaged: it has no statistics {name} of member {member.number} that fit the network."
                )
        found[member.number] = own
    return found


def _validated(kind: type[Any], file: Path) -> Any:
    content = read_json(file, _COMMAND)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(explain(error, content, f"{file} is damaged")) from None


__all__ = [
    "ARCHIVE",
    "ELASTIC",
    "LIBRARY",
    "STATISTICS",
    "LibraryNetworks",
    "Member",
    "choices_digest",
    "library_folder",
    "load_library",
    "save_statistics",
    "statistics_of",
]

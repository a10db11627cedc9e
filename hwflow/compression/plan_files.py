"""`plan.json` and `config.json` of a compression run: plans as they are written, and what a network is rebuilt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwflow.compression.channels.groups import Grouping
from hwflow.compression.decision import Choice, Decision
from hwflow.compression.folder import CONFIG, PLAN, read_json
from hwflow.compression.search.policy import Policy
from hwflow.errors import InputError, shown
from hwflow.layers import Bits
from hwflow.network import Network

_Size = Annotated[int, Field(ge=1, le=100_000)]


def plan_to_data(grouping: Grouping, plan: Mapping[str, int], policy: Policy | None = None) -> dict[str, Any]:
    """`plan.json`; `policy` is the kept one that the search started from."""
    rows = [{"name": g.name, "channels": g.channels, "kept": plan[g.name], "producers": g.producers} for g in grouping.groups]
    own = {} if policy is None else {"policy": {"name": policy.name, "digest": policy.digest}}
    return {"network": grouping.network.name, "groups": rows, "left_out": dict(grouping.left_out), **own}


def choice_to_data(network: Network, decisions: Sequence[Decision], choice: Choice) -> dict[str, Any]:
    """`plan.json` of a method that does not prune channels."""
    rows = [
        {
            "name": one.name,
            "options": one.options,
            "chosen": choice[one.name],
            "rows": [network.layers[row].name for row in one.rows],
        }
        for one in decisions
    ]
    return {"network": network.name, "decisions": rows}


def plan_data(
    network: Network,
    grouping: Grouping | None,
    decisions: Sequence[Decision],
    choice: Choice,
    bits: Mapping[str, Bits] | None = None,
    policy: Policy | None = None,
) -> dict[str, Any]:
    """`plan.json` of any method.

    Args:
        network: the uncompressed one.
        grouping: where channels are decided.
        decisions: what else is.
        bits: word widths of rows of the compressed network, where they are not the chip's own.
        policy: the kept one that the search started from.
    """
    groups = plan_to_data(grouping, choice, policy) if grouping is not None and grouping.groups else {}
    others = choice_to_data(network, decisions, choice) if decisions or not groups else {}
    widths = {"bits": {name: list(own) for name, own in bits.items()}} if bits else {}
    return {**groups, **others, **widths}


class _Asked(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    method: str = "channels"


class _Given(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    zeros: bool


class Origin(BaseModel):
    """Of `config.json` what the unpruned network is made of again: the name and sizes of a network of the zoo, or a callable.

    Attributes:
        module: whether the run was given a module, of which nothing but the class's name is known.
        input_shape: (C, H, W).
        settings: of these, the compression method.
        given: of a module that came from an earlier run, whether it had zeros.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    network: Annotated[str, Field(min_length=1)]
    module: bool
    classes: _Size
    input_shape: Annotated[list[_Size], Field(min_length=3, max_length=3)]
    settings: _Asked = _Asked()
    given: _Given | None = None


class _Group(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    name: str
    kept: Annotated[int, Field(ge=1)]


class _Plan(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    groups: list[_Group]


class _Decided(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    name: str
    chosen: int


class _Choices(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    decisions: list[_Decided]
    groups: list[_Group] = []


class _Widths(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    bits: dict[str, Annotated[list[_Size], Field(min_length=3, max_length=3)]] = {}


def read_origin(folder: Path) -> Origin:
    """What a run's network was.

    Raises:
        InputError: where it is no folder, holds no run, or its config.json is damaged: which field, and its value.
    """
    file = folder / CONFIG
    if folder.is_file():
        raise InputError(f"{folder} is a file; name the folder of a run.")
    try:
        return Origin.model_validate(read_json(file))
    except ValidationError as error:
        raise InputError(f"{file} is damaged: {_problem(error)}. Take the file that 'hwflow prune' wrote.") from None


def plan_from_file(path: Path) -> dict[str, int]:
    """The option chosen for each decision (channels kept by group), of a `plan.json` or of a folder that holds one.

    Raises:
        InputError: where the file is missing or no plan.
    """
    if not path.exists():
        raise InputError(f"the plan {path} is no file or folder; name one, or write uniform.")
    content = read_json(path / PLAN if path.is_dir() else path)
    try:
        if isinstance(content, dict) and "decisions" in content:
            both = _Choices.model_validate(content)
            chosen = [(group.name, group.kept) for group in both.groups]
            chosen += [(one.name, one.chosen) for one in both.decisions]
        else:
            chosen = [(group.name, group.kept) for group in _Plan.model_validate(content).groups]
    except ValidationError as error:
        raise InputError(
            f"{path} is no plan: it must hold groups, each with a name and the channels kept. {_problem(error)}."
        ) from None
    twice = [name for name, times in Counter(name for name, _ in chosen).items() if times > 1]
    if twice:
        raise InputError(f"{path} is no plan: it has the group {shown(twice[0])} more than once.")
    return dict(chosen)


def refuse_other_network(path: Path, network: str, groups: Collection[str]) -> None:
    """Refuse a plan's file or folder that states another network and lacks groups of this one.

    A network may have another name elsewhere, and a plan may leave groups whole: only both together tell another network.

    Raises:
        InputError: naming both networks and a group.
    """
    content = read_json(path / PLAN if path.is_dir() else path)
    stated = content.get("network") if isinstance(content, dict) else None
    named = plan_from_file(path)
    missing = [name for name in groups if name not in named]
    if missing and isinstance(stated, str) and stated != network:
        raise InputError(
            f"{path} is a plan of {stated}, and this network is {network}, {len(missing)} of whose {len(groups)} groups it "
            f"does not have, {shown(missing[0])} for one. Give a plan of {network}."
        )


def bits_from_file(folder: Path) -> dict[str, Bits]:
    """Word widths of the compressed network's rows, by name, that a run's folder states; folders of version 0.1 state none.

    Raises:
        InputError: where its plan is missing or damaged.
    """
    file = folder / PLAN
    try:
        return {name: Bits(*own) for name, own in _Widths.model_validate(read_json(file)).bits.items()}
    except ValidationError as error:
        raise InputError(f"{file} is damaged: {_problem(error)}.") from None


def _problem(error: ValidationError) -> str:
    """The first thing that is wrong, with the field and its value."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(map(str, first["loc"])) or "the whole"
    return f"{field} is {shown(first['input'])}: {first['msg'][:1].lower()}{first['msg'][1:]}"

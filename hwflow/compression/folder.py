"""`Folder`: the files of a compression run, and reading of what a compressed network is rebuilt from.

config.json      the inputs and settings of the run: a continued run must have the same
log.jsonl        every plan that was tried, one JSON object a line
plan.json        the groups and the channels that were kept; of methods that decide something else, the decisions and what was
                 chosen; the word widths of rows (weights, inputs, outputs) where they are not the chip's own
comparison.json  the baselines and the refinement over levels, where a plan was searched
sensitivities.json  where bits are decided: accuracies with one layer at fewer bits, all others as they are
searches.json    what searches found out beside their plans, where they did: LeGR's ranking, the exact planner's gap
times.json       wall-clock seconds by part, and where zeros can be skipped CPU time of the networks; the one file that differs
                 between equal runs, apart from the report that shows it
summary.json     further results of the method by heading, where it has any
tuning.json      the fine-tuning's epochs
metrics.json     before and after: accuracy on the test set, and each level's totals
costs.json       before and after: every row at every level
densities.json   of Winograd methods: the share of weights left at each position of each layer's tiles
curve.json       of virtual pooling: layers, accuracy and costs after every round
codes.json, codes.bin   the codes of quantized weights, packed, and how (`hwflow.compression.quantization.packed_codes`)
model.pt, model.onnx, report.html
checkpoints/     state of an interrupted run, no longer needed once metrics.json exists; the lock of a running one
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwflow.compression.channels.groups import Grouping
from hwflow.compression.decision import Choice, Decision
from hwflow.compression.search.policy import Policy
from hwflow.errors import HwflowError, InputError, shown
from hwflow.files import parse_json, read_text, write_text
from hwflow.layers import Bits
from hwflow.network import Network
from hwflow.run_folder import differences, held

CONFIG, PLAN, LOG, SEARCHES = "config.json", "plan.json", "log.jsonl", "searches.json"

_FORMAT = 1
_LOCK = ".lock"
_Size = Annotated[int, Field(ge=1, le=100_000)]
_TEMPORARY = re.compile(r"\.[^.].*\.\w{8}")  # `hwflow.files.write_bytes` calls them so


@dataclass(frozen=True)
class Folder:
    """The files of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where the searches and the trainings keep their state."""
        return self.path / "checkpoints"

    @contextlib.contextmanager
    def opened(self, config: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
        """Begin, or go on where the same run was interrupted. Meanwhile no other run can.

        Raises:
            InputError: where the folder holds a run and `resume` is not asked for, or another run than this, or one that has
                not ended.
            HwflowError: where nothing can be written.
        """
        with contextlib.ExitStack() as lock:
            begun = self.checkpoints.is_dir()
            if begun:
                lock.enter_context(held(self.path, self.checkpoints / _LOCK, "prune"))
            self._begin(json.loads(json.dumps({"format": _FORMAT, **config})), resume=resume)
            if not begun:
                lock.enter_context(held(self.path, self.checkpoints / _LOCK, "prune"))
            yield

    def _begin(self, config: dict[str, Any], *, resume: bool) -> None:
        file = self.path / CONFIG
        if file.exists() and not self._untouched():  # where nothing was done, nothing is lost
            if not resume:
                raise InputError(f"{self.path} holds a pruning run already: --resume continues it; or name another folder.")
            before = _renamed(read_json(file))
            if _is_longer(before, config) and (self.path / LOG).exists():
                self._prolong(config)
                return
            if changed := differences(before, config):
                changed = [text for text in changed if "begun_with" not in text] or changed  # which nobody asked for
                began = any(text.startswith("settings.policy was not there") for text in changed)
                changed = [text for text in changed if "policy_identity" not in text or not began]
                hint = " The earlier default was the agent without a policy: add --search agent." if began else ""
                raise InputError(
                    f"{self.path} holds another run, which cannot be continued by this one: {'; '.join(changed[:4])}"
                    f"{f'; and {len(changed) - 4} more' if len(changed) > 4 else ''}. Ask the same, or name another folder."
                    f"{hint}"
                )
            self._tidy()
            return
        if not file.exists() and self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InputError(f"{self.path} is no pruning run's folder and is not empty: name another, or a new one.")
        write_json(file, config)
        try:
            self.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise HwflowError(f"cannot make the folder {self.checkpoints}: {error.strerror or error}.") from error

    def _prolong(self, config: Mapping[str, Any]) -> None:
        """Make this the folder of a longer search: what follows from the shorter one's plan goes, its checkpoints stay."""
        self._tidy()
        for stale in (*self.checkpoints.glob("*tuning.pt"), self.path / "metrics.json"):
            stale.unlink(missing_ok=True)
        write_json(self.path / CONFIG, config)

    def _untouched(self) -> bool:
        """Whether the run in this folder ended before it did any work, for instance because its budget cannot be reached."""
        beside = {entry.name for entry in self.path.iterdir()} - {CONFIG, "checkpoints", "log.jsonl"}
        inside = {entry.name for entry in self.checkpoints.iterdir()} if self.checkpoints.is_dir() else set()
        return not beside and inside <= {_LOCK}

    def _tidy(self) -> None:
        """Remove temporary files of a process that was killed while writing."""
        for folder in (self.path, self.checkpoints):
            for entry in folder.glob(".*"):
                if _TEMPORARY.fullmatch(entry.name):
                    with contextlib.suppress(OSError):
                        entry.unlink()

    def write(self, name: str, content: Any) -> None:
        """One JSON file, whole or not at all."""
        write_json(self.path / name, content)


def _renamed(config: Any) -> Any:
    """A `config.json` with fields as they are called now: in folders of version 0.1 the criterion is the proxy's `norm`."""
    settings = config.get("settings") if isinstance(config, dict) else None
    proxy = settings.get("proxy") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(proxy, dict) or "norm" not in proxy:
        return config
    now = {**settings, "proxy": {name: value for name, value in proxy.items() if name != "norm"}}
    named = {} if proxy["norm"] == "l1" else {"criterion": proxy["norm"]}  # l1, the default, is not written
    return {**config, "settings": now | named}


def prolonged(folder: Path, settings: Mapping[str, Any]) -> int | None:
    """Episodes that a folder's search was begun with, where these settings make it longer or have done so; else None.

    Args:
        settings: as in `config.json`.
    """
    file = folder / CONFIG
    content = read_json(file) if file.exists() else None
    before = content.get("settings") if isinstance(content, dict) else None
    known, first = (before.get(name) if isinstance(before, dict) else None for name in ("episodes", "begun_with"))
    if not isinstance(known, int) or settings["episodes"] < known:
        return None
    return first or (known if settings["episodes"] > known else None)


def records_dataflow(folder: Path, name: str = CONFIG) -> bool:
    """Whether a run's `config.json` says which dataflow it maps with; those of earlier versions do not, and a change of the
    accelerator's own is not noticed in them. A folder without that file has no run yet, so a new one records it."""
    file = folder / name
    content = read_json(file) if file.exists() else None
    return not isinstance(content, dict) or "dataflow" in content


def as_begun(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's `config.json` with the episodes that its search was begun with, as its checkpoints know it."""
    settings = dict(config["settings"])
    settings["episodes"] = settings.pop("begun_with", settings["episodes"])
    return {**config, "settings": settings}


def _is_longer(before: Any, now: Mapping[str, Any]) -> bool:
    """Whether two runs differ in nothing but the number of episodes, of which the second one has more."""
    try:
        return as_begun(before) == as_begun(now) and before["settings"]["episodes"] < now["settings"]["episodes"]
    except (TypeError, KeyError, ValueError):
        return False


class Log:
    """`log.jsonl`: written anew by a run that continues, from what its checkpoints hold, so that it has each episode once.

    It is opened with the first line: a run that is refused before leaves the file of the earlier one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: TextIO | None = None

    def add(self, entry: Mapping[str, Any]) -> None:
        """One line."""
        try:
            if self._handle is None:
                self._handle = self._path.open("w", encoding="utf-8")
            self._handle.write(json.dumps(entry) + "\n")
            self._handle.flush()
        except OSError as error:
            raise HwflowError(f"cannot write {self._path}: {error.strerror or error}.") from error

    def close(self) -> None:
        """Flush to the disk and close."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._handle.fileno())
                self._handle.close()


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


def read_json(path: Path) -> Any:
    """A JSON file of a run.

    Raises:
        InputError: where it is missing or damaged.
    """
    text = read_text(path, "", "result", " does not exist; it is a file that a finished pruning run leaves")
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all; dataclasses as objects."""
    write_text(path, json.dumps(content, indent=1, default=_plain, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is no plain data")

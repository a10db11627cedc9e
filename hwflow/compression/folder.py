"""`Folder`: the files of a compression run; `hwflow.compression.plan_files` reads and writes what is in some of them.

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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from hwflow.errors import HwflowError, InputError
from hwflow.files import parse_json, read_text, write_text
from hwflow.run_folder import differences, held, other_run

CONFIG, PLAN, LOG, SEARCHES = "config.json", "plan.json", "log.jsonl", "searches.json"

_FORMAT = 1
_LOCK = ".lock"
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
                raise other_run(self.path, "run", changed)
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

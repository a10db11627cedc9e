"""Shared by the folders of compression runs and sweeps: a lock against concurrent runs, and the settings of a resumed run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwflow.errors import HwflowError, InputError
from hwflow.optional import needed


@contextlib.contextmanager
def held(folder: Path, lock: Path, extra: str) -> Iterator[None]:
    """Keep other runs out of a folder, by a lock file in it that stays; the lock ends with the process.

    Args:
        extra: the extra of the package that installs filelock.

    Raises:
        InputError: where another run has the folder.
        HwflowError: where the lock file cannot be written, or the file system knows no locks.
        MissingDependency: where filelock is not installed.
    """
    needed("filelock", f"the lock of {folder}", extra)
    from filelock import FileLock, Timeout

    taken = FileLock(lock, blocking=False)
    try:
        taken.acquire()
    except Timeout:
        raise InputError(f"another run is writing in {folder}: wait until it has ended, or name another folder.") from None
    except NotImplementedError as error:
        raise HwflowError(
            f"the file system of {folder} knows no locks, so another run could write over this one: name a folder elsewhere."
        ) from error
    except OSError as error:
        raise HwflowError(f"cannot write in {folder}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        taken.release(force=True)


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """What differs between two plain descriptions, as `field was old, now is new`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        head = f"{path}." if path else ""
        names = dict.fromkeys([*before, *now])
        return [text for name in names for text in differences(before.get(name), now.get(name), f"{head}{name}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [text for i, (old, new) in pairs for text in differences(old, new, f"{path}[{i}]")]
    return [] if before == now else [f"{path} was {_shown(before)}, now is {_shown(now)}"]


_TOLD = 4
OPTIONS = {
    "methods": "--method",
    "settings.method": "--method",
    "seeds": "--seed",
    "settings.seeds": "--seed",
    "budgets": "--budget",
    "settings.budgets": "--budget",
    "epochs": "--epochs",
    "settings.tuning.epochs": "--epochs",
    "settings.tuning.learning_rate": "--learning-rate",
    "settings.episodes": "--episodes",
    "settings.keep": "--keep",
    "settings.levels": "--level",
    "settings.metric": "--metric",
    "settings.criterion": "--criterion",
    "settings.round_to": "--round-to",
    "settings.floor_ratio": "--floor",
    "settings.streams": "--streams",
    "settings.objective": "--objective",
    "settings.dataflow": "--dataflow",
    "settings.searcher": "--search",
    "settings.proxy.samples": "--samples",
    "data": "--data",
    "data_identity": "--data",
    "weights": "--weights",
    "accelerator": "--accelerator",
    "accelerator_identity": "--accelerator",
    "holdout": "--holdout",
    "allocate": "--allocate",
}
"""The options of 'hwflow prune' and 'hwflow compress' by the fields of a run's description that they set."""
_HASHES = {
    "weights": "the weights are others",
    "data_identity": "the data are others",
    "accelerator_identity": "the accelerator is another",
    "policy_identity": "the policy is another",
}


def other_run(folder: Path, what: str, changed: Sequence[str], hint: str = "") -> InputError:
    """The refusal to continue a folder with what it does not hold: what differs, and which options to give as before.

    Args:
        what: the folder holds another one of.
        changed: as `differences` gives them.
        hint: a sentence on what to do besides.
    """
    asked = [text for text in changed if "begun_with" not in text] or list(changed)  # which nobody asks for
    unset = any(text.startswith("settings.policy was not there") for text in asked)
    if unset:
        asked = [text for text in asked if not text.startswith("policy_identity")]
    fields = {text: re.sub(r"\[\d+\].*", "", text.partition(" was ")[0]) for text in asked}
    told = dict.fromkeys(_HASHES.get(field, text) if "not there" not in text else text for text, field in fields.items())
    rest = f"; and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    options = dict.fromkeys(OPTIONS[field] for field in fields.values() if field in OPTIONS)
    keep = [f"give {', '.join(options)} as before"] if options else []
    keep += ["add --search agent (the default was the agent without a policy then)"] if unset else []
    return InputError(
        f"{folder} holds another {what}, which cannot be continued by this one: {'; '.join(list(told)[:_TOLD])}{rest}. To "
        f"continue it, {' and '.join(keep) or 'ask the same'}; else name another folder.{' ' * bool(hint)}{hint}"
    )


def _shown(value: Any) -> str:
    return "not there" if value is None else str(value)

"""The folder of a compression run, read and validated, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from hwflow.errors import InputError
from hwflow.metrics import TOTALS
from hwflow.reporting.pruning.run_records import (
    Choices,
    Comparison,
    Config,
    Episode,
    Metrics,
    Pair,
    Plan,
    Run,
    SettingsRecord,
    Times,
    TrainingEpoch,
    Tuning,
    parsed,
    text_of,
)
from hwflow.results import LevelName

_Kind = TypeVar("_Kind")
_AGAIN = "The same 'hwflow prune' command with --resume writes it again."
_SUMS = tuple(metric.field for metric in TOTALS if metric.additive)
_GONE = ", though the run is finished; its folder is not complete"


def read_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        InputError: where there is none, it is not finished, or one of its files is damaged: which.
    """
    if not (folder / "config.json").exists():
        missing = "has neither config.json nor records.jsonl" if folder.is_dir() else "does not exist"
        raise InputError(
            f"{folder} is neither a run's nor a sweep's folder: it {missing}. Give a folder that 'hwflow prune', 'compress' "
            "or 'sweep' wrote, or a file of 'hwflow estimate|compare --format json'."
        )
    if not (folder / "metrics.json").exists():
        raise InputError(
            f"{folder} holds a pruning run that is not finished: it has no metrics.json{_so_far(folder)}. The same "
            "command with --resume goes on where it was, and writes the report at its end."
        )
    asked = _read(folder / "config.json", dict[str, Any])
    config = _read(folder / "config.json", Config)
    searched = config.plan is None
    if config.settings.method != "channels":  # which always searches; others may
        searched = searched and (folder / "comparison.json").exists()
    curve = not searched and config.settings.method != "channels" and (folder / "log.jsonl").exists()
    tried = config.settings.method == "channels" and config.settings.episodes > 0
    logged = searched and (tried or (folder / "log.jsonl").exists())
    summary = folder / "summary.json"
    run = Run(
        config=config,
        asked=asked,
        metrics=_read(folder / "metrics.json", Metrics),
        costs=_read(folder / "costs.json", dict[LevelName, Pair]),
        plan=_plan(folder / "plan.json"),
        tuning=_read(folder / "tuning.json", Tuning),
        comparison=_read(folder / "comparison.json", Comparison) if searched else None,
        times=_read(folder / "times.json", Times) if searched and (folder / "times.json").exists() else None,
        episodes=_episodes(folder / "log.jsonl", config.settings) if logged else (),
        summary=_read(summary, dict[str, str]) if summary.exists() else {},
        training=_training(folder / "log.jsonl") if curve else (),
    )
    _check_sums(folder, run)
    for level in run.levels:
        if run.metrics.before.at(level) is None or run.metrics.after.at(level) is None:
            raise InputError(f"{folder / 'metrics.json'} is damaged: it lacks the level {level}, which costs.json has.")
    if run.decisive not in run.costs:
        raise InputError(f"{folder / 'costs.json'} is damaged: it lacks the level {run.decisive}, which the run asked for.")
    return run


def _so_far(folder: Path) -> str:
    """How far an unfinished run came, for the sentence that says so."""
    try:
        count = len(text_of(folder / "log.jsonl").splitlines())
    except InputError:
        return ""
    return f", and so far {count:,} episodes in its log.jsonl"


def _read(file: Path, kind: type[_Kind]) -> _Kind:
    return parsed(file, text_of(file, _GONE), kind)


def _plan(file: Path) -> Plan | Choices:
    content = _read(file, dict[str, Any])
    return _read(file, Choices) if "decisions" in content and "groups" not in content else _read(file, Plan)


def _episodes(file: Path, settings: SettingsRecord) -> tuple[Episode, ...]:
    """The lines of a log: of every search and seed all episodes, each once.

    Raises:
        InputError: naming the line.
    """
    episodes, seen = [], dict[tuple[str, int, int], int]()
    for number, line in enumerate(text_of(file, _GONE).splitlines(), start=1):
        episode = parsed(file, line, Episode, f"line {number}")
        place = (episode.by, episode.seed, episode.number)
        problem = ""
        if place in seen:
            problem = f"it has episode {episode.number} of {episode.by}, seed {episode.seed}, as line {seen[place]} has"
        elif episode.seed not in settings.seeds or episode.number > settings.episodes:
            problem = f"the run had no episode {episode.number} of {episode.by}, seed {episode.seed}"
        if problem:
            raise InputError(f"{file} is damaged: line {number}, {problem}. {_AGAIN}")
        seen[place] = number
        episodes.append(episode)
    for by, seed in dict.fromkeys((episode.by, episode.seed) for episode in episodes):
        missing = next((n for n in range(1, settings.episodes + 1) if (by, seed, n) not in seen), None)
        if missing is not None:
            raise InputError(f"{file} is damaged: episode {missing} of {by}, seed {seed}, is missing. {_AGAIN}")
    return tuple(episodes)


def _training(file: Path) -> tuple[TrainingEpoch, ...]:
    """The lines of the log of a method that prunes while training; one of one's own may log something else.

    Raises:
        InputError: naming the line.
    """
    lines = text_of(file, _GONE).splitlines()
    if not all('"stage"' in line for line in lines):
        return ()
    return tuple(parsed(file, line, TrainingEpoch, f"line {number}") for number, line in enumerate(lines, start=1))


def _check_sums(folder: Path, run: Run) -> None:
    """That totals are the sums of rows, and the same in both files."""
    for level, pair in run.costs.items():
        for name, cost, metrics in (("before", pair.before, run.metrics.before), ("after", pair.after, run.metrics.after)):
            for metric in _SUMS:
                column = [getattr(row, metric) for row in cost.layers]
                column += [getattr(operator, metric) for operator in cost.operators if hasattr(operator, metric)]
                total, said = None if None in column else sum(column), getattr(cost.totals, metric)
                if total != said:
                    where, rows = f"{level}.{name}.totals.{metric}", "layers' and operators" if cost.operators else "layers"
                    raise InputError(
                        f"{folder / 'costs.json'} is damaged: {where} is {said}, the {rows}' sum is {total}. {_AGAIN}"
                    )
            if metrics.at(level) not in (None, cost.totals):
                raise InputError(f"{folder / 'metrics.json'} is damaged: {name}.{level} is not what costs.json says. {_AGAIN}")

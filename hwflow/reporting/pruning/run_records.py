"""What a pruning run left in its folder, read and checked. Nothing here needs torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from hwflow.errors import InputError
from hwflow.files import parse_json, read_text
from hwflow.metrics import BUDGETS, TOTALS
from hwflow.results import LEVELS, LevelName

_Kind = TypeVar("_Kind")
_AGAIN = "The same 'hwflow prune' command with --resume writes it again."
_SUMS = tuple(metric.field for metric in TOTALS if metric.additive)
_GONE = ", though the run is finished; its folder is not complete"


def _known(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Known = Annotated[float | None, BeforeValidator(_known)]
"""A number, or None where it is not known or not finite."""


Share = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_known)]
"""A share, known or not."""


class Record(BaseModel):
    """Fields that a report does not show are left unread."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Totals(Record):
    """A network's sums, as in `NetworkCost.to_dict`."""

    macs: int
    params: int
    params_other: int = 0
    energy_pj: Known = None
    energy_normalized: Known = None
    cycles: Known = None
    latency_s: Known = None
    edp_pj_s: Known = None
    dram_bytes: Known = None
    utilization: Known = None
    area_um2: Known = None
    more: dict[str, Known] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, content: Any) -> Any:
        """Metrics of `hwflow.metrics` that no figure asks for by name stand in `more`."""
        if not isinstance(content, dict):
            return content
        return {**content, "more": {m.field: content.get(m.field) for m in TOTALS if m.field not in cls.model_fields}}

    def of(self, field: str) -> Known:
        """A metric by its field."""
        found: Known = getattr(self, field) if field in Totals.model_fields else self.more.get(field)
        return found


class LayerRecord(Record):
    """A layer's row, as in `LayerCost.row`."""

    name: str
    type: str
    shape: dict[str, int]
    macs: int
    params: int
    energy_pj: Known = None
    energy_normalized: Known = None
    energy_by_level_pj: dict[str, Known] | None = None
    energy_by_level_normalized: dict[str, Known] | None = None
    cycles: Known = None
    latency_s: Known = None
    bound_by: str | None = None
    utilization: Known = None
    dram_bytes: Known = None
    engine: str
    energy_source: str
    note: str = ""


def _nested(provenance: dict[str, Any]) -> dict[str, Any]:
    for name in ("energy", "accelerator"):
        if not isinstance(provenance.get(name) or {}, dict):
            raise ValueError(f"its {name} must be a mapping")
    return provenance


class CostRecord(Record):
    """A network's costs at one level, as in `NetworkCost.to_dict`."""

    network: str
    accelerator: str | None
    level: LevelName
    batch: int
    totals: Totals
    layers: tuple[LayerRecord, ...]
    not_counted: dict[str, int] = Field(default_factory=dict)
    provenance: Annotated[dict[str, Any], AfterValidator(_nested)] = Field(default_factory=dict)


class Pair(Record):
    """Costs before and after."""

    before: CostRecord
    after: CostRecord


def _budgeted(name: str) -> str:
    if name not in BUDGETS:
        raise ValueError(f"it must be one of {', '.join(BUDGETS)}")
    return name


Metric = Annotated[str, AfterValidator(_budgeted)]


class BudgetRecord(Record):
    """At most `share` of the unpruned network's `metric`."""

    metric: Metric
    share: float


class SettingsRecord(Record):
    """Of the settings those that a report names."""

    levels: tuple[LevelName, ...] = Field(min_length=1)
    budgets: tuple[BudgetRecord, ...]
    metric: Metric
    episodes: int
    seeds: tuple[int, ...]


class Config(Record):
    """`config.json`."""

    network: str
    data: str
    task: str
    accelerator: str | None
    plan: Any = None
    settings: SettingsRecord


class Side(Record):
    """Half of `metrics.json`: accuracy on the test set, and totals by level."""

    accuracy: Known
    loss: Known
    coarse: Totals | None = None
    mid: Totals | None = None
    fine: Totals | None = None

    def at(self, level: LevelName) -> Totals | None:
        """The totals at a level, where it answered."""
        found: Totals | None = getattr(self, level)
        return found


class Remapped(Record):
    """Totals at mid with mappings for another objective than the run's."""

    before: Totals
    after: Totals


class Metrics(Record):
    """`metrics.json`."""

    before: Side
    after: Side
    not_available: dict[str, str]
    objective: str = ""
    remapped: dict[str, Remapped] = {}


class GroupRecord(Record):
    """A group of channels and how many of them were kept."""

    name: str
    channels: int
    kept: int
    producers: tuple[str, ...]


class Plan(Record):
    """`plan.json`."""

    groups: tuple[GroupRecord, ...]
    left_out: dict[str, str]


class Candidate(Record):
    """One plan of the comparison; see `hwflow.compression.search.comparison`."""

    by: str
    seed: int | None
    searched: float
    judged: float
    shares: dict[str, float]
    keeps_budget: bool
    evaluations: int


class Ranked(Record):
    """One plan at one level of the refinement."""

    level: LevelName
    rank: int
    was: int
    cut: bool
    accuracy: float
    shares: dict[str, float]
    plan: dict[str, int]


class Comparison(Record):
    """`comparison.json`."""

    candidates: tuple[Candidate, ...] = Field(min_length=1)
    refined: tuple[Ranked, ...]


class Times(Record):
    """`times.json`: wall-clock seconds by part of the search and the refinement."""

    seconds: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]


class Epoch(Record):
    """One epoch of the fine-tuning."""

    number: int
    loss: Known
    accuracy: Known
    held_loss: Known


class Tuning(Record):
    """`tuning.json`."""

    epochs: tuple[Epoch, ...]
    kept: int


class Episode(Record):
    """A line of `log.jsonl`; `noise` is None while a search draws its actions at random."""

    by: str
    seed: int
    number: Annotated[int, Field(ge=1)]
    reward: Known
    accuracy: Share
    noise: Known = None


@dataclass(frozen=True)
class Run:
    """A finished pruning run.

    Attributes:
        asked: `config.json` as it is, to be shown whole.
        comparison: None where a plan was given instead of a search; `episodes` is empty then.
        times: None where there are none, as in a folder of which the results alone were kept.
    """

    config: Config
    asked: dict[str, Any]
    metrics: Metrics
    costs: dict[LevelName, Pair]
    plan: Plan
    tuning: Tuning
    comparison: Comparison | None
    times: Times | None
    episodes: tuple[Episode, ...]

    @property
    def levels(self) -> list[LevelName]:
        """The levels that answered, coarse first."""
        return [level for level in LEVELS if level in self.costs]

    @property
    def decisive(self) -> LevelName:
        """The level that the plan had to keep its budgets at: the last one that was asked for."""
        return self.config.settings.levels[-1]

    def mappings(self, level: LevelName) -> str:
        """What the mappings at a level minimise, as the end of a phrase; coarse has none, older runs do not say."""
        return "" if level == "coarse" or not self.metrics.objective else f", with mappings for {self.metrics.objective}"


def read_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        InputError: where there is none, it is not finished, or one of its files is damaged: which.
    """
    if not (folder / "config.json").exists():
        missing = "has neither config.json nor records.jsonl" if folder.is_dir() else "does not exist"
        raise InputError(
            f"{folder} is neither a run's nor a sweep's folder: it {missing}. Give what 'hwflow prune -o' or 'hwflow sweep -o' "
            "wrote, or a file that 'hwflow estimate --format json -o' did."
        )
    if not (folder / "metrics.json").exists():
        raise InputError(
            f"{folder} holds a pruning run that is not finished: it has no metrics.json{_so_far(folder)}. The same "
            "'hwflow prune' command with --resume goes on where it was, and writes the report at its end."
        )
    asked = _read(folder / "config.json", dict[str, Any])
    config = _read(folder / "config.json", Config)
    searched = config.plan is None
    run = Run(
        config=config,
        asked=asked,
        metrics=_read(folder / "metrics.json", Metrics),
        costs=_read(folder / "costs.json", dict[LevelName, Pair]),
        plan=_read(folder / "plan.json", Plan),
        tuning=_read(folder / "tuning.json", Tuning),
        comparison=_read(folder / "comparison.json", Comparison) if searched else None,
        times=_read(folder / "times.json", Times) if searched and (folder / "times.json").exists() else None,
        episodes=_episodes(folder / "log.jsonl", config.settings) if searched else (),
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


def _check_sums(folder: Path, run: Run) -> None:
    """That totals are the sums of rows, and the same in both files."""
    for level, pair in run.costs.items():
        for name, cost, metrics in (("before", pair.before, run.metrics.before), ("after", pair.after, run.metrics.after)):
            for metric in _SUMS:
                column = [getattr(row, metric) for row in cost.layers]
                total, said = None if None in column else sum(column), getattr(cost.totals, metric)
                if total != said:
                    where = f"{level}.{name}.totals.{metric}"
                    raise InputError(
                        f"{folder / 'costs.json'} is damaged: {where} is {said}, the layers' sum is {total}. {_AGAIN}"
                    )
            if metrics.at(level) not in (None, cost.totals):
                raise InputError(f"{folder / 'metrics.json'} is damaged: {name}.{level} is not what costs.json says. {_AGAIN}")


def text_of(file: Path, missing: str = "; check the path") -> str:
    """A file's content; `missing` ends the sentence that says there is none."""
    return read_text(file, "", "result", f" does not exist{missing}")


@functools.cache
def adapter(kind: Hashable) -> TypeAdapter[Any]:
    """What validates plain data as a kind."""
    wanted: Any = kind
    return TypeAdapter(wanted)


def parsed(file: Path, text: str, kind: type[_Kind], where: str = "") -> _Kind:
    """JSON as what it should be; `where` in the file it stands, for the error that names file and field."""
    try:
        found: _Kind = adapter(cast("Hashable", kind)).validate_python(parse_json(text))
        return found
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        problem = f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    except ValueError as error:
        problem = str(error)
    raise InputError(f"{file} is damaged: {where}{', ' if where else ''}{problem}.")

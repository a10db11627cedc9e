"""Records in the files of a compression run, and the validation of JSON as such a record."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from hwflow.errors import InputError
from hwflow.files import parse_json, read_text
from hwflow.metrics import BUDGETS, TOTALS
from hwflow.reporting.pruning.cost_details import Known, OccupancyRecord, OperatorRecord, Record, Share
from hwflow.results import LevelName, in_order

_Kind = TypeVar("_Kind")


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
    execution: str = "direct"
    note: str = ""


def _nested(provenance: dict[str, Any]) -> dict[str, Any]:
    for name in ("energy", "accelerator", "execution"):
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
    operators: tuple[OperatorRecord, ...] = ()
    occupancy: OccupancyRecord | None = None
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
    method: str = "channels"
    episodes: int
    seeds: tuple[int, ...]
    activations: str = "dram"
    operators: str = "mac"
    latency: str = "overlap"


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
    totals: dict[LevelName, Totals]

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, content: Any) -> Any:
        """A level's totals stand beside the accuracy, under its name."""
        if not isinstance(content, dict):
            return content
        own = {name: content[name] for name in ("accuracy", "loss") if name in content}
        return {**own, "totals": {name: value for name, value in content.items() if name not in own and value is not None}}

    def at(self, level: LevelName) -> Totals | None:
        """The totals at a level, where it answered."""
        return self.totals.get(level)


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
    remapped: dict[str, Remapped] = Field(default_factory=dict)


class GroupRecord(Record):
    """A group of channels and how many of them were kept."""

    name: str
    channels: int = Field(ge=1, lt=2**31)
    kept: int = Field(ge=0, lt=2**31)
    producers: tuple[str, ...]


class DecisionRecord(Record):
    """One decision of a method that does not prune channels; the last option leaves the network as it is."""

    name: str
    options: tuple[int, ...] = Field(min_length=1)
    chosen: int
    rows: tuple[str, ...]


class Plan(Record):
    """`plan.json`: groups of channels, and what else was decided."""

    groups: tuple[GroupRecord, ...]
    left_out: dict[str, str]
    decisions: tuple[DecisionRecord, ...] = ()


class Choices(Record):
    """`plan.json` of such a method."""

    decisions: tuple[DecisionRecord, ...]


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


class Finalist(Record):
    """One of the plans that the applied one was chosen from; see `hwflow.compression.search.refinement`."""

    by: str
    seed: int | None
    searched: float
    chosen: float
    judged: float
    shares: dict[str, float]
    plan: dict[str, int]


class Comparison(Record):
    """`comparison.json`; up to version 0.1 the first seed's best plan was applied, and there were no finalists."""

    candidates: tuple[Candidate, ...] = Field(min_length=1)
    refined: tuple[Ranked, ...]
    finalists: tuple[Finalist, ...] = ()


class Times(Record):
    """`times.json`: wall-clock seconds by part of the search and the refinement."""

    seconds: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]


class Epoch(Record):
    """One epoch of the fine-tuning."""

    number: int
    loss: Known
    accuracy: Known
    held_loss: Known


class TrainingEpoch(Epoch):
    """A line of `log.jsonl` of a method that prunes while training: the epoch, the costs of what is left, as shares, and the
    factors with which costs count in the loss, where they do."""

    stage: str
    shares: dict[str, Known] = Field(default_factory=dict)
    strengths: dict[str, Known] = Field(default_factory=dict)


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
        comparison: None where a plan was given instead of a search, or the method does not search; `episodes` is empty then.
        times: None where there are none, as in a folder of which the results alone were kept.
        summary: what the method reports beside, by heading.
        training: every epoch of a method that prunes while training, those of the fine-tuning included; else empty.
    """

    config: Config
    asked: dict[str, Any]
    metrics: Metrics
    costs: dict[LevelName, Pair]
    plan: Plan | Choices
    tuning: Tuning
    comparison: Comparison | None
    times: Times | None
    episodes: tuple[Episode, ...]
    summary: dict[str, str]
    training: tuple[TrainingEpoch, ...] = ()

    @property
    def levels(self) -> list[LevelName]:
        """The levels that answered, coarse first."""
        return in_order(self.costs)

    @property
    def decisive(self) -> LevelName:
        """The level that the plan had to keep its budgets at: the last one that was asked for."""
        return self.config.settings.levels[-1]

    def mappings(self, level: LevelName) -> str:
        """What the mappings at a level minimise, as the end of a phrase; coarse has none, older runs do not say."""
        mapped = "objective" in self.costs[level].before.provenance if level in self.costs else False
        return f", with mappings for {self.metrics.objective}" if mapped and self.metrics.objective else ""


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

"""`Coverage`: turns designs into finished points, with each layer costed once per chip and each point recorded once.

Designs come in an order in which one chip's points stand together, so its layers are costed together, and what is known of it
can be forgotten soon after.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hwflow.cost.backend import backend_of
from hwflow.cost.coarse import peak_activation_bytes
from hwflow.cost.options import CostOptions
from hwflow.cost.serialization import cost_from_data
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.occupancy import OperatorCost
from hwflow.progress import Progress
from hwflow.results import LayerCost, LevelName, NetworkCost
from hwflow.store import key_of
from hwflow.sweeping.case import OPERATORS, Case, identity
from hwflow.sweeping.point_record import answered, unanswered
from hwflow.sweeping.records import Records
from hwflow.sweeping.runners import Runner
from hwflow.sweeping.space import Design, Space
from hwflow.sweeping.unit import Answer, Costed, Failure, Unit, cost_unit, failure

_REMEMBERED = 50_000  # answers; chips that follow one another are alike in few of them, and the store knows the rest

_NAME, _CHIP = "{layer}", "{accelerator}"  # stand for the names in reasons: answers are shared between those of other names

_Key = tuple[object, ...]


@dataclass(eq=False)
class Point:
    """One design with one case at one level, while it is costed."""

    number: int
    design: Design
    case: Case
    level: LevelName
    head: Mapping[str, Any] = field(default_factory=dict)  # what its record says before it is costed
    accelerator: Accelerator | None = None  # named `_CHIP`
    missing: set[_Key] = field(default_factory=set)
    answers: dict[_Key, Costed | Failure] = field(default_factory=dict)
    computed: int = 0


@dataclass
class Counts:
    """What this run has done.

    Attributes:
        points, failed: how many were finished, and of these without an answer.
        layers: of these points, but for chips that cannot be; `asked` of them were no repetition, and of those `computed` were
            in no store.
    """

    points: int = 0
    layers: int = 0
    asked: int = 0
    computed: int = 0
    failed: int = 0


class Coverage:
    """Costs designs one after the other, by a runner, into the records."""

    def __init__(
        self,
        space: Space,
        cases: Sequence[Case],
        levels: Sequence[LevelName],
        options: CostOptions,
        records: Records,
        runner: Runner,
        *,
        keep: bool,
        expected: int,
        progress: Progress | None,
        notify: Callable[[str], None],
    ) -> None:
        self.counts, self.points = Counts(), 0
        self._space, self._cases, self._levels, self._options = space, cases, levels, options
        self._records, self._runner, self._keep = records, runner, keep
        self._progress, self._notify, self._expected = progress, notify, expected
        self._known: OrderedDict[_Key, Costed | Failure] = OrderedDict()
        self._waiting: dict[_Key, list[Point]] = {}
        self._chips: set[tuple[int, tuple[int, ...]]] = set()
        self._told: set[str] = set()
        self._start = time.monotonic()

    def cover(self, designs: Iterable[Design]) -> list[list[int]]:
        """Cost all points of the designs that have none yet; gives the points' numbers, by design."""
        numbers: list[list[int]] = []
        with contextlib.closing(self._runner(self._units(designs, numbers))) as answers:  # type: ignore[type-var]
            for unit, answer in answers:
                self._learn(unit, answer)
        return numbers

    def _points_of(self, design: Design) -> Iterator[Point]:
        """In order; a level without mappings, as coarse is, knows no dataflow, so it answers for a chip once."""
        chip = (design.entry, design.values)
        for level in self._levels:
            if chip in self._chips and not backend_of(level).maps:
                continue
            for case in self._cases:
                yield Point(self.points, design, case, level)
                self.points += 1
        self._chips.add(chip)

    def _units(self, designs: Iterable[Design], numbers: list[list[int]]) -> Iterator[Unit]:
        for design in designs:
            points = list(self._points_of(design))
            numbers.append([point.number for point in points])
            for point in points:
                point.head = self._head(point)
            points = [point for point in points if not self._records.finished(point.head)]
            if not points:
                continue
            try:
                accelerator = self._space.accelerator(design)
            except InputError as error:
                for point in points:
                    self._fail(point, failure(error))
                continue
            accelerator = accelerator.model_copy(update={"name": _CHIP})
            for point in points:
                point.accelerator = accelerator
                unit = self._ask(point)
                if unit is None:
                    continue
                if unit.instant:
                    self._learn(unit, cost_unit(unit))
                else:
                    yield unit

    def _ask(self, point: Point) -> Unit | None:
        """Note the units that a point needs, and return those that have not been requested yet."""
        assert point.accelerator is not None
        dataflow = self._space.dataflows[point.design.dataflow] if backend_of(point.level).maps else None
        options = replace(self._options, level=point.level, dataflow=dataflow)
        layers = point.case.distinct
        network = point.case.network if point.case.whole else None
        whole = Unit(point.accelerator, layers, point.case.widths, options, self._keep, network)
        new = []
        for key, layer in zip(_keys(whole), layers, strict=True):
            if key in self._known:
                point.answers[point.case.identity(layer)] = self._known[key]
            else:
                point.missing.add(key)
                if key not in self._waiting:
                    new.append(layer)
                self._waiting.setdefault(key, []).append(point)
        if not point.missing:
            self._finish(point)
        return replace(whole, layers=tuple(new)) if new else None

    def _learn(self, unit: Unit, answer: Answer) -> None:
        self.counts.computed += answer.computed
        self.counts.asked += len(unit.layers)
        for text in answer.notices:
            if text not in self._told:
                self._told.add(text)
                self._notify(text)
        for key, layer, told in zip(_keys(unit), unit.layers, answer.layers, strict=True):
            found = told
            if isinstance(found, Failure):  # a reason belongs to all layers of the shape
                found = replace(found, reason=found.reason.replace(layer.name, _NAME))
            self._known[key] = found
            for point in self._waiting.pop(key):
                point.answers[point.case.identity(layer)] = found
                point.missing.discard(key)
                if not point.missing:
                    self._finish(point)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    # A point's record -------------------------------------------------------------------------------------------------

    def _finish(self, point: Point) -> None:
        distinct: dict[tuple[object, ...], LayerCost] = {}
        areas: list[float | None] = []
        for layer in point.case.distinct:
            found = point.answers[point.case.identity(layer)]
            if isinstance(found, Failure):
                self._fail(point, self._named(found, point))
                return
            distinct[point.case.identity(layer)] = cost_from_data(found.row, layer)
            areas.append(found.area_um2)
        assert point.accelerator is not None
        chip, network = point.accelerator, point.case.network
        costs = list(distinct.values())
        rows, operators = tuple(costs[:-1]), _summed(costs[-1])
        if not point.case.whole:
            rows, operators = tuple(distinct[point.case.identity(layer)] for layer in network), ()
        cost = NetworkCost(
            network.name,
            chip.name,
            point.level,
            point.case.batch,
            rows,
            mac_units=chip.mac_units,
            area_um2=_largest(areas),
            peak_activation_bytes=peak_activation_bytes(network, chip),
            operators=operators,
        )
        self._add(point, answered(cost, costs))

    def _named(self, why: Failure, point: Point) -> Failure:
        """The reason with the names of this point's chip and of the first layer that has it."""
        case = point.case
        named = case.network if not case.whole else case.distinct
        layer = next(la for la in named if isinstance(point.answers[case.identity(la)], Failure))
        called = self._space.entries[point.design.entry].base.name
        return replace(why, reason=why.reason.replace(_NAME, layer.name).replace(_CHIP, called))

    def _fail(self, point: Point, why: Failure) -> None:
        self.counts.failed += 1
        self._add(point, unanswered(why.reason, transient=why.transient))

    def _head(self, point: Point) -> dict[str, Any]:
        """What a record says of a point before it is costed."""
        case, design = point.case, point.design
        return {
            "point": point.number,
            "network": case.network.name,
            "accelerator": self._space.label(design),
            "base": self._space.entries[design.entry].name,
            "fields": self._space.fields(design),
            "dataflow": self._space.dataflow(design) if backend_of(point.level).maps else None,
            "level": point.level,
            "batch": case.batch,
            "bits": case.bits_text,
            "macs": case.network.macs,
            "params": case.network.params,
        }

    def _add(self, point: Point, outcome: Mapping[str, Any]) -> None:
        self._records.add({**point.head, **outcome})
        self.counts.points += 1
        layers = point.case.distinct if point.case.whole else point.case.network.layers
        self.counts.layers += len(layers) if point.accelerator else 0
        if self._progress is not None:
            self._progress(len(self._records), max(self._expected, len(self._records)), self._pace())

    def _pace(self) -> str:
        counts, seconds = self.counts, max(time.monotonic() - self._start, 1e-3)
        rate = counts.points / seconds
        left = max(self._expected - len(self._records), 0) / rate
        failed = f", {counts.failed} failed" if counts.failed else ""
        hits = counts.asked - counts.computed
        return f"{rate:.1f} points/s, {_clock(left)} left, {counts.computed:,} layers computed, {hits:,} from the cache{failed}"


def reasons(records: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Why points failed, and how many."""
    return Counter(record["reason"] for record in records if record["status"] == "failed")


def _keys(unit: Unit) -> list[_Key]:
    """What the answers to a unit's layers depend on, within one sweep."""
    asked, chip = unit.options, unit.accelerator
    dataflow = asked.dataflow or chip.dataflow if backend_of(asked.level).maps else None
    head = (chip.fingerprint, asked.level, dataflow, tuple(layer.bits for layer in unit.widths))
    if (net := unit.network) is not None:
        whole = (net.name, str(chip.vector_unit), key_of([(layer.type, layer.key) for layer in net]))
        return [(head, whole, layer.name) for layer in unit.layers]
    return [(head, identity(layer)) for layer in unit.layers]


def _summed(rest: LayerCost) -> tuple[OperatorCost, ...]:
    """All other operators of a network as one."""
    energy, cycles, latency = rest.energy or 0.0, rest.cycles or 0, rest.latency_s or 0.0
    return (OperatorCost(OPERATORS, OPERATORS, 0, energy, rest.energy_unit, {}, cycles, latency, rest.dram_bytes),)


def _largest(areas: Sequence[float | None]) -> float | None:
    """Of the chip that serves every layer; None where one is not known."""
    known = [area for area in areas if area is not None]
    return max(known) if known and len(known) == len(areas) else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

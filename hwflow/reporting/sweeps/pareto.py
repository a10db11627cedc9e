"""Pareto fronts: the designs that no other design dominates in energy, latency and area."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from hwflow import ranking
from hwflow.metrics import BY_NAME
from hwflow.reporting.page.blocks import Beside, Block, Figure, Text, axis, label
from hwflow.reporting.page.traces import LEGEND, line, marks
from hwflow.reporting.page.values import counted, prefix, prefixed, quantity
from hwflow.reporting.sweeps.sweep_folder import Point, Sweep

MOST_DRAWN = 1000
"""Points beside the front that a figure of one network and level has at the most."""

SQUARE = "m²"


@dataclass(frozen=True)
class Metric:
    """What designs are compared by; `of` gives it in a unit without prefix, the less the better."""

    name: str
    of: Callable[[Point], float | None]


ENERGY = Metric(BY_NAME["energy"].label, lambda point: point.energy)
LATENCY = Metric(BY_NAME["latency"].label, lambda point: point.row.latency_s)
AREA = Metric(BY_NAME["area"].label, lambda point: point.area_m2)
EDP = Metric(BY_NAME["edp"].label, lambda point: point.edp)
DRAM = Metric(BY_NAME["dram_bytes"].label, lambda point: point.row.dram_bytes)


@dataclass(frozen=True)
class Panel:
    """Points that can be held against each other: one network, level, batch and unit of energy."""

    name: str
    points: tuple[Point, ...]

    @property
    def unit(self) -> str:
        """Of the energies."""
        return self.points[0].unit

    @property
    def level(self) -> str:
        """The level that answered."""
        return self.points[0].row.level

    @cached_property
    def metrics(self) -> list[Metric]:
        """Energy, latency and area, as far as all the points have them."""
        return [m for m in (ENERGY, LATENCY, AREA) if all(m.of(point) is not None for point in self.points)]

    @cached_property
    def front(self) -> list[Point]:
        """The points that no other beats."""
        return undominated(self.points, self.metrics)

    def known(self, *metrics: Metric) -> Metric | None:
        """The first of these that all the points have."""
        return next((m for m in metrics if all(m.of(point) is not None for point in self.points)), None)

    def least(self, metric: Metric) -> Point | None:
        """The point with the least of something."""
        known = [point for point in self.points if metric.of(point) is not None]
        return min(known, key=lambda point: metric.of(point) or 0.0, default=None)

    def unit_of(self, metric: Metric) -> str:
        """Without prefix."""
        if metric in (ENERGY, EDP):
            return self.unit if metric == ENERGY else f"{self.unit}\u00a0s"
        return {LATENCY: BY_NAME["latency"].unit, DRAM: BY_NAME["dram_bytes"].unit}.get(metric, "")


def panels(sweep: Sweep) -> list[Panel]:
    """All that can be compared, in the order of networks and levels."""
    found: dict[tuple[str, str, int | None, str], list[Point]] = {}
    for point in sweep.done:
        if point.energy is not None or point.row.latency_s is not None:
            found.setdefault((point.row.network, point.row.level, point.row.batch, point.unit), []).append(point)
    batches, units = {key[2] for key in found}, {key[3] for key in found}
    named = []
    for (network, level, batch, unit), points in found.items():
        words = [f"{network} at {level}"]
        words += [f"batch {batch}"] if len(batches) > 1 else []
        words += ["joule" if unit == "J" else unit.strip()] if len(units) > 1 else []
        named.append(Panel(", ".join(words), tuple(points)))
    return sorted(named, key=lambda panel: sweep.levels.index(panel.points[0].row.level))  # stable: networks keep their order


def undominated(points: Sequence[Point], metrics: Sequence[Metric]) -> list[Point]:
    """Those that no other equals or beats in everything and beats in something."""
    best = ranking.undominated([tuple(metric.of(point) or 0.0 for metric in metrics) for point in points])
    return [point for point, on_front in zip(points, best, strict=True) if on_front]


def area_of(area_m2: float | None) -> str:
    """In square millimetres, whose prefix is squared, too."""
    return "-" if area_m2 is None else quantity(area_m2 * 1e6, "").rstrip() + "\u00a0mm²"


def told(sweep: Sweep, panel: Panel, point: Point) -> str:
    """A point in a figure: its design and what it costs."""
    lines = [label(part) for part in sweep.configuration(point).split(", ")]
    costs = [quantity(point.energy, panel.unit), quantity(point.row.latency_s, "s"), area_of(point.area_m2)]
    return "<br>".join([*lines, ", ".join(text for text in costs if text != "-"), f"point {point.row.point}"])


def fronts(sweep: Sweep, panel: Panel) -> list[Block]:
    """The designs by each pair of what they cost."""
    names = [metric.name for metric in panel.metrics]
    if len(names) < 2:
        return [Text(f"Only {names[0] if names else 'nothing'} is known of all these designs, so there is no front.")]
    shown = drawn(panel)
    pairs = [(LATENCY, ENERGY), (AREA, LATENCY), (AREA, ENERGY)]
    figures = [_pair(sweep, panel, shown, x, y) for x, y in pairs if x in panel.metrics and y in panel.metrics]
    left_out = len(panel.points) - len(shown)
    note = f" {counted(left_out, 'point')} behind it are left out of the figures; results.csv has all." if left_out else ""
    text = (
        f"{len(panel.front):,} of {counted(len(panel.points), 'design')} are beaten by no other in "
        f"{' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))} together.{note}"
    )
    return [Text(text), Beside(figures)]


def drawn(panel: Panel) -> list[Point]:
    """The front, and of the rest as many as a figure bears, evenly."""
    best = {id(point) for point in panel.front}
    rest = [point for point in panel.points if id(point) not in best]
    step = max(1, -(-len(rest) // MOST_DRAWN))
    kept = best | {id(point) for point in rest[::step]}
    return [point for point in panel.points if id(point) in kept]


def _pair(sweep: Sweep, panel: Panel, shown: Sequence[Point], x: Metric, y: Metric) -> Figure:
    scales = {metric.name: scaled([metric.of(p) for p in panel.points], metric, panel) for metric in (x, y)}
    (dx, ux), (dy, uy) = scales[x.name], scales[y.name]
    best = {id(point) for point in panel.front}
    edge = sorted(undominated(panel.points, [x, y]), key=lambda point: x.of(point) or 0.0)
    style = {"color": "@after", "width": 1.5, "shape": "hv"}
    data = [line(amounts(edge, x, dx), amounts(edge, y, dy), style, name="front of two")]
    several = len(panel.metrics) > 2
    looks = (("designs", False, "@before", 6, 0.6), ("front of all three" if several else "on the front", True, "@after", 9, 1))
    for name, on, colour, size, opacity in looks:
        those = [point for point in shown if (id(point) in best) == on]
        hints = [told(sweep, panel, point) for point in those]
        marker = {"color": colour, "size": size, "opacity": opacity, "line": {"color": "@panel", "width": 1}}
        data.append(marks(name, amounts(those, x, dx), amounts(those, y, dy), hints, marker))
    layout = {
        "xaxis": axis(f"{x.name} ({ux})"),
        "yaxis": axis(f"{y.name} ({uy})"),
        "legend": LEGEND,
    }
    return Figure(f"{y.name.capitalize()} and {x.name}, {panel.name}", data, layout, height=400)


def amounts(points: Sequence[Point], metric: Metric, divisor: float) -> list[float]:
    """In the unit of an axis."""
    return [(metric.of(point) or 0.0) / divisor for point in points]


def scaled(values: Sequence[float | None], metric: Metric, panel: Panel) -> tuple[float, str]:
    """What to divide by, and the unit that this gives."""
    if metric is AREA:
        return 1e-6, "mm²"
    divisor, letter = prefix(values)
    return divisor, prefixed(letter, panel.unit_of(metric))

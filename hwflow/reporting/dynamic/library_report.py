"""The report of a library: its members, and the front that they were chosen from."""

from __future__ import annotations

from hwflow.reporting.dynamic.level_report import cost_sections, front_figure, levels_table, settings_section, spans
from hwflow.reporting.dynamic.library_records import LibraryRun
from hwflow.reporting.page.blocks import Block, Cell, Figure, Page, Table, axis, label, wide_axis
from hwflow.reporting.page.palette import several
from hwflow.reporting.page.traces import LEGEND, marks
from hwflow.reporting.page.values import counted, number, percent

_METRICS = {
    "latency": ("latency (ms)", 1e-3),
    "energy": ("energy of a frame (µJ)", 1e-6),
    "edp": ("energy x latency (nJ s)", 1e-9),
}
_ROUNDING = 1e-9


def page(found: LibraryRun) -> Page:
    """The whole report."""
    library, count = found.library, len(found.library.members)
    volume = library.hypervolume
    share = percent(volume.members / volume.front if volume.front else 1.0, 2)
    most = max(volume.bound / volume.members if volume.members else 1.0, 1.0)
    how = (
        "no other choice keeps more"
        if most <= 1 + _ROUNDING
        else f"no other choice keeps more than {number(most, 4)} times that"
    )
    lead = (
        f"{counted(count, 'sub-network')} that share their weights, {spans(found.levels)} They keep {share} of the "
        f"hypervolume of the {library.front} on the front, of {len(library.measured)} measured; {how}."
    )
    fronts = [_front(found, place) for place in range(len(library.units))]
    top: list[Block] = [levels_table(found.levels), *fronts, front_figure(found.levels), _choices(found)]
    sections = [*cost_sections(found.levels), settings_section(found.levels)]
    return Page(f"library of {library.network}: {counted(count, 'member')}", lead, top, sections)


def _front(found: LibraryRun, place: int) -> Figure:
    """Accuracy against the cost on one unit."""
    library = found.library
    unit, (title, divisor) = library.units[place], _METRICS[library.metric]
    measured = [(costs[place] / divisor, 100 * accuracy) for accuracy, costs in library.measured]
    members = [(member.costs[unit] / divisor, 100 * member.held_accuracy, member.number) for member in library.members]
    first, second = several(2)
    faint = {"color": first, "size": 6, "opacity": 0.4}
    data = [
        marks("measured", [x for x, _ in measured], [y for _, y in measured], [f"{y:.2f} %" for _, y in measured], faint),
        marks(
            "members",
            [x for x, *_ in members],
            [y for _, y, _ in members],
            [label(f"member {n}: {y:.2f} %") for _, y, n in members],
            {"color": second, "size": 10},
        ),
    ]
    layout = {"xaxis": wide_axis(title, [x for x, _ in measured]), "yaxis": axis("held-out accuracy (%)"), "legend": LEGEND}
    note = "At the unit's own clock. What looks dominated here may be on the front of another unit."
    return Figure(f"Sub-networks on {unit}", data, layout, note, height=380)


def _choices(found: LibraryRun) -> Table:
    names = list(found.library.members[0].choice)
    rows: list[list[str | Cell]] = [
        [Cell(str(member.number), member.number), *(Cell(str(member.choice[name]), member.choice[name]) for name in names)]
        for member in found.library.members
    ]
    return Table("What is kept: blocks of stages, channels of groups", ["member", *names], rows, left=frozenset(), folded=True)


__all__ = ["page"]

"""`hwflow points`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.cli.inputs import load_accelerator, load_network
from hwflow.errors import InputError

if TYPE_CHECKING:
    from hwflow.cli.console import Page
    from hwflow.dynamic.operating_points import Unit
    from hwflow.dynamic.point_costs import PointCost

PointsOption = Annotated[
    str | None,
    typer.Option(
        "--points",
        metavar="NAME|FILE",
        help="Clocks and voltages: a preset ('hwflow list points') or a YAML file; by default the preset of the accelerator.",
    ),
]


def points(
    network: args.NetworkArgument,
    *,
    points: PointsOption = None,
    accelerator: args.AcceleratorOption = None,
    changes: args.SetOption = None,
    level: Annotated[str, typer.Option("--level", metavar="coarse|mid|fine", help="Level of the answer.")] = "mid",
    inputs: args.InputOption = None,
    batch: args.BatchOption = None,
    bits: args.BitsOption = None,
    dataflow: args.DataflowOption = None,
    objective: args.ObjectiveOption = "edp",
    energy: args.EnergyOption = "auto",
    jobs: args.JobsOption = None,
    form: args.FormatOption = None,
    output: args.OutputOption = None,
) -> None:
    """Time, energy and power of a network at every clock and voltage of an accelerator or a processor.

    A point is dropped where another one of its unit is at least as good in time, energy and power, or slower by less than 1 %.
    """
    from hwflow.cli.console import interruptible, progress, say
    from hwflow.cli.output import Answer, Texts, form_of
    from hwflow.cost.options import CostOptions
    from hwflow.dynamic.point_costs import point_costs
    from hwflow.text import csv_of

    shape = form_of(form, output, ("table", "json", "csv", "markdown"))
    units = units_for(points, accelerator, changes)
    net = load_network(network, inputs, batch, bits)
    options = CostOptions(
        level=level,
        dataflow=dataflow,
        objective=objective,  # type: ignore[arg-type]
        energy=energy,
        jobs=args.cores(jobs),
    )
    with interruptible(), progress(f"{net.name} at {level}") as bar:
        (costs,) = point_costs([net], units, options, progress=bar, notify=say)
    records = _records(costs)
    texts: Texts = {
        "json": lambda: json.dumps({"network": net.name, "points": records}, indent=2) + "\n",
        "csv": lambda: csv_of([{"network": net.name, **record} for record in records]),
    }
    Answer(lambda: _page(net.name, units, costs), texts).give(shape, output)


def units_for(points: str | None, accelerator: str | None, changes: Sequence[str] | None) -> tuple[Unit, ...]:
    """The units of `--points` and `--accelerator`."""
    from hwflow.dynamic.operating_points import load_units

    if accelerator is None and points is None:
        raise InputError(
            "no unit is named; give --accelerator ('hwflow list accelerators'), --points ('hwflow list points'), or both."
        )
    if accelerator is None and changes:
        raise InputError("--set changes the accelerator of --accelerator; name one, or leave it out.")
    return load_units(points, None if accelerator is None else load_accelerator(accelerator, changes))


def _useless(costs: Sequence[PointCost]) -> list[PointCost | None]:
    from hwflow.dynamic.level_table import WORTH, dominators

    found = dominators([cost.criteria for cost in costs], [cost.unit for cost in costs], WORTH)
    return [None if by is None else costs[by] for by in found]


def _records(costs: Sequence[PointCost]) -> list[dict[str, Any]]:
    records = []
    for cost, by in zip(costs, _useless(costs), strict=True):
        record = asdict(cost)
        del record["stages"], record["note"]
        records.append({**record, "power_w": cost.power_w, "dominated_by_mhz": None if by is None else by.clock_mhz})
    return records


def _page(network: str, units: Sequence[Unit], costs: Sequence[PointCost]) -> Page:
    from hwflow.cli.console import Page, Table, number

    rows = []
    for cost, by in zip(costs, _useless(costs), strict=True):
        energy, power = (
            None if value is None else value * scale for value, scale in ((cost.energy_j, 1e6), (cost.power_w, 1e3))
        )
        verdict = "" if by is None else f"buys nothing against {by.clock_mhz:g} MHz"
        rows.append(
            [
                cost.unit,
                f"{cost.clock_mhz:g}",
                f"{cost.voltage_v:g}",
                number(cost.latency_s * 1e3, 3),
                number(energy),
                number(power, 1),
                verdict,
            ]
        )
    headings = ["unit", "clock (MHz)", "voltage (V)", "latency (ms)", "energy (uJ)", "power (mW)", ""]
    lines = list(dict.fromkeys(f"{cost.unit}: {cost.note}." for cost in costs if cost.note))
    lines += [f"{unit.name}, {field}: {text}." for unit in units for field, text in unit.sources.items()]
    levels = ", ".join(dict.fromkeys(cost.level for cost in costs))
    return Page(
        f"{network} at the operating points of {', '.join(u.name for u in units)}, {levels}",
        [Table(headings, rows, left=frozenset({0, 6}))],
        lines,
    )


__all__ = ["PointsOption", "points", "units_for"]

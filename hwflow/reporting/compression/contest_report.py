"""The report of a contest: its table by budget, accuracy against cost, what each method cost, and what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from hwflow.reporting.compression.contest_records import ContestRuns, CurveRecord, RunRecord
from hwflow.reporting.compression.paired_difference import PairedDifference, paired
from hwflow.reporting.page.blocks import Block, Cell, Figure, Page, Section, Table, Text, axis, label
from hwflow.reporting.page.palette import parts
from hwflow.reporting.page.values import counted, number, percent, settings_by_name, spread

_COSTS = {"energy_pj": "energy", "energy_normalized": "energy", "latency_s": "latency", "macs": "MACs", "params": "parameters"}
_LEGEND = {"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0}


def page(found: ContestRuns) -> Page:
    """The whole report."""
    config = found.config
    sections = [Section(f"Budget {budget}", _results(found, budget)) for budget in found.budgets]
    if len(found.budgets) > 1 or found.curves:
        sections.insert(0, Section("Accuracy against cost", _curves(found)))
    sections.append(Section("What each method cost", _effort(found)))
    sections.append(Section("Methods", [_methods(found)]))
    if failed := [run for run in found.runs if run.failed]:
        rows = [[run.name, str(run.seed), run.budget, run.failed] for run in failed]
        failures = Table("Runs that failed", ["method", "seed", "budget", "why"], rows, left=frozenset(range(4)))
        sections.append(Section("Failed", [failures]))
    asked: list[list[str | Cell]] = [[name, value] for name, value in settings_by_name(found.asked)]
    settings = Table("All settings and versions", ["setting", "value"], asked, left=frozenset({0, 1}), folded=True)
    sections.append(Section("Settings", [settings]))
    chip = f" for {config.accelerator}" if config.accelerator else ""
    return Page(f"Methods that compress {config.network}{chip}", _lead(found), [Text(_how(found))], sections)


def differences(found: ContestRuns, budget: str) -> dict[str, PairedDifference | None]:
    """Each method's accuracy less the reference's, over the seeds that both have."""
    reference = _accuracies(found.of(budget, found.config.reference))
    return {
        name: paired(_accuracies(found.of(budget, name)), reference)
        for name in found.names
        if name != found.config.reference and found.of(budget, name)
    }


def _accuracies(runs: Sequence[RunRecord]) -> dict[int, float]:
    return {run.seed: run.accuracy for run in runs if run.accuracy is not None}


def _lead(found: ContestRuns) -> str:
    told = []
    for budget in found.budgets:
        means = {name: mean(values) for name in found.names if (values := list(_accuracies(found.of(budget, name)).values()))}
        if not means:
            continue
        best = max(means, key=lambda name: means[name])
        apart = differences(found, budget).get(best)
        aside = "" if apart is None else f", {apart.text()} points against {found.config.reference}"
        told.append(f"At {budget} {best} is best with {percent(means[best], 2)}{aside}")
    return ". ".join(told) + ("." if told else "")


def _how(found: ContestRuns) -> str:
    config = found.config
    total = len(config.methods) * len(config.seeds) * len(config.budgets)
    done = sum(not run.failed for run in found.runs)
    part = "" if done == total else f" {done} of {total} runs are finished."
    return (
        f"All methods start from the same network and train for {counted(config.epochs, 'epoch')}; scratch starts from fresh "
        f"weights and trains for as many epochs as the unpruned network and a method together. Accuracies are of the test set "
        f"of {config.data}, by which nothing was chosen. Costs are at {config.level}, where the budgets hold. A difference "
        f"counts where its mean over {counted(len(config.seeds), 'seed')} exceeds twice its standard error. "
        f"A ± is the standard deviation over the seeds, and for a difference its standard error.{part}"
    )


def _results(found: ContestRuns, budget: str) -> list[Block]:
    apart, level = differences(found, budget), found.config.level
    rows: list[list[str | Cell]] = []
    whole = next((run.before for run in found.runs if run.budget == budget and run.before is not None), None)
    shown = [metric for metric in _COSTS if any(metric in run.shares.get(level, {}) for run in found.runs)]
    if whole is not None:
        dashes = ["100.0"] * len(shown)
        rows.append(["unpruned", "-", Cell(f"{100 * whole:.2f}", whole), "-", *dashes, "-", "nothing"])
    for name in found.names:
        runs = found.of(budget, name)
        values = list(_accuracies(runs).values())
        if not values:
            continue
        difference = apart.get(name)
        mark = ""
        if difference is not None and difference.told_apart:
            mark = "good" if difference.mean > 0 else "bad"
        shares = []
        for metric in shown:
            known = [v for run in runs if (v := run.shares.get(level, {}).get(metric)) is not None]
            shares.append(Cell(spread(known), mean(known)) if known else Cell("-"))
        kept = sum(run.keeps for run in runs)
        word = {len(runs): "yes", 0: "no"}.get(kept, f"{kept} of {len(runs)}")
        rows.append(
            [
                name,
                str(len(runs)),
                Cell(spread(values, 2), mean(values)),
                "-" if difference is None else Cell(difference.text(), difference.mean, mark),
                *shares,
                word,
                runs[0].needs or "nothing",
            ]
        )
    costs = [f"{_COSTS[metric]} (%)" for metric in shown]
    headings = ["method", "seeds", "test accuracy (%)", f"against {found.config.reference} (points)", *costs]
    headings += ["keeps the budget", "needs of the chip"]
    return [
        Table(f"Methods at {budget}", headings, rows, left=frozenset({0, len(headings) - 1})),
        _scatter(found, budget),
    ]


def _scatter(found: ContestRuns, budget: str) -> Figure:
    """Every run as a dot: the method across, accuracy up; means as bars."""
    names = [name for name in found.names if found.of(budget, name)]
    runs = [run for name in names for run in found.of(budget, name) if run.accuracy is not None]
    means = {name: 100 * mean(values) for name in names if (values := list(_accuracies(found.of(budget, name)).values()))}
    data: list[Mapping[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "each seed",
            "x": [label(run.name) for run in runs],
            "y": [100 * (run.accuracy or 0.0) for run in runs],
            "hovertext": [label(f"{run.name}, seed {run.seed}: {percent(run.accuracy, 2)}") for run in runs],
            "hoverinfo": "text",
            "marker": {"color": "@after", "size": 7, "opacity": 0.6},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "mean",
            "x": [label(name) for name in means],
            "y": list(means.values()),
            "marker": {"color": "@random", "size": 16, "symbol": "line-ew-open", "line": {"width": 3}},
        },
    ]
    shapes = []
    if (whole := next((run.before for run in runs if run.before is not None), None)) is not None:
        dotted = {"color": "@muted", "dash": "dot"}
        shapes.append({"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": 100 * whole, "y1": 100 * whole, "line": dotted})
    layout = {"xaxis": axis(""), "yaxis": axis("test accuracy (%)"), "shapes": shapes, "legend": _LEGEND}
    return Figure(f"Test accuracy at {budget}", data, layout, note="Dotted: the unpruned network.")


_AGAINST = (("energy_pj", "energy_normalized"), ("latency_s",))  # of each the first that is known


def _curves(found: ContestRuns) -> list[Block]:
    """Accuracy against energy and against latency, of all methods and of the networks of other folders."""
    level = found.config.level
    known = {metric for run in found.runs for metric in run.shares.get(level, {})}
    metrics = [next(metric for metric in several if metric in known) for several in _AGAINST if known.intersection(several)]
    blocks: list[Block] = [_curve(found, metric) for metric in metrics or ["macs"]]
    return [*blocks, _others(found, metrics or ["macs"])] if found.curves else blocks


def _curve(found: ContestRuns, metric: str) -> Figure:
    """Mean accuracy of each method at each budget over the cost that it has there, and each network of another folder."""
    level, drawn = found.config.level, {}
    for name in found.names:
        points = []
        for budget in found.budgets:
            runs = [run for run in found.of(budget, name) if run.accuracy is not None]
            shares = [v for run in runs if (v := run.shares.get(level, {}).get(metric)) is not None]
            if runs and shares:
                points.append((100 * mean(shares), 100 * mean(run.accuracy or 0.0 for run in runs), budget))
        drawn[name] = sorted(points)
    for curve in found.curves:
        costs = [(one.shares.get(level, {}).get(metric), 100 * one.accuracy, one.name) for one in curve.networks]
        drawn[_curve_name(curve)] = sorted((100 * cost, *rest) for cost, *rest in costs if cost is not None)  # type: ignore[misc]
    colours, others = parts([list(drawn)]), {_curve_name(curve) for curve in found.curves}
    data: list[Mapping[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": label(name),
            "x": [x for x, *_ in points],
            "y": [y for _, y, _ in points],
            "hovertext": [label(f"{name}, {one}: {y:.2f} %") for _, y, one in points],
            "hoverinfo": "text",
            "line": {"color": colours[name], "dash": "dash" if name in others else "solid"},
        }
        for name, points in drawn.items()
    ]
    layout = {
        "xaxis": axis(f"{_COSTS[metric]} at {level}, share of the unpruned network's (%)"),
        "yaxis": axis("test accuracy (%)"),
        "legend": _LEGEND,
    }
    note = "Means over seeds." + (" Dashed: networks of other folders, which were not made for a budget." if others else "")
    return Figure(f"Accuracy against {_COSTS[metric]}", data, layout, note=note, height=460)


def _curve_name(curve: CurveRecord) -> str:
    return f"{curve.name} (folder)"  # which may be called like a method


def _others(found: ContestRuns, metrics: Sequence[str]) -> Table:
    rows: list[list[str | Cell]] = []
    for curve in found.curves:
        for one in curve.networks:
            shares = [one.shares.get(found.config.level, {}).get(metric) for metric in metrics]
            costs = [Cell("-") if share is None else Cell(f"{100 * share:.1f}", share) for share in shares]
            rows.append([curve.name, one.name, Cell(f"{100 * one.accuracy:.2f}", one.accuracy), *costs, curve.data])
    headings = ["folder", "network", "test accuracy (%)", *(f"{_COSTS[metric]} (%)" for metric in metrics), "learned from"]
    return Table("Networks of other folders", headings, rows, left=frozenset({0, 1, len(headings) - 1}))


def _effort(found: ContestRuns) -> list[Block]:
    rows: list[list[str | Cell]] = []
    for name in found.names:
        runs = [run for run in found.runs if run.name == name and not run.failed]
        values = [mean(getattr(run, field) for run in runs) for field in ("images_trained", "images_evaluated", "seconds")]
        cells = [Cell(f"{value:,.0f}", value) for value in values[:2]] + [Cell(number(values[2], 3), values[2])]
        rows.append([name, str(len(runs)), *cells])
    headings = ["method", "runs", "images trained", "images evaluated by searches", "seconds"]
    return [
        Text(
            "Means of a run, the training of the unpruned network left out. Accuracies of plans that the store knew already "
            "took no time, but are counted; for a run that was interrupted, seconds are those of its last process."
        ),
        Table("Work of a run", headings, rows),
    ]


def _methods(found: ContestRuns) -> Table:
    rows = []
    for name in found.names:
        run = next(run for run in found.runs if run.name == name)
        rows.append([name, run.about or "-", run.needs or "nothing"])
    return Table("Methods", ["method", "what it does", "needs of the chip"], rows, left=frozenset({0, 1, 2}))


__all__ = ["differences", "page"]

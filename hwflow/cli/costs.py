"""`hwflow estimate` and `hwflow compare`."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.errors import InputError

if TYPE_CHECKING:
    from hwflow.accelerator import Accelerator
    from hwflow.cli.pages import Variant
    from hwflow.cost.evaluation import Options
    from hwflow.network import Network
    from hwflow.results import NetworkCost

_FORMATS = ("table", "json", "csv")
HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE.html", help="Also write a page with figures and tables."),
]


def estimate(
    network: args.NetworkArgument,
    *,
    accelerator: args.AcceleratorOption = None,
    timeloop_arch: args.TimeloopArchOption = None,
    timeloop_constraints: args.TimeloopConstraintsOption = None,
    level: Annotated[
        str | None,
        typer.Option("--level", metavar="coarse|mid|fine", help="By default mid; coarse where no accelerator is given."),
    ] = None,
    dataflow: args.DataflowOption = None,
    changes: args.SetOption = None,
    batch: args.BatchOption = None,
    bits: args.BitsOption = None,
    input_shape: args.InputOption = None,
    objective: args.ObjectiveOption = "edp",
    energy: args.EnergyOption = "auto",
    mapper: args.MapperOption = "hwflow",
    engine: args.EngineOption = None,
    effort: args.EffortOption = 1,
    fallback: args.FallbackOption = "mid",
    strict: args.StrictOption = False,
    form: args.FormatOption = "table",
    output: args.OutputOption = None,
    html: HtmlOption = None,
    jobs: args.JobsOption = None,
) -> None:
    """Energy, cycles, utilisation and DRAM traffic, layer by layer."""
    from hwflow.cli import pages
    from hwflow.console import deliver, deliver_text
    from hwflow.cost.evaluation import Options

    args.chosen("--format", form, _FORMATS)
    chip = args.load_chip(accelerator, changes, timeloop_arch, timeloop_constraints)
    options = Options(
        level=level or ("mid" if chip else "coarse"),  # type: ignore[arg-type]
        dataflow=dataflow,
        objective=objective,  # type: ignore[arg-type]
        energy=energy,
        mapper=mapper,  # type: ignore[arg-type]
        engine=engine,
        effort=effort,
        fallback=args.fallback_of(fallback, strict),  # type: ignore[arg-type]
        jobs=args.cores(jobs, mapper if level == "fine" else "hwflow"),
    )
    if chip is None:
        _needs_no_accelerator({"--dataflow": dataflow, "--set": changes}, energy)
    net = args.load_network(network, input_shape, batch, bits)
    cost = _evaluated([(net, chip)], options, f"{net.name} at {options.level}")[0]
    if html is not None:
        _write_page([_Costed(net, chip, options, cost)], html)
    if form == "table":
        deliver(pages.estimate_page(cost), output)
    else:
        deliver_text(cost.to_json() if form == "json" else cost.to_csv(), output)


def compare(
    network: args.NetworkArgument,
    *,
    accelerator: Annotated[
        list[str] | None, typer.Option("--accelerator", "-a", metavar="ACC[,ACC...]", help="Presets or YAML files. Repeatable.")
    ] = None,
    timeloop_arch: Annotated[
        list[Path] | None,
        typer.Option(
            "--timeloop-arch",
            metavar="FILE",
            help="Instead of --accelerator, or beside it: an architecture in Timeloop's format; again for its classes, ...",
        ),
    ] = None,
    timeloop_constraints: args.TimeloopConstraintsOption = None,
    levels: Annotated[
        str, typer.Option("--levels", metavar="LEVEL[,LEVEL...]", help="Of coarse, mid and fine.")
    ] = "coarse,mid",
    dataflows: Annotated[
        str | None, typer.Option("--dataflows", metavar="NAME[,NAME...]", help="By default each accelerator's own.")
    ] = None,
    changes: args.SetOption = None,
    batch: args.BatchOption = None,
    bits: args.BitsOption = None,
    input_shape: args.InputOption = None,
    objective: args.ObjectiveOption = "edp",
    energy: args.EnergyOption = "auto",
    mapper: args.MapperOption = "hwflow",
    engine: args.EngineOption = None,
    effort: args.EffortOption = 1,
    fallback: args.FallbackOption = "mid",
    strict: args.StrictOption = False,
    form: args.FormatOption = "table",
    output: args.OutputOption = None,
    html: HtmlOption = None,
    jobs: args.JobsOption = None,
) -> None:
    """Levels, accelerators or dataflows side by side, with the rank correlation of their layers.

    Ratios and correlations (Spearman's) are against the first way that is asked for.
    """
    from hwflow.cli import pages
    from hwflow.console import deliver, deliver_text
    from hwflow.cost.evaluation import Options

    args.chosen("--format", form, _FORMATS)
    net = args.load_network(network, input_shape, batch, bits)
    chips = args.load_chips(accelerator, changes, timeloop_arch, timeloop_constraints)
    flows: list[str | None] = [*args.listed("--dataflows", dataflows)] if dataflows is not None else [None]
    named = args.listed("--levels", levels)
    variants: list[Variant] = []
    costed: list[_Costed] = []
    for chip, level, flow in itertools.product(chips, named, flows):
        if level == "coarse" and flow != flows[0]:
            continue  # no mapping, so no dataflow: once is enough
        options = Options(
            level=level,  # type: ignore[arg-type]
            dataflow=flow,
            objective=objective,  # type: ignore[arg-type]
            energy=energy,
            mapper=mapper,  # type: ignore[arg-type]
            engine=engine,
            effort=effort,
            fallback=args.fallback_of(fallback, strict),  # type: ignore[arg-type]
            jobs=args.cores(jobs, mapper if level == "fine" else "hwflow"),
        )
        label = f"{net.name} on {chip.name} at {level}"
        cost = _evaluated([(net, chip)], options, label)[0]
        variants.append(pages.Variant(chip.name, level, None if level == "coarse" else flow or chip.dataflow, cost))
        costed.append(_Costed(net, chip, options, cost))
    if html is not None:
        _write_page(costed, html)
    if form == "table":
        deliver(pages.compare_page(net, variants), output)
    elif form == "json":
        deliver_text(json.dumps(pages.compare_object(net, variants), indent=2) + "\n", output)
    else:
        deliver_text(_comparison_csv(variants), output)


def _needs_no_accelerator(given: dict[str, Any], energy: str) -> None:
    useless = [name for name, value in given.items() if value] + (["--energy"] if energy not in ("auto", "normalized") else [])
    if useless:
        raise InputError(f"{', '.join(useless)} means nothing without --accelerator; name one, or leave it out.")


def _evaluated(pairs: list[tuple[Network, Accelerator | None]], options: Options, title: str) -> list[NetworkCost]:
    from hwflow.console import interruptible, progress, say
    from hwflow.cost.evaluation import evaluate
    from hwflow.store import Store

    store = Store()
    try:
        with interruptible(), progress(title, wanted=options.level != "coarse") as bar:
            return evaluate(pairs, options, store, bar, say)
    finally:
        for notice in store.notices:
            say(notice)
        store.close()


@dataclass(frozen=True)
class _Costed:
    """What was asked, and the answer."""

    network: Network
    chip: Accelerator | None
    options: Options
    cost: NetworkCost


def _write_page(found: list[_Costed], file: Path) -> None:
    """The report; energies are looked up again, to be split by tensor."""
    from hwflow.console import say
    from hwflow.cost.evaluation import plan_for
    from hwflow.reporting import write_costs
    from hwflow.reporting.ways import way
    from hwflow.store import Store

    ways = []
    with contextlib.closing(Store()) as store:
        for one in found:
            plan = plan_for(one.network, one.chip, one.options, store)
            tables = [plan.chip(layer).table for layer in one.network] if one.chip else []
            ways.append(way(one.cost, one.chip, tables))
    say(f"wrote {write_costs(ways, file)}")


def _comparison_csv(variants: list[Variant]) -> str:
    from hwflow.text import csv_of

    rows = [{"asked_level": v.level, "dataflow": v.dataflow or "", **row} for v in variants for row in v.cost.records()]
    return csv_of(rows)

"""`hwflow estimate` and `hwflow compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.errors import InputError

if TYPE_CHECKING:
    from hwflow.cli.output import Texts
    from hwflow.cost import Comparison
    from hwflow.results import NetworkCost

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
    fallback: args.FallbackOption = None,
    strict: args.StrictOption = False,
    form: args.FormatOption = None,
    output: args.OutputOption = None,
    html: HtmlOption = None,
    jobs: args.JobsOption = None,
) -> None:
    """Energy, cycles, utilisation and DRAM traffic, layer by layer."""
    import hwflow
    from hwflow.cli import pages
    from hwflow.cli.console import interruptible, progress, say
    from hwflow.cli.output import Answer, form_of

    shape = form_of(form, output, args.COST_FORMS)
    chip = args.load_chip(accelerator, changes, timeloop_arch, timeloop_constraints)
    asked = level or ("mid" if chip else "coarse")
    if chip is None:
        _needs_no_accelerator({"--dataflow": dataflow, "--set": changes}, energy)
    net = args.load_network(network, input_shape, batch, bits)
    options = hwflow.CostOptions(
        level=asked,
        dataflow=dataflow,
        objective=objective,  # type: ignore[arg-type]
        energy=energy,
        mapper=mapper,  # type: ignore[arg-type]
        engine=engine,
        effort=effort,
        fallback=args.fallback_of(fallback, strict),
        jobs=args.cores(jobs, mapper, asked),
    )
    with interruptible(), progress(f"{net.name} at {asked}", wanted=args.takes_time(options)) as bar:
        cost = hwflow.estimate(net, chip, options=options, progress=bar, notify=say)
    if html is not None:
        _write_page(cost, html)
    texts: Texts = {"json": cost.to_json, "csv": cost.to_csv}
    Answer(lambda: pages.estimate_page(cost), texts, lambda file: _write_page(cost, file)).give(shape, output)


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
    fallback: args.FallbackOption = None,
    strict: args.StrictOption = False,
    form: args.FormatOption = None,
    output: args.OutputOption = None,
    html: HtmlOption = None,
    jobs: args.JobsOption = None,
) -> None:
    """Levels, accelerators or dataflows side by side, with the rank correlation of their layers.

    Ratios and correlations (Spearman's) are against the first way that is asked for.
    """
    import hwflow
    from hwflow.cli import pages
    from hwflow.cli.console import interruptible, progress, say
    from hwflow.cli.output import Answer, form_of

    shape = form_of(form, output, args.COST_FORMS)
    net = args.load_network(network, input_shape, batch, bits)
    chips = args.load_chips(accelerator, changes, timeloop_arch, timeloop_constraints)
    named = args.listed("--levels", levels)
    options = hwflow.CostOptions(
        objective=objective,  # type: ignore[arg-type]
        energy=energy,
        mapper=mapper,  # type: ignore[arg-type]
        engine=engine,
        effort=effort,
        fallback=args.fallback_of(fallback, strict),
        jobs=args.cores(jobs, mapper, *named),
    )
    with interruptible(), progress(net.name, wanted=args.takes_time(options, *named)) as bar:
        found = hwflow.compare(
            net,
            chips,
            levels=named,
            dataflows=args.listed("--dataflows", dataflows) if dataflows is not None else (None,),
            options=options,
            progress=bar,
            notify=say,
        )
    if html is not None:
        _write_page(found, html)
    texts: Texts = {"json": found.to_json, "csv": found.to_csv}
    Answer(lambda: pages.compare_page(found), texts, lambda file: _write_page(found, file)).give(shape, output)


def _needs_no_accelerator(given: dict[str, Any], energy: str) -> None:
    useless = [name for name, value in given.items() if value] + (["--energy"] if energy not in ("auto", "normalized") else [])
    if useless:
        raise InputError(f"{', '.join(useless)} means nothing without --accelerator; name one, or leave it out.")


def _write_page(found: NetworkCost | Comparison, file: Path) -> None:
    from hwflow.cli.console import remark

    remark(f"wrote {found.to_html(file)}")

"""`hwflow compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.cli.densities import DensityOption, with_densities
from hwflow.cli.inputs import load_chips, load_network, with_pe_type

if TYPE_CHECKING:
    from hwflow.cli.output import Texts


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
            help="An architecture in Timeloop's format, instead of or besides --accelerator. Repeatable, for its classes, ...",
        ),
    ] = None,
    timeloop_constraints: args.TimeloopConstraintsOption = None,
    levels: Annotated[
        str, typer.Option("--levels", metavar="LEVEL[,LEVEL...]", help="Levels, of coarse, mid, fine and ppa.")
    ] = "coarse,mid",
    dataflows: Annotated[
        str | None, typer.Option("--dataflows", metavar="NAME[,NAME...]", help="Dataflows; by default each accelerator's own.")
    ] = None,
    executions: Annotated[
        str,
        typer.Option(
            "--executions",
            metavar="NAME[,NAME...]",
            help="How layers run: direct, winograd2, winograd4, im2col, vip, auto.",
        ),
    ] = "direct",
    changes: args.SetOption = None,
    pe_type: args.PeTypeOption = None,
    batch: args.BatchOption = None,
    bits: args.BitsOption = None,
    density: DensityOption = None,
    input_shape: args.InputOption = None,
    objective: args.ObjectiveOption = "edp",
    energy: args.EnergyOption = "auto",
    mapper: args.MapperOption = "hwflow",
    ppa_model: args.PpaModelOption = None,
    extrapolate: args.ExtrapolateOption = False,
    engine: args.EngineOption = None,
    effort: args.EffortOption = 1,
    perfect: args.PerfectOption = False,
    proof: args.ProofOption = "off",
    gap: args.GapOption = 0.001,
    activations: args.ActivationsOption = "dram",
    operators: args.OperatorsOption = "mac",
    latency: args.LatencyOption = "overlap",
    fallback: args.FallbackOption = None,
    strict: args.StrictOption = False,
    form: args.FormatOption = None,
    output: args.OutputOption = None,
    html: args.HtmlOption = None,
    jobs: args.JobsOption = None,
) -> None:
    """Levels, accelerators, dataflows or executions side by side, with the rank correlation of their layers.

    Ratios and rank correlations (Spearman's) are relative to the first configuration.
    """
    import hwflow
    from hwflow.cli.comparison_page import comparison_page
    from hwflow.cli.console import interruptible, progress, say
    from hwflow.cli.output import Answer, form_of, write_page

    shape = form_of(form, output, args.COST_FORMS)
    net = with_densities(load_network(network, input_shape, batch, bits), density)
    chips = load_chips(accelerator, with_pe_type(changes, pe_type), timeloop_arch, timeloop_constraints)
    named = args.listed("--levels", levels)
    options = hwflow.CostOptions(
        objective=objective,  # type: ignore[arg-type]
        energy=energy,
        mapper=mapper,  # type: ignore[arg-type]
        ppa_model=ppa_model,
        extrapolate=extrapolate,
        engine=engine,
        effort=effort,
        ragged=not perfect,
        proof=proof,  # type: ignore[arg-type]
        gap=gap,
        activations=activations,  # type: ignore[arg-type]
        operators=operators,  # type: ignore[arg-type]
        latency=latency,  # type: ignore[arg-type]
        fallback=args.fallback_of(fallback, strict),
        jobs=args.cores(jobs, mapper, *named),
    )
    with interruptible(), progress(net.name, wanted=args.takes_time(options, *named)) as bar:
        found = hwflow.compare(
            net,
            chips,
            levels=named,
            executions=args.listed("--executions", executions),
            dataflows=args.listed("--dataflows", dataflows) if dataflows is not None else (None,),
            options=options,
            progress=bar,
            notify=say,
        )
    if html is not None:
        write_page(found, html)
    texts: Texts = {"json": found.to_json, "csv": found.to_csv}
    Answer(lambda: comparison_page(found), texts, lambda file: write_page(found, file)).give(shape, output)

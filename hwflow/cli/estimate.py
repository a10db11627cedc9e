"""`hwflow estimate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.cli.densities import DensityOption, with_densities
from hwflow.cli.inputs import load_chip, load_network, with_pe_type
from hwflow.errors import InputError

if TYPE_CHECKING:
    from hwflow.cli.output import Texts


def estimate(
    network: args.NetworkArgument,
    *,
    accelerator: args.AcceleratorOption = None,
    timeloop_arch: args.TimeloopArchOption = None,
    timeloop_constraints: args.TimeloopConstraintsOption = None,
    level: Annotated[
        str | None,
        typer.Option(
            "--level", metavar="coarse|mid|fine|ppa", help="The level; by default mid, or coarse without an accelerator."
        ),
    ] = None,
    dataflow: args.DataflowOption = None,
    changes: args.SetOption = None,
    pe_type: args.PeTypeOption = None,
    batch: args.BatchOption = None,
    bits: args.BitsOption = None,
    density: DensityOption = None,
    input_shape: args.InputOption = None,
    objective: args.ObjectiveOption = "edp",
    energy: args.EnergyOption = "auto",
    mapper: args.MapperOption = "hwflow",
    engine: args.EngineOption = None,
    effort: args.EffortOption = 1,
    perfect: args.PerfectOption = False,
    proof: args.ProofOption = "off",
    gap: args.GapOption = 0.001,
    activations: args.ActivationsOption = "dram",
    operators: args.OperatorsOption = "mac",
    latency: args.LatencyOption = "overlap",
    ppa_model: args.PpaModelOption = None,
    extrapolate: args.ExtrapolateOption = False,
    execution: args.ExecutionOption = None,
    fallback: args.FallbackOption = None,
    strict: args.StrictOption = False,
    form: args.FormatOption = None,
    output: args.OutputOption = None,
    html: args.HtmlOption = None,
    jobs: args.JobsOption = None,
) -> None:
    """Energy, cycles, utilisation and DRAM traffic, layer by layer."""
    import hwflow
    from hwflow.cli.console import interruptible, progress, say
    from hwflow.cli.estimate_page import estimate_page
    from hwflow.cli.output import Answer, form_of, write_page

    shape = form_of(form, output, args.COST_FORMS)
    chip = load_chip(accelerator, with_pe_type(changes, pe_type), timeloop_arch, timeloop_constraints)
    asked = level or ("mid" if chip else "coarse")
    if chip is None:
        _needs_no_accelerator({"--dataflow": dataflow, "--set": changes, "--pe-type": pe_type}, energy)
    net = with_densities(load_network(network, input_shape, batch, bits), density)
    options = hwflow.CostOptions(
        level=asked,
        dataflow=dataflow,
        objective=objective,  # type: ignore[arg-type]
        energy=energy,
        mapper=mapper,  # type: ignore[arg-type]
        engine=engine,
        effort=effort,
        ragged=not perfect,
        proof=proof,  # type: ignore[arg-type]
        gap=gap,
        activations=activations,  # type: ignore[arg-type]
        operators=operators,  # type: ignore[arg-type]
        latency=latency,  # type: ignore[arg-type]
        ppa_model=ppa_model,
        extrapolate=extrapolate,
        execution=args.execution_of(execution),
        fallback=args.fallback_of(fallback, strict),
        jobs=args.cores(jobs, mapper, asked),
    )
    with interruptible(), progress(f"{net.name} at {asked}", wanted=args.takes_time(options)) as bar:
        cost = hwflow.estimate(net, chip, options=options, progress=bar, notify=say)
    if html is not None:
        write_page(cost, html)
    texts: Texts = {"json": cost.to_json, "csv": cost.to_csv}
    Answer(lambda: estimate_page(cost), texts, lambda file: write_page(cost, file)).give(shape, output)


def _needs_no_accelerator(given: dict[str, Any], energy: str) -> None:
    useless = [name for name, value in given.items() if value] + (["--energy"] if energy not in ("auto", "normalized") else [])
    if useless:
        raise InputError(f"{', '.join(useless)} means nothing without --accelerator; name one, or leave it out.")

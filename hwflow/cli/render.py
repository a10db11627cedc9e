"""`hwflow render`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.cli.densities import DensityOption, with_densities
from hwflow.cli.inputs import load_needed_chip, load_network, with_pe_type


def render(
    network: args.NetworkArgument,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write to.")],
    accelerator: args.AcceleratorOption = None,
    timeloop_arch: args.TimeloopArchOption = None,
    timeloop_constraints: args.TimeloopConstraintsOption = None,
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
    execution: args.ExecutionOption = None,
    effort: args.EffortOption = 1,
    jobs: args.JobsOption = None,
) -> None:
    """Write Timeloop's input, one folder per distinct layer, each with the command that runs it there (command.txt)."""
    from hwflow.cli.console import Page, Table, deliver, interruptible, progress, say
    from hwflow.cost.options import CostOptions
    from hwflow.cost.timeloop_input import write_inputs
    from hwflow.store import Store

    chip = load_needed_chip(accelerator, with_pe_type(changes, pe_type), timeloop_arch, timeloop_constraints)
    net = with_densities(load_network(network, input_shape, batch, bits), density)
    options = CostOptions(
        dataflow=dataflow,
        objective=objective,  # type: ignore[arg-type]
        energy=energy,
        mapper=mapper,  # type: ignore[arg-type]
        effort=effort,
        execution=args.execution_of(execution),
        jobs=args.cores(jobs),
    )
    store = Store()
    try:
        with interruptible(), progress(f"{net.name} on {chip.label}") as bar:
            written = write_inputs(net, chip, output, options, store=store, progress=bar or None, notify=say)
    finally:
        for notice in store.notices:
            say(notice)
        store.close()
    rows = [[str(folder), str(len(names)), ", ".join(names)] for folder, names in written.items()]
    table = Table(["folder", "occurrences", "layers"], rows, left=frozenset({0, 2}))
    lines = ["Run the one line of command.txt from its folder; a network's totals are sums over occurrences."]
    deliver(Page(f"Timeloop's input for {net.name} on {chip.label}", [table], lines))

"""`hwflow map` and `hwflow render`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli import arguments as args

if TYPE_CHECKING:
    from hwflow.console import Page
    from hwflow.cost.mid import MapResult


def show(
    network: args.NetworkArgument,
    *,
    layer: Annotated[str, typer.Option("--layer", metavar="NAME", help="The layer, as 'hwflow estimate' names it.")],
    accelerator: args.AcceleratorOption,
    dataflow: args.DataflowOption = None,
    changes: args.SetOption = None,
    batch: args.BatchOption = None,
    bits: args.BitsOption = None,
    input_shape: args.InputOption = None,
    objective: args.ObjectiveOption = "edp",
    energy: args.EnergyOption = "auto",
    effort: args.EffortOption = 1,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="map.yaml", help="Write the mapping for timeloop-model, too.")
    ] = None,
) -> None:
    """The best mapping of one layer at mid: loop nest, what bounds it, counts per level."""
    from hwflow import cost
    from hwflow.console import deliver, interruptible, say

    chip = args.load_accelerator(accelerator, changes)
    found_layer = args.load_network(network, input_shape, batch, bits)[layer]
    with interruptible():
        found = cost.map_layer(
            found_layer,
            chip,
            objective=objective,  # type: ignore[arg-type]
            dataflow=dataflow,
            energy=energy,
            effort=effort,
            notify=say,
        )
    deliver(_map_page(found, chip.name, objective, dataflow or chip.dataflow))
    if output is not None:
        found.mapping.to_timeloop(output)
        say(f"wrote {output}")


def render(
    network: args.NetworkArgument,
    *,
    accelerator: args.AcceleratorOption,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write to.")],
    dataflow: args.DataflowOption = None,
    changes: args.SetOption = None,
    batch: args.BatchOption = None,
    bits: args.BitsOption = None,
    input_shape: args.InputOption = None,
    objective: args.ObjectiveOption = "edp",
    energy: args.EnergyOption = "auto",
    mapper: args.MapperOption = "hwflow",
    effort: args.EffortOption = 1,
    jobs: args.JobsOption = None,
) -> None:
    """Timeloop's input, a folder a distinct layer, each with command.txt: the command that runs it from that folder."""
    from hwflow.console import Page, Table, deliver, interruptible, progress, say
    from hwflow.cost.evaluation import Options
    from hwflow.cost.rendering import write_inputs
    from hwflow.store import Store

    chip = args.load_accelerator(accelerator, changes)
    net = args.load_network(network, input_shape, batch, bits)
    options = Options(
        dataflow=dataflow,
        objective=objective,  # type: ignore[arg-type]
        energy=energy,
        mapper=mapper,  # type: ignore[arg-type]
        effort=effort,
        jobs=args.cores(jobs),
    )
    store = Store()
    try:
        with interruptible(), progress(f"{net.name} on {chip.name}") as bar:
            written = write_inputs(net, chip, output, options, store=store, progress=bar, notify=say)
    finally:
        for notice in store.notices:
            say(notice)
        store.close()
    rows = [[str(folder), str(len(names)), ", ".join(names)] for folder, names in written.items()]
    table = Table(["folder", "occurrences", "layers"], rows, left=frozenset({0, 2}))
    lines = ["Run the one line of command.txt from its folder; a network's totals are sums over occurrences."]
    deliver(Page(f"Timeloop's input for {net.name} on {chip.name}", [table], lines))


def _map_page(found: MapResult, accelerator: str, objective: str, dataflow: str) -> Page:
    from hwflow.cli.pages import shape_text
    from hwflow.console import Page, Table, number

    cost = found.cost
    unit = cost.energy_unit
    energies = [
        [part, number(value, 0), number(100 * value / (cost.energy or 1), 1)] for part, value in cost.energy_by_level.items()
    ]
    counts = [
        [
            level,
            tensor,
            *(number(c[kind], 0) for kind in ("reads", "fills", "updates")),
            number(cost.utilized_instances.get(level), 0),
        ]
        for level, tensors in cost.accesses.items()
        for tensor, c in tensors.items()
    ]
    kinds = ["reads (words)", "fills (words)", "updates (words)"]
    tables = [
        Table(["level", "tensor", *kinds, "instances used"], counts, left=frozenset({0, 1})),
        Table(["part", f"energy ({unit})", "share (%)"], energies, ["total", number(cost.energy, 0), "100.0"]),
    ]
    bound = "nothing is proven of it"
    if found.proven_optimal:
        bound = f"proven to have the least {objective} that the dataflow allows"
    elif found.bound is not None:
        limit = f"{found.bound:.6g} {_objective_unit(objective, unit)}"
        bound = f"this mapping has {_value(cost, objective):.6g}, no mapping can have less than {limit}"
    lines = [
        f"{number(cost.cycles, 0)} cycles, bound by {cost.bound_by}; utilisation {number(100 * (cost.utilization or 0), 1)} %; "
        f"DRAM {number(cost.dram_bytes / 1e3, 1)} kB.",
        f"Counts are per instance of a level. Objective {objective}: {bound}.",
        f"Answered by {cost.engine}; dataflow {dataflow}; energies: {cost.energy_source}.",
    ]
    title = f"{cost.layer.name} ({shape_text(cost.layer)}) on {accelerator}\n\n{found.mapping}"
    return Page(title, tables, lines)


def _objective_unit(objective: str, unit: str) -> str:
    return {"energy": unit, "latency": "cycles", "edp": f"{unit} x cycles"}[objective]


def _value(cost: object, objective: str) -> float:
    from hwflow.results import LayerCost

    assert isinstance(cost, LayerCost)
    energy, cycles = cost.energy or 0.0, float(cost.cycles or 0)
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]

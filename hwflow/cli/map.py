"""`hwflow map`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.cli.densities import DensityOption, with_densities
from hwflow.cli.inputs import load_needed_chip, load_network, with_pe_type
from hwflow.layers import DIRECT

if TYPE_CHECKING:
    from hwflow.cli.mapping_page import Neighbour
    from hwflow.cli.output import Texts
    from hwflow.cost.mid import MapResult
    from hwflow.layers import Layer
    from hwflow.progress import Progress


def show_mapping(
    network: args.NetworkArgument,
    *,
    layer: Annotated[str, typer.Option("--layer", metavar="NAME", help="The layer, as 'hwflow estimate' names it.")],
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
    effort: args.EffortOption = 1,
    perfect: args.PerfectOption = False,
    proof: args.ProofOption = "off",
    gap: args.GapOption = 0.001,
    activations: args.ActivationsOption = "dram",
    latency: args.LatencyOption = "overlap",
    execution: args.ExecutionOption = None,
    form: Annotated[str | None, typer.Option("--format", metavar="table|json|markdown", help="Output format.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="map.yaml",
            help="Also write the mapping for timeloop-model; or write the answer to FILE.json, .md or .txt.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            metavar="FILE.json",
            help="Also write a certificate that no mapping with perfect factors is better than a bound, for 'hwflow verify'; "
            "needs --perfect.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do not cost neighbouring channel counts.")] = False,
) -> None:
    """Show the best mapping of one layer at mid: loop nest, bottleneck, accesses per level, and neighbouring widths."""
    from hwflow import cost
    from hwflow.cli.console import interruptible, progress, remark, say
    from hwflow.cli.mapping_page import map_object, map_page
    from hwflow.cli.output import Answer, form_of
    from hwflow.cost.edge_cycles import edges_in
    from hwflow.cost.utilization import Share, shares
    from hwflow.errors import InputError
    from hwflow.hardware.dataflow import constrain

    mapping = output is not None and output.suffix.lower() in (".yaml", ".yml")
    answered = None if mapping else output
    shape = form_of(form, answered, ("table", "json", "markdown"))
    chip = load_needed_chip(accelerator, with_pe_type(changes, pe_type), timeloop_arch, timeloop_constraints)
    net = with_densities(load_network(network, input_shape, batch, bits), density)
    found_layer = net[layer]

    options = cost.CostOptions(
        dataflow=dataflow,
        objective=objective,  # type: ignore[arg-type]
        energy=energy,
        effort=effort,
        ragged=not perfect,
        proof=proof,  # type: ignore[arg-type]
        gap=gap,
        latency=latency,  # type: ignore[arg-type]
    )
    how = args.execution_of(execution)
    whole = replace(options, activations=activations, execution=how)  # type: ignore[arg-type]

    if certificate is not None and whole.whole_network:
        raise InputError("--certificate: it covers a layer by itself; leave --activations out.")

    def ask(one: Layer, certificate: Path | None = None) -> MapResult:
        return cost.map_layer(one, chip, options=options, certificate=certificate, notify=told.append)

    told: list[str] = []
    with interruptible(), progress(f"{found_layer.name} on {chip.label}") as bar:
        if how != DIRECT:
            found_layer = cost.executed_layer(net, found_layer, chip, options=replace(whole, activations="dram"))
        if whole.whole_network:  # as the layer runs in the network; other widths would have another network around them
            found, beside = cost.map_in_network(net, found_layer, chip, options=whole, notify=told.append), []
        else:
            found = ask(found_layer, certificate)
            beside = [] if quick else _neighbours(found_layer, ask, bar or None)
    for text in dict.fromkeys(told):
        say(text)
    bound_by, cycles = found.cost.bound_by or "", found.cost.cycles or 0
    edges = edges_in(found.cost, chip.serving(chip.typed(found_layer))) if latency == "with_fill" else None
    within = cycles - edges.cycles if edges else cycles
    parts = shares(found_layer, chip, constrain(chip, dataflow), found.mapping, within, bound_by)
    if edges:
        parts = (*parts, Share("cycles between edges", "", within, cycles, "the rest fill first tiles and drain last ones"))
    flow = dataflow or chip.dataflow
    texts: Texts = {"json": lambda: map_object(found, chip.label, objective, flow, parts, beside, edges)}
    page = functools.partial(map_page, found, chip.label, objective, flow, parts, beside, edges, perfect=perfect)
    Answer(page, texts).give(shape, answered)
    if mapping:
        assert output is not None
        found.mapping.to_timeloop(output)
        remark(f"wrote {output}")
    if certificate is not None:
        from hwflow.certificate.document import Document
        from hwflow.cli.verify import gap_text

        stated = Document.read(certificate)
        remark(
            f"wrote {certificate}: no mapping with perfect factors has {objective} below {stated.bound:.6g}, "
            f"{gap_text(stated.gap)}"
        )
        remark(f"check it with 'hwflow verify {certificate}'")


def _neighbours(layer: Layer, ask: Callable[[Layer], MapResult], progress: Progress | None) -> list[Neighbour]:
    """Costs of the same layer at neighbouring widths."""
    from hwflow.cli.mapping_page import Neighbour
    from hwflow.cost.utilization import neighbours
    from hwflow.errors import NotMappable

    result: list[Neighbour] = []
    beside = neighbours(layer)
    for dim, other in beside:
        width = f"{dim}={other.dims[dim]}"
        if progress is not None:
            progress(len(result), len(beside), width)
        try:
            cost = ask(other).cost
        except NotMappable:
            cost = None
        result.append(Neighbour(width, other.dims[dim] > layer.dims[dim], cost))
    return result

"""`hwflow search`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.cli import training_options as shared
from hwflow.cli.inputs import load_chip, with_pe_type
from hwflow.cli.prune import seeds_of
from hwflow.cli.training_session import training_session
from hwflow.errors import InputError
from hwflow.metrics import ADDITIVE

_METRICS = (*ADDITIVE, "edp")


def search(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="The largest network of the search: small_mbconv, mobilenet_v2, or package.module:callable.",
            show_default=False,
        ),
    ],
    *,
    data: args.DataOption,
    output: shared.FolderOption,
    accelerator: shared.ChipOption = None,
    timeloop_arch: args.TimeloopArchOption = None,
    timeloop_constraints: args.TimeloopConstraintsOption = None,
    changes: args.SetOption = None,
    pe_type: args.PeTypeOption = None,
    level: Annotated[str, typer.Option("--level", metavar="coarse|mid|fine|ppa", help="Whose costs are followed.")] = "mid",
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="|".join(_METRICS),
            help="The metric of a --budget that is only a share; by default latency, and energy without an accelerator.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            metavar="SHARE",
            help="Share of the largest network's metric: 0.5, or energy=0.5,latency=0.6; none weighs the metric by --strength.",
        ),
    ] = "0.5",
    objective: shared.MappingsOption = None,
    search_epochs: Annotated[
        int | None, typer.Option("--search-epochs", metavar="N", help="Epochs of the search; by default 8.")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength",
            metavar="L",
            help="The factor on the logarithm of the cost, by default 0.1: the least with a budget, the only one without.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", metavar="N", help="Epochs of training the largest network, and the found one; as 'hwflow train'."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="LR", help="Of these trainings, the highest.")
    ] = None,
    seed: Annotated[str, typer.Option("--seed", metavar="S", help="Seed of all that is drawn at random.")] = "0",
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", metavar="FILE", help="Of the largest network, from 'hwflow train'; without them it is trained first."
        ),
    ] = None,
    holdout: args.HoldoutOption = None,
    dataflow: args.DataflowOption = None,
    energy: args.EnergyOption = "auto",
    mapper: args.MapperOption = "hwflow",
    ppa_model: args.PpaModelOption = None,
    extrapolate: args.ExtrapolateOption = False,
    engine: args.EngineOption = None,
    effort: args.EffortOption = 1,
    jobs: args.JobsOption = None,
    device: args.DeviceOption = "auto",
    precision: args.PrecisionOption = "auto",
    threads: args.ThreadsOption = None,
    resume: shared.ResumeOption = False,
) -> None:
    """Find a network by gradient: kernels, expansions and blocks of inverted residuals, under a cost on an accelerator.

    Single-Path NAS: all choices are parts of one network, decided by thresholds that are trained with it. The network that is
    left keeps the budget, is trained from fresh weights, costed at every level and exported.
    """
    from hwflow import pruning
    from hwflow.cli.console import deliver, remark, say
    from hwflow.compression.budget import parse_budgets
    from hwflow.compression.settings import Settings
    from hwflow.compression.single_path.options import SinglePathSettings
    from hwflow.cost.backend import backend_of
    from hwflow.datasets import load_data
    from hwflow.network.load import load_module
    from hwflow.training.recipe import default_recipe

    seeds = seeds_of(seed)
    if len(seeds) > 1:
        raise InputError(f"--seed is {seed!r}; a search has one seed.")
    if metric is None:
        metric = "energy" if accelerator is None and not timeloop_arch else "latency"
    loaded = load_data(data)
    module = load_module(network, num_classes=loaded.classes, in_channels=loaded.input_shape[0])
    given: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate}
    recipe = replace(
        default_recipe(loaded, module),
        device=device,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        seed=seeds[0],
        **{name: value for name, value in given.items() if value is not None},
    )
    own: dict[str, Any] = {"search_epochs": search_epochs, "strength": strength, "from_scratch": True}
    settings = Settings(
        levels=(level,),
        budgets=() if budget.strip().lower() == "none" else parse_budgets(budget, metric),
        metric=metric,
        objective=objective,  # type: ignore[arg-type]
        dataflow=dataflow,
        energy=energy,
        mapper=mapper,  # type: ignore[arg-type]
        ppa_model=None if ppa_model is None else str(ppa_model),
        extrapolate=extrapolate,
        engine=engine,
        effort=effort,
        jobs=args.cores(jobs, mapper),
        seeds=seeds,
        method="singlepath",
        tuning=recipe,
        single_path=SinglePathSettings(**{name: value for name, value in own.items() if value is not None}),
    )
    chip = load_chip(accelerator, with_pe_type(changes, pe_type), timeloop_arch, timeloop_constraints)
    if chip is None and (changes or pe_type or backend_of(level).needs_chip):
        raise InputError("--accelerator (or --timeloop-arch) is missing: only --level coarse does without one.")
    with training_session(f"{network} on {data}", module, loaded, recipe.batch_size, threads, output) as bar:
        result = pruning.prune(
            network,
            loaded,
            chip,
            settings=settings,
            weights=weights,
            training=None if weights else recipe,
            output=output,
            resume=resume,
            holdout=holdout,
            progress=bar,
            notify=say,
        )
    from hwflow.cli.pruning_page import pruned_page

    deliver(pruned_page(result, settings))
    remark(f"wrote {output}")

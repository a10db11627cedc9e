"""`hwflow compress`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.cli import training_options as shared
from hwflow.cli.inputs import load_chip, with_pe_type
from hwflow.cli.method_choice import CurvesOption, chosen_methods, refuse_unused
from hwflow.cli.prune import SEARCHES, seeds_of, usual_policy
from hwflow.cli.training_session import training_session
from hwflow.errors import InputError
from hwflow.metrics import BUDGETS


def compress(
    network: shared.ModuleArgument,
    *,
    data: args.DataOption,
    output: shared.FolderOption,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME[,NAME...]",
            help="A method ('hwflow list methods'), or two together: channels+int8; several are compared in a contest.",
        ),
    ] = None,
    decide: Annotated[
        str | None,
        typer.Option(
            "--decide",
            metavar="channels|bits|bits,channels",
            help="Instead of --method: what a search decides, the channels of groups, the bits of layers, or both together.",
        ),
    ] = None,
    searcher: Annotated[
        str | None,
        typer.Option(
            "--search",
            metavar="NAME",
            help=f"What proposes plans: {', '.join(SEARCHES)}; by default the agent.",
        ),
    ] = None,
    word_bits: Annotated[
        str | None,
        typer.Option(
            "--word-bits",
            metavar="B[,B...]",
            help="The bits to choose from, beside the chip's own width; 2 to 8 each, by default 2,4,8.",
        ),
    ] = None,
    edge_bits: Annotated[
        int | None,
        typer.Option("--edge-bits", metavar="B", help="The least bits of the first and of the last layer; by default 8."),
    ] = None,
    allocate: Annotated[
        str,
        typer.Option(
            "--allocate",
            metavar="uniform|exact|legr|global|FILE",
            help="What chooses how many channels each group keeps, or a plan's file or folder.",
        ),
    ] = "uniform",
    accelerator: shared.ChipOption = None,
    timeloop_arch: args.TimeloopArchOption = None,
    timeloop_constraints: args.TimeloopConstraintsOption = None,
    changes: args.SetOption = None,
    pe_type: args.PeTypeOption = None,
    level: Annotated[str, typer.Option("--level", metavar="coarse|mid|fine|ppa", help="Where the budgets hold.")] = "mid",
    metric: Annotated[
        str, typer.Option("--metric", metavar="|".join(BUDGETS), help="The metric of a --budget that is only a share.")
    ] = "energy",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="SHARE",
            help="Share of the unpruned network's metric: 0.5 (the default), or energy=0.5,latency=0.6; given again, a contest "
            "at each; none for methods that need none.",
        ),
    ] = None,
    objective: shared.MappingsOption = None,
    execution: shared.ExecutionOption = "direct",
    seed: Annotated[
        str,
        typer.Option(
            "--seed", metavar="S[,S...]", help="Seed of the order of samples and of searches; several make a contest."
        ),
    ] = "0",
    weights: shared.WeightsOption = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Epochs of training, before and after the cut together.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="LR", help="The highest learning rate of the schedule.")
    ] = None,
    preparation: Annotated[
        float | None,
        typer.Option("--preparation", metavar="SHARE", help="The share of the epochs before the cut; by default 0.5."),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            "--unit",
            metavar="channel|column",
            help="What is pruned: channels (the default), or columns of the weights as matrices (im2col).",
        ),
    ] = None,
    tile: Annotated[
        int | None, typer.Option("--tile", metavar="2|4", help="winograd...: outputs of a tile on each axis; by default 4.")
    ] = None,
    sparsity: Annotated[
        float | None,
        typer.Option("--sparsity", metavar="SHARE", help="winograd..., sparse: weights that become zero; by default 0.7."),
    ] = None,
    gradient: Annotated[
        str | None,
        typer.Option(
            "--gradient", metavar="spatial|scaled|plain", help="winograd...: how these are trained; by default spatial."
        ),
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option("--thresholds", metavar="position|gradient", help="winograd-native: by what; by default position."),
    ] = None,
    scale_start: Annotated[
        float | None,
        typer.Option("--scale-start", metavar="C", help="srfp, asrfp: the first factor of the filters weakened; by default 1."),
    ] = None,
    scale_law: Annotated[
        str | None,
        typer.Option(
            "--scale-law", metavar="linear|cosine|ratio", help="srfp, asrfp: how this factor falls; by default linear."
        ),
    ] = None,
    ratio_start: Annotated[
        float | None,
        typer.Option(
            "--ratio-start", metavar="P", help="asfp, asrfp: the share of filters zeroed or weakened at first; by default 0."
        ),
    ] = None,
    interval: Annotated[
        int | None,
        typer.Option(
            "--interval", metavar="K", help="greg1, greg2: steps after which regularisation grows again; by default 5."
        ),
    ] = None,
    ramp_steps: Annotated[
        int | None,
        typer.Option("--ramp-steps", metavar="N", help="greg1, greg2, increg: steps during which regularisation grows."),
    ] = None,
    growth: Annotated[
        float | None,
        typer.Option(
            "--growth", metavar="D", help="greg1, greg2: by how much it grows each time; by default computed from the steps."
        ),
    ] = None,
    limit: Annotated[
        float | None, typer.Option("--limit", metavar="L", help="greg1, greg2, increg: the largest regularisation.")
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option("--weight-bits", metavar="N", help="int: bits of weights, 2 to 8; by default 8.")
    ] = None,
    activation_bits: Annotated[
        int | None,
        typer.Option("--activation-bits", metavar="N", help="int, int8, int4: bits of activations, 2 to 8; by default 8."),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            "--scheme", metavar="symmetric|affine", help="int, int8, int4: the range of integers; by default symmetric."
        ),
    ] = None,
    granularity: Annotated[
        str | None,
        typer.Option(
            "--granularity", metavar="channel|tensor", help="int, int8, int4: what has a step of its own; by default channel."
        ),
    ] = None,
    post_training: Annotated[
        bool | None, typer.Option("--post-training", help="int, int8, int4, lightnn1, lightnn2: round, and train no further.")
    ] = None,
    mean_k: Annotated[
        float | None,
        typer.Option("--mean-k", metavar="K", help="flightnn: powers of two a filter on average, at most; by default 1.3."),
    ] = None,
    distribution_loss: Annotated[
        float | None,
        typer.Option("--distribution-loss", metavar="L", help="bnn: the weight of the distribution loss; by default 2."),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", metavar="sgd|adam", help="What trains; by default sgd.")
    ] = None,
    episodes: shared.EpisodesOption = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="N", help="Held-out samples on which a search measures accuracy; by default 500."),
    ] = None,
    holdout: args.HoldoutOption = None,
    round_to: shared.RoundToOption = 8,
    floor: shared.FloorOption = 0.1,
    streams: shared.StreamsOption = False,
    exclude: shared.ExcludeOption = None,
    criterion: args.CriterionOption = "l1",
    dataflow: args.DataflowOption = None,
    energy: args.EnergyOption = "auto",
    mapper: args.MapperOption = "hwflow",
    ppa_model: args.PpaModelOption = None,
    extrapolate: args.ExtrapolateOption = False,
    engine: args.EngineOption = None,
    effort: args.EffortOption = 1,
    activations: args.ActivationsOption = "dram",
    operators: args.OperatorsOption = "mac",
    latency: args.LatencyOption = "overlap",
    jobs: args.JobsOption = None,
    device: args.DeviceOption = "auto",
    precision: args.PrecisionOption = "auto",
    threads: args.ThreadsOption = None,
    resume: shared.ResumeOption = False,
    curves: CurvesOption = None,
) -> None:
    """Compress a network with a method of the literature, or hold a contest between several.

    One method: the folder is that of 'hwflow prune', which is the method agent. Several methods, seeds or budgets, or --curves:
    a contest that also holds uniform pruning, hwflow's search and the small network from scratch, in one folder and report.
    """
    from hwflow import pruning
    from hwflow.cli.console import deliver, remark, say
    from hwflow.compression.accuracy import ProxySettings
    from hwflow.compression.channels.gradual_options import GradualSettings
    from hwflow.compression.fine_tuning import default_tuning
    from hwflow.compression.quantization.options import QuantizationSettings
    from hwflow.compression.registry import method_named
    from hwflow.compression.settings import Settings
    from hwflow.compression.winograd.winograd_options import WinogradSettings
    from hwflow.cost.backend import backend_of
    from hwflow.datasets import load_data
    from hwflow.dynamic.contest_curves import add_curves, check_folders
    from hwflow.network.load import load_module
    from hwflow.training.recipe import default_recipe

    methods = chosen_methods(method, decide)
    quantization = {
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "scheme": scheme,
        "granularity": granularity,
        "post_training": post_training,
        "mean_k": mean_k,
        "distribution_loss": distribution_loss,
    }
    rounding = {f"--{name.replace('_', '-')}": value for name, value in quantization.items()}
    refuse_unused(methods, {"--search": searcher, "--word-bits": word_bits, "--edge-bits": edge_bits, **rounding})
    for name in methods:
        method_named(name)  # an unknown one shows before the data are read
    seeds, budgets = seeds_of(seed), budget or ["0.5"]
    loaded = load_data(data)
    module = load_module(network, num_classes=loaded.classes, in_channels=loaded.input_shape[0])
    tuning: dict[str, Any] = {"device": device, "precision": precision, "seed": seeds[0]}
    tuning |= {} if epochs is None else {"epochs": epochs}
    tuning |= {} if learning_rate is None else {"learning_rate": learning_rate}
    tuning |= {} if optimizer is None else {"optimizer": optimizer}
    gradual = {
        "preparation": preparation,
        "unit": unit,
        "scale_start": scale_start,
        "scale_law": scale_law,
        "ratio_start": ratio_start,
        "interval": interval,
        "ramp_steps": ramp_steps,
        "growth": growth,
        "limit": limit,
    }
    transformed: dict[str, Any] = {"tile": tile, "sparsity": sparsity, "gradient": gradient, "thresholds": thresholds}
    from hwflow.compression.budget import parse_budgets

    several = len(methods) > 1 or len(seeds) > 1 or len(budgets) > 1 or bool(curves)
    if curves:
        check_folders(curves, loaded)
    settings = Settings(
        levels=(level,),
        budgets=() if budgets == ["none"] else parse_budgets(budgets[0], metric),
        metric=metric,
        objective=objective,  # type: ignore[arg-type]
        dataflow=dataflow,
        energy=energy,
        execution=execution,
        mapper=mapper,  # type: ignore[arg-type]
        ppa_model=None if ppa_model is None else str(ppa_model),
        extrapolate=extrapolate,
        engine=engine,
        effort=effort,
        activations=activations,  # type: ignore[arg-type]
        operators=operators,  # type: ignore[arg-type]
        latency=latency,  # type: ignore[arg-type]
        jobs=args.cores(jobs, mapper),
        episodes=300 if episodes is None else episodes,
        seeds=seeds[:1],
        round_to=round_to,
        floor_ratio=floor,
        streams=streams,
        exclude=tuple(args.listed("--exclude", exclude)) if exclude else (),
        criterion=criterion,
        searcher=searcher or "ddpg",
        policy=usual_policy(["agent"] if several else methods, searcher),  # a contest always has the agent in it
        word_bits=(2, 4, 8) if word_bits is None else tuple(args.whole("--word-bits", word_bits)),
        edge_bits=8 if edge_bits is None else edge_bits,
        proxy=ProxySettings() if samples is None else ProxySettings(samples=samples),
        tuning=replace(default_tuning(loaded, module), **tuning),
        winograd=WinogradSettings(**{name: value for name, value in transformed.items() if value is not None}),
        gradual=GradualSettings(**{name: value for name, value in gradual.items() if value is not None}),  # type: ignore[arg-type]
        quantization=QuantizationSettings(**{name: value for name, value in quantization.items() if value is not None}),  # type: ignore[arg-type]
    )
    training = None if weights else replace(default_recipe(loaded, module), device=device, precision=precision)  # type: ignore[arg-type]
    chip = load_chip(accelerator, with_pe_type(changes, pe_type), timeloop_arch, timeloop_constraints)
    if chip is None and (changes or pe_type or backend_of(settings.levels[0]).needs_chip):
        raise InputError("--accelerator (or --timeloop-arch) is missing: only --level coarse does without one.")
    common: dict[str, Any] = {"weights": weights, "training": training, "output": output, "resume": resume, "notify": say}
    common["holdout"] = holdout
    with training_session(
        f"{network} on {data}", module, loaded, default_tuning(loaded, module).batch_size, threads, output
    ) as bar:
        if several:
            contest = pruning.compress_many(
                network,
                loaded,
                chip,
                methods=methods,
                allocate=allocate,
                seeds=seeds,
                budgets=budgets,
                settings=settings,
                progress=bar,
                **common,
            )
            if curves:
                add_curves(output, curves, module, loaded, chip, settings, progress=bar, notify=say)
        else:
            result = pruning.compress(
                network,
                loaded,
                chip,
                method=methods[0],
                allocate=allocate,
                settings=settings,
                progress=bar,
                **common,
            )
    if several:
        from hwflow.cli.contest_page import contest_page

        deliver(contest_page(contest, settings, network))
        remark(f"wrote {output}")
        if contest.failed:
            raise typer.Exit(1)
        return
    from hwflow.cli.pruning_page import pruned_page

    deliver(pruned_page(result, replace(settings, method=methods[0])))
    remark(f"wrote {output}")

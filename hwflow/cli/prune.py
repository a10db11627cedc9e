"""`hwflow prune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.cli import training_options as shared
from hwflow.cli.inputs import load_chip, with_pe_type
from hwflow.cli.training_session import training_session
from hwflow.errors import InputError
from hwflow.metrics import BUDGETS

SEARCHING = ("bits", "channels", "mixed")
"""The methods that search plans, the values of `hwflow.compression.settings.DECIDES`."""

SEARCHES = ("agent", "evolution", "exact", "global", "greedy", "guided", "legr", "model", "random", "uniform")
"""The names of `hwflow.compression.search.registry.SEARCHERS` as users are told of them, which needs no torch."""


def prune(
    network: shared.ModuleArgument,
    *,
    data: args.DataOption,
    output: shared.FolderOption,
    accelerator: shared.ChipOption = None,
    timeloop_arch: args.TimeloopArchOption = None,
    timeloop_constraints: args.TimeloopConstraintsOption = None,
    changes: args.SetOption = None,
    pe_type: args.PeTypeOption = None,
    level: Annotated[
        str | None, typer.Option("--level", metavar="coarse|mid|fine|ppa", help="Where plans are costed; by default mid.")
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(
            "--levels", metavar="LEVEL,LEVEL...", help="Search at the first; rank the best plans again at the others."
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="K",
            help="How many of the best plans go on to the next level and to the final choice; by default 8.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="|".join(BUDGETS),
            help="The metric of a --budget that is only a share; by default energy.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="SHARE",
            help="Share of the unpruned network's metric: 0.5 (the default); energy=0.5,latency=0.6; or none.",
        ),
    ] = None,
    objective: shared.MappingsOption = None,
    execution: shared.ExecutionOption = "direct",
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="How the network is compressed; channels prunes channels.")
    ] = "channels",
    searcher: Annotated[
        str | None,
        typer.Option(
            "--search",
            "--searcher",
            metavar="NAME",
            help=f"What proposes plans: {', '.join(SEARCHES)}; by default the agent (DDPG), from the shipped policy, "
            "in turns with exact.",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="FILE|shipped",
            help="What the agent starts from: a kept policy ('hwflow train-policy'); with --episodes 0 it plans alone. "
            "--search agent without one learns anew.",
        ),
    ] = None,
    baselines: Annotated[
        str | None,
        typer.Option(
            "--baselines",
            metavar="none|quick|all",
            help="What the search is compared with: quick (the default), plans that need no search; all, other searchers, too.",
        ),
    ] = None,
    episodes: shared.EpisodesOption = None,
    seed: Annotated[
        str, typer.Option("--seed", metavar="S[,S...]", help="Seed of the search; several show the spread of the comparison.")
    ] = "0",
    weights: shared.WeightsOption = None,
    plan: Annotated[
        str | None,
        typer.Option("--plan", metavar="uniform|FILE", help="Apply this plan instead of searching for one."),
    ] = None,
    round_to: shared.RoundToOption = 8,
    floor: shared.FloorOption = 0.1,
    streams: shared.StreamsOption = False,
    exclude: shared.ExcludeOption = None,
    criterion: args.CriterionOption = "l1",
    reconstruct: Annotated[
        str,
        typer.Option(
            "--reconstruct",
            metavar="none|plan|search",
            help="Refit layers whose inputs were cut by least squares: of the chosen plan, or of all plans searched, too.",
        ),
    ] = "none",
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="N", help="Held-out samples on which the search measures accuracy; by default 500."),
    ] = None,
    race: Annotated[
        int | None,
        typer.Option(
            "--race",
            metavar="N",
            help="Measure plans on N of these samples first, and on all only if they may be as accurate as the uniform plan.",
        ),
    ] = None,
    holdout: args.HoldoutOption = None,
    epochs: Annotated[int | None, typer.Option("--epochs", metavar="N", help="Epochs of the fine-tuning.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="LR", help="Learning rate of the fine-tuning.")
    ] = None,
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
) -> None:
    """Compress a network to a budget of energy or latency, fine-tune it, and cost the result.

    By default a reinforcement-learning agent chooses the channels that are kept. The folder holds the plan, the compressed
    network, the comparison with baselines, and a report. What is applied is the best plan known, of all seeds and baselines.
    """
    from hwflow import pruning
    from hwflow.cli.console import deliver, remark, say
    from hwflow.compression.accuracy import ProxySettings
    from hwflow.compression.fine_tuning import default_tuning
    from hwflow.compression.registry import method_name
    from hwflow.compression.settings import Settings
    from hwflow.cost.backend import backend_of
    from hwflow.datasets import load_data
    from hwflow.network.load import load_module
    from hwflow.training.recipe import default_recipe

    method = method_name(method)  # an unknown one shows before the data are read
    _refuse_unused(
        method=method,
        metric=metric,
        budget=budget,
        level=level,
        levels=levels,
        keep=keep,
        plan=plan,
        searcher=searcher,
        policy=policy,
        baselines=baselines,
        episodes=episodes,
        samples=samples,
        race=race,
    )
    budget, metric, level = budget or "0.5", metric or "energy", level or "mid"
    loaded = load_data(data)
    module = load_module(network, num_classes=loaded.classes, in_channels=loaded.input_shape[0])
    tuning: dict[str, Any] = {"device": device, "precision": precision, "seed": seeds_of(seed)[0]}
    if epochs is not None:
        tuning["epochs"] = epochs
    if learning_rate is not None:
        tuning["learning_rate"] = learning_rate
    settings = Settings(
        levels=tuple(args.listed("--levels", levels)) if levels else (level,),
        keep=8 if keep is None else keep,
        budgets=_budgets(budget, metric),
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
        method=method,
        searcher=searcher or "ddpg",
        policy=policy if policy or plan else usual_policy([method], searcher),
        baselines=baselines or "quick",  # type: ignore[arg-type]
        episodes=300 if episodes is None else episodes,
        seeds=seeds_of(seed),
        round_to=round_to,
        floor_ratio=floor,
        streams=streams,
        exclude=tuple(args.listed("--exclude", exclude)) if exclude else (),
        proxy=ProxySettings(first=race or 0) if samples is None else ProxySettings(samples=samples, first=race or 0),
        tuning=replace(default_tuning(loaded, module), **tuning),
        criterion=criterion,
        reconstruct=reconstruct,  # type: ignore[arg-type]
    )
    training = None if weights else replace(default_recipe(loaded, module), device=device, precision=precision)  # type: ignore[arg-type]
    chip = load_chip(accelerator, with_pe_type(changes, pe_type), timeloop_arch, timeloop_constraints)
    if chip is None and (changes or pe_type or any(backend_of(name).needs_chip for name in settings.levels)):
        raise InputError("--accelerator (or --timeloop-arch) is missing: only --level coarse does without one.")
    with training_session(
        f"{network} on {data}", module, loaded, default_tuning(loaded, module).batch_size, threads, output
    ) as bar:
        result = pruning.prune(
            network,
            loaded,
            chip,
            settings=settings,
            plan=plan,
            weights=weights,
            training=training,
            output=output,
            resume=resume,
            holdout=holdout,
            progress=bar,
            notify=say,
        )
    from hwflow.cli.pruning_page import pruned_page

    deliver(pruned_page(result, settings))
    remark(f"wrote {output}")


def _refuse_unused(
    *,
    method: str,
    metric: str | None,
    budget: str | None,
    level: str | None,
    levels: str | None,
    keep: int | None,
    plan: str | None,
    searcher: str | None,
    policy: str | None,
    baselines: str | None,
    episodes: int | None,
    samples: int | None,
    race: int | None,
) -> None:
    """Refuse options that another option makes meaningless, because the user expects them to have an effect."""
    if metric is not None and budget is not None and "=" in budget:
        raise InputError(f"--metric {metric} changes nothing beside --budget {budget}, which names its metrics; leave it out.")
    if level is not None and levels is not None:
        raise InputError(f"--level {level} changes nothing beside --levels {levels}, which names all levels; leave it out.")
    compared = {"--search": searcher, "--policy": policy, "--baselines": baselines, "--race": race, "--keep": keep}
    given = [f"{option} {value}" for option, value in compared.items() if value is not None]
    if method not in SEARCHING and given:
        raise InputError(f"{', '.join(given)} changes nothing beside --method {method}, which compares no plans. Leave it out.")
    if plan is None:
        return
    searched: dict[str, int | str | None] = {
        "--search": searcher,
        "--policy": policy,
        "--baselines": baselines,
        "--episodes": episodes,
        "--samples": samples,
        "--race": race,
        "--keep": keep,
    }
    searched |= {} if plan == "uniform" else {"--budget": budget, "--metric": metric}
    given = [f"{option} {value}" for option, value in searched.items() if value is not None]
    if given:
        raise InputError(f"{', '.join(given)} changes nothing beside --plan {plan}: no plan is searched. Leave it out.")


def usual_policy(methods: Sequence[str], searcher: str | None) -> str | None:
    """The policy that the agent starts from where the user names no search: the shipped one."""
    return "shipped" if searcher is None and {"agent", "channels"} & set(methods) else None


_DIGITS = 18  # of a seed, which is below 2^63


def seeds_of(text: str) -> tuple[int, ...]:
    """The value of --seed."""
    parts = args.listed("--seed", text)
    if not all(part.isdecimal() and len(part) <= _DIGITS for part in parts):
        raise InputError(f"--seed is {text!r}; it must be a whole number, or several with commas between them.")
    return tuple(int(part) for part in parts)


def _budgets(text: str, metric: str) -> Any:
    from hwflow.compression.budget import parse_budgets

    return () if text.strip().lower() == "none" else parse_budgets(text, metric)

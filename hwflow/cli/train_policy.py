"""`hwflow train-policy`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.cli import training_options as shared
from hwflow.cli.inputs import load_chips
from hwflow.cli.training_session import training_session
from hwflow.errors import InputError
from hwflow.metrics import BUDGETS

if TYPE_CHECKING:
    from hwflow.cli.console import Page
    from hwflow.compression.search.policy import Policy


def train_policy(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK[=WEIGHTS]...",
            help="Zoo names or package.module:callable, each with a file of weights from 'hwflow train', or trained first.",
            show_default=False,
        ),
    ],
    *,
    data: args.DataOption,
    accelerators: Annotated[
        list[str], typer.Option("--accelerator", "-a", metavar="ACC", help="A preset or a YAML file; may be given again.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder; policy.pt in it is the policy.")],
    budgets: Annotated[
        str | None,
        typer.Option(
            "--budgets", metavar="SHARE,SHARE...", help="Shares of the unpruned network's metric; by default 0.2 to 0.8."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="METRIC,...", help=f"What budgets are of: {', '.join(BUDGETS)}; by default energy."),
    ] = None,
    level: Annotated[
        str | None, typer.Option("--level", metavar="coarse|mid|fine", help="Where plans are costed; by default mid.")
    ] = None,
    plans: Annotated[
        int | None, typer.Option("--plans", metavar="N", help="Plans of each network that are measured; by default 100.")
    ] = None,
    episodes: Annotated[
        int | None, typer.Option("--episodes", metavar="N", help="Episodes that the agent learns from; by default 3000.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", metavar="N", help="Held-out samples on which plans are measured.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Epochs of training, for networks without weights.")
    ] = None,
    seed: shared.SeedOption = 0,
    round_to: shared.RoundToOption = 8,
    floor: shared.FloorOption = 0.1,
    streams: shared.StreamsOption = False,
    criterion: args.CriterionOption = "l1",
    effort: args.EffortOption = 1,
    jobs: args.JobsOption = None,
    threads: args.ThreadsOption = None,
    resume: shared.ResumeOption = False,
) -> None:
    """Train a pruning policy on several networks, accelerators and budgets, for 'hwflow prune --policy'.

    Of each network some plans are measured; a model of these accuracies rewards the agent, so that thousands of episodes take
    minutes. 'hwflow show DIR' prints where a policy comes from.
    """
    from hwflow import pruning
    from hwflow.cli.console import deliver, remark, say
    from hwflow.datasets import load_data
    from hwflow.network.load import load_module
    from hwflow.training.recipe import default_recipe

    sources = _sources(networks)
    given: dict[str, Any] = {
        "budgets": None if budgets is None else tuple(_share(part) for part in args.listed("--budgets", budgets)),
        "metrics": None if metrics is None else tuple(args.listed("--metrics", metrics)),
        "level": level,
        "plans": plans,
        "episodes": episodes,
        "samples": samples,
        "epochs": epochs,
    }
    options = pruning.PolicyOptions(
        **{name: value for name, value in given.items() if value is not None},
        seed=seed,
        round_to=round_to,
        floor_ratio=floor,
        streams=streams,
        criterion=criterion,
        effort=effort,
        jobs=args.cores(jobs),
    )
    chips = load_chips(accelerators, None, None, None)
    loaded = load_data(data)
    first = load_module(networks[0].partition("=")[0], num_classes=loaded.classes, in_channels=loaded.input_shape[0])
    with training_session("training a policy", first, loaded, default_recipe(loaded, first).batch_size, threads, output) as bar:
        policy = pruning.train_policy(
            sources,
            loaded,
            chips,
            output=output,
            options=options,
            resume=resume,
            command=shlex.join(["hwflow", *(part for part in sys.argv[1:] if part != "--resume")]),
            progress=bar,
            notify=say,
        )
    deliver(_page(policy))
    remark(f"wrote {policy.name}")


def _sources(networks: list[str]) -> dict[str, Path | None]:
    """Files of weights by network."""
    found: dict[str, Path | None] = {}
    for text in networks:
        name, equals, weights = text.partition("=")
        if name in found:
            raise InputError(f"the network {name} is named twice; name each once.")
        if equals and not weights:
            raise InputError(f"{text} names no file of weights; write {name}=FILE, or {name} alone to train it first.")
        found[name] = Path(weights) if equals else None
    return found


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--budgets has {text!r}, which is no number; write shares such as 0.2,0.4,0.8.") from None


def _page(policy: Policy) -> Page:
    from hwflow.cli.console import Page, Table, number

    about = policy.about
    rows = [
        [name, str(fit["plans"]), "-" if fit["agreement"] is None else number(fit["agreement"], 2)]
        for name, fit in about["accuracy_models"].items()
    ]
    reached = about["reached"]
    lines = [
        f"Mean reward over {reached['problems']} problems, in standard deviations above random plans within the same budget: "
        f"{number(reached['policy'], 2)} for the policy's plans, {number(reached['uniform'], 2)} for uniform ones, by the "
        "accuracy models.",
        "Agreement is Spearman's rank correlation of measured accuracies with those that a model of the other plans predicts.",
    ]
    table = Table(["accuracy model of", "plans measured", "agreement"], rows, left=frozenset({0}))
    return Page(f"policy for {len(about['networks'])} networks on {', '.join(about['accelerators'])}", [table], lines)

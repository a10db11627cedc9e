"""`hwflow train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwflow.cli import arguments as args
from hwflow.cli import training_options as shared

if TYPE_CHECKING:
    from hwflow.cli.console import Page
    from hwflow.training import History

SeedOption = Annotated[int, typer.Option("--seed", metavar="S", help="Seed of all random numbers.")]


def train(
    network: shared.ModuleArgument,
    *,
    data: args.DataOption,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The file of weights to write.")],
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", metavar="N", help="Passes over the training images; the default depends on the data."),
    ] = None,
    seed: SeedOption = 0,
    batch_size: Annotated[int | None, typer.Option("--batch-size", metavar="N", help="Images per step.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="X", help="The highest learning rate.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option("--patience", metavar="N", help="Stop after N epochs without a better held-out accuracy.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Start from these weights instead of random ones.")
    ] = None,
    device: args.DeviceOption = "auto",
    precision: args.PrecisionOption = "auto",
    threads: args.ThreadsOption = None,
) -> None:
    """Train a network on a data set and write its weights, for 'hwflow prune --weights'.

    A tenth of the training images, at most 5000, is held out; the test images are used once, at the end. A command that was
    killed or interrupted goes on where it was when it is given again, to the same result.
    """
    from hwflow import training
    from hwflow.cli.console import InterruptError, deliver, progress, remark, say
    from hwflow.datasets import load_data
    from hwflow.network.load import load_module
    from hwflow.training.recipe import default_recipe
    from hwflow.training.threads import limited, thread_count

    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "patience": patience}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    changes |= {"seed": seed, "device": device, "precision": precision}
    loaded = load_data(data)
    module = load_module(network, num_classes=loaded.classes, in_channels=loaded.input_shape[0])
    step = default_recipe(loaded, module).batch_size if batch_size is None else batch_size
    chosen = thread_count(module, loaded.input_shape, step, threads)
    say(str(chosen))
    try:
        with limited(chosen.count), progress(f"{network} on {data}") as bar:
            _, history = training.train(network, loaded, weights=weights, output=output, progress=bar, **changes)
    except KeyboardInterrupt:
        raise InterruptError(
            "interrupted. The same command goes on after the last whole epoch, which is kept beside the file of weights "
            f"({output}.checkpoint)."
        ) from None
    deliver(_page(f"{network} on {data}", history))
    remark(f"wrote {output}")


def _page(title: str, history: History) -> Page:
    from hwflow.cli.console import Page, Table, number

    shown = [history.epochs[i] for i in _some(len(history.epochs))]
    rows = [[str(e.number), number(e.loss, 4), number(e.held_loss, 4), number(100 * e.accuracy, 2)] for e in shown]
    table = Table(["epoch", "training loss", "held-out loss", "held-out accuracy (%)"], rows, left=frozenset())
    test = history.test
    assert test is not None
    stopped = f" of epoch {history.kept}, the best held out," if history.kept != len(history.epochs) else ""
    lines = [f"Test accuracy{stopped} {number(100 * test.accuracy, 2)} % on {test.samples:,} images, used this once."]
    if history.resumed_after:
        lines.append(f"Continued after epoch {history.resumed_after}, from the checkpoint of an earlier run.")
    lines.append(f"{number(history.seconds, 1)} s of training.")
    return Page(title, [table], lines)


def _some(count: int, most: int = 10) -> list[int]:
    """Indices of the first, the last, and some evenly spaced in between."""
    return list(range(count)) if count <= most else sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})

"""`hwflow list`, `hwflow cache` and `hwflow doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

cache = typer.Typer(help="Where results are kept, and how many.", no_args_is_help=True, rich_markup_mode=None)

_LISTS = ("networks", "accelerators", "dataflows", "datasets")


def listing(
    what: Annotated[
        str,
        typer.Argument(metavar="networks|accelerators|dataflows|datasets", help="What to list.", show_default=False),
    ],
    form: Annotated[str, typer.Option("--format", metavar="table|json", help="How to print.")] = "table",
) -> None:
    """What hwflow knows by name."""
    from hwflow.cli.arguments import chosen
    from hwflow.cli.console import deliver_text
    from hwflow.errors import not_found

    chosen("--format", form, ("table", "json"))
    if what not in _LISTS:
        raise not_found("list", what, _LISTS)
    lists = {"networks": _networks, "accelerators": _accelerators, "dataflows": _dataflows, "datasets": _datasets}
    entries = lists[what]()
    if form == "json":
        deliver_text(json.dumps(entries, indent=2) + "\n")
        return
    width = max(len(name) for name in entries)
    deliver_text("".join(f"{name.ljust(width)}  {text}\n" for name, text in entries.items()))


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset or a dataflow ('hwflow list').", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.yaml", help="Write to FILE, not to the screen.")
    ] = None,
) -> None:
    """The YAML of a preset or a dataflow, to copy and change."""
    from hwflow.cli.console import deliver_text
    from hwflow.errors import not_found
    from hwflow.files import read_text
    from hwflow.hardware.accelerator import presets
    from hwflow.hardware.dataflow import dataflows

    files = {**dataflows(), **presets()}
    if name not in files:
        raise not_found("preset or dataflow", name, files)
    deliver_text(read_text(files[name], name), output)


@cache.command("info")
def cache_info() -> None:
    """Path, size and number of results by kind."""
    from hwflow.cli.console import deliver_text, say
    from hwflow.store import Store

    store = Store()
    info = store.info()
    store.close()
    lines = [
        f"path      {info.path}",
        f"size      {info.size_bytes / 1e3:,.1f} kB",
        f"writable  {'yes' if info.writable else 'no'}",
    ]
    lines += [f"{kind.ljust(8)}  {count:,} results" for kind, count in info.entries.items()]
    if not info.entries:
        lines.append("empty")
    deliver_text("\n".join(lines) + "\n")
    for notice in store.notices:
        say(notice)


@cache.command("clear")
def cache_clear() -> None:
    """Remove all results."""
    from hwflow.cli.console import deliver_text
    from hwflow.store import Store

    store = Store()
    removed = store.clear()
    deliver_text(f"removed {removed:,} results from {store.path}\n")
    store.close()


def examine(
    quick: Annotated[bool, typer.Option("--quick", help="Do not run Accelergy on the presets.")] = False,
) -> None:
    """What is installed, what answers for each preset, what is missing, and the one next command."""
    from hwflow.cli import installation
    from hwflow.cli.console import deliver_text, interruptible

    with interruptible():
        deliver_text(installation.examine(live=not quick).text())


def _networks() -> dict[str, str]:
    from hwflow.network.model_zoo import ZOO

    return {
        name: f"{entry.description}; input {'x'.join(map(str, entry.input_shape))}, {entry.num_classes} classes"
        for name, entry in ZOO.items()
    }


def _accelerators() -> dict[str, str]:
    from hwflow.hardware.accelerator import presets

    return {name: _described(path) for name, path in presets().items()}


def _dataflows() -> dict[str, str]:
    from hwflow.hardware.dataflow import dataflows

    return {name: _described(path) for name, path in dataflows().items()}


def _datasets() -> dict[str, str]:
    from hwflow.datasets import DATASETS

    return DATASETS


def _described(path: Path) -> str:
    """The description alone: checking a whole file is the business of whoever uses it."""
    from hwflow.files import read_yaml

    return str(read_yaml(path, path.stem).get("description", ""))

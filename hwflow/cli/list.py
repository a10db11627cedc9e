"""`hwflow list`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.cli.inputs import load_network

_LISTS = ("networks", "accelerators", "pe-types", "dataflows", "datasets", "methods", "points")
_OPERATIONS = "operations"


def listing(
    what: Annotated[
        str,
        typer.Argument(
            metavar="networks|accelerators|pe-types|dataflows|datasets|methods|points|operations",
            help="What to list; operations are those of NETWORK, in the order of execution that hwflow assumes.",
            show_default=False,
        ),
    ],
    network: Annotated[
        str | None,
        typer.Argument(metavar="[NETWORK]", help="For operations: a network as estimate takes it.", show_default=False),
    ] = None,
    inputs: args.InputOption = None,
    form: Annotated[str, typer.Option("--format", metavar="table|json", help="Output format.")] = "table",
) -> None:
    """List what hwflow knows by name (networks, accelerators, PE types, dataflows, data sets, compression methods, operating
    points), or the operations of a network."""
    from hwflow.cli.console import deliver_text
    from hwflow.cli.operation_order import operations_text
    from hwflow.errors import InputError, not_found

    args.chosen("--format", form, ("table", "json"))
    if what not in (*_LISTS, _OPERATIONS):
        raise not_found("list", what, (*_LISTS, _OPERATIONS))
    if (network is not None) != (what == _OPERATIONS):
        raise InputError(
            f"'hwflow list {what}' takes no network; leave {network} out."
            if network is not None
            else "NETWORK is missing: 'hwflow list operations NETWORK' lists the operations of a network, such as resnet20."
        )
    if inputs and network is None:
        raise InputError(f"--input is the shape of a network's input, and 'hwflow list {what}' reads no network; leave it out.")
    if network is not None:
        deliver_text(operations_text(load_network(network, inputs, None, None), form))
        return
    lists = {
        "networks": _networks,
        "accelerators": _accelerators,
        "pe-types": _pe_types,
        "dataflows": _dataflows,
        "datasets": _datasets,
        "methods": _methods,
        "points": _points,
    }
    entries = lists[what]()
    if form == "json":
        deliver_text(json.dumps(entries, indent=2) + "\n")
        return
    width = max(len(name) for name in entries)
    deliver_text("".join(f"{name.ljust(width)}  {text}\n" for name, text in entries.items()))


def _networks() -> dict[str, str]:
    from hwflow.network.model_zoo import ZOO

    return {
        name: f"{entry.description}; input {'x'.join(map(str, entry.input_shape))}, {entry.num_classes} classes"
        for name, entry in ZOO.items()
    }


def _accelerators() -> dict[str, str]:
    from hwflow.hardware.accelerator import presets

    return {name: _described(path) for name, path in presets().items()}


def _pe_types() -> dict[str, str]:
    from hwflow.hardware.pe_types import PE_TYPES

    return {name: entry.description for name, entry in PE_TYPES.items()}


def _dataflows() -> dict[str, str]:
    from hwflow.hardware.dataflow import dataflows

    return {name: _described(path) for name, path in dataflows().items()}


def _datasets() -> dict[str, str]:
    from hwflow.datasets import DATASETS

    return DATASETS


def _methods() -> dict[str, str]:
    from hwflow.pruning import METHODS, Method

    def line(method: Method) -> str:
        needs = "" if method.needs == Method.needs else f"; the chip needs {method.needs}"
        return f"{method.about}{needs}{f' ({method.source})' if method.source else ''}"

    return {name: line(method()) for name, method in METHODS.items()}


def _points() -> dict[str, str]:
    from hwflow.dynamic.operating_points import presets

    return {name: _described(path) for name, path in presets().items()}


def _described(path: Path) -> str:
    """The description only; the rest of the file is validated when it is used."""
    from hwflow.files import read_yaml

    return str(read_yaml(path, path.stem).get("description", ""))

"""What a network that was compressed before costs as it is given, to be compressed once more.

Its zeros and executions count in what it costs before, and so in what budgets are shares of. Methods see its structure alone:
training fills zeros again unless a method holds them, so what is left of them is counted in the network that comes out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from hwflow.compression.budget import rescaled
from hwflow.compression.method import Compressed, Task
from hwflow.compression.quantization.quantized_layers import quantized
from hwflow.compression.recorded_rows import RecordedRows
from hwflow.compression.winograd.winograd_method import products, tiles_of
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.network.densities import living_densities
from hwflow.network.from_torch import Rows, rows_of

_NAMED = 3


def given_rows(model: nn.Module) -> Rows | None:
    """How the rows of a network run, with the zeros that its weights have now; None where no run compressed it."""
    rows = rows_of(model)
    if isinstance(rows, RecordedRows) and rows.densities:
        return replace(rows, densities=zeros_left(model))
    return rows


def refuse_codes(model: nn.Module, name: str) -> None:
    """Refuse a network with quantized layers: every method trains, and training moves coded weights off their codes.

    Raises:
        InputError: naming layers, and what to do instead.
    """
    names = [module for module, _ in quantized(model)]
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise InputError(
            f"{name} has quantized layers ({', '.join(names[:_NAMED])}{more}), whose codes another training would lose. "
            "Quantize last: compress the network from before its quantization, then quantize the result, or do both in one "
            "run (channels+int8)."
        )


def given_network(task: Task) -> Network:
    """What the network of a task costs before it is compressed: its rows as they were given."""
    network = Network.from_torch(task.model, task.input_shape, name=task.name)
    return network if task.given is None else task.given(network)


def with_structural_budgets(task: Task) -> Task:
    """The task for a method, which compares plans with the network as its structure alone runs: budgets as shares of that."""
    if task.given is None or not task.budgets:
        return task
    level = task.settings.levels[-1]
    structure = Network.from_torch(task.model, task.input_shape, name=task.name)
    as_given = given_network(task)
    if as_given == structure:
        return task
    old, new = (task.costs.at(network, level).to_dict()["totals"] for network in (as_given, structure))
    budgets = tuple(rescaled(budget, old, new) for budget in task.budgets)
    return replace(task, settings=replace(task.settings, budgets=budgets))


@contextlib.contextmanager
def budgets_explained(asked: Task, passed: Task) -> Iterator[None]:
    """Refusals of a method with the budgets that were asked for, where it was passed others."""
    try:
        yield
    except InputError as error:
        if asked.budgets == passed.budgets:
            raise
        shares = ", ".join(f"{own} is {other.share:.3g}" for own, other in zip(asked.budgets, passed.budgets, strict=True))
        raise InputError(
            f"{error} (Budgets are shares of the network as it was given, compressed before: {shares} of its structure without "
            "zeros.)"
        ) from None


def with_what_is_left(task: Task, found: Compressed) -> Compressed:
    """With the Winograd products and the zeros that were given and are still there, of which the method says nothing."""
    if task.given is None:
        return found
    if tiles := tiles_of(found.model):
        network = Network.from_torch(found.model, task.input_shape)
        found = replace(found, executions={**products(network, tiles), **found.executions})
    return replace(found, densities=zeros_left(found.model)) if had_zeros(task.given) and not found.densities else found


def had_zeros(rows: Rows | None) -> bool:
    """Whether a network that was compressed before has zero weights that are counted; those of quantized weights are not."""
    return isinstance(rows, RecordedRows) and bool(rows.densities)


def zeros_left(model: nn.Module) -> Mapping[str, Mapping[str, Any]]:
    """Densities of the modules that have zero weights."""
    return {name: shares for name, shares in living_densities(model).items() if shares["weights"] < 1}


__all__ = [
    "budgets_explained",
    "given_network",
    "given_rows",
    "had_zeros",
    "refuse_codes",
    "with_structural_budgets",
    "with_what_is_left",
    "zeros_left",
]

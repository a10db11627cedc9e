"""The compression methods by name; one line registers another one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

from hwflow.compression.allocation import ALLOCATIONS
from hwflow.compression.channels.gradual import PREPARATIONS, GradualPruning
from hwflow.compression.channels.planned import AllocatedOneShot, FromScratch, OneShot
from hwflow.compression.channels.pruning import ChannelPruning
from hwflow.compression.channels.torch_pruning_guests import Guest, TorchPruningGuest
from hwflow.compression.method import Method
from hwflow.compression.quantization.quantized import FORMATS, Quantization
from hwflow.errors import not_found

METHODS: dict[str, Callable[[], Method]] = {
    "channels": ChannelPruning,
    "l1": OneShot,
    **{name: partial(AllocatedOneShot, name) for name in ALLOCATIONS if name != "uniform"},
    **{name: partial(GradualPruning, name) for name in PREPARATIONS},
    "scratch": FromScratch,
    **{name: partial(Quantization, name) for name in FORMATS},
    **{name: partial(TorchPruningGuest, name) for name in get_args(Guest)},
}


ALIASES = {"agent": "channels"}
"""Other names that users know methods by."""


def method_name(name: str) -> str:
    """The name in `METHODS` for what a user asks for.

    Raises:
        InputError: where there is no such method, listing those that there are.
    """
    found = ALIASES.get(name, name)
    if found not in METHODS:
        raise not_found("method", name, (*ALIASES, *METHODS))
    return found


def method_named(name: str) -> Method:
    """A new instance of a method.

    Raises:
        InputError: as `method_name`.
    """
    return METHODS[method_name(name)]()


__all__ = ["ALIASES", "METHODS", "method_name", "method_named"]

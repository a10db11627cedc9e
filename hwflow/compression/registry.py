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
from hwflow.compression.virtual_pooling import VirtualPooling
from hwflow.compression.winograd.winograd_pruning import VARIANTS, WinogradPruning
from hwflow.errors import not_found

METHODS: dict[str, Callable[[], Method]] = {
    "channels": ChannelPruning,
    "l1": OneShot,
    **{name: partial(AllocatedOneShot, name) for name in ALLOCATIONS if name != "uniform"},
    **{name: partial(GradualPruning, name) for name in PREPARATIONS},
    "scratch": FromScratch,
    **{name: partial(Quantization, name) for name in FORMATS},
    "vip": VirtualPooling,
    **{name: partial(WinogradPruning, name) for name in VARIANTS},
    **{name: partial(TorchPruningGuest, name) for name in get_args(Guest)},
}


def method_named(name: str) -> Method:
    """A new instance of a method.

    Raises:
        InputError: for an unknown name, listing those that there are.
    """
    if name not in METHODS:
        raise not_found("method", name, METHODS)
    return METHODS[name]()


__all__ = ["METHODS", "method_named"]

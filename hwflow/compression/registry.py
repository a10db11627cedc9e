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
from hwflow.compression.combination import Combination
from hwflow.compression.method import Method
from hwflow.compression.quantization.binary import BinaryNetwork
from hwflow.compression.quantization.flightnn import FlightNN
from hwflow.compression.quantization.mixed_precision import MixedPrecision
from hwflow.compression.quantization.quantized import FORMATS, Quantization
from hwflow.compression.single_path.channel_thresholds import ChannelThresholds
from hwflow.compression.single_path.single_path import SinglePath
from hwflow.compression.sparse_weights import SparseWeights
from hwflow.compression.virtual_pooling import VirtualPooling
from hwflow.compression.winograd.winograd_method import VARIANTS, WinogradPruning
from hwflow.errors import InputError, not_found

METHODS: dict[str, Callable[[], Method]] = {
    "channels": ChannelPruning,
    "bits": partial(MixedPrecision, "bits"),
    "mixed": partial(MixedPrecision, "mixed"),
    "l1": OneShot,
    **{name: partial(AllocatedOneShot, name) for name in ALLOCATIONS if name != "uniform"},
    **{name: partial(GradualPruning, name) for name in PREPARATIONS},
    "thresholds": ChannelThresholds,
    "scratch": FromScratch,
    **{name: partial(Quantization, name) for name in FORMATS},
    "flightnn": FlightNN,
    "bnn": BinaryNetwork,
    "vip": VirtualPooling,
    "singlepath": SinglePath,
    "sparse": SparseWeights,
    **{name: partial(WinogradPruning, name) for name in VARIANTS},
    **{name: partial(TorchPruningGuest, name) for name in get_args(Guest)},
}


QUANTIZING = (*FORMATS, "flightnn", "bnn")
"""Those that can follow one that prunes channels: `channels+int8`."""
_PRUNING = (ChannelPruning, OneShot, GradualPruning, TorchPruningGuest)

ALIASES = {"agent": "channels"}
"""Other names that users know methods by."""


def method_name(name: str) -> str:
    """The names in `METHODS` for what a user asks for, one, or two with a + between them.

    Raises:
        InputError: where there is no such method, listing those that there are.
    """
    found = [ALIASES.get(part, part) for part in name.split("+")]
    for part in found:
        if part not in METHODS:
            raise not_found("method", part, (*ALIASES, *METHODS))
    return "+".join(found)


def method_named(name: str) -> Method:
    """A new instance of a method, or of two: one that prunes channels, and one that quantizes, with a + between their names.

    Raises:
        InputError: for an unknown name, listing those that there are, and for two that do not go together.
    """
    first, *others = (METHODS[one]() for one in method_name(name).split("+"))
    if not others:
        return first
    prunes = isinstance(first, _PRUNING) and not isinstance(first, MixedPrecision)
    if len(others) > 1 or not prunes or not isinstance(others[0], Quantization):
        raise InputError(
            f"the method {name!r} is no method that prunes channels and one that quantizes, in this order; behind the + "
            f"can be {', '.join(QUANTIZING)}."
        )
    return Combination(first, others[0])


__all__ = ["ALIASES", "METHODS", "QUANTIZING", "method_name", "method_named"]

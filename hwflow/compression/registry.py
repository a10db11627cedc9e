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
from hwflow.compression.virtual_pooling import VirtualPooling
from hwflow.compression.winograd.pruning import VARIANTS, WinogradPruning
from hwflow.errors import InputError, not_found

METHODS: dict[str, Callable[[], Method]] = {
    "channels": ChannelPruning,
    "bits": partial(MixedPrecision, "bits"),
    "mixed": partial(MixedPrecision, "mixed"),
    "l1": OneShot,
    **{name: partial(AllocatedOneShot, name) for name in ALLOCATIONS if name != "uniform"},
    **{name: partial(GradualPruning, name) for name in PREPARATIONS},
    "scratch": FromScratch,
    **{name: partial(Quantization, name) for name in FORMATS},
    "flightnn": FlightNN,
    "bnn": BinaryNetwork,
    "vip": VirtualPooling,
    **{name: partial(WinogradPruning, name) for name in VARIANTS},
    **{name: partial(TorchPruningGuest, name) for name in get_args(Guest)},
}


QUANTIZING = (*FORMATS, "flightnn", "bnn")
"""Those that can follow one that prunes channels: `channels+int8`."""
_PRUNING = (ChannelPruning, OneShot, GradualPruning, TorchPruningGuest)


def method_named(name: str) -> Method:
    """A new instance of a method, or of two: one that prunes channels, and one that quantizes, with a + between their names.

    Raises:
        InputError: for an unknown name, listing those that there are, and for two that do not go together.
    """
    names = name.split("+")
    for one in names:
        if one not in METHODS:
            raise not_found("method", one, METHODS)
    first, *others = (METHODS[one]() for one in names)
    if not others:
        return first
    prunes = isinstance(first, _PRUNING) and not isinstance(first, MixedPrecision)
    if len(others) > 1 or not prunes or not isinstance(others[0], Quantization):
        raise InputError(
            f"the method {name!r} is no method that prunes channels and one that quantizes, in this order; behind the + "
            f"can be {', '.join(QUANTIZING)}."
        )
    return Combination(first, others[0])


__all__ = ["METHODS", "QUANTIZING", "method_named"]

"""The compression methods by name; one line registers another one."""

from __future__ import annotations

from collections.abc import Callable

from hwflow.compression.channels.pruning import ChannelPruning
from hwflow.compression.method import Method
from hwflow.errors import not_found

METHODS: dict[str, Callable[[], Method]] = {"channels": ChannelPruning}


def method_named(name: str) -> Method:
    """A new instance of a method.

    Raises:
        InputError: for an unknown name, listing those that there are.
    """
    if name not in METHODS:
        raise not_found("method", name, METHODS)
    return METHODS[name]()


__all__ = ["METHODS", "method_named"]

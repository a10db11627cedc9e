"""`--density`: the shares of nonzero elements, on the command line or in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwflow.errors import InputError, shown

if TYPE_CHECKING:
    from hwflow.network import Network

DensityOption = Annotated[
    str | None,
    typer.Option(
        "--density",
        metavar="TENSOR=SHARE[,...]|FILE",
        help="The share of elements that are not zero: weights=0.4,inputs=0.5 for all layers, or a YAML file with those of "
        "each. It counts on a chip that saves zeros (its sparsity).",
    ),
]


def with_densities(network: Network, given: str | None) -> Network:
    """The network with the densities of `--density`."""
    if given is None:
        return network
    from hwflow.network.densities import REST, read_densities

    shares: Mapping[str, Any] = read_densities(given) if given.endswith((".yaml", ".yml")) else {REST: _shares(given)}
    return network.with_densities(shares)


def _shares(text: str) -> dict[str, float]:
    """`weights=0.4,inputs=0.5` as a mapping."""
    found = {}
    for part in text.split(","):
        tensor, equals, share = part.partition("=")
        try:
            found[tensor.strip()] = float(share)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(
                f"--density is {shown(text)}; it must be shares of nonzero elements, such as weights=0.4,inputs=0.5, or a YAML "
                "file."
            )
    return found


__all__ = ["DensityOption", "with_densities"]

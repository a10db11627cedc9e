"""`--density`: the shares of nonzero elements, on the command line or in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

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
    """The network with the densities of `--density`; says which layers keep their own."""
    if given is None:
        return network
    from hwflow.cli.console import say
    from hwflow.network.densities import given_densities

    if own := network.own_densities:
        say(f"--density {given} counts for layers without densities of their own; {own} of {len(network)} have some.")

    return network.with_densities(given_densities(given, "--density"))


__all__ = ["DensityOption", "with_densities"]

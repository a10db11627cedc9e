"""What a compressed network carries, so that it can be costed as it runs wherever it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hwflow.compression.method import running
from hwflow.compression.registry import method_named
from hwflow.compression.winograd.winograd_method import products
from hwflow.layers import Bits
from hwflow.network import Network


@dataclass(frozen=True)
class RecordedRows:
    """The rows of a compressed network as they run, for `hwflow.network.from_torch.record_rows`.

    Attributes:
        method: the name of the one that says how they run; a name alone, so that the network can be copied and pickled.
        plan: of the network.
        bits: word widths by row, where the run stated them.
        densities: of weights by module, of methods that leave zeros.
        tiles: of Winograd layers that another method made before, outputs of a tile on each axis by module.
    """

    method: str
    plan: Mapping[str, int]
    bits: Mapping[str, Bits]
    densities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tiles: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, network: Network) -> Network:
        """With their word widths and zeros, and as they run."""
        network = running(network, self.bits, products(network, self.tiles), self.densities)
        return method_named(self.method).costed(network, self.plan)


__all__ = ["RecordedRows"]

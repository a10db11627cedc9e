"""What a compressed network carries, so that it can be costed as it runs wherever it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwflow.compression.method import running
from hwflow.compression.registry import method_named
from hwflow.layers import Bits
from hwflow.network import Network


@dataclass(frozen=True)
class RecordedRows:
    """The rows of a compressed network as they run, for `hwflow.network.from_torch.record_rows`.

    Attributes:
        method: the name of the one that says how they run; a name alone, so that the network can be copied and pickled.
        plan: of the network.
        bits: word widths by row, where the run stated them.
    """

    method: str
    plan: Mapping[str, int]
    bits: Mapping[str, Bits]

    def __call__(self, network: Network) -> Network:
        """With their word widths, and as they run."""
        return method_named(self.method).costed(running(network, self.bits, {}), self.plan)


__all__ = ["RecordedRows"]

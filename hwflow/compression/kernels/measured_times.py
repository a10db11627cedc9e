"""`MeasuredTimes`: CPU time of a network before and after its compression, beside what an accelerator is modelled to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from hwflow.compression.kernels.cpu_time import CpuTime, cpu_times
from hwflow.compression.kernels.layer_choice import LayerExecution, execute
from hwflow.network.replica import replica

_ROUNDS = 9
_AT_MOST_S = 2.0  # of timing whole networks


@dataclass(frozen=True)
class MeasuredTimes:
    """CPU time of one image in one thread on the machine of the run.

    Attributes:
        networks: `before`, the uncompressed one; `dense`, the compressed one as it was trained; `executed`, with each layer as
            it runs fastest.
        layers: how those with zeros run, and what was timed.
    """

    networks: Mapping[str, CpuTime]
    layers: tuple[LayerExecution, ...]

    @property
    def share(self) -> float:
        """Time of the compressed network, as it runs fastest, over that of the uncompressed one: of the least times."""
        return self.networks["executed"].least_s / self.networks["before"].least_s

    def to_data(self) -> dict[str, Any]:
        """Plain data, in seconds."""
        return {
            "threads": 1,
            "images": 1,
            "networks": {name: _plain(found) for name, found in self.networks.items()},
            "layers": [
                {
                    "name": layer.name,
                    "way": layer.way,
                    "library": layer.library,
                    "zeros": layer.zeros,
                    "times": {label: _plain(found) for label, found in layer.times.items()},
                }
                for layer in self.layers
            ],
        }

    def __str__(self) -> str:
        named = {"before": "before", "dense": "compressed, with all weights", "executed": "with each layer as it runs fastest"}
        told = ", ".join(f"{self.networks[name]} {words}" for name, words in named.items())
        ways: dict[str, list[str]] = {}
        for layer in self.layers:
            how = f"{layer.way} by {layer.library}" if layer.library and layer.way != "direct" else layer.way
            ways.setdefault(how, []).append(layer.name)
        layers = "; ".join(f"{how}: {', '.join(names)}" for how, names in ways.items())
        return f"{told}, which is {self.share:.2f} of the time before ({layers})"


def measured(before: nn.Module, after: nn.Module, input_shape: Sequence[int]) -> MeasuredTimes:
    """Both networks with one image each round, in turn.

    Args:
        input_shape: (1, C, H, W).
    """
    images = torch.randn(*input_shape, generator=torch.Generator().manual_seed(0))
    executed = execute(after, images)
    networks = {"before": replica(before), "dense": replica(after), "executed": executed.model}
    calls = {name: partial(model.cpu().eval(), images) for name, model in networks.items()}
    return MeasuredTimes(cpu_times(calls, rounds=_ROUNDS, at_most_s=_AT_MOST_S), executed.layers)


def _plain(found: CpuTime) -> dict[str, float]:
    return {"least_s": found.least_s, "median_s": found.median_s}


__all__ = ["MeasuredTimes", "measured"]

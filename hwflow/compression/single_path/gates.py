# mypy: allow-subclassing-any
"""`GatedNetwork`: a network whose decisions are gates, which open where a norm of weights exceeds a trained threshold.

D. Stamoulis et al., "Single-Path NAS", ECML PKDD 2019, arXiv:1904.02877 and 1907.00959. All that can be chosen is a part of one
network: the ring around the 3 x 3 weights of a 5 x 5 kernel, half of a block's channels, a whole block. For each part

    d = [ ||w|| / ||w_0|| > t ]

with the norm of its weights, that norm when the search begins, and a threshold t that is trained from 0; backwards the step has
the derivative of the sigmoid. Ours: norms are relative, because initialisation alone makes them differ tenfold from layer to
layer, and the sigmoid's derivative vanishes far from 0; and d multiplies what a part gives (weights of a kernel, scale and
shift of a normalization) instead of its weights, so that what remains computes what the network without the part computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Variable
from hwflow.network.replica import replica

_LEAST = 1e-12  # of a norm: weights may be zero from the start


class _Step(torch.autograd.Function):
    """1 above 0; backwards, the derivative of the sigmoid."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return (values > 0).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        soft = torch.sigmoid(values)
        return grads[0] * soft * (1 - soft)


def step(values: Tensor) -> Tensor:
    """1 where a value is above 0, else 0; differentiated as the sigmoid."""
    return cast("Tensor", _Step.apply(values))


@dataclass(frozen=True)
class Region:
    """Elements of a parameter.

    Attributes:
        parameter: its name.
        inside: 1 for each element that is meant and 0 for the others, in a shape that broadcasts to the parameter's.
    """

    parameter: str
    inside: Tensor


@dataclass(frozen=True)
class Gate:
    """What one option of a decision has more than the option before.

    Attributes:
        measured: the weights whose norm is compared with the threshold.
        multiplied: what becomes zero where the gate is closed.
    """

    measured: tuple[Region, ...]
    multiplied: tuple[Region, ...]


@dataclass(frozen=True)
class GatedDecision:
    """A decision, and a gate for each of its options but the first. A gate counts where those before it are open."""

    variable: Variable
    gates: tuple[Gate, ...]


class GatedNetwork(nn.Module):
    """A network with gates; the given one, `inner`, is copied, and has all weights.

    Gates are looked at in their order, each on weights that those before have left.

    Args:
        dropout: how often a gate is closed at random in training mode; change it by setting the attribute.

    Attributes:
        thresholds: t of each gate, trained.
        first: ||w_0|| of each gate.
    """

    def __init__(self, model: nn.Module, decisions: Sequence[GatedDecision], dropout: float = 0.0) -> None:
        super().__init__()
        self.inner, self.decisions, self.dropout = replica(model), tuple(decisions), dropout
        self.thresholds = nn.Parameter(torch.zeros(sum(len(one.gates) for one in decisions)))
        parameters = dict(self.inner.named_parameters())
        number = 0
        for one in self.decisions:
            for gate in one.gates:
                for kind, regions in (("measured", gate.measured), ("multiplied", gate.multiplied)):
                    for place, region in enumerate(regions):
                        inside = region.inside.to(parameters[region.parameter].dtype)
                        self.register_buffer(f"{kind}_{number}_{place}", inside, persistent=False)
                number += 1
        self.first: Tensor
        self.register_buffer("first", torch.ones(number))
        with torch.no_grad():
            self.first.copy_(self.norms().clamp(min=_LEAST))

    def forward(self, images: Tensor) -> Tensor:
        """What the network gives, without the parts whose gates are closed."""
        values, _, _ = self._evaluated(self.dropout if self.training else 0.0)
        found: Tensor = functional_call(self.inner, values, (images,))
        return found

    def left(self) -> dict[str, Tensor]:
        """The parameters of `inner` with zeros where gates are closed."""
        return self._evaluated(0.0)[0]

    def indicators(self) -> Tensor:
        """d of each gate, 0 or 1; differentiable by the thresholds and by the weights."""
        return torch.stack(self._evaluated(0.0)[1])

    def norms(self) -> Tensor:
        """||w|| / ||w_0|| of each gate, w being the weights that gates before it leave; differentiable."""
        return torch.stack(self._evaluated(0.0)[2])

    def extra_repr(self) -> str:
        """The decisions, which tell one gated network from another."""
        return "; ".join(f"{one.variable.name}: {one.variable.widths}" for one in self.decisions)

    def _evaluated(self, dropout: float) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """The parameters that are left, and indicator and norm of each gate."""
        values: dict[str, Tensor] = dict(self.inner.named_parameters())
        indicators: list[Tensor] = []
        norms: list[Tensor] = []
        for one in self.decisions:
            open_: Tensor | None = None
            for gate in one.gates:
                number = len(norms)
                norms.append(self._norm(number, gate, values))
                indicators.append(step(norms[-1] - self.thresholds[number]))
                open_ = indicators[-1] if open_ is None else open_ * indicators[-1]
                if dropout and torch.rand(()) < dropout:  # closed, but still told by the loss what it would be worth
                    open_ = open_ - open_.detach()
                for place, region in enumerate(gate.multiplied):
                    inside = getattr(self, f"multiplied_{number}_{place}")
                    values[region.parameter] = values[region.parameter] * (1 + inside * (open_ - 1))
        return values, indicators, norms

    def _norm(self, number: int, gate: Gate, values: dict[str, Tensor]) -> Tensor:
        parts = [
            torch.linalg.vector_norm(values[region.parameter] * getattr(self, f"measured_{number}_{place}"))
            for place, region in enumerate(gate.measured)
        ]
        whole = parts[0] if len(parts) == 1 else torch.linalg.vector_norm(torch.stack(parts))
        return whole / self.first[number]


def widths_of(variables: Sequence[Variable], gates: Sequence[float] | Sequence[bool]) -> Widths:
    """The options that gates leave open: of each decision the first, and one further for each gate before a closed one."""
    widths, at = [], 0
    for one in variables:
        own = list(gates[at : at + len(one.widths) - 1])
        widths.append(one.widths[own.index(0) if 0 in own else len(own)])
        at += len(own)
    return tuple(widths)


__all__ = ["Gate", "GatedDecision", "GatedNetwork", "Region", "step", "widths_of"]

# mypy: allow-subclassing-any
"""How many powers of two each filter's weights need (FLightNN): a code that is trained, and the hook that leads it to a mean.

R. Ding, Z. Liu, T.-W. Chin, D. Marculescu, R. D. Blanton, "FLightNNs: Lightweight Quantized Deep Neural Networks for Fast and
Accurate Inference", DAC 2019, arXiv:1904.02835. With the running residual r_i0 = w_i of filter i,

    Q_i = sum_j [||r_ij|| > t_j] R(r_ij)        r_i(j+1) = r_ij - [||r_ij|| > t_j] R(r_ij)        j = 0, 1

and k_i is the number of terms that are there. Thresholds t are trained; a penalty sum_j lambda_j sum_i ||r_ij|| pulls weights
to fewer powers. Ours: norms are relative to the mean norm of the layer's filters; the step has the sigmoid's derivative;
lambda_0 is 0, which would shrink what a normalization scales back; the number of second powers is penalized beside their
residuals, which raises thresholds; and when powers are fixed, the mean that is asked for is reached exactly: second powers go
to the filters whose residuals are largest, those first that training left them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from hwflow.compression.quantization.integers import Coded
from hwflow.compression.quantization.powers import nearest_term, top_exponent
from hwflow.compression.quantization.quantized_layers import WeightCode, in_steps
from hwflow.training.hooks import Batch, TrainingHook

TERMS = 2
"""At most, of a filter."""
_SLOPE = 10.0
_FIRST = 1e-6
_DOUBLINGS = 24  # to about 17, which no residual withstands
_FREE = 0.75  # of the steps; in the others the number of powers is fixed


class _Step(torch.autograd.Function):
    """1 above 0; backwards, the derivative of the sigmoid."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return (values > 0).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        soft = torch.sigmoid(_SLOPE * values)
        return grads[0] * soft * (1 - soft)


class FlexibleTerms(WeightCode):
    """The code of a layer's weights.

    Attributes:
        thresholds: t_j, trained.
        terms: k_i of each filter, once `fixed`.
    """

    thresholds: Tensor
    terms: Tensor
    fixed: Tensor

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.thresholds = nn.Parameter(torch.zeros(TERMS))
        self.register_buffer("terms", torch.full((filters,), TERMS))
        self.register_buffer("fixed", torch.tensor(False))

    def forward(self, weights: Tensor) -> Tensor:
        """Q; gradients pass to weights as if they were not coded, and through the step to thresholds."""
        found, _, _ = self._sum(weights)
        return found + (weights - weights.detach())

    def norms(self, weights: Tensor) -> Tensor:
        """||r_ij|| over the mean norm of the filters, [j, i]; differentiable by the weights."""
        return self._sum(weights)[1]

    def penalty(self, weights: Tensor) -> Tensor:
        """The norms of what second powers stand for, and how many of these there are."""
        _, norms, gates = self._sum(weights)
        return norms[1:].sum() + gates[1:].sum()

    def terms_of(self, weights: Tensor) -> Tensor:
        """k_i of each filter, int64."""
        return self.terms if bool(self.fixed) else self._sum(weights)[2].sum(0).to(torch.int64)

    def fix(self, terms: Tensor) -> None:
        """Train no further how many powers the filters have."""
        self.terms.copy_(terms)
        self.fixed.fill_(True)

    def coded(self, weights: Tensor) -> Coded:
        """In units of the smallest power."""
        with torch.no_grad():
            return in_steps(self._sum(weights)[0], top_exponent(weights))

    def _sum(self, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Q, the norms, and which terms there are, 0 or 1 [j, i]."""
        plain = weights.detach()
        top, shape = top_exponent(plain), (-1, *[1] * (weights.dim() - 1))
        scale = plain.flatten(1).norm(dim=1).mean().clamp(min=1e-12)
        rest, total = plain, torch.zeros_like(plain)
        norms: list[Tensor] = []
        gates: list[Tensor] = []
        for j in range(TERMS):
            norms.append((weights - (plain - rest)).flatten(1).norm(dim=1) / scale)
            gate = self._gate(j, norms)
            term = nearest_term(rest, top)
            total = total + gate.reshape(shape) * term
            rest = rest - gate.detach().reshape(shape) * term
            gates.append(gate)
        return total, torch.stack(norms), torch.stack(gates)

    def _gate(self, j: int, norms: Sequence[Tensor]) -> Tensor:
        if bool(self.fixed):
            return (self.terms > j).to(norms[0].dtype)
        gate = cast("Tensor", _Step.apply(norms[j] - self.thresholds[j]))
        if j == 0 and not bool(gate.any()):  # a layer without filters would cut the network in two
            largest = torch.zeros_like(gate).index_fill(0, norms[0].argmax(), 1.0)
            gate = gate + largest
        return gate


class FewerTerms(TrainingHook):
    """The penalty, doubled until filters have no more powers on average than asked for, and just as many for the last quarter.

    Args:
        layers: modules with a `FlexibleTerms`, by name.
        mean: powers of two a filter.
        fits: whether the network with so many powers of each filter keeps its budgets.
        strength: of the penalty where it is not to grow.

    Attributes:
        strength: lambda.
        terms: of each layer's filters, once they are fixed.
    """

    changes_sparsity = True

    def __init__(
        self,
        layers: Sequence[str],
        mean: float,
        fits: Callable[[Mapping[str, Tensor]], bool] = lambda _: True,
        strength: float | None = None,
    ) -> None:
        self._names, self._mean, self._fits = tuple(layers), mean, fits
        self._grows = strength is None
        self.strength = _FIRST if strength is None else strength
        self.terms: dict[str, Tensor] = {}

    def identity(self) -> Mapping[str, str]:
        """The mean, and the strength where it is given."""
        return {"the number of powers of two": f"{self._mean} {'' if self._grows else self.strength} {self._names}"}

    def start(self, model: nn.Module, steps: int) -> None:
        """Find the layers."""
        self._layers: dict[str, Any] = {name: model.get_submodule(name) for name in self._names}
        self._fixed_at = max(1, round(_FREE * steps)) if self._grows else steps + 1
        self._interval = max(1, self._fixed_at // _DOUBLINGS)

    def loss(self, batch: Batch, loss: Tensor) -> Tensor:
        """With the penalty, as long as powers are not fixed."""
        if self.terms:
            return loss
        return loss + self.strength * sum(layer.code.penalty(layer.weight) for layer in self._layers.values())

    def after_step(self, step: int) -> None:
        """Keep thresholds at 0 or above, double the penalty, fix the powers."""
        if self.terms:
            return
        with torch.no_grad():
            for layer in self._layers.values():
                layer.code.thresholds.clamp_(min=0)
            if step + 1 >= self._fixed_at:
                self._fix()
            elif self._grows and (step + 1) % self._interval == 0 and self.mean > self._mean:
                self.strength *= 2

    @property
    def mean(self) -> float:
        """Powers of two a filter, now."""
        return _mean({name: layer.code.terms_of(layer.weight) for name, layer in self._layers.items()})

    def finish(self, model: nn.Module) -> None:
        """Fix what is not fixed."""
        if not self.terms and self._grows:
            self._fix()

    def state_dict(self) -> dict[str, Any]:
        """The strength, and the powers once they are fixed."""
        return {"strength": self.strength, "terms": self.terms}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Both; the layers have theirs from the network's state."""
        self.strength, self.terms = float(state["strength"]), dict(state["terms"])

    def _fix(self) -> None:
        """Give second powers, as many as mean and budgets allow: first to filters that kept theirs, then to those that lost
        them, larger residuals first in both."""
        terms = {name: layer.code.terms_of(layer.weight).clone() for name, layer in self._layers.items()}
        order = sorted(
            (-int(terms[name][place]), -float(norm), name, place)
            for name, layer in self._layers.items()
            for place, norm in enumerate(layer.code.norms(layer.weight.detach())[1])
            if terms[name][place]
        )

        def with_second(count: int) -> dict[str, Tensor]:
            found = {name: k.clamp(max=1) for name, k in terms.items()}
            for *_, name, place in order[:count]:
                found[name][place] = TERMS
            return found

        allowed = int(self._mean * sum(map(len, terms.values())) + 1e-9)
        high = min(len(order), max(0, allowed - len(order)))
        if not self._fits(with_second(high)):
            low = 0  # taken where nothing fits: `prepare` has refused budgets that one power a filter does not keep
            while high - low > 1:  # `high` does not fit
                middle = (low + high) // 2
                low, high = (middle, high) if self._fits(with_second(middle)) else (low, middle)
            high = low
        self.terms = with_second(high)
        for name, layer in self._layers.items():
            layer.code.fix(self.terms[name])


def _mean(terms: Mapping[str, Tensor]) -> float:
    return sum(int(k.sum()) for k in terms.values()) / max(1, sum(map(len, terms.values())))


__all__ = ["TERMS", "FewerTerms", "FlexibleTerms"]

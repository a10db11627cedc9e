# mypy: allow-subclassing-any, allow-untyped-calls
"""`CostAscent`: the cost of what gates leave open in the loss, with factors that rise until the budgets hold.

The cost R of a network whose decisions are gates d_1 ... d_n is known where every d is 0 or 1, a corner. Between the corners it
is taken to be linear in each gate: for one block with gates for its kernel (d5), its expansion (d6) and itself (d),

    R = d [(1-d5) ((1-d6) R(3,3) + d6 R(3,6)) + d5 ((1-d6) R(5,3) + d6 R(5,6))]

Gates are always 0 or 1, so R is the table's entry, and its derivative by a gate is what the corner with the gate open costs
more than the one with it closed. That needs the costs of n + 1 networks a step, which are sums of known rows, and holds for
every metric and level. (Stamoulis et al. take the costs of the four kernels and expansions to be products of two factors, which
three entries fix; on an array whose sizes do not divide they are not.)

Loss: cross entropy + sum over budgets of lambda |ln(R / R*)|, R* being what the budget allows; without a budget lambda ln R.
After every step lambda <- lambda (R / R*)^(ascent / steps of an epoch), but never below its first value. Ours: lambda finds
itself (the authors choose it by hand); below the budget the cost pulls the other way, so that what the budget has room for is
taken up again; and the cost moves thresholds only, not weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hwflow.arrays import Floats
from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Variable
from hwflow.compression.plan_costs import PlanTotals
from hwflow.compression.single_path.gates import GatedNetwork, step, widths_of
from hwflow.compression.single_path.options import SinglePathSettings
from hwflow.training.hooks import Batch, TrainingHook

Price = Callable[[Sequence[Widths]], Sequence[float] | Floats]
"""What each of several plans costs."""


class _CornerCost(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, variables: Sequence[Variable], price: Price) -> Tensor:
        here = [float(gate) for gate in gates]
        corners = [here, *([*here[:i], 1.0 - d, *here[i + 1 :]] for i, d in enumerate(here))]
        costs = price([widths_of(variables, corner) for corner in corners])
        more = [(cost - costs[0]) * (1 - 2 * d) for cost, d in zip(costs[1:], here, strict=True)]
        ctx.save_for_backward(gates.new_tensor(more, dtype=torch.float64))
        return gates.new_tensor(costs[0], dtype=torch.float64)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (more,) = ctx.saved_tensors
        return (grads[0] * more).float(), None, None


def corner_cost(gates: Tensor, variables: Sequence[Variable], price: Price) -> Tensor:
    """The cost of the plan that gates leave open, float64; differentiable by each gate, see the module.

    Args:
        gates: 0 or 1, [gate]: those of each variable in their order, one less than it has widths.
    """
    found: Tensor = _CornerCost.apply(gates, variables, price)
    return found


class CostAscent(TrainingHook):
    """Adds the logarithms of costs to the loss of a `GatedNetwork`; see the module.

    Args:
        costs: of plans, at the level at which budgets hold.
        limits: what budgets allow, by metric; or, without budgets, the whole network's cost of the metric that is weighed.
        held: whether these are budgets, so that lambda follows them; else it stays.
        epochs: of the search.

    Attributes:
        left: after each epoch the options that gates leave open, by name.
        strengths: after each epoch lambda of each metric.
    """

    changes_sparsity = True

    def __init__(
        self, costs: PlanTotals, limits: Mapping[str, float], held: bool, asked: SinglePathSettings, epochs: int
    ) -> None:
        self.costs, self.limits, self.held, self.asked, self.epochs = costs, dict(limits), held, asked, epochs
        self.left: list[dict[str, int]] = []
        self.strengths: list[dict[str, float]] = []
        self._known: dict[Widths, Floats] = {}

    def identity(self) -> Mapping[str, str]:
        """Limits and settings; the decisions are the network's."""
        return {"the search by thresholds": f"{self.limits} {self.held} {self.asked} {self.epochs} {self.costs.groups}"}

    def start(self, model: nn.Module, steps: int) -> None:
        """Begin with the first lambda, and with gates that are closed at random."""
        assert isinstance(model, GatedNetwork)
        self._model, self._steps = model, steps
        self._free = int(self.asked.warmup_share * steps)
        self._step = 0
        self._lambda = dict.fromkeys(self.limits, float(self.asked.strength))
        self._set_dropout()

    def loss(self, batch: Batch, loss: Tensor) -> Tensor:
        """With the costs, once the first share of the steps is over."""
        if self._step < self._free:
            return loss
        gates = step(self._model.norms().detach() - self._model.thresholds)
        self._reached = {}
        for name, limit in self.limits.items():
            cost = corner_cost(gates, self.costs.groups, partial(self._prices, name)) / limit
            self._reached[name] = float(cost.detach())
            distance = cost.log().abs() if self.held else cost.log()
            loss = loss + (self._lambda[name] * distance).to(loss.dtype)
        return loss

    def after_step(self, step: int) -> None:
        """Keep thresholds at 0 or above, and follow the budgets."""
        with torch.no_grad():
            self._model.thresholds.clamp_(min=0)
        if self._step >= self._free and self.held:
            power = self.asked.ascent * self.epochs / self._steps
            for name, reached in self._reached.items():
                self._lambda[name] = max(self.asked.strength, self._lambda[name] * reached**power)
        self._step = step + 1
        self._set_dropout()

    def after_epoch(self, epoch: int) -> None:
        """Note what is open, and lambda."""
        self.left.append(self.costs.plan(self.widths))
        self.strengths.append(dict(self._lambda))

    def margins(self) -> list[float]:
        """How far the norm of each gate is above its threshold now."""
        with torch.no_grad():
            return [float(margin) for margin in self._model.norms() - self._model.thresholds]

    @property
    def widths(self) -> Widths:
        """The options that gates leave open now."""
        return widths_of(self.costs.groups, self._model.indicators().tolist())

    def state_dict(self) -> dict[str, Any]:
        """The step, lambda, and what was noted."""
        return {"step": self._step, "lambda": dict(self._lambda), "left": list(self.left), "strengths": list(self.strengths)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `TrainingHook`."""
        self._step, self._lambda = int(state["step"]), dict(state["lambda"])
        self.left, self.strengths = [dict(one) for one in state["left"]], [dict(one) for one in state["strengths"]]
        self._set_dropout()

    def finish(self, model: nn.Module) -> None:
        """No gate is closed at random any more."""
        self._model.dropout = 0.0

    def _set_dropout(self) -> None:
        self._model.dropout = self.asked.gate_dropout if self._step < self._free else 0.0

    def _prices(self, metric: str, plans: Sequence[Widths]) -> list[float]:
        missing = list(dict.fromkeys(plan for plan in plans if plan not in self._known))
        if missing:
            self._known.update(zip(missing, self.costs.totals_of(missing), strict=True))
        return [float(self.costs.metric(self._known[plan], metric)) for plan in plans]


__all__ = ["CostAscent", "Price", "corner_cost"]

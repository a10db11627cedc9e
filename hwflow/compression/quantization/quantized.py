"""`Quantization`: methods that keep all channels and store weights in fewer bits, with 8-bit activations.

Scales of activations are measured on training samples, then the network is fine-tuned with coded weights (straight-through
estimator). Normalization stays apart, in floating point, and biases keep their width: they are no operands of the products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import nn

from hwflow.compression.budget import amount_of
from hwflow.compression.decision import Decision
from hwflow.compression.method import Compressed, Method, Task, running
from hwflow.compression.quantization.integers import ACTIVATION_BITS
from hwflow.compression.quantization.quantized_layers import Code, input_scales, quantizable, quantize, store_codes
from hwflow.compression.search.plan_space import unknown_metric
from hwflow.cost.coarse import bits_of
from hwflow.errors import InputError
from hwflow.layers import Bits
from hwflow.network import Network
from hwflow.network.replica import replica
from hwflow.training.score import modes_kept, placed

_EDGES = Code("integer", 8)
_SHIFTS = {"shift1": 1, "shift2": 2}
_BATCHES, _BATCH = 4, 128


class Format(NamedTuple):
    """A format of weights; `about`, `source` and `needs` are those of `Method`."""

    code: Code
    about: str
    source: str
    needs: str


_DING = "Ding et al., DAC 2019, arXiv:1904.02835"
FORMATS = {
    "int8": Format(Code("integer", 8), "8-bit integers for weights and activations", "", "8-bit operands"),
    "int4": Format(Code("integer", 4), "4-bit integers for weights, 8-bit activations", "", "operands of 4 and 8 bits"),
    "lightnn1": Format(Code("powers", 1), "weights are powers of two", _DING, "shifts (--pe-type lightpe1)"),
    "lightnn2": Format(Code("powers", 2), "weights are sums of two powers of two", _DING, "shifts (--pe-type lightpe2)"),
}


class Quantization(Method):
    """One of `FORMATS` for all convolutions and linear layers; the first and the last have 8-bit integers.

    Where the chip computes shifts alone, these two have as many powers of two as it takes.
    """

    follows_allocation = False
    ranks = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._format = FORMATS[name]
        self.about, self.source, self.needs = self._format.about, self._format.source, self._format.needs

    def prepare(self, task: Task) -> None:
        """Refuse networks without such layers, chips that cannot compute the widths, and budgets that these do not reach."""
        network = Compressed(task.model, {}).network(task.input_shape, task.name)
        widths = {name: code.bits for name, code in self._codes(task, network).items()}
        level = task.settings.levels[-1]
        before, after = (task.costs.networks(n)[0][level] for n in (network, self.costed(network, widths)))
        for budget in task.budgets:
            old, new = (amount_of(cost.to_dict()["totals"], budget.metric) for cost in (before, after))
            if old is None or new is None:
                raise InputError(unknown_metric(budget.metric))
            if not budget.held(old, new):
                raise InputError(
                    f"the budget {budget} cannot be reached: {self.name} leaves {new / old:.3g} of the {budget.metric} at "
                    f"{level}. It changes widths alone; raise the budget, or take a method that removes channels."
                )

    def compress(self, task: Task) -> Compressed:
        """The network with coded weights, fine-tuned."""
        network = Compressed(task.model, {}).network(task.input_shape, task.name)
        codes = self._codes(task, network)
        model, recipe, fit_on = replica(task.model), task.recipe, task.data.hold_out()[0]
        with placed(model, recipe.device), modes_kept(model):
            scales = input_scales(
                model,
                list(codes),
                fit_on,
                batches=_BATCHES,
                batch_size=min(_BATCH, len(fit_on)),
                seed=task.seed,
                device=recipe.device,
            )
        for name, code in codes.items():
            quantize(model, name, code, scales[name])
        tuning = task.fine_tune(model)
        store_codes(model)
        decisions = tuple(
            Decision(layer.name, _options(codes[layer.name].bits, bits_of(layer, task.costs.accelerator).weights), (row,))
            for row, layer in enumerate(network.layers)
            if layer.name in codes
        )
        edges = next(iter(codes.values()))
        return Compressed(
            model,
            {name: code.bits for name, code in codes.items()},
            decisions,
            tuning=tuning,
            bits={name: _widths(code.bits) for name, code in codes.items()},
            summary={"weights": self.about, "first and last layer": f"{edges.bits} bits ({edges.kind})"},
        )

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The layers of the plan with 8-bit inputs; weights are loaded as they are stored."""
        for name in plan:
            quantize(model, name, None)
        return model

    def costed(self, network: Network, plan: Mapping[str, int]) -> Network:
        """At the widths of the plan."""
        return running(network, {name: _widths(bits) for name, bits in plan.items()}, {})

    def _codes(self, task: Task, network: Network) -> dict[str, Code]:
        """How each module stores its weights, in the order of the network's rows.

        Raises:
            InputError: where there is none.
        """
        able = set(quantizable(task.model))
        names = [layer.name for layer in network.layers if layer.name in able]
        if not names:
            raise InputError(f"{task.name} has no Conv2d and no Linear layer: {self.name} has nothing to quantize.")
        chip = task.costs.accelerator
        shifts = _SHIFTS.get(chip.mac.arithmetic) if chip is not None else None
        edges = _EDGES if shifts is None else Code("powers", shifts)
        return {name: edges if name in (names[0], names[-1]) else self._format.code for name in names}


def _widths(weights: int) -> Bits:
    return Bits(weights, ACTIVATION_BITS, ACTIVATION_BITS)


def _options(bits: int, whole: int) -> tuple[int, ...]:
    return (bits, whole) if bits < whole else (bits,)

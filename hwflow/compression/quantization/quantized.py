"""`Quantization`: methods that keep all channels and store weights and activations in fewer bits.

Here are integers and powers of two; `flightnn` and `binary` have the others.

Scales of activations are measured on training samples, then the network is fine-tuned with coded weights (straight-through
estimator). Normalization stays apart, in floating point, until the network is exported: folding it first would change which
powers of two are near, and folded into steps and biases afterwards it leaves the codes as they are
(`hwflow.compression.quantization.folded_normalization`). Biases keep their width: they are no operands of the products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn

from hwflow.compression.budget import amount_of
from hwflow.compression.decision import Decision
from hwflow.compression.method import Compressed, Execution, Method, Task, running
from hwflow.compression.quantization.executions import BitPlanes, ShiftPasses, word_of
from hwflow.compression.quantization.integers import ACTIVATION_BITS, Scale
from hwflow.compression.quantization.packed_codes import write_codes
from hwflow.compression.quantization.quantized_layers import Code, WeightCode, input_scales, quantizable, quantize, store_codes
from hwflow.compression.search.plan_space import unknown_metric
from hwflow.cost.coarse import bits_of
from hwflow.errors import InputError
from hwflow.layers import Bits
from hwflow.network import Network
from hwflow.network.replica import replica
from hwflow.training.hooks import TrainingHook
from hwflow.training.loop import History
from hwflow.training.recipe import Recipe
from hwflow.training.score import modes_kept, placed

ACTIVATIONS = "bits of activations"
"""In a plan, where these are not 8."""
SHIFTS = {"shift1": 1, "shift2": 2}
"""Powers of two that a PE adds up in a cycle, by its arithmetic."""
_EDGES = Code("integer", 8)
_BATCHES, _BATCH = 4, 128


class Rows(NamedTuple):
    """How the rows of a network run: word widths and executions by name of the row, as `running` takes them."""

    bits: Mapping[str, Bits]
    executions: Mapping[str, Execution]


class Format(NamedTuple):
    """A format of weights; `about`, `source` and `needs` are those of `Method`. No code: integers of `weight_bits`."""

    code: Code | None
    about: str
    source: str
    needs: str


_DING = "Ding et al., DAC 2019, arXiv:1904.02835"
FORMATS = {
    "int": Format(None, "integers of weight_bits and activation_bits, 2 to 8", "", "operands of these bits"),
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

    # What a task is told ----------------------------------------------------------------------------------------------

    def prepare(self, task: Task) -> None:
        """Refuse networks without such layers, chips that cannot compute the widths, and budgets that these do not reach."""
        network = Compressed(task.model, {}).network(task.input_shape, task.name)
        level = task.settings.levels[-1]
        cheapest = running(network, *self.rows(task, network, least=True))
        before, after = (task.costs.at(n, level) for n in (network, cheapest))
        for budget in task.budgets:
            old, new = (amount_of(cost.to_dict()["totals"], budget.metric) for cost in (before, after))
            if old is None or new is None:
                raise InputError(unknown_metric(budget.metric))
            if not budget.held(old, new):
                raise InputError(
                    f"the budget {budget} cannot be reached: {self.name} leaves {new / old:.3g} of the {budget.metric} at "
                    f"{level}. It changes widths alone; raise the budget, or take a method that removes channels, too "
                    f"(channels+{self.name})."
                )

    def rows(self, task: Task, network: Network, *, least: bool = False) -> Rows:
        """How the rows of a network are going to run on the task's chip.

        Args:
            least: with the fewest powers of two that filters can have, where that is not fixed.
        """
        codes = self._codes(task, network)
        return self._rows(task, network, codes, {})

    def compress(self, task: Task) -> Compressed:
        """The network with coded weights, fine-tuned."""
        network = Compressed(task.model, {}).network(task.input_shape, task.name)
        codes = self._codes(task, network)
        model = self._restructured(replica(task.model), network, tuple(codes))
        trained = self._trained_codes(model, codes)
        early, late = self._scales(task, model, codes)
        for name in codes:
            quantize(model, name, trained.get(name, codes[name]), early.get(name, late))
        hooks = self._hooks(task, model, network, codes)
        tuning = None
        if not task.settings.quantization.post_training:
            tuning = task.fine_tune(model, hooks=hooks, recipe=self._recipe(task, codes))
        store_codes(model)
        self._calibrate(task, model, codes)
        write_codes(task.folder.path, model, codes)
        return self._result(task, network, model, codes, tuning, hooks)

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The layers of the plan; weights and scales are loaded as they are stored."""
        for name in plan:
            if name != ACTIVATIONS:
                quantize(model, name, None)
        return model

    def costed(self, network: Network, plan: Mapping[str, int]) -> Network:
        """At the widths of the plan."""
        inputs = plan.get(ACTIVATIONS, ACTIVATION_BITS)
        names = [name for name in plan if name != ACTIVATIONS]
        return running(network, {n: _widths(plan[n], inputs, n in (names[0], names[-1])) for n in names}, {})

    # What formats differ in ---------------------------------------------------------------------------------------------

    def _codes(self, task: Task, network: Network) -> dict[str, Code]:
        """How each module stores its weights, in the order of the network's rows.

        Raises:
            InputError: where there is none.
        """
        names = self._layers(task, network)
        edges = self._edges(task)
        return {name: edges if name in (names[0], names[-1]) else self._inner(task) for name in names}

    def _layers(self, task: Task, network: Network) -> list[str]:
        able = set(quantizable(task.model))
        names = list(dict.fromkeys(layer.name for layer in network.layers if layer.name in able))
        if not names:
            raise InputError(f"{task.name} has no Conv2d and no Linear layer: {self.name} has nothing to quantize.")
        return names

    def _edges(self, task: Task) -> Code:
        shifts = SHIFTS.get(_arithmetic(task))
        return _EDGES if shifts is None else Code("powers", shifts)

    def _inner(self, task: Task) -> Code:
        asked = task.settings.quantization
        code = self._format.code or Code("integer", asked.weight_bits)
        if code.kind != "integer":
            return code
        return code._replace(affine=asked.scheme == "affine", per_channel=asked.granularity == "channel")

    def _trained_codes(self, model: nn.Module, codes: Mapping[str, Code]) -> dict[str, WeightCode]:
        """Codes that are trained, by name of the module."""
        return {}

    def _restructured(self, model: nn.Module, network: Network, names: Sequence[str]) -> nn.Module:
        """The network with other modules where the format needs them."""
        return model

    def _hooks(self, task: Task, model: nn.Module, network: Network, codes: Mapping[str, Code]) -> list[TrainingHook]:
        return []

    def _recipe(self, task: Task, codes: Mapping[str, Code]) -> Recipe:
        return task.recipe

    def _activations(self, task: Task) -> int:
        """Bits of the inputs of all layers but the first and the last."""
        return task.settings.quantization.activation_bits

    def _scales(self, task: Task, model: nn.Module, codes: Mapping[str, Code]) -> tuple[dict[str, Scale], Scale | None]:
        """Of inputs while the network is trained, by module, and of those that are not named."""
        return self._measured(task, model, list(codes)), None

    def _calibrate(self, task: Task, model: nn.Module, codes: Mapping[str, Code]) -> None:
        """Give inputs scales that were not there in training."""
        return

    def _measured(self, task: Task, model: nn.Module, names: list[str]) -> dict[str, Scale]:
        fit_on, recipe, inner = task.data.hold_out()[0], task.recipe, self._activations(task)
        with placed(model, recipe.device), modes_kept(model):
            return input_scales(
                model,
                names,
                fit_on,
                batches=_BATCHES,
                batch_size=min(_BATCH, len(fit_on)),
                seed=task.seed,
                device=recipe.device,
                bits=lambda name: ACTIVATION_BITS if name in (names[0], names[-1]) else inner,
                affine=task.settings.quantization.scheme == "affine",
            )

    def _bits(self, task: Task, network: Network, codes: Mapping[str, Code]) -> dict[str, Bits]:
        names, inputs = list(codes), self._activations(task)
        return {name: _widths(code.bits, inputs, name in (names[0], names[-1])) for name, code in codes.items()}

    def _rows(self, task: Task, network: Network, codes: Mapping[str, Code], terms: Mapping[str, int]) -> Rows:
        """How rows run; `terms` are the powers of two of all filters, where these have different numbers."""
        bits = self._bits(task, network, codes)
        executions: dict[str, Execution] = {}
        for layer in network.layers:
            code = codes.get(layer.name)
            if code is None:
                continue
            if _arithmetic(task) == "shift1" and code.kind == "powers":
                filters = layer.M * layer.G
                passes = terms.get(layer.name, code.size * filters)
                if passes != filters:
                    executions[layer.name] = ShiftPasses(passes, filters)
            elif _arithmetic(task) == "xnor" and (planes := bits[layer.name])[:2] != (1, 1):
                executions[layer.name] = BitPlanes(*planes[:2])
        return Rows(bits, executions)

    def _plan(self, codes: Mapping[str, Code]) -> dict[str, int]:
        return {name: code.bits for name, code in codes.items()}

    def _told(self, task: Task, model: nn.Module, hooks: Sequence[TrainingHook]) -> dict[str, str]:
        """What else the report says, by heading."""
        return {}

    def _terms(self, hooks: Sequence[TrainingHook]) -> dict[str, int]:
        """Powers of two of all filters of a layer, where these were trained."""
        return {}

    # The result ---------------------------------------------------------------------------------------------------------

    def _result(
        self,
        task: Task,
        network: Network,
        model: nn.Module,
        codes: Mapping[str, Code],
        tuning: History | None,
        hooks: Sequence[TrainingHook],
    ) -> Compressed:
        plan = self._plan(codes) | self._terms(hooks)
        rows: dict[str, tuple[int, ...]] = {
            name: tuple(row for row, layer in enumerate(network.layers) if layer.name == name) for name in codes
        }
        whole = {name: bits_of(network.layers[places[0]], task.costs.accelerator) for name, places in rows.items()}
        terms = self._terms(hooks)
        decisions = [
            Decision(name, (plan[name], 2 * len(model.get_submodule(name).weight)), rows[name])
            if name in terms
            else Decision(name, _options(plan[name], whole[name].weights), rows[name])
            for name in codes
        ]
        if (inputs := self._activations(task)) != ACTIVATION_BITS and inputs > 1:
            plan[ACTIVATIONS] = inputs
            every = tuple(row for places in rows.values() for row in places)
            decisions.append(Decision(ACTIVATIONS, _options(inputs, next(iter(whole.values())).inputs), every))
        edges = next(iter(codes.values()))
        run = self._rows(task, network, codes, terms)
        told = {"weights": self.about, "first and last layer": f"{edges.bits} bits ({edges.kind})"}
        if self._format_of(task):
            told["integers"] = self._format_of(task)
        if any(isinstance(execution, BitPlanes) for execution in run.executions.values()):
            told["bit planes"] = "layers with operands of several bits run as products of their bits on XNOR PEs"
        return Compressed(
            model,
            plan,
            tuple(decisions),
            tuning=tuning,
            bits=run.bits,
            executions=run.executions,
            summary=told | self._told(task, model, hooks),
        )

    def _format_of(self, task: Task) -> str:
        asked, code = task.settings.quantization, self._inner(task)
        if code.kind != "integer":
            return ""
        trained = "rounded after training" if asked.post_training else "trained with rounding"
        return (
            f"weights of {code.bits} bits, activations of {asked.activation_bits}; {asked.scheme}, a step for each "
            f"{'output channel' if code.per_channel else 'tensor'}; {trained}"
        )


def _arithmetic(task: Task) -> str:
    chip = task.costs.accelerator
    return "" if chip is None else chip.mac.arithmetic


def _widths(weights: int, inputs: int, edge: bool) -> Bits:
    """Words in memories; inputs and outputs of the first and the last layer have 8 bits."""
    read = ACTIVATION_BITS if edge else word_of(inputs)
    return Bits(word_of(weights), read, read)


def _options(bits: int, whole: int) -> tuple[int, ...]:
    return (bits, whole) if bits < whole else (bits,)


__all__ = ["ACTIVATIONS", "FORMATS", "SHIFTS", "Format", "Quantization", "Rows"]

"""`BinaryNetwork`: weights and activations are signs, whose products XNOR and popcount compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import nn

from hwflow.compression.method import Task, running
from hwflow.compression.quantization.distribution_loss import DistributionLoss, LatentWeights
from hwflow.compression.quantization.integers import ACTIVATION_BITS, Scale
from hwflow.compression.quantization.quantized import Format, Quantization
from hwflow.compression.quantization.quantized_layers import REAL, SIGNS, Code, quantize, set_scale
from hwflow.compression.quantization.sign_inputs import SignInput, sign_inputs
from hwflow.errors import InputError
from hwflow.layers import Bits
from hwflow.network import Network
from hwflow.training.hooks import TrainingHook
from hwflow.training.recipe import ParameterGroup, Recipe

_BINARY = Code("signs", 1)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh)


class BinaryNetwork(Quantization):
    """Signs for all layers without groups but the first and the last.

    Each has normalization, then a bounded identity (Hardtanh, in place of the ReLU that was there), then the sign. The first
    layer with binary weights takes 8-bit inputs, as the authors' has real ones. What stays in 8 bits is trained with real
    inputs, whose scales are measured afterwards.
    """

    name = "bnn"

    def __init__(self) -> None:
        self._format = Format(
            _BINARY,
            "weights and activations are signs, trained with the distribution loss",
            "Ding et al., CVPR 2019, arXiv:1904.02823",
            "XNOR and popcount (--pe-type xnor)",
        )
        self.about, self.source, self.needs = self._format.about, self._format.source, self._format.needs

    def prepare(self, task: Task) -> None:
        """Refuse what `Quantization` refuses, signs without a normalization before them, activations that cannot be replaced,
        rounding without training, and weight decay of latent weights."""
        if task.settings.quantization.post_training:
            raise InputError(f"post_training is True, but signs have to be trained; leave it out of {self.name}.")
        super().prepare(task)
        network = self._network(task)
        codes, modules = self._codes(task, network), dict(task.model.named_modules())
        for names in self._signed(network, codes).values():
            for name in names.activations:
                if not isinstance(modules.get(name), _ACTIVATIONS):
                    raise InputError(
                        f"{task.name} calls the activation {name} as a function, or it is of another kind, and cannot be "
                        "replaced by a bounded one; make it a module of its own, nn.ReLU()."
                    )
        self._recipe(task, codes)

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """With bounded activations; weights and scales are loaded as they are stored."""
        network = Network.from_torch(model, input_shape)
        _bound(model, _before_signs(network, plan))
        for name in plan:
            quantize(model, name, None)
        return model

    def costed(self, network: Network, plan: Mapping[str, int]) -> Network:
        """At the widths of the plan."""
        return running(network, _bits(network, {name: bits == 1 for name, bits in plan.items()}), {})

    def _network(self, task: Task) -> Network:
        return Network.from_torch(task.model, task.input_shape, name=task.name)

    def _codes(self, task: Task, network: Network) -> dict[str, Code]:
        codes = super()._codes(task, network)
        grouped = {layer.name for layer in network.layers if layer.G > 1}
        codes = {name: self._edges(task) if name in grouped else code for name, code in codes.items()}
        if len(self._signed_names(codes)) < 1:
            raise InputError(
                f"{task.name} has fewer than two layers without groups between its first and its last one: {self.name} has "
                "none whose inputs and weights are signs."
            )
        return codes

    def _signed_names(self, codes: Mapping[str, Code]) -> list[str]:
        """Layers that take signs: those with binary weights, but for the first."""
        return [name for name, code in codes.items() if code == _BINARY][1:]

    def _signed(self, network: Network, codes: Mapping[str, Code]) -> dict[str, SignInput]:
        return sign_inputs(network, self._signed_names(codes))

    def _activations(self, task: Task) -> int:
        return ACTIVATION_BITS

    def _inner(self, task: Task) -> Code:
        return _BINARY

    def _restructured(self, model: nn.Module, network: Network, names: Sequence[str]) -> nn.Module:
        binary = [name for name in names if name not in (names[0], names[-1])]
        grouped = {layer.name for layer in network.layers if layer.G > 1}
        _bound(model, sign_inputs(network, [name for name in binary if name not in grouped][1:]))
        return model

    def _scales(self, task: Task, model: nn.Module, codes: Mapping[str, Code]) -> tuple[dict[str, Scale], Scale | None]:
        return dict.fromkeys(self._signed_names(codes), SIGNS), REAL

    def _calibrate(self, task: Task, model: nn.Module, codes: Mapping[str, Code]) -> None:
        signed = set(self._signed_names(codes))
        real = [name for name in codes if name not in signed]
        for name, scale in self._measured(task, model, real).items():
            set_scale(model.get_submodule(name), scale)

    def _hooks(self, task: Task, model: nn.Module, network: Network, codes: Mapping[str, Code]) -> list[TrainingHook]:
        binary = [name for name, code in codes.items() if code == _BINARY]
        loss = DistributionLoss(self._signed_names(codes), task.settings.quantization.distribution_loss)
        return [LatentWeights(tuple(binary)), loss]

    def _recipe(self, task: Task, codes: Mapping[str, Code]) -> Recipe:
        """Latent weights do not decay: their size decides how easily signs turn."""
        latent = [f"{name}.weight" for name, code in codes.items() if code == _BINARY]
        for group in task.recipe.groups:
            if group.weight_decay and any(fnmatchcase(name, group.pattern) for name in latent):
                raise InputError(
                    f"the recipe's group {group.pattern!r} has a weight_decay of {group.weight_decay:g}, and names latent "
                    f"weights of {self.name}, which must not decay. Give it 0, or name other parameters."
                )
        return replace(task.recipe, groups=(*(ParameterGroup(name, weight_decay=0.0) for name in latent), *task.recipe.groups))

    def _bits(self, task: Task, network: Network, codes: Mapping[str, Code]) -> dict[str, Bits]:
        return _bits(network, {name: code == _BINARY for name, code in codes.items()})

    def _told(self, task: Task, model: nn.Module, hooks: Sequence[TrainingHook]) -> dict[str, str]:
        loss = next(hook for hook in hooks if isinstance(hook, DistributionLoss))
        first, last = loss.history[0], loss.history[-1]
        used = f"weight {loss.weight:g}" if loss.weight else "not used"
        return {
            "distribution loss": f"{used}; D1 {first[0]:.3g} in the first epoch and {last[0]:.3g} in the last one, D2 "
            f"{first[1]:.3g} and {last[1]:.3g}"
        }


def _before_signs(network: Network, plan: Mapping[str, int]) -> dict[str, SignInput]:
    return sign_inputs(network, [name for name, bits in plan.items() if bits == 1][1:])


def _bits(network: Network, binary: Mapping[str, bool]) -> dict[str, Bits]:
    """Weights and inputs of one bit where they are signs; results of 8, but for those of which nothing but the sign is kept."""
    signed = [name for name, one in binary.items() if one][1:]
    alone = {found.source for found in sign_inputs(network, signed).values()}
    return {name: Bits(1 if one else 8, 1 if name in signed else 8, 1 if name in alone else 8) for name, one in binary.items()}


def _bound(model: nn.Module, inputs: Mapping[str, SignInput]) -> None:
    """Replace the activations before signs by bounded identities."""
    for name in dict.fromkeys(name for found in inputs.values() for name in found.activations):
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, nn.Hardtanh())


__all__ = ["BinaryNetwork"]

# mypy: allow-subclassing-any
"""`thin`: a network rebuilt with a G-th of its channels, as one group of a network in G groups.

Groups share nothing but the image and the sum of their logits: group convolutions with one normalisation a group, zeros padded
within each group, and a classifier cut by columns are G thin networks side by side. Layers that read the image keep their
inputs, layers that give the result keep their outputs; everything else has a G-th of its channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hwflow.errors import InputError
from hwflow.network.models._blocks import initialise
from hwflow.network.models.cifar_resnet import PadShortcut
from hwflow.network.replica import replica

Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
Place = Literal["image", "inside", "result"]


@dataclass(frozen=True)
class Part:
    """A module whose size depends on channels.

    Attributes:
        reads: the image, or what is divided into groups, or a result.
        gives: what is divided into groups, or a result; of a normalisation or a shortcut as `reads`.
    """

    reads: Place
    gives: Place


def thin(model: nn.Module, parts: Mapping[str, Part], groups: int, seed: int) -> nn.Module:
    """A fresh network with a G-th of the channels.

    Args:
        parts: as `parts_of` gives them.
        seed: of its weights, which are drawn as those of the zoo's networks.

    Raises:
        InputError: naming a module whose channels are not divisible.
    """
    small = replica(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, part in parts.items():
            small.set_submodule(name, _narrowed(name, small.get_submodule(name), part, groups))
        initialise(small)
    return small.requires_grad_(True)


def parts_of(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, Part]:
    """What each layer, normalisation and shortcut reads and gives, found by running the network.

    Args:
        input_shape: (1, C, H, W).

    Raises:
        InputError: where a module is not supported, is used twice, or reads the image together with features.
    """
    _check_supported(model)
    run = _Run(model, input_shape)
    gives: dict[str, Place] = {name: "result" if name in run.results else "inside" for name in run.producers}
    found = {}
    for name, sources in run.producers.items():
        places: set[Place] = {"image" if source is None else gives[source] for source in sources}
        if len(places) > 1:
            told = " and ".join(
                sorted("the image" if p == "image" else "features" if p == "inside" else "a result" for p in places)
            )
            raise InputError(f"{type(model).__name__} cannot be rebuilt in groups: {name} reads {told} together.")
        reads = places.pop() if places else "image"
        whole = isinstance(model.get_submodule(name), LAYERS)
        found[name] = Part(reads, gives[name] if whole else reads)
    return found


def _check_supported(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, (*LAYERS, nn.BatchNorm2d, PadShortcut)):
            continue
        if own := [key for key, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))]:
            where = f"{name or 'the network itself'} is a {type(module).__name__} with tensors of its own"
            raise InputError(
                f"{type(model).__name__} cannot be rebuilt in groups: {where} ({', '.join(own[:3])}). Supported are Conv2d, "
                "ConvTranspose2d, Linear, BatchNorm2d, and modules without tensors."
            )


class _Run:
    """One forward pass, of which autograd's graph tells who reads what.

    Attributes:
        producers: for each part the layers whose outputs reach its input with no layer between; None stands for the image.
        results: the layers whose outputs reach the network's result so.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...]) -> None:
        self.producers: dict[str, set[str | None]] = {}
        self.made: dict[Any, str] = {}
        copy = replica(model).cpu().eval().requires_grad_(True)
        for name, module in copy.named_modules():
            if isinstance(module, (*LAYERS, nn.BatchNorm2d, PadShortcut)):
                module.register_forward_pre_hook(self._reading(name, type(model).__name__))
                if isinstance(module, LAYERS):
                    module.register_forward_hook(self._making(name))
        image = torch.zeros(input_shape, requires_grad=True)
        output = copy(image * 1.0)
        if not isinstance(output, Tensor):
            raise InputError(
                f"{type(model).__name__} cannot be rebuilt in groups: it gives {type(output).__name__}, not one tensor."
            )
        self.results = {name for name in self._sources([output.grad_fn]) if name is not None}
        unused = [name for name, m in copy.named_modules() if isinstance(m, LAYERS) and name not in self.producers]
        if unused:
            raise InputError(
                f"{type(model).__name__} cannot be rebuilt in groups: {unused[0]} is not used when it is evaluated."
            )

    def _reading(self, name: str, network: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if name in self.producers:
                raise InputError(f"{network} cannot be rebuilt in groups: {name} is used more than once in a forward pass.")
            self.producers[name] = self._sources([inputs[0].grad_fn])

        return hook

    def _making(self, name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            self.made[output.grad_fn] = name

        return hook

    def _sources(self, nodes: Iterable[Any]) -> set[str | None]:
        found: set[str | None] = set()
        seen, stack = set(), [node for node in nodes if node is not None]
        while stack:
            node = stack.pop()
            if node in self.made:
                found.add(self.made[node])
            elif node not in seen:
                seen.add(node)
                variable = getattr(node, "variable", None)
                if variable is not None and variable.ndim == _IMAGE_DIMENSIONS and not isinstance(variable, nn.Parameter):
                    found.add(None)
                stack += [following for following, _ in node.next_functions if following is not None]
        return found


_IMAGE_DIMENSIONS = 4


def _narrowed(name: str, module: nn.Module, part: Part, groups: int) -> nn.Module:
    """A module of the same kind with fewer channels."""

    def divided(channels: int, what: str, place: Place) -> int:
        if place != "inside":
            return channels
        if channels % groups:
            raise InputError(
                f"{name} has {channels} {what}, which cannot be divided into {groups} groups; choose another number of groups."
            )
        return channels // groups

    if isinstance(module, nn.BatchNorm2d):
        count = divided(module.num_features, "channels", part.reads)
        return nn.BatchNorm2d(count, module.eps, module.momentum, module.affine, module.track_running_stats)
    if isinstance(module, PadShortcut):
        return PadShortcut(divided(module.before + module.after, "channels to pad", part.reads), module.stride)
    if isinstance(module, nn.Linear):
        inputs, outputs = divided(module.in_features, "inputs", part.reads), divided(module.out_features, "outputs", part.gives)
        return nn.Linear(inputs, outputs, module.bias is not None)
    assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    own = module.groups
    if own > 1:
        if "inside" not in (part.reads, part.gives) or part.reads != part.gives or own % groups:
            raise InputError(
                f"{name} is a convolution in {own} groups, which cannot be divided into {groups}; choose another number."
            )
        own //= groups
    options: dict[str, Any] = {
        "stride": module.stride,
        "padding": module.padding,
        "dilation": module.dilation,
        "groups": own,
        "bias": module.bias is not None,
        "padding_mode": module.padding_mode,
    }
    if isinstance(module, nn.ConvTranspose2d):
        options["output_padding"] = module.output_padding
    inputs, outputs = divided(module.in_channels, "inputs", part.reads), divided(module.out_channels, "outputs", part.gives)
    return type(module)(inputs, outputs, module.kernel_size, **options)


__all__ = ["LAYERS", "Layer", "Part", "parts_of", "thin"]

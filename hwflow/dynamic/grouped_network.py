# mypy: allow-subclassing-any
"""`GroupedNetwork`: G nested networks in one, of which the first k groups are level k (Xun et al., MLCAD 2019, arXiv
2105.03600).

Groups are trained one after the other, earlier ones frozen, so that level k is what it was, bit for bit, whatever is trained
afterwards. How groups are cut, one normalisation and one bias each, is ours; see `hwflow.dynamic.thin_network`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwflow.datasets.samples import derived
from hwflow.dynamic.thin_network import LAYERS, Part, parts_of, thin
from hwflow.errors import ImportFailed, InputError, check_whole
from hwflow.network.models.cifar_resnet import PadShortcut
from hwflow.network.replica import replica

_CLOSE = 1e-4  # of logits by sums in another order, relative to the largest one
_MOST = 64


class GroupedNetwork(nn.Module):
    """The first `level` groups of a network; made by `grouped`.

    Attributes:
        groups: thin networks, whose logits are summed.
        parts: what each of their modules reads and gives.
        level: how many groups are computed, 1 to all.
        frozen: how many, from the first on, are not trained: no gradients, normalisations with the statistics that they have.
    """

    def __init__(self, groups: Sequence[nn.Module], parts: Mapping[str, Part], input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.groups = nn.ModuleList(groups)
        self.parts, self.input_shape = dict(parts), input_shape
        self.level, self.frozen = len(groups), 0

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to logits: the sum of those of the groups, the first one first."""
        found: Tensor | None = None
        for g in range(self.level):
            with torch.set_grad_enabled(torch.is_grad_enabled() and g >= self.frozen):
                logits = self.groups[g](images)
            found = logits if found is None else found + logits
        assert found is not None
        return found

    def train(self, mode: bool = True) -> GroupedNetwork:
        """Training or evaluation; frozen groups stay in evaluation."""
        super().train(mode)
        for g in range(self.frozen):
            self.groups[g].eval()
        return self

    def extra_repr(self) -> str:
        """What is computed and trained; part of what tells a training from another one."""
        return f"level={self.level}, frozen={self.frozen}"

    def set_level(self, level: int) -> None:
        """Compute the first `level` groups from now on.

        Raises:
            InputError: where there are not so many.
        """
        check_whole("level", level, len(self.groups))
        self.level = level

    def begin(self, group: int) -> None:
        """Prepare the training of a group, counted from 1: it is the last one that is computed, those before are frozen."""
        self.set_level(group)
        self.frozen = group - 1
        for g, part in enumerate(self.groups, start=1):
            part.requires_grad_(g == group)

    def end(self) -> None:
        """All groups, none frozen."""
        self.level, self.frozen = len(self.groups), 0
        self.requires_grad_(True)

    def at_level(self, level: int) -> nn.Module:
        """A plain module that gives what this one does at a level, in evaluation mode, with tensors of its own.

        It is the original network with k groups in each convolution; where that cannot express it, because the network joins
        the channels of several branches, it is k thin networks side by side (`SideBySide`).

        Raises:
            InputError: where there are not so many levels.
        """
        check_whole("level", level, len(self.groups))
        thins = [replica(self.groups[g]).eval().requires_grad_(False) for g in range(level)]
        if level == 1:
            return thins[0]
        apart = SideBySide(thins).eval()
        packed = replica(thins[0])
        try:
            for name, part in self.parts.items():
                packed.set_submodule(name, _packed([one.get_submodule(name) for one in thins], part))
            packed.requires_grad_(False)
            return packed.eval() if _same(packed.eval(), apart, self.input_shape) else apart
        except (_NotPacked, RuntimeError, ValueError):
            return apart


class SideBySide(nn.Module):
    """Networks whose outputs are summed."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to logits."""
        found: Tensor = self.networks[0](images)
        for network in self.networks[1:]:
            found = found + network(images)
        return found


class GroupedLinear(nn.Module):
    """Linear layers side by side, each on its part of the inputs: weight (k out, in), as that of a group convolution."""

    def __init__(self, weight: Tensor, bias: Tensor | None, groups: int) -> None:
        super().__init__()
        self.weight, self.groups = nn.Parameter(weight), groups
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, k in) to (N, k out)."""
        return functional.conv2d(x[..., None, None], self.weight[..., None, None], self.bias, groups=self.groups).flatten(1)


class GroupedPadShortcut(nn.Module):
    """`PadShortcut` in each group by itself: padded around all channels, a later group would feed an earlier one."""

    def __init__(self, one: PadShortcut, groups: int) -> None:
        super().__init__()
        self.before, self.after, self.stride, self.groups = one.before, one.after, one.stride, groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + extra, H / stride, W / stride), sizes rounded up."""
        x = x[:, :, :: self.stride, :: self.stride].unflatten(1, (self.groups, -1))
        return functional.pad(x, (0, 0, 0, 0, self.before, self.after)).flatten(1, 2)


class _NotPacked(Exception):
    """Modules that are not one module with groups."""


def grouped(model: nn.Module, input_shape: tuple[int, ...], groups: int, seed: int = 0) -> GroupedNetwork:
    """A network in groups with fresh weights, each group's from a seed of its own.

    Args:
        model: its structure counts, its weights don't.
        input_shape: (1, C, H, W).
        groups: how many; all channels between image and result must be divisible.

    Raises:
        InputError: where the network cannot be rebuilt: which module, and why.
    """
    check_whole("groups", groups, _MOST)
    name = type(model).__name__
    try:
        parts = parts_of(model, input_shape)
    except (RuntimeError, TypeError) as error:
        raise ImportFailed(f"{name} cannot take images of {input_shape[1:]}: {_first_line(error)}.") from error
    network = GroupedNetwork(
        [thin(model, parts, groups, derived("group", seed, g)) for g in range(1, groups + 1)], parts, input_shape
    )
    images = torch.zeros(input_shape)
    with torch.no_grad():
        wanted = replica(model).cpu().eval()(images)
        try:
            found = network.eval()(images)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{name} cannot be rebuilt in {groups} groups: with fewer channels its forward pass fails "
                f"({_first_line(error)}). Its code must not hold numbers of channels."
            ) from error
    if found.shape != wanted.shape:
        raise InputError(
            f"{name} cannot be rebuilt in {groups} groups: it then gives {tuple(found.shape)} instead of {tuple(wanted.shape)}."
        )
    return network


def _packed(modules: list[nn.Module], part: Part) -> nn.Module:
    """Modules of the groups as one, with so many groups."""
    first, count = modules[0], len(modules)
    if isinstance(first, PadShortcut):
        return GroupedPadShortcut(first, count)
    if isinstance(first, nn.BatchNorm2d):
        if part.reads != "inside":
            raise _NotPacked  # one for each group, on the same image or on sums
        return _filled(nn.BatchNorm2d(first.num_features * count, first.eps, first.momentum, first.affine), modules, 0)
    assert isinstance(first, LAYERS)
    if part.reads == "result":
        raise _NotPacked
    summed = part.gives == "result"
    if summed and (part.reads == "image" or getattr(first, "groups", 1) > 1):
        raise _NotPacked
    if isinstance(first, nn.Linear):
        if not summed and part.reads == "inside":
            return GroupedLinear(_cat(modules, "weight", 0), None if first.bias is None else _cat(modules, "bias", 0), count)
        inputs = first.in_features * (count if part.reads == "inside" else 1)
        outputs = first.out_features * (1 if summed else count)
        return _filled(nn.Linear(inputs, outputs, first.bias is not None), modules, 1 if summed else 0)
    own = first.groups * (count if part.reads == "inside" and not summed else 1)
    options: dict[str, Any] = {
        "stride": first.stride,
        "padding": first.padding,
        "dilation": first.dilation,
        "groups": own,
        "bias": first.bias is not None,
        "padding_mode": first.padding_mode,
    }
    inputs = first.in_channels * (count if part.reads == "inside" else 1)
    outputs = first.out_channels * (1 if summed else count)
    along = 1 if summed else 0
    if isinstance(first, nn.ConvTranspose2d):  # weights are [in, out / groups]
        options["output_padding"] = first.output_padding
        along = 1 if part.reads == "image" else 0
    return _filled(type(first)(inputs, outputs, first.kernel_size, **options), modules, along)


def _filled(packed: nn.Module, modules: list[nn.Module], along: int) -> nn.Module:
    """With the groups' weights along a dimension; what has one dimension is joined where weights are joined by outputs."""
    with torch.no_grad():
        for name, value in packed.named_parameters():
            joined = _cat(modules, name, along if value.ndim > 1 else 0)
            summed = value.ndim == 1 and joined.shape != value.shape
            value.copy_(torch.stack([getattr(m, name) for m in modules]).sum(0) if summed else joined)
        for name, buffer in packed.named_buffers():
            buffer.copy_(_cat(modules, name, 0) if buffer.ndim else getattr(modules[0], name))
    return packed.requires_grad_(False)


def _cat(modules: list[nn.Module], name: str, along: int) -> Tensor:
    return torch.cat([getattr(module, name).detach() for module in modules], along)


def _same(one: nn.Module, other: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether two networks give the same for a random image, but for rounding."""
    images = torch.randn(2, *input_shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, wanted = one(images), other(images)
    return found.shape == wanted.shape and bool((found - wanted).abs().max() <= _CLOSE * max(1e-6, float(wanted.abs().max())))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


__all__ = ["GroupedLinear", "GroupedNetwork", "GroupedPadShortcut", "SideBySide", "grouped"]

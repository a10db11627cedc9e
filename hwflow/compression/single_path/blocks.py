"""Inverted residual blocks of a network: what can be chosen of each, as gates, and the network that a choice leaves.

A block is a module whose `conv` is a sequence of a 1 x 1 expansion with normalization and activation (which may be missing), a
depthwise convolution with both, and a 1 x 1 projection with normalization: hwflow's and torchvision's `InvertedResidual`. Of a
block can be chosen

    NAME.kernel      3 or 5, where its depthwise kernel is 5 x 5
    NAME.expansion   half of the network's or all of it (3 or 6 for 6), where that is even
    NAME.depth       0 leaves it out, where stride is 1 and a shortcut goes around it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hwflow.compression.decision import Decision
from hwflow.compression.single_path.gates import Gate, GatedDecision, Region
from hwflow.errors import InputError, not_found
from hwflow.network.replica import replica

SMALL, LARGE = 3, 5
_NORM = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Block:
    """An inverted residual.

    Attributes:
        name: of its module.
        expand, depthwise, project: qualified names of the convolutions; `expand` is None where the expansion is 1.
        expand_norm, depthwise_norm, project_norm: of the normalizations behind them.
        kernel, expansion: its own.
        hidden: channels of the depthwise convolution.
        skippable: whether it can be left out.
    """

    name: str
    expand: str | None
    expand_norm: str | None
    depthwise: str
    depthwise_norm: str
    project: str
    project_norm: str
    kernel: int
    expansion: int
    hidden: int
    skippable: bool

    @property
    def options(self) -> dict[str, tuple[int, ...]]:
        """What can be chosen of it, by the last part of the decision's name; the last option is what it has."""
        found: dict[str, tuple[int, ...]] = {}
        if self.kernel == LARGE:
            found["kernel"] = (SMALL, LARGE)
        if self.expand is not None and self.expansion % 2 == 0:
            found["expansion"] = (self.expansion // 2, self.expansion)
        if self.skippable:
            found["depth"] = (0, 1)
        return found


def find_blocks(model: nn.Module, name: str) -> tuple[Block, ...]:
    """The blocks of a network of which something can be chosen, in order.

    Args:
        name: of the network, for the error.

    Raises:
        InputError: where there is none.
    """
    found = [block for path, module in model.named_modules() if (block := _block(path, module)) is not None]
    searchable = tuple(block for block in found if block.options)
    if not searchable:
        why = f"its {len(found)} inverted residuals have kernels of 3 x 3, odd expansions and no shortcuts" if found else ""
        raise InputError(
            f"{name} has no block to search: {why or 'none of its modules is an inverted residual'}. A search needs inverted "
            "residuals (1 x 1 expansion, depthwise convolution, 1 x 1 projection) with a kernel of 5 x 5, an even expansion or "
            "a shortcut: small_mbconv and mobilenet_v2 of the zoo, or a network of hwflow.network.models.InvertedResidual. "
            "'hwflow prune' removes channels of any network."
        )
    return searchable


def decisions_of(blocks: Sequence[Block], rows: Mapping[str, Sequence[int]]) -> tuple[Decision, ...]:
    """What can be chosen, block by block.

    Args:
        rows: of each block, its rows in the network.
    """
    return tuple(
        Decision(f"{block.name}.{kind}", options, tuple(rows[block.name]))
        for block in blocks
        for kind, options in block.options.items()
    )


def gated(blocks: Sequence[Block], decisions: Sequence[Decision]) -> tuple[GatedDecision, ...]:
    """The gates of these decisions.

    The kernel's gate looks at the ring around the inner 3 x 3 weights and multiplies it. The expansion's looks at the second
    half of the depthwise filters, the depth's at the first half, both on kernels as their gate leaves them; they multiply
    scale and shift of the normalization behind the filters, and of that behind the projection.
    """
    by_name = {decision.name: decision for decision in decisions}
    found = []
    for block in blocks:
        half = torch.zeros(block.hidden)
        half[block.hidden // 2 if "expansion" in block.options else block.hidden :] = 1
        filters = half.view(-1, 1, 1, 1)
        gates = {
            "kernel": Gate((Region(f"{block.depthwise}.weight", _ring()),), (Region(f"{block.depthwise}.weight", _ring()),)),
            "expansion": Gate((Region(f"{block.depthwise}.weight", filters),), _affine(block.depthwise_norm, half)),
            "depth": Gate((Region(f"{block.depthwise}.weight", 1 - filters),), _affine(block.project_norm, torch.ones(1))),
        }
        found += [GatedDecision(by_name[f"{block.name}.{kind}"], (gates[kind],)) for kind in block.options]
    return tuple(found)


def chosen(model: nn.Module, blocks: Sequence[Block], choice: Mapping[str, int]) -> nn.Module:
    """A copy of the network with what was chosen of its blocks; weights are those that the choice leaves of the network's.

    Raises:
        InputError: for a choice that names what cannot be chosen, or a value that is no option.
    """
    options = {f"{block.name}.{kind}": own for block in blocks for kind, own in block.options.items()}
    for name, value in choice.items():
        if name not in options:
            raise not_found("decision", name, options)
        if value not in options[name]:
            raise InputError(f"the plan has {value!r} for {name}; allowed: {', '.join(map(str, options[name]))}.")
    smaller = replica(model)
    for block in blocks:
        own = {kind: choice.get(f"{block.name}.{kind}", widths[-1]) for kind, widths in block.options.items()}
        if own.get("depth") == 0:
            smaller.set_submodule(block.name, nn.Identity())
            continue
        if own.get("kernel") == SMALL:
            _crop(smaller.get_submodule(block.depthwise))
        if own.get("expansion", block.expansion) != block.expansion:
            _halve(smaller, block)
    return smaller


# Finding them --------------------------------------------------------------------------------------------------------


def _block(name: str, module: nn.Module) -> Block | None:
    sequence = getattr(module, "conv", None)
    if not name or not isinstance(sequence, nn.Sequential):
        return None
    leaves = [(path, leaf) for path, leaf in sequence.named_modules() if not list(leaf.children())]
    convs = [(f"{name}.conv.{path}", leaf) for path, leaf in leaves if isinstance(leaf, nn.Conv2d)]
    norms = [(f"{name}.conv.{path}", leaf) for path, leaf in leaves if isinstance(leaf, _NORM)]
    others = [leaf for _, leaf in leaves if not isinstance(leaf, (nn.Conv2d, _NORM, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU))]
    if others or len(convs) != len(norms) or len(convs) not in (2, 3):
        return None
    *first, (depthwise, middle), (project, last) = convs
    if not _is_block([conv for _, conv in first], middle, last) or not all(norm.affine for _, norm in norms):
        return None
    residual = bool(getattr(module, "is_residual", getattr(module, "use_res_connect", False)))
    expand = first[0][1] if first else None
    return Block(
        name,
        first[0][0] if first else None,
        norms[0][0] if first else None,
        depthwise,
        norms[-2][0],
        project,
        norms[-1][0],
        middle.kernel_size[0],
        1 if expand is None else middle.out_channels // expand.in_channels,
        middle.out_channels,
        residual,
    )


def _is_block(first: Sequence[nn.Conv2d], middle: nn.Conv2d, last: nn.Conv2d) -> bool:
    square = middle.kernel_size[0] == middle.kernel_size[1] and middle.padding == tuple(k // 2 for k in middle.kernel_size)
    depthwise = middle.groups == middle.in_channels == middle.out_channels and middle.dilation == (1, 1)
    pointwise = all(conv.kernel_size == (1, 1) and conv.groups == 1 and conv.bias is None for conv in (*first, last))
    whole = all(conv.out_channels % conv.in_channels == 0 for conv in first)
    return square and depthwise and pointwise and whole and middle.bias is None


def _ring() -> Tensor:
    ring = torch.ones(1, 1, LARGE, LARGE)
    ring[..., 1:-1, 1:-1] = 0
    return ring


def _affine(norm: str, inside: Tensor) -> tuple[Region, ...]:
    return Region(f"{norm}.weight", inside), Region(f"{norm}.bias", inside)


# Smaller modules -----------------------------------------------------------------------------------------------------


def _crop(conv: Any) -> None:
    """The inner 3 x 3 weights of a depthwise convolution, in place."""
    conv.weight = nn.Parameter(conv.weight.detach()[..., 1:-1, 1:-1].clone(), requires_grad=conv.weight.requires_grad)
    conv.kernel_size, conv.padding = (SMALL, SMALL), (SMALL // 2, SMALL // 2)
    conv._reversed_padding_repeated_twice = [SMALL // 2] * 4


def _halve(model: nn.Module, block: Block) -> None:
    """The first half of the hidden channels, in place."""
    assert block.expand is not None
    assert block.expand_norm is not None
    kept = block.hidden // 2
    expand, depthwise, project = (model.get_submodule(n) for n in (block.expand, block.depthwise, block.project))
    for conv, axis in ((expand, 0), (depthwise, 0), (project, 1)):
        old: Any = conv.weight
        conv.weight = nn.Parameter(old.detach().narrow(axis, 0, kept).clone(), requires_grad=old.requires_grad)
    made: list[tuple[Any, tuple[str, ...]]] = [
        (expand, ("out_channels",)),
        (depthwise, ("in_channels", "out_channels", "groups")),
        (project, ("in_channels",)),
    ]
    for module, names in made:
        for name in names:
            setattr(module, name, kept)
    for name in (block.expand_norm, block.depthwise_norm):
        norm: Any = model.get_submodule(name)
        norm.num_features = kept
        for key in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(norm, key)
            if value is not None:
                less = value.detach()[:kept].clone()
                setattr(norm, key, nn.Parameter(less) if isinstance(value, nn.Parameter) else less)


__all__ = ["Block", "chosen", "decisions_of", "find_blocks", "gated"]

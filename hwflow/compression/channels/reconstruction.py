"""Least-squares reconstruction: after channels were cut, what reads the others is refitted to its outputs in the whole network.

The second step of channel pruning by He et al. (ICCV 2017, arXiv:1707.06168, equation 4), which AMC uses before it measures
accuracy (arXiv:1802.03494, section 3.3). Layers are refitted one after another in the order of execution: the inputs are those
of the pruned network whose earlier layers are refitted already, the targets the outputs of the whole network, at a few random
places of each image. Ours is that weights are drawn towards those that the cut left (ridge), for layers with few samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.surgery import Ranking, ranked
from hwflow.datasets.samples import Samples, derived
from hwflow.errors import HwflowError
from hwflow.network.from_torch import unwrapped
from hwflow.training.score import modes_kept, placed

IMAGES = 300
_PLACES = 10  # of each image, as in the paper
_BATCH = 50
_RIDGE, _LEAST_RIDGE = 1e-3, 1e-12  # times the mean square of the inputs; the least keeps the matrix invertible


class Refit(NamedTuple):
    """How far a layer's outputs are from those in the whole network, as a share of their mean square.

    Attributes:
        before, after: with the weights that were left of it, and with the refitted ones, on the samples that it was fitted on.
    """

    before: float
    after: float


def reconstruct(
    small: nn.Module,
    whole: nn.Module,
    grouping: Grouping,
    plan: Mapping[str, int],
    ranking: Ranking,
    samples: Samples,
    *,
    images: int = IMAGES,
    ridge: float = _RIDGE,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Refit]:
    """Refit, in place, the layers of a pruned network whose inputs were cut; by name, how well that went.

    Refitted are convolutions of two axes in one group, and linear layers: their outputs are linear in their weights.

    Args:
        small: from `prune_model` with this plan and ranking.
        whole: the network that was pruned.
        samples: of training; `images` of them are drawn.
        ridge: weight of the distance to the weights before, times the mean square of the inputs.

    Raises:
        InputError: for a plan or a ranking that does not belong to the grouping.
        HwflowError: where a layer's inputs or outputs are not finite.
    """
    whole = unwrapped(whole)
    gone = _removed(grouping, plan, ranking)
    layers = [name for name in _readers(grouping, plan) if _refittable(whole.get_submodule(name))]
    if not layers:
        return {}
    batches = []
    for chosen, _ in samples.batches(_BATCH, seed=derived("reconstruction", seed), device=device):
        batches.append(chosen)
        if len(batches) * _BATCH >= images:
            break
    found = {}
    with placed(whole, device), placed(small, device), modes_kept(whole), modes_kept(small), torch.no_grad():
        whole.eval(), small.eval()
        wanted = _outputs(whole, layers, batches, seed)
        for name in wanted:  # not of layers whose weights are used without calling them
            layer = small.get_submodule(name)
            inputs = _inputs(small, name, batches, seed)
            kept = [m for m in range(wanted[name].shape[1]) if m not in gone.get(name, set())]
            found[name] = _fit(name, layer, inputs, wanted[name][:, kept], ridge)
    return found


def _readers(grouping: Grouping, plan: Mapping[str, int]) -> list[str]:
    """The layers whose inputs a plan cuts, in order of execution."""
    cut = {name for g in grouping.groups if plan.get(g.name, g.channels) < g.channels for name in g.consumers}
    return [name for name in dict.fromkeys(row.name.partition("#")[0] for row in grouping.network.layers) if name in cut]


def _refittable(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1)


def _removed(grouping: Grouping, plan: Mapping[str, int], ranking: Ranking) -> dict[str, set[int]]:
    """The outputs that a plan takes from each layer."""
    found: dict[str, set[int]] = {}
    for group, width in zip(grouping.groups, grouping.widths_of(plan), strict=True):
        units = ranked(group, ranking)[width // group.unit :]
        for producer in group.producers:
            for slot in group.slots:
                if slot.tensor == f"{producer}.weight" and slot.axis == 0:
                    each = len(slot.positions) // group.units
                    positions = (p for u in units for p in slot.positions[u * each : (u + 1) * each])
                    found.setdefault(producer, set()).update(positions)
    return found


# What layers read and make --------------------------------------------------------------------------------------------


def _outputs(model: nn.Module, layers: list[str], batches: list[Tensor], seed: int) -> dict[str, Tensor]:
    """By layer, what it makes at the places that are drawn, as (places, channels)."""
    found: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            found[name].append(_rows(layer, None, output, derived(f"places of {name}", seed, len(found[name]))).double())

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    try:
        for images in batches:
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(rows) for name, rows in found.items() if rows}


def _inputs(model: nn.Module, name: str, batches: list[Tensor], seed: int) -> Tensor:
    """What a layer reads at the same places, as (places, values)."""
    found: list[Tensor] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(_rows(layer, inputs[0], output, derived(f"places of {name}", seed, len(found))).double())

    handle = model.get_submodule(name).register_forward_hook(hook)
    try:
        for images in batches:
            model(images)
    finally:
        handle.remove()
    return torch.cat(found)


def _rows(layer: nn.Module, read: Tensor | None, made: Tensor, seed: int) -> Tensor:
    """Some places of what a layer made, or of what it read for them."""
    generator = torch.Generator().manual_seed(seed)
    if not isinstance(layer, nn.Conv2d):
        rows = made.flatten(0, -2) if read is None else read.flatten(0, -2)
        count = min(len(rows), made.shape[0] * _PLACES)
        return rows if count == len(rows) else rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]
    n, _, height, width = made.shape
    place = torch.randint(height * width, (n, min(_PLACES, height * width)), generator=generator).to(made.device)
    y, x, image = place // width, place % width, torch.arange(n, device=made.device)[:, None]
    if read is None:
        return made[image, :, y, x].flatten(0, 1)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = nn.functional.pad(read, layer._reversed_padding_repeated_twice, mode=mode)
    rows, columns = (
        at[:, :, None] * stride + torch.arange(size, device=made.device) * apart
        for at, stride, size, apart in zip((y, x), layer.stride, layer.kernel_size, layer.dilation, strict=True)
    )
    patches = padded[image[:, :, None, None], :, rows[:, :, :, None], columns[:, :, None, :]]  # (n, places, R, S, C)
    return patches.permute(0, 1, 4, 2, 3).flatten(0, 1).flatten(1)


# Least squares --------------------------------------------------------------------------------------------------------


def _fit(name: str, layer: nn.Module, inputs: Tensor, wanted: Tensor, ridge: float) -> Refit:
    """Give a layer the weights, and the bias where it has one, with which its outputs are nearest to those that are wanted."""
    if not bool(inputs.isfinite().all() and wanted.isfinite().all()):
        raise HwflowError(f"{name} cannot be refitted: what it reads, or makes in the whole network, is not finite on images.")
    weight, bias = layer.weight, layer.bias
    before = weight.flatten(1).double().T
    if bias is not None:
        inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1)
        before = torch.cat([before, bias.double()[None]])
    missing = wanted - inputs @ before
    size = float(inputs.square().sum() / inputs.shape[1])
    if size == 0:  # nothing arrives, so no weight matters
        return Refit(1.0, 1.0)
    wide = inputs.shape[1] > len(inputs)  # of the two equal forms of the solution, the one with the smaller matrix
    square = inputs @ inputs.T if wide else inputs.T @ inputs
    square.diagonal().add_(max(ridge, _LEAST_RIDGE) * size)
    factor = torch.linalg.cholesky(square)
    change = inputs.T @ torch.cholesky_solve(missing, factor) if wide else torch.cholesky_solve(inputs.T @ missing, factor)
    after = before + change
    values = after if bias is None else after[:-1]
    weight.copy_(values.T.reshape(weight.shape))
    if bias is not None:
        bias.copy_(after[-1])
    scale = float(wanted.square().mean()) or 1.0
    return Refit(float(missing.square().mean()) / scale, float((missing - inputs @ change).square().mean()) / scale)


__all__ = ["IMAGES", "Refit", "reconstruct"]

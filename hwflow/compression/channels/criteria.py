"""How important a group's channels are, by criteria of the literature.

A group's channels lie in several tensors. Unless a criterion says otherwise, the importance of a unit is the sum over all
weights that are coupled with it, on the side of outputs and of inputs: those of convolutions and linear layers, and the scales
of normalisations (Fang et al., "DepGraph", CVPR 2023, arXiv:2301.12900, section 3.3, without its normalisation, which does not
change the order within a group). Biases and running statistics do not count.

Scores rank the units of one group. Between groups they can be compared where `Criterion.between_groups` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from hwflow.compression.channels.grouped_tensors import by_unit, check_grouped, tensors_of
from hwflow.compression.channels.groups import Group, Grouping, Slot
from hwflow.datasets.samples import Samples, derived
from hwflow.errors import InputError, not_found
from hwflow.network.from_torch import unwrapped
from hwflow.network.replica import replica
from hwflow.training.score import cross_entropy, first_output

_BATCH, _BATCHES = 64, 16  # of the samples that gradients are taken on; ours


class Subject:
    """What a criterion may look at: a model's tensors, gradients on samples, and random numbers.

    Attributes:
        model: the model, without wrappers.
        tensors: its parameters and buffers, detached, by name.
        seed: of everything random.
    """

    def __init__(self, model: nn.Module, samples: Samples | None, seed: int) -> None:
        self.model, self.seed, self._samples = model, seed, samples
        self.tensors = {name: tensor.detach() for name, tensor in tensors_of(model).items()}

    def rows(self, slot: Slot, group: Group, power: int = 1) -> torch.Tensor:
        """The weights of each unit in one tensor, to a power, as (units, elements) in double precision on the CPU."""
        values = self.tensors[slot.tensor]
        return by_unit(values if power == 1 else values.pow(power), slot, group.units).double().cpu()

    @cached_property
    def scales(self) -> frozenset[str]:
        """The names of the scales of batch normalisations."""
        norms = (m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        scales = {id(norm.weight) for norm in norms if norm.weight is not None}
        return frozenset(name for name, parameter in self.model.named_parameters() if id(parameter) in scales)

    @cached_property
    def saliency(self) -> dict[str, torch.Tensor]:
        """(gradient x weight)^2 of every parameter, element by element, averaged over batches of the samples.

        The gradient is that of the mean cross-entropy of a batch, in evaluation mode; up to 16 batches of 64 samples are drawn.
        """
        assert self._samples is not None
        copy = replica(self.model).eval()
        trained = {name: p.requires_grad_() for name, p in copy.named_parameters() if p.is_floating_point()}
        device = next(iter(trained.values())).device
        found = {name: torch.zeros_like(p, requires_grad=False) for name, p in trained.items()}
        batches = self._samples.batches(_BATCH, seed=derived("saliency", self.seed), device=str(device))
        done = 0
        for images, labels in batches:
            loss = cross_entropy(first_output(copy(images)).float(), labels)
            gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
            for (name, weights), gradient in zip(trained.items(), gradients, strict=True):
                if gradient is not None:
                    found[name] += (gradient * weights.detach()) ** 2
            done += 1
            if done == _BATCHES:
                break
        return {name: total / done for name, total in found.items()}


Measure = Callable[[Subject, Group], torch.Tensor]
"""The importance of each unit of a group, (units,)."""


@dataclass(frozen=True)
class Criterion:
    """A way to tell how important channels are.

    Attributes:
        name: as users write it.
        measure: of one group.
        source: who published it.
        needs_samples: whether it looks at samples, not at weights only.
        between_groups: whether it was made to compare units of different groups.
    """

    name: str
    measure: Measure
    source: str
    needs_samples: bool = False
    between_groups: bool = False


def scores(
    model: nn.Module, grouping: Grouping, criterion: str | Criterion = "l1", samples: Samples | None = None, *, seed: int = 0
) -> dict[str, tuple[float, ...]]:
    """The importance of every group's units, by group; higher is more important.

    Args:
        model: the one that was grouped, on any device; it is not changed.
        criterion: a name of `CRITERIA`, or a criterion of one's own.
        samples: training samples, for criteria that need some.
        seed: of the samples that are drawn, and of random scores.

    Raises:
        InputError: for an unknown criterion, one that needs samples where there are none, batch normalisation where a group has
            none, scores that are not finite, or a model that is not the one that was grouped.
    """
    chosen = criterion_named(criterion) if isinstance(criterion, str) else criterion
    if chosen.needs_samples and not samples:
        raise InputError(f"the criterion {chosen.name} takes gradients on training samples: give it samples, at least one.")
    model = unwrapped(model)
    check_grouped(model, tensors_of(model), grouping.groups)
    subject = Subject(model, samples, seed)
    found = {}
    for group in grouping.groups:
        values = tuple(chosen.measure(subject, group).tolist())
        for unit, value in enumerate(values):
            if not math.isfinite(value):
                raise InputError(
                    f"the importance of unit {unit} of {group.name!r} by {chosen.name} is {value}: weights"
                    f"{' or gradients' if chosen.needs_samples else ''} of {', '.join(group.producers)} or of what is coupled "
                    "with it are not finite, or too large. Train the network anew, or take weights from before it diverged."
                )
        found[group.name] = values
    return found


def criterion_named(name: str) -> Criterion:
    """One of `CRITERIA`.

    Raises:
        InputError: for an unknown name, listing those that there are.
    """
    if name not in CRITERIA:
        raise not_found("criterion", name, CRITERIA)
    return CRITERIA[name]


# Criteria ------------------------------------------------------------------------------------------------------------


def _magnitude(power: int) -> Measure:
    def measure(subject: Subject, group: Group) -> torch.Tensor:
        return _summed(group, [subject.rows(s, group, power).abs().sum(1) for s in group.slots if s.weighs])

    return measure


def _lamp(subject: Subject, group: Group) -> torch.Tensor:
    """A unit's squared norm over the sum of those that are not smaller."""
    squares = _magnitude(2)(subject, group)
    order = torch.sort(squares, stable=True).indices
    left = squares[order].flip(0).cumsum(0).flip(0)
    found = torch.empty_like(squares)
    found[order] = torch.where(left > 0, squares[order] / left, 0.0)
    return found


def _geometric_median(subject: Subject, group: Group) -> torch.Tensor:
    """The sum of distances from a unit's kernels to those of all other units of the group, tensor by tensor."""
    rows = [subject.rows(s, group) for s in group.slots if s.weighs and subject.tensors[s.tensor].dim() > 1]
    return _summed(group, [torch.cdist(r, r, compute_mode="donot_use_mm_for_euclid_dist").sum(1) for r in rows])


def _taylor(subject: Subject, group: Group) -> torch.Tensor:
    saliency = subject.saliency
    slots = [s for s in group.slots if s.weighs and s.tensor in saliency]
    return _summed(group, [by_unit(saliency[s.tensor], s, group.units).double().cpu().sum(1) for s in slots])


def _scale(subject: Subject, group: Group) -> torch.Tensor:
    slots = [slot for slot in group.slots if slot.tensor in subject.scales]
    if not slots:
        raise InputError(
            f"the criterion bn_scale ranks channels by the scales of batch normalisation, and the group {group.name!r} has "
            "none: choose another criterion, or exclude the group."
        )
    return _summed(group, [subject.rows(slot, group).abs().sum(1) for slot in slots])


def _random(subject: Subject, group: Group) -> torch.Tensor:
    generator = torch.Generator().manual_seed(derived(f"criterion of {group.name}", subject.seed))
    return torch.rand(group.units, generator=generator, dtype=torch.float64)


def affine(alpha: Mapping[str, float], kappa: Mapping[str, float]) -> Criterion:
    """LeGR's ranking of all filters of a network: alpha ||filter||^2 + kappa, with two numbers for each layer.

    A unit that several layers make has the sum of what it has in each. Only filters count, not what reads the channels: then
    scaling a layer's weights by c and its alpha by 1 / c^2 changes nothing.

    Args:
        alpha, kappa: by producer; 1 and 0 where a layer is not named.
    """

    def measure(subject: Subject, group: Group) -> torch.Tensor:
        made = []
        for producer in group.producers:
            module = subject.model.get_submodule(producer)
            axis = 1 if getattr(module, "transposed", False) else 0
            slots = (s for s in group.slots if s.tensor == f"{producer}.weight" and s.axis == axis)
            squares = [subject.rows(slot, group, 2).sum(1) for slot in slots]
            made += [alpha.get(producer, 1.0) * square + kappa.get(producer, 0.0) for square in squares]
        return _summed(group, made)

    return Criterion("affine", measure, "Chin et al., CVPR 2020, arXiv:1904.12368", between_groups=True)


def _summed(group: Group, parts: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(parts).sum(0) if parts else torch.zeros(group.units, dtype=torch.float64)


CRITERIA: dict[str, Criterion] = {
    one.name: one
    for one in (
        Criterion("l1", _magnitude(1), "Li et al., ICLR 2017, arXiv:1608.08710"),
        Criterion("l2", _magnitude(2), "He et al., IJCAI 2018, arXiv:1808.06866; the squared norm", between_groups=True),
        Criterion("fpgm", _geometric_median, "He et al., CVPR 2019, arXiv:1811.00250"),
        Criterion("taylor", _taylor, "Molchanov et al., CVPR 2019, arXiv:1906.10771", needs_samples=True, between_groups=True),
        Criterion("bn_scale", _scale, "Liu et al., ICCV 2017, arXiv:1708.06519", between_groups=True),
        Criterion("lamp", _lamp, "Lee et al., ICLR 2021, arXiv:2010.07611; of units instead of weights", between_groups=True),
        Criterion("random", _random, "a control"),
    )
}
"""By the name that users write.

- `l1`, `l2`: sums of absolute values, of squares.
- `fpgm`: the sum of distances to the group's other units, small for units near the geometric median, which others can replace.
  Published for filters; here it is summed over all coupled kernels, without normalisations, whose scales are single numbers.
- `taylor`: (gradient x weight)^2, summed over a unit's weights (equation 8) and averaged over batches of samples.
- `bn_scale`: absolute scales of the group's batch normalisations, as in network slimming.
- `lamp`: a unit's square over the sum of the squares of all units of the group that are not smaller. Published for single
  weights of a layer; a unit takes the place of a weight here. Within a group the order is `l2`'s; between groups it differs.
- `random`: drawn from the seed.
"""

__all__ = ["CRITERIA", "Criterion", "Measure", "Subject", "affine", "criterion_named", "scores"]

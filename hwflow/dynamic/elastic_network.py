# mypy: allow-subclassing-any
"""`ElasticNetwork`: one set of weights, of which every sub-network of a space takes the first channels and blocks.

After once-for-all networks (Cai et al., ICLR 2020, arXiv:1908.09791) and slimmable ones (Yu et al., ICCV 2019,
arXiv:1903.05134): channels are sorted by the L1 norm of their weights, so that the first ones are the most important, and
sub-networks are trained together by the sandwich rule. Normalisations keep the statistics of the whole; a sub-network's own are
estimated when it is taken out (`hwflow.training.score.reestimate_batchnorm`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from hwflow.compression.channels.grouped_tensors import tensors_of
from hwflow.compression.channels.groups import Slot
from hwflow.compression.channels.surgery import rank_channels, shrunk
from hwflow.compression.decision import Choice
from hwflow.datasets.samples import Samples, derived
from hwflow.dynamic.elastic_space import ElasticSpace
from hwflow.errors import check_whole
from hwflow.network.replica import replica
from hwflow.training.hooks import Batch, TrainingHook
from hwflow.training.score import first_output

_KEPT_SKELETONS = 64


class ElasticNetwork(nn.Module):
    """A network of which `choice` says how much is computed.

    Attributes:
        whole: the network with all channels and blocks, which holds the weights.
        space: its sub-networks.
        choice: the one that is computed; set by `set_choice`.
    """

    def __init__(self, model: nn.Module, space: ElasticSpace, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.whole = replica(model)
        self.space, self.input_shape = space, input_shape
        self.choice: Choice = space.whole
        self._skeletons: dict[tuple[int, ...], tuple[nn.Module, dict[str, list[tuple[int, Tensor]]]]] = {}

    def extra_repr(self) -> str:
        """What can be chosen; part of what tells a training from another one."""
        return ", ".join(f"{name}: {options}" for name, options in self.space.options.items())

    def set_choice(self, choice: Mapping[str, int]) -> None:
        """Compute this sub-network from now on.

        Raises:
            InputError: for a choice that the space has not.
        """
        self.choice = self.space.canonical(choice)

    def forward(self, images: Tensor) -> Any:
        """What the chosen sub-network gives, with the whole network's weights, through which gradients flow to these.

        While it is trained, normalisations take the statistics of the batch; those of the whole are kept by the whole alone.
        """
        if self.choice == self.space.canonical(self.space.whole):
            return self.whole(images)
        skeleton, cuts = self._skeleton()
        skeleton.train(self.training)
        tensors = tensors_of(self.whole)
        own = {name: _cut(tensors[name], cuts.get(name, [])) for name in tensors_of(skeleton)}
        if self.training:
            buffers = {name for name, _ in skeleton.named_buffers()}
            own = {name: value.clone() if name in buffers else value for name, value in own.items()}
        return functional_call(skeleton, own, (images,))

    def extracted(self, choice: Mapping[str, int]) -> nn.Module:
        """A sub-network as a plain module with tensors of its own, in evaluation mode; its normalisations have the statistics
        of the whole.

        Raises:
            InputError: for a choice that the space has not.
        """
        return _taken(self.whole, self.space, self.space.canonical(choice)).eval()

    def _skeleton(self) -> tuple[nn.Module, dict[str, list[tuple[int, Tensor]]]]:
        """The sub-network's modules, and where in the whole's tensors its own are."""
        key = tuple(self.choice.values())
        found = self._skeletons.get(key)
        if found is None:
            if len(self._skeletons) >= _KEPT_SKELETONS:
                self._skeletons.pop(next(iter(self._skeletons)))
            module = _taken(self.whole, self.space, self.choice).to("meta")  # its tensors are given with each call
            cuts: dict[str, list[tuple[int, Tensor]]] = {}
            for group, width in self.space.kept(self.choice):
                for slot in group.slots if width < group.channels else ():
                    each = len(slot.positions) // group.units
                    gone = set(slot.positions[width // group.unit * each :])
                    kept = torch.tensor([p for p in range(slot.size) if p not in gone])
                    cuts.setdefault(slot.tensor, []).append((slot.axis, kept))
            found = self._skeletons[key] = module, {name: _joined(own) for name, own in cuts.items()}
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> ElasticNetwork:
        made = ElasticNetwork(replica(self.whole, memo), self.space, self.input_shape)
        made.choice = dict(self.choice)
        made.train(self.training)
        return made


def sorted_network(
    model: nn.Module, space: ElasticSpace, criterion: str = "l1", samples: Samples | None = None, *, seed: int = 0
) -> nn.Module:
    """A copy that computes the same, with the channels of each group in the order of their importance.

    Args:
        criterion, samples, seed: as of `hwflow.compression.channels.criteria.scores`.
    """
    order = rank_channels(model, space.grouping, criterion, samples, seed=seed)
    copy = replica(model)
    tensors = tensors_of(copy)
    moves: dict[str, list[tuple[int, Tensor]]] = {}
    for group in space.grouping.groups:
        for slot in group.slots:
            moves.setdefault(slot.tensor, []).append((slot.axis, _moved(slot, group.units, order[group.name])))
    with torch.no_grad():
        for name, steps in moves.items():
            value = tensors[name]
            for axis, places in steps:
                value.copy_(value.index_select(axis, places.to(value.device)))
    return copy


def _moved(slot: Slot, units: int, order: tuple[int, ...]) -> Tensor:
    """Which position each position's values come from."""
    places, each = list(range(slot.size)), len(slot.positions) // units
    for rank, unit in enumerate(order):
        for i in range(each):
            places[slot.positions[rank * each + i]] = slot.positions[unit * each + i]
    return torch.tensor(places)


def _taken(model: nn.Module, space: ElasticSpace, choice: Choice) -> nn.Module:
    copy = replica(model)
    for name in space.dropped(choice):
        copy.set_submodule(name, nn.Identity())
    return shrunk(copy, [(group, range(width // group.unit, group.units)) for group, width in space.kept(choice)])


def _joined(cuts: list[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    """One list of positions for each axis: several groups may lie along one, as behind a concatenation."""
    axes: dict[int, set[int]] = {}
    for axis, kept in cuts:
        own = set(kept.tolist())
        axes[axis] = axes[axis] & own if axis in axes else own
    return [(axis, torch.tensor(sorted(kept))) for axis, kept in axes.items()]


def _cut(value: Tensor, cuts: list[tuple[int, Tensor]]) -> Tensor:
    for axis, kept in cuts:
        length = len(kept)
        first = bool(int(kept[-1]) == length - 1)  # mostly so: then it is a view
        value = value.narrow(axis, 0, length) if first else value.index_select(axis, kept.to(value.device))
    return value


class Sandwich(TrainingHook):
    """The sandwich rule: each step trains the whole, the smallest and some random sub-networks; all but the whole learn what
    the whole answers instead of the labels (Yu et al., ICCV 2019, arXiv:1903.05134, section 3). Their losses are averaged,
    which is ours: a learning rate then means what it does for one network.

    Args:
        drawn: random sub-networks in each step.
        seed: of these; step by step, so that a continued run draws the same.
    """

    def __init__(self, drawn: int = 2, seed: int = 0) -> None:
        check_whole("random sub-networks of a step", drawn, 100, 0)
        self.drawn, self.seed, self._step = drawn, seed, 0

    def identity(self) -> Mapping[str, str]:
        """What is drawn."""
        return {"the sub-networks of a step": f"{self.drawn} of seed {self.seed}"}

    def start(self, model: nn.Module, steps: int) -> None:
        """Keep the network."""
        assert isinstance(model, ElasticNetwork)
        self._model = model

    def loss(self, batch: Batch, loss: Tensor) -> Tensor:
        """The mean of the whole's loss and the divergences of the others from it."""
        model = self._model
        wanted = functional.softmax(batch.logits.detach(), dim=1)
        others = [model.space.smallest, *self._random()]
        try:
            for choice in others:
                model.set_choice(choice)
                logits = first_output(model(batch.images)).float()
                loss = loss + functional.cross_entropy(logits, wanted)
        finally:
            model.set_choice(model.space.whole)
        return loss / (1 + len(others))

    def _random(self) -> list[Choice]:
        generator = torch.Generator().manual_seed(derived("sandwich", self.seed, self._step))
        options = self._model.space.options
        return [
            {name: own[int(torch.randint(len(own), (), generator=generator))] for name, own in options.items()}
            for _ in range(self.drawn)
        ]

    def after_step(self, step: int) -> None:
        """The next one."""
        self._step = step + 1

    def state_dict(self) -> dict[str, Any]:
        """Steps done."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there."""
        self._step = int(state["step"])


__all__ = ["ElasticNetwork", "Sandwich", "sorted_network"]

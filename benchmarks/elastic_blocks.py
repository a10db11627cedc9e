# mypy: allow-subclassing-any
"""An elastic network of inverted residuals, to compare Single-Path search with: kernels, expansions and blocks are chosen among
sub-networks that are trained together, and an evolution takes the most accurate one within a limit.

The space is that of `hwflow search`, and what a choice leaves out is what its gates close; training and evolution are those of
`hwflow library` (`hwflow.dynamic`), whose own space is channels and blocks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from hwflow.compression.decision import Choice, Decision
from hwflow.compression.single_path.blocks import Block, chosen, gated
from hwflow.datasets import Data
from hwflow.dynamic.choice_evolution import EvolutionSettings, evolve
from hwflow.network.replica import replica
from hwflow.training import Recipe, fit, score
from hwflow.training.hooks import Batch, TrainingHook
from hwflow.training.score import reestimate_batchnorm

BATCHES, BATCH = 4, 250  # on which the statistics of a sub-network are measured


class ElasticBlocks(nn.Module):
    """A network of which `choice` says what is computed; the whole has all weights."""

    def __init__(self, model: nn.Module, blocks: Sequence[Block], decisions: Sequence[Decision]) -> None:
        super().__init__()
        self.whole, self.blocks = replica(model), tuple(blocks)
        self.options = {one.name: one.options for one in decisions}
        self.choice: Choice = {name: own[-1] for name, own in self.options.items()}
        self._closed = {
            one.variable.name: {region.parameter: 1 - region.inside for gate in one.gates for region in gate.multiplied}
            for one in gated(blocks, decisions)
        }

    def forward(self, images: Tensor) -> Tensor:
        """What the sub-network gives; running statistics are those of the whole alone."""
        closed = [name for name, own in self.options.items() if self.choice[name] == own[0]]
        values = dict(self.whole.named_parameters())
        for name in closed:
            for parameter, mask in self._closed[name].items():
                values[parameter] = values[parameter] * mask
        if closed:
            values |= {name: buffer.clone() for name, buffer in self.whole.named_buffers()}
        found: Tensor = functional_call(self.whole, values, (images,))
        return found

    def extra_repr(self) -> str:
        """What can be chosen."""
        return str(self.options)


class AllChoices(TrainingHook):
    """The sandwich rule, as `hwflow.dynamic.elastic_network.Sandwich`: whole, smallest and `drawn` random sub-networks."""

    def __init__(self, drawn: int = 2) -> None:
        self.drawn, self._step = drawn, 0

    def identity(self) -> Mapping[str, str]:
        """What is drawn."""
        return {"the sub-networks of a step": str(self.drawn)}

    def start(self, model: nn.Module, steps: int) -> None:
        """Keep the network."""
        assert isinstance(model, ElasticBlocks)
        self._model = model

    def loss(self, batch: Batch, loss: Tensor) -> Tensor:
        """The mean of the whole's loss and of the others' distance from its answers."""
        model, wanted = self._model, functional.softmax(batch.logits.detach(), dim=1)
        draw = random.Random(self._step)
        smallest = {name: own[0] for name, own in model.options.items()}
        others = [smallest, *({n: draw.choice(own) for n, own in model.options.items()} for _ in range(self.drawn))]
        whole = model.choice
        for model.choice in others:
            loss = loss + functional.cross_entropy(model(batch.images).float(), wanted)
        model.choice = whole
        return loss / (1 + len(others))

    def after_step(self, step: int) -> None:
        """The next one."""
        self._step = step + 1

    def state_dict(self) -> dict[str, Any]:
        """Steps done."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there."""
        self._step = int(state["step"])


def trained_together(
    model: nn.Module, blocks: Sequence[Block], decisions: Sequence[Decision], data: Data, recipe: Recipe, file: Path
) -> ElasticBlocks:
    """All sub-networks of a trained network, trained together; where that is done, taken from the file."""
    network = ElasticBlocks(model, blocks, decisions)
    fit(network, *data.hold_out(), recipe, hooks=[AllChoices()], checkpoint=file)
    return network


def evolved(
    network: ElasticBlocks,
    data: Data,
    allowed: Callable[[Choice], bool],
    canonical: Callable[[Choice], Choice],
    settings: EvolutionSettings,
) -> tuple[Choice, int]:
    """The choice within a limit with the best held-out accuracy in the elastic network, and how many were measured."""
    train, held = data.hold_out()
    known: dict[tuple[int, ...], float] = {}

    def accuracy(choice: Choice) -> float:
        key = tuple(choice.values())
        if key not in known:
            module = chosen(network.whole, network.blocks, choice)
            reestimate_batchnorm(module, train, batches=BATCHES, batch_size=BATCH, device="cpu", precision="float32")
            known[key] = score(module, held, device="cpu", precision="float32").accuracy
        return known[key]

    found = evolve(network.options, accuracy, allowed, settings=settings, canonical=canonical)
    return found, len(known)


__all__ = ["AllChoices", "ElasticBlocks", "evolved", "trained_together"]

"""`BlockRows`: how the rows of a network follow from what is chosen of its blocks, so that choices can be costed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from hwflow.compression.channels.groups import Step, Widths
from hwflow.compression.decision import Decision
from hwflow.compression.single_path.blocks import Block, chosen, decisions_of
from hwflow.errors import InputError, not_found
from hwflow.layers import Layer
from hwflow.network import Network


class BlockRows:
    """A `Sizing` of `hwflow.compression.plan_costs`: the decisions, and the rows of every choice.

    A kernel changes the depthwise row, an expansion all three of a block; a block that is left out has no rows.

    Attributes:
        groups: the decisions.
    """

    layer_steps: tuple[Step, ...] = ()
    tensor_steps: tuple[Step, ...] = ()

    def __init__(self, model: nn.Module, blocks: Sequence[Block], input_shape: tuple[int, ...], name: str) -> None:
        self._model, self._blocks, self._shape = model, tuple(blocks), input_shape
        self.network = Network.from_torch(model, input_shape, name=name)
        self._of = [_block_of(layer, blocks) for layer in self.network.layers]
        rows = {block.name: [r for r, of in enumerate(self._of) if of == block] for block in blocks}
        self.groups: tuple[Decision, ...] = decisions_of(blocks, rows)
        self._places = {one.name: place for place, one in enumerate(self.groups)}
        self.dependence: tuple[tuple[int, ...], ...] = tuple(
            tuple(place for place, one in enumerate(self.groups) if of and one.name.rpartition(".")[0] == of.name)
            for of in self._of
        )

    def layer_for(self, row: int, widths: Widths) -> Layer | None:
        """A row with what is chosen of its block; None where the block is left out."""
        layer, block = self.network.layers[row], self._of[row]
        if block is None:
            return layer
        own = {self.groups[place].name.rpartition(".")[2]: widths[place] for place in self.dependence[row]}
        if own.get("depth") == 0:
            return None
        kernel = own.get("kernel", block.kernel)
        hidden = block.hidden * own.get("expansion", block.expansion) // block.expansion
        if layer.name == block.expand:
            return layer.with_(M=hidden)
        return layer.with_(G=hidden, R=kernel, S=kernel) if layer.name == block.depthwise else layer.with_(C=hidden)

    def network_for(self, plan: Mapping[str, int]) -> Network:
        """The network of a choice."""
        made = chosen(self._model, self._blocks, plan)
        return Network.from_torch(made, self._shape, name=self.network.name)

    def widths_of(self, plan: Mapping[str, int]) -> Widths:
        """A choice as a tuple; what it does not name stays as it is.

        Raises:
            InputError: for a name that is not decided, or a value that is no option.
        """
        for name, value in plan.items():
            if name not in self._places:
                raise not_found(f"decision of {self.network.name}", name, self._places)
            options = self.groups[self._places[name]].options
            if value not in options:
                raise InputError(f"the plan has {value!r} for {name}; allowed: {', '.join(map(str, options))}.")
        return tuple(plan.get(one.name, one.options[-1]) for one in self.groups)

    def settled(self, widths: Widths) -> Widths:
        """The same network, with the first option for what is not looked at: kernel and expansion of blocks left out."""
        without = {
            one.name.rpartition(".")[0] for one, width in zip(self.groups, widths, strict=True) if _leaves_out(one, width)
        }
        pairs = zip(self.groups, widths, strict=True)
        return tuple(one.options[0] if one.name.rpartition(".")[0] in without else width for one, width in pairs)


def _block_of(layer: Layer, blocks: Sequence[Block]) -> Block | None:
    """The block that a row is part of."""
    return next((block for block in blocks if layer.name in (block.expand, block.depthwise, block.project)), None)


def _leaves_out(one: Decision, width: int) -> bool:
    return one.name.endswith(".depth") and width == 0


__all__ = ["BlockRows"]

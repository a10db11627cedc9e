"""`WinogradPruning`: methods that run 3 x 3 convolutions as Winograd products and make transformed weights zero.

On a chip without support for zeros a layer costs what its dense product does, whatever its zeros; what they save there is
nothing, on a processor time. On one that does something about zeros (`sparsity`) the positions of a tile are costed with the
zeros that they have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from hwflow.compression.decision import Choice, Decision
from hwflow.compression.method import Compressed, Method, Task, running
from hwflow.compression.winograd.winograd_conv import WinogradConv2d, why_not
from hwflow.compression.winograd.zeros import Importance, SpatialZeros, TransformedZeros
from hwflow.compression.zero_budgets import check_zero_budgets, counts_zeros
from hwflow.cost.executed_network import run_as
from hwflow.cost.execution import Execution, Imported
from hwflow.errors import InputError
from hwflow.layers import DIRECT
from hwflow.network import Network
from hwflow.network.densities import living_densities
from hwflow.network.replica import replica

_FIRST_LAYER = 0.2  # of the first layer's transformed weights at most, as the authors of spatial-Winograd pruning have it
_SPATIAL = 0.6  # the most that the spatial stage leaves zero, where another one follows
_NAMED = 3
_PREFIX = "transformed weights of "


@dataclass(frozen=True)
class Variant:
    """What makes one of the methods.

    Attributes:
        about, source: as of `Method`.
        spatial: whether weights of convolutions are zeroed in patterns that survive the transform.
        importance: of positions, where transformed weights are zeroed; None where they are not.
        returning: whether zeros may become weights again while their share rises.
    """

    about: str
    source: str
    spatial: bool = False
    importance: Importance | None = None
    returning: bool = False


_YU = "Yu, Park and Naumov 2019, arXiv:1901.02132"
VARIANTS: dict[str, Variant] = {
    "winograd": Variant(
        "zeroes weights in patterns that survive Winograd's transform, then transformed weights by their effect",
        _YU,
        True,
        "errors",
    ),
    "winograd-spatial": Variant("the first of these two stages alone", _YU, True),
    "winograd-magnitude": Variant("zeroes the transformed weights of least magnitude", "", importance="magnitude"),
    "winograd-native": Variant(
        "zeroes transformed weights by thresholds for each position, which may return at first",
        "Li, Park and Tang 2017, arXiv:1702.08597",
        importance="outputs",
        returning=True,
    ),
}
"""By name of the method; one line adds another one."""


class WinogradPruning(Method):
    """One of `VARIANTS`, for all convolutions that can be Winograd layers."""

    follows_allocation = False
    needs = "zero weights skipped"
    zeroes = True

    def __init__(self, name: str) -> None:
        self.name, self._variant = name, VARIANTS[name]
        self.about, self.source = self._variant.about, self._variant.source

    def prepare(self, task: Task) -> None:
        """Refuse networks without such layers, budgets that the products will not keep, and too few epochs."""
        asked, recipe = task.settings, task.recipe
        if recipe.patience is not None:
            raise InputError(
                f"patience is {recipe.patience}, but {self.name} changes which weights are zero while it trains: an earlier "
                "epoch is another network, not a better one. Leave patience out."
            )
        if asked.winograd.thresholds != "position" and not self._variant.returning:
            raise InputError(
                f"thresholds is {asked.winograd.thresholds!r}, and {self.name} has none for single weights: leave it out, or "
                "take the method winograd-native."
            )
        if asked.execution != DIRECT:
            raise InputError(
                f"execution is {asked.execution!r}, but {self.name} runs layers as Winograd products itself; leave it out."
            )
        if self._both and recipe.epochs < 2:
            raise InputError(f"{self.name} trains in two stages and has {recipe.epochs} epoch; give it at least 2.")
        network = Compressed(task.model, {}).network(task.input_shape, task.name)
        names = self._layers(task, network)
        way = f"winograd{asked.winograd.tile}"
        if counts_zeros(task):
            shares = self._shares(task, network, names)
            network = running(network, {}, {}, {name: {"positions": 1 - share} for name, share in shares.items()})
        after = run_as(network, {la.name: way for la in network if la.name.partition("#")[0] in names})
        check_zero_budgets(task, after, f"{way} products" if counts_zeros(task) else f"dense {way} products")

    def compress(self, task: Task) -> Compressed:
        """The network with Winograd layers, of whose weights a share is zero."""
        asked, recipe, variant = task.settings.winograd, task.recipe, self._variant
        model = replica(task.model)
        network = Compressed(model, {}).network(task.input_shape, task.name)
        names = self._layers(task, network)
        shares = self._shares(task, network, names)
        trained, later, tuning = 0, recipe, None
        if variant.spatial:
            zeros = SpatialZeros({n: min(s, _SPATIAL) if self._both else s for n, s in shares.items()}, asked.tile)
            if self._both:
                epochs = min(recipe.epochs - 1, max(1, round(task.settings.gradual.preparation * recipe.epochs)))
                task.train(model, f"training with {self.name}", hooks=[zeros], recipe=replace(recipe, epochs=epochs))
                later, trained = replace(recipe, epochs=recipe.epochs - epochs), epochs * len(task.data.hold_out()[0])
            else:
                tuning = task.fine_tune(model, hooks=[zeros])
        transform(model, names, asked.tile)
        if variant.importance is not None:
            already = {name: 1 - _density(model, name) for name in names}
            wanted = {name: max(share, already[name]) for name, share in shares.items()}
            hook = TransformedZeros(
                wanted,
                asked.tile,
                variant.importance,
                asked.gradient,
                first=already,
                returning=variant.returning,
                thresholds=asked.thresholds,
            )
            tuning = task.fine_tune(model, hooks=[hook], recipe=later)
        return self._result(task, model, names, tuning=tuning, trained=trained)

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """With Winograd layers where the plan has some."""
        for name in plan:
            module, m = _named(name)
            transform(model, [module], m)
        return model

    def costed(self, network: Network, plan: Mapping[str, int]) -> Network:
        """With the executions named."""
        tiles = dict(map(_named, plan))
        return running(network, {}, products(network, tiles))

    @staticmethod
    def _shares(task: Task, network: Network, names: Sequence[str]) -> dict[str, float]:
        """Of the transformed weights of each layer that are zero at the end."""
        asked, first = task.settings.winograd.sparsity, network.layers[0].name
        return {name: min(asked, _FIRST_LAYER) if name == first else asked for name in names}

    @property
    def _both(self) -> bool:
        return self._variant.spatial and self._variant.importance is not None

    def _layers(self, task: Task, network: Network) -> list[str]:
        """The modules that become Winograd layers, in the network's order.

        Raises:
            InputError: where there is none; why not, of some.
        """
        modules = dict(task.model.named_modules())
        rows = dict.fromkeys(layer.name.partition("#")[0] for layer in network)
        left_out = {name: _objection(name, modules, task.settings.exclude) for name in rows}
        if found := [name for name, why in left_out.items() if not why]:
            return found
        told = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:_NAMED])
        more = f"; and so on for all {len(left_out)}" if len(left_out) > _NAMED else ""
        raise InputError(f"no layer of {task.name} can be a Winograd layer, for {self.name} to prune: {told}{more}.")

    def _result(self, task: Task, model: nn.Module, names: Sequence[str], **more: object) -> Compressed:
        m = task.settings.winograd.tile
        network = Network.from_torch(model, task.input_shape, name=task.name)
        choice: Choice = {}
        decisions = []
        for name in names:
            total, kept = _count(model, name)
            choice[_decision(name, m)] = kept
            places = tuple(i for i, layer in enumerate(network) if layer.name.partition("#")[0] == name)
            decisions.append(Decision(_decision(name, m), tuple(sorted({kept, total})), places))
        task.folder.write("densities.json", {name: _by_position(model, name) for name in names})
        zeros = {name: 1 - _density(model, name) for name in names}
        skipped = len({la.name.partition("#")[0] for la in network}) - len(names)
        total, kept = (sum(values) for values in zip(*(_count(model, name) for name in names), strict=True))
        summary = {
            "Winograd layers": f"{len(names)} of {len(names) + skipped}, tiles of {m} x {m} outputs",
            "Zeros": f"{1 - kept / total:.1%} of {total:,} transformed weights; by layer "
            + ", ".join(f"{name} {share:.1%}" for name, share in zeros.items()),
        }
        executions = products(network, dict.fromkeys(names, m))
        return Compressed(
            model,
            choice,
            tuple(decisions),
            executions=executions,
            densities=living_densities(model),
            summary=summary,
            **more,  # type: ignore[arg-type]
        )


def transform(model: nn.Module, names: Sequence[str], m: int) -> None:
    """Make convolutions of a network Winograd layers, in place."""
    for name in names:
        parent, _, child = name.rpartition(".")
        made = WinogradConv2d.of(model.get_submodule(name), m)
        setattr(model.get_submodule(parent), child, made)


def _objection(name: str, modules: Mapping[str, nn.Module], exclude: Sequence[str]) -> str:
    if any(name == one or name.startswith(f"{one}.") for one in exclude):
        return "it is excluded"
    return why_not(modules[name]) if name in modules else "it is no module"


def tiles_of(model: nn.Module) -> dict[str, int]:
    """Outputs of a tile on each axis of every Winograd layer, by name of the module."""
    return {name: module.m for name, module in model.named_modules() if isinstance(module, WinogradConv2d)}


def products(network: Network, tiles: Mapping[str, int]) -> dict[str, Execution]:
    """The executions of rows that are Winograd products, as `running` takes them.

    Args:
        tiles: outputs of a tile on each axis, by name of the module.
    """
    named = ((layer.name, layer.name.partition("#")[0]) for layer in network)
    return {row: Imported(f"winograd{tiles[module]}") for row, module in named if module in tiles}


def _decision(module: str, m: int) -> str:
    return f"{_PREFIX}{module} (winograd{m})"


def _named(decision: str) -> tuple[str, int]:
    """The module and the m of a decision's name."""
    module, _, way = decision.removeprefix(_PREFIX).rpartition(" (winograd")
    return module, int(way.removesuffix(")"))


def _count(model: nn.Module, name: str) -> tuple[int, int]:
    weight: torch.Tensor = model.get_submodule(name).weight
    return weight.numel(), int(torch.count_nonzero(weight))


def _density(model: nn.Module, name: str) -> float:
    total, kept = _count(model, name)
    return kept / total


def _by_position(model: nn.Module, name: str) -> list[float]:
    """The share of weights that are not zero at each position of the tile, row by row."""
    weight: torch.Tensor = model.get_submodule(name).weight
    return [round(float(share), 6) for share in (weight != 0).double().mean(dim=(1, 2))]


__all__ = ["VARIANTS", "Variant", "WinogradPruning", "products", "tiles_of", "transform"]

"""`VirtualPooling`: a method that computes convolutions at every second pixel and interpolates the rest (ViP).

Which layers: those of least drop in accuracy for what they save, each measured alone, before any training. As many as the
budget needs, in rounds, each followed by fine-tuning; every round is a point of the curve of accuracy against cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import nn

from hwflow.compression.decision import Decision
from hwflow.compression.interpolation import Interpolation
from hwflow.compression.method import Compressed, Method, Task, running
from hwflow.compression.search.plan_space import unknown_metric
from hwflow.cost import execution as ways
from hwflow.cost.operators import fusions
from hwflow.errors import InputError
from hwflow.layers import DIRECT, Layer
from hwflow.network import Network
from hwflow.network.replica import replica
from hwflow.training.loop import History
from hwflow.training.score import score

_EPOCHS = 2  # of fine-tuning a round
_QUARTER, _WHOLE = 1, 4  # of four pixels, those that are computed
_NAMED = 3
_PREFIX = "virtual pooling of "


class Place(NamedTuple):
    """Where a layer is pooled: its convolution, the ReLU behind which its map is interpolated, and its row."""

    conv: str
    relu: str
    row: Layer


@dataclass(frozen=True)
class Round:
    """A point of the curve: layers that are pooled from here on, accuracy on held-out samples, and shares of the costs."""

    layers: tuple[str, ...]
    accuracy: float
    shares: Mapping[str, float]


class VirtualPooling(Method):
    """Pools layers until the budget holds, or all that can be where there is none."""

    name = "vip"
    about = "computes convolutions at every second pixel and interpolates the others"
    source = "Chen et al., WACV 2020, arXiv:1906.07912"
    follows_allocation = False

    def prepare(self, task: Task) -> None:
        """Refuse networks without layers that can be pooled, and budgets that pooling all of them does not reach."""
        if task.settings.execution != DIRECT:
            raise InputError(f"execution is {task.settings.execution!r}, but vip chooses how layers run itself; leave it out.")
        network = Compressed(task.model, {}).network(task.input_shape, task.name)
        places = _able(task, network)
        whole, least = self._totals(task, network, ()), self._totals(task, network, places)
        for budget in task.budgets:
            old, new = whole[budget.metric], least[budget.metric]
            if not budget.held(old, new):
                raise InputError(
                    f"the budget {budget} cannot be reached: with all {len(places)} layers that can be pooled, {new / old:.3g} "
                    f"of the {budget.metric} is left at {task.settings.levels[-1]}. Raise the budget."
                )

    def compress(self, task: Task) -> Compressed:
        """The network with pooled layers, fine-tuned round by round."""
        network = Compressed(task.model, {}).network(task.input_shape, task.name)
        order, drops = self._order(task, network)
        chosen = self._enough(task, network, order)
        count = max(1, min(len(chosen), task.recipe.epochs // _EPOCHS))
        cuts = [round(len(chosen) * i / count) for i in range(count + 1)]
        epochs = [task.recipe.epochs * (i + 1) // count - task.recipe.epochs * i // count for i in range(count)]
        model, curve, trained = replica(task.model), [], 0
        train, _ = task.data.hold_out()
        tuning: History | None = None
        for i in range(count):
            for place in chosen[cuts[i] : cuts[i + 1]]:
                pool(model, place)
            recipe = replace(task.recipe, epochs=epochs[i])
            if i + 1 < count:
                tuning = task.train(model, f"round {i + 1} of {count}", recipe=recipe, part=i + 1)
                trained += len(tuning.epochs) * len(train)
            else:
                tuning = task.fine_tune(model, recipe=recipe)
            now, whole = (self._totals(task, network, some) for some in (chosen[: cuts[i + 1]], ()))
            shares = {name: now[name] / whole[name] for name in now if whole[name]}
            names = tuple(place.conv for place in chosen[cuts[i] : cuts[i + 1]])
            curve.append(Round(names, tuning.epochs[tuning.kept - 1].accuracy, shares))
        return self._result(task, model, network, chosen, order, drops, curve, tuning, trained)

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """With the layers of the plan pooled."""
        network = Network.from_torch(model, input_shape)
        places, _ = poolable(model, network)
        for name, pixels in plan.items():
            if pixels != _WHOLE:
                pool(model, places[name.removeprefix(_PREFIX)])
        return model

    def costed(self, network: Network, plan: Mapping[str, int]) -> Network:
        """With the executions named."""
        return running(network, {}, _executions(network, [n.removeprefix(_PREFIX) for n, k in plan.items() if k != _WHOLE]))

    def _order(self, task: Task, network: Network) -> tuple[list[Place], dict[str, float]]:
        """All that can be pooled, by the drop for what it saves, and the drops."""
        recipe, (_, held), places = task.recipe, task.data.hold_out(), _able(task, network)
        metric = task.budgets[0].metric if task.budgets else task.settings.metric

        def accuracy(model: nn.Module) -> float:
            return score(model, held, task=task.data.task, device=recipe.device, precision=recipe.precision).accuracy

        whole, base = self._totals(task, network, ())[metric], accuracy(replica(task.model))
        drops, ratios = {}, {}
        for done, place in enumerate(places):
            task.tell(f"measuring {place.conv}", done, len(places))
            model = replica(task.model)
            pool(model, place)
            drops[place.conv] = base - accuracy(model)
            saved = 1 - self._totals(task, network, (place,))[metric] / whole
            # A layer that saves nothing comes last; a drop below nothing is noise, and the one that saves most comes first.
            ratios[place.conv] = (saved <= 0, max(drops[place.conv], 1 / len(held)) / saved if saved > 0 else -saved)
        return sorted(places, key=lambda place: ratios[place.conv]), drops

    def _enough(self, task: Task, network: Network, order: Sequence[Place]) -> list[Place]:
        """The fewest of the first ones with which the budgets hold; all where there is no budget."""
        whole = self._totals(task, network, ())
        for count in range(1, len(order) + 1) if task.budgets else ():
            now = self._totals(task, network, order[:count])
            if all(budget.held(whole[budget.metric], now[budget.metric]) for budget in task.budgets):
                return list(order[:count])
        return list(order)

    def _totals(self, task: Task, network: Network, pooled: Sequence[Place]) -> dict[str, float]:
        """A network's costs at the level of the budgets, by the names of budgets, with some of its layers pooled."""
        names = {place.conv for place in pooled}
        way = ways.VirtualPooling()
        rows = [way.rows(la)[0] if la.name in names else la for la in network]
        if not hasattr(self, "_table"):
            self._table = task.costs.table(network, task.settings.levels[-1])
        entries = [self._table[row] for row in rows]
        sums = {
            "energy": sum(entry.energy for entry in entries),
            "latency": sum(entry.latency_s for entry in entries),
            "macs": float(sum(row.macs for row in rows)),
            "params": float(sum(row.own_params for row in rows)),
            "dram_bytes": sum(entry.dram_bytes for entry in entries),
        }
        sums["edp"] = sums["energy"] * sums["latency"]
        if missing := [b.metric for b in task.budgets if not math.isfinite(sums.get(b.metric, math.nan))]:
            raise InputError(unknown_metric(missing[0]))
        return {name: value for name, value in sums.items() if math.isfinite(value)}

    def _result(
        self,
        task: Task,
        model: nn.Module,
        network: Network,
        chosen: Sequence[Place],
        order: Sequence[Place],
        drops: Mapping[str, float],
        curve: Sequence[Round],
        tuning: History | None,
        trained: int,
    ) -> Compressed:
        pooled = {place.conv for place in chosen}
        rows = {layer.name: row for row, layer in enumerate(network)}
        names = [layer.name for layer in network if layer.name in {place.conv for place in order}]
        decisions = tuple(Decision(f"{_PREFIX}{name}", (_QUARTER, _WHOLE), (rows[name],)) for name in names)
        choice = {f"{_PREFIX}{name}": _QUARTER if name in pooled else _WHOLE for name in names}
        task.folder.write("curve.json", [_plain(one) for one in curve])
        _, reasons = poolable(task.model, network)
        summary = {
            "Pooled": f"{len(chosen)} of {len(order)} layers that can be, in the order "
            + ", ".join(f"{place.conv} (alone -{drops[place.conv]:.2%})" for place in chosen),
            "Rounds": "; ".join(
                f"{sum(len(r.layers) for r in curve[: i + 1])} layers: {one.accuracy:.2%} held out, "
                + ", ".join(f"{b.metric} {one.shares[b.metric]:.3f}" for b in task.budgets)
                for i, one in enumerate(curve)
            ),
        }
        if reasons:
            summary["Not pooled"] = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        found = Network.from_torch(model, task.input_shape, name=task.name)
        executions = _executions(found, list(pooled))
        return Compressed(
            model,
            choice,
            decisions,
            tuning=tuning,
            executions=executions,
            summary=summary,
            trained=trained,
            evaluated=len(order),
        )


def poolable(model: nn.Module, network: Network) -> tuple[dict[str, Place], dict[str, str]]:
    """The layers that can be pooled, by name of the module, and why other convolutions cannot.

    A layer's map is interpolated behind the ReLU that is its own: nothing but a normalisation stands between, and no other
    layer runs the same module. What feeds an addition first has none.
    """
    modules, way = dict(model.named_modules()), ways.VirtualPooling()
    relus: dict[str, str] = {}
    used: dict[str, int] = {}
    if network.graph is not None:
        for step, told in fusions(network.graph, network).items():
            op = network.other[network.graph.operations[step].row]
            if op.type == "Relu" and told.startswith("fused into "):
                relus.setdefault(told.removeprefix("fused into "), op.name)
        for op in network.other:
            used[op.name] = used.get(op.name, 0) + (op.type == "Relu")
    again = {layer.name.partition("#")[0] for layer in network if "#" in layer.name}
    found: dict[str, Place] = {}
    reasons: dict[str, str] = {}
    for layer in network:
        if layer.type not in ("conv", "conv_transpose"):
            continue
        conv, relu = modules.get(layer.name), relus.get(layer.name, "")
        if why := way.why_not(layer):
            reasons[layer.name] = why
        elif not isinstance(conv, nn.Conv2d) or layer.name in again:
            reasons[layer.name] = "it is no Conv2d that runs once"
        elif not isinstance(modules.get(relu), nn.ReLU):
            reasons[layer.name] = "no ReLU module follows it before anything else"
        elif used[relu] > 1:
            reasons[layer.name] = f"its ReLU ({relu}) is that of other layers, too"
        else:
            found[layer.name] = Place(layer.name, relu, layer)
    return found, reasons


def pool(model: nn.Module, place: Place) -> None:
    """Compute a layer at every second pixel, and interpolate behind its ReLU, in place."""
    conv: Any = model.get_submodule(place.conv)
    conv.stride = (2, 2)
    if conv.padding == "same":  # which PyTorch refuses beside a stride
        conv.padding = tuple(d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
        conv._reversed_padding_repeated_twice = [side for side in reversed(conv.padding) for _ in range(2)]
    parent, _, child = place.relu.rpartition(".")
    odd = (place.row.Q % 2 == 1, place.row.P % 2 == 1)
    setattr(model.get_submodule(parent), child, nn.Sequential(model.get_submodule(place.relu), Interpolation(odd)))


def _able(task: Task, network: Network) -> list[Place]:
    """The layers that can be pooled and are not excluded.

    Raises:
        InputError: where there is none; why not, of some.
    """
    found, reasons = poolable(task.model, network)
    exclude = task.settings.exclude
    left = [p for name, p in found.items() if not any(name == one or name.startswith(f"{one}.") for one in exclude)]
    if left:
        return left
    told = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:_NAMED]) or "all are excluded"
    raise InputError(f"no layer of {task.name} can be pooled virtually: {told}.")


def _executions(network: Network, names: Sequence[str]) -> dict[str, ways.Execution]:
    return {layer.name: ways.Imported("vip") for layer in network if layer.name in names}


def _plain(one: Round) -> dict[str, Any]:
    return {"layers": list(one.layers), "accuracy": one.accuracy, "shares": dict(one.shares)}


__all__ = ["Place", "Round", "VirtualPooling", "pool", "poolable"]

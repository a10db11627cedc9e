"""`MixedGrouping`: channels of groups and bits of layers as the variables of one search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hwflow.arrays import Floats, Places
from hwflow.compression.channels.groups import Group, Grouping, Step, Widths
from hwflow.compression.decision import Choice, Decision
from hwflow.compression.plan_costs import Activations
from hwflow.compression.quantization.bit_decisions import BitDecisions
from hwflow.errors import InputError, not_found
from hwflow.layers import Bits, Layer
from hwflow.network import Network


@dataclass(frozen=True)
class MixedGrouping:
    """What `Grouping` is for channels alone: a `hwflow.compression.plan_costs.Sizing`.

    Attributes:
        grouping: of channels; without groups where bits alone are decided.
        bits: of the same network.
    """

    grouping: Grouping
    bits: BitDecisions

    @property
    def network(self) -> Network:
        """The uncompressed network."""
        return self.grouping.network

    @cached_property
    def groups(self) -> tuple[Group | Decision, ...]:
        """All that is decided, in the order in which the rows that depend on it run; of a layer the channels come first."""
        return tuple(self._all[i] for i in self._order)

    @cached_property
    def dependence(self) -> tuple[tuple[int, ...], ...]:
        """For each row the groups (by place) that its cost depends on."""
        return tuple(
            tuple(sorted([*(self._channels[g] for g in on), *(self._words[d] for d in row.on)]))
            for on, row in zip(self.grouping.dependence, self.bits.rows, strict=True)
        )

    @cached_property
    def layer_steps(self) -> tuple[Step, ...]:
        """Of channels as the grouping has them; of bits one for each decision, since a row's widths are no sums."""
        own = [step._replace(group=self._channels[step.group]) for step in self.grouping.layer_steps]
        for row, bits in enumerate(self.bits.rows):
            own += [Step(row, self.bits.decisions[d].name, self._words[d], 1) for d in bits.on]
        return tuple(own)

    @cached_property
    def tensor_steps(self) -> tuple[Step, ...]:
        """As the grouping has them."""
        return tuple(step._replace(group=self._channels[step.group]) for step in self.grouping.tensor_steps)

    def layer_for(self, row: int, widths: Widths) -> Layer:
        """One row of the compressed network."""
        key = (row, *(widths[g] for g in self.dependence[row]))
        if key not in self._made:
            layer = self.grouping.layer_for(row, tuple(widths[g] for g in self._channels))
            bits = self.bits.rows[row].bits([widths[d] for d in self._words])
            self._made[key] = layer if bits is None else layer.with_(bits=bits)
        return self._made[key]

    def network_for(self, plan: Mapping[str, int]) -> Network:
        """The network of a plan, with its word widths.

        Raises:
            InputError: as `widths_of`.
        """
        widths = self.widths_of(plan)
        layers = tuple(self.layer_for(row, widths) for row in range(len(self.network.layers)))
        return replace(self.grouping.network_for(self.channels_of(plan)), layers=layers)

    def widths_of(self, plan: Mapping[str, int]) -> Widths:
        """A plan as a tuple; what it does not name stays as it is.

        Raises:
            InputError: for a name that is not decided, or a value that is no option.
        """
        known = {one.name: one for one in self.groups}
        for name, value in plan.items():
            if name not in known:
                what = "channels and bits" if self.grouping.groups else "bits alone"
                raise not_found("decision", name, known, f"This run decides {what}; the plan is of another one (--decide).")
            if value not in known[name].widths:
                kind = "bits" if isinstance(known[name], Decision) else "channels"
                allowed = ", ".join(map(str, known[name].widths))
                raise InputError(f"the plan has {value!r} {kind} for {name!r}; allowed: {allowed}.")
        return tuple(plan.get(one.name, one.channels) for one in self.groups)

    def channels_of(self, plan: Mapping[str, int]) -> Choice:
        """The channels of a plan, by group."""
        return {group.name: plan[group.name] for group in self.grouping.groups if group.name in plan}

    def bits_of(self, plan: Mapping[str, int]) -> tuple[int, ...]:
        """The bits of a plan, in the order of the decisions."""
        return tuple(plan.get(one.name, one.channels) for one in self.bits.decisions)

    def row_bits(self, plan: Mapping[str, int]) -> dict[str, Bits]:
        """The word widths of rows, by name, where they are not the chip's own."""
        chosen = self.bits_of(plan)
        found = ((layer.name, row.bits(chosen)) for layer, row in zip(self.network.layers, self.bits.rows, strict=True))
        return {name: bits for name, bits in found if bits is not None}

    def memory(self, whole: Sequence[Bits]) -> MixedActivations:
        """What the activations of plans need; `whole` are the rows' widths on the chip."""
        return MixedActivations(self, whole, self._words)

    # Derived -------------------------------------------------------------------------------------------------------------

    @cached_property
    def _all(self) -> tuple[Group | Decision, ...]:
        return (*self.grouping.groups, *self.bits.decisions)

    @cached_property
    def _order(self) -> tuple[int, ...]:
        count = len(self.grouping.groups)
        first = [next(r for r, on in enumerate(self.grouping.dependence) if g in on) for g in range(count)]
        first += [self._row(one) for one in self.bits.decisions]
        return tuple(sorted(range(len(first)), key=lambda i: (first[i], i)))

    def _row(self, decision: Decision) -> int:
        """The row of the layer that a decision is named after."""
        layer = decision.name.rpartition(".")[0]
        return next(r for r in decision.rows if self.network.layers[r].name.partition("#")[0] == layer)

    @cached_property
    def _channels(self) -> tuple[int, ...]:
        """Places of the channels' groups among all."""
        return tuple(self._order.index(g) for g in range(len(self.grouping.groups)))

    @cached_property
    def _words(self) -> tuple[int, ...]:
        """Places of the decisions of bits among all."""
        count = len(self.grouping.groups)
        return tuple(self._order.index(count + d) for d in range(len(self.bits.decisions)))

    @cached_property
    def _made(self) -> dict[tuple[int, ...], Layer]:
        return {}


class MixedActivations(Activations):
    """Peak activation memory where the tensors' word widths are decided, too: words, which are linear in channels, times bits.

    A tensor's width is the largest of some decisions and a constant (`Graph.widths` takes nothing but largest ones), which are
    found by setting one decision after the other to more than all the rest.
    """

    def __init__(self, mixed: MixedGrouping, whole: Sequence[Bits], words: Sequence[int]) -> None:
        super().__init__(mixed, whole)
        graph = mixed.network.graph
        if graph is None:
            return
        rows, count = mixed.bits.rows, len(words)

        def widths(chosen: Sequence[int]) -> Places:
            return np.array(graph.widths([row.bits(chosen) or row.whole for row in rows]), dtype=np.int64)

        fixed = widths([0] * count)
        high = 1 + int(fixed.max())
        on = [np.flatnonzero(widths([high if d == one else 0 for d in range(count)]) == high) for one in range(count)]
        places: list[list[int]] = [[] for _ in fixed]
        for one, tensors in enumerate(on):
            for tensor in tensors:
                places[tensor].append(words[one])
        total = len(mixed.groups)  # where a plan that is filled up holds 0
        most = max([1, *map(len, places)])
        self._fixed, self._places = fixed, np.array([own + [total] * (most - len(own)) for own in places])
        self._words = np.array(graph.words, dtype=np.int64)
        self._taken = np.zeros((len(fixed), total), dtype=np.int64)  # words of a tensor that go with a unit of a group
        for step in mixed.tensor_steps:
            self._taken[step.row, step.group] += step.per_unit
        self._held = np.zeros((len(graph.live), len(fixed)), dtype=np.int64)
        for operation, held in enumerate(graph.live):
            self._held[operation, list(held)] = 1

    @property
    def sums(self) -> None:
        """None: products of channels and bits are no sums."""
        return

    def peaks(self, plans: Sequence[Widths]) -> Floats:
        """See `Activations.peaks`."""
        if not self._known:
            return np.full(len(plans), np.nan)
        chosen = np.array(plans, dtype=np.int64)
        filled = np.concatenate([chosen, np.zeros((len(chosen), 1), dtype=np.int64)], axis=1)
        width = np.maximum(self._fixed, filled[:, self._places].max(axis=2))
        words = self._words - ((self._full - chosen) // self._unit) @ self._taken.T
        bits = ((width * words) @ self._held.T).max(axis=1)
        return np.asarray(-(-bits // 8), dtype=np.float64)


__all__ = ["MixedActivations", "MixedGrouping"]

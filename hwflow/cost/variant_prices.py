"""What the layers of a network cost with inputs or outputs that stay on the chip, in whatever room others leave.

A search in some room answers for every room that is smaller and still holds the mapping that it finds: what is best among more
mappings is best among fewer. Where it answers that nothing fits, nothing fits less room. For a room that no search has answered
yet there is a bound: of an additive objective what more room costs, and in any case what no mapping undercuts.

Mappings are chosen without the time at a layer's edges (`hwflow.cost.edge_cycles`). Where that is asked for, it is part of the
prices, and no part of the bounds: with less room it can be shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hwflow.cost.assignment import Price, Room, value_of
from hwflow.cost.chip import Chip
from hwflow.cost.edge_cycles import edge_cycles
from hwflow.cost.options import CostOptions
from hwflow.cost.residency import Homes, least_room, resident_chip, tiles_of
from hwflow.errors import HwflowError, NotMappable
from hwflow.layers import Layer, Tensor
from hwflow.mapping import Mapping as LayerMapping
from hwflow.results import LayerCost

Searched = Callable[[Sequence[tuple[Layer, Chip]]], Sequence[LayerCost | HwflowError]]
"""Costs of layers on chips, or the errors that they fail with."""


class Variant(NamedTuple):
    """A layer, by its key, and which of its tensors stay."""

    layer: tuple[object, ...]
    resident: tuple[Tensor, ...]


class Wanted(NamedTuple):
    """What is asked: a layer on a chip, those of its tensors that stay, and the room that others leave."""

    layer: Layer
    chip: Chip
    resident: tuple[Tensor, ...]
    room: Room


@dataclass(frozen=True)
class Answer:
    """What a search in some room found.

    Attributes:
        used: what its mapping takes of the memories, `tiles`: that by tensor.
        edges: cycles at the layer's edges, beside those of `cost`; 0 where they are not asked for.
    """

    room: Room
    cost: LayerCost | None
    used: Room = ()
    tiles: tuple[Mapping[Tensor, int], ...] = ()
    edges: int = 0

    def fits(self, room: Room) -> bool:
        """Whether its mapping does."""
        return self.cost is not None and _within(self.used, room)


@dataclass(frozen=True)
class Memo:
    """What was found out for other networks on the same chip: answers of searches, and what depends on a variant alone."""

    answers: dict[tuple[Variant, Room], Answer] = field(default_factory=dict)
    least: dict[Variant, tuple[float, float]] = field(default_factory=dict)
    rooms: dict[Variant, Room] = field(default_factory=dict)


@dataclass
class VariantPrices:
    """Prices of the variants of one network, those that are known and bounds of the others.

    What is known follows from what was asked for this network, whatever the `memo` holds: no price depends on which networks
    were priced before.
    """

    homes: Homes
    options: CostOptions
    search: Searched
    memo: Memo = field(default_factory=Memo)
    _answers: dict[Variant, list[Answer]] = field(default_factory=dict)

    def best(self, layer: Layer, resident: tuple[Tensor, ...], room: Room) -> Answer | None:
        """The best mapping known that fits."""
        fitting = [a for a in self._answers.get(Variant(layer.key, resident), ()) if a.fits(room)]
        return min(fitting, key=self._value, default=None)

    def price(self, layer: Layer, chip: Chip, resident: tuple[Tensor, ...], room: Room) -> Price | None:
        """What a layer costs, or costs at least where no search has told; None where nothing fits."""
        known = self._answers.get(Variant(layer.key, resident), [])
        larger = [answer for answer in known if _within(room, answer.room)]
        best = self.best(layer, resident, room)
        if any(answer.cost is None or answer.fits(room) for answer in larger):
            return None if best is None else self._price(best)
        if resident and not _within(self._room_of(layer, chip, resident), room):
            return None
        energy, cycles = self.least(layer, chip, resident)
        if larger and self.options.objective != "edp":
            more = (self.best(layer, resident, answer.room) for answer in larger)
            above = [_overlapping(answer) for answer in more if answer is not None]
            if self.options.objective == "energy":
                energy = max(energy, *(price.energy for price in above))
            else:
                cycles = max(cycles, *(price.cycles for price in above))
        return Price(energy, cycles, exact=False)

    def least(self, layer: Layer, chip: Chip, resident: tuple[Tensor, ...]) -> tuple[float, float]:
        """Energy and cycles that no mapping undercuts."""
        variant = Variant(layer.key, resident)
        if variant not in self.memo.least:
            from hwflow.cost import mid

            own = (layer, chip.accelerator, chip.constraints, chip.table)
            self.memo.least[variant] = mid.least(*own, ragged=self.options.ragged, resident=resident)
        return self.memo.least[variant]

    def _room_of(self, layer: Layer, chip: Chip, resident: tuple[Tensor, ...]) -> Room:
        variant = Variant(layer.key, resident)
        if variant not in self.memo.rooms:
            self.memo.rooms[variant] = least_room(layer, chip, self.homes, resident)
        return self.memo.rooms[variant]

    def learn(self, asked: Sequence[Wanted]) -> None:
        """Search what is asked: a variant that has not been searched with all that the memories have, others as asked.

        Raises:
            HwflowError: where a search fails otherwise than for want of room.
        """
        wanted: dict[tuple[Variant, Room], tuple[Layer, Chip]] = {}
        for layer, chip, resident, room in asked:
            variant = Variant(layer.key, resident)
            wanted[variant, room if variant in self._answers else self.homes.sizes] = layer, chip
        new: dict[tuple[Variant, Room], tuple[Layer, Chip]] = {}
        for (variant, room), (layer, chip) in wanted.items():
            if (variant, room) in self.memo.answers:
                continue
            seen = resident_chip(chip, self.homes, variant.resident, room)
            if seen is None:
                self.memo.answers[variant, room] = Answer(room, None)
            else:
                new[variant, room] = layer, seen
        found = self.search(list(new.values())) if new else []
        for ((variant, room), (layer, chip)), cost in zip(new.items(), found, strict=True):
            self.memo.answers[variant, room] = self._answer(variant, room, layer, chip, cost)
        for variant, room in wanted:
            known, answer = self._answers.setdefault(variant, []), self.memo.answers[variant, room]
            if not any(answer is one for one in known):
                known.append(answer)

    def _answer(self, variant: Variant, room: Room, layer: Layer, chip: Chip, cost: LayerCost | HwflowError) -> Answer:
        if isinstance(cost, HwflowError):
            if not isinstance(cost, NotMappable) or (not variant.resident and room == self.homes.sizes):
                raise cost
            return Answer(room, None)
        assert cost.mapping is not None
        mapping = LayerMapping.from_directives([dict(entry) for entry in cost.mapping], chip.accelerator)
        tiles = tiles_of(layer, chip, mapping, self.homes)
        used = tuple(self.homes.rows(sum(tile.values()), m) for m, tile in enumerate(tiles))
        edges = edge_cycles(replace(cost, layer=layer), chip.accelerator) if self.options.latency == "with_fill" else 0
        return Answer(room, cost, used, tiles, edges)

    def _price(self, answer: Answer) -> Price:
        price = _overlapping(answer)
        return price._replace(cycles=price.cycles + answer.edges)

    def _value(self, answer: Answer) -> tuple[float, float]:
        price = _overlapping(answer)  # as mappings are chosen
        return value_of(price.energy, price.cycles, self.options.objective), price.energy


def _overlapping(answer: Answer) -> Price:
    """What a mapping costs where all its transfers overlap with arithmetic."""
    cost = answer.cost
    assert cost is not None
    return Price(cost.energy or 0.0, cost.cycles or 0)


def _within(smaller: Room, larger: Room) -> bool:
    return all(a <= b for a, b in zip(smaller, larger, strict=True))


__all__ = ["Answer", "Memo", "Searched", "Variant", "VariantPrices", "Wanted"]

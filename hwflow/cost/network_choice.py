"""The network as a whole on its chip: which tensors stay, what its layers and other operators cost then, and why.

This is of one round through all layers, of a whole batch or a part of it; `hwflow.cost.batch_rounds` chooses that.

Prices that the best choice does not need are not computed: `hwflow.cost.assignment` names those that it does, until all are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

from hwflow.cost import coarse, residency
from hwflow.cost.assignment import Ask, Assignment, Price, Problem, ask_of, left, solve
from hwflow.cost.chip import Chip
from hwflow.cost.edge_cycles import delayed
from hwflow.cost.operators import Share, check_priced, fusions, operations_of, operator_cost
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import Plan
from hwflow.cost.residency import Homes
from hwflow.cost.tensor_lives import Lives
from hwflow.cost.variant_prices import Answer, Memo, Searched, VariantPrices, Wanted
from hwflow.errors import InputError
from hwflow.layers import Layer, Tensor
from hwflow.network import Network
from hwflow.occupancy import Occupancy, OperationTiles, OperatorCost, TensorStay
from hwflow.results import LayerCost


@dataclass(frozen=True)
class Placed:
    """A layer as it runs: on the chip with the room that others leave, and what the search found."""

    layer: Layer
    chip: Chip
    answer: Answer

    @property
    def cost(self) -> LayerCost:
        """Of the layer, but for the time at its edges."""
        assert self.answer.cost is not None
        return self.answer.cost

    def later(self, cost: LayerCost) -> LayerCost:
        """A cost of the layer with this mapping, with the time at its edges where that is asked for."""
        return delayed(cost, self.chip.accelerator, self.answer.edges) if self.answer.edges else cost


@dataclass(frozen=True)
class Chosen:
    """A network's layers as they run, by their place among its rows; operators with a price; what lies where.

    Attributes:
        network: that of a round, whose layers these are.
        rounds: how many there are. `placed` and `operators` are of one, `once` is what is done before the first.
    """

    placed: Mapping[int, Placed]
    operators: tuple[OperatorCost, ...]
    occupancy: Occupancy
    network: Network
    rounds: int = 1
    once: tuple[OperatorCost, ...] = ()


def settled(case: Case, problem: Problem | None = None, most: float = math.inf) -> Assignment:
    """Which tensors stay; prices are learned as they are needed.

    Args:
        problem: that of the case, with room for weights.
        most: see `hwflow.cost.assignment.solve`.
    """
    problem = problem or case.problem
    case.learn([ask_of(case.problem, step, frozenset()) for step in range(len(problem.steps))])
    while True:
        found = solve(problem, case, case.variants.options.objective, most)
        if not found.unknown:
            return found
        case.learn(found.unknown)


@dataclass(frozen=True)
class Case:
    """Prices of a network's operations in each of some rounds (`hwflow.cost.assignment.Prices`)."""

    lives: Lives
    plan: Plan
    homes: Homes
    variants: VariantPrices
    rounds: int = 1
    _moves: dict[int, residency.Move | None] = field(default_factory=dict)
    _loads: dict[int, residency.Move] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, options: CostOptions, search: Searched, memo: Memo | None = None, rounds: int = 1) -> Case:
        """That of a network on a chip.

        Args:
            memo: of other networks on the same chip with the same options.
            rounds: that the network runs; with several of them weights may stay.

        Raises:
            InputError: where it is not known which operator of the network reads what, or an operator has no price.
        """
        network, accelerator = plan.network, plan.accelerator
        assert accelerator is not None
        if network.graph is None:
            raise InputError(
                f"network {network.name}: it is not known which operator reads what, so neither what stays on the chip "
                "(activations 'resident') nor what operators move (operators 'all') can be told. Use 'dram' and 'mac', or "
                "state `inputs` in the layer list."
            )
        if options.operators == "all":
            check_priced(network, accelerator.name, accelerator.vector_unit)
        homes = residency.homes_of(accelerator, weights=rounds > 1)
        widths = [coarse.bits_of(layer, accelerator) for layer in network]
        lives = Lives.of(network, network.graph, homes, widths, asked=options.activations == "resident")
        return cls(lives, plan, homes, VariantPrices(homes, options, search, memo or Memo()), rounds)

    @cached_property
    def problem(self) -> Problem:
        """What `hwflow.cost.assignment` is asked: nothing is reserved for weights yet, and none of them may stay."""
        place = self.homes.kept
        if place is None:
            return self.lives.problem
        sizes = {}
        for step in range(len(self.lives.graph.operations)):
            layer = self.lives.layer_of(step)
            if layer is not None and layer.type != "matmul" and not layer.shared:
                sizes[step] = residency.weight_bits(self.plan.layer(layer), self.plan.chip(layer), self.homes)
        fitting = {step: bits for step, bits in sizes.items() if bits <= self.homes.sizes[place]}
        return replace(self.lives.problem, weights=fitting, place=place)

    def price(self, ask: Ask) -> Price | None:
        layer = self.lives.layer_of(ask.step)
        if layer is None:
            return self._operator_price(ask)
        resident = self._resident(ask)
        price = self.variants.price(layer, self.plan.chip(layer), resident, ask.room)
        if price is None:
            return None
        if (move := self._move(ask.step, resident)) is not None:
            price = price._replace(energy=price.energy + move.energy, cycles=price.cycles + move.cycles)
        if ask.kept:
            load = self._load(ask.step, layer)
            more = load.energy / self.rounds, load.cycles / self.rounds
            price = price._replace(energy=price.energy + more[0], cycles=price.cycles + more[1])
        return price

    def least(self, step: int) -> Price:
        layer, problem = self.lives.layer_of(step), self.problem
        if layer is None:
            return self._operator_price(Ask(step, (True,) * len(problem.steps[step].tensors), ()))
        own: list[Tensor] = [role for tensor, role in self.lives.operands(step) if tensor in problem.candidates]
        own = ["weights", *own] if step in problem.weights else own
        some = [
            tuple(t for t, stays in zip(own, flags, strict=True) if stays) for flags in product((False, True), repeat=len(own))
        ]
        bounds = [self.variants.least(layer, self.plan.chip(layer), resident) for resident in some]
        return Price(min(energy for energy, _ in bounds), min(cycles for _, cycles in bounds))

    def learn(self, asks: Sequence[Ask]) -> None:
        """Have searched what is asked of layers."""
        self.variants.learn(self.wanted(asks))

    def wanted(self, asks: Sequence[Ask]) -> list[Wanted]:
        """What is asked of layers, as `VariantPrices.learn` takes it."""
        layers = [(layer, ask) for ask in asks if (layer := self.lives.layer_of(ask.step)) is not None]
        return [Wanted(layer, self.plan.chip(layer), self._resident(ask), ask.room) for layer, ask in layers]

    def placed(self, ask: Ask) -> Placed | None:
        """A layer as it runs, from what is known; None where the operation is no layer, or nothing that is known fits."""
        layer = self.lives.layer_of(ask.step)
        if layer is None:
            return None
        resident = self._resident(ask)
        answer = self.variants.best(layer, resident, ask.room)
        seen = residency.resident_chip(self.plan.chip(layer), self.homes, resident, ask.room)
        return None if answer is None or seen is None else Placed(layer, seen, answer)

    def beside(self, ask: Ask) -> OperatorCost | None:
        """What an operation costs where it is no layer, or the move of what a layer writes; None where it costs nothing."""
        layer = self.lives.layer_of(ask.step)
        if layer is None:
            return self._operator_cost(ask.step, dict(zip(self.lives.problem.steps[ask.step].tensors, ask.stays, strict=True)))
        move = self._move(ask.step, self._resident(ask))
        return residency.move_cost(self.lives.name_of(ask.step), move, self.plan.chip(layer), self.homes) if move else None

    def _resident(self, ask: Ask) -> tuple[Tensor, ...]:
        """The tensors of a layer that stay."""
        roles = dict(self.lives.operands(ask.step))
        tensors = self.lives.problem.steps[ask.step].tensors
        own = [roles[tensor] for tensor, stays in zip(tensors, ask.stays, strict=True) if stays]
        return ("weights", *own) if ask.kept else tuple(own)

    def _move(self, step: int, resident: tuple[Tensor, ...]) -> residency.Move | None:
        tensor = self.lives.moved(step)
        layer = self.lives.layer_of(step)
        if tensor is None or layer is None or "outputs" not in resident:
            return None
        if step not in self._moves:
            words = self.lives.graph.words[tensor]
            self._moves[step] = residency.move_of(words, self.plan.layer(layer), self.plan.chip(layer), self.homes)
        return self._moves[step]

    def _load(self, step: int, layer: Layer) -> residency.Move:
        """Of a layer's weights, before the first round."""
        if step not in self._loads:
            self._loads[step] = residency.load_of(self.plan.layer(layer), self.plan.chip(layer), self.homes)
        return self._loads[step]

    @cached_property
    def _fusions(self) -> dict[int, str]:
        return fusions(self.lives.graph, self.plan.network)

    def _operator_price(self, ask: Ask) -> Price:
        cost = self._operator_cost(ask.step, dict(zip(self.lives.problem.steps[ask.step].tensors, ask.stays, strict=True)))
        return Price(0.0, 0.0) if cost is None else Price(cost.energy, cost.cycles)

    def _operator_cost(self, step: int, stays: Mapping[int, bool]) -> OperatorCost | None:
        """Of an operation that is no layer; None where it has no price."""
        if self.variants.options.operators == "mac":
            return None
        operation = self.lives.graph.operations[step]
        op, note = self.plan.network.other[operation.row], self._fusions.get(step, "")
        reads = self._shares(operation.reads, op.words_in, stays)
        writes = self._shares(operation.writes, op.words_out, stays)
        count = operations_of(op, len(operation.reads))
        return operator_cost(op, count, reads, writes, self._chip_at(step), self.homes, note=note)

    def _shares(self, tensors: Sequence[int], words: int, stays: Mapping[int, bool]) -> list[Share]:
        """What an operator moves of each tensor, by their sizes; what it reads beyond them are constants, from DRAM."""
        total = sum(self.lives.graph.words[tensor] for tensor in tensors)
        shares = [
            Share(
                -(-self.lives.bits[t] * min(words, total) // total) if total else 0,
                stays.get(t, False),
            )
            for t in tensors
        ]
        if words > total:
            width = max((self.lives.widths[t] for t in tensors), default=self.lives.widths[0])
            shares.append(Share((words - total) * width, stays=False))
        return shares

    def _chip_at(self, step: int) -> Chip:
        """The chip at the word widths of the layer before, whose results an operator usually reads."""
        layers = (self.lives.layer_of(s) for s in range(step, -1, -1))
        return self.plan.chip(next((layer for layer in layers if layer), self.plan.network.layers[0]))

    # The answer ------------------------------------------------------------------------------------------------------

    def chosen(self, found: Assignment) -> Chosen:
        """The layers, the moves and the memories of a choice all of whose prices are known."""
        problem = self.problem
        if found.kept:
            held = sum(problem.weights[step] for step in found.kept)
            problem = replace(problem, reserved=held, most=held)
        placed: dict[int, Placed] = {}
        operators, tiles, once = [], [], []
        energy = cycles = 0.0
        for step, operation in enumerate(self.lives.graph.operations):
            plain = self.price(ask_of(self.problem, step, frozenset()))
            assert plain is not None
            energy, cycles = energy + plain.energy, cycles + plain.cycles
            taken: dict[str, int] = {}
            ask = ask_of(problem, step, found.stays, found.kept)
            if (layer := self.placed(ask)) is not None:
                placed[operation.row] = layer
                taken = self._own_tiles(step, layer.answer, layer.chip.resident)
                if ask.kept:
                    chip = self.plan.chip(layer.layer)
                    own = self.plan.layer(layer.layer)
                    once.append(residency.load_cost(self.lives.name_of(step), own, chip, self.homes, self.rounds))
            tiles.append(OperationTiles(self.lives.name_of(step), taken))
            operators += [cost] if (cost := self.beside(ask)) else []
        return Chosen(
            placed,
            tuple(operators),
            Occupancy(
                {memory.name: size // 8 for memory, size in zip(self.homes.memories, self.homes.sizes, strict=True)},
                tuple(tiles),
                self._stays(problem, found),
                found.proven,
                energy * self.rounds,
                cycles * self.rounds,
                self.homes.why,
                self._kept(problem, found),
            ),
            self.plan.network,
            self.rounds,
            tuple(once),
        )

    def _kept(self, problem: Problem, found: Assignment) -> tuple[TensorStay, ...]:
        """The weights that stay over all rounds."""
        last = len(problem.steps) - 1
        return tuple(
            TensorStay(
                name=f"weights of {self.lives.name_of(step)}",
                size_bytes=problem.weights[step] // 8,
                first=0,
                last=last,
                memory=self.homes.memories[problem.place].name,
            )
            for step in sorted(found.kept)
        )

    def _own_tiles(self, step: int, answer: Answer, resident: tuple[Tensor, ...]) -> dict[str, int]:
        """What a layer takes of the memories beside the tensors that stay: of those that it reads only the padding."""
        sizes = {role: self.lives.bits[tensor] for tensor, role in self.lives.operands(step) if role in resident}
        if "weights" in resident:
            sizes["weights"] = self.problem.weights[step]
        return {
            memory.name: sum(max(0, bits - sizes.get(tensor, 0)) for tensor, bits in tile.items()) // 8
            for memory, tile in zip(self.homes.memories, answer.tiles, strict=True)
        }

    def _stays(self, problem: Problem, found: Assignment) -> tuple[TensorStay, ...]:
        lives, result = self.lives, []
        for tensor, (first, last) in sorted(enumerate(lives.spans), key=lambda item: (item[1], item[0])):
            if last < first:
                continue
            stays = tensor in found.stays
            result.append(
                TensorStay(
                    name="input" if tensor in lives.graph.inputs else lives.name_of(first),
                    size_bytes=self._size(lives.bits[tensor]),
                    first=first,
                    last=last,
                    memory=self.homes.memories[0].name if stays else None,
                    written=self.homes.memories[self.homes.written].name if stays and self._move(first, ("outputs",)) else None,
                    reason="" if stays else self._why_not(problem, found, tensor),
                )
            )
        return tuple(result)

    def _size(self, bits: int) -> int:
        """In bytes, in whole rows of the memory in which tensors stay if there is one."""
        return -(-(self.homes.rows(bits, 0) if self.homes.memories else bits) // 8)

    def _why_not(self, problem: Problem, found: Assignment, tensor: int) -> str:
        """Why a tensor does not stay beside those that do."""
        lives = self.lives
        if tensor in lives.reasons:
            return lives.reasons[tensor]
        for step in range(lives.spans[tensor][0], lives.spans[tensor][1] + 1):
            for with_it, told in ((frozenset({tensor}), ""), (found.stays | {tensor}, self._beside(found, step))):
                if left(problem, step, with_it, found.kept) is None:
                    return f"no room for it{told} while {lives.name_of(step)} runs"
                if self.price(ask_of(problem, step, with_it, found.kept)) is None:
                    rest = told.replace(" beside", " and")
                    return f"{lives.name_of(step)} cannot run in the room that is left beside it{rest}"
        return "DRAM costs less, or as much"

    def _beside(self, found: Assignment, step: int) -> str:
        alive = [t for t in sorted(found.stays) if t in self.lives.problem.steps[step].held]
        return f" beside {', '.join(self.lives.name_of(self.lives.spans[t][0]) for t in alive)}" if alive else ""


__all__ = ["Case", "Chosen", "Placed", "settled"]

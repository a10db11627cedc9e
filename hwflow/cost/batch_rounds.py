"""A batch in rounds: how many images run through all layers at a time, and whose weights stay on the chip meanwhile.

A batch runs layer by layer, all images at once, or in rounds of fewer images, each of which runs through the whole network
before the next begins. A round needs less room for activations, so that more of them stay on the chip; but all weights are
wanted anew in every round. They come from DRAM each time, or they stay: then they are read once, before the first round, at the
price of a read from DRAM and a write into the memory (one after the other with everything else), and they take room during all
operations. All divisors of the batch are tried, and the best of them is taken.

Which weights stay is chosen with the tensors between operations by branch and bound over what is reserved for all of them
together. Between two amounts a relaxation (`hwflow.cost.assignment.solve`) has the room that the lower one leaves and may use
the upper one: nothing between them costs less. What it chooses is a choice, too, at its own amount; where that costs no more,
the range is done, otherwise it is cut there.
"""

from __future__ import annotations

from dataclasses import replace

from hwflow.cost.assignment import Assignment, Problem, ask_of, left, value_of
from hwflow.cost.network_choice import Case, Chosen, settled
from hwflow.cost.options import CostOptions
from hwflow.cost.plan import Plan
from hwflow.cost.variant_prices import Searched
from hwflow.layers import DIRECT
from hwflow.network import Network
from hwflow.network.load import batched

RANGES = 40
"""Of amounts that are looked at; with more, the choice is not proven."""

_ROUNDING = 1e-9


def choose(plan: Plan, options: CostOptions, search: Searched) -> Chosen:
    """The choice of least objective; of equal ones that with the fewest rounds.

    Raises:
        InputError: where it is not known which operator of the network reads what, or an operator has no price.
        HwflowError: where a layer cannot be mapped with everything in DRAM, or a search fails.
    """
    whole = Case.of(plan, options, search)
    best, found = whole, settled(whole)
    proven = found.proven
    for rounds, network in _splits(plan.network) if options.activations == "resident" and whole.homes.memories else ():
        case = Case.of(replace(plan, network=network), options, search, rounds=rounds)
        other = _with_weights(case)
        proven &= other.proven
        if _value(case, other) < _value(best, found) * (1 - _ROUNDING):
            best, found = case, other
    chosen = best.chosen(replace(found, proven=proven))
    if best is whole:
        return chosen
    plain = [whole.price(ask_of(whole.problem, step, frozenset())) for step in range(len(whole.problem.steps))]
    sums = (sum(p.energy for p in plain if p), sum(p.cycles for p in plain if p))
    return replace(chosen, occupancy=replace(chosen.occupancy, dram_energy=sums[0], dram_cycles=sums[1]))


def _splits(network: Network) -> list[tuple[int, Network]]:
    """Numbers of rounds, and the network of one of them; none where the batch is no dimension of every layer alone."""
    batch = network.layers[0].N
    if batch == 1 or {(layer.N, layer.execution) for layer in network} != {(batch, DIRECT)}:
        return []
    found = []
    for rounds in (n for n in range(2, batch + 1) if batch % n == 0):
        part = batched(network, batch // rounds)
        if part.graph is not None and batched(part, batch) == network:
            found.append((rounds, part))
    return found


def _with_weights(case: Case) -> Assignment:
    """The best choice of what stays in every round and over all of them."""
    problem = case.problem
    best = settled(case)
    if not problem.weights:
        return best
    ranges, proven = [(0, problem.sizes[problem.place])], best.proven
    for _ in range(RANGES):
        if not ranges:
            break
        low, high = ranges.pop()
        worth = value_of(best.energy, best.cycles, case.variants.options.objective)
        relaxed = settled(case, replace(problem, reserved=low, most=high), worth)
        proven &= relaxed.proven
        if not _less(case, relaxed, best):
            continue
        used = sum(problem.weights[step] for step in relaxed.kept)
        true = relaxed if used <= low else _at(case, replace(problem, reserved=used, most=used), relaxed)
        if true is not None and _less(case, true, best):
            best = true
        if used <= low or (true is not None and not _less(case, relaxed, true)):
            continue
        middle = (low + used) // 2  # what the lower half may use is little, the upper half leaves little room
        ranges += [(low, middle - 1), (middle, used - 1), (used, high)] if middle > low else [(low, used - 1), (used, high)]
    return replace(best, proven=proven and not ranges)


def _at(case: Case, problem: Problem, found: Assignment) -> Assignment | None:
    """What a choice costs in the room that its own weights leave; None where it does not fit there."""
    steps = range(len(problem.steps))
    if any(left(problem, step, found.stays, found.kept) is None for step in steps):
        return None
    asks = [ask_of(problem, step, found.stays, found.kept) for step in steps]
    while True:
        prices = [case.price(ask) for ask in asks]
        known = [price for price in prices if price is not None]
        if len(known) < len(prices):
            return None
        unknown = [ask for ask, price in zip(asks, known, strict=True) if not price.exact]
        if not unknown:
            return replace(found, energy=sum(p.energy for p in known), cycles=sum(p.cycles for p in known))
        case.learn(unknown)


def _less(case: Case, one: Assignment, other: Assignment) -> bool:
    return _value(case, one) < _value(case, other) * (1 - _ROUNDING)


def _value(case: Case, found: Assignment) -> float:
    """The objective over all rounds."""
    return value_of(case.rounds * found.energy, case.rounds * found.cycles, case.variants.options.objective)


__all__ = ["RANGES", "choose"]

"""How loops of two dimensions move a sliding window together: whether one undoes or repeats what the other has moved.

Timeloop simulates two iterations of each loop, so when one steps, every loop inside has moved the window by one of its steps;
see the page "Certificates" of the documentation, whose R(n) and A(n) are `returns` and `advances`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection


@functools.cache
def undoes(step: int, left: int, fan: int, other: int, rest: int, fans: int) -> bool:
    """Whether a loop of the first dimension of a window can undo what loops of the second inside have moved.

    Args:
        step, other: how far one step of the tile moves the window; `left`, `rest`: all that temporal loops outside make of it;
            `fan`, `fans`: what spatial loops outside do.
    """
    return _meet(step, _scaled(advances, left, fan), other, _scaled(returns, rest, fans))


@functools.cache
def loops_between(step: int, grows: int, left: int, other: int, rest: int, fans: int) -> int:
    """The least product of the loops between a run of the first dimension, without any of the second, and a loop outside that
    can undo what the run has moved; 0 where none can.

    Args:
        grows: what the loops of the run make of the tile; `left`: what those of the first dimension outside the run do, with no
            spatial loops of it. The others as for `undoes`.
    """
    run = sums(grows)
    ahead, back = _scaled(advances, rest, fans), _scaled(returns, rest, fans)
    if _meet(other, ahead, step, run):
        return 1
    found = []
    if _meet(other, ahead, step, {s + grows * r for r in returns(left) for s in run}):
        found.append(primes(left)[0])  # a loop of the first dimension is between
    if _meet(step, {grows * m - s for m in advances(left) for s in run}, other, back):
        found.append(primes(rest)[0])  # one of the second
    return min(found, default=0)


@functools.cache
def repeated(first: int, step: int, left: int, fan: int, other: int, rest: int, fans: int) -> bool:
    """Whether the motion of the first loop, one of the first dimension, can be repeated where both have loops.

    Args:
        first: the spatial factors of the first dimension inside the first loop; the others as for `undoes`.
    """
    ahead, back = (_scaled(advances, left, fan), _scaled(returns, left, fan))
    other_ahead, other_back = (_scaled(advances, rest, fans), _scaled(returns, rest, fans))
    return _meet(other, other_ahead, step, {first + s for s in back}) or _meet(
        step, {m - first for m in ahead}, other, other_back
    )


def _meet(step: int, some: Collection[int], other: int, others: Collection[int]) -> bool:
    return not {step * m for m in some}.isdisjoint(other * m for m in others)


@functools.cache
def _scaled(sums: Callable[[int], frozenset[int]], number: int, fan: int) -> frozenset[int]:
    """The sums of loops that may have spatial factors, which make a product `fan`, inside each."""
    return frozenset(s * m for s in range(1, fan + 1) if fan % s == 0 for m in sums(number * fan // s))


@functools.cache
def primes(number: int) -> list[int]:
    """The prime factors of a number, each once."""
    result, prime = [], 2
    while number > 1:
        if number % prime == 0:
            result.append(prime)
            while number % prime == 0:
                number //= prime
        prime = prime + 1 if prime * prime <= number else max(number, prime + 1)
    return result


@functools.cache
def returns(number: int) -> frozenset[int]:
    """What loops whose bounds multiply to a divisor of a number add up to if each makes one step, in steps of the innermost."""
    inner = [c for c in range(2, number) if number % c == 0]
    return frozenset({1}.union(1 + c * s for c in inner for s in returns(number // c))) if number > 1 else frozenset()


@functools.cache
def sums(number: int) -> frozenset[int]:
    """The same of loops whose bounds multiply to the number itself."""
    inner = [c for c in range(2, number) if number % c == 0]
    return frozenset({1}.union(1 + c * s for c in inner for s in sums(number // c))) if number > 1 else frozenset()


@functools.cache
def advances(number: int) -> frozenset[int]:
    """A loop's step less those of the loops of its dimension inside, likewise."""
    inner = [c for c in range(2, number) if number % c == 0]
    return frozenset({1}.union(c * m - 1 for c in inner for m in advances(number // c))) if number > 1 else frozenset()

"""An einsum as the matrix products that it takes: operand by operand from the left, as PyTorch and onnxruntime execute it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network._rows import linear, product, shown
from hwflow.network.network import OtherOp

Shape = Sequence[int | None]


@dataclass(frozen=True)
class Equation:
    """An equation on operands of known rank.

    Attributes:
        operands: for each its indices, in the order of its axes; those of an ellipsis are "..0", "..1", counted from the right.
        result: indices of the result.
        sizes: of each index; None where it depends on data.
    """

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]
    sizes: dict[str, int | None]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Of the result."""
        return tuple(self.sizes[index] for index in self.result)


def parse(equation: str, shapes: Sequence[Shape]) -> Equation:
    """An equation in NumPy's form.

    Raises:
        InputError: where it is none, or does not fit the shapes.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    on = f"the equation {equation!r} on {' and '.join(shown(['?' if n is None else n for n in s]) for s in shapes)}"
    if len(terms) != len(shapes):
        raise InputError(f"{on} has {len(terms)} operands, the node {len(shapes)}")
    operands = tuple(_indices(term, len(shape), on) for term, shape in zip(terms, shapes, strict=True))
    sizes: dict[str, int | None] = {}
    for indices, shape in zip(operands, shapes, strict=True):
        for index, size in zip(indices, shape, strict=True):
            before = sizes.setdefault(index, size)
            if before == 1 or (before is None and size != 1):
                sizes[index] = size
            elif size not in (before, 1, None):
                raise InputError(f"{on} gives the index {index!r} two sizes, {before} and {size}")
    if arrow:
        covered = max((sum(i.startswith("..") for i in o) for o in operands), default=0)
        result = _indices(right, len(right.replace("...", "")) + covered, on) if "..." in right else tuple(right)
    else:  # NumPy's rule: the axes of ellipses, then what stands once, in alphabetical order
        count = Counter(index for indices in operands for index in indices)
        spread = sorted((i for i in count if i.startswith("..")), key=lambda i: -int(i[2:]))
        result = (*spread, *sorted(i for i, n in count.items() if n == 1 and not i.startswith("..")))
    if len(set(result)) != len(result) or not set(result) <= set(sizes):
        raise InputError(f"{on}: each index of the result must stand there once, and in an operand")
    return Equation(operands, result, sizes)


def _indices(term: str, rank: int, on: str) -> tuple[str, ...]:
    before, dots, after = term.partition("...")
    spread = rank - len(before) - len(after)
    letters = before + after
    if (letters and not (letters.isascii() and letters.isalpha())) or spread < 0 or (spread and not dots):
        raise InputError(f"{on}: {term!r} does not name {rank} axes")
    return (*before, *(f"..{n}" for n in range(spread - 1, -1, -1)), *after)


def rows(name: str, equation: Equation, shapes: Sequence[Sequence[int]], fixed: Sequence[bool]) -> list[Layer | OtherOp]:
    """The matrix products of an einsum, and what it computes without accumulating products.

    A repeated index is a diagonal, and an index of one operand alone is summed before the product: neither multiplies. Where
    two operands share no index that is summed, they are multiplied element by element, which no cost model counts either.
    """
    sizes = {index: size for index, size in equation.sizes.items() if size is not None}
    found: list[Layer | OtherOp] = []

    def words(indices: Sequence[str]) -> int:
        return math.prod(sizes[i] for i in indices)

    def own(operand: int) -> tuple[str, ...]:
        """An operand's indices; one of size 1 that another has longer is broadcast, so the product does not see it."""
        pairs = zip(equation.operands[operand], shapes[operand], strict=True)
        return tuple(dict.fromkeys(index for index, size in pairs if size == sizes[index]))

    current, current_fixed = own(0), fixed[0]
    for position in range(1, len(shapes)):
        other, other_fixed = own(position), fixed[position]
        later = {i for o in range(position + 1, len(shapes)) for i in own(o)} | set(equation.result)
        a = tuple(i for i in current if i in later or i in other)
        b = tuple(i for i in other if i in later or i in current)
        inner = [i for i in a if i in b and i not in later]
        together = (*(i for i in a if i not in inner), *(i for i in b if i not in a))
        if not (current_fixed and other_fixed):
            if inner:
                swapped = current_fixed
                left, right = (b, a) if swapped else (a, b)
                found.append(_product(name, left, right, inner, sizes, current_fixed or other_fixed))
            else:
                read = (0 if current_fixed else words(a)) + (0 if other_fixed else words(b))
                found.append(OtherOp(name, "Einsum", read, words(together)))
        current, current_fixed = together, current_fixed and other_fixed
    if len(shapes) == 1:
        found.append(OtherOp(name, "Einsum", math.prod(shapes[0]), words(equation.result)))
    return found


def _product(name: str, a: Sequence[str], b: Sequence[str], inner: Sequence[str], sizes: dict[str, int], fixed: bool) -> Layer:
    """The product of two operands over `inner`; `fixed` where the second holds weights."""
    depth = math.prod(sizes[i] for i in inner)
    groups = [sizes[i] for i in a if i in b and i not in inner]
    left = [sizes[i] for i in a if i not in b]
    columns = math.prod(sizes[i] for i in b if i not in a)
    if fixed and not groups:
        return linear(name, (*left, depth), columns)
    shapes = (*groups, math.prod(left), depth), (*groups, depth, columns)
    return product(name, *shapes, left_fixed=False, right_fixed=fixed)


__all__ = ["Equation", "parse", "rows"]

"""`RowTerms`: the costs of all plans over some widths of each group, as sums of small tables.

A row of the network depends on the widths of a few groups, mostly its own and its producer's. Rows of the same groups are
added up, so that a plan's cost is one entry of each table. A row that reads a concatenation depends on many groups, but only on
the sum of their widths; such a sum is a *node* of its own, as each group is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.channels.groups import Widths
from hwflow.compression.plan_costs import Parts, RowCosts
from hwflow.errors import InputError
from hwflow.metrics import ADDITIVE

_MOST = 50_000  # entries of one table: what pricing and the solver take minutes for


class Term(NamedTuple):
    """What some rows cost.

    Attributes:
        nodes: which nodes' choices it depends on, ascending.
        values: [metric, choice of the first node, ...].
    """

    nodes: tuple[int, ...]
    values: Floats


class SumNode(NamedTuple):
    """A sum over groups as a node.

    Attributes:
        parts: the sum.
        removed: the values that it can have, one a choice.
        examples: widths of all groups that give each value.
    """

    parts: Parts
    removed: tuple[int, ...]
    examples: tuple[Widths, ...]


@dataclass(frozen=True)
class RowTerms:
    """The tables; made by `row_terms`.

    Attributes:
        candidates: the widths of each group that are considered, ascending.
        metrics: what is counted, names of `hwflow.metrics.ADDITIVE`.
        sums: nodes that are sums; they follow the groups.
        terms: one for each set of nodes.
        fixed: what rows cost that no group changes, [metric].
    """

    candidates: tuple[tuple[int, ...], ...]
    metrics: tuple[str, ...]
    sums: tuple[SumNode, ...]
    terms: tuple[Term, ...]
    fixed: Floats


def row_terms(costs: RowCosts, candidates: Sequence[Sequence[int]], metrics: Sequence[str]) -> RowTerms:
    """Price every row at every combination of the candidates that it depends on.

    Args:
        candidates: widths of each group, ascending.
        metrics: names of `hwflow.metrics.ADDITIVE`.

    Raises:
        InputError: for a row with too many combinations.
        NotMappable, ToolMissing, ToolError: as the price of a row.
    """
    columns = [ADDITIVE.index(name) for name in metrics]
    fixed = np.zeros(len(columns))
    tables: dict[tuple[int, ...], Floats] = {}
    sums: dict[Parts, int] = {}
    nodes: list[SumNode] = []
    for row, on in enumerate(costs.dependence if columns else ()):
        if not on:
            fixed += costs.row(row, [costs.full])[0, columns]
            continue
        names = on
        if len(on) > 2 and (split := _split(costs.width_sums(row))) is not None:
            alone, parts = split
            for part in parts:
                if part not in sums:
                    sums[part] = len(candidates) + len(nodes)
                    nodes.append(_sum_node(costs, candidates, part))
            names = (*alone, *sorted(sums[part] for part in parts))
        values = _priced(costs, row, names, candidates, nodes, columns)
        tables[names] = tables[names] + values if names in tables else values
    terms = tuple(Term(names, values) for names, values in tables.items())
    return RowTerms(tuple(tuple(c) for c in candidates), tuple(metrics), tuple(nodes), terms, fixed)


def _priced(
    costs: RowCosts,
    row: int,
    names: tuple[int, ...],
    candidates: Sequence[Sequence[int]],
    sums: Sequence[SumNode],
    columns: Sequence[int],
) -> Floats:
    count = len(candidates)
    choices = [range(len(candidates[n]) if n < count else len(sums[n - count].removed)) for n in names]
    sizes = [len(choice) for choice in choices]
    if math.prod(sizes) > _MOST:
        groups = ", ".join(costs.groups[g].name for g in costs.dependence[row])
        raise InputError(
            f"a row depends on the groups {groups}, with {math.prod(sizes):,} combinations of widths; the exact planner takes "
            f"up to {_MOST:,}. Round the channels to larger multiples (--round-to), or use another search."
        )
    plans = []
    for picked in itertools.product(*choices):
        widths = list(costs.full)
        for name, choice in zip(names, picked, strict=True):
            if name < count:
                widths[name] = candidates[name][choice]
                continue
            for group, _ in sums[name - count].parts:
                widths[group] = sums[name - count].examples[choice][group]
        plans.append(tuple(widths))
    return np.asarray(costs.row(row, plans)[:, list(columns)].T.reshape(len(columns), *sizes))


def _split(sizes: Sequence[Parts]) -> tuple[list[int], list[Parts]] | None:
    """The groups that set a size of a row alone, and the sums that set others; None where a group does both."""
    parts = [part for part in sizes if len(part) > 1]
    alone = {part[0][0] for part in sizes if len(part) == 1}
    summed = [group for part in parts for group, _ in part]
    if alone & set(summed) or len(set(summed)) < len(summed):
        return None
    return sorted(alone), parts


def _sum_node(costs: RowCosts, candidates: Sequence[Sequence[int]], parts: Parts) -> SumNode:
    """Every value that the sum can have, with one example each."""
    found: dict[int, Widths] = {0: costs.full}
    for group, factor in parts:
        unit, full = costs.groups[group].unit, costs.full[group]
        following: dict[int, Widths] = {}
        for value, widths in found.items():
            for width in candidates[group]:
                more = value + factor * ((full - width) // unit)
                following.setdefault(more, (*widths[:group], width, *widths[group + 1 :]))
        found = following
    ordered = sorted(found)
    return SumNode(parts, tuple(ordered), tuple(found[value] for value in ordered))


__all__ = ["RowTerms", "SumNode", "Term", "row_terms"]

"""`GroupFeatures`: how a kept policy sees the groups of any network, on any chip and under any budgets.

The features of a group have the same meaning in every problem, so that what was learned of some holds for others:

    costs       what the group saves at a quarter, half and three quarters of its width, as shares of the budget, and what half
                and twice its share in the uniform plan save and take
    importance  what of the criterion's scores is lost at the same widths; without scores all units count the same
    layers      kind and position, and channels, positions, kernels, MACs and parameters as absolute logarithms
    chip        multipliers, rows and columns of arrays, memories, bandwidth and word width as absolute logarithms
    budget      what the uniform plan keeps, and how far the budget lies below the unpruned network and above the cheapest plan

An action says what a group keeps relative to the uniform plan of the same budgets, in logarithms: 0.5 keeps the same share, 0 a
quarter of it, 1 four times as much. So actions, too, mean the same at every budget. All of this is hwflow's own; layer features
are after AMC (arXiv:1802.03494, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.channels.groups import Widths
from hwflow.compression.decision import Variable
from hwflow.compression.search.plan_space import PlanSpace
from hwflow.compression.search.projection import nearest, project
from hwflow.hardware.accelerator import Accelerator, Fanout
from hwflow.metrics import ADDITIVE

VERSION = "group-features-1"
"""Raised whenever a feature's meaning changes: a policy that was trained on others cannot be used."""

SPAN = 4.0
"""The largest factor on the uniform plan's share that an action can ask for, and the inverse of the smallest."""

_PROBES = (0.25, 0.5, 0.75)
_CHIP = 9
_LEAST = 1e-6


class GroupFeatures:
    """The features of one problem's groups, and the meaning of actions in it.

    Args:
        space: the plans within the budgets.
        scores: importance of each group's units; None counts all the same.

    Attributes:
        table: [group, feature].
        uniform: the uniform plan.
    """

    def __init__(self, space: PlanSpace, scores: Mapping[str, Sequence[float]] | None) -> None:
        self._space, self._groups = space, space.costs.groups
        self.uniform: Widths = project(space, [1.0] * len(self._groups))
        shares = [width / group.channels for width, group in zip(self.uniform, self._groups, strict=True)]
        self._share = float(np.exp(np.mean(np.log(shares))))
        excess = np.maximum(space.whole / space.limits - 1.0, _LEAST)
        self._weights: Floats = excess / excess.sum()  # the budget that takes most off counts most
        self._even = float(self._loads([self.uniform])[0])
        kept = [_kept(group, scores[group.name] if scores else None) for group in self._groups]
        self.table: Floats = np.concatenate([self._costs(kept), self._layers(), self._context()], axis=1)

    def wishes(self, actions: Sequence[float]) -> list[float]:
        """Shares of their channels that groups shall keep, from actions in [0, 1]."""
        return [self._share * SPAN ** (2 * action - 1) for action in actions]

    def actions(self, widths: Widths) -> list[float]:
        """The actions that ask for a plan, as far as they can."""
        ratios = [width / group.channels / self._share for width, group in zip(widths, self._groups, strict=True)]
        return [min(max(0.5 + 0.5 * math.log(ratio, SPAN), 0.0), 1.0) for ratio in ratios]

    def _loads(self, plans: Sequence[Widths]) -> Floats:
        """What plans take of the budgets, 1 for all of it, [plan]."""
        return np.asarray(self._space.values(plans) / self._space.limits @ self._weights)

    def _costs(self, kept: Sequence[Floats]) -> Floats:
        """The cost curve and the importance of each group, [group, feature]."""
        full, groups = self._space.costs.full, self._groups
        probed = [[nearest(group, share * group.channels) for share in _PROBES] for group in groups]
        near = [[nearest(g, w * factor) for factor in (0.5, 2.0)] for g, w in zip(groups, self.uniform, strict=True)]
        plans = [_with(full, g, width) for g, widths in enumerate(probed) for width in widths]
        plans += [_with(self.uniform, g, width) for g, widths in enumerate(near) for width in widths]
        loads = self._loads(plans)
        curves = self._loads([full])[0] - loads[: len(groups) * len(_PROBES)].reshape(len(groups), -1)
        steps = np.abs(loads[len(groups) * len(_PROBES) :].reshape(len(groups), -1) - self._even)
        lost, gains = [], []
        for group, widths, (less, more), width, share in zip(groups, probed, near, self.uniform, kept, strict=True):
            here, below, above = (share[group.widths.index(w)] for w in (width, less, more))
            lost.append([*(1 - share[group.widths.index(w)] for w in widths), 1 - here])
            gains.append([math.log(here / below), math.log(above / here)])
        worth = np.log((np.array(gains) + 1e-3) / (steps + 1e-3))  # importance for cost, down and up
        relative = np.log(curves + 1e-4)
        return np.concatenate(
            [curves, np.array(lost), gains, steps, worth - worth.mean(axis=0), relative - relative.mean(axis=0)], axis=1
        )

    def _layers(self) -> Floats:
        """Kind, position and sizes of each group's layers, [group, feature]."""
        costs = self._space.costs
        layers, rows = costs.layers(costs.full), np.nan_to_num(costs.rows(costs.full))
        sums, intensive = rows[:, : len(ADDITIVE)], rows[:, len(ADDITIVE) :]
        shares = sums / np.maximum(sums.sum(axis=0), np.finfo(float).tiny)
        weights = shares[:, ADDITIVE.index("energy")] + _LEAST
        macs, params = (sums[:, ADDITIVE.index(name)] for name in ("macs", "params"))
        table = []
        for i, group in enumerate(self._groups):
            touched = costs.touched(i)
            first = layers[touched[0]]
            table.append(
                [
                    i / len(self._groups),
                    math.log2(len(self._groups)),
                    float(group.stream),
                    float(any(layers[t].G > 1 for t in touched)),
                    float(first.type == "linear"),
                    math.log2(group.channels),
                    math.log2(len(group.widths)),
                    group.widths[0] / group.channels,
                    math.log2(first.C * first.G),
                    math.log2(first.P * first.Q),
                    math.log2(max(first.R, first.S)),
                    math.log2(max(first.strides)),
                    math.log2(len(touched)),
                    math.log2(macs[touched].sum() + 1),
                    math.log2(params[touched].sum() + 1),
                    *shares[touched].sum(axis=0),
                    *(weights[touched] @ intensive[touched] / weights[touched].sum()),
                ]
            )
        return np.array(table, dtype=np.float64)

    def _context(self) -> Floats:
        """The chip and the budget, the same for all groups, [group, feature]."""
        whole, least = (float(self._loads([plan])[0]) for plan in (self._space.costs.full, self._space.cheapest))
        row = [*_chip(self._space.costs.accelerator), math.log2(self._share), math.log2(whole), math.log2(least)]
        return np.tile(np.array(row), (len(self._groups), 1))


def _kept(group: Variable, scores: Sequence[float] | None) -> Floats:
    """The share of its importance that a group keeps at each of its widths, above 0."""
    units = np.sort(np.asarray(scores if scores is not None else np.ones(group.channels // group.unit), dtype=np.float64))
    kept = np.cumsum(units[::-1])
    if not kept[-1] > 0:  # all scores are 0: all units are alike
        kept = np.arange(1.0, len(units) + 1)
    return np.asarray(np.maximum(kept[[width // group.unit - 1 for width in group.widths]] / kept[-1], _LEAST))


def _with(plan: Widths, group: int, width: int) -> Widths:
    return (*plan[:group], width, *plan[group + 1 :])


def _chip(accelerator: Accelerator | None) -> list[float]:
    """Logarithms of the chip's figures; zeros, and a first one of 0, where there is none."""
    if accelerator is None:
        return [0.0] * _CHIP
    arrays = [part for part in accelerator.hierarchy if isinstance(part, Fanout)]
    rows, columns = (math.prod(getattr(part, side) or 1 for part in arrays) for side in ("rows", "columns"))
    sizes = [memory.size_bits for memory in accelerator.memories if memory.size_bits]
    dram = accelerator.dram
    words = accelerator.words_per_cycle(dram) or max(dram.read_words_per_cycle or 0.0, dram.write_words_per_cycle or 0.0)
    return [
        1.0,
        math.log2(accelerator.mac_units),
        math.log2(rows),
        math.log2(columns),
        math.log2(max(sizes, default=1)),
        math.log2(min(sizes, default=1)),
        math.log2(words) if words else 0.0,  # without a limit
        float(bool(words)),
        math.log2(dram.word_bits),
    ]


__all__ = ["SPAN", "VERSION", "GroupFeatures"]

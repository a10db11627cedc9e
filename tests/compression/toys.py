"""A network of groups without torch: what the environment and the agent are tested on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Floats
from hwflow.compression.budget import Budget
from hwflow.compression.channels.groups import Step, Widths
from hwflow.compression.decision import Decision
from hwflow.compression.plan_costs import PlanCosts
from hwflow.cost.cost_grid import Entry
from hwflow.layers import TENSORS, Bits, Layer
from hwflow.network import Network


@dataclass(frozen=True)
class ToyGroup:
    """As `hwflow.compression.channels.groups.Group`, as far as plans and the environment ask."""

    name: str
    channels: int
    widths: tuple[int, ...]
    stream: bool = False
    unit: int = 1


class Chain:
    """Convolutions one after another, each group the width between two of them."""

    def __init__(self, channels: Sequence[int], round_to: int = 8) -> None:
        self.groups = tuple(
            ToyGroup(f"conv{i}", c, tuple(sorted({*range(round_to, c + 1, round_to), c}))) for i, c in enumerate(channels)
        )
        count = len(channels)
        self.dependence = tuple(tuple(g for g in (i - 1, i) if 0 <= g < count) for i in range(count + 1))

    def layer_for(self, row: int, widths: Widths) -> Layer:
        """Row `row` of the pruned network."""
        ends = (3, *widths, 10)
        return Layer(f"conv{row}", C=ends[row], M=ends[row + 1], P=8, Q=8, R=3, S=3)

    def network_for(self, plan: Mapping[str, int]) -> Network:
        """All rows."""
        widths = tuple(plan[group.name] for group in self.groups)
        return Network("chain", tuple(self.layer_for(r, widths) for r in range(len(self.dependence))))


def plain(layer: Layer) -> Entry:
    """A price that follows MACs and weights."""
    words = layer.words("weights") + layer.words("inputs") + layer.words("outputs")
    return Entry(
        energy=5.0 * layer.macs + 200.0 * words,
        cycles=layer.macs / 100,
        latency_s=layer.macs / 1e8,
        dram_bytes=2.0 * words,
        utilization=0.5,
        dram_share=0.5,
        macs=layer.macs,
        params=layer.params,
    )


def ragged(layer: Layer) -> Entry:
    """A price that channels which are no multiple of 16 make higher."""
    padded = layer.with_(C=-(-layer.C // 16) * 16, M=-(-layer.M // 16) * 16)
    cost = plain(padded if layer.C % 16 == 0 else padded.with_(C=2 * padded.C))
    return cost._replace(macs=layer.macs, params=layer.params, utilization=layer.macs / padded.macs)


class Held:
    """As `hwflow.compression.plan_costs.Activations`, for a chain: what each convolution reads and writes, in 16-bit words."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def peaks(self, plans: Sequence[Widths]) -> Floats:
        """The largest sum of each plan."""
        ends = np.pad(np.array(plans, dtype=np.float64), ((0, 0), (1, 1)), constant_values=((0, 0), (3, 10)))
        return np.asarray(2.0 * 64 * (ends[:, :-1] + ends[:, 1:]).max(axis=1))

    @property
    def sums(self) -> tuple[Floats, Floats]:
        """The sums in bits of the whole chain, [row], and what a channel of each group takes off, [row, group]."""
        groups = self._chain.groups
        rows = [self._chain.layer_for(r, tuple(g.channels for g in groups)) for r in range(len(groups) + 1)]
        lost = [[16.0 * 64 * (g in on) for g in range(len(groups))] for on in self._chain.dependence]
        return np.array([16.0 * 64 * (row.C + row.M) for row in rows]), np.array(lost)


class Blocks(Chain):
    """Equal residual blocks of two convolutions, each group the width inside one block; the stream keeps its channels."""

    def __init__(self, count: int, channels: int, round_to: int = 8) -> None:
        super().__init__((channels,) * count, round_to)
        self.dependence = tuple((row // 2,) for row in range(2 * count))

    def layer_for(self, row: int, widths: Widths) -> Layer:
        """Row `row` of the pruned network."""
        inner = widths[row // 2]
        return Layer(f"conv{row}", C=inner if row % 2 else 32, M=32 if row % 2 else inner, P=8, Q=8, R=3, S=3)

    def network_for(self, plan: Mapping[str, int]) -> Network:
        """All rows."""
        widths = tuple(plan[group.name] for group in self.groups)
        return Network("blocks", tuple(self.layer_for(r, widths) for r in range(len(self.dependence))))


class MixedChain(Chain):
    """A chain where bits are decided, too: a row depends on its own width and bits, and on what the rows beside it decide."""

    def __init__(self, channels: Sequence[int], options: tuple[int, ...] = (2, 4, 8), round_to: int = 8) -> None:
        super().__init__(channels, round_to)
        rows = len(self.dependence)
        weights = [Decision(f"conv{r}.weight_bits", options, (r,)) for r in range(rows)]
        read = [Decision(f"conv{r}.activation_bits", options, (max(r - 1, 0), r)) for r in range(rows)]
        first, second = len(self.groups), len(self.groups) + rows
        self.groups = (*self.groups, *weights, *read)  # type: ignore[assignment]
        self._words = [(first + r, second + r, second + min(r + 1, rows - 1)) for r in range(rows)]
        self.dependence = tuple(tuple(sorted({*on, *words})) for on, words in zip(self.dependence, self._words, strict=True))
        self.layer_steps = tuple(Step(r, f"size {g}", g, 1) for r, on in enumerate(self.dependence) for g in on)

    def layer_for(self, row: int, widths: Widths) -> Layer:
        """Row `row` with its word widths."""
        weights, reads, writes = (widths[place] for place in self._words[row])
        return super().layer_for(row, widths[: len(self._words) - 1]).with_(bits=Bits(weights, reads, writes))


def by_bits(layer: Layer) -> Entry:
    """A price that follows bits: of operands of a product, and of words moved."""
    bits = layer.bits or Bits(8, 8, 8)
    moved = sum(layer.words(t) * width for t, width in zip(TENSORS, bits, strict=True))
    cost = plain(layer)
    return cost._replace(
        energy=layer.macs * bits.weights * bits.inputs / 64 + 25.0 * moved,
        latency_s=layer.macs / 1e8 * max(bits.weights, bits.inputs) / 8,
        dram_bytes=moved / 8,
    )


def chain_costs(channels: Sequence[int], price: Callable[[Layer], Entry] = plain) -> PlanCosts:
    """Costs of a chain's plans."""
    chain = Chain(channels)
    return PlanCosts(chain, price, Held(chain))  # type: ignore[arg-type]


def at_most(costs: PlanCosts, shares: Sequence[float]) -> Budget:
    """The budget of MACs that the plan which keeps these shares of channels uses up."""
    widths = tuple(round(share * group.channels) for share, group in zip(shares, costs.groups, strict=True))
    share = costs.metric(costs.totals(widths), "macs") / costs.metric(costs.totals(costs.full), "macs")
    return Budget("macs", min(1.0, share * (1 + 1e-9)))


def nearness(targets: Mapping[str, float], channels: Mapping[str, int]) -> Callable[[dict[str, int]], float]:
    """An accuracy that is 1 where every group keeps its target share of channels."""

    def accuracy(plan: dict[str, int]) -> float:
        return 1 - sum((plan[n] / channels[n] - t) ** 2 for n, t in targets.items()) / len(targets)

    return accuracy

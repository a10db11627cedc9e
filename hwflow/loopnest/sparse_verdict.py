"""What a mapping costs where the chip does something about zeros: dense counts, less what Timeloop's sparse model takes off.

Its rules (NVlabs/timeloop: `sparse-analysis/`, `model/buffer.cpp`, `model/arithmetic.cpp`) are, beside those of
`hwflow.loopnest.zeros`:

* A compressed tile is read, filled and updated in proportion to its density, and its indices beside it.
* Accesses that are saved are those for which an operand is zero. Where one access serves several MAC units, each with an
  element of the operand, all of these must be.
* Ragged loops take as many cycles as without zeros, whatever is skipped.
* Where an operand is not read, its product does not exist. Timeloop says so of gated accesses, too, so that gated products
  take no cycle there. Here they do (`cycles`); `timeloop_cycles` is its own number.

Energies of indices are those of data: an access brings as many whole indices as fit its row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Floats
from hwflow.hardware.components import Memory
from hwflow.hardware.counted_zeros import PACKED
from hwflow.hardware.sparsity import Saving, Sparsity
from hwflow.hardware.stored_bits import packs
from hwflow.layers import TENSORS, Densities
from hwflow.loopnest.batch import Batch
from hwflow.loopnest.nest import OUTPUTS, Nest, Verdict
from hwflow.loopnest.spans import Spans
from hwflow.loopnest.zeros import Tiles, empty

READS, FILLS, UPDATES = range(3)

_FEW_ROWS: dict[int, tuple[int, ...]] = {
    2: (251, 125, 84, 63, 51, 42, 36, 32, 28, 1),
    4: (375, 188, 125, 94, 75, 63, 54, 47, 42, 1),
    8: (438, 219, 146, 110, 88, 73, 63, 55, 49, 1),
    16: (469, 235, 157, 118, 94, 79, 67, 59, 52, 1),
    32: (485, 243, 162, 122, 97, 81, 70, 61, 52, 1),
}
"""Timeloop's `VectorWidthCoefficientTable`, by words of a row and tenths of density: of a tile of fewer rows than that the last
one, which is not full, is counted, too."""


@dataclass(frozen=True)
class SparseVerdict:
    """The results, arrays by level from the innermost outwards and tensor; counts are per instance.

    Attributes:
        actual, gated, skipped: accesses that happen, and that are saved: [reads | fills | updates, level, tensor].
        index_bits: that go with them, [reads | fills | updates, level, tensor].
        level_energy: of all instances, with `leakage` in it; `mac_energy` apart.
        products: multiply-accumulates that happen.
        compute_cycles, level_cycles, cycles: with a cycle for each gated product; Timeloop's without.
        timeloop_leakage: what leaks in Timeloop's cycles, by level.
    """

    actual: Floats
    gated: Floats
    skipped: Floats
    index_bits: Floats
    level_energy: Floats
    leakage: Floats
    mac_energy: float
    products: int
    compute_cycles: float
    level_cycles: Floats
    cycles: int
    timeloop_level_cycles: Floats
    timeloop_cycles: int
    timeloop_leakage: Floats

    @property
    def energy(self) -> float:
        """Of all levels and the arithmetic."""
        return float(self.level_energy.sum()) + self.mac_energy


def why_dense(nest: Nest, batch: Batch) -> str:
    """Why zeros are not counted for a mapping, or nothing where they are."""
    chip = nest.accelerator
    if packs(chip, nest.layer):
        return PACKED
    if nest.memories.grouped:
        return "instances of a memory share their accesses"
    if chip.sparsity is not None and (chip.sparsity.skips or chip.sparsity.gates) and nest.memories.fanout[0, 0] > 1:
        return f"several MAC units lie below {nest.levels[0].name}, and all of them must be at a zero for an access to be saved"
    return ""


def sparse_verdict(nest: Nest, batch: Batch, dense: Verdict, densities: Densities) -> SparseVerdict:
    """The verdict on one mapping, from the one on the same layer without zeros; `why_dense` must have nothing against it."""
    assert nest.accelerator.sparsity is not None
    return _Analysis(nest, batch, dense, densities, nest.accelerator.sparsity).verdict()


class _Analysis:
    def __init__(self, nest: Nest, batch: Batch, dense: Verdict, densities: Densities, chip: Sparsity) -> None:
        self._nest, self._batch, self._densities, self._chip = nest, batch, densities, chip
        self._memories = [level.memory for level in nest.levels]
        words = dense.tiles[:, :, 0]
        self._tiles = [
            Tiles(tensor, nest.shapes[t], batch, [int(n) for n in words[:, t]], self._memories, chip)
            for t, tensor in enumerate(TENSORS)
        ]
        self._dense = np.stack([dense.reads[:, :, 0], dense.fills[:, :, 0], dense.updates[:, :, 0]])
        self._instances = dense.instances[:, 0].astype(np.float64)
        spans = Spans(batch, nest.sizes, exact=True)
        self._most, self._macs = spans.most[:, 0], float(spans.computes(nest.layer.macs)[0])
        self._ragged, self._dense_cycles = bool(batch.ragged[0]), dense.compute_cycles[0]
        self._present = np.ones(words.shape)
        self._rows = np.ones(words.shape)
        self._actual = self._dense.copy()
        self._gated, self._skipped = np.zeros(self._dense.shape), np.zeros(self._dense.shape)
        self._index_bits, self._index_rows = np.zeros(self._dense.shape), np.zeros(self._dense.shape)
        self._gated_bits = np.zeros(self._dense.shape)

    def verdict(self) -> SparseVerdict:
        indices = [self._compress(k, t) for t, tiles in enumerate(self._tiles) for k in tiles.kept]
        rules = self._chip.savings(self._nest.accelerator.hierarchy)
        shares = {rule: self._saved_share(rule) for rule in rules}
        for k, t, units in filter(None, indices):
            rule = next((r for r in rules if self._place(r) == (k, t)), None)
            self._count_indices(k, t, units, None if rule is None else (rule, shares[rule]))
        for rule in rules:
            self._save(rule, shares[rule])
        products = self._products(shares)
        steps = self._products({rule: share for rule, share in shares.items() if rule.skips})
        at_work = float(self._batch.spatial[:, :, 0].prod())
        compute, timeloop = math.ceil(steps / at_work), math.ceil(products / at_work)
        if self._ragged:
            compute = timeloop = int(self._dense_cycles)
        level_cycles, level_energy = self._level_cycles(compute), self._access_energy()
        fewer_cycles = self._level_cycles(timeloop)
        cycles, fewer = int(level_cycles.max()), int(fewer_cycles.max())
        leak = self._nest.memories.leak[:, 0] * self._leaking
        return SparseVerdict(
            actual=self._actual,
            gated=self._gated,
            skipped=self._skipped,
            index_bits=self._index_bits,
            level_energy=level_energy + leak * cycles,
            leakage=leak * cycles,
            mac_energy=products * self._nest.compute_energy,
            products=products,
            compute_cycles=float(compute),
            level_cycles=level_cycles,
            cycles=cycles + self._nest.memories.edges,
            timeloop_level_cycles=fewer_cycles,
            timeloop_cycles=fewer + self._nest.memories.edges,
            timeloop_leakage=leak * fewer,
        )

    # Compressed tiles ------------------------------------------------------------------------------------------------

    def _compress(self, k: int, t: int) -> tuple[int, int, list[tuple[float, float]]] | None:
        """Count what a tile holds; the indices and pointers of each rank where it is compressed."""
        tiles, density = self._tiles[t], self._densities[t]
        occupancy = tiles.occupancy(k, density)
        self._present[k, t] = occupancy.present
        if (stored := tiles.stored(k)) is None:
            return None
        zeros = 1 - occupancy.density
        self._actual[:, k, t] -= np.floor(self._dense[:, k, t] * zeros)
        self._rows[k, t] = self._row_growth(k, t, occupancy.density)
        units = [(0.0, 0.0)] * len(stored.ranks)
        for number, odd in occupancy.odds:
            units = [(i + one * odd, p + two * odd) for (i, p), (one, two) in zip(units, stored.units(number), strict=True)]
        return k, t, units

    def _row_growth(self, k: int, t: int, density: float) -> float:
        """How many more rows a compressed tile of few rows takes, since its last one is not full."""
        tile, block = self._tiles[t].sizes[k], self._memory(k).block_words
        if block == 1 or density >= 1.0:
            return 1.0
        tenth = math.floor(density / 0.1) - 1 if density >= 0.1 else 0
        if _FEW_ROWS[block][tenth] <= tile.elements // block:
            return 1.0
        mean = tile.padded * self._densities[t]
        below, share = math.floor(mean), mean - math.floor(mean)
        odds = ((below, 1 - share), (below + 1, share))
        rows = sum(math.ceil(number / block) * odd for number, odd in odds if number <= tile.elements)
        return rows / (tile.elements * density / block)

    def _count_indices(self, k: int, t: int, units: Sequence[tuple[float, float]], saving: tuple[Saving, float] | None) -> None:
        memory = self._memory(k)
        stored = self._chip.compressed[memory.name]
        widths = stored.bits(TENSORS[t]), stored.offset_bits
        for action, words in enumerate(self._dense[:, k, t]):
            times = words / self._tiles[t].sizes[k].elements
            for bits, count in ((bits, n) for rank in units for bits, n in zip(widths, rank, strict=True)):
                all_of_them = math.ceil(count * times)
                saved = 0 if saving is None or action == FILLS else math.floor(all_of_them * saving[1])
                self._index_bits[action, k, t] += bits * (all_of_them - saved)
                if saving is not None and not saving[0].skips:
                    self._gated_bits[action, k, t] += bits * saved
        self._index_rows[:, k, t] = np.ceil(self._index_bits[:, k, t] / stored.row_bits(memory))

    # Savings ---------------------------------------------------------------------------------------------------------

    def _place(self, rule: Saving) -> tuple[int, int]:
        level = next(k for k, memory in enumerate(self._memories) if memory is not None and memory.name == rule.memory)
        return level, TENSORS.index(rule.tensor)

    def _saved_share(self, rule: Saving) -> float:
        """The share of the accesses at which the elements of an operand are zero, those that one access serves together.

        A row of several words is saved as a whole: Timeloop takes as many steps of the innermost loop together.
        """
        level, _ = self._place(rule)
        together = self._batch.spatial[: level + 1, :, 0].prod(axis=0)
        together[self._batch.order[0, 0, 0]] *= self._memory(level).block_words
        needed = 1.0
        for operand in rule.zeros_of:
            t = TENSORS.index(operand)
            elements = int(self._nest.shapes[t].words(together[:, None])[0])
            needed *= 1 - empty(elements, self._densities[t])
        return 1 - needed

    def _save(self, rule: Saving, share: float) -> None:
        k, t = self._place(rule)
        saved = self._skipped if rule.skips else self._gated
        rounded = math.ceil if t == OUTPUTS else math.floor
        for action, whole in ((READS, rounded), (UPDATES, math.floor)):
            less = whole(self._actual[action, k, t] * share)
            saved[action, k, t] += less
            self._actual[action, k, t] -= less

    # Arithmetic ------------------------------------------------------------------------------------------------------

    def _products(self, shares: dict[Saving, float]) -> int:
        """Multiply-accumulates that happen, if accesses are saved by these rules."""
        total = self._macs
        saved: dict[str, float] = {rule.tensor: share for rule, share in shares.items() if rule.tensor != "outputs"}
        for tensor in TENSORS[:OUTPUTS]:
            total -= math.floor(total * saved.get(tensor, 0.0))
        absent = 1.0  # that both operands are known to be zero without being asked for
        for t, tensor in enumerate(TENSORS[:OUTPUTS]):
            density = _millionths(self._densities[t])
            for other, share in saved.items():
                if other != tensor:
                    density /= 1 - _millionths(share)
            known = self._tiles[t].stored(self._tiles[t].kept[0]) is not None
            absent *= min(max(1 - density, 0.0), 1.0) if known else 0.0
        return int(total - math.floor(total * absent))

    # Prices ----------------------------------------------------------------------------------------------------------

    def _memory(self, k: int) -> Memory:
        memory = self._memories[k]
        assert memory is not None
        return memory

    def _access_energy(self) -> Floats:
        block = self._nest.memories.block
        rows = np.ceil(self._actual / block) * self._rows + self._index_rows
        prices = self._nest.memories
        each = rows[READS] * prices.read + rows[FILLS] * prices.write + rows[UPDATES] * prices.update
        return np.asarray((each * self._present).sum(axis=1) * self._instances)

    @property
    def _leaking(self) -> Floats:
        """Instances at work, by level: Timeloop takes those that a tensor which is not kept would use, too."""
        return np.asarray(np.maximum(self._instances * self._present.max(axis=1), 1.0))

    def _level_cycles(self, compute: int) -> Floats:
        """Each level's cycles at its bandwidth; a gated access takes its place in it."""
        words, bits = self._actual + self._gated, self._index_bits + self._gated_bits
        word_bits = self._nest.memories.widths.word[:, 0]
        read = self._shared(words[READS] + bits[READS] // word_bits) / compute
        write = self._shared(words[FILLS] + words[UPDATES] + (bits[FILLS] + bits[UPDATES]) // word_bits) / compute
        read, write = read.sum(axis=1, keepdims=True), write.sum(axis=1, keepdims=True)
        slowdown = np.ones(read.shape)
        for limit, demand in zip(self._nest.memories.limits, (read, write, read + write), strict=True):
            np.minimum(slowdown, np.divide(limit, demand, out=np.ones(demand.shape), where=demand > limit), out=slowdown)
        return np.asarray(np.ceil(compute / slowdown)[:, 0])

    def _shared(self, words: Floats) -> Floats:
        """Averaged over the instances, of which those with empty tiles have nothing to do."""
        return np.asarray(np.ceil(words / (self._most[:, None] / (self._instances[:, None] * self._present))))


def _millionths(value: float) -> float:
    """Rounded as Timeloop rounds probabilities."""
    return math.floor(value * 1e6 + 0.5) / 1e6


__all__ = ["FILLS", "READS", "UPDATES", "SparseVerdict", "sparse_verdict", "why_dense"]

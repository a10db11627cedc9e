"""Link transfers alone: which instances find their tile at a neighbour, and what that saves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwflow.layers import DIMS, Layer
from hwflow.loopnest import links
from hwflow.loopnest.batch import Batch
from hwflow.loopnest.spans import Spans
from hwflow.loopnest.tiles import Shape


def batch(over: dict[str, int], *loops: tuple[str, int], below: dict[str, int] | None = None) -> Batch:
    """Three levels: `below` at the innermost, `loops` (the innermost first) and the spread at the middle one."""
    temporal, spatial = np.ones((3, len(DIMS), 1), dtype=np.int64), np.ones((3, len(DIMS), 1), dtype=np.int64)
    for dim, bound in loops:
        temporal[1, DIMS.index(dim), 0] = bound
    for dim, bound in (below or {}).items():
        temporal[0, DIMS.index(dim), 0] = bound
    for dim, bound in over.items():
        spatial[1, DIMS.index(dim), 0] = bound
    first = [DIMS.index(d) for d, _ in loops]
    order = np.array([first + [i for i in range(len(DIMS)) if i not in first]] * 3, dtype=np.int8)[:, :, None]
    return Batch(temporal, spatial, order, ((), tuple(DIMS.index(d) for d in over), ()))


def found(layer: Layer, mapping: Batch) -> tuple[float, float, float] | None:
    """Reads above, words delivered and words handed on below the middle level; None where links save nothing."""
    spans = Spans(mapping, np.array([layer.dims[d] for d in DIMS]), exact=True)
    handed = links.transfers(Shape(layer, "inputs"), spans, 1, np.arange(1))
    return (handed.reads[0], handed.delivered[0], handed.links[0]) if handed.index.size else None


LAYER = Layer("k", C=1, M=2, P=4, R=3)


def test_a_diagonal_is_handed_down_the_row() -> None:
    # P over four, R in time: 4 reads, then 1 read and 3 transfers, twice; 6 + 6 words reach the four.
    assert found(LAYER, batch({"P": 4}, ("R", 3))) == (6, 6, 6)


def test_it_starts_again_for_every_pass() -> None:
    # M outside: the first pass as above. Timeloop walks two steps of R and counts the second twice, so it believes the row to
    # stand at R = 1 when the next pass begins: one step back, one read and 3 transfers, and then two more steps forward.
    assert found(LAYER, batch({"P": 4}, ("R", 3), ("M", 2))) == (6 + 1 + 2, 6 + 1 + 2, 6 + 3 + 6)


@pytest.mark.parametrize(
    "mapping",
    [
        batch({"P": 4}),  # no time passes
        batch({"P": 4}, ("M", 2), ("R", 3)),  # the tiles stand still in between: nobody received them the step before
        batch({"M": 4}, ("R", 3)),  # all want the same: multicast already reads it once
    ],
)
def test_where_nothing_is_saved_there_is_none(mapping: Batch) -> None:
    assert found(LAYER, mapping) is None


def test_a_stride_must_fit_the_step() -> None:
    strided = replace(LAYER, strides=(2, 1))
    assert found(strided, batch({"P": 4}, ("R", 3))) is None  # neighbours are 2 apart, a step goes 1
    dilated = replace(strided, dilations=(2, 1))
    assert found(dilated, batch({"P": 4}, ("R", 3))) == (6, 6, 6)


def test_partly_overlapping_tiles_are_not_handed_on() -> None:
    # Tiles of three words that move by one: the one new word of each is none that a neighbour got just before.
    layer = replace(LAYER, P=8)
    assert found(layer, batch({"P": 2}, ("P", 4), below={"R": 3})) is None


def test_many_mappings_are_judged_as_each_alone() -> None:
    mappings = [
        batch({"P": 4}, ("R", 3)),
        batch({"P": 4}),
        batch({"P": 2}, ("R", 3), ("P", 2), ("M", 2)),
        batch({"P": 4}, ("R", 3), ("M", 2)),
    ]
    together = Batch(
        *(np.concatenate([getattr(m, field) for m in mappings], axis=2) for field in ("temporal", "spatial", "order")),
        mappings[0].spatial_order,
    )
    spans = Spans(together, np.array([LAYER.dims[d] for d in DIMS]), exact=True)
    handed = links.transfers(Shape(LAYER, "inputs"), spans, 1, np.arange(together.size))
    alone = {i: found(LAYER, m) for i, m in enumerate(mappings) if found(LAYER, m) is not None}
    assert (
        dict(zip(handed.index.tolist(), zip(handed.reads, handed.delivered, handed.links, strict=True), strict=True)) == alone
    )
    assert len(alone) == 3

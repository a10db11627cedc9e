"""Tiles of sparse tensors, by hand."""

from __future__ import annotations

import pytest

from hwflow.loopnest.zeros import Occupancy, Rank, Stored, Tile, empty


def test_zeros_are_spread_evenly() -> None:
    assert empty(1, 0.25) == 0.75
    assert empty(2, 0.25) == 0.5
    assert empty(4, 0.25) == 0.0
    assert empty(8, 0.3) == 0.0


def test_a_tile_holds_the_next_lower_or_higher_number() -> None:
    found = Occupancy.of(Tile(10, 10), 0.25, announced=False)
    assert found.odds == ((2, 0.5), (3, 0.5))
    assert found.mean == 2.5
    assert found.density == 0.25
    assert found.present == 1.0


def test_an_empty_tile_is_not_sent_where_it_is_known_to_be_empty() -> None:
    told, untold = (Occupancy.of(Tile(2, 2), 0.125, announced=announced) for announced in (True, False))
    assert untold.mean == 0.25
    assert untold.present == 1.0
    assert told.mean == 1.0
    assert told.present == 0.25


@pytest.mark.parametrize(("encoding", "indices"), [("rle", 0.3 * 12 * 5), ("coordinates", 4 * 5), ("bitmask", 12 * 5)], ids=str)
def test_indices_of_five_tiles_of_twelve(encoding: str, indices: float) -> None:
    """18 of 60 elements: 0.3 of each tile of 12; the tiles have a pointer each, and one to the end."""
    stored = Stored(Tile(60, 60), (Rank(fibers=5, shape=12, below=1), Rank(fibers=1, shape=5, below=12)), encoding)  # type: ignore[arg-type]
    elements, tiles = stored.units(18)
    assert elements == (pytest.approx(indices), 0.0)  # what an index belongs to is no pointer
    assert tiles == (0.0, 6.0)


def test_the_innermost_rank_that_has_several_places_needs_no_pointers() -> None:
    single = Stored(Tile(60, 60), (Rank(fibers=60, shape=1, below=1), Rank(fibers=1, shape=60, below=1)), "rle")
    assert single.units(18) == [(0.0, 0.0), (0.0, 0.0)]

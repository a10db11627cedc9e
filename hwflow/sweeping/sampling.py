"""Sampling of designs from a space: random, or a Latin hypercube."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from hwflow.errors import InputError
from hwflow.optional import needed
from hwflow.sweeping.space import Design, Space

_PATIENCE = 1000  # draws for each design that is asked for
_COUNTED = 100_000


def count(space: Space, most: int = _COUNTED) -> int | None:
    """How many designs the constraints allow, or None where the space has more than `most`, so that they are not counted."""
    if all(entry.constraint is None for entry in space.entries):
        return space.size
    return None if space.size > most else sum(1 for _ in space.designs())


def draw(space: Space, method: str, points: int, seed: int, *, patience: int = _PATIENCE) -> list[Design]:
    """Different designs that the constraints allow, `points` of them, or all where there are fewer.

    An accelerator of the file is drawn as often as another, whatever its number of designs. `lhs` spreads the draws over each
    field's values (`scipy.stats.qmc`); those that a constraint forbids, and repetitions, are replaced by those of further
    hypercubes.

    Args:
        patience: draws for each design that is asked for.

    Raises:
        InputError: where the constraints leave too few to be found by drawing.
        MissingDependency: for `lhs`, where scipy is not installed.
    """
    known = count(space)
    if known is not None and known <= points:
        return list(space.designs())
    chosen: dict[Design, None] = {}
    for genes in itertools.islice(_genes(space, method, points, seed), patience * points):
        design = space.decode(genes)
        if design not in chosen and space.allows(design):
            chosen[design] = None
            if len(chosen) == points:
                return list(chosen)
    raise InputError(
        f"sample: {patience * points:,} draws gave {len(chosen):,} of {points:,} designs: where allows too few of "
        f"{space.size:,}. Narrow the values to what it allows, or ask for fewer points."
    )


def _genes(space: Space, method: str, points: int, seed: int) -> Iterator[list[float]]:
    rng = np.random.default_rng(seed)
    if method == "random":
        while True:
            yield rng.random(space.genes).tolist()
    needed("scipy.stats", "a sample of method lhs", "sweep")
    from scipy.stats import qmc

    cube = qmc.LatinHypercube(space.genes, rng=rng)
    while True:
        yield from cube.random(points).tolist()

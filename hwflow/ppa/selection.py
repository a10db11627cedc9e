"""Fitting: least squares with a ridge, whose degree and ridge cross-validation over whole configurations chooses.

All layers of one configuration are in one fold: a fold by layers would see a chip's other layers in the fit, and understate
the error on a chip that was not characterised. Sizes of folds, degrees, ridges and the rule for ties are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Bools, Floats, Ints
from hwflow.errors import InputError
from hwflow.ppa.polynomials import Basis, Family, Polynomial, monomials

DEGREES = (1, 2, 3, 4)
RIDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
FOLDS = 5
POINTS_A_MONOMIAL = 2
"""Points that a fit needs for each coefficient."""

_CLOSE, _EXACT = 1.01, 1e-10
"""Errors within this factor, or below this amount, are equal: the lower degree is taken, and of it the larger ridge."""
_RANK = 1e-11
"""Singular values below this share of the largest count as zero."""


@dataclass(frozen=True)
class Split:
    """Which points are held out, and in which fold the others are; by configuration."""

    held_out: Bools
    folds: Ints


def split(configurations: Ints, seed: int | list[int], share: float = 0.2, folds: int = FOLDS) -> Split:
    """Hold out a share of the configurations, and deal the others to folds, at random.

    Args:
        configurations: of each point, the number of its configuration.

    Raises:
        InputError: where there are too few configurations for every part to have one.
    """
    distinct = np.unique(configurations)
    out = max(1, round(share * len(distinct)))
    if len(distinct) - out < folds:
        raise InputError(
            f"there are {len(distinct)} configurations with answers of a PE type; {folds} folds and {share:.0%} held out need "
            f"{folds + out} at least: characterise more chips."
        )
    order = np.random.default_rng(seed).permutation(distinct)
    place = {int(number): i for i, number in enumerate(order)}
    places = np.array([place[int(number)] for number in configurations])
    return Split(places < out, np.where(places < out, -1, (places - out) % folds))


def fitted(names: tuple[str, ...], logs: Floats, targets: Mapping[str, Floats], folds: Ints) -> Family:
    """The polynomials of targets over the variables that vary.

    Args:
        names: of the columns of `logs`, natural logarithms, a row a point.
        targets: values above 0, one a point.
        folds: of each point.

    Raises:
        InputError: where there are too few points for degree 1.
    """
    basis = Basis.of(names, logs)
    count, width = len(logs), len(basis.names)
    degrees = [d for d in DEGREES if count >= POINTS_A_MONOMIAL * monomials(width, d)]
    if not degrees:
        raise InputError(
            f"{count} points are too few to fit {width} variables ({', '.join(basis.names)}): a polynomial of degree 1 has "
            f"{monomials(width, 1)} coefficients, and {POINTS_A_MONOMIAL} points are needed for each. Characterise more chips, "
            "or vary fewer fields."
        )
    own = basis.chosen(names, logs)
    y = np.log(np.array(list(targets.values()))).T
    terms = basis.terms(own, degrees[-1]).T
    errors = np.array([_errors(terms[:, : monomials(width, d)], y, folds) for d in degrees])  # [degree, ridge, target]
    polynomials = {}
    solved = {d: list(_solved(terms[:, : monomials(width, d)], y)) for d in degrees}
    for t, target in enumerate(targets):
        at, ridge = _choice(errors[:, :, t])
        polynomials[target] = Polynomial(degrees[at], RIDGES[ridge], solved[degrees[at]][ridge][:, t])
    return Family(basis, polynomials)


def _errors(terms: Floats, y: Floats, folds: Ints) -> Floats:
    """Root mean square of the logarithms' errors on points whose fold the fit has not seen, [ridge, target]."""
    squares = np.zeros((len(RIDGES), y.shape[1]))
    for fold in np.unique(folds):
        seen = folds != fold
        for r, coefficients in enumerate(_solved(terms[seen], y[seen])):
            squares[r] += ((terms[~seen] @ coefficients - y[~seen]) ** 2).sum(axis=0)
    return np.asarray(np.sqrt(squares / len(y)))


def _solved(terms: Floats, y: Floats) -> Iterator[Floats]:
    """For each ridge the coefficients, [monomial, target], that minimise mean square error + ridge x their squares' sum.

    The first monomial is the constant, which no ridge draws to 0.
    """
    centre, level = terms[:, 1:].mean(axis=0), y.mean(axis=0)
    left, values, right = np.linalg.svd(terms[:, 1:] - centre, full_matrices=False)
    kept = values > _RANK * values[0]
    left, values, right = left[:, kept], values[kept], right[kept]
    projected = left.T @ (y - level)
    for ridge in RIDGES:
        slopes = right.T @ ((values / (values**2 + ridge * len(y)))[:, None] * projected)
        yield np.vstack([level - centre @ slopes, slopes])


def _choice(errors: Floats) -> tuple[int, int]:
    """Places of the degree and the ridge: the lowest degree as good as the best, and of it the largest ridge as good as its."""
    best = errors.min(axis=1)
    degree = int(np.flatnonzero(best <= max(best.min() * _CLOSE, _EXACT))[0])
    own = errors[degree]
    return degree, int(np.flatnonzero(own <= max(own.min() * _CLOSE, _EXACT))[-1])

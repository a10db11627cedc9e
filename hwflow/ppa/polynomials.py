"""Polynomials in the logarithms of sizes: `ln y = sum of coefficient x monomial`, over all monomials up to a degree.

The variables of the monomials are logarithms, each shifted by its mean over the fit and divided by its standard deviation. All
targets of one `Family` share them, and with them the monomials.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwflow.arrays import Floats, Places

CONSTANT = 1e-12
"""Standard deviation of a logarithm below which its variable has one value."""


def monomials(variables: int, degree: int) -> int:
    """How many there are of total degree 0 to `degree`."""
    return math.comb(variables + degree, degree)


@functools.cache
def _built(variables: int, degree: int) -> tuple[Places, Places]:
    """Of each monomial of exactly this degree, the place among those of one degree less, and the variable to multiply by."""
    below = {factors: i for i, factors in enumerate(itertools.combinations_with_replacement(range(variables), degree - 1))}
    own = list(itertools.combinations_with_replacement(range(variables), degree))
    parents, last = [below[factors[:-1]] for factors in own], [factors[-1] for factors in own]
    return np.array(parents, dtype=np.intp), np.array(last, dtype=np.intp)


@dataclass(frozen=True)
class Basis:
    """The variables of a fit.

    Attributes:
        names: of the variables.
        centre, scale: mean and standard deviation of their logarithms over the fit.
    """

    names: tuple[str, ...]
    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, names: tuple[str, ...], logs: Floats) -> Basis:
        """Of logarithms, a row a point, those columns that vary."""
        spread = logs.std(axis=0)
        kept = np.flatnonzero(spread > CONSTANT)
        return cls(tuple(names[i] for i in kept), logs.mean(axis=0)[kept], spread[kept])

    def chosen(self, names: tuple[str, ...], logs: Floats) -> Floats:
        """The columns of this basis, of those called `names`."""
        return logs[:, [names.index(name) for name in self.names]]

    def terms(self, logs: Floats, degree: int) -> Floats:
        """The values of all monomials up to a degree, lower degrees first: a row a monomial, a column a point.

        Args:
            logs: natural logarithms, a row a point, a column a variable of this basis.
        """
        z = np.ascontiguousarray(((logs - self.centre) / self.scale).T)
        blocks = [np.ones((1, len(logs)))]
        for power in range(1, degree + 1):
            parents, last = _built(len(self.names), power)
            blocks.append(blocks[-1][parents] * z[last])
        return np.concatenate(blocks)


@dataclass(frozen=True)
class Polynomial:
    """One target's coefficients, of the monomials in the order of `Basis.terms`; `ridge` is what they were fitted with."""

    degree: int
    ridge: float
    coefficients: Floats


@dataclass(frozen=True)
class Family:
    """Polynomials over one basis, by target."""

    basis: Basis
    polynomials: Mapping[str, Polynomial]

    def predict(self, logs: Floats) -> dict[str, Floats]:
        """The targets' values, one for each row of `logs`."""
        degree = max((polynomial.degree for polynomial in self.polynomials.values()), default=0)
        terms = self.basis.terms(logs, degree)
        return {
            target: np.exp(polynomial.coefficients @ terms[: polynomial.coefficients.size])
            for target, polynomial in self.polynomials.items()
        }

from __future__ import annotations

import itertools
import math

import numpy as np

from hwflow.ppa.polynomials import Basis, monomials


def test_terms_are_all_products_of_variables_up_to_the_degree_lower_degrees_first() -> None:
    logs = np.random.default_rng(0).normal(2.0, 3.0, (7, 3))
    basis = Basis.of(("a", "b", "c"), logs)
    z = (logs - logs.mean(axis=0)) / logs.std(axis=0)
    terms = basis.terms(logs, 3)
    expected = [
        np.prod(z[:, list(factors)], axis=1)
        for degree in range(4)
        for factors in itertools.combinations_with_replacement(range(3), degree)
    ]
    np.testing.assert_allclose(terms, expected, rtol=1e-12)
    assert len(terms) == monomials(3, 3) == math.comb(6, 3)


def test_a_variable_of_one_value_is_none() -> None:
    logs = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    basis = Basis.of(("a", "b"), logs)
    assert basis.names == ("a",)
    np.testing.assert_array_equal(basis.chosen(("a", "b"), logs), logs[:, :1])

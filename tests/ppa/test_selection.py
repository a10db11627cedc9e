from __future__ import annotations

import numpy as np
import pytest

import hwflow
from hwflow.ppa import selection
from hwflow.ppa.polynomials import Basis, Family
from hwflow.ppa.selection import fitted, split

NAMES = ("rows", "columns", "size")


def sizes(points: int = 120) -> np.ndarray:
    return np.log(np.random.default_rng(1).uniform(4, 64, (points, 3)))


def folds(points: int = 120) -> np.ndarray:
    return np.arange(points) % 5


def predicted(family: Family, logs: np.ndarray) -> np.ndarray:
    return family.predict(family.basis.chosen(NAMES, logs))["y"]


def test_a_product_of_powers_is_recovered_with_degree_1() -> None:
    logs, new = sizes(), sizes(40) * 0.9
    y = np.exp(1.5 + logs @ [0.7, -1.2, 0.3])
    family = fitted(NAMES, logs, {"y": y}, folds())
    assert (family.polynomials["y"].degree, family.polynomials["y"].ridge) == (1, 0.0)
    np.testing.assert_allclose(predicted(family, new), np.exp(1.5 + new @ [0.7, -1.2, 0.3]), rtol=1e-8)


def test_a_quadratic_in_logarithms_is_recovered_with_degree_2() -> None:
    logs, new = sizes(), sizes(40) * 0.9

    def truth(x: np.ndarray) -> np.ndarray:
        return np.exp(0.2 + x @ [0.5, 0.1, -0.4] + 0.05 * x[:, 0] * x[:, 1] - 0.08 * x[:, 2] ** 2)

    family = fitted(NAMES, logs, {"y": truth(logs)}, folds())
    assert (family.polynomials["y"].degree, family.polynomials["y"].ridge) == (2, 0.0)
    np.testing.assert_allclose(predicted(family, new), truth(new), rtol=1e-8)


def test_targets_choose_each_for_itself() -> None:
    logs = sizes()
    family = fitted(NAMES, logs, {"flat": np.exp(logs @ [1, 1, 1]), "bent": np.exp(logs[:, 0] ** 2)}, folds())
    assert [family.polynomials[name].degree for name in ("flat", "bent")] == [1, 2]


def test_a_ridge_shrinks_and_never_draws_the_constant() -> None:
    logs = sizes()
    terms = Basis.of(NAMES, logs).terms(logs, 1).T
    y = (3.0 + logs @ [1.0, 2.0, 0.5])[:, None]
    solved = list(selection._solved(terms, y))
    norms = [float(np.linalg.norm(one[1:])) for one in solved]
    assert norms == sorted(norms, reverse=True)
    for coefficients in solved:
        assert (terms @ coefficients).mean() == pytest.approx(y.mean())


def test_noise_is_not_fitted_by_a_higher_degree() -> None:
    logs = sizes()
    noise = np.random.default_rng(2).normal(0, 0.1, len(logs))
    family = fitted(NAMES, logs, {"y": np.exp(logs @ [1, 0.5, 0.2] + noise)}, folds())
    assert family.polynomials["y"].degree == 1


def test_folds_and_what_is_held_out_are_whole_configurations() -> None:
    numbers = np.repeat([3, 7, 8, 11, 20, 21, 22, 40, 41, 50], 4)
    parts = split(numbers, 0)
    for number in set(numbers.tolist()):
        own = numbers == number
        assert len(set(parts.held_out[own].tolist())) == len(set(parts.folds[own].tolist())) == 1
    assert len(set(numbers[parts.held_out].tolist())) == 2
    assert set(parts.folds[~parts.held_out].tolist()) == set(range(5))
    assert set(parts.folds[parts.held_out].tolist()) == {-1}
    again, other = split(numbers, 0), split(numbers, 1)
    assert (again.held_out == parts.held_out).all()
    assert (other.held_out != parts.held_out).any()


def test_too_few_configurations_or_points_are_refused() -> None:
    with pytest.raises(hwflow.InputError, match=r"there are 5 configurations .* 5 folds and 20% held out need 6 at least"):
        split(np.arange(5), 0)
    with pytest.raises(hwflow.InputError, match=r"7 points are too few to fit 3 variables \(rows, columns, size\): .* 4 coeff"):
        fitted(NAMES, sizes(7), {"y": np.ones(7)}, folds(7))


def test_a_degree_needs_two_points_a_coefficient() -> None:
    logs = sizes(19)  # degree 2 has 10 coefficients
    family = fitted(NAMES, logs, {"y": np.exp(logs[:, 0] ** 2)}, folds(19))
    assert family.polynomials["y"].degree == 1

"""Polynomials in the logarithms of sizes, fitted to Accelergy's values on a grid of parts."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwflow.arrays import Floats
from hwflow.errors import InputError
from hwflow.files import folder, parse_json, read_text
from hwflow.hardware.energy_fit.points import Component

QUANTITIES = ("read", "write", "compute", "leak", "area_um2")
"""What is fitted: energies in pJ an action, leakage in pJ a nanosecond, area in square micrometres. An update costs what a
write does, as in every part that Accelergy was asked about."""


BETWEEN = " between nodes"
"""What the names of errors end in at technologies that were not fitted."""

_DIGITS = 6
"""Significant digits of an answer, as many as Accelergy gives; so machines whose exp differs in its last digit agree."""


class OutOfRange(InputError):
    """A part is larger, smaller, or of another technology or kind, than what the models were fitted on."""


class Fit(NamedTuple):
    """What cross-validation chose: the degree, that up to which terms differ between technologies, and the ridge."""

    degree: int
    split: int
    ridge: float


@dataclass(frozen=True)
class Error:
    """Relative errors on held-out configurations: the median and the 95th percentile."""

    median: float
    p95: float

    def __str__(self) -> str:
        return f"{_percent(self.median)} % median, {_percent(self.p95)} % at the 95th percentile"


@dataclass(frozen=True)
class Model:
    """One kind of component: `value = exp(sum over terms of (shared + own[node]) x product of variables ** exponents)`.

    Attributes:
        variables: names, in the order of `exponents`, which has a row for each term, lower degrees first.
        nodes_nm: technologies that were fitted, ascending; between two, values are interpolated linearly, as CACTI's plug-in
            and the component library do. Empty where the technology means nothing.
        shared, own: coefficients by quantity, of the first terms; `own` has a row for each node, of terms up to `Fit.split`. A
            quantity that is missing is 0.
        fits: by quantity, what cross-validation chose.
        ranges: smallest and largest of each size in the fit.
        errors: "energy", "leak" and "area" on sizes that neither the fit nor the choice of its degree has seen, and the same
            "between nodes", at technologies that were not fitted.
        estimators: what of Accelergy answered.
    """

    name: str
    variables: tuple[str, ...]
    exponents: NDArray[np.int64]
    nodes_nm: tuple[float, ...]
    shared: Mapping[str, Floats]
    own: Mapping[str, Floats]
    fits: Mapping[str, Fit]
    ranges: Mapping[str, tuple[float, float]]
    errors: Mapping[str, Error]
    estimators: str

    def predict(self, part: Component, technology_nm: float, label: str) -> dict[str, float]:
        """All quantities of a part, 0 where it has none.

        Args:
            label: the part's name, for errors.

        Raises:
            OutOfRange: naming the size, its value and the range.
        """
        self._check(part, technology_nm, label)
        row = terms(np.array([[part.variables[v] for v in self.variables]]), self.exponents)[0]
        weights = self._weights(technology_nm)
        found = dict.fromkeys(QUANTITIES, 0.0)
        for quantity, shared in self.shared.items():
            common, own = math.fsum(shared * row[: shared.size]), self.own[quantity]
            value = sum(share * math.exp(common + math.fsum(own[node] * row[: own.shape[1]])) for node, share in weights)
            found[quantity] = float(f"{value:.{_DIGITS}g}")
        return found

    def _weights(self, technology_nm: float) -> list[tuple[int, float]]:
        """The nodes beside a technology, with their shares in the linear interpolation."""
        if not self.nodes_nm:
            return [(0, 1.0)]
        above = bisect.bisect_left(self.nodes_nm, technology_nm)
        if self.nodes_nm[above] == technology_nm:
            return [(above, 1.0)]
        low, high = self.nodes_nm[above - 1 : above + 1]
        share = (technology_nm - low) / (high - low)
        return [(above - 1, 1 - share), (above, share)]

    def between(self, technology_nm: float) -> bool:
        """Whether a technology is none of those that were fitted, but interpolated."""
        return bool(self.nodes_nm) and technology_nm not in self.nodes_nm

    def errors_at(self, technology_nm: float) -> dict[str, Error]:
        """The held-out errors at a technology, of "energy", "leak" and "area", as far as a part has them."""
        suffix = BETWEEN if self.between(technology_nm) else ""
        return {what: self.errors[what + suffix] for what in ("energy", "leak", "area") if what + suffix in self.errors}

    def within(self, part: Component, technology_nm: float) -> bool:
        """Whether a part is within the range of the fit."""
        return not self._outside(part, technology_nm)

    def _check(self, part: Component, technology_nm: float, label: str) -> None:
        wrong = self._outside(part, technology_nm)
        if wrong:
            shown = [(what, *(f"{number:.10g}" for number in limits)) for what, *limits in wrong]
            listed = ", ".join(f"{what} (={value}) is outside {low} to {high}" for what, value, low, high in shown)
            raise OutOfRange(
                f"no energies are fitted for {label}: its {listed}, the range that was characterised. Stay within it, or use "
                "accelergy where it is installed, or normalized."
            )

    def _outside(self, part: Component, technology_nm: float) -> list[tuple[str, float, float, float]]:
        limits = [(size, part.sizes[size], *limit) for size, limit in self.ranges.items()]
        if self.nodes_nm:
            limits.append(("technology_nm", technology_nm, self.nodes_nm[0], self.nodes_nm[-1]))
        return [limit for limit in limits if not limit[2] <= limit[1] <= limit[3]]


def terms(variables: Floats, exponents: NDArray[np.int64]) -> Floats:
    """The products of powers of variables: a row for each row of `variables`, a column for each row of `exponents`."""
    result: Floats = np.prod(variables[:, None, :] ** exponents[None, :, :], axis=2)
    return result


@functools.cache
def shipped() -> tuple[dict[str, Model], Mapping[str, Any]]:
    """The models that ship with hwflow, by name, and their provenance.

    Raises:
        InputError: where the file is broken.
    """
    path = folder("arch_templates") / "energy" / "models.json"
    try:
        content = parse_json(read_text(path, "fitted models", "result"))
        return {name: from_data(name, entry) for name, entry in content["models"].items()}, content["provenance"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} holds no fitted models: {error}.") from error


def to_data(model: Model) -> dict[str, Any]:
    """A model as plain data."""
    return {
        "estimators": model.estimators,
        "errors": {name: [error.median, error.p95] for name, error in model.errors.items()},
        "ranges": {name: list(limits) for name, limits in model.ranges.items()},
        "variables": list(model.variables),
        "exponents": model.exponents.tolist(),
        "nodes_nm": list(model.nodes_nm),
        "fits": {name: list(fit) for name, fit in model.fits.items()},
        "shared": {name: values.tolist() for name, values in model.shared.items()},
        "own": {name: values.tolist() for name, values in model.own.items()},
    }


def from_data(name: str, data: Mapping[str, Any]) -> Model:
    """The model that `to_data` wrote."""
    return Model(
        name,
        tuple(data["variables"]),
        np.array(data["exponents"], dtype=np.int64),
        tuple(data["nodes_nm"]),
        {q: np.array(values, dtype=np.float64) for q, values in data["shared"].items()},
        {q: np.array(values, dtype=np.float64) for q, values in data["own"].items()},
        {q: Fit(*chosen) for q, chosen in data["fits"].items()},
        {size: (low, high) for size, (low, high) in data["ranges"].items()},
        {what: Error(median, p95) for what, (median, p95) in data["errors"].items()},
        data["estimators"],
    )


def _percent(value: float) -> str:
    return f"{value * 100:.2g}" if value < 0.1 else f"{value * 100:.0f}"

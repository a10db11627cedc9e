"""Fitting the energy models on the recorded grid: choice of degrees, coefficients, errors on what was held out.

For each component and quantity, a polynomial in the logarithms of sizes by ridge regression on the logarithm of the quantity,
which is to say on relative errors. Its degree, the degree up to which terms differ between technologies, and the ridge are
chosen by cross-validation that leaves out whole sizes. Held-out configurations are only ever predicted.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwflow.arrays import Floats
from hwflow.errors import InputError
from hwflow.files import folder, write_bytes
from hwflow.hardware.components import MacUnit, Memory
from hwflow.hardware.energy_fit.points import Component, component
from hwflow.hardware.energy_fit.polynomials import BETWEEN, QUANTITIES, Error, Fit, Model, terms, to_data
from hwflow.hardware.energy_table import PartEnergy

Ints = NDArray[np.int64]

SIZES = ("depth", "width_bits", "banks", "ports", "dram_type", "multiplier_bits", "adder_bits")
_GROUPS = {"energy": ("read", "write", "compute"), "leak": ("leak",), "area": ("area_um2",)}
_DEGREES = (1, 2, 3, 4)
_SPLITS = (0, 1, 2)
_RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
_FREE = 1e-7
"""The ridge of what is not to be shrunk: just enough for one solution."""
_FOLDS = 5
_ONCE = ("ports", "banks below a power of two")
"""Variables with too few values for a square."""
_EXCLUSIVE = (("width", "width below 32"), ("rows", "rows below 64 a bank"))
"""Variables of which one is always 0."""
_DIGITS = 8


@dataclass(frozen=True)
class Row:
    """One part of the grid with what Accelergy said of it; `leak` is per nanosecond."""

    part: Memory | MacUnit
    technology_nm: int
    held_out: bool
    answer: PartEnergy

    @property
    def component(self) -> Component:
        """What the part is to the models."""
        return component(self.part)


def grid_path() -> Path:
    """Where the grid is shipped."""
    return folder("arch_templates") / "energy" / "grid.csv.gz"


def write_grid(rows: Sequence[Row], provenance: Mapping[str, Any]) -> None:
    """Ship a grid: `pandas.read_csv(path, comment="#")` reads it, too."""
    write_bytes(grid_path(), gzip.compress(grid_text(rows, provenance).encode(), mtime=0))


def shipped_grid() -> tuple[dict[str, Any], list[Row]]:
    """The provenance and the rows of the grid that ships."""
    return read_grid(gzip.decompress(grid_path().read_bytes()).decode())


def grid_text(rows: Sequence[Row], provenance: Mapping[str, Any]) -> str:
    """The grid as CSV: provenance in a comment, then a row a part, ordered by what it is."""
    buffer = io.StringIO()
    buffer.write(f"# {json.dumps(provenance)}\n")
    columns = ("kind", "technology_nm", *SIZES, "held_out", *QUANTITIES)
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=_order):
        sizes = {field: getattr(row.part, field, None) for field in SIZES}
        values = asdict(row.answer)
        answer = {quantity: values[quantity] or "" for quantity in QUANTITIES}
        start = {"kind": row.part.kind, "technology_nm": row.technology_nm, "held_out": int(row.held_out)}
        writer.writerow({**start, **sizes, **answer})
    return buffer.getvalue()


def read_grid(text: str) -> tuple[dict[str, Any], list[Row]]:
    """The provenance and the rows of `grid_text`."""
    head, _, table = text.partition("\n")
    rows = []
    for entry in csv.DictReader(io.StringIO(table)):
        values: dict[str, Any] = {q: float(entry[q]) for q in QUANTITIES if entry[q]}
        rows.append(Row(_part(entry), int(entry["technology_nm"]), entry["held_out"] == "1", PartEnergy(**values)))
    return json.loads(head.removeprefix("# ")), rows


def models_text(models: Mapping[str, Model], provenance: Mapping[str, Any]) -> str:
    """The file of models: JSON, a line a model."""
    lines = [f"  {json.dumps(name)}: {json.dumps(to_data(model))}" for name, model in models.items()]
    return f'{{"provenance": {json.dumps(provenance)},\n "models": {{\n' + ",\n".join(lines) + "\n }\n}\n"


def _part(entry: Mapping[str, str]) -> Memory | MacUnit:
    sizes: dict[str, Any] = {f: entry[f] if f == "dram_type" else int(entry[f]) for f in SIZES if entry[f]}
    start = {"name": "part", "kind": entry["kind"]}
    if entry["kind"] == "mac":
        return MacUnit.model_validate({**start, **sizes})
    words = {"size_words": sizes.pop("depth")} if "depth" in sizes else {}
    return Memory.model_validate({**start, "role": "part", "word_bits": sizes["width_bits"], **sizes, **words})


def _order(row: Row) -> tuple[object, ...]:
    return (row.part.kind, row.technology_nm, *(str(getattr(row.part, field, "")).rjust(9) for field in SIZES))


# Fitting -------------------------------------------------------------------------------------------------------------


def fit(rows: Sequence[Row], estimators: Mapping[str, str]) -> dict[str, Model]:
    """A model for each kind of component, with its errors on the rows that are held out; `estimators` by model."""
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.component.model, []).append(row)
    return {name: refit(name, of_it, _choose(_data(name, of_it)), estimators[name]) for name, of_it in sorted(by_model.items())}


def refit(name: str, rows: Sequence[Row], chosen: Mapping[str, Fit], estimators: str) -> Model:
    """The model of one kind of component with degrees that were chosen before, by quantity."""
    data = _data(name, rows)
    solved = {q: _solve(data, fit, data.logs[:, [data.quantities.index(q)]]) for q, fit in chosen.items()}
    shared = {quantity: _rounded(found[:, 0]) for quantity, (found, _) in solved.items()}
    own = {quantity: _rounded(found[:, :, 0]) for quantity, (_, found) in solved.items()}
    exponents = _exponents(data, max(fit.degree for fit in chosen.values()))
    sizes = [row.component.sizes for row in rows if not row.held_out]
    ranges = {size: (min(s[size] for s in sizes), max(s[size] for s in sizes)) for size in sizes[0]}
    model = Model(name, data.variables, exponents, data.nodes_nm, shared, own, dict(chosen), ranges, {}, estimators)
    held_out = [row for row in rows if row.held_out and model.within(row.component, row.technology_nm)]
    errors = {}
    for group, quantities in _GROUPS.items():
        for where in ("", BETWEEN):
            met = [row for row in held_out if model.between(row.technology_nm) == bool(where)]
            found = errors_of(model, met, quantities)
            if found.size:
                errors[group + where] = _error(found)
    return replace(model, errors=errors)


def errors_of(model: Model, rows: Sequence[Row], quantities: Sequence[str]) -> Floats:
    """Relative errors of a model's quantities on rows, those that are zero left out."""
    errors = []
    for row in rows:
        predicted = model.predict(row.component, row.technology_nm, "part")
        for quantity in quantities:
            value = getattr(row.answer, quantity)
            if value:
                errors.append(predicted[quantity] / value - 1)
    return np.array(errors)


def _error(errors: Floats) -> Error:
    median, p95 = np.percentile(abs(errors), [50, 95])
    return Error(round(float(median), 4), round(float(p95), 4))


@dataclass(frozen=True)
class _Data:
    """Points [row, variable], technologies `at` as indices of `nodes_nm`, logarithms of quantities [row, quantity], folds."""

    variables: tuple[str, ...]
    points: Floats
    nodes_nm: tuple[float, ...]
    at: Ints
    quantities: tuple[str, ...]
    logs: Floats
    fold: Ints

    def part(self, rows: NDArray[np.bool_]) -> _Data:
        """Some of the rows."""
        return replace(self, points=self.points[rows], at=self.at[rows], logs=self.logs[rows], fold=self.fold[rows])


def _data(name: str, rows: Sequence[Row]) -> _Data:
    """What a model is fitted on: the rows that are not held out. DRAM knows no technology."""
    rows = [row for row in rows if not row.held_out]
    variables = tuple(rows[0].component.variables)
    points = np.array([[row.component.variables[v] for v in variables] for row in rows])
    nodes = tuple(sorted({float(row.technology_nm) for row in rows})) if not name.startswith("dram") else ()
    at = np.array([nodes.index(row.technology_nm) if nodes else 0 for row in rows])
    values = np.array([[getattr(row.answer, quantity) or 0.0 for quantity in QUANTITIES] for row in rows])
    some = np.flatnonzero(values.max(axis=0)).tolist()
    if not (values[:, some] > 0).all():
        raise InputError(f"the grid has parts of {name} of which some cost nothing: no logarithm can be fitted.")
    quantities = tuple(QUANTITIES[i] for i in some)
    whole = {sizes: number for number, sizes in enumerate(dict.fromkeys(map(tuple, points.tolist())))}
    fold = np.array([whole[tuple(point)] % _FOLDS for point in points.tolist()])
    return _Data(variables, points, nodes, at, quantities, np.log(values[:, some]), fold)


def _choose(data: _Data) -> dict[str, Fit]:
    """For each quantity the fit that predicts best, in the mean square, what it has not seen."""
    best: dict[str, tuple[float, Fit]] = {}
    for degree, split, ridge in itertools.product(_DEGREES, _SPLITS, _RIDGES):
        if split > degree:
            continue
        fit, squares = Fit(degree, split, ridge), np.zeros(len(data.quantities))
        for fold in range(_FOLDS):
            seen, unseen = data.part(data.fold != fold), data.part(data.fold == fold)
            shared, own = _solve(seen, fit, seen.logs)
            matrix = terms(unseen.points, _exponents(data, degree))
            predicted = matrix @ shared + np.einsum("rt,rtq->rq", matrix[:, : own.shape[1]], own[unseen.at])
            squares += ((predicted - unseen.logs) ** 2).sum(axis=0)
        for quantity, square in zip(data.quantities, squares.tolist(), strict=True):
            if quantity not in best or square < best[quantity][0]:
                best[quantity] = square, fit
    return {quantity: fit for quantity, (_, fit) in best.items()}


def _solve(data: _Data, fit: Fit, logs: Floats) -> tuple[Floats, Floats]:
    """Coefficients of the terms: shared [term, column of logs], and what each node adds to the first, [node, term, column]."""
    exponents = _exponents(data, fit.degree)
    degrees, nodes = exponents.sum(axis=1), max(1, len(data.nodes_nm))
    matrix = terms(data.points, exponents)
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1.0
    matrix = matrix / scale
    count = int((degrees <= fit.split).sum())
    design = np.hstack([matrix, *(matrix[:, :count] * (data.at == node)[:, None] for node in range(nodes))])
    shrunk = np.where(degrees > max(1, fit.split), fit.ridge, _FREE)
    deviations = np.where(degrees[:count] > 0, fit.ridge, _FREE)
    penalty = np.concatenate([shrunk, *[deviations] * nodes])
    solution = np.linalg.solve(design.T @ design + np.diag(penalty), design.T @ logs)
    shared, own = solution[: len(exponents)], solution[len(exponents) :].reshape(nodes, count, -1)
    return shared / scale[:, None], own / scale[None, :count, None]


def _exponents(data: _Data, degree: int) -> Ints:
    """All terms up to a degree, lower ones first, that can differ from 0 and from each other: no square of what is 0 or 1."""
    once = [data.variables.index(variable) for variable in _ONCE if variable in data.variables]
    never = [{data.variables.index(v) for v in pair} for pair in _EXCLUSIVE if pair[1] in data.variables]
    found = [
        powers
        for powers in _powers(len(data.variables), degree)
        if all(powers[i] <= 1 for i in once) and not any(all(powers[i] for i in pair) for pair in never)
    ]
    return np.array(found, dtype=np.int64)


def _powers(count: int, degree: int) -> list[tuple[int, ...]]:
    found = (powers for powers in itertools.product(range(degree + 1), repeat=count) if sum(powers) <= degree)
    return sorted(found, key=lambda powers: (sum(powers), powers))


def _rounded(values: Floats) -> Floats:
    """To the digits that ship."""
    flat = [float(f"{value:.{_DIGITS}g}") for value in values.ravel()]
    return np.array(flat).reshape(values.shape)

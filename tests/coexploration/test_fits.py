from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwflow
from hwflow.coexploration.fits import fit, model_of
from hwflow.coexploration.records import Record, Row
from hwflow.layers import Layer
from hwflow.ppa.model_file import read_model
from tests.ppa import synthetic
from tests.ppa.synthetic import LAYERS, Chip


def test_degrees_are_those_of_the_formulas() -> None:
    model = model_of(synthetic.records())
    found = model.types["own"]
    assert {name: one.degree for name, one in found.layer.polynomials.items() if name != "on-chip cycles"} == {
        "dram": 1,
        "global_buffer": 1,
        "weight_spad": 1,
        "mac": 1,
        "DRAM bytes": 1,
    }
    assert found.chip.polynomials["area"].degree == 1


def test_errors_are_those_on_configurations_that_no_fit_has_seen() -> None:
    """Noise of the held-out chips alone shows in the errors, and changes no coefficient."""
    records = synthetic.records()
    calm = model_of(records)
    held = [n for n in records.answers if n in _held_out(calm, records)]
    assert len(held) == 6
    for number in held:
        answer = records.answers[number]
        rows = tuple(row.model_copy(update={"energies": {k: 2 * v for k, v in row.energies.items()}}) for row in answer.rows)
        records.answers[number] = answer.model_copy(update={"rows": rows})
    loud = model_of(records)
    for target, polynomial in calm.types["own"].layer.polynomials.items():
        np.testing.assert_array_equal(polynomial.coefficients, loud.types["own"].layer.polynomials[target].coefficients)
    assert loud.types["own"].quality["energy"].error.median == pytest.approx(0.5)
    assert calm.types["own"].quality["energy"].error.median < 1e-8


def _held_out(model: object, records: object) -> set[int]:
    from hwflow.coexploration.samples import samples_of
    from hwflow.ppa.selection import split

    samples = samples_of(records, "own")  # type: ignore[arg-type]
    return set(samples.numbers[split(samples.numbers, [0, 0]).held_out].tolist())


def test_a_part_of_a_characterisation_is_fitted_and_counted() -> None:
    records = synthetic.records(chips=40)
    for number in range(0, 40, 4):
        records.answers[number] = Record(configuration=number, reason="layer a: nothing fits.")
    model = model_of(records)
    assert (model.types["own"].fitted, model.types["own"].held_out) == (24, 6)
    assert (model.provenance["answered"], model.provenance["failed"], model.provenance["configurations"]) == (30, 10, 40)


def test_a_part_that_uses_nothing_is_left_out_and_one_that_does_at_times_is_refused() -> None:
    def without(always: bool):  # type: ignore[no-untyped-def]
        def row(chip: Chip, layer: Layer) -> Row:
            known = synthetic.monomial(chip, layer)
            free = {"input_spad": 0.0 if always or layer.R == 1 else 1.0}
            return known.model_copy(update={"energies": {**known.energies, **free}})

        return row

    assert "input_spad" not in model_of(synthetic.records(row=without(True))).types["own"].layer.polynomials
    with pytest.raises(hwflow.InputError, match=r"synthetic, PE type own: input_spad uses no energy in some layers"):
        model_of(synthetic.records(row=without(False)))


def test_too_few_chips_are_refused_with_the_folder_and_the_type() -> None:
    with pytest.raises(hwflow.InputError, match=r"synthetic, PE type own: there are 5 configurations"):
        model_of(synthetic.records(chips=5))
    with pytest.raises(hwflow.InputError, match=r"PE type own: 10 points are too few to fit 7 variables"):
        model_of(synthetic.records(chips=13, layers=LAYERS[:1]))


def test_a_folder_without_a_characterisation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(hwflow.InputError, match=r"records.jsonl: there is no such file. 'hwflow ppa characterise' writes it"):
        fit(tmp_path)


def test_the_model_goes_into_the_folder_or_where_it_is_wanted(tmp_path: Path) -> None:
    import json

    records = synthetic.records(tmp_path, chips=20)
    lines = [records.header | {"kind": "hwflow ppa characterisation", "format": 1}]
    lines += [record.model_dump(mode="json", exclude_defaults=True) for record in records.answers.values()]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    first, second = fit(tmp_path, command="hwflow ppa fit"), fit(tmp_path, tmp_path / "other.json", command="hwflow ppa fit")
    assert (tmp_path / "model.json").read_bytes() == (tmp_path / "other.json").read_bytes()
    assert read_model(tmp_path / "model.json").identity == first.identity == second.identity
    assert first.provenance["command"] == "hwflow ppa fit"
    assert fit(tmp_path, tmp_path / "third.json", seed=1).identity != first.identity

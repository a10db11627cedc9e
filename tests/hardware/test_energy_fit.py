"""Fitted energies: what ships is what the grid gives, errors hold on what was held out, ranges are kept, sources are told."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwflow
from hwflow.cost import energy_sources
from hwflow.errors import InputError, ToolError, ToolMissing
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.components import MacUnit, Memory
from hwflow.hardware.energy_fit import OutOfRange, fitted, fitted_part
from hwflow.hardware.energy_fit.points import component
from hwflow.hardware.energy_fit.polynomials import QUANTITIES, from_data, shipped, to_data
from hwflow.hardware.energy_table import PartEnergy, chip_area_um2, costed_parts, recorded
from hwflow.layers import Layer
from hwflow.network import Network
from tools import characterise, fitted_models
from tools.fitted_models import Row

ACC = Accelerator.load("eyeriss")
LARGER = ACC.with_({"global_buffer.size_kib": 64, "global_buffer.banks": 16})
NET = Network("net", (Layer("a", C=4, M=8, P=6, Q=6, R=3, S=3),))
MODELS = ("mac", "ram", "register", "registers")


@pytest.fixture(scope="module")
def grid() -> list[Row]:
    return fitted_models.shipped_grid()[1]


def of_model(grid: list[Row], name: str, *, held_out: bool) -> list[Row]:
    return [row for row in grid if row.component.model == name and row.held_out == held_out]


# What ships ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(shipped()[0]))
def test_the_shipped_coefficients_are_what_the_grid_gives(grid: list[Row], name: str) -> None:
    """With the degrees that were chosen; that cross-validation chooses them is the slow test."""
    model = shipped()[0][name]
    again = fitted_models.refit(name, [row for row in grid if row.component.model == name], model.fits, model.estimators)
    assert (again.ranges, again.nodes_nm, again.errors) == (model.ranges, model.nodes_nm, model.errors)
    for row in of_model(grid, name, held_out=True) + of_model(grid, name, held_out=False)[::7]:
        if model.within(row.component, row.technology_nm):
            values = [m.predict(row.component, row.technology_nm, "part") for m in (model, again)]
            for quantity in QUANTITIES:
                assert values[0][quantity] == pytest.approx(values[1][quantity], rel=1e-4), (name, quantity, row)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_cross_validation_chooses_the_shipped_degrees(grid: list[Row], name: str) -> None:
    model = shipped()[0][name]
    again = fitted_models.fit([row for row in grid if row.component.model == name], {name: model.estimators})[name]
    assert again.fits == model.fits


def test_a_model_survives_its_file() -> None:
    model = shipped()[0]["registers"]
    assert to_data(from_data("registers", json.loads(json.dumps(to_data(model))))) == to_data(model)


def test_what_ships_names_its_tools_and_no_machine_and_is_small(grid: list[Row]) -> None:
    place = fitted_models.grid_path().parent
    text = (place / "models.json").read_text()
    provenance, rows = fitted_models.shipped_grid()
    assert {"tool", "versions", "date", "command", "estimators", "parts", "held_out"} <= set(provenance)
    assert provenance == shipped()[1]
    assert (provenance["parts"], provenance["held_out"]) == (len(rows), sum(row.held_out for row in rows))
    assert "dummy" not in json.dumps(provenance).lower()
    for word in ("/home", "/opt", "/tmp"):
        assert word not in text
        assert word not in json.dumps(provenance)
    assert sum(path.stat().st_size for path in place.iterdir()) < 300_000


def test_the_grid_is_the_design_and_its_text_reads_back(grid: list[Row]) -> None:
    designed = {(s.technology_nm, component(s.part).model, str(s.part)): s.held_out for s in characterise.design()}
    found = {(row.technology_nm, row.component.model, str(row.part)): row.held_out for row in grid}
    assert found.items() <= designed.items()
    assert len(found) == len(grid) > 0.99 * len(designed)
    text = fitted_models.grid_text(grid, {"a": 1})
    assert fitted_models.read_grid(text) == ({"a": 1}, grid)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_stated_errors_are_those_on_parts_that_were_held_out(grid: list[Row], name: str) -> None:
    """Counted here by themselves, not by what wrote them."""
    model = shipped()[0][name]
    for what, quantities in (("energy", ("read", "write", "compute")), ("area", ("area_um2",))):
        errors = []
        for row in of_model(grid, name, held_out=True):
            if row.technology_nm not in model.nodes_nm or not model.within(row.component, row.technology_nm):
                continue
            said = model.predict(row.component, row.technology_nm, "part")
            errors += [abs(said[q] / getattr(row.answer, q) - 1) for q in quantities if getattr(row.answer, q)]
        assert len(errors) > 10
        assert np.median(errors) == pytest.approx(model.errors[what].median, abs=1e-4)
        assert np.percentile(errors, 95) == pytest.approx(model.errors[what].p95, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "what", "median", "p95"),
    [
        ("ram", "energy", 0.055, 0.20),
        ("ram", "energy between nodes", 0.06, 0.20),
        ("ram", "area", 0.05, 0.16),
        ("ram", "leak", 0.06, 0.22),
        ("registers", "energy", 0.002, 0.005),
        ("register", "energy", 0.001, 0.001),
        ("mac", "energy", 0.001, 0.002),
        ("mac", "area", 0.002, 0.005),
    ],
)
def test_held_out_errors_are_bounded(name: str, what: str, median: float, p95: float) -> None:
    error = shipped()[0][name].errors[what]
    assert error.median <= median
    assert error.p95 <= p95


def test_page_and_docstring_state_the_errors_that_ship() -> None:
    import hwflow.hardware.energy_fit

    page = (fitted_models.grid_path().parents[2] / "docs" / "pages" / "explanation" / "energies.md").read_text()
    docstring = " ".join(str(hwflow.hardware.energy_fit.__doc__).split())
    for what in ("energy", "area"):
        error = str(shipped()[0]["ram"].errors[what])
        assert error in docstring, what
        assert error.replace(" median", "").replace(" at the 95th percentile", "") in page, what


def test_no_size_is_in_the_fit_and_held_out(grid: list[Row]) -> None:
    seen = {str(row.part) for row in grid if not row.held_out}
    nodes = {"sram": characterise.RAM_NODES}
    held = [row for row in grid if row.held_out and row.technology_nm in nodes.get(row.part.kind, characterise.LOGIC_NODES)]
    assert len(held) > 100
    assert not seen & {str(row.part) for row in held}


@pytest.mark.parametrize("name", presets())
def test_parts_that_were_recorded_are_fitted_within_the_stated_error(name: str) -> None:
    """The presets' own parts are in no grid, so they are held out, too; read and write of a RAM may miss by twice the bound."""
    chip = Accelerator.load(name)
    real, model = recorded(chip), fitted(chip)
    assert real is not None
    for part in costed_parts(chip):
        ram = component(part).model == "ram"
        for action in ("read", "write", "update", "compute"):
            wanted = getattr(real.parts[part.name], action)
            assert getattr(model.parts[part.name], action) == pytest.approx(wanted, rel=0.25 if ram else 0.005)
    ours, theirs = chip_area_um2(chip, model), chip_area_um2(chip, real)
    assert ours is not None
    assert ours == pytest.approx(theirs, rel=0.15)


@pytest.mark.parametrize("technology", [16, 22, 28, 45, 65])
def test_a_larger_ram_never_costs_less_beyond_the_stated_error(technology: int) -> None:
    model = shipped()[0]["ram"]
    slack = 1 - model.errors["energy"].p95
    for banks in (1, 4, 16):
        for width in (16, 32, 64, 128, 256):
            costs = [
                fitted_part(_ram(2**exponent, width, banks), ACC.with_({"technology_nm": technology}))
                for exponent in range(9, 18)
                if 2**exponent >= 64 * banks
            ]
            for smaller, larger in itertools.pairwise(costs):
                for action in ("read", "write"):
                    assert getattr(larger, action) > slack * getattr(smaller, action), (width, banks, action)
                assert larger.area_um2 is not None
                assert smaller.area_um2 is not None
                assert larger.area_um2 > smaller.area_um2
            assert costs[-1].read > 1.5 * costs[0].read
            assert costs[-1].leak > 5 * costs[0].leak


def _ram(rows: int, width: int, banks: int = 1) -> Memory:
    sizes = {"word_bits": width, "width_bits": width, "size_words": rows, "banks": banks}
    return Memory.model_validate({"name": "ram", "kind": "sram", "role": "ram", **sizes})


# One part ------------------------------------------------------------------------------------------------------------


def test_a_prediction_by_hand() -> None:
    """Two nodes, one variable: value = exp(shared . terms + own), and between nodes the straight line."""
    data: dict[str, Any] = {
        "estimators": "Fake",
        "errors": {"energy": [0.01, 0.02], "energy between nodes": [0.1, 0.2]},
        "ranges": {"width_bits": [1, 64]},
        "variables": ["width_bits"],
        "exponents": [[0], [1], [2]],
        "nodes_nm": [10, 20],
        "fits": {"read": [2, 0, 0.001]},
        "shared": {"read": [1.0, 0.5, 0.25]},
        "own": {"read": [[0.0], [0.5]]},
    }
    model = from_data("register", data)
    part = component(Memory.model_validate(_register(8)))
    low, high = (math.exp(own + 1 + 0.5 * 3 + 0.25 * 9) for own in (0.0, 0.5))
    assert model.predict(part, 10, "r")["read"] == pytest.approx(low, rel=1e-5)
    assert model.predict(part, 20, "r")["read"] == pytest.approx(high, rel=1e-5)
    assert model.predict(part, 12.5, "r")["read"] == pytest.approx(0.75 * low + 0.25 * high, rel=1e-5)
    assert model.predict(part, 20, "r")["area_um2"] == 0.0
    assert (model.errors_at(20)["energy"].p95, model.errors_at(12.5)["energy"].p95) == (0.02, 0.2)
    with pytest.raises(OutOfRange, match=r"for r: its technology_nm \(=9\) is outside 10 to 20"):
        model.predict(part, 9, "r")


def _register(width: int) -> dict[str, Any]:
    return {"name": "r", "kind": "regfile", "role": "r", "word_bits": width, "width_bits": width, "size_words": 1}


def test_leakage_is_power_times_the_cycle_and_an_update_is_a_write() -> None:
    slow = ACC.with_({"clock_mhz": 100})
    for name in ("global_buffer", "mac", "psum_spad"):
        part = ACC[name]
        assert isinstance(part, (Memory, MacUnit))
        fast, late = fitted_part(part, ACC), fitted_part(part, slow)
        assert late.leak == pytest.approx(2 * fast.leak)
        assert (late.read, late.compute) == (fast.read, fast.compute)
        assert fast.update == fast.write
    assert fitted_part(ACC.dram, ACC).area_um2 is None


# Choice, errors and provenance ---------------------------------------------------------------------------------------


def test_fitted_fits_all_parts_and_states_its_error() -> None:
    cost = hwflow.estimate(NET, ACC, energy="fitted", store=False)
    error = shipped()[0]["ram"].errors["energy"]
    assert cost.energy_pj is not None
    assert cost.energy_sources == (f"fitted (Accelergy: CactiDRAM+CactiSRAM+Library; held-out error {error})",)
    about = cost.provenance["energy"]["fitted"]
    assert set(about["held_out_errors"]) == {part.name for part in costed_parts(ACC)}
    assert about["held_out_errors"]["global_buffer"]["energy"] == {"median": error.median, "p95": error.p95}
    assert about["command"] == "python -m tools.characterise"
    assert cost.area_um2 == pytest.approx(chip_area_um2(ACC, fitted(ACC)))


def test_auto_keeps_what_was_recorded_and_fits_what_changed() -> None:
    base, table = energy_sources.energy_table(ACC), energy_sources.energy_table(LARGER)
    assert base.source.startswith("recorded (Accelergy: ")
    assert "fitted" not in base.source
    for part in costed_parts(ACC):
        if part.name != "global_buffer":
            assert table.parts[part.name] == base.parts[part.name]
    assert table.parts["global_buffer"] == fitted(LARGER).parts["global_buffer"]
    assert table.source.startswith(
        "recorded (Accelergy: CactiDRAM+CactiSRAM+Library), but global_buffer fitted (held-out error "
    )
    assert {"versions", "fitted"} <= set(table.provenance)
    assert set(table.provenance["fitted"]["held_out_errors"]) == {"global_buffer"}
    assert table.parts["global_buffer"].read < base.parts["global_buffer"].read


def test_auto_fits_all_where_nothing_was_recorded() -> None:
    chip = ACC.with_({"technology_nm": 28, "dram.width_bits": 32})
    assert energy_sources.energy_table(chip).source == fitted(chip).source


def test_auto_never_runs_accelergy(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("Accelergy was asked")

    monkeypatch.setattr("hwflow.timeloop.accelergy.characterise", run)
    monkeypatch.setattr("hwflow.timeloop.engine.find_engine", run)
    assert energy_sources.energy_table(LARGER).unit == "pJ"
    assert energy_sources.energy_table(ACC.with_({"global_buffer.size_kib": 2**20})).unit == "normalized"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"global_buffer.size_kib": 2**20}, r"global_buffer: its size_kib \(=1048576\) is outside [\d.]+ to 32768"),
        ({"global_buffer.banks": 64}, r"banks \(=64\) is outside 1 to 32"),
        ({"global_buffer.width_bits": 4096}, r"width_bits \(=4096\) is outside 4 to 2048"),
        ({"mac.multiplier_bits": 128}, r"mac: its multiplier_bits \(=128\) is outside 1 to 64"),
        ({"technology_nm": 5}, r"technology_nm \(=5\) is outside 7 to 130"),
        ({"technology_nm": 250}, r"technology_nm \(=250\) is outside 7 to 130"),
    ],
)
def test_what_was_not_characterised_is_refused_by_name_and_normalised_by_auto(changes: dict[str, Any], said: str) -> None:
    chip = ACC.with_(changes)
    with pytest.raises(OutOfRange, match=said) as caught:
        hwflow.estimate(NET, chip, energy="fitted", store=False)
    assert "or normalized" in str(caught.value) or "or use normalized" in str(caught.value)
    cost = hwflow.estimate(NET, chip, store=False)
    assert cost.energy_pj is None
    assert cost.area_um2 is None
    assert cost.energy_sources[0].startswith("normalized (Eyeriss ISCA 2016")
    assert str(caught.value).split(". ", maxsplit=1)[0] in cost.energy_sources[0]


def test_broken_models_are_an_error_not_a_reason_for_normalised_units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fitted").mkdir()
    (tmp_path / "fitted" / "models.json").write_text('{"models": {"ram": 1}}')
    monkeypatch.setattr("hwflow.hardware.energy_fit.polynomials.folder", lambda name: tmp_path)
    monkeypatch.setattr("hwflow.hardware.energy_fit.shipped", shipped.__wrapped__)
    with pytest.raises(InputError, match=r"models\.json holds no fitted models"):
        energy_sources.energy_table(LARGER)


def test_area_is_the_sum_of_instances() -> None:
    table = recorded(ACC)
    assert table is not None
    area = {name: part.area_um2 or 0.0 for name, part in table.parts.items()}
    pes = sum(area[name] for name in ("input_spad", "weight_spad", "psum_spad", "mac"))
    assert ACC.mac_units == 168
    assert chip_area_um2(ACC, table) == pytest.approx(area["global_buffer"] + 168 * pes)
    assert chip_area_um2(ACC, energy_sources.energy_table(ACC, "normalized")) is None
    cost = hwflow.estimate(NET, ACC, store=False)
    assert cost.to_dict()["totals"]["area_um2"] == chip_area_um2(ACC, table)


# Characterising ------------------------------------------------------------------------------------------------------


SOME = [sample for sample in characterise.design() if sample.technology_nm in (45, 65)][::40]


def _stand_in(asked: list[int], broken: str = "") -> Any:
    def characterise_parts(parts: Any, *_: object, **__: object) -> dict[str, PartEnergy]:
        asked.append(len(parts))
        if broken and any(str(component(part)) == broken for part in parts):
            raise ToolError("CACTI found no solution.")
        return {part.name: PartEnergy(read=1.0, write=2.0, update=2.0, area_um2=3.0, estimator="Fake") for part in parts}

    return characterise_parts


def test_recording_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []
    monkeypatch.setattr(characterise, "characterise_parts", _stand_in(asked))
    path = tmp_path / "records.jsonl"
    characterise.record(SOME[:10], object(), path)  # type: ignore[arg-type]
    whole = path.read_text()
    path.write_text(whole + '{"key": "torn')
    assert len(characterise.read_records([path])) == 10
    path.write_text(whole)
    characterise.record(SOME, object(), path)  # type: ignore[arg-type]
    keys = [entry["key"] for entry in characterise.read_records([path])]
    assert sorted(keys) == sorted(sample.key for sample in SOME)
    assert sum(asked) == len(SOME)


def test_a_part_that_fails_is_found_and_the_others_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = SOME[3]
    monkeypatch.setattr(characterise, "characterise_parts", _stand_in([], str(component(broken.part))))
    characterise.record(SOME, object(), tmp_path / "records.jsonl")  # type: ignore[arg-type]
    entries = characterise.read_records([tmp_path / "records.jsonl"])
    failed = {entry["key"]: entry["failed"] for entry in entries if "failed" in entry}
    assert failed == {broken.key: "CACTI found no solution."}
    assert len(entries) == len(SOME)


def test_recording_without_accelergy_is_an_error_not_a_failure_of_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert characterise.main(["record", "--output", str(tmp_path / "records.jsonl")]) == ToolMissing.exit_code
    assert "accelergy is not on PATH" in capsys.readouterr().err
    assert not (tmp_path / "records.jsonl").read_text()


# The real thing ------------------------------------------------------------------------------------------------------


@pytest.mark.timeloop
def test_fine_charges_the_same_energies_as_mid_for_a_variant() -> None:
    mid, fine = (hwflow.estimate(NET, LARGER, level=level, store=False) for level in ("mid", "fine"))  # type: ignore[arg-type]
    assert {row.level for row in fine.rows} == {"fine"}
    assert fine.energy_sources == mid.energy_sources
    assert "but global_buffer fitted" in fine.energy_sources[0]
    assert fine.energy_pj == pytest.approx(mid.energy_pj, rel=1e-5)
    assert fine.cycles == mid.cycles


@pytest.mark.timeloop
def test_accelergy_says_of_parts_of_the_grid_what_the_grid_says(grid: list[Row]) -> None:
    from hwflow.timeloop.accelergy import characterise_parts
    from hwflow.timeloop.engine import Native

    small = [row for row in grid if row.technology_nm == 45 and row.answer.read < 5][::25]
    parts = [row.part.model_copy(update={"name": f"p{i}"}) for i, row in enumerate(small)]
    found = characterise_parts(parts, 45, characterise.CYCLE_S, Native(), what="Accelergy on parts of the grid")
    assert len(parts) > 3
    for part, row in zip(parts, small, strict=True):
        for quantity in QUANTITIES:
            assert (getattr(found[part.name], quantity) or 0.0) == (getattr(row.answer, quantity) or 0.0)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwflow
from hwflow.coexploration import Interrupted, characterise
from hwflow.coexploration import records as record_files
from hwflow.coexploration.characterisation import _layers
from hwflow.coexploration.samples import base_of, samples_of
from hwflow.cost.energy_sources import energy_table
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import chip_area_um2
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.sweeping import runners
from hwflow.sweeping.unit import Answer, Failure, Unit, cost_unit

pytest.importorskip("pyarrow")
pytest.importorskip("scipy")
pytest.importorskip("filelock")

NET = Network("net", (Layer("a", C=4, M=8, P=6, Q=6, R=3, S=3), Layer("b", C=8, M=4, P=6, Q=6)))
FIXED = (
    "dram.bandwidth_gb_s",
    "global_buffer.size_kib",
    "pe_array.columns",
    "input_spad.size_words",
    "weight_spad.size_words",
    "psum_spad.size_words",
)
FILES = ("characterised.parquet", "characterised.csv")


def run(folder: Path, **given: Any) -> Any:
    asked: dict[str, Any] = {
        "pe_types": ["own", "int8"],
        "chips": 2,
        "store": False,
        "progress": False,
        "notify": lambda _: None,
    }
    return characterise([NET], folder, **{**asked, **given})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    found = run(folder)
    assert (found.answered, found.expected, found.layers, found.failures.total()) == (4, 4, 2, 0)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_rows_are_the_levels_answers_and_the_area_is_the_sum_of_parts(whole: Path) -> None:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(whole / "characterised.parquet").to_pylist()
    assert len(rows) == 8
    fields = list(record_files.read(whole).header["fields"])
    for row in rows[:2] + rows[-2:]:
        chip = Accelerator.load("eyeriss").with_(
            {**({} if row["pe_type"] == "own" else {"pe_type": row["pe_type"]}), **{name: row[name] for name in fields}}
        )
        costs = {one.layer.name: one for one in hwflow.estimate(NET, chip, energy="fitted", store=False).rows}
        cost = costs[row["layer"]]
        assert cost.energy is not None
        assert cost.latency_s is not None
        assert (row["cycles"], row["dram_bytes"]) == (cost.cycles, cost.dram_bytes)
        assert row["energy_pj"] == pytest.approx(cost.energy)
        assert row["power_w"] == pytest.approx(cost.energy * 1e-12 / cost.latency_s)
        assert row["area_um2"] == chip_area_um2(chip, energy_table(chip, "fitted"))


def test_cycles_are_the_larger_of_those_on_the_chip_and_those_of_dram(whole: Path) -> None:
    records = record_files.read(whole)
    for pe_type in ("own", "int8"):
        samples = samples_of(records, pe_type)
        bandwidth = samples.values[:, list(records.header["fields"]).index("dram.bandwidth_gb_s")]
        dram = samples.dram_bytes / (bandwidth[:, None] * 1e9) * 200e6
        joined = np.maximum(samples.on_chip_cycles, dram)
        assert (joined <= samples.cycles).all()
        np.testing.assert_allclose(joined, samples.cycles, rtol=0.01, atol=1)


def test_interrupted_and_resumed_it_writes_the_same_bytes(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, done = tmp_path / "run", []

    def stops(unit: Unit) -> Answer:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(unit)
        return cost_unit(unit)

    with monkeypatch.context() as patch:
        patch.setattr(runners, "cost_unit", stops)
        with pytest.raises(Interrupted) as stopped:
            run(folder)
    assert (stopped.value.result.answered, stopped.value.result.expected) == (2, 4)
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:40])  # torn by a kill
    told: list[str] = []
    run(folder, notify=told.append)
    assert [text for text in told if "1 lines of" in text and "costed again" in text]
    assert contents(folder) == contents(whole)
    before = (folder / "records.jsonl").read_bytes()
    run(folder)
    assert (folder / "records.jsonl").read_bytes() == before


def test_what_failed_for_a_reason_that_passes_is_tried_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"

    def lost(unit: Unit) -> Answer:
        return Answer((Failure("the worker died.", True),) * len(unit.layers))

    with monkeypatch.context() as patch:
        patch.setattr(runners, "cost_unit", lost)
        found = run(folder)
    assert (found.answered, dict(found.failures)) == (0, {"layer a: the worker died.": 4})
    assert run(folder).answered == 4
    assert contents(folder) == contents(whole)


def test_chips_that_cannot_be_or_map_nothing_are_recorded_with_their_reason(tmp_path: Path) -> None:
    found = run(
        tmp_path / "run", pe_types=["own"], ranges={"psum_spad.size_words": [4, 4], "global_buffer.banks": [1, 4096]}, chips=3
    )
    assert found.answered + found.failures.total() == 3
    assert found.failures
    again = run(
        tmp_path / "run", pe_types=["own"], ranges={"psum_spad.size_words": [4, 4], "global_buffer.banks": [1, 4096]}, chips=3
    )
    assert again == found


def test_another_characterisation_is_not_continued(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(
        hwflow.InputError, match=r"holds another characterisation, .*seed was 0, now is 1.* Name another folder"
    ):
        run(whole, seed=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("", encoding="utf-8")
    with pytest.raises(hwflow.InputError, match="is no folder of a characterisation and is not empty"):
        run(tmp_path / "other")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "records.jsonl").write_text(json.dumps({"format": 2}) + "\n", encoding="utf-8")
    with pytest.raises(hwflow.InputError, match=r"records.jsonl holds no characterisation of format 1, as its first line says"):
        run(tmp_path / "foreign")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"pe_types": ["int9"]}, r"unknown PE type 'int9'\..* Known: "),
        ({"pe_types": []}, "pe_types is empty; name each type once"),
        ({"level": "coarse"}, "level is 'coarse', which has no mappings to characterise chips by; ask for mid or fine"),
        ({"chips": 0}, "chips is 0; it must be a whole number of at least 1"),
        ({"base": "int8"}, "the base has PEs of type int8: name those to characterise by pe_types"),
        ({"widths": [0.0]}, r"widths is \[0.0\]; each must be a share of the channels above 0 and at most 1"),
        (
            {"ranges": {"pe_array.rows": [8], **{name: [24] for name in FIXED}}},
            r"all of .* are fixed by their ranges, and a model needs a field that varies",
        ),
        ({"runner": "cloud"}, "runner is 'cloud'; allowed: local, ray"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(given: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(hwflow.InputError, match=told):
        run(tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_fixed_field_is_no_field_of_the_model_but_one_of_its_base(tmp_path: Path) -> None:
    run(tmp_path / "run", chips=1, pe_types=["own"], ranges={"pe_array.rows": [8], "psum_spad.size_words": [24]})
    header = record_files.read(tmp_path / "run").header
    assert set(header["fields"]) == set(FIXED) - {"psum_spad.size_words"}
    assert base_of(header).fingerprint == Accelerator.load("eyeriss").with_({"pe_array.rows": 8}).fingerprint


def test_layers_are_the_different_shapes_at_all_widths() -> None:
    layers = _layers([NET, Network("again", NET.layers)], [1.0, 0.5])
    assert [(la.name, la.C, la.M) for la in layers] == [("a (0)", 4, 8), ("b (1)", 8, 4), ("a (2)", 4, 4), ("b (3)", 4, 4)]
    depthwise = Network("dw", (Layer("d", G=8, C=1, M=1, P=4, Q=4, R=3, S=3),))
    assert [la.G for la in _layers([depthwise], [1, 0.25])] == [8, 2]


def test_layers_with_bits_or_of_both_kinds_are_refused() -> None:
    with pytest.raises(
        hwflow.InputError, match="layer a of net states bits of its own, and layers are characterised at those of"
    ):
        _layers([NET.with_bits(8, 8)], [1.0])
    up = Layer("up", C=4, M=4, P=4, Q=4, R=2, S=2, type="conv_transpose")
    with pytest.raises(hwflow.InputError, match="transposed convolutions need a characterisation of their own"):
        _layers([NET, Network("up", (up,))], [1.0])

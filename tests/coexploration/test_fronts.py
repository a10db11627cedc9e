from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwflow
from hwflow.coexploration import Fronts, fronts
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.reporting import write_report
from tests.ppa import synthetic
from tests.ppa.synthetic import LAYERS

pytest.importorskip("pyarrow")
pytest.importorskip("scipy")

NETS = [Network("small", LAYERS[:2]), Network("large", (*LAYERS, *LAYERS))]
ACCURACY = "network,pe_type,accuracy\nsmall,own,0.8\nlarge,own,0.9\nlarge,int8,0.89\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ppa") / "model.json"
    synthetic.model(path, pe_types=("own", "int8"), chips=20)
    return path


@pytest.fixture(scope="module")
def found(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Fronts:
    folder = tmp_path_factory.mktemp("fronts")
    (folder / "accuracy.csv").write_text(ACCURACY, encoding="utf-8")
    return fronts(model, NETS, folder / "run", accuracy=folder / "accuracy.csv", designs=60, notify=lambda _: None)


def beaten(point: tuple[float, ...], others: list[tuple[float, ...]]) -> bool:
    return any(all(a <= b for a, b in zip(o, point, strict=True)) and o != point for o in others)


def test_fronts_are_those_of_brute_force(found: Fronts) -> None:
    frame = found.frame()
    for network in ("small", "large"):
        own = frame[frame["network"] == network]
        points = list(zip(-own["inferences_per_s_mm2"], own["energy"], strict=True))
        assert own["front_performance_energy"].tolist() == [not beaten(point, points) for point in points]
    for flag, metric, sign in (
        ("front_accuracy_performance", "inferences_per_s_mm2", -1),
        ("front_accuracy_energy", "energy", 1),
    ):
        known = frame[frame["accuracy"].notna()]
        points = list(zip(-known["accuracy"], sign * known[metric], strict=True))
        assert known[flag].tolist() == [not beaten(point, points) for point in points]
        assert not frame[frame["accuracy"].isna()][flag].any()


def test_a_row_is_the_sum_of_the_networks_layers_as_level_ppa_has_them(found: Fronts, model: Path) -> None:
    frame = found.frame()
    fields = json.loads((found.folder / "fronts.json").read_text(encoding="utf-8"))["fields"]
    for row in (frame.iloc[7], frame.iloc[-9]):
        typed = {} if row["pe_type"] == "own" else {"pe_type": row["pe_type"]}
        chip = hwflow.Accelerator.load("eyeriss").with_({**typed, **{n: _plain(row[n]) for n in fields}})
        net = next(net for net in NETS if net.name == row["network"])
        cost = hwflow.estimate(net, chip, level="ppa", ppa_model=model, store=False)
        assert row["energy"] == pytest.approx(cost.energy_pj)
        assert row["latency_s"] == pytest.approx(cost.latency_s)
        assert row["inferences_per_s"] == pytest.approx(1 / row["latency_s"])
        assert row["inferences_per_s_mm2"] == pytest.approx(1 / row["latency_s"] / (row["area_um2"] * 1e-6))
        assert row["power_w"] == pytest.approx(row["energy"] * 1e-12 / row["latency_s"])


def _plain(value: Any) -> int | float:
    return int(value) if float(value).is_integer() else float(value)


def test_every_row_states_the_models_errors(found: Fronts) -> None:
    frame = found.frame()
    for what in ("energy", "cycles", "area"):
        for part in ("median", "p95"):
            assert frame[f"{what}_error_{part}"].notna().all()


def test_pairs_without_an_accuracy_are_listed(found: Fronts) -> None:
    assert found.missing == ("small with int8",)
    assert {best.accuracy for best in found.best()} == {0.8, 0.9, 0.89, None}


def test_tables_hold_all_designs_and_those_on_a_front_and_the_page_says_it_is_a_model(found: Fronts) -> None:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(found.folder / "designs.parquet")
    assert table.num_rows == 60 * 2 * 2
    with open(found.folder / "fronts.csv", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    frame = found.frame()
    on = frame["front_performance_energy"] | frame["front_accuracy_performance"] | frame["front_accuracy_energy"]
    assert len(rows) == int(on.sum()) > 0
    assert "not synthesis" in json.loads((found.folder / "fronts.json").read_text(encoding="utf-8"))["remark"]
    pytest.importorskip("plotly")
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    for text in (
        "not synthesis",
        "Performance per area and energy, large",
        "Accuracy and energy",
        "Errors on held-out chips",
        "small with int8",
    ):
        assert text in page


def test_the_same_command_writes_the_same_bytes(model: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fronts(model, NETS[:1], tmp_path / name, designs=20, notify=lambda _: None)
    for file in ("designs.parquet", "fronts.csv", "fronts.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_layers_beyond_the_range_are_refused_or_asked_for(model: Path, tmp_path: Path) -> None:
    wide = Network("wide", (Layer("a", C=64, M=8, P=6, Q=6, R=3, S=3),))
    with pytest.raises(hwflow.InputError, match=r"layer a: C \(=64\) is outside 1 to 32"):
        fronts(model, [wide], tmp_path / "run", designs=5)
    assert fronts(model, [wide], tmp_path / "run", designs=5, extrapolate=True, notify=lambda _: None).networks == ("wide",)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"networks": []}, "networks is empty"),
        ({"networks": [NETS[0], NETS[0]]}, "networks: 2 of them are called 'small'"),
        ({"networks": [NETS[0].with_bits(8, 8)]}, "layer a of small states bits, and the PE types decide them"),
        ({"designs": 0}, "designs is 0; it must be a whole number"),
        ({"designs": 600_000}, "designs is 600,000, which gives 1,200,000 rows .* the most is 1,000,000"),
    ],
)
def test_what_cannot_be_used_is_refused(given: dict[str, Any], told: str, model: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"networks": NETS[:1], **given}
    with pytest.raises(hwflow.InputError, match=told):
        fronts(model, asked.pop("networks"), tmp_path / "run", **asked)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "network,accuracy\nsmall,0.8\n",
            r"accuracy.csv has no column pe_type: its first line must name the columns network, pe_type",
        ),
        ("network,pe_type,accuracy\ntiny,own,0.8\n", r"accuracy.csv, line 2: unknown network 'tiny'.* Known: small"),
        ("network,pe_type,accuracy\nsmall,int4,0.8\n", r"accuracy.csv, line 2: unknown PE type 'int4'.* Known: int8, own"),
        ("network,pe_type,accuracy\nsmall,own,88.5\n", r"line 2: accuracy is '88.5'; it must be a number from 0 to 1"),
        ("network,pe_type,accuracy\nsmall,own,nan\n", r"line 2: accuracy is 'nan'; it must be"),
        ("network,pe_type,accuracy\nsmall,own,.8\nsmall,own,.9\n", r"line 3: small with own comes twice"),
    ],
)
def test_accuracies_that_cannot_be_used_are_refused_by_line(text: str, told: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "accuracy.csv").write_text(text, encoding="utf-8")
    with pytest.raises(hwflow.InputError, match=told):
        fronts(model, NETS[:1], tmp_path / "run", accuracy=tmp_path / "accuracy.csv", designs=5)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("fronts.json", b"{", r"fronts.json is damaged: .* Run the same 'hwflow ppa fronts' again"),
        ("fronts.json", b'{"kind": "hwflow ppa fronts"}', r"fronts.json is damaged: "),
        ("designs.parquet", b"PAR1", r"designs.parquet is damaged: "),
    ],
)
def test_a_damaged_folder_is_refused_by_file(file: str, content: bytes, told: str, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    fronts(model, NETS[:1], tmp_path / "run", designs=5, notify=lambda _: None)
    (tmp_path / "run" / file).write_bytes(content)
    with pytest.raises(hwflow.InputError, match=told):
        write_report(tmp_path / "run")


def test_more_designs_are_no_better_than_their_front(found: Fronts) -> None:
    frame = found.frame()
    for best in found.best():
        own = frame[(frame["network"] == best.network) & (frame["pe_type"] == best.pe_type)]
        assert best.per_area == pytest.approx(np.max(own["inferences_per_s_mm2"]))
        assert best.energy_uj == pytest.approx(np.min(own["energy"]) * 1e-6)

"""The level ppa through estimates, comparisons, sweeps and pruning; tests/conformance holds what every backend promises."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.network import Network
from hwflow.ppa.model_file import read_model
from tests.ppa import synthetic
from tests.ppa.synthetic import CONV, LAYERS

pytest.importorskip("scipy")  # of the extra `sweep`, which draws the characterised chips

NET = Network("net", LAYERS)
WIDE = Network("wide", (CONV.with_(C=33),))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ppa") / "model.json"
    synthetic.model(path, pe_types=("own", "int8"), chips=20)
    return path


def estimated(net: Network = NET, chip: Any = "eyeriss", **given: Any) -> hwflow.NetworkCost:
    return hwflow.estimate(net, chip, level="ppa", store=False, **given)


def test_rows_have_the_predictions_and_say_what_they_are(file: Path) -> None:
    cost = estimated(ppa_model=file)
    chip = {name: _value(name) for name in read_model(file).fields}
    for row in cost.rows:
        known = synthetic.monomial(chip, row.layer)
        assert row.energy == pytest.approx(sum(known.energies.values()))
        assert row.cycles == pytest.approx(known.cycles, rel=1e-5, abs=1)
        assert row.dram_bytes == pytest.approx(known.dram_bytes)
        assert "not synthesis" in row.engine
        assert "held-out errors: energy" in row.energy_source
        assert "; cycles" in row.energy_source
        assert row.note == ""
    assert "not synthesis" in cost.provenance["engines"][0]
    told = cost.provenance["ppa_model"]
    assert (told["checksum"], told["points"]) == (read_model(file).identity, 160)
    assert "not synthesis" in told["remark"]


def _value(field: str) -> float:
    part, _, name = field.partition(".")
    return float(getattr(hwflow.Accelerator.load("eyeriss")[part], name))


def test_a_pe_type_is_answered_at_its_own_bits(file: Path) -> None:
    assert estimated(chip="int8", ppa_model=file).level == "ppa"


def test_it_refuses_to_extrapolate_unless_asked_and_then_says_so_in_the_row(file: Path) -> None:
    with pytest.raises(
        hwflow.InputError, match=r"layer a: C \(=33\) is outside 1 to 32, the range that model.json was charact"
    ):
        estimated(WIDE, ppa_model=file)
    row = estimated(WIDE, ppa_model=file, extrapolate=True).rows[0]
    assert row.note == "extrapolated: C (=33) is outside 1 to 32"
    chip = hwflow.Accelerator.load("eyeriss").with_({"pe_array.rows": 48})
    with pytest.raises(hwflow.InputError, match=r"pe_array.rows \(=48\) is outside 6 to 24"):
        estimated(chip=chip, ppa_model=file)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, r"level ppa needs a fitted model: name the file that 'hwflow ppa fit' wrote \(--ppa-model FILE, ppa_model=\)"),
        ({"ppa_model": "none.json"}, "the PPA model none.json: there is no such file. 'hwflow ppa fit' writes one"),
        ({"energy": "normalized"}, "energy is 'normalized', and the model model.json was fitted to energies of fitted"),
        ({"dataflow": "flexible"}, r"dataflow .* is 'flexible', which changes nothing at level ppa: it is for mid and fine"),
        ({"extrapolate": 1}, "extrapolate is 1; it must be True or False"),
        (
            {"level": "mid", "extrapolate": True},
            r"extrapolate \(--extrapolate\) is True, which changes nothing at level mid: it is",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(given: dict[str, Any], told: str, file: Path) -> None:
    asked = {"level": "ppa", **({"ppa_model": file} if given and given.get("level") != "mid" else {}), **given}
    with pytest.raises(hwflow.InputError, match=told):
        hwflow.estimate(NET, "eyeriss", store=False, **asked)


def test_a_row_says_where_the_level_has_changed_since(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwflow.cost.mid.VERSION", "mid-next")
    level_version = read_model(file).level_version
    assert estimated(ppa_model=file).rows[0].note == f"fitted to {level_version}, and level mid is mid-next now"


def test_a_changed_file_is_read_again(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.json"
    copy.write_bytes(file.read_bytes())
    before = estimated(ppa_model=copy)
    synthetic.model(copy, chips=25, layers=LAYERS[:3])
    with pytest.raises(hwflow.InputError, match=r"layer dw: .*G \(=8\) is outside 1 to 1"):
        estimated(ppa_model=copy)
    copy.write_bytes(file.read_bytes())
    assert estimated(ppa_model=copy) == before


def test_it_stands_beside_other_levels_in_a_comparison_and_a_table(file: Path) -> None:
    both = hwflow.compare(NET, "eyeriss", levels=["mid", "ppa"], ppa_model=file, store=False)
    assert [found.level for found in both] == ["mid", "ppa"]
    table = hwflow.cost_table(NET, "eyeriss", level="ppa", ppa_model=file, round_to=4, fill=False, store=False)
    assert table.cost("b", M=4).energy == pytest.approx(estimated(ppa_model=file).rows[1].energy)


def test_many_designs_are_predicted_a_thousand_times_faster_than_mid_costs_one(file: Path) -> None:
    """Processor time of a design: the best of three, of two thousand designs at once, against one that mid has not seen."""
    import numpy as np

    from hwflow.coexploration.knobs import hypercube, knobs_of, values_at

    pytest.importorskip("scipy")
    model = read_model(file)
    knobs = knobs_of(model.base, model.fields)
    values = values_at(knobs, hypercube(len(knobs), 2000, 0).tolist())
    times = []
    for _ in range(3):
        start = time.process_time()
        assert np.isfinite(model.predict("own", values, LAYERS).cycles).all()
        times.append(time.process_time() - start)
    hwflow.estimate(NET, "eyeriss", store=False)
    start = time.process_time()
    hwflow.estimate(NET, hwflow.Accelerator.load("eyeriss").with_({"pe_array.rows": 13}), store=False)
    cold = time.process_time() - start
    assert cold / (min(times) / len(values)) > 1000


SWEEP = """
networks: [net.yaml]
accelerators:
  - base: eyeriss
    set: {pe_array.rows: [8, 12, 48]}
levels: [ppa]
ppa_model: model.json
"""


def test_it_is_a_level_of_sweeps_whose_model_stands_beside_the_file(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [
        f"  - {{name: {la.name}, type: {la.type}, G: {la.G}, C: {la.C}, M: {la.M}, P: {la.P}, Q: {la.Q}, R: {la.R}, S: {la.S}}}"
        for la in LAYERS
    ]
    (tmp_path / "net.yaml").write_text("\n".join(["name: net", "layers:", *rows]), encoding="utf-8")
    (tmp_path / "model.json").write_bytes(file.read_bytes())
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(SWEEP, encoding="utf-8")
    frame = hwflow.sweep(sweep, tmp_path / "run", store=False, progress=False)
    assert list(frame["status"]) == ["ok", "ok", "failed"]
    assert "pe_array.rows (=48) is outside 6 to 24" in frame["reason"].iloc[2]
    assert frame["energy_pj"].iloc[1] == pytest.approx(estimated(ppa_model=file).energy_pj)
    assert "not synthesis" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    synthetic.model(tmp_path / "model.json", chips=20)
    with pytest.raises(hwflow.InputError, match=r"holds another sweep .*content of ppa_model was"):
        hwflow.sweep(sweep, tmp_path / "run", store=False, progress=False)
    sweep.write_text(SWEEP.replace("ppa_model: model.json\n", ""), encoding="utf-8")
    with pytest.raises(
        hwflow.InputError, match="levels names ppa, which needs a model: name the file that 'hwflow ppa fit' wrote"
    ):
        hwflow.sweep(sweep, tmp_path / "other", store=False, progress=False)


def test_a_sweep_without_it_keeps_the_header_of_folders_that_exist() -> None:
    from hwflow.sweeping.description import Description
    from hwflow.sweeping.space import Space
    from hwflow.sweeping.sweep_run import _header

    header = _header(Space((), ()), (), Description.model_validate({"networks": ["resnet20"], "accelerators": ["eyeriss"]}))
    assert (set(header["versions"]), "content of ppa_model" in header) == ({"coarse", "mid"}, False)


def test_it_is_a_level_of_pruning(file: Path) -> None:
    """What a search asks for: tables at narrower shapes, whole networks, and the other levels beside it."""
    pytest.importorskip("torch")
    from hwflow.compression.level_costs import LevelCosts
    from hwflow.compression.settings import Settings

    settings = Settings(levels=("ppa",), ppa_model=str(file))
    chip = hwflow.Accelerator.load("eyeriss")
    costs = LevelCosts(chip, settings, store=False, notify=lambda _: None, progress=None)
    assert costs.table(NET, "ppa").cost("b", C=2, M=1).energy is not None
    found, missing = costs.networks(NET)
    assert {"coarse", "mid", "ppa"} <= set(found)
    assert found["ppa"].energy_pj == pytest.approx(estimated(ppa_model=file).energy_pj)
    usual = LevelCosts(chip, Settings(), store=False, notify=lambda _: None, progress=None)
    assert "ppa" not in {*usual.networks(NET)[0], *usual.networks(NET)[1], *missing}
    assert settings.to_data()["ppa_model"] == str(file)
    assert not {"ppa_model", "extrapolate"} & set(Settings().to_data())

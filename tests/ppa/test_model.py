from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwflow
from hwflow.layers import Bits, Layer
from hwflow.ppa.model import PpaModel
from tests.ppa import synthetic
from tests.ppa.synthetic import CONV, EYERISS, LAYERS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PpaModel:
    return synthetic.model(tmp_path_factory.mktemp("ppa") / "model.json", pe_types=("own", "int8"))


def test_formulas_are_recovered_on_chips_that_were_not_characterised(model: PpaModel) -> None:
    fields = {
        "dram.bandwidth_gb_s": 3.3,
        "global_buffer.size_kib": 211,
        "pe_array.rows": 11,
        "pe_array.columns": 23,
        "input_spad.size_words": 16,
        "weight_spad.size_words": 200,
        "psum_spad.size_words": 32,
    }
    assert list(fields) == list(model.fields)
    told = model.predict("own", np.array([list(fields.values())], dtype=float), LAYERS)
    rows = [synthetic.monomial(fields, layer) for layer in LAYERS]
    for part, energy in told.energy.items():
        np.testing.assert_allclose(energy[0], [row.energies[part] for row in rows], rtol=1e-8)
    np.testing.assert_allclose(told.on_chip_cycles[0], [row.on_chip_cycles for row in rows], rtol=1e-5)  # whole numbers
    np.testing.assert_allclose(told.dram_bytes[0], [row.dram_bytes for row in rows], rtol=1e-8)
    np.testing.assert_allclose(told.cycles[0], [row.cycles for row in rows], rtol=1e-5)
    assert told.area_um2 is not None
    assert told.area_um2[0] == pytest.approx(synthetic.area(fields), rel=1e-8)


def test_many_chips_at_once_are_each_alone(model: PpaModel) -> None:
    values = np.array([[low + t * (high - low) for low, high in model.fields.values()] for t in np.linspace(0, 1, 1500)])
    told = model.predict("own", values, LAYERS)
    for i in (0, 700, 1499):
        alone = model.predict("own", values[i : i + 1], LAYERS)
        np.testing.assert_allclose(told.cycles[i], alone.cycles[0], rtol=1e-12)


def test_more_pes_never_have_less_area(model: PpaModel) -> None:
    values = np.tile([low for low, _ in model.fields.values()], (19, 1)).astype(float)
    values[:, list(model.fields).index("pe_array.rows")] = np.arange(6, 25)
    area = model.predict("own", values, LAYERS[:1]).area_um2
    assert area is not None
    assert (np.diff(area) > 0).all()


def test_cycles_are_never_below_one_a_mac_unit_and_the_larger_of_two(model: PpaModel) -> None:
    values = np.array([[high for _, high in model.fields.values()]], dtype=float)
    told = model.predict("own", values, LAYERS)
    assert (told.cycles == np.maximum(told.on_chip_cycles, told.dram_cycles)).all()
    assert (told.on_chip_cycles >= np.array([layer.macs for layer in LAYERS]) / (24 * 28)).all()


def test_held_out_errors_are_stated_of_all_quantities(model: PpaModel) -> None:
    quality = model.types["own"].quality
    assert set(quality) == {"energy", "cycles", "power", "on-chip cycles", "DRAM bytes", "area"}
    assert all(one.error.p95 < 1e-4 for one in quality.values())
    assert (model.types["own"].fitted, model.types["own"].held_out) == (24, 6)
    assert "not synthesis" in model.remark
    assert "not synthesis" in model.engine
    assert "held-out errors: energy 0 % median" in model.source("own") or "held-out errors: energy " in model.source("own")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pe_type": "int16"}, r"has PEs of type int16, and model.json was fitted to own, int8: choose one of these"),
        ({"clock_mhz": 100}, r"clock_mhz \(=100.0\) is not 200.0; it was fitted to variants of eyeriss in dram.bandwidth_gb_s"),
        ({"global_buffer.banks": 9}, r"global_buffer.banks \(=9\) is not 27"),
        ({"dataflow": "flexible"}, r"dataflow \(='flexible'\) is not 'row_stationary'"),
    ],
)
def test_a_chip_that_differs_elsewhere_is_refused(model: PpaModel, changes: dict[str, object], told: str) -> None:
    with pytest.raises(hwflow.InputError, match=told):
        model.values_of(EYERISS.with_(changes), CONV)


def test_bits_that_were_not_characterised_are_refused(model: PpaModel) -> None:
    narrow = CONV.with_(bits=Bits(4, 8, 8))
    typed = EYERISS.with_({"pe_type": "int8"})
    with pytest.raises(hwflow.InputError, match=r"layer a runs at 4 and 8 bits .* with 8 and 8 bits at PEs of type int8"):
        model.values_of(typed.serving(narrow), narrow)
    own = CONV.with_(bits=Bits(8, 8, 8))
    with pytest.raises(hwflow.InputError, match=r"layer a runs at 8 and 8 bits .* with the chip's own words"):
        model.values_of(EYERISS.serving(own), own)


def test_every_pe_type_is_found_again_at_its_own_bits(model: PpaModel) -> None:
    chip = EYERISS.with_({"pe_type": "int8", "pe_array.rows": 20})
    layer = chip.typed(CONV)
    values = model.values_of(chip.serving(layer), layer)
    assert dict(zip(model.fields, values.tolist(), strict=True))["pe_array.rows"] == 20


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (CONV.with_(C=64), r"layer a: C \(=64\) is outside 1 to 32, the range that model.json was characterised in"),
        (CONV.with_(P=7, Q=9), r"P \(=7\) is outside 1 to 6, Q \(=9\) is outside 1 to 6"),
        (CONV.with_(strides=(2, 2)), r"stride \(width\) \(=2\) is outside 1 to 1"),
        (CONV.with_(dilations=(1, 2)), r"dilation \(height\) \(=2\) is outside 1 to 1"),
        (
            Layer("up", C=4, M=8, P=6, Q=6, R=3, S=3, type="conv_transpose"),
            "is of type conv_transpose, and model.json was fitted",
        ),
    ],
)
def test_layers_beyond_the_range_are_refused(model: PpaModel, layer: Layer, told: str) -> None:
    values = [low for low, _ in model.fields.values()]
    with pytest.raises(hwflow.InputError, match=told):
        model.check_range(values, layer)


def test_fields_beyond_the_range_are_refused_by_name(model: PpaModel) -> None:
    values = [high for _, high in model.fields.values()]
    model.check_range(values, CONV)
    values[list(model.fields).index("pe_array.rows")] = 30
    with pytest.raises(hwflow.InputError, match=r"pe_array.rows \(=30\) is outside 6 to 24, .*--extrapolate"):
        model.check_range(values, CONV)


def test_a_model_of_the_same_records_is_the_same_file(tmp_path: Path) -> None:
    paths = [tmp_path / "one" / "model.json", tmp_path / "two" / "model.json"]
    for path in paths:
        synthetic.model(path, chips=20)
    assert paths[0].read_bytes() == paths[1].read_bytes()

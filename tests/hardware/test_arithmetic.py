"""Energies and areas of arithmetic, and types of processing elements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hwflow
from hwflow import cli
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.arithmetic import relative_energy, unit_40nm
from hwflow.hardware.components import MacUnit
from hwflow.hardware.energy_fit import fitted
from hwflow.hardware.energy_table import normalized, part_key
from hwflow.hardware.pe_types import PE_TYPES
from hwflow.layers import Bits, Layer

LAYER = Layer("conv", C=16, M=16, P=8, Q=8, R=3, S=3)
EYERISS = Accelerator.load("eyeriss")
PUBLISHED = {  # sums of parts of Aladdin's tables at 40 nm, 1 ns: pJ, square micrometres
    "fp32": (52.0, 7930),
    "int16": (3.38, 1866),
    "int8": (0.95, 605),
    "lightpe1": (0.275, 279),
    "lightpe2": (0.497, 488),
    "xnor": (0.027, 36),
}


def unit(name: str, **more: object) -> MacUnit:
    """The arithmetic of a type."""
    return Accelerator.load(name).with_({f"mac.{k}": v for k, v in more.items()}).mac


@pytest.mark.parametrize("name", PE_TYPES)
def test_units_are_the_sums_of_their_parts(name: str) -> None:
    found, (energy, area) = unit_40nm(unit(name)), PUBLISHED[name]
    assert found.energy == pytest.approx(energy, rel=0.01)
    assert found.area == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize(("name", "gain"), [("fp32", 0.19), ("int8", 3.2), ("lightpe1", 6.8), ("lightpe2", 3.75)])
def test_the_second_opinion(name: str, gain: float) -> None:
    ratio = relative_energy(unit("int16", energies="horowitz")) / relative_energy(unit(name, energies="horowitz"))
    assert ratio == pytest.approx(gain, rel=0.02)


@pytest.mark.parametrize("energies", ["aladdin", "horowitz"])
@pytest.mark.parametrize("technology", [16, 28, 65, 90])
def test_shifts_are_never_dearer_than_int8_nor_int16_cheaper(technology: int, energies: str) -> None:
    names = ("int16", "int8", "lightpe2", "lightpe1")
    chips = [Accelerator.load(n).with_({"technology_nm": technology, "mac.energies": energies}) for n in names]
    compute = [fitted(chip).parts["mac"].compute for chip in chips]
    assert compute == sorted(compute, reverse=True)
    assert [normalized(chip).parts["mac"].compute for chip in chips[2:]] == [relative_energy(c.mac) for c in chips[2:]]


def test_a_technology_scales_all_arithmetic_alike() -> None:
    for name in ("lightpe1", "fp32", "xnor"):
        chips = [Accelerator.load(n).with_({"technology_nm": 40}) for n in (name, "int16")]
        energies, areas = zip(*((t.compute, t.area_um2) for t in (fitted(c).parts["mac"] for c in chips)), strict=True)
        assert energies[0] / energies[1] == pytest.approx(PUBLISHED[name][0] / PUBLISHED["int16"][0], rel=0.02)
        assert areas[0] / areas[1] == pytest.approx(PUBLISHED[name][1] / PUBLISHED["int16"][1], rel=0.02)


def test_one_type_is_one_key_and_integers_keep_theirs() -> None:
    assert part_key(EYERISS.mac, EYERISS) == "mac multiplier=16 adder=16 technology=65nm cycle=5e-09s"
    keys = {part_key(chip.mac, chip) for chip in (Accelerator.load(n) for n in PE_TYPES)}
    assert len(keys) == len(PE_TYPES)


def test_registers_follow_the_widths_and_keep_their_words() -> None:
    chip = EYERISS.with_({"pe_type": "lightpe1"})
    assert chip == Accelerator.load("lightpe1")
    assert chip.label == "eyeriss (pe_type=lightpe1)"
    found = {m.name: (m.word_bits, m.width_bits, m.words) for m in chip.memories}
    assert found["input_spad"] == (8, 8, 12)
    assert found["weight_spad"] == (4, 4, 224)
    assert found["psum_spad"] == (24, 24, 24)
    assert found["global_buffer"] == (8, 64, 108 * 1024)
    assert chip.with_({"pe_array.rows": 8}).changes == {"pe_type": "lightpe1", "pe_array.rows": 8}
    assert EYERISS.with_({"psum_spad.size_words": 16, "pe_type": "int8"})["psum_spad"].words == 16  # type: ignore[union-attr]


@pytest.mark.parametrize("base", ["simba", "tpu_like", "shidiannao_like"])
def test_types_fit_other_chips(base: str) -> None:
    for name in PE_TYPES:
        chip = Accelerator.load(base).with_({"pe_type": name})
        assert hwflow.map_layer(LAYER, chip, energy="normalized", store=False).cost.energy > 0


def test_layers_without_widths_run_at_those_of_the_type() -> None:
    asked = {"energy": "normalized", "store": False}
    network = hwflow.Network("one", (LAYER,))
    costs = [hwflow.estimate(network, "lightpe1", level=level, **asked) for level in ("coarse", "mid")]  # type: ignore[arg-type]
    bytes_ = (LAYER.words("weights") * 4 + (LAYER.words("inputs") + LAYER.words("outputs")) * 8) / 8
    assert [cost.dram_bytes for cost in costs] == [bytes_, bytes_]
    assert costs[1].rows[0].layer.bits == Bits(4, 8, 8)
    found = hwflow.map_layer(LAYER, "lightpe1", **asked)  # type: ignore[arg-type]
    assert found.cost.energy == costs[1].energy_normalized
    assert hwflow.analyse(LAYER, "lightpe1", found.mapping, **asked).energy == found.cost.energy  # type: ignore[arg-type]
    table = hwflow.cost_table(network, "lightpe1", fill=False, **asked)  # type: ignore[arg-type]
    assert table[LAYER].energy == found.cost.energy


@pytest.mark.parametrize(
    ("name", "bits", "said"),
    [
        (
            "lightpe1",
            (8, 8),
            "(one power of two), which takes weights of at most 4 bits, a sign and an exponent, not 8 and 8",
        ),
        ("lightpe2", (16, 8), "which takes weights of at most 8 bits, two signs and exponents, not 16 and 8"),
        ("xnor", (1, 8), "xnor (one bit), which takes weights and inputs of 1 bit, not 1 and 8"),
        ("fp32", (16, 16), "fp (floating point), which takes weights and inputs of 32 bits, not 16 and 16"),
    ],
)
def test_bits_that_do_not_fit_a_type_are_refused(name: str, bits: tuple[int, int], said: str) -> None:
    with pytest.raises(InputError) as error:
        Accelerator.load(name).serving(LAYER.with_(bits=Bits(*bits, bits[1])))
    assert str(error.value).startswith("layer conv: mac.arithmetic is ")
    assert said in str(error.value)
    assert "hwflow list pe-types" in str(error.value)


def test_what_is_no_type_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown PE type 'lightpe3'.*Known: fp32"):
        EYERISS.with_({"pe_type": "lightpe3"})
    with pytest.raises(InputError, match=r"mac\.arithmetic is 'log': it must be int, fp, shift1, shift2 or xnor"):
        EYERISS.with_({"mac.arithmetic": "log"})
    with pytest.raises(InputError, match="horowitz, whose table has no bitwise logic"):
        fitted(Accelerator.load("xnor").with_({"mac.energies": "horowitz"}))


def test_the_command_line_and_sweeps_take_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")

    def hwflow_says(*argv: str) -> None:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(argv))
        assert ended.value.code == 0

    hwflow_says("list", "pe-types", "--format", "json")
    assert list(json.loads(capsys.readouterr().out)) == list(PE_TYPES)
    asked = ["estimate", "resnet20", "--accelerator", "eyeriss", "--level", "coarse", "--format", "json"]
    hwflow_says(*asked, "--pe-type", "lightpe1", "--set", "pe_array.rows=6")
    found = json.loads(capsys.readouterr().out)
    assert found["accelerator"] == "eyeriss (pe_type=lightpe1, pe_array.rows=6)"
    assert found["provenance"]["accelerator"]["changes"] == {"pe_type": "lightpe1", "pe_array.rows": 6}
    sweep = tmp_path / "sweep.yaml"
    chips = "{base: eyeriss, pe_types: [int16, int8, lightpe1], set: {pe_array.rows: [6, 12]}}"
    sweep.write_text(f"networks: [resnet20]\naccelerators: [{chips}]\nlevels: [coarse]\nenergy: fitted\n", encoding="utf-8")
    frame = hwflow.sweep(sweep, tmp_path / "out", store=False)
    assert frame.groupby("pe_type")["dram_bytes"].first().to_dict() == {"int16": 1363564, "int8": 681782, "lightpe1": 547614}
    sweep.write_text(f"networks: [resnet20]\naccelerators: [{chips.replace('int8', 'int9')}]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"pe_types.*unknown PE type 'int9'\. Did you mean 'int8'"):
        hwflow.sweep(sweep, tmp_path / "other", store=False)

"""Outermost memories that are no DRAM, and files that pytimeloop lowered from designs that hwflow reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import hwflow
from hwflow.cli import app
from hwflow.cost import mid
from hwflow.cost.energies import energy_table
from hwflow.dataflow import constrain
from hwflow.energy import normalized
from hwflow.errors import InputError, NotMappable
from hwflow.layers import Layer
from hwflow.native import TimeloopAccelerator

DESIGNS = Path(__file__).parents[1] / "data" / "timeloop_designs"
LAYER = Layer("conv", C=8, M=12, P=6, Q=6, R=3, S=3)
SAME = ("hierarchy", "places", "limits", "clusters", "unit", "technology_nm", "clock_mhz", "refusals")

SRAM = (DESIGNS / "backing_sram.yaml").read_text(encoding="utf-8")
LOWERED = (DESIGNS / "lowered_two_axes.yaml").read_text(encoding="utf-8")
MODEL = """
dumped_by_timeloop_front_end: true
architecture:
  version: '0.4'
  subtree:
  - name: System_top_level
    attributes: {version: '0.4', technology: "40nm", global_cycle_seconds: 1.0e-9, power_gated_at: null}
    local:
    - name: MainMemory[1..1]
      class: SRAM
      attributes: {depth: 32768, width: 64, datawidth: 8, read_bandwidth: 4, write_bandwidth: 2, n_banks: 2, meshX: 1, meshY: 1}
      required_actions: [update, read, write, leak]
      enabled: true
    - name: GlobalBuffer[1..1]
      class: SRAM
      attributes: {depth: 512, width: 32, datawidth: 8, cluster_size: 1, meshX: 1, meshY: 1, reduction_supported: true}
      enabled: true
    - name: inter_PE_spatial[1..1]
      class: dummy_storage
      attributes: {width: 1, depth: 1, datawidth: 1, technology: -1, meshX: 1, meshY: 1}
      enabled: true
    - name: RegisterFile[1..12]
      class: regfile
      attributes: {depth: 64, width: 8, datawidth: 8, meshX: 12, meshY: 1, allow_overbooking: false}
      enabled: true
    - {name: "MACC[1..12]", class: intmac, attributes: {width: 8, datawidth: 8, meshX: 12, meshY: 1}, enabled: true}
architecture_constraints: {targets: []}
problem: {version: '0.4', instance: {K: 32, R: 3, P: 16}}
mapping:
- {target: MainMemory, type: temporal, factors: 'R=1,P=1,K=1,C=1', permutation: PRKC}
- {type: spatial, target: inter_PE_spatial, factors: 'R=1,P=1,K=1,C=16', permutation: PRKC}
- {factors: 'C=1,K=1,R=1,P=1', permutation: CKRP, type: temporal, target: inter_PE_spatial}
- {bypass: [Weights, Inputs, Outputs], type: bypass, target: inter_PE_spatial}
- {target: RegisterFile, type: temporal, factors: 'R=1,P=16,K=1,C=1', permutation: RPKC}
mapper: {version: '0.4'}
mapspace: {version: '0.4', template: uber}
"""


def brought(text: str, folder: Path) -> TimeloopAccelerator:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return hwflow.from_timeloop(folder / "mine.yaml")


# Outermost memories --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("component", "kind", "words"),
    [
        ("class: SRAM\n    attributes: {depth: 32768, width: 64, datawidth: 8", "sram", 32768 * 8),
        ("class: regfile\n    attributes: {depth: 32768, width: 64, datawidth: 8", "regfile", 32768 * 8),
        ("class: smartbuffer_SRAM\n    attributes: {depth: 32768, width: 64, datawidth: 8", "sram", 32768 * 8),
        ("class: smartbuffer_RF\n    attributes: {depth: 1024, width: 64, datawidth: 8", "regfile", 8192),
        ("class: storage\n    attributes: {depth: 32768, width: 64, datawidth: 8", "sram", 32768 * 8),
        ("class: storage\n    subclass: my_DRAM\n    attributes: {type: LPDDR4, width: 64, datawidth: 8", "dram", None),
        ("class: my_DRAM_stack\n    attributes: {type: HBM2, width: 64, datawidth: 8", "dram", None),
        ("class: SRAM\n    attributes: {entries: 4096, width: 64, datawidth: 8, multiple_buffering: 2", "sram", 4096),
    ],
)
def test_the_outermost_memory_is_what_it_is(component: str, kind: str, words: int | None, tmp_path: Path) -> None:
    old = "class: SRAM\n    attributes: {depth: 32768, width: 64, datawidth: 8"
    assert old in SRAM
    found = brought(SRAM.replace(old, component, 1), tmp_path)
    assert (found.dram.name, found.dram.kind, found.dram.words) == ("MainMemory", kind, words)
    assert not found.refusals
    assert not any("may keep or bypass" in note and "MainMemory" in note for note in found.notes)


def test_it_holds_no_more_than_its_size(tmp_path: Path) -> None:
    small = brought(SRAM.replace("depth: 32768", "depth: 128"), tmp_path)
    rules, table = constrain(small), normalized(small.physical)
    fits = Layer("fits", C=4, M=8, P=5, R=3)
    assert mid.map_layer(fits, small, rules, table).cost.cycles
    with pytest.raises(NotMappable, match="has no mapping on mine"):
        mid.map_layer(LAYER, small, rules, table)


def test_its_energy_is_an_srams_and_its_technology_counts(tmp_path: Path) -> None:
    found = brought(SRAM, tmp_path)
    table = energy_table(found, store=None)
    assert table.unit == "pJ"
    assert table.parts["MainMemory"].read > table.parts["GlobalBuffer"].read
    other = 'attributes: {technology: "65nm", depth: 32768'
    mixed = brought(SRAM.replace("attributes: {depth: 32768", other), tmp_path)
    assert mixed.unpriced == {"MainMemory": "MainMemory is of 65 nm and MACC of 40 nm"}


def test_a_register_file_and_a_mac_are_a_chip() -> None:
    chip = hwflow.from_timeloop(DESIGNS / "one_register_file.yaml")
    assert [level.name for level in chip.levels] == ["Buffer"]
    cost = hwflow.estimate(hwflow.Network("one", (LAYER,)), chip, store=False)
    assert cost.cycles == LAYER.macs


# Lowered files -------------------------------------------------------------------------------------------------------


def test_what_pytimeloop_writes_for_a_model_is_the_same_chip(tmp_path: Path) -> None:
    """Then it has the constraints of fan-outs under `mapping:`, with the dimensions of the file's own problem."""
    nodes, lowered = brought(SRAM, tmp_path), brought(MODEL, tmp_path)
    for field in SAME:
        if field != "limits":
            assert getattr(lowered, field) == getattr(nodes, field), field
    assert set(lowered.limits["inter_PE_spatial"].spatial) == set(nodes.limits["inter_PE_spatial"].spatial)
    assert any("mapping: left out, hwflow searches for mappings" in note for note in lowered.notes)


def test_a_mapping_that_pytimeloop_did_not_write_says_nothing_of_the_chip(tmp_path: Path) -> None:
    by_hand = MODEL.replace("dumped_by_timeloop_front_end: true\n", "").replace("technology: -1, ", "")
    assert [level.memory is None for level in brought(by_hand, tmp_path).levels].count(True) == 0


def test_dimensions_of_size_1_come_first_in_a_lowered_permutation(tmp_path: Path) -> None:
    """As in the official simple_weight_stationary, lowered for a layer of batch 1: N alone is left of the split."""
    found = brought(LOWERED, tmp_path)
    assert not found.refusals
    assert any("nothing is put on its meshX, where only N can lie" in note for note in found.notes)
    assert [(level.name, level.axis, level.fanout) for level in found.levels][2:] == [
        ("inter_PE_spatial", "Y", 8),
        ("weight_reg", None, 1),
    ]
    assert set(found.limits["inter_PE_spatial"].spatial) == {"C", "G", "M"}
    batch = brought(LOWERED.replace("N: 1,", "N: 4,"), tmp_path)
    assert any("both of which can be used" in refusal for refusal in batch.refusals)
    assert brought(LOWERED.replace("dumped_by_timeloop_front_end: true\n", ""), tmp_path).refusals == batch.refusals


def test_dimensions_that_hwflow_does_not_have_are_named(tmp_path: Path) -> None:
    text = MODEL.replace("targets: []", "targets: [{target: RegisterFile, type: temporal, factors: 'K=1'}]")
    with pytest.raises(InputError, match=r"unknown dimension in .*constraint temporal of RegisterFile 'K'"):
        brought(text, tmp_path)


# Whose energies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "energy", "line"),
    [
        ("estimate", "auto", 1),
        ("estimate", "fitted", 1),
        ("map", "auto", 1),
        ("compare", "auto", 1),
        ("estimate", "normalized", 1),
    ],
)
def test_that_the_files_classes_were_not_asked_is_said_at_the_top(command: str, energy: str, line: int, tmp_path: Path) -> None:
    """A result must not depend on what is installed, so `auto` never runs Accelergy; and says so before any number."""
    (tmp_path / "one.yaml").write_text("name: one\nlayers: [{name: a, C: 4, M: 6, P: 8, Q: 8, R: 3, S: 3}]\n", encoding="utf-8")
    asked = [command, str(tmp_path / "one.yaml"), "--timeloop-arch", str(DESIGNS / "two_forms_native.yaml"), "--energy", energy]
    more = {"map": ["--layer", "a", "--quick"]}.get(command, [])
    done = CliRunner().invoke(app, [*asked, *more])
    assert done.exit_code == 0, done.output
    said = done.stdout.splitlines()[line]
    what = "in normalised units" if energy == "normalized" else "of hwflow's components of the same kind and size"
    assert said == f"Energies are {what}, not of the files' classes: --energy accelergy has Accelergy characterise those."


def test_chips_of_hwflows_own_have_no_such_line(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("name: one\nlayers: [{name: a, C: 4, M: 6, P: 8, Q: 8, R: 3, S: 3}]\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["estimate", str(tmp_path / "one.yaml"), "-a", "eyeriss"])
    assert "characterise those" not in done.stdout

"""One design in every spelling and place that Timeloop's parsers know: hwflow reads one chip, Timeloop gives equal numbers.

Each table names the file of Timeloop (NVlabs/timeloop, 4cf6d4c of 2025-03-31) that it was made from.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import hwflow
from hwflow.cost import mid
from hwflow.errors import InputError
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.timeloop.engine import Native
from hwflow.timeloop.importer.keywords import HYPHENATED, underscored
from hwflow.timeloop.render import SearchSettings, render
from hwflow.timeloop.run import run_timeloop
from hwflow.timeloop.stats import Stats, read_stats

LAYER = Layer("conv", C=16, M=32, P=8, Q=8, R=3, S=3)
SAME = ("hierarchy", "places", "limits", "clusters", "unit", "technology_nm", "clock_mhz", "unpriced", "refusals")

DESIGN = """
architecture:
  version: 0.4
  subtree:
  - name: system
    attributes: {technology: "45nm", global_cycle_seconds: 1.0e-9}
    local:
    - {name: memory, class: DRAM, attributes: {type: LPDDR4, width: 64, word_bits: 8, shared_bandwidth: 8}}
    - {name: buffer, class: smartbuffer_SRAM, attributes: {BUFFER}}
    - {name: "regs[1..16]", class: regfile, attributes: {depth: 64, width: 8, word_bits: 8, meshX: 16}}
    - {name: "mac[1..16]", class: intmac, attributes: {word_bits: 8, meshX: 16}}
variables: {deep: 512, wide: deeper, deeper: 8, order: C=1 M=1 N=1, number: 3.5}
"""
BUFFER = (
    "word_bits: 8, block_size: 4, width: 32, depth: 512, num_banks: 4, num_ports: 2, read_bandwidth: 3, write_bandwidth: 3, "
    "multiple_buffering: 2.0, reduction_supported: true"
)
CONSTRAINTS = """
- {target: buffer, type: spatial, factors: N=1 P=1 Q=1 R=1 S=1 M=1, permutation: CMNPQRS}
- {target: buffer, type: bypass, bypass: [Weights]}
- {target: regs, type: temporal, factors: C=1 M=1 N=1 P=1 Q=1, permutation: RS}
"""


def design(buffer: str = BUFFER) -> str:
    return DESIGN.replace("BUFFER", buffer)


def chip(text: str, folder: Path) -> TimeloopAccelerator:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return hwflow.from_timeloop(folder / "mine.yaml")


def table(accelerator: TimeloopAccelerator) -> EnergyTable:
    """A different number for every action."""
    parts = {m.name: PartEnergy(3.0 + i, 5.5 + i, 7.25 + i, leak=0.01 * (i + 1)) for i, m in enumerate(accelerator.memories)}
    return EnergyTable("pJ", "invented", parts | {accelerator.mac.name: PartEnergy(compute=1.5)})


def mapped(accelerator: TimeloopAccelerator) -> Mapping:
    return mid.map_layer(LAYER, accelerator, constrain(accelerator), table(accelerator)).mapping


def by_hand(text: str, accelerator: TimeloopAccelerator, mapping: Mapping) -> Stats:
    """What timeloop-model makes of the user's own text, which hwflow did not touch."""
    files = render(LAYER, accelerator, (), table(accelerator), mapping=mapping)
    files = {"architecture.yaml": text, **{name: body for name, body in files.items() if name != "architecture.yaml"}}
    return run_timeloop(files, Native(), 60.0, lambda folder: read_stats(folder, "timeloop-model"), LAYER.name)[0]


# Words with hyphens (compound-config/hyphens-to-underscores.hpp) -----------------------------------------------------


@pytest.mark.parametrize("word", HYPHENATED)
def test_every_word_is_read_with_hyphens(word: str) -> None:
    hyphenated = word.replace("_", "-")
    assert len(HYPHENATED) == 74
    if word in ("network_word_bits", "payload_word_bits"):  # word-bits comes first in Timeloop's list
        assert underscored(f"{hyphenated}: 1") == f"{hyphenated.removesuffix('word-bits')}word_bits: 1"
    else:
        assert underscored(f"a: {hyphenated}\n{hyphenated}: 1") == f"a: {word}\n{word}: 1"


@pytest.mark.parametrize("text", ["my-block-size-s: 1", "block-size->x", "block-size.hpp", "block-sizes: 1", "-block-: 1"])
def test_what_only_looks_like_a_word_stays(text: str) -> None:
    assert underscored(text) == text


# Attributes (model/buffer.cpp, BufferLevel::ParseSpecs; model/arithmetic.cpp) ----------------------------------------

ATTRIBUTES = {
    "word-bits": ("word_bits: 8", "word-bits: 8"),
    "word_width": ("word_bits: 8", "word_width: 8"),
    "datawidth": ("word_bits: 8", "datawidth: 8"),
    "word_bits is the first of three": ("word_bits: 8", "datawidth: 4, word_width: 2, word_bits: 8"),
    "block-size": ("block_size: 4", "block-size: 4"),
    "n_words": ("block_size: 4", "n_words: 4"),
    "cluster-size": ("block_size: 4", "cluster-size: 1"),
    "the block follows from the width": ("block_size: 4, ", ""),
    "memory_width": ("width: 32", "memory_width: 32"),
    "data_storage_width": ("width: 32", "data_storage_width: 32"),
    "the block alone": ("width: 32, ", ""),
    "memory_depth": ("depth: 512", "memory_depth: 512"),
    "data_storage_depth": ("depth: 512", "data_storage_depth: 512"),
    "entries": ("depth: 512", "entries: 2048"),
    "entries before depth": ("depth: 512", "depth: 16, entries: 2048"),
    "sizeKB": ("depth: 512", "sizeKB: 2"),
    "num-banks": ("num_banks: 4", "num-banks: 4"),
    "n_banks": ("num_banks: 4", "n_banks: 4"),
    "num-ports": ("num_ports: 2", "num-ports: 2"),
    "n_ports": ("num_ports: 2", "n_ports: 2"),
    "bandwidth of both": ("read_bandwidth: 3, write_bandwidth: 3", "bandwidth: 6"),
    "bandwidth is overruled": ("read_bandwidth: 3", "bandwidth: 60, read_bandwidth: 3"),
    "multiple-buffering": ("multiple_buffering: 2.0", "multiple-buffering: 2.0"),
    "min-utilization of nothing": ("num_banks: 4", "num_banks: 4, min-utilization: 0"),
    "instances": ("num_banks: 4", "num_banks: 4, instances: 1, meshX: 1, meshY: 1"),
    "a variable": ("depth: 512", "depth: deep"),
    "a variable of a variable": ("word_bits: 8", "word_bits: wide"),
    "scales of 1": ("num_banks: 4", "num_banks: 4, per_dataspace_bandwidth_consumption_scale: {Weights: 1, Inputs: 1.0}"),
    "hexadecimal": ("depth: 512", "depth: 0x200"),
    "reduction is supported": (", reduction_supported: true", ""),
    "metadata of dense tensors": (
        "num_banks: 4",
        "num_banks: 4, metadata_storage_width: 16, metadata_datawidth: 4, metadata_block_size: 2, metadata_depth: 8, "
        "compression_supported: true, decompression_supported: true, concordant_compressed_tile_traversal: true",
    ),
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_attributes_in_every_spelling_are_one_chip(case: str, tmp_path: Path) -> None:
    old, new = ATTRIBUTES[case]
    assert old in BUFFER
    plain, other = chip(design(), tmp_path), chip(design(BUFFER.replace(old, new)), tmp_path)
    for field in SAME:
        assert getattr(other, field) == getattr(plain, field), field
    assert not any("means nothing to Timeloop" in note for note in other.notes)


@pytest.mark.timeloop
@pytest.mark.parametrize("case", ATTRIBUTES)
def test_timeloop_itself_reads_them_alike(case: str, tmp_path: Path) -> None:
    old, new = ATTRIBUTES[case]
    accelerator = chip(design(), tmp_path)
    mapping = mapped(accelerator)
    stats = by_hand(design(BUFFER.replace(old, new)), accelerator, mapping)
    ours = mid.analyse(LAYER, accelerator, mapping, table(accelerator))
    assert (stats.cycles, stats.energy) == (ours.cycles, pytest.approx(ours.energy, rel=1e-4))


DEFAULTS = [
    ("attributes: {BUFFER}", "depth: 512", "depth: 512, word_bits: 16, block_size: 1, num_banks: 2"),
    ("attributes: {BUFFER}", "depth: 512, width: 64", "depth: 512, width: 64, word_bits: 16, block_size: 4, cluster_size: 1"),
    ("attributes: {BUFFER}", "depth: 512, cluster_size: 2, width: 64", "depth: 512, width: 64, block_size: 2, cluster_size: 2"),
    ("attributes: {BUFFER}", "depth: 512, block_size: 2, width: 32", "depth: 512, block_size: 2, cluster_size: 1"),
]


@pytest.mark.parametrize(("place", "short", "long"), DEFAULTS)
def test_what_is_not_said_is_as_in_timeloop(place: str, short: str, long: str, tmp_path: Path) -> None:
    one, other = (chip(DESIGN.replace(place, f"attributes: {{{text}}}"), tmp_path) for text in (short, long))
    for field in SAME:
        assert getattr(one, field) == getattr(other, field), field


def test_a_component_without_attributes_has_them_beside_its_name(tmp_path: Path) -> None:
    """`BufferLevel::ParseSpecs` reads the component itself where it has none."""
    flat = DESIGN.replace("attributes: {BUFFER}", BUFFER)
    assert chip(flat, tmp_path).hierarchy == chip(design(), tmp_path).hierarchy


# Places of constraints (applications/mapper/mapper.cpp) and their forms (mapping/constraints.cpp, Parse) -------------


def placed(place: str) -> str:
    lists = {n: "\n".join(" " * n + line for line in CONSTRAINTS.strip().splitlines()) for n in (2, 4)}
    inside = f"  constraints:\n{lists[2]}\nvariables:"
    return {
        "architecture.constraints": design().replace("variables:", inside),
        "architecture.constraints.targets": design().replace(
            "variables:", f"  constraints:\n    targets:\n{lists[4]}\nvariables:"
        ),
        "the innermost subtree": design().replace("variables:", f"    constraints:\n{lists[4]}\nvariables:"),
        "arch and its constraints": design().replace("variables:", inside).replace("architecture:", "arch:"),
        "arch_constraints": f"{design()}arch_constraints:\n{lists[2]}\n",
        "arch_constraints.targets": f"{design()}arch_constraints:\n  targets:\n{lists[2]}\n",
        "architecture_constraints": f"{design()}architecture_constraints:\n{lists[2]}\n",
        "architecture_constraints.constraints": f"{design()}architecture_constraints:\n  constraints:\n{lists[2]}\n",
        "mapspace": f"{design()}mapspace:\n{lists[2]}\n",
        "mapspace.constraints": f"{design()}mapspace:\n  template: uber\n  constraints:\n{lists[2]}\n",
        "mapspace.targets": f"{design()}mapspace:\n  targets:\n{lists[2]}\n",
        "mapspace by name": f"{design()}mapspace:\n  constraints: own\n  constraints_own:\n{lists[2]}\n",
        "mapspace_constraints": f"{design()}mapspace_constraints:\n{lists[2]}\n",
        "mapspace_constraints.targets": f"{design()}mapspace_constraints:\n  version: 0.4\n  targets:\n{lists[2]}\n",
        "two that add up": f"{design()}arch_constraints:\n{lists[2].splitlines()[0]}\nmapspace:\n"
        + "\n".join(lists[2].splitlines()[1:]),
    }[place]


PLACES = (
    *("architecture.constraints", "architecture.constraints.targets", "arch and its constraints", "the innermost subtree"),
    *(
        "arch_constraints",
        "arch_constraints.targets",
        "architecture_constraints.constraints",
        "mapspace",
        "mapspace.constraints",
    ),
    *("mapspace.targets", "mapspace by name", "mapspace_constraints", "mapspace_constraints.targets", "two that add up"),
)


@pytest.mark.parametrize("place", PLACES)
def test_constraints_are_found_in_every_place(place: str, tmp_path: Path) -> None:
    plain, other = chip(placed("architecture_constraints"), tmp_path), chip(placed(place), tmp_path)
    for field in (*SAME, "targets", "architecture"):
        assert getattr(other, field) == getattr(plain, field), field
    assert plain.limits != chip(design(), tmp_path).limits


FORMS = {
    "C==1": ("factors: C=1 M=1 N=1", "factors: C==1 M = 1 N 1"),
    "without a sign": ("factors: C=1 M=1 N=1", "factors: C1 M1 N1"),
    "at most 1": ("factors: C=1 M=1 N=1", "factors: C<=1 M<=1 N=1 R>=1"),
    "with commas": ("factors: C=1 M=1 N=1 P=1 Q=1", 'factors: "C=1,M=1,N=1, P=1,Q=1"'),
    "a comment": ("factors: C=1 M=1 N=1 P=1 Q=1", 'factors: "C=1 M=1 N=1 P=1 Q=1 # not R=1"'),
    "a comment after a permutation": ("permutation: RS", 'permutation: "RS # the window"'),
    "spaces in a permutation": ("permutation: RS", "permutation: R S"),
    "name": ("{target: regs", "{name: regs"),
    "datatype": ("type: bypass", "type: datatype"),
    "bypassing": ("type: bypass", "type: bypassing"),
    "dataspace": ("type: bypass", "type: dataspace"),
    "attributes": (
        "factors: C=1 M=1 N=1 P=1 Q=1, permutation: RS",
        "attributes: {factors: C=1 M=1 N=1 P=1 Q=1, permutation: RS}",
    ),
    "constraints of a target": (
        "{target: regs, type: temporal, factors: C=1 M=1 N=1 P=1 Q=1, permutation: RS}",
        "{target: regs, constraints: [{type: temporal, factors: C=1 M=1 N=1 P=1 Q=1}, {type: temporal, permutation: RS}]}",
    ),
    "two of one level": (
        "{target: regs, type: temporal, factors: C=1 M=1 N=1 P=1 Q=1, permutation: RS}",
        "{target: regs, type: temporal, factors: N=1 P=1 Q=1}\n  - "
        "{target: regs, type: temporal, factors: C=1 M=1, permutation: RS}",
    ),
    "a variable": ("factors: C=1 M=1 N=1 P=1 Q=1", "factors: order"),
}


@pytest.mark.parametrize("form", FORMS)
def test_constraints_are_read_in_every_form(form: str, tmp_path: Path) -> None:
    text = placed("architecture_constraints")
    old, new = FORMS[form]
    if form == "a variable":
        text = text.replace("order: C=1 M=1 N=1", "order: C=1 M=1 N=1 P=1 Q=1")
    assert old in text
    plain, other = chip(text, tmp_path), chip(text.replace(old, new), tmp_path)
    for field in SAME:
        assert getattr(other, field) == getattr(plain, field), field


@pytest.mark.timeloop
@pytest.mark.parametrize("place", ["architecture_constraints", *PLACES[3:]])
def test_timeloop_itself_finds_them_there(place: str, tmp_path: Path) -> None:
    """Its mapper finds a mapping that keeps no weights in the buffer and has only R and S in the registers."""
    text = placed(place)
    accelerator = chip(text, tmp_path)
    files = render(LAYER, accelerator, (), table(accelerator), search=SearchSettings(victory_condition=20, threads=1))
    del files["constraints.yaml"]
    files["architecture.yaml"] = text
    if "mapspace" in place:  # Timeloop reads one section of these
        files["mapper.yaml"] = files["mapper.yaml"].replace("mapspace:", "not_mapspace:")
    found = run_timeloop(
        files,
        Native(),
        120.0,
        lambda folder: Mapping.from_timeloop(folder / "timeloop-mapper.map.yaml", LAYER, accelerator),
        LAYER.name,
    )[0]
    levels = {mapped.level: mapped for mapped in found.levels}
    assert "weights" not in levels["buffer"].keeps
    assert {loop.dim for loop in levels["regs"].temporal} <= {"R", "S", "G"}
    assert {loop.dim for loop in levels["buffer"].spatial} <= {"C", "G"}


def test_where_timeloop_looks_in_vain_is_told(tmp_path: Path) -> None:
    """In a tree it sees the innermost subtree for the architecture (model/topology.cpp, ParseTreeSpecs); 4cf6d4c does so."""
    for place in PLACES[:3]:
        assert any("timeloop-mapper passes over it" in note for note in chip(placed(place), tmp_path).notes)
    assert not any("passes over" in note for note in chip(placed("the innermost subtree"), tmp_path).notes)


# What Timeloop would pass over, or stops at --------------------------------------------------------------------------

PASSED_OVER = {
    "a second place": (
        "mapspace:\n  targets: [{target: regs, type: temporal, factors: R=1}]\nmapspace_constraints: "
        "[{target: regs, type: temporal, factors: S=1}]",
        "mapspace_constraints: constraints of one kind stand both in mapspace: and here; Timeloop refuses that",
    ),
    "constraints in another subtree": (
        "",
        "system.constraints: Timeloop reads only subtree there, and local in a subtree. "
        "Constraints stand in a section architecture_constraints:, or in the innermost subtree.",
    ),
    "two of the architecture's places": (
        "arch_constraints: [{target: regs, type: temporal, factors: R=1}]\narchitecture_constraints: "
        "[{target: regs, type: temporal, factors: S=1}]",
        "stand both in arch_constraints: and here; Timeloop reads the first alone",
    ),
    "a section of no name of Timeloop's": (
        "constraints: [{target: regs, type: temporal, factors: R=1}]",
        "constraints: Timeloop does not read it beside a native architecture",
    ),
    "constraints and targets": (
        "mapspace: {constraints: [{target: regs, type: temporal, factors: R=1}], targets: [{target: regs}]}",
        "has constraints and targets, of which Timeloop reads the first alone",
    ),
    "a list that is not there": ("mapspace: {constraints: own}", "there is no list constraints_own beside it"),
    "factors beside attributes": (
        "mapspace: [{target: regs, type: temporal, factors: R=1, attributes: {permutation: RS}}]",
        "factors is beside attributes:, where Timeloop does not read it",
    ),
    "split in attributes": (
        "mapspace: [{target: buffer, type: spatial, attributes: {factors: R=1, split: 2}}]",
        "split is in attributes:, where Timeloop does not read it",
    ),
    "a list of factors": (
        "mapspace: [{target: regs, type: temporal, factors: [R=1, S=1]}]",
        "factors is the list ['R=1', 'S=1'], which Timeloop does not read in a native file; write a text",
    ),
    "a target by number": ("mapspace: [{target: 0, type: temporal, factors: R=1}]", "unknown target in the constraints"),
    "a factor twice": (
        "mapspace: [{target: regs, type: temporal, factors: R=1}]\narch_constraints: "
        "[{target: regs, type: temporal, factors: R=1}]",
        "two temporal constraints of regs both set R=. Remove one of them: Timeloop stops there",
    ),
    "a permutation twice": (
        "mapspace: [{target: regs, type: temporal, permutation: RS}, {target: regs, type: temporal, permutation: SR}]",
        "two temporal constraints of regs both set permutation",
    ),
    "a tensor twice": (
        "mapspace: [{target: regs, type: bypass, keep: [Weights]}, {target: regs, type: bypass, keep: [Weights]}]",
        "say twice what regs does with Weights. Remove one of them: Timeloop stops there",
    ),
    "a tensor kept and bypassed": (
        "mapspace: [{target: regs, type: bypass, keep: [Weights]}, {target: regs, type: bypass, bypass: [Weights]}]",
        "regs must both keep and bypass Weights",
    ),
    "a dimension twice in a permutation": (
        "mapspace: [{target: regs, type: temporal, permutation: RSR}]",
        "permutation is 'RSR'; each dimension has one place in it",
    ),
    "no fan-out": (
        "mapspace: [{target: memory, type: spatial, factors: R=1}]",
        "memory has a spatial constraint, but no fan-out: the next level has as many instances",
    ),
    "arch and architecture": ("arch: {version: 0.4}", "architecture: (or arch:) appears twice"),
    "a variable of itself": ("variables: {deep: deep}", "'deep' names itself"),
}


@pytest.mark.parametrize("case", PASSED_OVER)
def test_what_timeloop_would_pass_over_is_an_error(case: str, tmp_path: Path) -> None:
    more, words = PASSED_OVER[case]
    text = design(BUFFER.replace("depth: 512", "depth: deep"))
    if not more:
        text = design().replace("    local:", "    constraints: []\n    subtree: [{name: inner, local: []}]\n    local:")
    if more.startswith("variables"):
        text = text[: text.index("variables:")]
    with pytest.raises(InputError, match=r"mine\.yaml") as error:
        chip(f"{text}{more}\n", tmp_path)
    assert words in str(error.value)


UNKNOWN = {
    "a key of the architecture": (
        "  version: 0.4\n",
        "  version: 0.4\n  storage: []\n",
        "architecture.storage: Timeloop reads only subtree there",
    ),
    "a misspelt one": (
        "  version: 0.4\n",
        "  version: 0.4\n  constraint: []\n",
        "architecture.constraint: Timeloop reads only subtree there",
    ),
    "constraints in a subtree": (
        "    local:\n",
        "    constraint: []\n    local:\n",
        "system.constraint: Timeloop reads only subtree there",
    ),
    "a component that is off": ("class: regfile,", "class: regfile, enabled: false,", "regs.enabled is False, which Timeloop"),
    "sizes in two ways": ("depth: 512", "depth: 512, sizeKB: 2", "buffer has sizeKB and depth; give one"),
    "three ports": ("num_ports: 2", "num_ports: 3", "buffer: its ports are 3; Timeloop knows 1 and 2"),
    "no version": ("  version: 0.4\n", "", "architecture.version is ''; hwflow reads 0.2, 0.3, 0.4 of native files"),
    "the first format": (
        "  version: 0.4\n  subtree:",
        "  arithmetic: {}\n  storage: []\n  subtree:",
        "which is Timeloop's first format",
    ),
    "an expression": ("depth: 512", "depth: deep * 2", "buffer.depth is 'deep * 2'; it must be a whole number"),
    "a variable that is no whole number": ("depth: 512", "depth: number", "buffer.depth is 3.5; it must be a whole number"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_the_native_form_does_not_know_is_an_error(case: str, tmp_path: Path) -> None:
    old, new, words = UNKNOWN[case]
    assert old in design()
    with pytest.raises(InputError) as error:
        chip(design().replace(old, new, 1), tmp_path)
    assert words in str(error.value)


@pytest.mark.parametrize("version", ["0.2", "0.3", '"0.4"'])
def test_trees_of_older_versions_are_read_alike(version: str, tmp_path: Path) -> None:
    """`model/engine.cpp`: 0.2, 0.3 and 0.4 are one format there."""
    assert (
        chip(design().replace("version: 0.4", f"version: {version}"), tmp_path).hierarchy == chip(design(), tmp_path).hierarchy
    )


# Sections (applications/*, compound-config.cpp) ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("problem: {instance: {C: 3}}", "problem: left out, the layers are the network's"),
        ("mapping: [{target: regs, type: temporal, factors: R=3}]", "mapping: left out, hwflow searches for mappings"),
        ("mapper: {victory-condition: 3}", "mapper: left out, searches take hwflow's settings"),
        ("mapspace: {template: ruby}", "mapspace: left out, searches take hwflow's settings"),
        ("model: {verbose: true}", "model: left out, hwflow sets timeloop-model up by itself"),
        ("ERT: {version: 0.4}", "ERT: left out, energies are those of --energy"),
        ("ART: {version: 0.4}", "ART: left out, areas are those of --energy"),
        ("globals: {version: 0.4}", "globals: left out, hwflow sets Timeloop's environment"),
        (
            "architecture_constraint: []\nmaper: {a: 1}",
            "maper: left out, neither Timeloop nor hwflow knows such a section; did you mean",
        ),
    ],
)
def test_sections_that_are_left_out_are_told(section: str, why: str, tmp_path: Path) -> None:
    found = chip(f"{design()}{section}\n", tmp_path)
    assert any(why in note for note in found.notes), found.notes
    assert found.hierarchy == chip(design(), tmp_path).hierarchy


def test_a_layout_of_banks_is_fines_alone(tmp_path: Path) -> None:
    found = chip(f"{design()}layout: [{{target: buffer, type: interline, factors: C=4}}]\n", tmp_path)
    assert found.refusals == ("layout: it counts no conflicts of banks",)
    assert "interline" in found.extra["layout.yaml"]


@pytest.mark.parametrize("key", ["architecture", "arch"])
def test_an_architecture_given_as_an_accelerator_is_sent_to_the_right_option(key: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(design().replace("architecture:", f"{key}:"), encoding="utf-8")
    with pytest.raises(InputError, match="give it with --timeloop-arch"):
        hwflow.Accelerator.load(tmp_path / "mine.yaml")

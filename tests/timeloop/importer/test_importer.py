"""Timeloop's own files as accelerators: reading, lowering, deriving, and what is refused with which words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hwflow
from hwflow.cli import app
from hwflow.cost import energy_sources, mid
from hwflow.cost.energy_sources import energy_table
from hwflow.errors import InputError
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import Bits, Layer
from hwflow.mapping import Mapping
from hwflow.timeloop.importer.expressions import Unreadable, value_of
from hwflow.timeloop.importer.source_files import read_files
from hwflow.timeloop.importer.written_architecture import directives_of, mapping_of
from hwflow.timeloop.render import SearchSettings, render
from hwflow.timeloop.stats import read_mapping

DESIGNS = Path(__file__).parents[2] / "data" / "timeloop_designs"
OFFICIAL = ("eyeriss_like", "simba_like", "simple_weight_stationary", "simple_output_stationary")
NATIVE = (DESIGNS / "two_forms_native.yaml").read_text(encoding="utf-8")
NODES = (DESIGNS / "two_forms_nodes.yaml").read_text(encoding="utf-8")
LAYER = Layer("conv", C=16, M=24, P=14, Q=14, R=3, S=3)
SAME = ("hierarchy", "places", "limits", "clusters", "unit", "technology_nm", "clock_mhz", "unpriced", "refusals")


def chip(name: str) -> TimeloopAccelerator:
    return hwflow.from_timeloop(DESIGNS / f"{name}.yaml")


def brought(text: str, folder: Path, *replaced: tuple[str, str]) -> TimeloopAccelerator:
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new, 1)
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return hwflow.from_timeloop(folder / "mine.yaml")


def test_files_of_constraints_must_have_some(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("architecture_constraint: {targets: []}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"none\.yaml: no constraints in it\. Give the file with"):
        hwflow.from_timeloop(DESIGNS / "two_forms_native.yaml", constraints=tmp_path / "none.yaml")


def test_a_folder_without_files_and_a_file_without_content(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no \*\.yaml in this folder"):
        hwflow.from_timeloop(tmp_path)
    with pytest.raises(InputError, match=r"mine\.yaml is empty; Timeloop's input is a mapping of sections"):
        brought("", tmp_path)


# Two forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OFFICIAL)
def test_hwflow_lowers_the_official_designs_as_pytimeloop_does(name: str, tmp_path: Path) -> None:
    lowered = json.loads(gzip.decompress((DESIGNS / "lowered.json.gz").read_bytes()))[name]
    theirs = brought(json.dumps(lowered), tmp_path)
    for field in SAME:
        assert getattr(chip(name), field) == getattr(theirs, field), field


def test_both_forms_are_one_chip() -> None:
    nodes, native = chip("two_forms_nodes"), chip("two_forms_native")
    for field in SAME:
        assert getattr(nodes, field) == getattr(native, field), field
    assert [part.name for part in nodes.hierarchy] == ["DRAM", "buffer", "column", "weights", "sums", "mac"]
    assert nodes.dram.word_bits == 8
    assert nodes.words_per_cycle(nodes.dram) == 6.4
    assert nodes.mac_units == 6
    assert set(nodes.limits["inter_column_spatial"].spatial) == {"C", "G", "M", "Q"}
    assert nodes.limits["weights"].innermost == ("R", "S")
    assert nodes.limits["sums"].temporal == ()


def test_what_the_official_designs_are() -> None:
    eyeriss, simba = chip("eyeriss_like"), chip("simba_like")
    assert [level.name for level in eyeriss.levels] == [
        *("DRAM", "shared_glb", "inter_PE_column_spatial", "inter_PE_spatial", "ifmap_spad", "weights_spad", "psum_spad")
    ]
    assert [(level.fanout, level.axis) for level in eyeriss.levels][2:4] == [(14, "X"), (12, "Y")]
    assert eyeriss.limits["psum_spad"].temporal == ("G", "M")
    assert simba.clusters == {"PEWeightRegs": 64}
    assert {level.name: level.cluster for level in simba.levels}["PEWeightRegs"] == 64
    assert not eyeriss.refusals
    assert not simba.refusals


def test_an_axis_that_nothing_can_use_is_told() -> None:
    """The official simple designs use 16 of their 256 PEs: pytimeloop puts fixed dimensions before the split."""
    accelerator = chip("simple_weight_stationary")
    assert any("no dimension can lie on its meshX of 16" in note for note in accelerator.notes)
    found = mid.map_layer(LAYER, accelerator, constrain(accelerator), normalized(accelerator.physical))
    assert found.cost.utilization is not None
    assert found.cost.utilization <= 1 / 16


def test_files_can_lie_apart_and_include_one_another(tmp_path: Path) -> None:
    head, _, tail = NODES.partition("architecture:\n")
    variables = head.partition("variables:")[2].strip()
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "a.yaml").write_text(f"variables: {variables}\n", encoding="utf-8")
    (parts / "b.yaml").write_text(f"architecture:\n{tail}", encoding="utf-8")
    top = tmp_path / "top.yaml.jinja2"
    top.write_text("architecture: {{ include('parts/b.yaml', 'architecture') }}\n", encoding="utf-8")
    whole = chip("two_forms_nodes")
    for files in ([parts / "b.yaml", parts / "a.yaml"], [parts], [top, parts / "a.yaml"]):
        assert hwflow.from_timeloop(files).hierarchy == whole.hierarchy


def test_constraints_can_come_from_another_file(tmp_path: Path) -> None:
    plain, _, constraints = NATIVE.partition("architecture_constraints:\n")
    (tmp_path / "arch.yaml").write_text(plain, encoding="utf-8")
    (tmp_path / "constraints.yaml").write_text(f"mapspace_constraints:\n{constraints}", encoding="utf-8")
    found = hwflow.from_timeloop(tmp_path / "arch.yaml", constraints=tmp_path / "constraints.yaml")
    assert found.limits == chip("two_forms_native").limits
    assert found.name == tmp_path.name


# Using it ------------------------------------------------------------------------------------------------------------


def test_its_identity_is_its_content(tmp_path: Path) -> None:
    one, same = chip("two_forms_native"), brought(NATIVE, tmp_path)
    assert one.fingerprint == same.fingerprint
    other = brought(NATIVE, tmp_path, ("attributes: {width: 1, depth: 1, datawidth: 1}", "attributes: {width: 2, depth: 1}"))
    assert other.fingerprint != one.fingerprint  # nothing that mid sees, but Timeloop's input
    assert other.hierarchy == one.hierarchy


def test_fine_runs_the_architecture_as_it_is_written() -> None:
    accelerator = chip("eyeriss_like")
    table = energy_table(accelerator, store=None)
    best = mid.map_layer(LAYER, accelerator, constrain(accelerator), table)
    files = render(LAYER, accelerator, (), table, mapping=best.mapping)
    assert files["architecture.yaml"] == accelerator.architecture
    assert "update_fifo_depth: 2" in files["architecture.yaml"]
    assert "inter_PE_column_spatial" in files["mapping.yaml"]
    assert all(f"{name}[1..168]" in files["ERT.yaml"] for name in ("ifmap_spad", "mac"))
    searched = render(LAYER, accelerator, constrain(accelerator), table, search=SearchSettings())
    assert 'target: "psum_spad"' in searched["constraints.yaml"]
    assert "NCPQRSM" in searched["constraints.yaml"]


@pytest.mark.parametrize("name", [*OFFICIAL, "two_axes", "many_fanouts"])
def test_a_mapping_survives_the_way_through_timeloops_levels(name: str, tmp_path: Path) -> None:
    accelerator = chip(name).model_copy(update={"refusals": ()})
    best = mid.map_layer(LAYER, accelerator, constrain(accelerator), normalized(accelerator.physical))
    entries = directives_of(best.mapping, accelerator)
    assert mapping_of(entries, accelerator) == best.mapping
    (tmp_path / "timeloop-mapper.map.yaml").write_text(json.dumps({"mapping": entries}), encoding="utf-8")
    assert read_mapping(tmp_path, LAYER, accelerator) == best.mapping
    assert Mapping.from_directives(best.mapping.directives(), accelerator) == best.mapping


def test_energies_say_whose_they_are() -> None:
    accelerator = chip("simba_like")
    table = energy_table(accelerator, "fitted", store=None)
    assert "of hwflow's own components, not of the files' classes" in table.source
    registers = table.parts["PEWeightRegs"]  # one array of 512 bit for 64 instances
    assert registers.read == energy_sources.energy_table(accelerator.physical, "fitted", store=None).parts["PEWeightRegs"].read
    assert accelerator.physical["PEWeightRegs"].width_bits == 512  # type: ignore[union-attr]


def test_an_unknown_class_has_no_fitted_energies(tmp_path: Path) -> None:
    accelerator = brought(NATIVE, tmp_path, ("subclass: smartbuffer_RF", "subclass: my_cells"))
    table = energy_table(accelerator, store=None)
    assert table.unit == "normalized"
    assert "the class 'my_cells' of weights is none that hwflow knows energies of" in table.source
    with pytest.raises(InputError, match="my_cells"):
        energy_table(accelerator, "fitted", store=None)


def test_what_the_files_say_cannot_be_set() -> None:
    accelerator = chip("two_forms_native")
    with pytest.raises(InputError, match=r"comes from Timeloop's files, so buffer\.size_kib cannot be set"):
        accelerator.with_({"buffer.size_kib": 4})
    with pytest.raises(InputError, match="change datawidth in the files"):
        accelerator.with_bits(Bits(8, 8, 8))
    with pytest.raises(InputError, match="are those of its Timeloop files"):
        constrain(accelerator, "flexible")


def test_a_container_whose_name_is_none_for_hwflow(tmp_path: Path) -> None:
    found = brought(NODES, tmp_path, ("name: column", "name: 2nd"))
    assert [part.name for part in found.hierarchy][2] == "inter_2nd_spatial"


def test_names_of_attributes_are_texts(tmp_path: Path) -> None:
    found = brought(NATIVE, tmp_path, ("n_banks: 4", "n_banks: 4, 7: seven"))
    assert found.written["buffer"].attributes["7"] == "seven"
    assert found.fingerprint != chip("two_forms_native").fingerprint


def test_nothing_beside_parallel_memories_can_say_what_it_keeps_by_a_macro(tmp_path: Path) -> None:
    found = brought(
        NODES, tmp_path, ("!Nothing {constraints: {dataspace: {keep:", "!Nothing {constraints: {dataspace: {keep_only:")
    )
    assert found.hierarchy == chip("two_forms_nodes").hierarchy


def test_merged_keys(tmp_path: Path) -> None:
    word = ("word: 8,", "sizes: &all {datawidth: word, width: 16, depth: 96},\n  word: 8,")
    merged = ("{datawidth: word, width: 16, depth: 96, read", "{<<: [*all, *all], width: 32, read")
    found = brought(NODES, tmp_path, word, merged)
    assert found["weights"].size_words == 96 * 4  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"mine\.yaml, line \d+, column \d+ is not valid YAML: the key 'width' appears twice"):
        brought(NODES, tmp_path, word, (merged[0], merged[1].replace("width", "width: 8, width")))


def test_merges_of_merges_are_read_at_once(tmp_path: Path) -> None:
    merges = "".join(f"m{n + 1}: &m{n + 1} {{<<: [{f'*m{n}, ' * 9}], k{n}: 1}}\n" for n in range(12))
    assert "m12" in str(brought(f"m0: &m0 {{k: 1}}\n{merges}{NATIVE}", tmp_path).notes)


def test_factors_are_read_in_linear_time(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"factors is 'N=1 P=1 Q  .*\.\.\.; it must be factors such as C=1"):
        brought(NATIVE, tmp_path, ("factors: N=1 P=1 Q=1,", f"factors: 'N=1 P=1 Q{' ' * 500_000}x',"))


# What mid refuses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        (
            ("permutation: RS}", "permutation: RS, no_reuse: [Weights]}"),
            "hwflow knows no no_reuse",
        ),
        (("factors: N=1 P=1 Q=1,", "factors: N=1 P=1 Q=1 R=3,"), "no fixed factors but 1, so not R=3"),
        (("factors: N=1 P=1 Q=1,", "factors: N=1 P=1 Q=1 R<=3,"), "no fixed factors but 1, so not R<=3"),
        (("permutation: RS}", "permutation: R_S}"), "no forced outermost loops, so not _S"),
        (("read_bandwidth: 2,", "read_bandwidth: 2, power_gated_at: x, network_read: n,"), "weights.network_read (=n)"),
        (("n_banks: 4", "n_banks: 4, min_utilization: 0.5"), "buffer.min_utilization (=0.5)"),
        (
            ("architecture_constraints:", "sparse_optimizations: {targets: [{name: x}]}\narchitecture_constraints:"),
            "sparse_opt",
        ),
    ],
)
def test_mid_refuses_what_would_change_its_numbers(replaced: tuple[str, str], words: str, tmp_path: Path) -> None:
    accelerator = brought(NATIVE, tmp_path, replaced)
    assert any(words in refusal for refusal in accelerator.refusals), accelerator.refusals
    with pytest.raises(InputError, match="mid cannot answer for it") as error:
        hwflow.estimate(hwflow.Network("one", (LAYER,)), accelerator, store=False)
    assert words in str(error.value)
    assert "--mapper timeloop" in str(error.value)
    assert hwflow.estimate(hwflow.Network("one", (LAYER,)), accelerator, level="coarse", store=False).level == "coarse"


def test_two_axes_of_one_fanout_are_refused_where_both_can_be_used(tmp_path: Path) -> None:
    text = (DESIGNS / "two_axes.yaml").read_text(encoding="utf-8")
    assert any("fan: one fan-out with two axes, both of which" in refusal for refusal in brought(text, tmp_path).refusals)
    assert not brought(text, tmp_path, ("permutation: CGMN, split: 2", "permutation: CGMN, split: 0")).refusals
    free = brought(text, tmp_path, (", permutation: CGMN, split: 2}", "}"))
    assert any("no split says which dimensions lie on X" in refusal for refusal in free.refusals)


def test_misspelt_attributes_and_widths_by_default_are_told(tmp_path: Path) -> None:
    found = brought(NATIVE, tmp_path, ("attributes: {datawidth: 8, width: 16", "attributes: {datawdith: 8, width: 16"))
    assert "weights.datawdith means nothing to Timeloop; did you mean datawidth?" in found.notes
    assert any("weights has no datawidth: its words are taken to have 16 bits" in note for note in found.notes)
    assert found["weights"].word_bits == 16  # type: ignore[union-attr]


def test_a_dram_without_bandwidth_is_told(tmp_path: Path) -> None:
    told = "DRAM has no bandwidth: it is infinitely fast, as in Timeloop"
    assert told in chip("eyeriss_like").notes
    assert chip("eyeriss_like").words_per_cycle(chip("eyeriss_like").dram) is None
    assert told not in chip("two_forms_native").notes


def test_variables_hold_for_the_native_form(tmp_path: Path) -> None:
    head = 'variables: {technology: "45nm", global_cycle_seconds: 2e-9}\n'
    found = brought(head + NATIVE, tmp_path, ('    attributes: {technology: "45nm", global_cycle_seconds: 2e-9}\n', ""))
    assert (found.technology_nm, found.clock_mhz) == (45, pytest.approx(500))


def test_a_whole_quotient_is_a_whole_number_for_timeloop(tmp_path: Path) -> None:
    found = brought(NODES, tmp_path, ("depth: 96", "depth: 192 / 2"))
    assert "depth: 96\n" in found.architecture
    assert found.hierarchy == chip("two_forms_nodes").hierarchy


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        (("version: 0.4", "version: 0.5"), "architecture.version is '0.5'; hwflow reads 0.2, 0.3, 0.4 of native files"),
        (("architecture:", "architektur:"), "none of the files has a section architecture:"),
        (("subtree:", "subtrees:"), "architecture has neither subtree: (native) nor nodes:"),
        (("class: regfile", "class: shelf"), "sums.class is 'shelf', neither a memory"),
        (("{target: sums, type: bypass", "{target: summs, type: bypass"), "Did you mean 'sums'?"),
        (("factors: N=1 P=1 Q=1,", "factors: N=1 P=1 K=1,"), "unknown dimension"),
        (("keep: [Outputs]", "keep: [Output]"), "Did you mean 'Outputs'?"),
        (("width: 16, depth: 96", "width: 20, depth: 96"), "weights.width (=20) is no whole multiple of its words of 8 bits"),
        (("width: 16, depth: 96", "width: 16, depth: many"), "weights.depth is 'many'; it must be a whole number"),
        (("width: 16, depth: 96", "width: 16"), "weights has no size"),
        (('technology: "45nm", ', ""), "the technology of buffer is ''"),
        (("global_cycle_seconds: 2e-9", "global_cycle_seconds: soon"), "global_cycle_seconds is 'soon'"),
        (("name: buffer", "name: sums"), "the name 'sums' appears twice"),
        (("PE[0..5]", "PE[5..0]"), "is no name of a component"),
        (("class: DRAM", "class: SRAM"), "DRAM has no size; give depth (and width), entries or sizeKB"),
        (("depth: 96", "depth: .inf"), "weights.depth is inf; it must be a whole number"),
        (("depth: 96", "depth: .nan"), "weights.depth is nan; it must be a whole number"),
        (("read_bandwidth: 2", f"read_bandwidth: 1{'0' * 400}"), "it must be a number above 0"),
        (("n_banks: 4", "n_banks: 4, instances: 0"), "buffer.instances is 0; it must be a whole number"),
        (("n_banks: 4", "n_banks: 4, instances: many"), "buffer.instances is 'many'; it must be a whole number"),
        (("global_cycle_seconds: 2e-9", "global_cycle_seconds: [1]"), "global_cycle_seconds is [1]"),
        (("class: regfile, attributes", "class: regfile, n_banks: 4, attributes"), "sums.n_banks is not known there"),
        (("factors: N=1 P=1 Q=1,", "factors: N=1 P=1 Q=word,"), "factors is 'N=1 P=1 Q=word'"),
        (("factors: N=1 P=1 Q=1,", "factors: N=1 P=1 Q=1.5,"), "factors is 'N=1 P=1 Q=1.5'"),
        (("keep: [Inputs, Outputs]", "keep: [Inputs, Weights]"), "buffer must both keep and bypass Weights"),
        (("  targets:", "  target:"), "has target; its constraints stand in a list, targets"),
        (("  subtree:", "  local: [{name: more, class: SRAM}]\n  subtree:"), "architecture.local stands outside of subtree:"),
        (("keep: [Outputs]", "keep: [{a: 1}]"), "unknown tensor in"),
        (("keep: [Outputs]", "keep: 16"), "constraint bypass of sums: keep is 16; it must be a list of tensors"),
        (("global_cycle_seconds: 2e-9", f"global_cycle_seconds: 1{'0' * 400}"), "global_cycle_seconds is 1000"),
        (("name: buffer", "nome: buffer"), "None is no name of a component"),
        (("class: smartbuffer_SRAM", "class: 4"), "buffer.class is 4; every component needs one"),
        (
            ("attributes: {datawidth: 16, width: 16, depth: 16}", "attributes: [16]"),
            "sums.attributes is [16]; it must be a mapping",
        ),
        (("- {target: buffer,", "- sums\n  - {target: buffer,"), "architecture_constraints: 'sums' is no constraint"),
        (
            ("  subtree:", f"  subtree: {[0] * 300}\n  other:"),
            f"subtree is {str([0] * 300)[:200]}...; it must be a list of one",
        ),
    ],
)
def test_errors_name_file_field_and_value(replaced: tuple[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        brought(NATIVE, tmp_path, replaced)
    assert words in str(error.value)
    assert "mine.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        (("  - !Parallel", "  - !Pipelined"), "!Pipelined is not known to hwflow. Lower the files with pytimeloop"),
        (("factors_only: [M=1]", "maximize_dims: [[M]]"), "maximize_dims is not known to hwflow's reader"),
        (("{keep: [Outputs]}", "{bypass: [Weights]}"), "none keeps Outputs"),
        (("spatial: {meshX: 6}", "spatial: {meshX: x}"), "column.spatial.meshX is 'x'"),
        (("  - !Container\n    name: column", "  - name: column"), "has no tag"),
        (("depth: ceil(15.5)", "depth: ceil(15.5 * rows)"), "sums.depth is 'ceil(15.5 * rows)'"),
        (("depth: ceil(15.5)", "depth: __import__('os').getpid()"), "sums.depth is"),
        (("class: intmac", "class: intmac, class: intmac"), "the key 'class' appears twice"),
        (("spatial: {meshX: 6}", "spatial: {meshX: .inf}"), "column.spatial.meshX is inf"),
        (("spatial: {meshX: 6}", "spatial: {meshX: 6, meshy: 2}"), "column.spatial names meshX, meshy"),
        (
            ("    constraints: {dataspace: {keep_only", "    constraint: {dataspace: {keep_only"),
            "buffer.constraint is not known",
        ),
        (("class: regfile", "class: regfile\n      energy_scale: 7"), "sums.energy_scale is not known to hwflow"),
        (("class: regfile", "class: regfile\n      enabled: word < 4"), "sums.enabled is 'word < 4'"),
        (
            ("  nodes:\n  - !Container {name: system", "  attributes: {x: 1}\n  nodes:\n  - !Container {name: system"),
            "architecture.attr",
        ),
        (("depth: ceil(15.5)", f"depth: {'*'.join(['2**255'] * 99)}"), "sums.depth is '2**255*"),
        (
            ("{keep: [Outputs]}", "{keep: [Outputs]}, bypass: {bypass: [Inputs]}"),
            "sums.constraints.bypass is another dataspace",
        ),
        (("{keep: [Outputs]}", "{keep: 0.5}"), "sums.constraints.dataspace.keep is 0.5; it must be a list of tensors"),
        (("{keep: [Outputs]}", "{keep: [Outputs, Output]}"), "Did you mean 'Outputs'?"),
        (("{keep: [Inputs]}", "[Inputs]"), "!Nothing.constraints is {'dataspace': ['Inputs']}; it must be a mapping by type"),
    ],
)
def test_errors_of_nodes(replaced: tuple[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        brought(NODES, tmp_path, replaced)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {{ include('../secret.yaml') }}", "outside of the folders of the files that were given"),
        ("a: {{ ''.__class__.__mro__ }}", "its template cannot be filled in"),
        ("a: {{ architecture }}", "'architecture' is undefined"),
        ("a: {{ include('none.yaml') }}", "which is 0 files"),
        ("a: {{ [].pop() }}", "pop from empty list"),
        ("a: {{ ''.encode('none') }}", "unknown encoding"),
        ("a: {{ 9 ** (9 ** (9 ** 9)) }}", "is too large"),
        ("a: {{ 'a' * 10 ** 12 }}", "'a' is no number"),
        ("a: {{ include('mine.yaml') }}", "includes itself"),
        ("- 1", "is a mapping of sections"),
        ("a: !Unknown {}", "is not valid YAML"),
    ],
)
def test_templates_are_kept_in_their_place(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("secret: 1\n", encoding="utf-8")
    folder = tmp_path / "own"
    folder.mkdir()
    with pytest.raises(InputError, match=r"mine\.yaml") as error:
        brought(text, folder)
    assert words in str(error.value)


@pytest.mark.parametrize("call", ["include({!r})", "include_all({!r})", "path_exists({!r})", "include({!r}, 'architecture')"])
@pytest.mark.parametrize(
    "name",
    [
        "../{}.yaml",
        "../{}/../{}.yaml",
        "../../{}",
        "{outside}/{}.yaml",
        "/{}/passwd",
        "../{}*",
        "../*/{}",
        "sub/../../{}.yaml",
        "link/{}.yaml",
        "link/{}*",
        "l*/{}.yaml",
        "*/{}.yaml",
    ],
)
def test_a_template_cannot_tell_what_lies_outside(call: str, name: str, tmp_path: Path) -> None:
    """The same answer for what is there and for what is not, but for the name."""
    outside, own = tmp_path / "outside", tmp_path / "outside" / "own"
    (own / "sub").mkdir(parents=True)
    for there in ("secret.yaml", "secret"):
        (outside / there).write_text("secret: 1\n", encoding="utf-8")
    (own / "link").symlink_to(outside)
    told = []
    for known in ("secret", "nobody"):
        text = call.format(name.format(known, known, outside=outside) if "{outside}" not in name else f"{outside}/{known}.yaml")
        with pytest.raises(InputError) as error:
            brought(f"a: {{{{ {text} }}}}", own)
        told.append(str(error.value).replace(known, "it"))
    assert told[0] == told[1]
    assert "which is outside of the folders of the files that were given; give that file, too" in told[0]


def test_a_template_finds_what_lies_inside(tmp_path: Path) -> None:
    """Names of folders with the signs of patterns, other folders that were given, and ways that lead out and back."""
    own, other = tmp_path / "own [1]", tmp_path / "other"
    (own / "sub").mkdir(parents=True)
    other.mkdir()
    for place in (own / "sub", other):
        (place / f"{place.name}.yaml").write_text("variables: {version: 0.4}\n", encoding="utf-8")
    (own / "beside").symlink_to(other)
    names = [
        "sub/sub.yaml",
        "../other/other.yaml",
        "s*/*.yaml",
        "beside/other.yaml",
        "sub/../../own [1]/sub/sub.yaml",
        "other.yaml",
    ]
    asked = [*names, "sub/none.yaml", "n*", "../other/none"]
    lines = [f"  v{i}: {{{{ path_exists({name!r}) }}}}\n" for i, name in enumerate(asked)]
    path = own / "mine.yaml"
    path.write_text("architecture: {version: 0.4}\nvariables:\n" + "".join(lines), encoding="utf-8")
    found = read_files([path, other / "other.yaml"]).variables
    assert [found[f"v{i}"] for i in range(len(asked))] == [True] * len(names) + [False] * 3


def test_expressions_are_arithmetic_only() -> None:
    names = {"a": 3, "b": 2.5, "t": "45nm"}
    assert value_of("ceil(a * b) // 2 ** 2 + max(1, a) % 2", names) == 3
    assert value_of("a if b > 2 and not a == 4 else 0", names) == 3
    assert value_of("t", names) == "45nm"
    for text in (
        "c",
        "a.real",
        "().__class__",
        "open('x')",
        "2 ** 10 ** 10",
        "a and",
        "[1]",
        "'x' * 9",
        "1 / 0",
        "(-8) ** 0.5",
    ):
        with pytest.raises(Unreadable):
            value_of(text, names)


# The command line ----------------------------------------------------------------------------------------------------


def test_estimate_takes_files(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("name: one\nlayers: [{name: a, C: 4, M: 6, P: 8, Q: 8, R: 3, S: 3}]\n", encoding="utf-8")
    arch = ["--timeloop-arch", str(DESIGNS / "simple_weight_stationary.yaml")]
    done = CliRunner().invoke(app, ["estimate", str(tmp_path / "one.yaml"), *arch, "--format", "json"])
    assert done.exit_code == 0, done.output
    assert "simple_weight_stationary: inter_PE_spatial: no dimension can lie on its meshX of 16" in done.stderr
    answer = json.loads(done.stdout)
    assert answer["accelerator"] == "simple_weight_stationary"
    assert any("meshX of 16" in note for note in answer["provenance"]["timeloop_files"]["notes"])
    for more, words in (
        (["--accelerator", "eyeriss"], "both name a chip"),
        (["--set", "dram.width_bits=8"], "--set changes no Timeloop files"),
    ):
        wrong = CliRunner().invoke(app, ["estimate", str(tmp_path / "one.yaml"), *arch, *more])
        assert isinstance(wrong.exception, InputError)
        assert words in str(wrong.exception)
    alone = CliRunner().invoke(app, ["estimate", str(tmp_path / "one.yaml"), "--timeloop-constraints", "c.yaml"])
    assert "means nothing without --timeloop-arch" in str(alone.exception)

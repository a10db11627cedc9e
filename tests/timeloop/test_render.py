"""The rendered input: what the shared descriptions say, in Timeloop's words, for every kind of layer."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hwflow.cost.fine import key
from hwflow.errors import HwflowError, InputError
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, normalized
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.timeloop.engine import Engine
from hwflow.timeloop.render import SearchSettings, command, render
from hwflow.timeloop.templates import fill, flow, number

LAYERS = [
    Layer("conv", C=3, M=64, P=112, Q=112, R=7, S=7, strides=(2, 2)),
    Layer("depthwise", G=32, C=1, M=1, P=56, Q=56, R=3, S=3),
    Layer("dilated", C=8, M=8, P=16, Q=16, R=3, S=3, dilations=(2, 4)),
    Layer("up", type="conv_transpose", C=8, M=4, P=7, Q=7, R=4, S=4, strides=(2, 2)),
    Layer("fc", type="linear", C=512, M=10),
]


def rendered(layer: Layer, accelerator: Accelerator, **more: Any) -> dict[str, Any]:
    """The rendered files, parsed and merged."""
    files = render(layer, accelerator, constrain(accelerator), normalized(accelerator), **more)
    content: dict[str, Any] = {}
    for text in files.values():
        content |= yaml.safe_load(text)
    return content


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_every_layer_renders_for_every_preset_with_all_eight_dimensions(layer: Layer, name: str) -> None:
    content = rendered(layer, Accelerator.load(name))
    problem = content["problem"]
    assert problem["shape"]["dimensions"] == ["C", "M", "R", "S", "N", "P", "Q", "G"]
    assert {d: problem["instance"][d] for d in problem["shape"]["dimensions"]} == dict(layer.dims)
    spaces = {space["name"]: space for space in problem["shape"]["data_spaces"]}
    assert list(spaces) == ["Weights", "Inputs", "Outputs"]
    assert all([["G"]] in space["projection"] for space in spaces.values())
    assert [name for name, space in spaces.items() if space.get("read_write")] == ["Outputs"]


def test_coefficients_carry_their_value_twice_and_every_name_in_a_projection_is_declared() -> None:
    problem = rendered(LAYERS[2], Accelerator.load("eyeriss"))["problem"]
    declared = {entry["name"]: entry["default"] for entry in problem["shape"]["coefficients"]}
    assert declared == {"Wstride": 1, "Hstride": 1, "Wdilation": 2, "Hdilation": 4}
    assert declared == {name: problem["instance"][name] for name in declared}
    used = {
        term[1] for space in problem["shape"]["data_spaces"] for axis in space["projection"] for term in axis if len(term) == 2
    }
    assert used == set(declared)


def test_a_transposed_convolution_sweeps_its_outputs() -> None:
    spaces = rendered(LAYERS[3], Accelerator.load("eyeriss"))["problem"]["shape"]["data_spaces"]
    axes = {space["name"]: space["projection"] for space in spaces}
    assert axes["Outputs"][-2:] == [[["P", "Wstride"], ["R", "Wdilation"]], [["Q", "Hstride"], ["S", "Hdilation"]]]
    assert axes["Inputs"][-2:] == [[["P"]], [["Q"]]]


def test_the_architecture_has_the_chips_instances_meshes_and_bandwidths() -> None:
    system = rendered(LAYERS[0], Accelerator.load("eyeriss"))["architecture"]["subtree"][0]
    parts = {part["name"]: part for part in system["local"]}
    assert list(parts) == [
        "dram",
        "global_buffer",
        "pe_array[1..14]",
        "input_spad[1..168]",
        "weight_spad[1..168]",
        "psum_spad[1..168]",
        "mac[1..168]",
    ]
    assert parts["dram"]["attributes"]["shared_bandwidth"] == pytest.approx(0.72e9 / 2 / 200e6)
    assert parts["pe_array[1..14]"]["class"] == "dummy_storage"
    spad = parts["weight_spad[1..168]"]["attributes"]
    assert (spad["depth"], spad["width"], spad["datawidth"], spad["block_size"]) == (224, 16, 16, 1)
    assert (spad["meshX"], spad["meshY"], spad["read_bandwidth"]) == (14, 12, 2.0)
    assert parts["global_buffer"]["attributes"]["depth"] * 64 == 108 * 8192


def test_constraints_fix_what_the_dataflow_forbids() -> None:
    targets = rendered(LAYERS[0], Accelerator.load("eyeriss"))["architecture_constraints"]["targets"]
    found = {(target["target"], target["type"]): target for target in targets}
    assert found["weight_spad", "temporal"]["permutation"] == "R"
    assert set(found["weight_spad", "temporal"]["factors"].split()) == {f"{d}=1" for d in "MSNPQG"}
    assert set(found["pe_array", "temporal"]["factors"].split()) == {f"{d}=1" for d in "CMRSNPQG"}
    assert found["pe_array", "bypass"] == {
        "target": "pe_array",
        "type": "bypass",
        "keep": [],
        "bypass": ["Weights", "Inputs", "Outputs"],
    }
    assert found["global_buffer", "spatial"]["split"] == 8
    assert found["pe_array", "spatial"]["split"] == 0
    assert ("dram", "temporal") not in found
    assert found["dram", "bypass"]["keep"] == ["Weights", "Inputs", "Outputs"]


def test_every_part_has_its_energy_the_empty_levels_zero() -> None:
    accelerator = Accelerator.load("simba")
    content = rendered(LAYERS[0], accelerator)
    tables = {entry["name"]: entry["actions"] for entry in content["ERT"]["tables"]}
    locals_ = [part["name"] for part in content["architecture"]["subtree"][0]["local"]]
    assert list(tables) == [f"system.{name}" for name in locals_]
    assert {a["name"]: a["energy"] for a in tables["system.dram"]} == {
        "read": 800.0,
        "write": 800.0,
        "update": 800.0,
        "leak": 0.0,
    }
    eyeriss = rendered(LAYERS[0], Accelerator.load("eyeriss"))
    empty = next(e for e in eyeriss["ERT"]["tables"] if e["name"] == "system.pe_array[1..14]")
    assert all(action["energy"] == 0 for action in empty["actions"])
    assert len(eyeriss["ART"]["tables"]) == len(eyeriss["ERT"]["tables"])


def test_a_mapping_makes_input_for_the_model(layer: Layer, tiny: Accelerator, table: EnergyTable, mapping: Mapping) -> None:
    files = render(layer, tiny, (), table, mapping=mapping)
    assert command(files) == ["timeloop-model", *files]
    assert yaml.safe_load(files["mapping.yaml"]) == {"mapping": mapping.directives()}
    assert "mapper.yaml" not in files


def test_without_one_it_is_for_the_mapper_with_the_settings_given() -> None:
    accelerator = Accelerator.load("eyeriss")
    settings = SearchSettings(victory_condition=7, threads=1)
    files = render(
        LAYERS[0],
        accelerator,
        constrain(accelerator),
        normalized(accelerator),
        objective="latency",
        search=settings,
    )
    assert command(files) == ["timeloop-mapper", *files]
    mapper = yaml.safe_load(files["mapper.yaml"])["mapper"]
    assert (mapper["victory_condition"], mapper["num_threads"], mapper["optimization_metrics"]) == (7, 1, ["delay"])


def test_a_fan_out_of_one_has_no_spatial_directives(layer: Layer, table: EnergyTable, tiny: Accelerator) -> None:
    single = tiny.with_({"pes.columns": 1})
    whole = {"target": "dram", "type": "temporal", "factors": "C=2 M=4 P=3", "permutation": "CMP"}
    files = render(layer, single, constrain(single, "flexible"), table, mapping=Mapping.from_directives([whole], single))
    assert "spatial" not in files["mapping.yaml"]
    search = render(layer, single, constrain(single, "flexible"), table)
    targets = yaml.safe_load(search["constraints.yaml"])["architecture_constraints"]["targets"]
    assert {target["type"] for target in targets} == {"bypass"}


def test_names_of_layers_and_chips_leave_no_trace(
    tiny: Accelerator, table: EnergyTable, layer: Layer, mapping: Mapping
) -> None:
    other = Accelerator.from_dict({**tiny.model_dump(exclude_none=True), "name": "other", "description": "x"})
    assert render(layer.with_(name="zz"), other, (), table, mapping=mapping) == render(layer, tiny, (), table, mapping=mapping)


def test_the_key_follows_input_tool_and_source(layer: Layer, tiny: Accelerator, table: EnergyTable, mapping: Mapping) -> None:
    class Fixed:
        name = "native"

        def __init__(self, version: str) -> None:
            self.answer = version

        def version(self, tool: str) -> str:
            assert tool == "timeloop-model"
            return self.answer

    def of(engine: str = "1", energies: EnergyTable = table, work: Layer = layer) -> str:
        fixed: Engine = Fixed(engine)  # type: ignore[assignment]
        return key(render(work, tiny, (), energies, mapping=mapping), energies, fixed)

    assert of() == of(work=layer.with_(name="other"))
    keys = {of(), of("2"), of(energies=EnergyTable("pJ", "other", table.parts)), of(work=layer.with_(strides=(2, 1)))}
    assert len(keys) == 4


def test_what_cannot_be_rendered_is_refused(layer: Layer, tiny: Accelerator, table: EnergyTable, mapping: Mapping) -> None:
    with pytest.raises(InputError, match=r"objective is 'speed'; allowed: energy, latency, edp"):
        render(layer, tiny, (), table, objective="speed")
    with pytest.raises(InputError, match="factors of P multiply to 3"):
        render(layer.with_(P=4), tiny, (), table, mapping=mapping)
    with pytest.raises(HwflowError, match=r"problem\.yaml\.j2 cannot be rendered: UndefinedError"):
        fill("problem.yaml.j2", {})


def test_numbers_and_strings_are_what_every_reader_of_yaml_takes_them_for() -> None:
    assert number(5e-09) == "5.0e-09"
    assert yaml.safe_load(number(1e-5)) == 1e-5
    assert number(0.1) == "0.1"
    assert flow({"type": "LPDDR4", "n": [1, True]}) == '{type: "LPDDR4", n: [1, true]}'

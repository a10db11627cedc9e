"""What holds of every chip on its way to Timeloop, be it described for hwflow or written in Timeloop's files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

import hwflow
from hwflow import Accelerator
from hwflow.cost import mid
from hwflow.hardware.accelerator import presets
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import costed_parts, normalized
from hwflow.layers import Layer
from hwflow.timeloop.architecture import architecture_of
from hwflow.timeloop.permutations import LARGEST, size

PACKAGE = Path(hwflow.__file__).parent
DESIGNS = Path(__file__).parents[1] / "data" / "timeloop_designs"
WRITTEN = ("eyeriss_like", "simba_like", "simple_weight_stationary", "simple_output_stationary")
LAYER = Layer("conv", C=16, M=24, P=14, Q=14, R=3, S=3)


def chip(name: str) -> Accelerator:
    return Accelerator.load(name) if name in presets() else hwflow.from_timeloop(DESIGNS / f"{name}.yaml")


@pytest.fixture(params=[*presets(), *WRITTEN])
def accelerator(request: pytest.FixtureRequest) -> Accelerator:
    return chip(request.param)


def test_its_places_are_levels_of_the_chip(accelerator: Accelerator) -> None:
    places = architecture_of(accelerator).places
    assert {place.name for place in places} <= {level.name for level in accelerator.levels}
    assert len({place.name for place in places}) == len(places)


def test_every_component_has_its_energies(accelerator: Accelerator) -> None:
    """Timeloop takes numbers of its own for a component that has none."""
    architecture = architecture_of(accelerator)
    entries = {entry["component"] for entry in architecture.energies(normalized(accelerator.physical))}
    assert len(entries) == len(architecture.places) + 1
    names = {entry.partition("[")[0] for entry in entries}
    assert {place.name for place in architecture.places} | {accelerator.mac.name} == names
    assert yaml.safe_load(architecture.text)["architecture"]


def test_a_mapping_comes_back(accelerator: Accelerator) -> None:
    if not accelerator.mid_answers:
        pytest.skip("mid has no mapping for it")
    found = mid.map_layer(LAYER, accelerator, constrain(accelerator), normalized(accelerator.physical), ragged=False)
    architecture = architecture_of(accelerator)
    assert architecture.mapping(architecture.directives(found.mapping)) == found.mapping


def test_its_mappings_can_be_counted(accelerator: Accelerator) -> None:
    architecture = architecture_of(accelerator)
    assert size(architecture.targets(constrain(accelerator), LAYER), LAYER, architecture.places) < LARGEST


def test_accelergy_is_asked_for_every_part(accelerator: Accelerator) -> None:
    files = architecture_of(accelerator).accelergy_files()
    assert sorted(files) == ["accelergy.yaml", "components.yaml"]
    for part in costed_parts(accelerator):
        assert f"name: {part.name}\n" in files["accelergy.yaml"]


def test_what_a_chip_of_timeloops_files_answers_otherwise() -> None:
    own, written = Accelerator.load("eyeriss"), hwflow.from_timeloop(DESIGNS / "eyeriss_like.yaml")
    refused = written.model_copy(update={"refusals": ("a: b",), "notes": ("c",)})
    own.check()
    assert (own.mid_answers, own.remarks, own.own_constraints, own.origin) == (True, (), None, {})
    assert own.physical is own
    assert (refused.mid_answers, refused.remarks) == (False, ("c", "mid cannot answer for a: b"))
    assert refused.origin == {"timeloop_files": {"notes": ["c"], "refusals": ["a: b"]}}
    assert refused.own_constraints == constrain(refused)


def test_nobody_asks_what_kind_of_chip_it_is() -> None:
    """`architecture_of` dispatches; everything else calls methods that both kinds have."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                assert "TimeloopAccelerator" not in ast.unparse(node), path

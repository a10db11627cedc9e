"""Loop orders that cannot matter are fixed, so that timeloop-mapper can count the map space; the counts are its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import DIMS, Layer
from hwflow.timeloop.architecture import architecture_of, targets_of
from hwflow.timeloop.importer.importer import from_timeloop
from hwflow.timeloop.permutations import LARGEST, Place, fixed, size
from hwflow.timeloop.process import clean_environment
from hwflow.timeloop.render import SearchSettings, command, render

DESIGNS = Path(__file__).parents[1] / "data" / "timeloop_designs"
CONV = Layer("conv", C=64, M=64, P=56, Q=56, R=3, S=3)
DEPTHWISE = Layer("depthwise", C=1, M=1, G=32, P=14, Q=14, R=3, S=3)
STEM = Layer("stem", C=3, M=32, P=112, Q=112, R=3, S=3, strides=(2, 2))
LINEAR = Layer("linear", type="linear", C=512, M=1000)

# What timeloop-mapper (Timeloop of 2025-03-31) prints as "Mapspace Dimension": loop bounds, orders, splits of fan-outs.
PRINTED = [
    ("simba", CONV, (104587560000, 8360755200000, 1)),
    ("simba", LINEAR, (6278272, 8360755200000, 1)),
    ("eyeriss", STEM, (2041200, 13320257798563430400000, 1)),
    ("tpu_like", DEPTHWISE, (4374, 23410114560000, 1)),
    ("shidiannao_like", CONV, (338688000, 317148995203891200000, 1)),
    ("simba_like.yaml", CONV, (11967835815936, 193491763200000, 729)),
    ("simba_like.yaml", DEPTHWISE, (36951552, 24883200000, 729)),
    ("simba_like.yaml", STEM, (130365075456, 193491763200000, 729)),  # as many orders as in the published design's own output
    ("simba_like.yaml", LINEAR, (164736000, 32, 729)),
    ("eyeriss_like.yaml", STEM, (2041200, 518400, 1)),
    ("eyeriss_like.yaml", LINEAR, (269500, 4, 1)),
]


def chip(name: str) -> Accelerator:
    return from_timeloop(DESIGNS / name) if name.endswith(".yaml") else Accelerator.load(name)


def rendered(layer: Layer, accelerator: Accelerator, **more: Any) -> dict[str, str]:
    return render(layer, accelerator, constrain(accelerator), normalized(accelerator), **more)


def targets(layer: Layer, accelerator: Accelerator) -> list[dict[str, Any]]:
    content = yaml.safe_load(rendered(layer, accelerator)["constraints.yaml"])
    found: list[dict[str, Any]] = content["architecture_constraints"]["targets"]
    return found


@pytest.mark.parametrize(("name", "layer", "printed"), PRINTED)
def test_the_count_is_timeloops(name: str, layer: Layer, printed: tuple[int, int, int]) -> None:
    accelerator = chip(name)
    bounds, orders, splits = printed
    assert size(targets(layer, accelerator), layer, architecture_of(accelerator).places) == bounds * orders * splits
    assert bounds * orders * splits < LARGEST


@pytest.mark.parametrize("layer", [CONV, DEPTHWISE, STEM, LINEAR], ids=lambda layer: layer.name)
def test_a_design_whose_orders_are_free_is_beyond_count(layer: Layer) -> None:
    accelerator = chip("simba_like.yaml")
    assert isinstance(accelerator, TimeloopAccelerator)
    assert size(accelerator.targets, layer, architecture_of(accelerator).places) > LARGEST


@pytest.mark.parametrize("name", presets())
def test_presets_keep_their_constraints(name: str) -> None:
    """So that what was recorded of timeloop-mapper on them can be recorded again."""
    accelerator = Accelerator.load(name)
    rules = constrain(accelerator)
    for layer in (CONV, DEPTHWISE, STEM, LINEAR):
        assert targets(layer, accelerator) == targets_of(rules)


def test_a_preset_with_a_layer_that_is_beyond_count_is_helped() -> None:
    accelerator, layer = Accelerator.load("eyeriss"), Layer("batched", N=64, C=512, M=512, P=128, Q=128, R=3, S=3)
    rules = constrain(accelerator, "flexible")
    assert size(targets_of(rules), layer, architecture_of(accelerator).places) > LARGEST
    files = render(layer, accelerator, rules, normalized(accelerator))
    helped = yaml.safe_load(files["constraints.yaml"])["architecture_constraints"]["targets"]
    assert size(helped, layer, architecture_of(accelerator).places) < LARGEST


def test_only_loops_of_bound_one_get_a_place() -> None:
    given = [
        {"target": "a", "type": "temporal", "factors": "C=1 M=1", "permutation": "RS_P"},
        {"target": "b", "type": "spatial", "factors": "C=1", "permutation": "MC"},
        {"target": "b", "type": "temporal", "factors": " ".join(f"{d}=1" for d in DIMS)},
        {"target": "c", "type": "spatial", "factors": "R=1", "split": 3},
        {"target": "d", "type": "spatial", "permutation": "QP"},
    ]
    places = [Place("a"), Place("b", (4, 1)), Place("c", (4, 4)), Place("d", (2, 3)), Place("e", (4, 1))]
    layer = Layer("l", C=4, M=4, P=4, Q=4, R=3, S=3)
    found = {(t["target"], t["type"]): t.get("permutation") for t in fixed(given, layer, places)}
    assert found == {
        ("a", "temporal"): "RSNGCM_P",  # N and G have one iteration, C and M are constrained to one
        ("b", "spatial"): "MCNG",
        ("b", "temporal"): "NGCMPQRS",
        ("c", "spatial"): None,  # which places lie on X matters there
        ("c", "temporal"): "NG",
        ("d", "spatial"): "QPNG",
        ("d", "temporal"): "NG",
        ("e", "temporal"): "NG",
    }
    assert given[0]["permutation"] == "RS_P"


@pytest.mark.timeloop
@pytest.mark.parametrize("layer", [STEM, LINEAR], ids=lambda layer: layer.name)
def test_timeloop_searches_the_published_simba(layer: Layer, tmp_path: Path) -> None:
    accelerator = chip("simba_like.yaml")
    files = rendered(layer, accelerator, search=SearchSettings(victory_condition=3))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(command(files), cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True)
    assert "overflow detected" not in done.stdout + done.stderr
    sizes = [int(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("Mapspace Dimension")]
    printed = next(p for name, which, p in PRINTED if (name, which) == ("simba_like.yaml", layer))
    assert tuple(sizes) == (*printed, 1)
    assert (tmp_path / "timeloop-mapper.stats.txt").stat().st_size > 0

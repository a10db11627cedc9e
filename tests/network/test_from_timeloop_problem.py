"""Timeloop's problem files as networks: shapes by what they mean, folders, templates, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import hwflow
from hwflow.cli import app
from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.network.load import load
from hwflow.timeloop.render import _problem

BASE = """
problem_base_ignore: &problem_base
  version: 0.4
  instance: {N: 1, C: 1, H: 1, W: 1, G: 1, R: 1, S: 1, M: 1, P: 1, Q: 1, Hdilation: 1, Hstride: 1, Wdilation: 1, Wstride: 1}
  shape:
    name: CNN_Layer
    dimensions: [C, M, R, S, N, P, Q, G]
    coefficients:
    - {name: Wstride, default: 1}
    - {name: Hstride, default: 1}
    - {name: Wdilation, default: 1}
    - {name: Hdilation, default: 1}
    data_spaces:
    - {name: Weights, projection: [[[C]], [[M]], [[R]], [[S]], [[G]]]}
    - name: Inputs
      projection: [[[N]], [[C]], [[R, Wdilation], [P, Wstride]], [[S, Hdilation], [Q, Hstride]], [[G]]]
    - {name: Outputs, projection: [[[N]], [[M]], [[Q]], [[P]], [[G]]], read_write: true}
"""
LAYER = "{{{{include_text('../problem_base.yaml')}}}}\nproblem:\n  <<<: *problem_base\n  instance: {}\n"


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder of networks as the ones that are published with Timeloop: a base beside them, and one file a layer."""
    (tmp_path / "problem_base.yaml").write_text(BASE)
    layers = {
        "resnet": [
            "{C: 3, M: 64, P: 112, Q: 112, R: 7, S: 7, HStride: 2, WStride: 2}",
            "{C: 64, M: 128, P: 28, Q: 28, HStride: 2, WStride: 2}",
            "{C: 512, M: 1000}",
        ],
        "gpt": ["{C: 1024, M: 3072, P: 256}", "{C: 64, M: 256, P: 256, G: 16}"],
        "mobilenet": ["{C: 1, M: 1, G: 96, P: 56, Q: 56, R: 3, S: 3, Wstride: 2, Hstride: 2}"],
    }
    for name, instances in layers.items():
        (tmp_path / name).mkdir()
        for i, instance in enumerate(instances):
            (tmp_path / name / f"{i:02}.yaml").write_text(LAYER.format(instance))
    return tmp_path


def test_a_folder_is_a_network(shapes: Path) -> None:
    network = load(str(shapes / "resnet"))
    assert network.name == "resnet"
    assert network.layers == (
        Layer("00", C=3, M=64, P=112, Q=112, R=7, S=7, strides=(2, 2)),
        Layer("01", C=64, M=128, P=28, Q=28, strides=(2, 2)),
        Layer("02", type="linear", C=512, M=1000),
    )
    assert load(str(shapes / "gpt")).layers == (
        Layer("00", type="linear", C=1024, M=3072, P=256),
        Layer("01", type="linear", C=64, M=256, P=256, G=16),
    )
    assert load(str(shapes / "mobilenet")).layers[0].params == 96 * 9
    assert load(str(shapes / "gpt" / "00.yaml"), batch=4).layers[0].N == 4


def test_misspelt_coefficients_are_read_as_meant_and_told(shapes: Path) -> None:
    assert load(str(shapes / "resnet")).notes == (
        "HStride is read as Hstride; Timeloop itself passes over HStride and takes Hstride to be 1 (00, 01)",
        "WStride is read as Wstride; Timeloop itself passes over WStride and takes Wstride to be 1 (00, 01)",
    )
    assert load(str(shapes / "gpt")).notes == ()
    done = CliRunner().invoke(app, ["estimate", str(shapes / "resnet"), "--level", "coarse", "--format", "json"])
    assert "resnet: HStride is read as Hstride; Timeloop itself passes over HStride" in done.stderr
    assert json.loads(done.stdout)["provenance"]["network_notes"] == list(load(str(shapes / "resnet")).notes)


def problem(tmp_path: Path, content: Any) -> Network:
    path = tmp_path / "one.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load(str(path))


def shape(dims: str, spaces: dict[str, list[Any]], **coefficients: int) -> dict[str, Any]:
    """`spaces`: by name their axes; the last one is written. An axis is "P", or a list such as ["P Wstride", "R"]."""
    *_, last = spaces
    return {
        "name": "mine",
        "dimensions": list(dims),
        "coefficients": [{"name": name, "default": value} for name, value in coefficients.items()],
        "data_spaces": [
            {
                "name": name,
                "projection": [[term.split() for term in ([axis] if isinstance(axis, str) else axis)] for axis in axes],
                **({"read_write": True} if name == last else {}),
            }
            for name, axes in spaces.items()
        ],
    }


GEMM = {"A": ["M", "K"], "B": ["N", "K"], "Z": ["M", "N"]}
ONE_D = {"Weights": ["R"], "Inputs": [["R", "P"]], "Outputs": ["P"]}
KNOWN = [
    ("cnn-layer", {"C": 3, "K": 8, "P": 5, "Q": 6, "R": 3, "S": 2, "N": 2}, Layer("one", N=2, C=3, M=8, P=5, Q=6, R=3, S=2)),
    (
        None,
        {"C": 3, "K": 8, "P": 5, "Q": 6, "R": 1, "S": 1, "N": 1, "Wstride": 2},
        Layer("one", C=3, M=8, P=5, Q=6, strides=(2, 1)),
    ),
    ("gemm_ABZ", {"M": 8, "N": 4, "K": 16}, Layer("one", type="matmul", C=16, M=8, P=4)),
    (shape("MNK", GEMM), {"M": 8, "N": 4, "K": 16}, Layer("one", type="matmul", C=16, M=8, P=4)),
    (shape("KM", {"A": ["K"], "B": ["K"], "Z": ["M"]}), {"K": 16, "M": 1}, Layer("one", type="matmul", C=16, M=1)),
    (
        shape("BMNK", {k: ["B", *v] for k, v in GEMM.items()}),
        {"B": 3, "M": 8, "N": 4, "K": 16},
        Layer("one", type="matmul", G=3, C=16, M=8, P=4),
    ),
    (shape("RP", ONE_D), {"R": 3, "P": 16}, Layer("one", C=1, M=1, P=16, R=3)),
    (
        shape("SQ", {"Weights": ["S"], "Inputs": [["S", "Q"]], "Outputs": ["Q"]}),
        {"S": 3, "Q": 9},
        Layer("one", C=1, M=1, Q=9, S=3),
    ),
    (
        shape("XFO", {"W": ["F"], "I": [["X T", "F D"]], "Z": ["X"]}, T=3, D=2),
        {"X": 9, "F": 4, "O": 1},
        Layer("one", C=1, M=1, P=9, R=4, strides=(3, 1), dilations=(2, 1)),
    ),
    # the operand under the window is the input, whatever stands first
    (
        shape("RPM", {"I": [["R", "P"]], "W": ["R", "M"], "O": ["P", "M"]}),
        {"R": 3, "P": 16, "M": 2},
        Layer("one", C=1, M=2, P=16, R=3),
    ),
    # a transposed convolution: the window is over the outputs
    (
        shape("RPCM", {"Weights": ["C", "M", "R"], "Inputs": ["C", "P"], "Outputs": ["M", ["P T", "R"]]}, T=2),
        {"R": 4, "P": 7, "C": 8, "M": 6},
        Layer("one", type="conv_transpose", C=8, M=6, P=7, R=4, strides=(2, 1)),
    ),
    # dimensions of size 1 do not matter, wherever they stand
    (
        shape("MNKX", {"A": ["M", "K", "X"], "B": ["N", "K"], "Z": ["M", "N"]}),
        {"M": 8, "N": 4, "K": 16, "X": 1},
        Layer("one", type="matmul", C=16, M=8, P=4),
    ),
]


@pytest.mark.parametrize(("given", "sizes", "layer"), KNOWN)
def test_shapes_are_known_by_what_they_index(tmp_path: Path, given: Any, sizes: dict[str, int], layer: Layer) -> None:
    content: dict[str, Any] = {"version": 0.4, "instance": sizes}
    if given is not None:
        content["shape"] = given
    network = problem(tmp_path, {"problem": content})
    assert network.layers == (layer,)
    assert network.layers[0].name == "one"
    # Older files have sizes beside the shape.
    flat = {"problem": {**sizes, **({} if given is None else {"shape": given})}}
    assert problem(tmp_path, flat).layers == (layer,)


@pytest.mark.parametrize("layer", [layer for *_, layer in KNOWN if layer.type != "matmul"])
def test_what_hwflow_renders_is_read_back(tmp_path: Path, layer: Layer) -> None:
    rendered = _problem(layer)
    content = {
        "instance": rendered["instance"],
        "shape": {
            "dimensions": list(rendered["dims"]),
            "coefficients": [{"name": k, "default": v} for k, v in rendered["coefficients"].items()],
            "data_spaces": rendered["data_spaces"],
        },
    }
    assert problem(tmp_path, json.loads(json.dumps({"problem": content}))).layers == (layer,)


def test_several_dimensions_of_a_kind_are_taken_together(tmp_path: Path) -> None:
    attention = shape("BHMNK", {k: ["B", "H", *v] for k, v in GEMM.items()})
    network = problem(tmp_path, {"problem": {"shape": attention, "instance": {"B": 2, "H": 12, "M": 8, "N": 4, "K": 16}}})
    assert network.layers == (Layer("one", type="matmul", G=24, C=16, M=8, P=4),)
    assert network.notes == ("B and H of mine are taken together, as G (one)",)


THREE = {"Weights": ["R", "S", "T"], "Inputs": [["P", "R"], ["Q", "S"], ["Z", "T"]], "Outputs": ["P", "Q", "Z"]}
REFUSED = [
    (shape("PQZRST", THREE), "3 windows slide; hwflow has no such layer"),
    (
        shape("IJKL", {"A": ["I", "K"], "B": ["K", "L"], "C": ["L", "J"], "Z": ["I", "J"]}),
        "its data spaces are A, B, C, Z (written)",
    ),
    (shape("IJ", {"A": ["I"], "Z": ["I", "J"]}), "its data spaces are A, Z (written); a layer has two that are read"),
    (shape("MNKX", {"A": ["M", "K", "X"], "B": ["N", "K"], "Z": ["M", "N"]}), "dimension X (=4) indexes A only"),
    (shape("MNKX", {**GEMM, "Z": ["M", "N", "X"]}), "dimension X (=4) indexes Z only"),
    (shape("MNK", {"A": ["M", "M"], "B": ["N", "K"], "Z": ["M", "N"]}), "dimension M appears twice in A"),
    (shape("RPX", {"W": ["R"], "I": [["R", "P", "X"]], "Z": ["P", "X"]}), "an axis of I sums R, P, X"),
    (shape("PXR", {"W": ["R"], "I": [["P", "X"], "R"], "Z": ["P", "X"]}), "made of P, X, which are not one position and one"),
    (shape("RPST", {"W": [["R", "P"], "T"], "I": [["S", "T"]], "Z": ["R", "P", "S"]}), "windows slide over both"),
    ("my_own_shape", "of the shapes that Timeloop finds by name hwflow knows cnn-layer and gemm-ABZ"),
    ({**shape("MNK", GEMM), "flatten": [{"name": "F", "dimensions": ["M", "N"]}]}, "hwflow does not read flattened dimensions"),
    (
        shape("MNK", {**GEMM, "A": ["M", "K T"]}),
        "it must be a list of terms, each a dimension (M, N, K) and at most one coefficient",
    ),
    ({**shape("MNK", GEMM), "dimensions": ["M", "N", "Kay"]}, "'Kay' has 3 letters; Timeloop's dimensions have one"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_other_shapes_are_refused_by_name(tmp_path: Path, given: Any, message: str) -> None:
    sizes = dict.fromkeys("IJKLMNPQRSTXZCO", 4)
    with pytest.raises(InputError) as error:
        problem(tmp_path, {"problem": {"shape": given, "instance": sizes}})
    assert message in str(error.value)
    assert str(tmp_path / "one.yaml") in str(error.value)


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({"M": 8, "N": 4}, "problem.instance has no K; it gives each dimension of gemm_ABZ a size"),
        ({"M": 8, "N": 4, "K": "many"}, "problem.instance.K is 'many'; it must be a whole number of at least 1"),
        ({"M": 8, "N": 0, "K": 2}, "problem.instance.N is 0"),
        ({"M": 8, "N": True, "K": 2}, "problem.instance.N is True"),
        ({"M": 8, "N": 2.5, "K": 2}, "problem.instance.N is 2.5"),
        ({"M": 8, "N": 4, "K": 2**40}, "C is 1099511627776; the largest that can be costed"),
        ([8, 4, 2], "problem.instance is [8, 4, 2]; it must be a mapping"),
    ],
)
def test_wrong_sizes_are_named(tmp_path: Path, instance: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        problem(tmp_path, {"problem": {"shape": "gemm_ABZ", "instance": instance}})
    assert message in str(error.value)


def test_contradicting_spellings_are_refused(tmp_path: Path) -> None:
    sizes = {"C": 3, "K": 8, "P": 5, "Q": 6, "R": 3, "S": 3, "N": 1}
    with pytest.raises(InputError, match=r"has Wstride \(=3\) and WStride \(=2\); leave one of them out"):
        problem(tmp_path, {"problem": {"instance": {**sizes, "Wstride": 3, "WStride": 2}}})
    both = problem(tmp_path, {"problem": {"instance": {**sizes, "Wstride": 2, "w_stride": 2}}})
    assert both.layers[0].strides == (2, 1)


def test_what_means_nothing_is_told(tmp_path: Path) -> None:
    sizes = {"M": 8, "N": 4, "K": 2, "Wpad": 1, "H": 224, "L": 7, "densities": {"A": 0.5}}
    assert problem(tmp_path, {"problem": {"shape": "gemm_ABZ", "instance": sizes}}).notes == (
        "L means nothing to gemm_ABZ, so Timeloop and hwflow pass over it (one)",
        "densities are left out: the data spaces are not called Weights, Inputs, Outputs (one)",
    )


def test_lists_of_problems(tmp_path: Path, shapes: Path) -> None:
    text = """
problem:
{% for C, M, P in [(64, 256, 196), (256, 64, 196), (256, 512, 49)] %}
  - {shape: cnn-layer, name: "mm{{ loop.index }}", N: 1, C: {{ C }}, K: {{ M }}, P: {{ P }}, Q: 1, R: 1, S: 1}
{% endfor %}
"""
    network = problem(tmp_path, text)
    assert [(layer.name, layer.C, layer.M, layer.P) for layer in network] == [
        ("mm1", 64, 256, 196), ("mm2", 256, 64, 196), ("mm3", 256, 512, 49)
    ]  # fmt: skip
    included = shapes / "all.yaml.jinja"
    included.write_text("problem: {{ include_all('resnet/*.yaml', 'problem') }}\n")
    network = load(str(included))
    assert (network.name, network.macs) == ("all", load(str(shapes / "resnet")).macs)
    assert [layer.name for layer in network] == ["all_0", "all_1", "all_2"]


def test_wrong_folders_and_files(tmp_path: Path, shapes: Path) -> None:
    with pytest.raises(
        InputError, match=r"none of its \*\.yaml has a section problem:\. It has folders: gpt, mobilenet, resnet"
    ):
        load(str(shapes))
    with pytest.raises(InputError, match=r"problem_base\.yaml has no section problem:; it has problem_base_ignore"):
        load(str(shapes / "problem_base.yaml"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty: there is no \*\.yaml in this folder\. Give a folder of Timeloop's problem files"
    ):
        load(str(tmp_path / "empty"))
    (shapes / "resnet" / "extra.yaml").write_text("mapper: {}\n")
    assert load(str(shapes / "resnet")).notes[-1] == "left out, since it has no section problem: (extra.yaml)"
    with pytest.raises(InputError, match="is Timeloop's problem, which has its sizes written in it: leave --input"):
        load(str(shapes / "resnet"), input_shape=(1, 3, 224, 224))
    with pytest.raises(InputError, match=r"can be costed, not trained or pruned"):
        hwflow.network.load.load_module(str(shapes / "resnet"), num_classes=10, in_channels=3)


def test_templates_reach_one_folder_up_and_no_further(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text(BASE)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "00.yaml").write_text(LAYER.format("{C: 1}").replace("../problem_base.yaml", "../../secret.yaml"))
    with pytest.raises(InputError, match=r"includes '\.\./\.\./secret\.yaml', which is outside of the folders"):
        load(str(deep / "00.yaml"))
    (deep / "00.yaml").write_text("{{include_text('00.yaml')}}\nproblem: {}\n")
    with pytest.raises(InputError, match="includes itself"):
        load(str(deep / "00.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("problem:\n  <<<: 3\n  instance: {}\n", "<<< is 3; it merges mappings"),
        ("problem: 7\n", "problem is 7; it must be a mapping"),
        ("problem:\n", "problem is None; it must be a mapping"),
        ("problem: [3]\n", r"problem\[0\] is 3; it must be a mapping"),
        ("a0: &a0 {l: [1, 2]}\n" + "".join(f"a{i}: &a{i} {{<<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30))
         + "problem: {}\n",
         "repeats its parts by aliases, over and over"),
    ],
)  # fmt: skip
def test_merges_are_bounded(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        problem(tmp_path, text)


def test_fine_and_mid_take_them(shapes: Path) -> None:
    cost = hwflow.estimate(load(str(shapes / "gpt")), hwflow.Accelerator.load("eyeriss"), level="mid", store=False)
    assert [row.layer.name for row in cost.rows] == ["00", "01"]
    assert cost.cycles

"""YAML layer lists: read, written, and every wrong field named with its path, its value and what is allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwflow.errors import HwflowError, InputError
from hwflow.layers import Bits, Layer
from hwflow.network import Network, OtherOp, model_zoo, zoo
from hwflow.network.from_yaml import read, write

GOOD = "{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mynet.yaml"


def layer_list(path: Path, *layers: str) -> Path:
    path.write_text("layers:\n" + "".join(f"  - {layer}\n" for layer in layers), encoding="utf-8")
    return path


def test_the_list_of_the_design(path: Path) -> None:
    path.write_text(
        """
name: mynet
layers:
  - {name: conv1, N: 1, G: 1, C: 3, M: 64, P: 112, Q: 112, R: 7, S: 7, strides: [2, 2], dilations: [1, 1]}
  - {name: up, type: conv_transpose, C: 64, M: 32, P: 56, Q: 56, R: 2, S: 2, strides: [2, 2], bits: {weights: 8, outputs: 32}}
  - {name: fc, type: linear, N: 4, C: 512, M: 1000, params_other: 1000}
  - {name: scores, type: matmul, G: 8, P: 197, C: 64, M: 197}
other:
  - {name: relu1, type: Relu, words_in: 10, words_out: 10}
""",
        encoding="utf-8",
    )
    net = Network.from_yaml(path)
    assert net.name == "mynet"
    assert net.layers == (
        Layer("conv1", C=3, M=64, P=112, Q=112, R=7, S=7, strides=(2, 2)),
        Layer("up", type="conv_transpose", C=64, M=32, P=56, Q=56, R=2, S=2, strides=(2, 2), bits=Bits(8, 16, 32)),
        Layer("fc", type="linear", N=4, C=512, M=1000),
        Layer("scores", type="matmul", G=8, P=197, C=64, M=197),
    )
    assert net["fc"].params_other == 1000
    assert net.other == (OtherOp("relu1", "Relu", 10, 10),)


def test_without_a_name_the_file_s_is_taken(path: Path) -> None:
    assert read(layer_list(path, GOOD)).name == "mynet"


@pytest.mark.parametrize("name", model_zoo.NAMES)
def test_what_is_written_is_read_back(path: Path, name: str) -> None:
    net = zoo(name).with_bits(8, 16)
    write(net, path)
    again = read(path)
    assert again == net
    assert again.params_other == net.params_other


size = st.integers(1, 50)
pair = st.tuples(size, size)
convolutions = st.builds(
    Layer,
    name=st.text(min_size=1),
    type=st.sampled_from(["conv", "conv_transpose"]),
    bits=st.none() | st.builds(Bits, size, size, size),
    params_other=st.integers(0, 9),
    **dict.fromkeys("NGCMPQRS", size),
    **dict.fromkeys(("strides", "dilations"), pair),
)
products = st.builds(
    Layer, name=st.text(min_size=1), type=st.sampled_from(["linear", "matmul"]), **dict.fromkeys("NGCMP", size)
)


@settings(max_examples=40, deadline=None)  # every example writes a file through to the disk
@given(layers=st.lists(convolutions | products, min_size=1, max_size=4), name=st.text(min_size=1))
def test_any_network_is_read_back(tmp_path_factory: pytest.TempPathFactory, layers: list[Layer], name: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    net = Network(name, tuple(layers), (OtherOp(name, "Relu", 1, 2, 3),))
    write(net, path)
    assert read(path) == net


def test_writing_is_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(zoo("resnet20"), path)
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(HwflowError, match=r"cannot write .*mynet\.yaml: disk full\. What stood there before still does"):
        write(zoo("resnet56"), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["mynet.yaml"]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 0}", r"layers\[1\]\.S is 0; it must be a whole number of at least 1"),
        ("{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, S: '3'}", r"layers\[1\]\.S is '3'; it must be a whole number"),
        ("{name: c, C: 3.0, M: 8, P: 5, Q: 5, R: 3, S: 3}", r"layers\[1\]\.C is 3\.0; it must be a whole number"),
        ("{name: c, C: true, M: 8, P: 5, Q: 5, R: 3, S: 3}", r"layers\[1\]\.C is True; it must be a whole number"),
        ("{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3}", r"layers\[1\]\.S is missing \(conv 'c'\)"),
        ("{C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3}", r"layers\[1\]\.name is missing; it must be a text"),
        ("{name: 7, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3}", r"layers\[1\]\.name is 7; it must be a text"),
        (
            "{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3, strides: 2}",
            r"layers\[1\]\.strides is 2; it must be two whole numbers.*\[width, height\]",
        ),
        ("{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3, strides: [2]}", r"layers\[1\]\.strides"),
        (
            "{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3, strides: [2, 0]}",
            r"layers\[1\]\.strides\[1\] is 0; it must be a whole number",
        ),
        (
            "{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3, stride: [2, 2]}",
            r"layers\[1\]\.stride is .*, but there is no such field .did you mean 'strides'\?\); known fields: name, type",
        ),
        (
            "{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, s: 3}",
            r"layers\[1\]\.s is 3, but there is no such field .did you mean 'S'\?\)",
        ),
        (
            "{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3, zzzzz: 1}",
            r"layers\[1\]\.zzzzz is 1, but there is no such field; known",
        ),
        (
            "{name: c, type: convolution, C: 3, M: 8}",
            r"layers\[1\]\.type is 'convolution'; it must be one of conv, conv_transpose, linear, matmul",
        ),
        ("{name: c, type: linear, C: 3, M: 8, R: 3}", r"layers\[1\]\.R is 3; a linear layer has none"),
        (
            "{name: c, type: matmul, C: 3, M: 8, P: 2, strides: [2, 2]}",
            r"layers\[1\]\.strides is \[2, 2\]; a matmul layer has none",
        ),
        ("{name: c, type: matmul, C: 3, M: 8}", r"layers\[1\]\.P is missing \(matmul 'c'\)"),
        (
            "{name: c, type: linear, C: 3, M: 8, bits: {weight: 8}}",
            r"layers\[1\]\.bits\.weight is 8, but there is no such field .did you mean 'weights'\?\)",
        ),
        (
            "{name: c, type: linear, C: 3, M: 8, bits: 8}",
            r"layers\[1\]\.bits is 8; it must be a mapping of weights, inputs and outputs",
        ),
        (
            "{name: c, type: linear, C: 3, M: 8, params_other: -1}",
            r"layers\[1\]\.params_other is -1; it must be a whole number of at least 0",
        ),
        ("conv", r"layers\[1\] is 'conv'; it must be a mapping of fields"),
    ],
)
def test_a_wrong_field_has_its_path_value_and_what_is_allowed(path: Path, layer: str, text: str) -> None:
    with pytest.raises(InputError, match=rf"mynet\.yaml: .*{text}"):
        read(layer_list(path, GOOD, layer))


def test_all_wrong_fields_are_reported_at_once(path: Path) -> None:
    with pytest.raises(InputError, match=r"layers\[0\]\.C is -1.*; layers\[1\]\.M is 'x'"):
        read(layer_list(path, GOOD.replace("C: 3", "C: -1"), GOOD.replace("M: 8", "M: x")))


def test_the_known_fields_are_listed_once(path: Path) -> None:
    wrong = "{name: c, C: 3, M: 8, P: 5, Q: 5, R: 3, S: 3, kernel: 3, padding: 1, bits: {sums: 8}}"
    with pytest.raises(InputError) as caught:
        read(layer_list(path, GOOD, wrong))
    message = str(caught.value)
    assert message.count("known fields: name, type") == 1
    assert message.count("known fields: weights, inputs") == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("layers:\n  - {name: a, C: 3\n  - {name: b}\n", r"mynet\.yaml, line \d, column \d+ is not valid YAML"),
        ("layers: [\n", r"mynet\.yaml, line 2, column 1 is not valid YAML"),
        ("name: a\nlayers: []\nname: b\n", r"mynet\.yaml, line 3, column 1 is not valid YAML: the key 'name' appears twice"),
        (
            "layers: !!python/object/apply:os.system ['true']\n",
            r"line 1, column \d+ is not valid YAML: could not determine a constructor",
        ),
        ("layers: []\n", r"layers is \[\]; it must be a list of at least one layer"),
        ("layers: 3\n", r"layers is 3; it must be a list of at least one layer"),
        ("name: a\n", r"layers is missing; it must be a list of at least one layer"),
        ("name: a\nlayer: []\n", r"layer is \[\], but there is no such field .did you mean 'layers'\?\)"),
        ("- 1\n", r"holds \[1\]; a layer list is a mapping"),
        ("", r"holds None; a layer list is a mapping"),
        (f"layers: [{GOOD}]\nother: [{{name: a, type: Relu, words_in: 1}}]\n", r"other\[0\]\.words_out is missing"),
    ],
)
def test_wrong_files(path: Path, content: str, text: str) -> None:
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=text) as caught:
        read(path)
    assert caught.value.exit_code == 2


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(InputError, match=r"mynet\.yaml: there is no such file"):
        read(path)


def test_a_folder_and_a_binary_file(path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; name a file\."):
        read(path.parent)
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match=r"mynet\.yaml is no text: .* Give a text file in UTF-8"):
        read(path)

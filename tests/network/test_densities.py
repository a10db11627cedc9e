"""Densities of layers: from mappings, layer lists, Timeloop's problems and trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.errors import InputError
from hwflow.layers import Densities, Layer
from hwflow.network import Network
from hwflow.network.densities import read_densities

NET = Network("net", (Layer("a", C=4, M=8, type="linear"), Layer("b", C=8, M=2, type="linear")))


def test_layers_by_name_and_all_others() -> None:
    net = NET.with_densities({"a": {"weights": 0.25}, "*": {"inputs": 0.5, "outputs": 0.75}})
    assert [layer.densities for layer in net] == [Densities(0.25, 1.0, 1.0), Densities(1.0, 0.5, 0.75)]
    assert NET.with_densities({"b": {"weights": 0.25}})["a"].densities is None


def test_a_layer_keeps_what_it_states() -> None:
    own = Network("net", (NET["a"].with_(densities=(0.1, 0.2, 0.3)), NET["b"]))
    assert own.with_densities({"*": {"weights": 0.9}})["a"].densities == (0.1, 0.2, 0.3)


def test_a_density_makes_another_layer() -> None:
    sparse = NET["a"].with_(densities=Densities(0.5))
    assert sparse.key != NET["a"].key
    assert sparse.with_(densities=None).key == NET["a"].key


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"c": {"weights": 0.5}}, r"unknown layer of net 'c'.*Known: a, b\. '\*' stands for all that are not named"),
        ({"a": {"weight": 0.5}}, r"unknown tensor in the densities of a 'weight'. Did you mean 'weights'\?"),
        ({"a": 0.5}, r"densities of a: 0\.5 is no mapping of tensors to shares"),
        ({"a": {"weights": 1.5}}, r"layer 'a': the density of weights is 1\.5; .* above 0 and at most 1"),
        (0.5, r"densities are 0\.5; they must be a mapping of layers"),
    ],
)
def test_what_cannot_be_read_is_named(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        NET.with_densities(given)


def test_layer_lists_have_them(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("layers:\n- {name: a, type: linear, C: 4, M: 8, densities: {weights: 0.25}}\n")
    net = Network.from_yaml(path)
    assert net["a"].densities == Densities(0.25)
    from hwflow.network.from_yaml import write

    write(net, tmp_path / "again.yaml")
    assert Network.from_yaml(tmp_path / "again.yaml").layers == net.layers


GIVEN = [0.5, *[0.0] * 15]


def test_transformed_weights_have_one_for_each_position(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        f"layers:\n- {{name: a, C: 4, M: 8, P: 4, Q: 4, R: 3, S: 3, densities: {{inputs: 0.5, positions: {GIVEN}}}}}\n"
        "- {name: b, C: 4, M: 8, P: 4, Q: 4, R: 3, S: 3, densities: {positions: 0.25}}\n"
    )
    net = Network.from_yaml(path)
    assert [la.densities for la in net] == [Densities(1.0, 0.5, 1.0), None]
    assert [la.position_densities for la in net] == [tuple(GIVEN), (0.25,)]
    from hwflow.network.from_yaml import write

    write(net, tmp_path / "again.yaml")
    assert Network.from_yaml(tmp_path / "again.yaml").layers == net.layers
    path.write_text("layers:\n- {name: a, C: 4, M: 8, P: 4, Q: 4, R: 3, S: 3, densities: {positions: [0.5, 2]}}\n")
    with pytest.raises(InputError, match=r"densities\.positions\[1\] is 2; it must be the share of transformed weights"):
        Network.from_yaml(path)
    with pytest.raises(InputError, match="layer 'a': the transformed weights of all positions are zero"):
        NET.with_densities({"a": {"positions": [0.0] * 16}})
    with pytest.raises(InputError, match=r"layer 'a': the density of transformed weights at a position is 1\.5"):
        NET.with_densities({"a": {"positions": 1.5}})


@pytest.mark.parametrize("share", ["0", "1.5", "half"])
def test_a_share_in_a_layer_list_is_checked(tmp_path: Path, share: str) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(f"layers:\n- {{name: a, type: linear, C: 4, M: 8, densities: {{inputs: {share}}}}}\n")
    with pytest.raises(
        InputError, match=r"layers\[0\]\.densities\.inputs is .*must be the share of elements that are not zero"
    ):
        Network.from_yaml(path)


_INSTANCE = "C: 4, K: 8, R: 1, S: 1, N: 1, P: 3, Q: 3"


@pytest.mark.parametrize(
    ("densities", "found", "note"),
    [
        ("{Weights: {distribution: fixed_structured, density: 0.4}, Inputs: 0.3}", Densities(0.4, 0.3), None),
        (
            "{Weights: {distribution: hypergeometric, density: 0.4}}",
            None,
            "Weights is hypergeometric, and hwflow spreads zeros",
        ),
    ],
)
def test_timeloops_problems_have_them(tmp_path: Path, densities: str, found: Densities | None, note: str | None) -> None:
    path = tmp_path / "problem.yaml"
    path.write_text(f"problem:\n  instance: {{{_INSTANCE}, densities: {densities}}}\n")
    net = Network.from_timeloop(path)
    assert net.layers[0].densities == found
    assert [note in text for text in net.notes] == ([True] if note else [])  # type: ignore[operator]


def test_a_file_of_densities_is_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "densities.yaml"
    path.write_text("[0.5]")
    with pytest.raises(InputError, match="a mapping of layers to shares by tensor is expected"):
        read_densities(path)


def sparse_model() -> Any:
    """A Winograd layer, a convolution and a linear layer, with 25, 50 and 100 % of their weights."""
    torch = pytest.importorskip("torch")
    from hwflow.compression.winograd.winograd_conv import WinogradConv2d

    winograd = WinogradConv2d.of(torch.nn.Conv2d(8, 16, 3, padding=1), 4)
    model = torch.nn.Sequential(winograd, torch.nn.Conv2d(16, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 4))
    with torch.no_grad():
        winograd.weight[: 9 * 3] = 0.0
        model[1].weight.fill_(1.0)
        model[1].weight[0] = 0.0
        model[3].weight.fill_(1.0)
    return model


def test_trained_weights_are_counted() -> None:
    """Of a Winograd layer the transformed ones, which are what its row multiplies."""
    torch = pytest.importorskip("torch")
    model = sparse_model()
    positions = [0.0] * 27 + [1.0] * 9
    assert hwflow.weight_densities(model) == {
        "0": {"weights": 0.25, "positions": positions},
        "1": {"weights": 0.5},
        "3": {"weights": 1.0},
    }
    with torch.no_grad():  # positions of 1, 124/128 and 110/128: the first two have their mean
        model[0].weight[27].flatten()[:4] = 0.0
        model[0].weight[28].flatten()[:18] = 0.0
    found = hwflow.weight_densities(model)["0"]["positions"]
    assert found[28] == 110 / 128
    assert found[27] == found[29] == found[35] == pytest.approx((7 + 124 / 128) / 8)
    assert found[:27] == [0.0] * 27
    model[3].weight.data.zero_()
    with pytest.raises(InputError, match="all weights of 3 are zero: remove the layer"):
        hwflow.weight_densities(model)


@pytest.mark.slow
def test_what_is_counted_prices_the_rows_of_the_same_model() -> None:
    model = sparse_model()
    net = Network.from_torch(model, (1, 8, 4, 4)).with_densities(hwflow.weight_densities(model))
    assert [layer.densities for layer in net] == [Densities(0.25), Densities(0.5), Densities(1.0)]
    assert net.layers[0].G == 36
    chip = hwflow.Accelerator.load("eyeriss").with_({"sparsity.skips": "weights"})
    dense, sparse = (hwflow.map_layer(net.layers[0], one, store=False).cost for one in ("eyeriss", chip))
    assert sparse.energy_by_level["mac"] == pytest.approx(dense.energy_by_level["mac"] / 4, rel=1e-3)

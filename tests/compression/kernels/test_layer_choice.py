"""How layers run: chosen by timing, said where it is not what was asked, and equal in what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.kernels import layer_choice
from hwflow.compression.kernels.cpu_time import CpuTime, cpu_times
from hwflow.compression.kernels.layer_choice import ExecutedConv2d, ExecutedWinograd
from hwflow.compression.winograd.winograd_method import transform
from hwflow.errors import InputError, MissingDependency
from hwflow.network.replica import replica
from hwflow.pruning import execute

SHAPE = (2, 3, 9, 9)


def network(share: float = 0.9, *, tiles: bool = True) -> nn.Module:
    """A Winograd layer (if there are tiles), a strided convolution and a depthwise one; a share of zeros in the first two."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)]
    model = nn.Sequential(*layers, nn.BatchNorm2d(8)).eval()
    if tiles:
        transform(model, ["0"], 4)
    with torch.no_grad():
        for name in ("0", "2"):
            weight = model.get_submodule(name).weight
            weight *= torch.rand_like(weight) >= share  # type: ignore[operator]
    return model


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds that each way is said to take."""
    said = {"dense": 2.0, "direct": 3.0, "sparse (torch)": 1.0, "sparse (numba)": 1.0, "im2col (torch)": 1.0}

    def fake(calls: Mapping[str, object], **_: object) -> dict[str, CpuTime]:
        return {name: CpuTime(1e-3 * said.get(name, 1.0), 1e-3 * said.get(name, 1.0)) for name in calls}

    monkeypatch.setattr(layer_choice, "cpu_times", fake)
    return said


@pytest.mark.parametrize("how", ["auto", "sparse", "dense"])
def test_the_network_computes_what_it_did(how: str) -> None:
    model, images = network(), torch.randn(SHAPE)
    before = model.state_dict()
    found = execute(model, images, how, libraries=["torch"])
    assert (found.model(images) - model(images)).abs().max() < 1e-4
    assert [layer.name for layer in found.layers] == (["0", "2", "4"] if how == "sparse" else ["0", "2"])
    assert all(torch.equal(value, before[name]) for name, value in found.model.state_dict().items())
    assert (replica(found.model)(images) - model(images)).abs().max() < 1e-4
    for name, layer in found.model.named_children():
        assert isinstance(layer, ExecutedConv2d | ExecutedWinograd) == (
            name in [one.name for one in found.layers if one.way != "dense"]
        )


def test_the_fastest_way_is_chosen(times: dict[str, float]) -> None:
    found = execute(network(), SHAPE, libraries=["torch"])
    assert [(layer.way, layer.library) for layer in found.layers] == [("sparse", "torch"), ("im2col", "torch")]
    times["sparse (torch)"] = 5.0
    mixed = execute(network(), SHAPE, libraries=["torch"])
    assert [layer.way for layer in mixed.layers] == ["dense", "im2col"]
    assert not any(layer.note for layer in mixed.layers)
    single = execute(network(), SHAPE, {"2": "dense", "*": "auto"}, libraries=["torch"])
    assert [layer.way for layer in single.layers] == ["dense", "dense"]


def test_zeros_that_do_not_pay_are_not_skipped_and_that_is_said(times: dict[str, float]) -> None:
    times["sparse (torch)"] = 5.0
    asked = execute(network(0.9), SHAPE, {"0": "sparse"}, libraries=["torch"])
    assert asked.layers[0].way == "sparse"  # from 70 % on as asked
    few = execute(network(0.5), SHAPE, {"0": "sparse"}, libraries=["torch"]).layers[0]
    assert few.way == "dense"
    assert few.note.startswith("5")
    assert "% of the weights of 0 are zero, which does not pay: sparse (torch) takes 5 ms (median 5), dense 2 ms" in few.note
    assert few.note.endswith("It runs dense.")


def test_a_layer_that_cannot_run_so_says_why() -> None:
    found = execute(network(), SHAPE, "im2col", libraries=["torch"])
    assert [layer.way for layer in found.layers] == ["dense", "im2col", "dense"]
    assert found.layers[0].note == "0 cannot run im2col: its transformed weights are not those of a convolution. It runs dense."
    assert found.layers[2].note == "4 cannot run im2col: it has 8 groups. It runs dense."
    with pytest.raises(
        InputError, match=r"no layer can run im2col: 0: its transformed weights are not those of a convolution\."
    ):
        execute(network(), SHAPE, {"0": "im2col"}, libraries=["torch"])
    with pytest.raises(
        InputError, match="no layer can run sparse: 0: none of its weights is zero; 2: none of its weights is zero"
    ):
        execute(network(0.0), SHAPE, "sparse", libraries=["torch"])
    assert not execute(network(0.0), SHAPE).layers


def test_a_spatially_pruned_winograd_layer_can_run_as_the_convolution_that_it_is(times: dict[str, float]) -> None:
    model = network(tiles=False)
    transform(model, ["0"], 4)
    times["direct"] = times["dense"] = 0.5
    images = torch.randn(SHAPE)
    times["direct"] = 0.4
    for way in ("direct", "im2col", "sparse"):
        times[way if way == "direct" else f"{way} (torch)"] = 0.3
        found = execute(model, images, {"0": "auto"}, libraries=["torch"])
        assert found.layers[0].way == way
        times[f"{way} (torch)"] = 9.0
        times["direct"] = 9.0
        assert (found.model(images) - model(images)).abs().max() < 1e-4


def test_what_runs_so_computes_no_gradients_and_takes_no_weights() -> None:
    model = execute(network(), SHAPE, libraries=["torch"]).model
    assert not model(torch.randn(SHAPE)).requires_grad
    sparse = execute(network(), SHAPE, "sparse", libraries=["torch"]).model
    with pytest.raises(InputError, match=r"runs sparse computes no gradients: run the network in torch.inference_mode\(\)"):
        sparse(torch.randn(SHAPE, requires_grad=True))
    with pytest.raises(InputError, match="takes no other weights: load them first, then choose how it runs"):
        sparse.load_state_dict(network().state_dict())


def test_it_is_imported_as_what_it_was() -> None:
    model = network()
    found = execute(model, SHAPE, "sparse", libraries=["torch"]).model
    one, two = (hwflow.Network.from_torch(each, (1, *SHAPE[1:])) for each in (model, found))
    assert [row.key for row in one] == [row.key for row in two]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("fast", "unknown way to execute a layer 'fast'.*auto"),
        ({"conv1": "auto"}, "unknown convolution 'conv1'.*0, 2, 4"),
    ],
)
def test_unknown_words_are_named(how: str | dict[str, str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        execute(network(), SHAPE, how)


def test_missing_numba_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("hwflow.optional.importlib.import_module", missing)
    with pytest.raises(MissingDependency, match=r"^the sparse kernel compiled by numba needs numba, which is not.*\[fast\]"):
        execute(network(), SHAPE, libraries=["numba"])
    with pytest.raises(InputError, match=r"unknown library of sparse products 'scipy'.*numba, torch"):
        execute(network(), SHAPE, libraries=["scipy"])


def test_times_are_taken_in_one_thread_and_in_turn() -> None:
    threads, order = torch.get_num_threads(), []
    found = cpu_times({"a": lambda: order.append(torch.get_num_threads()), "b": lambda: order.append(2)}, rounds=3)
    assert set(order) == {1, 2}
    assert all(0 < one.least_s <= one.median_s for one in found.values())
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_numba_and_pytorch_give_equal_numbers(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    model, images = network(), torch.randn(SHAPE)
    one, two = (execute(model, images, "sparse", libraries=[name]).model(images) for name in ("numba", "torch"))
    assert (one - two).abs().max() < 1e-5

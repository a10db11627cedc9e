"""Blocks: what is found, that a choice's network computes what the gates leave, and that its rows are what is costed."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.single_path.blocks import chosen, find_blocks
from hwflow.compression.single_path.gates import widths_of
from hwflow.errors import InputError
from hwflow.network import Network, model_zoo
from tests.compression.single_path.nets import SHAPE, close, network, searched

IMAGES = torch.randn(3, *SHAPE[1:], generator=torch.Generator().manual_seed(1))
CORNERS = [{gate for gate, shut in enumerate(bits) if shut} for bits in itertools.product((0, 1), repeat=3)]
MORE = [{3, 4}, {2, 3, 5, 6}]


@torch.no_grad()
@pytest.mark.parametrize("closed", CORNERS + MORE, ids=str)
def test_the_chosen_network_computes_what_the_gates_leave(closed: set[int]) -> None:
    model = network()
    blocks, rows, gates = searched(model)
    close(gates, closed)
    widths = widths_of(rows.groups, gates.indicators().tolist())
    plan = {one.name: width for one, width in zip(rows.groups, widths, strict=True)}
    small = chosen(model, blocks, plan)
    assert torch.allclose(small(IMAGES), gates(IMAGES), atol=1e-5)
    assert not small.training
    traced = Network.from_torch(small, SHAPE, name="small")
    priced = [layer for row in range(len(rows.network)) if (layer := rows.layer_for(row, widths)) is not None]
    assert tuple(priced) == traced.layers == rows.network_for(plan).layers


def test_blocks_of_the_zoo() -> None:
    with torch.device("meta"):
        small, second = (model_zoo.load_model(name) for name in ("small_mbconv", "mobilenet_v2"))
    blocks = find_blocks(small, "small_mbconv")
    assert [block.name for block in blocks] == [f"features.{i}" for i in range(1, 9)]
    assert all(block.options["kernel"] == (3, 5) and block.options["expansion"] == (3, 6) for block in blocks)
    assert [block.skippable for block in blocks] == [True, False, True, False, True, False, True, True]
    found = find_blocks(second, "mobilenet_v2")
    assert len(found) == 16  # the first has neither an expansion nor a shortcut
    assert {tuple(block.options) for block in found} == {("expansion",), ("expansion", "depth")}


def test_blocks_of_torchvision() -> None:
    """Modules of the same names as torchvision's: a shortcut is `use_res_connect` there."""
    block = model_zoo.load_model("mobilenet_v2").get_submodule("features.3")
    del block.is_residual
    block.use_res_connect = True  # type: ignore[assignment]
    (found,) = find_blocks(nn.Sequential(block), "own")
    assert found.options == {"expansion": (3, 6), "depth": (0, 1)}


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"resnet20 has no block to search: none of its modules is an inverted residual.*small_mbc"
    ):
        find_blocks(model_zoo.load_model("resnet20"), "resnet20")


def test_a_choice_that_there_is_not_is_refused() -> None:
    model = network()
    blocks = find_blocks(model, "small")
    with pytest.raises(InputError, match=r"unknown decision '1\.kernels'.*1\.kernel"):
        chosen(model, blocks, {"1.kernels": 3})
    with pytest.raises(InputError, match=r"the plan has 4 for 1\.kernel; allowed: 3, 5"):
        chosen(model, blocks, {"1.kernel": 4})


def test_the_network_of_a_choice_exports_its_own_sizes() -> None:
    """Modules say what they are, so that an export or a print of them is right."""
    model = network()
    small = chosen(model, find_blocks(model, "small"), {"2.kernel": 3, "2.expansion": 3, "1.depth": 0})
    assert isinstance(small.get_submodule("1"), nn.Identity)
    text = str(small.get_submodule("2"))
    assert "Conv2d(24, 24, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=24, bias=False)" in text
    assert "BatchNorm2d(24," in text
    assert hwflow.estimate(small, input_shape=SHAPE, level="coarse", store=False).macs > 0

"""Winograd layers: equal to convolutions, differentiable, and imported as what they execute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from hwflow.compression.fine_tuning import export_onnx
from hwflow.compression.winograd.winograd_conv import (
    WinogradConv2d,
    matrices,
    transformed_inputs,
    transformed_weights,
    untransformed_outputs,
    why_not,
)
from hwflow.cost.executed_network import run_as
from hwflow.cost.winograd import TRANSFORMS
from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network import Network


def conv(c: int, m: int, dtype: torch.dtype = torch.float64, **more: object) -> nn.Conv2d:
    torch.manual_seed(c * 100 + m)
    return nn.Conv2d(c, m, 3, **more).to(dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize("m", TRANSFORMS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_it_equals_the_convolution_at_every_size(m: int, dtype: torch.dtype, error: float) -> None:
    """Odd sizes, one pixel, one tile and many, with and without padding; with gradients and without."""
    for padding in (0, 1, (2, 1)):
        layer = conv(3, 5, dtype, padding=padding)
        made = WinogradConv2d.of(layer, m)
        for height in range(1, 18):
            for width in (1, 3, 6, 17, height):
                if min(height + 2 * layer.padding[0], width + 2 * layer.padding[1]) < 3:  # type: ignore[operator]
                    continue
                images = torch.randn(2, 3, height, width, dtype=dtype)
                wanted, found = layer(images), made(images)
                assert found.shape == wanted.shape
                assert (found - wanted).abs().max() < error
                with torch.no_grad():
                    assert torch.equal(made(images), found)


def test_one_channel_and_the_words_same_and_valid() -> None:
    for padding in ("same", "valid"):
        layer = conv(1, 1, padding=padding, bias=False)
        images = torch.randn(1, 1, 5, 9, dtype=torch.float64)
        assert torch.allclose(WinogradConv2d.of(layer, 4)(images), layer(images), atol=1e-10)


@pytest.mark.parametrize("m", TRANSFORMS)
def test_gradients_pass_the_transforms(m: int) -> None:
    values = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: transformed_inputs(x, m, (1, 0)), (values,))
    assert torch.autograd.gradcheck(lambda w: transformed_weights(w, m), (weights,))
    products = torch.randn((m + 2) ** 2, 3, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: untransformed_outputs(y, m, m + 1, m), (products,))
    layer = WinogradConv2d.of(conv(2, 3, padding=1), m)
    assert torch.autograd.gradcheck(lambda x, q: torch.func.functional_call(layer, {"weight": q}, x), (values, layer.weight))


@pytest.mark.parametrize("m", TRANSFORMS)
def test_the_gradient_of_weights_is_the_transformed_one(m: int) -> None:
    """dW = G^T dQ G, which is what the convolution's own gradient is."""
    layer, images = conv(2, 3, padding=1), torch.randn(2, 2, 7, 6, dtype=torch.float64)
    made = WinogradConv2d.of(layer, m)
    for one in (layer, made):
        one(images).square().sum().backward()
    g = matrices(m, torch.float64, torch.device("cpu"))[1]
    assert made.weight.grad is not None
    back = torch.einsum("ia,ijmc,jb->mcab", g, made.weight.grad.unflatten(0, (m + 2, m + 2)), g)
    assert torch.allclose(back, layer.weight.grad, atol=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("why", "module"),
    [
        ("", nn.Conv2d(2, 2, 3, padding=1)),
        ("it is a Linear", nn.Linear(2, 2)),
        ("its kernel is 1 x 3", nn.Conv2d(2, 2, (1, 3))),
        ("its stride is 2 x 2", nn.Conv2d(2, 2, 3, 2)),
        ("its dilation is 2 x 2", nn.Conv2d(2, 2, 3, dilation=2)),
        ("it has 2 groups", nn.Conv2d(2, 2, 3, groups=2)),
        ("its padding is 'reflect'", nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")),
    ],
)
def test_what_it_can_stand_for(why: str, module: nn.Module) -> None:
    assert why_not(module) == why


def test_another_tile_is_refused() -> None:
    with pytest.raises(InputError, match="m is 3; Winograd tiles give 2 x 2 or 4 x 4 outputs"):
        WinogradConv2d(2, 2, 3, bias=False)


@pytest.mark.slow
def test_it_is_exported_as_it_computes(tmp_path: Path) -> None:
    """And trains and runs afterwards: nothing that the export made is left in it."""
    reference = pytest.importorskip("onnx.reference")
    model = nn.Sequential(WinogradConv2d.of(conv(3, 4, torch.float32, padding=1), 4), nn.ReLU())
    export_onnx(model, (3, 8, 9), tmp_path / "net.onnx")
    images = torch.randn(3, 3, 8, 9)
    (found,) = reference.ReferenceEvaluator(str(tmp_path / "net.onnx")).run(None, {"images": images.numpy()})
    model(images).sum().backward()
    with torch.inference_mode():
        assert abs(found - model(images).numpy()).max() < 1e-4
    model(images).sum().backward()


@pytest.mark.parametrize("m", TRANSFORMS)
def test_a_network_with_such_a_layer_is_imported_as_it_runs(m: int) -> None:
    """With the rows, operators and data flow that the execution makes of the convolution's row, and all parameters."""
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, bias=False), nn.ReLU()]
    plain = nn.Sequential(*layers)
    network = run_as(Network.from_torch(plain, (1, 3, 9, 7)), dict.fromkeys(("0", "3"), f"winograd{m}"))
    made = nn.Sequential(*(WinogradConv2d.of(one, m) if isinstance(one, nn.Conv2d) else one for one in layers))
    found = Network.from_torch(made, (1, 3, 9, 7))
    assert [row.key for row in found] == [row.key for row in network]
    assert [row.name for row in found] == ["0", "3"]
    assert sorted((op.type, op.words_in, op.words_out) for op in found.other if op.type.startswith("Winograd")) == sorted(
        (op.type, op.words_in, op.words_out) for op in network.other if op.type.startswith("Winograd")
    )
    assert found.params == network.params
    assert found.params_total == sum(p.numel() for p in made.parameters())
    assert isinstance(found.layers[0], Layer)

"""Folded normalizations, the integer reference of whole networks, and what other runtimes make of the exported file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.fine_tuning import export_onnx
from hwflow.compression.quantization.folded_normalization import fold, folded
from hwflow.compression.quantization.integer_network import integer_network
from hwflow.compression.quantization.integer_reference import Window, integer_conv
from hwflow.compression.quantization.integers import Scale
from hwflow.compression.quantization.packed_codes import read_codes, write_codes
from hwflow.compression.quantization.quantized_layers import REAL, SIGNS, Code, quantizable, quantize, quantized, store_codes
from hwflow.compression.settings import Settings
from hwflow.datasets import load_data
from hwflow.errors import InputError
from hwflow.training import Recipe, train

CODES = {
    "int8": Code("integer", 8),
    "int4": Code("integer", 4),
    "affine": Code("integer", 3, affine=True, per_channel=False),
    "powers": Code("powers", 2),
}


def network(code: Code, inputs: Scale | None = None) -> nn.Sequential:
    """Three convolutions, two with normalizations of random statistics, of which some scales are negative; stored codes."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for before, after in ((1, 6), (6, 6)):
        norm = nn.BatchNorm2d(after)
        with torch.no_grad():
            for value in (norm.weight, norm.bias, norm.running_mean):
                value.copy_(torch.randn(after))  # type: ignore[union-attr]
            norm.running_var.copy_(torch.rand(after) + 0.1)  # type: ignore[union-attr]
        parts += [nn.Conv2d(before, after, 3, padding=1, bias=before == 1), norm, nn.ReLU()]
    model = nn.Sequential(*parts, nn.Conv2d(6, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    for place, name in enumerate(list(quantizable(model))):
        scale = Scale(0.02, 128) if place == 0 else inputs or Scale(0.03, 0)
        quantize(model, name, code, scale)
    store_codes(model)
    return model.eval()


IMAGES = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_folding_is_an_identity(code: Code) -> None:
    """In float64, and the integers of each layer stay what they are, but for signs."""
    model = network(code).double()
    for _, module in quantized(model):
        module.scale = REAL
        shape = (-1, *[1] * (module.weight.dim() - 1))
        steps, zeros = module.weight_steps.reshape(shape), module.weight_zeros.reshape(shape)
        module.weight.data = (module.integers - zeros) * steps  # as float32 these products were rounded
    made = fold(model, (1, 1, 8, 8))
    with torch.no_grad():
        expected, found = model(IMAGES.double()), made(IMAGES.double())
    assert torch.allclose(found, expected, rtol=1e-11, atol=1e-12)
    assert [type(made[place]).__name__ for place in (1, 4)] == ["Identity", "Identity"]
    before, after = (
        [m.integers - m.weight_zeros.reshape(-1, 1, 1, 1).long() for _, m in list(quantized(n))[:3]] for n in (model, made)
    )
    assert all(torch.equal(one.abs(), two.abs()) for one, two in zip(before, after, strict=True))
    assert not torch.equal(before[0], after[0])  # some scales are negative


def test_a_normalization_is_a_factor_and_an_offset() -> None:
    norm: Any = network(CODES["int8"])[1].double()
    values = torch.randn(2, 6, 3, 3, dtype=torch.float64)
    factors, offsets = (part.reshape(1, -1, 1, 1) for part in folded(norm))
    assert torch.allclose(values * factors + offsets, norm(values), rtol=1e-13, atol=1e-13)


def test_normalizations_that_something_else_needs_stay() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            return self.norm(y) + y

    model = Branches().eval()
    assert fold(model, (1, 1, 8, 8)) is model  # nothing is quantized
    quantize(model, "first", CODES["int8"], Scale(0.02, 128))
    store_codes(model)
    assert isinstance(fold(model, (1, 1, 8, 8)).norm, nn.BatchNorm2d)


@pytest.mark.parametrize("name", CODES)
def test_the_integer_reference_sums_integers(name: str) -> None:
    """Its first layer is the bit-exact convolution, and the whole is what the network computes."""
    model = network(CODES[name])
    made: Any = integer_network(model, (1, 1, 8, 8))
    layer = made[0]
    inputs, weights = layer.operands(IMAGES)
    sums = integer_conv(inputs.long(), weights.long(), Window(padding=(1, 1)))
    assert torch.equal(layer.scaled(sums.double(), 1), layer(IMAGES))
    with torch.no_grad():
        assert torch.allclose(made(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)


def test_a_reference_needs_stored_codes() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    quantize(model, "0", CODES["int8"], Scale(0.1, 0))
    with pytest.raises(InputError, match="0 computes no integers: its weights or its inputs are not rounded yet"):
        integer_network(model, (1, 1, 8, 8))


@pytest.mark.parametrize("name", [*CODES, "signs"])
def test_packed_codes_read_back(name: str, tmp_path: Path) -> None:
    code = CODES.get(name, Code("signs", 1))
    model = network(code)
    write_codes(tmp_path, model, {layer: code for layer, _ in quantized(model)})
    found = read_codes(tmp_path)
    for layer, module in quantized(model):
        assert torch.equal(found[layer].coded.integers, module.integers)
        assert torch.equal(found[layer].coded.values, module.weight)
        assert found[layer].inputs == module.scale
    count = sum(len(module.weight.flatten()) for _, module in quantized(model))
    assert (tmp_path / "codes.bin").stat().st_size <= count * code.bits / 8 + 4
    content = (tmp_path / "codes.bin").read_bytes()
    (tmp_path / "codes.bin").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"codes\.bin is damaged: the \d+ codes of 10 take"):
        read_codes(tmp_path)
    (tmp_path / "codes.json").write_text('{"format": 1, "layers": [{"name": "0"}]}')
    with pytest.raises(InputError, match=r"codes\.json is damaged: layers\.0\.kind"):
        read_codes(tmp_path)


# The exported file ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose layers have codes of every kind, one file for all that is asked of it."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    if not hasattr(torch.onnx, "ops"):
        pytest.skip("this version of PyTorch has no symbolic ONNX operators")
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(fold(mixed(), (1, 1, 8, 8)), (1, 8, 8), file)
    return file


def mixed() -> nn.Sequential:
    """Its layers have 8-bit integers, 4-bit ones, signs, and powers of two."""
    model = network(CODES["int8"])
    torch.manual_seed(1)
    others = {"3": (CODES["int4"], Scale(0.03, 0)), "6": (Code("signs", 1), SIGNS), "10": (CODES["powers"], Scale(0.05, 0))}
    for name, (code, scale) in others.items():
        module: Any = model.get_submodule(name)
        fresh = (nn.Linear if name == "10" else nn.Conv2d)(*module.weight.shape[1::-1], *module.weight.shape[2:3])
        model[int(name)] = fresh
        quantize(model, name, code, scale)
    store_codes(model)
    return model.eval()


def test_the_exported_file_is_the_integer_reference(exported: Path) -> None:
    """By onnx's own evaluator, which is slow and independent of every runtime."""
    onnx = pytest.importorskip("onnx")
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load(exported))
    found = evaluator.run(None, {"images": IMAGES.numpy()})[0]
    with torch.no_grad():
        expected = integer_network(mixed(), (1, 1, 8, 8))(IMAGES).numpy()
    assert np.abs(found - expected).max() < 1e-4


def test_predictions_of_onnxruntime_are_those_of_the_integer_reference(exported: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(exported))
    images = torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    found = session.run(None, {"images": images.numpy()})[0]
    with torch.no_grad():
        expected = integer_network(mixed(), (1, 1, 8, 8))(images).numpy()
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_the_exported_file_is_costed_at_its_own_widths(exported: Path) -> None:
    """Signs have no type in ONNX: weights of them are stored in 4 bits, and their inputs as real numbers."""
    network = hwflow.Network.from_onnx(exported, batch=1)
    assert [layer.bits for layer in network.layers] == [(8, 8, 8), (4, 8, 8), (4, 16, 16), (8, 8, 8)]
    wide = hwflow.Network.from_torch(mixed(), (1, 1, 8, 8))
    costs = [hwflow.estimate(one, "eyeriss", level="coarse", store=False) for one in (wide, network)]
    assert costs[1].dram_bytes < 0.55 * costs[0].dram_bytes


def test_operators_of_integers_are_costed_at_their_own_widths(tmp_path: Path) -> None:
    """The other form: QLinearConv, ConvInteger and MatMulInteger, as a quantizer writes them."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    stored = [
        helper.make_tensor("w", kinds.INT8, [4, 3, 3, 3], [1] * 108),
        helper.make_tensor("v", kinds.INT8, [2, 4, 1, 1], [1] * 8),
        helper.make_tensor("s", kinds.FLOAT, [], [0.1]),
        helper.make_tensor("z", kinds.UINT8, [], [0]),
        helper.make_tensor("y", kinds.INT8, [], [0]),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "s", "y", "s", "z"], ["c"], name="first"),
        helper.make_node("ConvInteger", ["c", "v"], ["d"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "integers",
        [helper.make_tensor_value_info("x", kinds.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("d", kinds.INT32, None)],
        stored,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "integers.onnx")
    network = hwflow.Network.from_onnx(tmp_path / "integers.onnx")
    assert {layer.name: layer.bits for layer in network.layers} == {"first": (8, 8, 8), "second": (8, 8, 8)}
    assert hwflow.estimate(network, "eyeriss", level="coarse", store=False).rows[0].layer.bits == (8, 8, 8)


@pytest.mark.slow
def test_no_prediction_on_fashion_mnist_differs(tmp_path: Path) -> None:
    """ResNet-20 in INT8, all 10,000 test images: every class that onnxruntime predicts is the integer reference's."""
    runtime = pytest.importorskip("onnxruntime")
    try:
        data = load_data("fashion-mnist")
    except InputError as error:
        pytest.skip(str(error))
    data = replace(data, train=data.train.subset(range(2000)))
    recipe = Recipe(epochs=2, learning_rate=0.1, precision="float32", device="cpu")
    train("resnet20", data, recipe=recipe, output=tmp_path / "resnet20.pt", progress=False)
    tuning = replace(recipe, epochs=1, learning_rate=0.02)
    settings = Settings(levels=("coarse",), budgets=(), method="int8", tuning=tuning)
    result = hwflow.prune(
        "resnet20",
        data,
        settings=settings,
        weights=tmp_path / "resnet20.pt",
        output=tmp_path / "run",
        store=False,
        progress=False,
    )
    reference = integer_network(result.model, (1, 1, 28, 28))
    session = runtime.InferenceSession(str(tmp_path / "run" / "model.onnx"))
    differing, seen = 0, 0
    for images, _ in data.test.batches(500):
        with torch.no_grad():
            expected = reference(images).argmax(1).numpy()
        found = session.run(None, {"images": images.numpy()})[0].argmax(1)
        differing, seen = differing + int((found != expected).sum()), seen + len(images)
    print(f"{differing} of {seen:,} predictions differ; {result.after.accuracy:.2%} are right")
    assert (differing, seen) == (0, 10_000)

"""Parameters are counted once however often rows read them: PyTorch against sum(p.numel()), ONNX by initializers, YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

import hwflow
from hwflow.cli.estimate_page import estimate_page
from hwflow.network import Network
from hwflow.network.from_yaml import write


class Calls(nn.Module):
    """A module whose forward is the given function of itself and its inputs."""

    def __init__(self, function: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


def buffered(model: nn.Module, **buffers: torch.Tensor) -> nn.Module:
    for name, value in buffers.items():
        model.register_buffer(name, value)
    return model


def retina() -> nn.Module:
    """One head, bias and normalisation included, on five maps."""

    def run(m: Any, x: torch.Tensor) -> list[torch.Tensor]:
        return [m.out(m.norm(m.tower(x[..., :: 2**k, :: 2**k])).relu()) for k in range(5)]

    return Calls(run, tower=nn.Conv2d(4, 8, 3, padding=1), norm=nn.GroupNorm(2, 8), out=nn.Conv2d(8, 6, 1))


def tied_modules() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    return model


def language_model() -> nn.Module:
    """Embedding and classifier are one tensor, multiplied as it is."""
    model = Calls(
        lambda m, i: m.out(m.hidden(m.embed(i))), embed=nn.Embedding(50, 8), hidden=nn.Linear(8, 8), out=nn.Linear(8, 50)
    )
    model.out.weight = model.embed.weight
    return model


def transposed_embedding() -> nn.Module:
    return Calls(lambda m, i: m.hidden(m.embed(i)) @ m.embed.weight.t(), embed=nn.Embedding(50, 8), hidden=nn.Linear(8, 8))


def relative_bias() -> nn.Module:
    """Swin's: a table of biases, of which an index makes a larger map that is added to scores."""

    def run(m: Any, x: torch.Tensor) -> torch.Tensor:
        scores = m.q(x) @ m.k(x).transpose(-1, -2) + m.table[m.index].view(4, 4)
        return scores.softmax(-1) @ x

    model = Calls(run, q=nn.Linear(8, 8), k=nn.Linear(8, 8), table=nn.Parameter(torch.zeros(7)))
    return buffered(model, index=torch.arange(16) % 7)


def beit_bias() -> nn.Module:
    """The bias of a packed projection is joined from two parameters and a buffer of zeros."""

    def run(m: Any, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, m.weight, torch.cat([m.q_bias, m.k_bias, m.v_bias]))

    model = Calls(run, weight=nn.Parameter(torch.zeros(12, 4)), q_bias=nn.Parameter(torch.zeros(4)))
    model.v_bias = nn.Parameter(torch.zeros(4))
    return buffered(model, k_bias=torch.zeros(4))


def standardised() -> nn.Module:
    """Weights normalised at each call, with a gain of their own; the layer runs twice."""

    def run(m: Any, x: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            w = m.conv.weight
            x = F.conv2d(x, (w - w.mean((1, 2, 3), keepdim=True)) * m.gain, m.conv.bias, padding=1)
        return x

    return Calls(run, conv=nn.Conv2d(4, 4, 3, padding=1), gain=nn.Parameter(torch.ones(4, 1, 1, 1)))


def normed(how: Callable[..., Any]) -> nn.Module:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    how(conv)
    return nn.Sequential(conv, nn.ReLU(), conv)


def sliced() -> nn.Module:
    """A slimmable layer: half of it, then all of it, of one tensor."""

    def run(m: Any, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, m.fc.weight[:4]).sum(-1) + m.fc(x).sum(-1)

    return Calls(run, fc=nn.Linear(6, 8))


def adapted() -> nn.Module:
    """LoRA: a small product is added to the weights."""
    model = Calls(lambda m, x: F.linear(x, m.fc.weight + m.b @ m.a, m.fc.bias), fc=nn.Linear(32, 32))
    model.a, model.b = nn.Parameter(torch.zeros(2, 32)), nn.Parameter(torch.zeros(32, 2))
    return model


def factored() -> nn.Module:
    """The weights are a product of two smaller matrices."""
    model = Calls(lambda m, x: F.linear(x, m.b @ m.a))
    model.a, model.b = nn.Parameter(torch.zeros(2, 32)), nn.Parameter(torch.zeros(32, 2))
    return model


def unused() -> nn.Module:
    return Calls(lambda m, x: m.a(x), a=nn.Linear(4, 4), auxiliary=nn.Linear(4, 9))


def blurred() -> nn.Module:
    """A fixed filter is a buffer, no parameter."""
    model = Calls(lambda m, x: F.conv2d(m.conv(x), m.filter, groups=4), conv=nn.Conv2d(3, 4, 1))
    return buffered(model, filter=torch.ones(4, 1, 3, 3))


def scaled() -> nn.Module:
    """A position table and a layer scale, which run with data."""
    model = Calls(lambda m, x: m.fc(x + m.position) * m.gamma, fc=nn.Linear(4, 4))
    model.position, model.gamma = nn.Parameter(torch.zeros(1, 5, 4)), nn.Parameter(torch.ones(4))
    return model


IMAGE, ROWS, IDS = (1, 4, 16, 16), (2, 5, 4), torch.zeros(1, 5, dtype=torch.int64)

CASES: dict[str, tuple[Callable[[], nn.Module], Any, int, list[bool]]] = {
    # name: (model, input, weights, which rows share theirs)
    "head on five maps": (retina, IMAGE, 4 * 8 * 9 + 8 * 6, [False] * 2 + [True] * 8),
    "tied modules": (tied_modules, (3, 6), 36, [False, True]),
    "tied embedding": (language_model, IDS, 64 + 400, [False, False]),
    "transposed tied embedding": (transposed_embedding, IDS, 64 + 400, [False, False]),
    "relative position bias": (relative_bias, (1, 4, 8), 128, [False] * 4),
    "bias joined from parts": (beit_bias, ROWS, 48, [False]),
    "standardised weights": (standardised, IMAGE, 144, [False, True]),
    "weight_norm": (lambda: normed(parametrizations.weight_norm), IMAGE, 144, [False, True]),
    "old weight_norm": (lambda: normed(nn.utils.weight_norm), IMAGE, 144, [False, True]),
    "spectral_norm": (lambda: normed(parametrizations.spectral_norm), IMAGE, 144, [False, True]),
    "slices of one tensor": (sliced, (2, 6), 48, [True, False]),
    "LoRA": (adapted, (2, 32), 1024, [False]),
    "factored weights": (factored, (2, 32), 0, [True]),
    "unused parameters": (unused, (2, 4), 16, [False]),
    "weights in a buffer": (blurred, (1, 3, 8, 8), 12, [False, True]),
    "position and scale": (scaled, ROWS, 16, [False]),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("case", CASES)
def test_totals_are_those_of_the_model(case: str) -> None:
    build, inputs, weights, shared = CASES[case]
    model = build().eval()
    net = Network.from_torch(model, inputs)
    assert net.params_total == sum(p.numel() for p in model.parameters())
    assert net.params == weights
    assert [layer.shared for layer in net] == shared
    assert net.params_other == net.params_total - weights
    assert sum(net.params_by_kind.values()) == net.params_total
    assert min(net.params_by_kind.values()) >= 0
    cost = hwflow.estimate(net, level="coarse")
    assert (cost.params, cost.params_total) == (net.params, net.params_total)


def test_a_row_keeps_the_weights_that_it_reads() -> None:
    cost = hwflow.estimate(Network.from_torch(retina().eval(), IMAGE), level="coarse")
    towers = [row for row in cost.to_dict()["layers"] if row["name"].startswith("tower")]
    assert [row["params"] for row in towers] == [288] * 5
    assert [row["params_shared"] for row in towers] == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("model", "inputs", "line"),
    [
        (retina(), IMAGE, "parameters 366 (weights 336, bias 14, normalization 16)."),
        (language_model(), IDS, "parameters 522 (weights 464, bias 58)."),
        (transposed_embedding(), IDS, "parameters 472 (weights 464, bias 8)."),
        (relative_bias(), (1, 4, 8), "parameters 151 (weights 128, bias 16, other 7)."),
        (nn.Sequential(nn.Linear(4, 4, bias=False)), (1, 4), "parameters 16."),
        (
            Calls(lambda m, i: m.fc(m.e(i)), e=nn.Embedding(9, 4), fc=nn.Linear(4, 2)),
            IDS,
            "(weights 8, bias 2, embeddings 36).",
        ),
    ],
)
def test_the_line_says_what_the_parameters_are(model: nn.Module, inputs: Any, line: str) -> None:
    page = estimate_page(hwflow.estimate(Network.from_torch(model.eval(), inputs), level="coarse"))
    assert page.lines[0].endswith(line)


# ONNX ----------------------------------------------------------------------------------------------------------------


def onnx_net(
    tmp_path: Path, nodes: list[Any], weights: dict[str, tuple[int, ...]], inputs: tuple[int, ...], kind: int
) -> Network:
    values = [helper.make_tensor(n, TensorProto.FLOAT, s, [0.5] * int(torch.tensor(s).prod())) for n, s in weights.items()]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, inputs)],
        [onnx.ValueInfoProto(name=nodes[-1].output[0])],
        values,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "net.onnx")
    return Network.from_onnx(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("nodes", "weights", "params", "other"),
    [
        ([("MatMul", "x w", "y"), ("MatMul", "y w", "z")], {"w": (6, 6)}, 36, 0),
        ([("Gemm", "x w b", "y"), ("Gemm", "y w b", "z")], {"w": (6, 6), "b": (6,)}, 36, 6),
        ([("Transpose", "w", "t"), ("MatMul", "x w", "y"), ("MatMul", "y t", "z")], {"w": (6, 6)}, 36, 0),
        (
            [("Transpose", "w", "t"), ("Transpose", "w", "u"), ("MatMul", "x t", "y"), ("MatMul", "y u", "z")],
            {"w": (6, 6)},
            36,
            0,
        ),
        ([("MatMul", "x v", "y"), ("MatMul", "y w", "z")], {"v": (6, 6), "w": (6, 6)}, 72, 0),
        ([("MatMul", "x w", "y"), ("Add", "y b", "s"), ("Add", "s b", "z")], {"w": (6, 6), "b": (6,)}, 36, 6),
        ([("MatMul", "x w", "y"), ("Relu", "y", "r"), ("MatMul", "r w", "s"), ("MatMul", "s w", "z")], {"w": (6, 6)}, 36, 0),
    ],
)
def test_an_initializer_is_counted_once(
    nodes: list[tuple[str, str, str]], weights: dict[str, tuple[int, ...]], params: int, other: int, tmp_path: Path
) -> None:
    made = [helper.make_node(op, inputs.split(), [out], name=out) for op, inputs, out in nodes]
    net = onnx_net(tmp_path, made, weights, (2, 6), TensorProto.FLOAT)
    assert (net.params, net.params_other) == (params, other)
    assert all(layer.params == 36 for layer in net)


def test_a_tied_embedding_of_onnx_is_counted_as_weights(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["w", "x"], ["e"], name="e"),
        helper.make_node("Transpose", ["w"], ["t"], name="t", perm=[1, 0]),
        helper.make_node("MatMul", ["e", "t"], ["z"], name="z"),
    ]
    net = onnx_net(tmp_path, nodes, {"w": (50, 8)}, (1, 5), TensorProto.INT64)
    assert net.params_by_kind == {"weights": 400}


# YAML ----------------------------------------------------------------------------------------------------------------


def test_a_layer_list_keeps_what_is_shared(tmp_path: Path) -> None:
    net = Network.from_torch(unused().eval(), (2, 4))
    shared = Network.from_torch(retina().eval(), IMAGE)
    for network in (net, shared):
        write(network, tmp_path / "net.yaml")
        again = Network.from_yaml(tmp_path / "net.yaml")
        assert again == network
        assert again.params_by_kind == network.params_by_kind


def test_a_wrong_flag_of_a_layer_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("layers: [{name: a, type: linear, C: 4, M: 4, shared: 3}]")
    with pytest.raises(hwflow.errors.InputError, match=r"layers\[0\]\.shared is 3; it must be true or false"):
        Network.from_yaml(tmp_path / "net.yaml")

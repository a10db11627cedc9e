"""The data flow of networks and their peak activation memory: by hand, and equal whichever way a network comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hwflow.compression.fine_tuning import export_onnx
from hwflow.layers import Bits
from hwflow.network import Network, model_zoo, zoo
from hwflow.network.from_torch import trace
from hwflow.network.from_yaml import write
from hwflow.network.graph import GraphBuilder, Made
from hwflow.network.load import batched


class Calls(nn.Module):
    """A module whose forward is a function of itself and its input."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> Any:
        """What the function gives."""
        return self.function(self, x)


def conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


# On a 2 x 4 x 4 input a tensor of c channels has 16 c elements: the most that exist at once, in channels, and when.
HAND: dict[str, tuple[Callable[[], nn.Module], int]] = {
    # 2>6, 6>3: the first holds 8, the second 9
    "chain": (lambda: nn.Sequential(conv(2, 6), conv(6, 3)), 9),
    # a ReLU writes over its input, whether it says so or not
    "chain with activations": (lambda: nn.Sequential(conv(2, 6), nn.ReLU(), conv(6, 3), nn.ReLU(inplace=True)), 9),
    "normalised chain": (lambda: nn.Sequential(conv(2, 6), nn.BatchNorm2d(6), nn.GELU(), conv(6, 3)), 9),
    # softmax is no element-by-element operator: 5 in and 5 out
    "softmax": (lambda: nn.Sequential(conv(2, 5), nn.Softmax(1)), 10),
    # while b runs: x (kept for the sum) 4, its input 4, its result 4
    "residual": (
        lambda: Calls(lambda m, x: (y := m.stem(x)) + m.b(m.a(y)), stem=conv(2, 4), a=conv(4, 4), b=conv(4, 4)),
        12,
    ),
    # the sum writes over the branch that is not needed again; without the residual 8 would do
    "residual that is dead": (lambda: Calls(lambda m, x: m.b(m.a(x)) * 2, a=conv(2, 4), b=conv(4, 4)), 8),
    # at the concatenation both branches and their join: 3 + 5 + 8
    "concat": (lambda: Calls(lambda m, x: torch.cat([m.a(x), m.b(x)], 1), a=conv(2, 3), b=conv(2, 5)), 16),
    # the early branch of 7 is kept while c turns 4 to 4: 7 + 4 + 4; the last join needs 7 + 4 + 11
    "branch kept alive": (
        lambda: Calls(
            lambda m, x: m.d(torch.cat([early := m.a(x), m.c(m.b(early))], 1)),
            a=conv(2, 7),
            b=conv(7, 4),
            c=conv(4, 4),
            d=conv(11, 1),
        ),
        22,
    ),
    # a branch that is read by an operator that asks for its size alone is not kept: 2 + 7, 7 + 4
    "size of a branch": (
        lambda: Calls(lambda m, x: m.b(m.a(x)).reshape(x.shape[0], -1), a=conv(2, 7), b=conv(7, 4)),
        11,
    ),
    # both results are held to the end: 6 + 3 beside nothing, 2 + 6 + 3 while the second is made
    "two outputs": (lambda: Calls(lambda m, x: (m.a(x), m.b(x)), a=conv(2, 6), b=conv(2, 3)), 11),
    # a slice is a view, which keeps all of its 8 channels: 8 + 2
    "slice": (lambda: Calls(lambda m, x: m.b(m.a(x)[:, :2]), a=conv(2, 8), b=conv(2, 2)), 10),
    # written in place through a view
    "in place": (lambda: Calls(lambda m, x: m.b(m.a(x).relu_().mul_(2)), a=conv(2, 8), b=conv(8, 2)), 10),
    # the indices of a max pooling are not made: 8 in, 8 / 4 out; the convolution before holds 10
    "max pooling": (lambda: nn.Sequential(conv(2, 8), nn.MaxPool2d(2)), 10),
}


@pytest.mark.parametrize("name", HAND)
def test_the_peak_is_the_one_that_a_pencil_finds(name: str) -> None:
    make, channels = HAND[name]
    network = trace(make(), (1, 2, 4, 4))
    assert network.peak_activation_bytes() == channels * 16 * 2
    assert network.peak_activation_bytes(activations=8) == channels * 16
    assert trace(make(), (3, 2, 4, 4)).peak_activation_bytes() == 3 * channels * 16 * 2


@pytest.mark.parametrize("name", [name for name in HAND if name not in ("slice", "in place")])
def test_onnx_files_have_the_peak_of_their_module(name: str, tmp_path: Path) -> None:
    module = HAND[name][0]().eval()
    export_onnx(module, (2, 4, 4), tmp_path / "model.onnx")
    found = Network.from_onnx(tmp_path / "model.onnx", batch=1).peak_activation_bytes()
    assert found == trace(module, (1, 2, 4, 4)).peak_activation_bytes()


@pytest.mark.parametrize("name", model_zoo.NAMES)
def test_zoo_has_the_graph_of_its_modules(name: str) -> None:
    with torch.device("meta"):
        traced = trace(model_zoo.load_model(name), model_zoo.ZOO[name].input_shape)
    assert zoo(name).graph == traced.graph
    assert zoo(name).peak_activation_bytes() == traced.peak_activation_bytes() is not None


@pytest.mark.parametrize("name", ["resnet20", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
def test_zoo_has_the_peak_of_its_onnx_files(name: str, tmp_path: Path) -> None:
    shape = model_zoo.ZOO[name].input_shape
    export_onnx(model_zoo.load_model(name).eval(), shape[1:], tmp_path / "model.onnx")
    found = Network.from_onnx(tmp_path / "model.onnx", batch=1).peak_activation_bytes()
    assert found == zoo(name).peak_activation_bytes()


# Layer lists ---------------------------------------------------------------------------------------------------------

_LIST = """
layers:
  - {name: a, C: 2, M: 8, P: 8, Q: 8, R: 1, S: 1}
  - {name: b, C: 8, M: 4, P: 4, Q: 4, R: 1, S: 1}
  - {name: fc, type: linear, C: 4, M: 10}
"""


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ([], 128 + 512),  # b reads 128 of what a wrote; what made it less is not listed
        (["MaxPool, words_in: 512, words_out: 128"], 512 + 128),
        (["Relu, words_in: 512, words_out: 512", "MaxPool, words_in: 512, words_out: 256"], 512 + 256),
        (["MaxPool, words_in: 999, words_out: 900"], 128 + 512),  # of no tensor in the chain
        (["Add, words_in: 256, words_out: 128"], None),
        (["Concat, words_in: 128, words_out: 128"], None),
    ],
)
def test_a_layer_list_is_a_chain(other: list[str], words: int | None, tmp_path: Path) -> None:
    lines = ["other:", *(f"  - {{name: o{i}, type: {entry}}}" for i, entry in enumerate(other))] if other else []
    (tmp_path / "net.yaml").write_text(_LIST + "\n".join(lines) + "\n")
    network = Network.from_yaml(tmp_path / "net.yaml")
    assert network.peak_activation_bytes() == (None if words is None else 2 * words)


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v1"])
def test_a_written_chain_comes_back_with_its_peak(name: str, tmp_path: Path) -> None:
    write(zoo(name), tmp_path / "net.yaml")
    assert Network.from_yaml(tmp_path / "net.yaml").peak_activation_bytes() == zoo(name).peak_activation_bytes()


def test_a_list_knows_the_first_input_with_its_padding_only(tmp_path: Path) -> None:
    write(zoo("alexnet"), tmp_path / "net.yaml")
    kept = Network.from_yaml(tmp_path / "net.yaml").peak_activation_bytes()
    assert kept == (zoo("alexnet").peak_activation_bytes() or 0) + 2 * 3 * (227**2 - 224**2)


def test_a_written_residual_network_comes_back_with_its_peak(tmp_path: Path) -> None:
    """What entries read is written; where names stand twice, a comment says that the data flow is missing."""
    write(zoo("resnet20"), tmp_path / "net.yaml")
    again, net = Network.from_yaml(tmp_path / "net.yaml"), zoo("resnet20")
    assert "inputs: [layer1.0.relu2]" in (tmp_path / "net.yaml").read_text()
    assert again == net
    assert again.graph is not None
    assert net.graph is not None
    assert again.graph.operations == net.graph.operations
    assert again.peak_activation_bytes() == net.peak_activation_bytes()
    write(zoo("resnet18"), tmp_path / "net.yaml")
    assert "# The data flow is not in this list: names of entries cannot say" in (tmp_path / "net.yaml").read_text()
    assert Network.from_yaml(tmp_path / "net.yaml").peak_activation_bytes() is None


# Who reads what ------------------------------------------------------------------------------------------------------


def test_readers_are_the_next_layers_behind_other_operators() -> None:
    """A layer's result is read by those that read it as it is, or else what an addition or a concatenation makes of it."""

    def run(self: Any, x: torch.Tensor) -> Any:
        y = self.stem(x).relu()
        z = y + self.b(self.a(y).relu())
        return self.left(z), self.right(torch.cat([z, y], 1).relu())

    model = Calls(run, stem=conv(2, 4), a=conv(4, 6), b=conv(6, 4), left=conv(4, 3), right=conv(8, 3))
    network = Network.from_torch(model, (1, 2, 4, 4))
    assert network.graph is not None
    names, reading = [layer.name for layer in network.layers], network.graph.reading
    assert {names[row]: [names[r] for r in rows] for row, rows in reading.readers.items()} == {
        "stem": ["a"],
        "a": ["b"],
        "b": ["left"],
        "left": [],
        "right": [],
    }
    assert {names[row] for row in reading.given} == {"left", "right"}
    assert len(set(reading.values.values())) == 5


# Where it is not known, and how it scales ----------------------------------------------------------------------------


def test_a_network_of_bare_layers_has_no_peak() -> None:
    assert Network("bare", zoo("resnet20").layers).peak_activation_bytes() is None


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2"])
def test_the_peak_grows_with_the_batch(name: str) -> None:
    network = zoo(name)
    eight = batched(network, 8).peak_activation_bytes()
    shape = model_zoo.ZOO[name].input_shape
    assert eight == 8 * (network.peak_activation_bytes() or 0) == zoo(name, input_shape=(8, *shape[1:])).peak_activation_bytes()


def test_results_in_objects_that_cannot_be_looked_into_leave_it_unknown() -> None:
    class Result:
        def __init__(self, logits: torch.Tensor) -> None:
            self.logits = logits

    assert trace(Calls(lambda m, x: Result(m.a(x)), a=conv(2, 4)), (1, 2, 4, 4)).peak_activation_bytes() is None
    assert trace(Calls(lambda m, x: {"logits": m.a(x), "n": 1}, a=conv(2, 4)), (1, 2, 4, 4)).peak_activation_bytes() == 192


def test_layers_state_their_own_word_widths() -> None:
    network = trace(HAND["chain"][0](), (1, 2, 4, 4))
    mixed = [network.layers[0].with_(bits=Bits(8, 8, 4)), network.layers[1].with_(bits=Bits(8, 8, 32))]
    # 2 channels at 8 and 6 at 4 bits; then 6 at 4 and 3 at 32
    assert replace(network, layers=tuple(mixed)).peak_activation_bytes() == (6 * 4 + 3 * 32) * 16 // 8


# Against a plain simulation ------------------------------------------------------------------------------------------


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, tuple[int, ...], int]]:
    """Operators, each with the tensors that it reads (0 is the input) and the channels of its result."""
    channels, steps = [draw(st.integers(1, 4))], []
    for _ in range(draw(st.integers(1, 9))):
        kind = draw(st.sampled_from(["conv", "add", "relu", "concat"]))
        x = draw(st.integers(0, len(channels) - 1))
        reads: tuple[int, ...] = (x,)
        made = channels[x]
        if kind == "conv":
            made = draw(st.integers(1, 6))
        elif kind == "add":
            reads = (x, draw(st.sampled_from([i for i, c in enumerate(channels) if c == channels[x]])))
        elif kind == "concat":
            reads = (x, draw(st.integers(0, len(channels) - 1)))
            made = sum(channels[i] for i in reads)
        steps.append((kind, reads, made))
        channels.append(made)
    return [("conv", (0,), 3), *((k, tuple(r + 1 if r else 0 for r in reads), c) for k, reads, c in steps)]


def simulated(channels: int, steps: list[tuple[str, tuple[int, ...], int]]) -> int:
    """The peak by running the program: buffers are freed when no step to come reads them, the last result never is."""
    size = {0: channels}  # of each buffer that exists
    buffer = {0: 0}  # of each tensor
    peak = 0
    for i, (kind, reads, made) in enumerate(steps):
        later = {buffer.get(r) for _, more, _ in steps[i + 1 :] for r in more}
        free = [buffer[r] for r in reads if buffer[r] not in later and size[buffer[r]] == made]
        if kind in ("add", "relu") and free:
            buffer[i + 1] = free[0]
        else:
            buffer[i + 1] = i + 1
            size[i + 1] = made
        peak = max(peak, sum(size.values()))
        if i + 1 == len(steps):
            break
        kept = {buffer[r] for _, more, _ in steps[i + 1 :] for r in more if r in buffer}
        size = {b: n for b, n in size.items() if b in kept}
    return peak


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(1, 4))
def test_any_program_has_the_peak_of_its_simulation(steps: list[tuple[str, tuple[int, ...], int]], channels: int) -> None:
    needed = {len(steps)}
    for i in range(len(steps), 0, -1):
        if i in needed:
            needed |= set(steps[i - 1][1])
    kept = [i for i in range(1, len(steps) + 1) if i in needed]
    number = {0: 0} | {old: new for new, old in enumerate(kept, start=1)}
    steps = [(k, tuple(number[r] for r in reads), c) for k, reads, c in (steps[i - 1] for i in kept)]
    if not any(kind == "conv" for kind, _, _ in steps):
        return
    widths = [channels]
    builder = GraphBuilder()
    tensors = [builder.tensor(channels)]
    for kind, reads, made in steps:
        widths.append(made)
        tensors.append(builder.tensor(made))
        row = (
            Made("layers", "conv", made)
            if kind == "conv"
            else Made("other", {"add": "Add", "relu": "Relu"}.get(kind, "Concat"), made)
        )
        builder.ran([row], [tensors[r] for r in reads], [tensors[-1]])
    graph = builder.graph([tensors[0]], [tensors[-1]])
    assert graph is not None
    assert graph.peak_bytes([Bits(8, 8, 8)] * len(steps)) == simulated(channels, steps)

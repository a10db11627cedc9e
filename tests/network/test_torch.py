"""PyTorch modules as rows: every kind of layer, names, what is not counted or refused, and that the model stays as it was."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from hwflow.errors import ImportFailed, InputError
from hwflow.layers import Layer
from hwflow.network import Network, OtherOp
from hwflow.network.from_torch import trace


class Calls(nn.Module):
    """A module whose forward is the given function of itself and its inputs."""

    def __init__(self, function: Any, **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


def hooked_macs(model: nn.Module, *shapes: tuple[int, ...]) -> int:
    """Multiply-accumulates counted by hooks on a real run, independently of hwflow."""
    total = 0

    def count(module: Any, args: Any, out: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
            total += args[0].numel() * module.out_channels // module.groups * math.prod(module.kernel_size)
        elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
            total += out.numel() * module.in_channels // module.groups * math.prod(module.kernel_size)
        elif isinstance(module, nn.Linear):
            total += out.numel() * module.in_features

    handles = [m.register_forward_hook(count) for m in model.modules()]
    training = model.training
    with torch.no_grad():
        model.eval()(*(torch.zeros(s) for s in shapes))
    model.train(training)
    for handle in handles:
        handle.remove()
    return total


CONVOLUTIONS = [
    (nn.Conv2d(3, 8, 3), (2, 3, 12, 10), Layer("conv", N=2, C=3, M=8, P=8, Q=10, R=3, S=3)),
    (nn.Conv2d(8, 12, 3, groups=4, padding=1), (1, 8, 6, 7), Layer("conv", G=4, C=2, M=3, P=7, Q=6, R=3, S=3)),
    (nn.Conv2d(8, 16, 3, groups=8, padding=1), (1, 8, 6, 7), Layer("conv", G=8, C=1, M=2, P=7, Q=6, R=3, S=3)),
    (nn.Conv2d(4, 6, 3, dilation=(2, 3)), (1, 4, 11, 13), Layer("conv", C=4, M=6, P=7, Q=7, R=3, S=3, dilations=(3, 2))),
    (nn.Conv2d(4, 6, 3, stride=(1, 2), padding=1), (1, 4, 8, 9), Layer("conv", C=4, M=6, P=5, Q=8, R=3, S=3, strides=(2, 1))),
    (nn.Conv2d(4, 6, (3, 5), padding=(1, 0)), (1, 4, 8, 9), Layer("conv", C=4, M=6, P=5, Q=8, R=5, S=3)),
    (nn.Conv2d(4, 6, (2, 4), padding="same"), (1, 4, 8, 9), Layer("conv", C=4, M=6, P=9, Q=8, R=4, S=2)),
    (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (1, 4, 8, 9), Layer("conv", C=4, M=6, P=9, Q=8, R=3, S=3)),
    (
        nn.Conv1d(4, 6, 5, stride=2, dilation=2),
        (3, 4, 20),
        Layer("conv", N=3, C=4, M=6, P=6, R=5, strides=(2, 1), dilations=(2, 1)),
    ),
    (
        nn.ConvTranspose2d(8, 12, (2, 3), stride=(2, 3), groups=4, output_padding=(1, 2)),
        (2, 8, 5, 6),
        Layer("conv_transpose", type="conv_transpose", N=2, G=4, C=2, M=3, P=6, Q=5, R=3, S=2, strides=(3, 2)),
    ),
    (
        nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1),
        (1, 4, 9),
        Layer("conv_transpose", type="conv_transpose", C=4, M=6, P=9, R=4, strides=(2, 1)),
    ),
]


@pytest.mark.parametrize(("model", "shape", "expected"), CONVOLUTIONS, ids=lambda v: str(v) if isinstance(v, Layer) else "")
def test_convolutions(model: nn.Module, shape: tuple[int, ...], expected: Layer) -> None:
    (layer,) = trace(model, shape)
    assert layer == expected
    assert layer.macs == hooked_macs(model, shape)
    assert layer.params == model.weight.numel()
    assert layer.params_other == model.bias.numel()


def test_hull_of_a_transposed_convolution_is_its_output() -> None:
    model = nn.ConvTranspose2d(3, 5, 4, stride=2)
    (layer,) = trace(model, (2, 3, 7, 9))
    assert layer.words("outputs") == model(torch.zeros(2, 3, 7, 9)).numel()


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [((6,), {}), ((7, 6), {"N": 7}), ((7, 5, 6), {"N": 7, "P": 5}), ((7, 5, 2, 6), {"N": 7, "P": 10})],
)
def test_linear_on_any_number_of_axes(shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    model = nn.Linear(6, 4)
    (layer,) = trace(model, shape)
    assert layer == Layer("linear", type="linear", C=6, M=4, **sizes)
    assert layer.macs == hooked_macs(model, shape)
    assert (layer.params, layer.params_other) == (24, 4)


def test_rows_bear_qualified_names_and_other_operators_onnx_names() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.norm(self.conv(x)) + x)

    model = nn.Sequential(
        Block(), nn.MaxPool2d(2), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 3)
    )
    net = trace(model, (1, 4, 8, 8), name="blocks")
    assert net.name == "blocks"
    assert [layer.name for layer in net] == ["0.conv", "2.conv", "6"]
    assert net.other[:4] == (
        OtherOp("0.norm", "BatchNormalization", 256, 256, 8),
        OtherOp("0", "Add", 512, 256),
        OtherOp("0", "Relu", 256, 256),
        OtherOp("1", "MaxPool", 256, 64, window=4),
    )
    assert net.not_counted == {"Add": 2, "BatchNormalization": 2, "GlobalAveragePool": 1, "MaxPool": 1, "Relu": 2}
    assert net.params + net.params_other == sum(p.numel() for p in model.parameters())


def test_not_counted_operators_bear_onnx_names() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        x = torch.cat([F.silu(x), F.hardswish(x), F.gelu(x), F.relu6(x), F.leaky_relu(x)], dim=1)
        x = F.interpolate(F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 2), scale_factor=2)
        x = F.pixel_shuffle(x[:, :8], 2).clone().sigmoid() * 2 - 1
        return F.softmax(x.mean((2, 3)), dim=1) / x.amax((2, 3)).exp()

    net = trace(Calls(forward, conv=nn.Conv2d(2, 2, 1)), (1, 2, 8, 8))
    kinds = "Swish HardSwish Gelu Clip LeakyRelu Concat Pad AveragePool Resize DepthToSpace Identity Sigmoid Mul Sub ReduceMean"
    assert [op.type for op in net.other] == [*kinds.split(), "Softmax", "ReduceMax", "Exp", "Div"]


def test_an_operator_without_onnx_name_is_listed_under_its_own() -> None:
    net = trace(Calls(lambda m, x: torch.i0(m.conv(x)), conv=nn.Conv2d(2, 2, 1)), (1, 2, 4, 4))
    assert net.not_counted == {"aten::i0": 1}


def test_views_are_not_listed_and_copies_are() -> None:
    def viewed(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).flatten(2).transpose(1, 2).unsqueeze(0)[..., 1:].squeeze(0).expand(3, -1, -1).detach()

    def copied(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).transpose(1, 2).reshape(1, -1)

    conv = nn.Conv2d(2, 2, 1)
    assert trace(Calls(viewed, conv=conv), (1, 2, 4, 4)).other == ()
    assert trace(Calls(copied, conv=conv), (1, 2, 4, 4)).other == (OtherOp("Transpose", "Transpose", 32, 32),)


def test_a_module_called_twice_has_two_rows() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    net = trace(nn.Sequential(shared, nn.ReLU(), shared), (1, 3, 8, 8))
    assert [layer.name for layer in net] == ["0", "0#2"]
    assert net.params == shared.weight.numel()
    assert [layer.params for layer in net] == [81, 81]


def test_functional_calls_bear_the_name_of_what_owns_the_weights() -> None:
    inner = Calls(lambda m, x: F.conv2d(F.conv2d(x, m.kernel, padding=1), m.conv.weight), conv=nn.Conv2d(4, 2, 1))
    inner.kernel = nn.Parameter(torch.zeros(4, 3, 3, 3))
    net = trace(nn.Sequential(inner), (1, 3, 8, 8))
    assert [str(layer) for layer in net] == ["0 (conv: C=3 M=4 P=8 Q=8 R=3 S=3)", "0.conv (conv: C=4 M=2 P=8 Q=8)"]
    assert [layer.name for layer in trace(inner, (1, 3, 8, 8))] == ["conv", "conv#2"]


@pytest.mark.parametrize("kind", ["parameter", "buffer", "attribute", "derived"])
def test_a_product_with_fixed_weights_is_linear(kind: str) -> None:
    weights = torch.zeros(6, 5)
    model = Calls(lambda m, x: x @ (m.weights.t().contiguous().t() * 2 if kind == "derived" else m.weights))
    if kind == "buffer":
        model.register_buffer("weights", weights)
    else:
        model.weights = weights if kind == "attribute" else nn.Parameter(weights)
    net = trace(model, (3, 4, 6))
    assert net.layers == (Layer("linear", type="linear", N=3, P=4, C=6, M=5),)
    assert net.other == ()


def test_products_of_activations() -> None:
    heads = trace(Calls(lambda m, a, b: a @ b), ((2, 8, 10, 16), (2, 8, 16, 12)))
    assert heads.layers == (Layer("matmul", type="matmul", G=16, P=10, C=16, M=12),)
    assert heads.params == 0
    shared = trace(Calls(lambda m, a, b: torch.matmul(a, b)), ((5, 10, 16), (16, 12)))
    assert shared.layers == (Layer("matmul", type="matmul", N=5, P=10, C=16, M=12),)
    batched = trace(Calls(lambda m, a, b, c: torch.baddbmm(c, a, b)), ((5, 4, 3), (5, 3, 2), (5, 4, 2)))
    assert batched.layers == (Layer("matmul", type="matmul", G=5, P=4, C=3, M=2),)
    assert batched.not_counted == {"Add": 1}


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda m, a: torch.addmm(m.bias, a, m.weights), 4 * 6 * 5),
        (lambda m, a: torch.mv(a, m.weights[:, 0]), 4 * 6),
        (lambda m, a: torch.dot(a[0], a[1]), 6),
        (lambda m, a: m.weights.t() @ a.t(), 4 * 6 * 5),
        (lambda m, a: m.weights[:, 0] @ a.t(), 4 * 6),
        (lambda m, a: torch.einsum("ij,jk->ik", a, m.weights), 4 * 6 * 5),
        (lambda m, a: torch.tensordot(a, m.weights, dims=1), 4 * 6 * 5),
        (lambda m, a: torch.addbmm(m.bias, a.expand(3, 4, 6), m.weights.expand(3, 6, 5)), 3 * 4 * 6 * 5),
    ],
)
def test_ways_to_write_a_product(function: Any, macs: int) -> None:
    model = Calls(function, weights=nn.Parameter(torch.zeros(6, 5)), bias=nn.Parameter(torch.zeros(5)))
    assert trace(model, (4, 6)).macs == macs


def attention_macs(batch: int, rows: int, width: int) -> int:
    return batch * (4 * rows * width * width + 2 * rows * rows * width)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention(need_weights: bool, batch_first: bool) -> None:
    attention = nn.MultiheadAttention(16, 4, batch_first=batch_first)
    model = Calls(lambda m, x: m.attention(x, x, x, need_weights=need_weights)[0], attention=attention)
    net = trace(model, (2, 5, 16) if batch_first else (5, 2, 16))
    assert [layer.name for layer in net] == ["attention", "attention#2", "attention#3", "attention.out_proj"]
    assert [layer.type for layer in net] == ["linear", "matmul", "matmul", "linear"]
    assert net["attention#2"].dims == {"N": 1, "G": 8, "C": 4, "M": 5, "P": 5, "Q": 1, "R": 1, "S": 1}
    assert net.macs == attention_macs(2, 5, 16)
    assert net.not_counted["Softmax"] == 1
    assert net.params + net.params_other == sum(p.numel() for p in attention.parameters())


def test_cross_attention_splits_the_packed_projection() -> None:
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    net = trace(Calls(lambda m, q, k: m.attention(q, k, k)[0], attention=attention), ((2, 3, 16), (2, 7, 16)))
    assert net.macs == 2 * (16 * 16 * (3 + 7 + 7 + 3) + 2 * 3 * 7 * 16)
    assert net.params == 4 * 16 * 16


def test_an_encoder_layer_is_not_hidden_by_its_fused_path() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    enabled = torch.backends.mha.get_fastpath_enabled()
    net = trace(nn.Sequential(layer), (2, 5, 16))
    assert net.macs == attention_macs(2, 5, 16) + 2 * 2 * 5 * 16 * 32
    assert torch.backends.mha.get_fastpath_enabled() is enabled


def test_grouped_query_attention() -> None:
    model = Calls(lambda m, q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True))
    net = trace(model, ((2, 8, 10, 16), (2, 4, 12, 16)))
    assert net.layers[0].dims["G"] == 8
    assert net.macs == 2 * (2 * 8 * 10 * 12 * 16)


def test_a_cache_that_is_written_into_is_no_weight() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        self.cache[:, : x.shape[1]] = x
        return x @ self.cache.transpose(1, 2)

    model = Calls(forward)
    model.register_buffer("cache", torch.zeros(2, 9, 4))
    assert [layer.type for layer in trace(model, (2, 5, 4))] == ["matmul"]
    assert torch.equal(model.cache, torch.zeros(2, 9, 4))


def test_inputs_of_other_types_are_given_as_tensors() -> None:
    model = Calls(lambda m, ids, x: m.head(m.table(ids) + x), table=nn.Embedding(100, 8), head=nn.Linear(8, 2))
    net = trace(model, (torch.zeros(3, 4, dtype=torch.long), (3, 4, 8)))
    assert net.layers == (Layer("head", type="linear", N=3, P=4, C=8, M=2),)
    assert net.other[0] == OtherOp("table", "Gather", 12, 96, 800)


@pytest.mark.parametrize("data_dependent", [False, True])
def test_the_model_comes_back_unchanged(data_dependent: bool) -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        self.last = x
        self.seen.append(len(self.seen))
        self.counter += 1
        if data_dependent and float(x.sum()) > 1:
            x = x * 2
        return self.net(x)

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU(inplace=True))
    model = Calls(forward, net=net, seen=[], last=None)
    model.register_buffer("counter", torch.zeros(1))
    net[1].eval()  # a frozen normalisation inside a model in training
    modes = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    identities = [id(p) for p in [*model.parameters(), *model.buffers()]]
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert len(trace(model, (2, 3, 8, 8))) == 1
    assert torch.equal(torch.rand(3), expected), "the random state moved"
    assert [m.training for m in model.modules()] == modes
    assert [id(p) for p in [*model.parameters(), *model.buffers()]] == identities
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert (model.last, model.seen) == (None, [])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(type(p) is nn.Parameter and p.requires_grad for p in model.parameters())
    model(torch.ones(2, 3, 8, 8)).sum().backward()


def test_a_model_that_fails_comes_back_unchanged() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(5, 2))
    with pytest.raises(ImportFailed):
        trace(model, (1, 3, 8, 8))
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_control_flow_on_values_runs_on_real_tensors() -> None:
    model = Calls(lambda m, x: m.a(x) if x.sum().item() == 0 else m.b(x), a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(3, 8, 3))
    assert [layer.name for layer in trace(model, (1, 3, 8, 8))] == ["a"]


def test_parameters_are_not_copied() -> None:
    huge = nn.Linear(200_000, 100_000, device="meta")  # 80 GB if it were real
    assert trace(nn.Sequential(huge), (1, 200_000)).macs == 20_000_000_000
    assert huge.weight.is_meta


def test_half_precision_and_double() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        model = nn.Conv2d(3, 4, 3).to(dtype)
        assert trace(model, (1, 3, 8, 8)).macs == 36 * 27 * 4
        assert model.weight.dtype == dtype


def test_reparametrised_weights_are_constants() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, bias=False)))
    net = trace(model, (1, 3, 8, 8))
    assert net.layers == (Layer("0", C=3, M=4, P=6, Q=6, R=3, S=3),)
    assert net.other == ()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [
        torch.fx.symbolic_trace,
        torch.jit.script,
        lambda m: torch.jit.trace(m.eval(), torch.zeros(1, 3, 8, 8)),
        nn.DataParallel,
        torch.compile,
        lambda m: m.to(memory_format=torch.channels_last),
    ],
    ids=["fx", "script", "trace", "parallel", "compile", "channels_last"],
)
def test_wrapped_modules(wrap: Any) -> None:
    net = trace(wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 3)))), (1, 3, 8, 8))
    assert net.layers == (Layer("0", C=3, M=4, P=6, Q=6, R=3, S=3), Layer("2.0", C=4, M=4, P=4, Q=4, R=3, S=3))
    assert net.not_counted == {"Relu": 1}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_set_by_hooks_before_the_forward() -> None:
    model = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)))
    attributes = set(vars(model[0]))
    assert trace(model, (1, 3, 8, 8)).macs == 36 * 27 * 4
    assert set(vars(model[0])) == attributes
    assert model(torch.zeros(1, 3, 8, 8)).requires_grad


def test_inference_mode_inside_the_model_changes_nothing() -> None:
    @torch.no_grad()
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)

    assert trace(Calls(forward, conv=nn.Conv2d(3, 4, 3)), (1, 3, 8, 8)).macs == 36 * 27 * 4


def test_tracing_twice_gives_the_same_and_leaks_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    first = trace(model, (1, 3, 8, 8))
    gc.collect()
    before = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    assert trace(model, (1, 3, 8, 8)) == first
    gc.collect()
    assert sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()) <= before


def test_network_from_torch() -> None:
    assert Network.from_torch(nn.Conv2d(3, 4, 3), input_shape=(1, 3, 8, 8)).name == "Conv2d"


@pytest.mark.parametrize(
    ("model", "shape", "text"),
    [
        (
            nn.Sequential(nn.Conv3d(2, 3, 3)),
            (1, 2, 8, 8, 8),
            r"module '0' \(Conv3d\) executes aten::convolution.*3 spatial axes",
        ),
        (nn.Sequential(nn.LSTM(4, 4)), (3, 2, 4), r"module '0' \(LSTM\) executes aten::lstm"),
        (nn.Sequential(nn.GRU(4, 4)), (3, 2, 4), r"module '0' \(GRU\) executes aten::gru"),
        (nn.Sequential(nn.RNN(4, 4)), (3, 2, 4), r"module '0' \(RNN\) executes aten::rnn"),
        (nn.Sequential(nn.LSTMCell(4, 4)), (2, 4), r"module '0' \(LSTMCell\) executes aten::lstm_cell"),
        (nn.Bilinear(3, 4, 5), ((2, 3), (2, 4)), r"the model itself \(Bilinear\) executes aten::_trilinear"),
        (Calls(lambda m, x: torch.cdist(x, x)), (4, 3), r"executes aten::\w*cdist"),
        (Calls(lambda m, x: torch.fft.fft(x)), (4, 3), r"executes aten::_fft_r2c"),
        (Calls(lambda m, x, w: F.conv2d(x, w)), ((1, 2, 4, 4), (3, 2, 1, 1)), "its weights are computed from the input"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3)),
            (1, 5, 8, 8),
            r"in module '0': RuntimeError: .*expected input\[1, 5, 8, 8\].*--input",
        ),
        (nn.LazyLinear(3), (1, 4), r"parameter 'weight' has no shape yet \(a lazy module\)"),
        (nn.ReLU(), (1, 4), "executes no convolution, linear layer or matrix product on inputs of 1x4"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_what_cannot_be_imported_names_module_and_operator(model: nn.Module, shape: Any, text: str) -> None:
    with pytest.raises(ImportFailed, match=text):
        trace(model, shape)


def test_a_refusal_is_not_swallowed_by_the_model() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        try:
            return self.conv(x)
        except Exception:
            return F.relu(x)

    with pytest.raises(ImportFailed, match="Conv3d"):
        trace(Calls(forward, conv=nn.Conv3d(2, 3, 3)), (1, 2, 8, 8, 8))


def test_an_operator_of_another_library_is_refused() -> None:
    with torch.library._scoped_library("hwflow_test", "DEF") as library:
        library.define("mystery(Tensor x) -> Tensor")
        library.impl("mystery", lambda x: x.clone(), "CompositeExplicitAutograd")
        with pytest.raises(ImportFailed, match=r"executes hwflow_test::mystery, which hwflow cannot express"):
            trace(Calls(lambda m, x: torch.ops.hwflow_test.mystery(x)), (1, 2))


@pytest.mark.parametrize("shape", [(), (1, 0, 8, 8), (1, 3.0, 8), "1x3xx8", (True, 3), 7, ((1, 3), (0, 3))])
def test_wrong_input_shapes(shape: Any) -> None:
    with pytest.raises(InputError, match=r"input_shape is .* whole numbers .*batch first"):
        trace(nn.Conv2d(3, 4, 3), shape)


def test_not_a_module() -> None:
    with pytest.raises(InputError, match=r"model is int; it must be a torch\.nn\.Module"):
        trace(3, (1, 2))

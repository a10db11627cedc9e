"""Small networks, one for each thing that pruning must get right or refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.network import model_zoo

ZOO_SHAPES = {"resnet20": (1, 3, 32, 32), "resnet56": (1, 3, 32, 32), "vgg16": (1, 3, 32, 32)}
"""Where a network runs on less than 64 x 64 pixels."""


@cache
def zoo(name: str) -> tuple[nn.Module, Grouping, tuple[int, ...]]:
    """A network of the zoo for 7 classes, its groups, streams included, and the shape of its input. Not to be changed."""
    model, shape = model_zoo.load_model(name, num_classes=7), ZOO_SHAPES.get(name, (1, 3, 64, 64))
    return model, find_groups(model, shape, streams=True, name=name), shape


class Calls(nn.Module):
    """A module whose forward is the given function of itself and its inputs."""

    def __init__(self, function: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def conv(inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


def _head(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def chain(*middle: nn.Module, width: int = 16) -> nn.Module:
    """Convolution `first`, `middle`, convolution `second`, then a classifier `fc`."""
    members = {f"middle{i}": m for i, m in enumerate(middle)}

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.first(x)
        for name in members:
            x = getattr(self, name)(x)
        return self.fc(_head(self.second(x).relu()))

    return Calls(run, first=conv(3, width), **members, second=conv(width, 24), fc=nn.Linear(24, 5))


def residual() -> nn.Module:
    def run(self: Any, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.norm(self.b(self.a(x).relu()))).relu()
        return self.fc(_head(x))

    return Calls(run, stem=conv(3, 16), a=conv(16, 24), b=conv(24, 16), norm=nn.BatchNorm2d(16), fc=nn.Linear(16, 5))


def concatenated() -> nn.Module:
    def run(self: Any, x: Tensor) -> Tensor:
        joined = torch.cat([self.left(x), self.right(x), self.left(x.flip(3))], 1)
        return self.fc(_head(self.join(self.norm(joined).relu())))

    return Calls(run, left=conv(3, 16), right=conv(3, 24, 1), norm=nn.BatchNorm2d(56), join=conv(56, 16), fc=nn.Linear(16, 5))


def dense() -> nn.Module:
    """Every layer reads all that came before."""

    def run(self: Any, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for i in range(3):
            joined = torch.cat(features, 1)
            features.append(getattr(self, f"conv{i}")(getattr(self, f"norm{i}")(joined).relu()))
        return self.fc(_head(F.avg_pool2d(torch.cat(features, 1), 2)))

    members: dict[str, nn.Module] = {"stem": conv(3, 16)}
    for i in range(3):
        members |= {f"norm{i}": nn.BatchNorm2d(16 * (i + 1)), f"conv{i}": conv(16 * (i + 1), 16)}
    return Calls(run, **members, fc=nn.Linear(64, 5))


def flattened() -> nn.Module:
    def run(self: Any, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.b(self.a(x).relu()).relu(), 2)
        return self.fc(self.hidden(x.flatten(1)).relu())

    return Calls(run, a=conv(3, 16), b=conv(16, 24), hidden=nn.Linear(24 * 16, 32), fc=nn.Linear(32, 5))


def gated() -> nn.Module:
    """Squeeze and excitation: a product ties two producers, no addition does."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x)
        gate = self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.fc(_head(self.b(x * gate)))

    return Calls(run, a=conv(3, 16), down=conv(16, 8, 1), up=conv(8, 16, 1), b=conv(16, 8), fc=nn.Linear(8, 5))


def channels_last_block() -> nn.Module:
    """As ConvNeXt's: depthwise, then normalisation and linear layers over the last axis, a scale of its own, a shortcut."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.up(self.norm(self.dw(x).permute(0, 2, 3, 1)))
        y = (self.down(F.gelu(y)) * self.scale).permute(0, 3, 1, 2)
        return self.fc(_head(x + y))

    return Calls(
        run,
        stem=conv(3, 16),
        dw=conv(16, 16, groups=16),
        norm=nn.LayerNorm(16),
        up=nn.Linear(16, 32),
        down=nn.Linear(32, 16),
        scale=nn.Parameter(torch.rand(16)),
        fc=nn.Linear(16, 5),
    )


def decoder() -> nn.Module:
    """Transposed convolutions, plain, grouped and depthwise, and a skip by concatenation."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.up(self.down(x).relu())
        y = self.smooth(self.grouped(torch.cat([x, y], 1)))
        return self.out(y)

    return Calls(
        run,
        stem=conv(3, 16),
        down=nn.Conv2d(16, 24, 2, 2),
        up=nn.ConvTranspose2d(24, 16, 2, 2),
        grouped=nn.ConvTranspose2d(32, 24, 3, padding=1),
        smooth=nn.ConvTranspose2d(24, 24, 3, padding=1, groups=24),
        out=conv(24, 4, 1),
    )


def twice() -> nn.Module:
    """One convolution runs twice, so that its inputs and outputs are the same channels."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.fc(_head(self.again(self.again(x).relu())))

    return Calls(run, stem=conv(3, 16), again=conv(16, 16), fc=nn.Linear(16, 5))


def tied() -> nn.Module:
    """Two convolutions with one weight; their channels are not the same."""

    def run(self: Any, x: Tensor) -> Tensor:
        return self.fc(_head(self.c(self.b(self.a(self.stem(x).relu()).relu()).relu())))

    model = Calls(run, stem=conv(3, 16), a=conv(16, 16), b=conv(16, 16), c=conv(16, 24), fc=nn.Linear(24, 5))
    model.b.weight = model.a.weight
    return model


def two_outputs() -> nn.Module:
    def run(self: Any, x: Tensor) -> Any:
        features = self.a(x).relu()
        return {"features": features, "classes": self.fc(_head(self.b(features)))}

    return Calls(run, a=conv(3, 16), b=conv(16, 24), fc=nn.Linear(24, 5))


def shuffled() -> nn.Module:
    """ShuffleNet's shuffle: channels change places."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(_head(self.b(x)))

    return Calls(run, a=conv(3, 16), b=conv(16, 24), fc=nn.Linear(24, 5))


def halved() -> nn.Module:
    """A gated linear unit: one half of the channels opens the other."""

    def run(self: Any, x: Tensor) -> Tensor:
        left, right = self.a(x).chunk(2, 1)
        return self.fc(_head(self.b(left * right.sigmoid())))

    return Calls(run, a=conv(3, 32), b=conv(16, 24), fc=nn.Linear(24, 5))


def attention() -> nn.Module:
    def run(self: Any, x: Tensor) -> Tensor:
        tokens = self.a(x).flatten(2).transpose(1, 2)
        return self.fc(self.up(tokens + self.heads(tokens, tokens, tokens)[0]).mean(1))

    return Calls(
        run, a=conv(3, 16), heads=nn.MultiheadAttention(16, 4, batch_first=True), up=nn.Linear(16, 24), fc=nn.Linear(24, 5)
    )


def reads_values() -> nn.Module:
    """Cannot run on shapes alone."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x)
        if float(x.abs().sum()) < 0:
            x = -x
        return self.fc(_head(self.b(x)))

    return Calls(run, a=conv(3, 16), b=conv(16, 24), fc=nn.Linear(24, 5))


def auxiliary() -> nn.Module:
    """A second head that runs in training mode only, on the stem."""

    def run(self: Any, x: Tensor) -> Any:
        x = self.stem(x).relu()
        out = self.fc(_head(self.b(x)))
        return (out, _head(self.aux(x))) if self.training else out

    return Calls(run, stem=conv(3, 16), b=conv(16, 24), aux=conv(16, 5, 1), fc=nn.Linear(24, 5))


def fixed_size() -> nn.Module:
    """Writes its channel number into its code."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.fc(_head(self.b(x.reshape(x.shape[0], 16, 8, 8))))

    return Calls(run, a=conv(3, 16), b=conv(16, 24), fc=nn.Linear(24, 5))


def weight_normed() -> nn.Module:
    model = chain()
    parametrizations.weight_norm(model.first)  # type: ignore[arg-type]
    return model


def detached() -> nn.Module:
    """One branch is invisible to autograd."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.fc(_head(self.b(x) + self.c(x.detach())))

    return Calls(run, a=conv(3, 16), b=conv(16, 24), c=conv(16, 24), fc=nn.Linear(24, 5))


def bilinear() -> nn.Module:
    """The products of all pairs of channels: as many as their square."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x).flatten(2)
        return self.fc((x @ x.transpose(1, 2)).mean(2))

    return Calls(run, a=conv(3, 32), fc=nn.Linear(32, 5))


class Attention(nn.Module):
    """Multi-head attention as timm writes it: one projection to queries, keys and values; a temperature for each head."""

    def __init__(self, width: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = num_heads, head_dim, num_heads * head_dim
        self.qkv = nn.Linear(width, 3 * self.attn_dim)
        self.proj = nn.Linear(self.attn_dim, width)
        self.temperature = nn.Parameter(torch.rand(num_heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        x = (q @ k.transpose(-2, -1) * self.temperature).softmax(-1) @ v
        return self.proj(x.transpose(1, 2).reshape(n, tokens, self.attn_dim))


class SeparateAttention(nn.Module):
    """The same with a layer for each of queries, keys and values."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.inner_dim = heads, heads * head_dim
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, self.inner_dim, bias=False) for _ in range(3))
        self.to_out = nn.Linear(self.inner_dim, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v))
        x = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(x.transpose(1, 2).flatten(2))


class SelfAttention(nn.Module):
    """PyTorch's own, as torchvision's vision transformers call it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.heads(x, x, x, need_weights=False)[0]


def tokens(attention: nn.Module) -> nn.Module:
    """A block of a vision transformer of 16 channels: attention, then a perceptron, each beside a shortcut."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.attention(self.norm(x))
        x = x + self.down(F.gelu(self.up(x)))
        return self.fc(x.mean(1))

    return Calls(
        run,
        patches=nn.Conv2d(3, 16, 2, 2),
        norm=nn.LayerNorm(16),
        attention=attention,
        up=nn.Linear(16, 32),
        down=nn.Linear(32, 16),
        fc=nn.Linear(16, 5),
    )

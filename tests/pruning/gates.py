"""Networks in which maps of one channel, learnt scalars and shuffles meet maps of many channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.pruning.nets import Calls, conv


def _head(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def spatial_gate() -> nn.Module:
    """One map opens all channels."""

    def run(self: Any, x: Tensor) -> Tensor:
        return self.fc(_head(self.b(self.a(x).relu() * self.gate(x).sigmoid()).relu()))

    return Calls(run, a=conv(3, 16), gate=conv(3, 1, 1), b=conv(16, 24), fc=nn.Linear(24, 5))


def one_gate_for_two() -> nn.Module:
    """The same map opens two branches of different widths, which it does not tie."""

    def run(self: Any, x: Tensor) -> Tensor:
        gate = self.gate(x).sigmoid()
        return self.fc(torch.cat([_head(self.c(self.a(x) * gate)), _head(self.d(gate * self.b(x)))], 1))

    return Calls(run, a=conv(3, 16), b=conv(3, 32), gate=conv(3, 1, 1), c=conv(16, 16), d=conv(32, 16), fc=nn.Linear(32, 5))


def cbam() -> nn.Module:
    """Woo et al. 2018 (arXiv:1807.06521): channels are weighed by a perceptron, pixels by mean and maximum over channels."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        pooled = [F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)]
        x = x * sum(self.up(self.down(p).relu()) for p in pooled).sigmoid()
        told = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return self.fc(_head(self.b(x * self.spatial(told).sigmoid())))

    return Calls(
        run,
        a=conv(3, 16),
        down=conv(16, 16, 1),
        up=conv(16, 16, 1),
        spatial=conv(2, 1, 7),
        b=conv(16, 24),
        fc=nn.Linear(24, 5),
    )


def eca() -> nn.Module:
    """Wang et al. 2020 (arXiv:1910.03151): a convolution over neighbouring channels, whose order therefore matters."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        weights = self.over(_head(x).unsqueeze(1)).squeeze(1).sigmoid()
        return self.fc(_head(self.c(self.b(x * weights[:, :, None, None]).relu())))

    return Calls(run, a=conv(3, 16), over=nn.Conv1d(1, 1, 3, padding=1), b=conv(16, 16), c=conv(16, 24), fc=nn.Linear(24, 5))


def attention_unet() -> nn.Module:
    """Oktay et al. 2018 (arXiv:1804.03999): a gate of one channel on the skip connection."""

    def run(self: Any, x: Tensor) -> Tensor:
        skip = self.enc(x).relu()
        deep = self.up(self.mid(F.max_pool2d(skip, 2)).relu())
        gate = self.psi((self.wg(deep) + self.wx(skip)).relu()).sigmoid()
        return self.out(self.dec(torch.cat([skip * gate, deep], 1)).relu())

    return Calls(
        run,
        enc=conv(3, 16),
        mid=conv(16, 32),
        up=nn.ConvTranspose2d(32, 16, 2, 2),
        wg=conv(16, 16, 1),
        wx=conv(16, 16, 1),
        psi=conv(16, 1, 1),
        dec=conv(32, 16),
        out=conv(16, 4, 1),
    )


def fused(normalised: bool = True) -> nn.Module:
    """BiFPN (Tan et al. 2020, arXiv:1911.09070): maps are added with learnt weights, one for each."""

    def run(self: Any, x: Tensor) -> Tensor:
        p, q = self.a(x).relu(), self.b(x).relu()
        w = self.weights.relu()
        w = w / (w.sum() + 1e-4) if normalised else w
        return self.fc(_head(self.d(self.c(w[0] * p + w[1] * q).relu())))

    return Calls(
        run,
        a=conv(3, 16),
        b=conv(3, 16),
        c=conv(16, 24),
        d=conv(24, 16),
        weights=nn.Parameter(torch.ones(2)),
        fc=nn.Linear(16, 5),
    )


def fused_by_scalars() -> nn.Module:
    """A scalar for each branch, as in residual scaling."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.alpha * self.b(self.a(x).relu())
        return self.fc(_head(x))

    return Calls(
        run, stem=conv(3, 16), a=conv(16, 24), b=conv(24, 16), alpha=nn.Parameter(torch.tensor(0.5)), fc=nn.Linear(16, 5)
    )


def expanded() -> nn.Module:
    """`expand_as`: squeeze and excitation as it was first published in PyTorch, and a map of one channel."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        gate = self.up(self.down(_head(x)).relu()).sigmoid()
        x = x * gate[:, :, None, None].expand_as(x)
        y = self.b(x).relu()
        return self.fc(_head(self.c(y * self.map(x).sigmoid().expand_as(y))))

    return Calls(
        run,
        a=conv(3, 16),
        down=nn.Linear(16, 16),
        up=nn.Linear(16, 16),
        b=conv(16, 24),
        map=conv(16, 1, 1),
        c=conv(24, 16),
        fc=nn.Linear(16, 5),
    )


def shufflenet() -> nn.Module:
    """Two units of ShuffleNet v2 (Ma et al. 2018, arXiv:1807.11164): branches joined and shuffled, then split again."""

    def shuffle(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = shuffle(torch.cat([self.short(x), self.last1(self.first1(x).relu())], 1))
        left, right = x.chunk(2, 1)
        x = shuffle(torch.cat([left, self.last2(self.first2(right).relu())], 1))
        return self.fc(_head(self.tail(x).relu()))

    return Calls(
        run,
        stem=conv(3, 16),
        short=conv(16, 16),
        first1=conv(16, 24, 1),
        last1=conv(24, 16, 1),
        first2=conv(16, 24, 1),
        last2=conv(24, 16, 1),
        tail=conv(32, 16, 1),
        fc=nn.Linear(16, 5),
    )


def retina() -> nn.Module:
    """One head on maps of three sizes."""

    def run(self: Any, x: Tensor) -> list[Tensor]:
        x = self.stem(x).relu()
        return [self.out(self.norm(self.tower(x[..., :: 2**k, :: 2**k])).relu()) for k in range(3)]

    return Calls(run, stem=conv(3, 16), tower=conv(16, 24), norm=nn.GroupNorm(1, 24), out=conv(24, 6))


def language_model() -> nn.Module:
    """Embedding and classifier are one tensor."""

    def run(self: Any, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        return self.out(x + self.down(self.up(x).relu()))

    model = Calls(
        run, embed=nn.Embedding(50, 16), up=nn.Linear(16, 32), down=nn.Linear(32, 16), out=nn.Linear(16, 50, bias=False)
    )
    model.out.weight = model.embed.weight
    return model


def summed_over_channels() -> nn.Module:
    """The mean over channels, without its axis, scales all of them."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        return self.fc(_head(self.b(x / (1 + x.amax(1)).unsqueeze(1))))

    return Calls(run, a=conv(3, 16), b=conv(16, 24), fc=nn.Linear(24, 5))


def context() -> nn.Module:
    """Global context (Cao et al. 2019, arXiv:1904.11492): one map weighs the pixels that are summed up."""

    def run(self: Any, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        weights = self.key(x).flatten(2).softmax(-1).unflatten(2, x.shape[2:])
        told = (x * weights).sum((2, 3), keepdim=True)
        return self.fc(_head(self.b(x + self.up(self.down(told).relu()))))

    return Calls(
        run,
        a=conv(3, 16),
        key=conv(16, 1, 1),
        down=conv(16, 8, 1),
        up=conv(8, 16, 1),
        b=conv(16, 24),
        fc=nn.Linear(24, 5),
    )


def depth_gate() -> nn.Module:
    """A single-channel input (a mask) opens all channels."""

    def run(self: Any, x: Tensor) -> Tensor:
        return self.fc(_head(self.b(self.a(x).relu() * x[:, :1])))

    return Calls(run, a=conv(3, 16), b=conv(16, 24), fc=nn.Linear(24, 5))

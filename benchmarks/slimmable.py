# mypy: allow-subclassing-any
"""A slimmable ResNet-20 (Yu et al., ICLR 2019, arXiv:1812.08928) to compare networks in groups with.

One set of dense weights of which each level uses the first k/G of all channels, with normalisations of its own for each level;
all levels are trained together.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from hwflow.dynamic.thin_network import Part, parts_of
from hwflow.network.models.cifar_resnet import PadShortcut
from hwflow.network.replica import replica
from hwflow.training.hooks import Batch, TrainingHook


class SlimmableNetwork(nn.Module):
    """A network whose modules use the first `level` of `levels` parts of their channels."""

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.parts, self.levels, self.level = parts_of(model, input_shape), levels, levels
        self.inner = replica(model)
        for name, part in self.parts.items():
            module = self.inner.get_submodule(name)
            if isinstance(module, nn.BatchNorm2d):
                count = module.num_features
                self.inner.set_submodule(name, Norms([nn.BatchNorm2d(count * k // levels) for k in range(1, levels + 1)]))
            else:
                self.inner.set_submodule(name, Sliced(module, part, levels))

    def set_level(self, level: int) -> None:
        """Use so many parts of the channels from now on."""
        self.level = level
        for module in self.inner.modules():
            if isinstance(module, (Sliced, Norms)):
                module.level = level

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to logits."""
        found: Tensor = self.inner(images)
        return found

    def plain(self, level: int) -> nn.Module:
        """A level as a plain module."""
        found = replica(self.inner)
        for name in self.parts:
            module = found.get_submodule(name)
            found.set_submodule(name, module.norms[level - 1] if isinstance(module, Norms) else module.plain(level))
        return found.eval()


class Norms(nn.Module):
    """A normalisation for each level."""

    def __init__(self, norms: list[nn.BatchNorm2d]) -> None:
        super().__init__()
        self.norms, self.level = nn.ModuleList(norms), len(norms)

    def forward(self, x: Tensor) -> Tensor:
        """That of the level."""
        found: Tensor = self.norms[self.level - 1](x)
        return found


class Sliced(nn.Module):
    """A convolution, linear layer or padding on the first channels."""

    def __init__(self, whole: nn.Module, part: Part, levels: int) -> None:
        super().__init__()
        self.whole, self.part, self.levels, self.level = whole, part, levels, levels

    def forward(self, x: Tensor) -> Tensor:
        """On the first channels of x, which are all that there are."""
        whole = self.whole
        if isinstance(whole, PadShortcut):
            return self.plain(self.level)(x)
        weight, bias = self._weights(self.level)
        if isinstance(whole, nn.Conv2d):
            return functional.conv2d(x, weight, bias, whole.stride, whole.padding)
        return functional.linear(x, weight, bias)

    def plain(self, level: int) -> nn.Module:
        """The same as a module of its own."""
        whole = self.whole
        if isinstance(whole, PadShortcut):
            return PadShortcut((whole.before + whole.after) * level // self.levels, whole.stride)
        weight, bias = self._weights(level)
        if isinstance(whole, nn.Conv2d):
            made: nn.Module = nn.Conv2d(
                weight.shape[1],
                weight.shape[0],
                whole.kernel_size,
                whole.stride,
                whole.padding,
                bias=bias is not None,
            )
        else:
            made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        values = {"weight": weight} | ({} if bias is None else {"bias": bias})
        made.load_state_dict({name: value.detach().clone() for name, value in values.items()})
        return made

    def _weights(self, level: int) -> tuple[Tensor, Tensor | None]:
        weight, bias = self.whole.weight, self.whole.bias
        assert isinstance(weight, Tensor)
        outputs = weight.shape[0] if self.part.gives == "result" else weight.shape[0] * level // self.levels
        inputs = weight.shape[1] if self.part.reads == "image" else weight.shape[1] * level // self.levels
        return weight[:outputs, :inputs], bias[:outputs] if isinstance(bias, Tensor) else None


class AllLevels(TrainingHook):
    """Adds the smaller levels' losses to the largest one's."""

    def start(self, model: nn.Module, steps: int) -> None:
        """Keep the network."""
        assert isinstance(model, SlimmableNetwork)
        self._model = model

    def loss(self, batch: Batch, loss: Tensor) -> Tensor:
        """The mean over all levels."""
        model = self._model
        for level in range(1, model.levels):
            model.set_level(level)
            loss = loss + functional.cross_entropy(model(batch.images).float(), batch.labels)
        model.set_level(model.levels)
        return loss / model.levels


__all__ = ["AllLevels", "SlimmableNetwork"]

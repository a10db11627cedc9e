# mypy: allow-subclassing-any
"""Convolutions and linear layers with inputs of few bits and coded weights, that train by the straight-through estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from hwflow.compression.quantization.integers import ACTIVATION_BITS, LEVELS, Scale, activation_scale, symmetric_integers
from hwflow.compression.quantization.powers import TERM_BITS, power_sum, top_exponent
from hwflow.datasets.samples import Samples

_OPSET = 13
_KEPT = 1 << 16  # activations looked at, a layer and batch


class Code(NamedTuple):
    """How weights are stored: as integers a channel of that many bits, or as sums of that many powers of two."""

    kind: str
    size: int

    @property
    def bits(self) -> int:
        """Of a weight."""
        return self.size if self.kind == "integer" else TERM_BITS * self.size

    def of(self, weights: Tensor) -> Tensor:
        """The values that the codes of weights stand for."""
        if self.kind == "integer":
            integers, steps = symmetric_integers(weights, self.size)
            return integers * steps
        return power_sum(weights, self.size, top_exponent(weights))


class _Quantized(nn.Module):
    """What both kinds of layers share.

    Attributes:
        code: of the weights; None once these are the ones that are stored.
        input_bits: of the inputs, 8 at most; None leaves them as they are.
        input_scale: step and zero level of the inputs, a buffer; `scale`: the same as numbers.
    """

    code: Code | None
    input_bits: int | None
    scale: Scale
    input_scale: Tensor
    weight: Tensor

    def quantized_input(self, values: Tensor) -> Tensor:
        """Rounded inputs; gradients pass inside the range.

        In ONNX this is a pair of QuantizeLinear and DequantizeLinear, behind a Clip where there are fewer levels than 256.
        """
        if self.input_bits is None:
            return values
        (step, zero), levels = self.scale, 2**self.input_bits
        if torch.compiler.is_exporting():
            if levels < LEVELS:
                values = values.clamp(-zero * step, (levels - 1 - zero) * step)
            scale = torch.tensor(step), torch.tensor(zero, dtype=torch.uint8)
            shape, symbol = values.shape, torch.onnx.ops.symbolic
            levels = symbol("QuantizeLinear", (values, *scale), dtype=torch.uint8, shape=shape, version=_OPSET)
            return cast("Tensor", symbol("DequantizeLinear", (levels, *scale), dtype=values.dtype, shape=shape, version=_OPSET))
        return torch.fake_quantize_per_tensor_affine(values, step, zero, 0, levels - 1)

    def _load_from_state_dict(self, *given: Any) -> None:
        super()._load_from_state_dict(*given)
        self.scale = _scale_of(self.input_scale)

    def quantized_weight(self) -> Tensor:
        """Coded weights; gradients pass as if they were not."""
        if self.code is None:
            return self.weight
        return self.weight + (self.code.of(self.weight.detach()) - self.weight).detach()


class QuantizedConv2d(_Quantized, nn.Conv2d):
    """A `Conv2d` with rounded inputs and coded weights."""

    def forward(self, values: Tensor) -> Tensor:
        """The convolution."""
        return self._conv_forward(self.quantized_input(values), self.quantized_weight(), self.bias)


class QuantizedLinear(_Quantized, nn.Linear):
    """A `Linear` with rounded inputs and coded weights."""

    def forward(self, values: Tensor) -> Tensor:
        """The product."""
        return nn.functional.linear(self.quantized_input(values), self.quantized_weight(), self.bias)


_KINDS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: QuantizedConv2d, nn.Linear: QuantizedLinear}


def quantizable(model: nn.Module) -> Iterator[str]:
    """The modules that can be quantized, by name: plain `Conv2d` and `Linear`."""
    return (name for name, module in model.named_modules() if type(module) in _KINDS)


def quantize(
    model: nn.Module, name: str, code: Code | None, scale: Scale | None = None, input_bits: int | None = ACTIVATION_BITS
) -> None:
    """Make a module of a network a quantized one, in place; its parameters keep their names.

    Args:
        code: of its weights; None where they are stored ones.
        scale: of its inputs; None where it is loaded later.
        input_bits: see `_Quantized`.
    """
    module: Any = model.get_submodule(name)
    module.__class__ = _KINDS[type(module)]
    module.code, module.input_bits = code, input_bits
    module.register_buffer("input_scale", torch.tensor(scale or Scale(1.0, 0), dtype=torch.float32))
    module.scale = _scale_of(module.input_scale)


def _scale_of(buffer: Tensor) -> Scale:
    return Scale(float(buffer[0]), int(buffer[1]))


def store_codes(model: nn.Module) -> None:
    """Replace the weights of all quantized modules by the values of their codes."""
    for module in model.modules():
        if isinstance(module, _Quantized) and module.code is not None:
            with torch.no_grad():
                module.weight.copy_(module.code.of(module.weight))
            module.code = None


def input_scales(
    model: nn.Module, names: list[str], samples: Samples, *, batches: int, batch_size: int, seed: int, device: str
) -> dict[str, Scale]:
    """Scales of the inputs of some modules, from samples that the network computes in evaluation mode."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def watching(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def watch(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            flat = inputs[0].detach().flatten().float().cpu()
            seen[name].append(flat[:: max(1, len(flat) // _KEPT)])

        return watch

    hooks = [model.get_submodule(name).register_forward_pre_hook(watching(name)) for name in names]
    try:
        model.eval()
        with torch.no_grad():
            for at, (images, _) in enumerate(samples.batches(batch_size, seed=seed, device=device), start=1):
                model(images)
                if at == batches:
                    break
    finally:
        for hook in hooks:
            hook.remove()
    return {name: activation_scale(torch.cat(found)) for name, found in seen.items() if found}

# mypy: allow-subclassing-any
"""Convolutions and linear layers with coded weights and inputs of a few levels; they train by straight-through gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwflow.compression.quantization.integer_reference import signs
from hwflow.compression.quantization.integers import ACTIVATION_BITS, LEVELS, Coded, Scale, activation_scale, coded_integers
from hwflow.compression.quantization.powers import EXPONENTS, TERM_BITS, power_sum, top_exponent
from hwflow.datasets.samples import Samples

_OPSET = 13
_KEPT = 1 << 16  # activations looked at, a layer and batch
SIGNS = Scale(1.0, 0, 2)
"""Inputs of which the sign is taken: +1, also of 0, and -1."""
REAL = Scale(1.0, 0, 0)
"""Inputs that are left as they are."""


class Code(NamedTuple):
    """How weights are stored: as integers of that many bits (`kind` integer), as sums of that many powers of two (powers), or
    as signs (signs, of 1 bit)."""

    kind: str
    size: int
    affine: bool = False
    per_channel: bool = True

    @property
    def bits(self) -> int:
        """Of a weight."""
        return TERM_BITS * self.size if self.kind == "powers" else self.size

    def coded(self, weights: Tensor) -> Coded:
        """The integers that are stored, and what they stand for; powers of two in units of the smallest."""
        one = torch.ones_like(weights[:1].flatten(1)[:, :1]).reshape(1, *[1] * (weights.dim() - 1))
        if self.kind == "integer":
            return coded_integers(weights, self.size, affine=self.affine, per_channel=self.per_channel)
        if self.kind == "signs":
            return Coded(signs(weights), one, one * 0)
        top = top_exponent(weights)
        return in_steps(power_sum(weights, self.size, top), top)

    def of(self, weights: Tensor) -> Tensor:
        """The values that the codes of weights stand for."""
        return self.coded(weights).values


def in_steps(sums: Tensor, top: int) -> Coded:
    """Sums of powers of two, of which 2^top is the largest, in units of the smallest."""
    step = torch.full([1] * sums.dim(), 2.0 ** (top - EXPONENTS + 1), dtype=sums.dtype, device=sums.device)
    return Coded(sums / step, step, step * 0)


class WeightCode(nn.Module):
    """A code that is trained with the weights: `forward` gives differentiable values, `coded` what is stored of them."""

    def coded(self, weights: Tensor) -> Coded:
        """As of `Code`."""
        raise NotImplementedError


class _Quantized(nn.Module):
    """What both kinds of layers share.

    Attributes:
        code: of the weights; None once these are the ones that are stored.
        input_scale: step, zero and levels of the inputs, a buffer; `scale`: the same as numbers.
        weight_steps, weight_zeros: of each output channel, what is stored beside the integers; no steps where weights are real.
        constants: integers, steps and zeros for the export, once the weights are the ones that are stored.
    """

    code: Code | WeightCode | None
    scale: Scale
    input_scale: Tensor
    weight: Tensor
    weight_steps: Tensor
    weight_zeros: Tensor
    bias: Tensor | None
    constants: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def quantized_input(self, values: Tensor) -> Tensor:
        """Inputs at their levels; gradients pass inside the range. In ONNX this is a pair of QuantizeLinear and
        DequantizeLinear, and for signs a comparison with zero."""
        step, zero, levels = self.scale
        if levels == REAL.levels:
            return values
        if levels == SIGNS.levels:
            bounded = values.clamp(-1, 1)
            return signs(values) + (bounded - bounded.detach())  # the second part is 0 and has the gradient
        if torch.compiler.is_exporting():
            scale = torch.tensor(step), torch.tensor(zero, dtype=torch.uint8)
            shape, symbol = values.shape, torch.onnx.ops.symbolic
            if levels < LEVELS:  # the integers of ONNX have 8 bits
                values = values.clamp(-zero * step, (levels - 1 - zero) * step)
            quantized = symbol("QuantizeLinear", (values, *scale), dtype=torch.uint8, shape=shape, version=_OPSET)
            if self.exact:
                scale = torch.tensor(1.0), scale[1]
            return cast(
                "Tensor", symbol("DequantizeLinear", (quantized, *scale), dtype=values.dtype, shape=shape, version=_OPSET)
            )
        return torch.fake_quantize_per_tensor_affine(values, step, zero, 0, levels - 1)

    def quantized_weight(self) -> Tensor:
        """Coded weights; gradients pass as if they were not."""
        if isinstance(self.code, nn.Module):
            return cast("Tensor", self.code(self.weight))
        if self.code is not None:
            return self.code.of(self.weight.detach()) + (self.weight - self.weight.detach())
        if torch.compiler.is_exporting() and self.constants is not None:
            integers, steps, zeros, _ = self.constants
            return cast(
                "Tensor",
                torch.onnx.ops.symbolic(
                    "DequantizeLinear",
                    (integers, torch.ones(len(steps)) if self.exact else steps, zeros),
                    {"axis": 0},
                    dtype=self.weight.dtype,
                    shape=self.weight.shape,
                    version=_OPSET,
                ),
            )
        return self.weight

    @property
    def exact(self) -> bool:
        """Whether the layer is exported as a product of whole numbers, which float32 sums exactly in any order up to 2^24, and
        then a scale and a bias: so every runtime gives the same bits."""
        return torch.compiler.is_exporting() and self.constants is not None and self.scale.levels != REAL.levels

    def scaled(self, sums: Tensor, axis: int) -> Tensor:
        """Sums of whole numbers as values, with the bias; channels are on the axis."""
        assert self.constants is not None
        shape = [1] * sums.dim()
        shape[axis] = -1
        found = sums * self.constants[3].reshape(shape)
        return found if self.bias is None else found + self.bias.reshape(shape)

    @property
    def integers(self) -> Tensor:
        """What is stored of the weights, int64; to be asked for once they are."""
        shape = (-1, *[1] * (self.weight.dim() - 1))
        steps, zeros = self.weight_steps.reshape(shape), self.weight_zeros.reshape(shape)
        return (torch.round(self.weight.detach() / steps) + zeros).to(torch.int64)

    def fix_constants(self) -> None:
        """Keep what the exporter cannot compute while it traces: integers, steps and zeros, as ONNX stores them."""
        if not bool(self.weight_steps.all()):
            return  # weights that are real numbers
        kind = torch.uint8 if bool((self.weight_zeros != 0).any()) else torch.int8
        self.constants = (
            self.integers.to(kind).cpu(),
            self.weight_steps.detach().cpu().clone(),
            self.weight_zeros.to(kind).cpu(),
            (self.scale.step * self.weight_steps.detach().double()).float().cpu(),
        )

    def store(self) -> None:
        """Replace the weights by the values of their codes."""
        if self.code is None:
            return
        with torch.no_grad():
            coded = self.code.coded(self.weight.detach())
            self.weight.copy_(coded.values)
            self.weight_steps.copy_(coded.steps.flatten().expand(len(self.weight)))
            self.weight_zeros.copy_(coded.zeros.flatten().expand(len(self.weight)))
        self.code = None
        self.fix_constants()

    def _load_from_state_dict(self, *given: Any) -> None:
        super()._load_from_state_dict(*given)
        self.scale = _scale_of(self.input_scale)
        if self.code is None:
            self.fix_constants()


class QuantizedConv2d(_Quantized, nn.Conv2d):
    """A `Conv2d` with quantized inputs and coded weights; signs are padded with +1, since there is no third value."""

    def forward(self, values: Tensor) -> Tensor:
        """The convolution."""
        inputs, weights, bias = self.quantized_input(values), self.quantized_weight(), None if self.exact else self.bias
        if self.scale.levels == SIGNS.levels and any(self._reversed_padding_repeated_twice):
            padded = functional.pad(inputs, self._reversed_padding_repeated_twice, value=1.0)
            found = functional.conv2d(padded, weights, bias, self.stride, 0, self.dilation, self.groups)
        else:
            found = self._conv_forward(inputs, weights, bias)
        return self.scaled(found, 1) if self.exact else found


class QuantizedLinear(_Quantized, nn.Linear):
    """A `Linear` with quantized inputs and coded weights."""

    def forward(self, values: Tensor) -> Tensor:
        """The product."""
        bias = None if self.exact else self.bias
        found = functional.linear(self.quantized_input(values), self.quantized_weight(), bias)
        return self.scaled(found, -1) if self.exact else found


_KINDS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: QuantizedConv2d, nn.Linear: QuantizedLinear}


def quantizable(model: nn.Module) -> Iterator[str]:
    """The modules that can be quantized, by name: plain `Conv2d` and `Linear`."""
    return (name for name, module in model.named_modules() if type(module) in _KINDS)


def quantized(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The quantized modules and their names."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, _Quantized))


def quantize(
    model: nn.Module,
    name: str,
    code: Code | WeightCode | None,
    scale: Scale | None = None,
    input_bits: int | None = ACTIVATION_BITS,
) -> None:
    """Make a module of a network a quantized one, in place; its parameters keep their names.

    Args:
        code: of its weights; None where they are stored ones, or stay real numbers.
        scale: of its inputs; None where it is loaded later.
        input_bits: None leaves inputs as they are.
    """
    module: Any = model.get_submodule(name)
    module.__class__ = _KINDS[type(module)]
    module.code = code
    module.register_buffer("input_scale", torch.zeros(3))
    module.register_buffer("weight_steps", torch.zeros(len(module.weight)))
    module.register_buffer("weight_zeros", torch.zeros(len(module.weight)))
    set_scale(module, REAL if input_bits is None else scale or Scale(1.0, 0, 2**input_bits))


def set_scale(module: Any, scale: Scale) -> None:
    """Give a quantized module the scale of its inputs."""
    module.input_scale.copy_(torch.tensor(scale, dtype=torch.float32))
    module.scale = _scale_of(module.input_scale)
    if module.constants is not None:
        module.fix_constants()


def _scale_of(buffer: Tensor) -> Scale:
    return Scale(float(buffer[0]), int(buffer[1]), int(buffer[2]))


def store_codes(model: nn.Module) -> None:
    """Replace the weights of all quantized modules by the values of their codes."""
    for _, module in quantized(model):
        module.store()


def input_scales(
    model: nn.Module,
    names: list[str],
    samples: Samples,
    *,
    batches: int,
    batch_size: int,
    seed: int,
    device: str,
    bits: Callable[[str], int] = lambda _: ACTIVATION_BITS,
    affine: bool = False,
) -> dict[str, Scale]:
    """Scales of the inputs of some modules, from samples that the network computes in evaluation mode; `bits` by name."""
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
    return {name: activation_scale(torch.cat(found), bits(name), affine=affine) for name, found in seen.items() if found}

"""Codes of weights, and what integer hardware makes of them, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hwflow.compression.quantization.integer_reference import (
    Window,
    integer_conv,
    packed_signs,
    shift_add_conv,
    signs,
    xnor_conv,
    xnor_product,
)
from hwflow.compression.quantization.integers import activation_scale, coded_integers, symmetric_integers
from hwflow.compression.quantization.powers import PowerCodes, codes_of, nearest_power, power_sum, top_exponent
from hwflow.errors import InputError

WINDOWS = [
    (Window(), (6, 4, 3, 3)),
    (Window((2, 1), (1, 2), (1, 2)), (6, 4, 3, 5)),
    (Window(padding=(1, 1), groups=2), (6, 2, 3, 3)),
    (Window(groups=4), (4, 1, 1, 1)),
]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def floated(inputs: torch.Tensor, weights: torch.Tensor, window: Window) -> torch.Tensor:
    return functional.conv2d(inputs.double(), weights.double(), None, *window[:3], window.groups)


def test_residuals_of_a_million_values_are_bounded() -> None:
    values = drawn(10**6) * torch.exp(3 * drawn(10**6, seed=1))
    first = values - nearest_power(values)
    assert float((first / values).abs().max()) <= 1 / 3
    assert float(((first - nearest_power(first)) / values).abs().max()) <= 1 / 11 + 1e-12
    powers = torch.tensor([0.0, 1.0, -0.25, 1.5, 0.75, 0.74, -3.0], dtype=torch.float64)
    assert nearest_power(powers).tolist() == [0.0, 1.0, -0.25, 2.0, 1.0, 0.5, -4.0]


@pytest.mark.parametrize("terms", [1, 2])
def test_codes_stand_for_the_sums_and_are_fixed_points(terms: int) -> None:
    weights = drawn(40, 30) * 0.2
    top = top_exponent(weights)
    found = power_sum(weights, terms, top)
    assert torch.equal(power_sum(found, terms, top), found)
    assert torch.equal(codes_of(weights, terms).values(torch.float64), found)
    assert torch.equal(codes_of(found, terms, top).values(torch.float64), found)
    magnitudes = found[found != 0].abs()
    assert float(magnitudes.min()) >= 2.0 ** (top - 6)
    assert float(magnitudes.max()) <= terms * 2.0**top
    powers = torch.ldexp(torch.ones(7, dtype=torch.float64), torch.arange(top - 6, top + 1))
    assert torch.equal(power_sum(-powers, terms, top), -powers)


def test_codes_take_four_bits_a_term_and_read_back() -> None:
    codes = codes_of(drawn(3, 5, 1, 1), 2)
    content = codes.packed()
    assert len(content) == 15
    again = PowerCodes.unpacked(content, tuple(codes.codes.shape), codes.top)
    assert torch.equal(again.codes, codes.codes)
    assert torch.equal(again.values(), codes.values())
    with pytest.raises(InputError, match=r"codes of shape \[2, 3, 5, 1, 1\] take 15 bytes, not 14"):
        PowerCodes.unpacked(content[:-1], tuple(codes.codes.shape), codes.top)


@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize(("window", "shape"), WINDOWS)
def test_shifts_and_additions_give_the_convolution_to_the_bit(window: Window, shape: tuple[int, ...], terms: int) -> None:
    inputs = torch.randint(0, 256, (2, 4, 9, 11), generator=torch.Generator().manual_seed(terms))
    codes = codes_of(drawn(*shape) * 0.1, terms)
    expected = floated(inputs, codes.values(torch.float64), window)
    assert torch.equal(torch.ldexp(shift_add_conv(inputs, codes, window).double(), torch.tensor(codes.lowest)), expected)


@pytest.mark.parametrize(("window", "shape"), WINDOWS)
def test_integers_give_the_convolution_to_the_bit(window: Window, shape: tuple[int, ...]) -> None:
    inputs = torch.randint(-127, 128, (2, 4, 9, 11), generator=torch.Generator().manual_seed(3))
    weights, _ = symmetric_integers(drawn(*shape), 8)
    assert torch.equal(integer_conv(inputs, weights, window).double(), floated(inputs, weights, window))


@pytest.mark.parametrize("length", [1, 7, 8, 9, 64, 300])
def test_xnor_and_popcount_give_the_product_of_signs(length: int) -> None:
    left, right = signs(drawn(5, length)), signs(drawn(4, length, seed=1))
    assert torch.equal(xnor_product(packed_signs(left), packed_signs(right), length).double(), left @ right.T)


@pytest.mark.parametrize("window", [Window(), Window((2, 2), (1, 1))])
def test_xnor_gives_the_convolution_of_signs(window: Window) -> None:
    inputs, weights = signs(drawn(2, 5, 7, 8)), signs(drawn(6, 5, 3, 3, seed=1))
    down, across = window.padding
    padded = functional.pad(inputs, (across, across, down, down), value=1.0)
    assert torch.equal(xnor_conv(inputs, weights, window).double(), floated(padded, weights, window._replace(padding=(0, 0))))


def test_zero_has_a_sign() -> None:
    assert signs(torch.tensor([0.0, -0.0, -1e-30, 2.0])).tolist() == [1, 1, -1, 1]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_integers_keep_the_largest_weight_of_a_channel(bits: int) -> None:
    weights = torch.cat([drawn(3, 8), torch.zeros(1, 8, dtype=torch.float64)])
    integers, steps = symmetric_integers(weights, bits)
    assert torch.equal(integers, integers.round())
    assert float(integers.abs().max()) == 2 ** (bits - 1) - 1
    assert float(((integers * steps - weights).abs() / steps).max()) <= 0.5
    assert torch.equal(symmetric_integers(integers * steps, bits)[0], integers)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_affine_integers_span_the_range_of_the_weights(bits: int, per_channel: bool) -> None:
    weights = drawn(3, 40) + torch.tensor([[0.0], [2.0], [-9.0]])
    integers, steps, zeros = coded_integers(weights, bits, affine=True, per_channel=per_channel)
    assert torch.equal(integers, integers.round())
    assert float(integers.min()) == 0
    assert float(integers.max()) == 2**bits - 1
    assert float((((integers - zeros) * steps - weights) / steps).abs().max()) <= 1 + 1e-9  # the zero is rounded, too
    assert steps.shape == (3, 1) if per_channel else (1, 1)
    assert float(zeros.flatten()[-1]) == (2**bits - 1 if per_channel else float(zeros))


def test_affine_scales_end_where_the_activations_do() -> None:
    values = drawn(5000).abs() - 0.5
    scale = activation_scale(values, 4, affine=True)
    assert scale.levels == 16
    low, high = (float(values.quantile(q)) for q in (0.001, 0.999))
    assert scale.step * 15 == pytest.approx(high - low, rel=1e-6)
    assert scale.integers(torch.tensor([-99.0, 0.0, 99.0])).tolist() == [-scale.zero, 0, 15 - scale.zero]
    assert activation_scale(values.abs(), 4, affine=True).zero == 0


def test_scales_of_activations_have_a_sign_where_it_is_needed() -> None:
    plain, signed = activation_scale(drawn(5000).abs()), activation_scale(drawn(5000))
    assert (plain.zero, signed.zero) == (0, 128)
    assert signed.integers(torch.tensor([-1e9, 0.0, 1e9])).tolist() == [-128, 0, 127]
    assert plain.step * 255 == pytest.approx(float(drawn(5000).abs().quantile(0.999)), rel=1e-6)
    assert plain.integers(torch.tensor([-1.0, 1e9, plain.step * 3.4])).tolist() == [0, 255, 3]


def test_what_cannot_be_quantized_is_refused() -> None:
    with pytest.raises(InputError, match="a sum of 3 powers of two; allowed: 1, 2"):
        power_sum(drawn(2), 3, 0)
    for call in (lambda w: codes_of(w, 1), lambda w: symmetric_integers(w, 8), activation_scale):
        with pytest.raises(InputError, match="not finite"):
            call(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(InputError, match="bits is 9"):
        symmetric_integers(drawn(2, 2), 9)

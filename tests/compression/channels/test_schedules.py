"""Schedules against their closed values."""

from __future__ import annotations

import math

import pytest

from hwflow.compression.channels.gradual_options import GradualSettings
from hwflow.compression.channels.schedules import Asymptotic, Constant, Falling, check_ratio, check_scale
from hwflow.errors import InputError


@pytest.mark.parametrize("ratio", [0.3, 0.75, 0.99])
def test_the_asymptotic_ratio_passes_its_points(ratio: float) -> None:
    schedule = Asymptotic()
    x = 0.25
    for _ in range(60):  # the root of 1 - x = 3/4 (1 - x^8)
        x = 1 - 0.75 * (1 - x**8)
    assert x == pytest.approx(0.2500114, abs=1e-7)
    for t in (0.0, 0.05, 1 / 8, 0.3, 1 / 2, 0.9, 1.0):
        assert schedule(t, ratio) == pytest.approx(ratio * (1 - x ** (8 * t)) / (1 - x**8), abs=1e-9)
    assert schedule(0.0, ratio) == 0
    assert schedule(1 / 8, ratio) == pytest.approx(0.75 * ratio, abs=1e-9)
    assert schedule(1 / 2, ratio) == pytest.approx(0.99611 * ratio, abs=1e-5)
    assert schedule(1.0, ratio) == pytest.approx(ratio, abs=1e-15)


@pytest.mark.parametrize("start", [0.1, 0.35, 0.37])
def test_the_asymptotic_ratio_can_start_above_zero(start: float) -> None:
    schedule = Asymptotic(start)
    for t, value in ((0.0, start), (1 / 8, 0.375), (1.0, 0.5)):
        assert schedule(t, 0.5) == pytest.approx(value, abs=1e-9)
    values = [schedule(i / 50, 0.5) for i in range(51)]
    assert values == sorted(values)


def test_scales_fall_to_zero() -> None:
    for law in ("linear", "cosine", "ratio"):
        scale = Falling(0.8, law)  # type: ignore[arg-type]
        values = [scale(i / 20, Asymptotic()(i / 20, 0.5) / 0.5) for i in range(21)]
        assert values[0] == pytest.approx(0.8)
        assert values[-1] == 0
        assert values == sorted(values, reverse=True)
    assert Falling()(0.25, 0.0) == 0.75
    assert Falling(1.0, "cosine")(0.25, 0.0) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert Falling(1.0, "ratio")(0.25, 0.9) == pytest.approx(0.1)
    assert Falling(0.0)(0.0, 0.0) == 0
    assert Constant()(0.0, 0.4) == 0.4


def test_bad_values_are_named() -> None:
    for ratio in (-0.1, 1.0, math.nan, "0.5"):
        with pytest.raises(InputError, match=r"the ratio of pruned units is .*; it must be at least 0 and below 1"):
            check_ratio(ratio)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"scale_start is 1.5; it must be a number from 0 to 1"):
        Falling(1.5)
    with pytest.raises(InputError, match="scale_law is 'square'; allowed: linear, cosine, ratio"):
        Falling(1.0, "square")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"ratio_start is 0.375; .* below three quarters of the ratio at the end.*below 0.375"):
        Asymptotic(0.375)(0.0, 0.5)
    with pytest.raises(InputError, match=r"ends at 0.2; it must end at 0, or units are cut that still contribute"):
        check_scale(lambda t, share: 0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preparation": 0}, "preparation is 0; it must be a share of the epochs, above 0 and at most 1"),
        ({"unit": "row"}, "unit is 'row'; allowed: channel, column"),
        ({"ratio_start": 1.0}, "ratio_start is 1.0; it must be a share of the units, at least 0 and below 1"),
        ({"interval": 0}, "interval is 0; it must be a whole number of at least 1"),
        ({"ramp_steps": 2.5}, "ramp_steps is 2.5; it must be a whole number of at least 1"),
        ({"growth": -1.0}, "growth is -1.0; it must be a number above 0"),
        ({"limit": 0.0}, "limit is 0.0; it must be a number above 0"),
    ],
)
def test_settings_name_the_field(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GradualSettings(**changes)  # type: ignore[arg-type]

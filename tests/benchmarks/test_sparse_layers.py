"""The benchmark of sparse layers, and what it has to reach."""

from __future__ import annotations

import pytest

from benchmarks import sparse_layers
from hwflow.compression.kernels.cpu_time import CpuTime


def test_nothing_is_reported_where_the_machine_is_too_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {name: CpuTime(0.01, 0.02) for name in ("direct, NCHW", "dense Winograd", "sparse Winograd, torch")}
    times |= {"direct, NHWC": CpuTime(0.005, 0.02), "im2col + CSR, torch": CpuTime(0.02, 0.02)}
    monkeypatch.setattr(sparse_layers, "layer_times", lambda *_: times)
    *_, row = sparse_layers.rows([(512, 14)], [0.9], 3)
    assert row == "| 512 > 512, 14 x 14, 90% | 5.00 (92) | 0.50x | 0.50x (torch) | 0.25x (torch) |"
    *_, row = sparse_layers.rows([(64, 14)], [0.9], 3)
    assert row == "| 64 > 64, 14 x 14, 90% | 5.00 (1): the machine is too busy | | | |"


@pytest.mark.slow
def test_sparse_winograd_is_faster_than_the_best_direct_convolution() -> None:
    """By 1.3 at 95 % zeros, 512 > 512, 14 x 14; with numba."""
    pytest.importorskip("numba")
    sparse_layers.pin()
    times = sparse_layers.layer_times(512, 14, 0.95)
    direct, rate = sparse_layers.speed(512, 14, times)
    if rate < sparse_layers.SANE:
        pytest.skip(f"the machine is too busy: the direct convolution has {rate:.0f} GMAC/s")
    assert direct >= 1.3 * times["sparse Winograd, numba"].least_s

"""Measured rows by PyTorch, and by onnxruntime where it is installed."""

from __future__ import annotations

from typing import Any

import pytest

from hwflow.dynamic import measurement
from hwflow.dynamic.measurement import measured_rows, runtimes
from hwflow.errors import HwflowError, InputError
from tests.dynamic.nets import plain

KNOWN = {1: (0.5, 10), 2: (0.6, 20)}


@pytest.mark.slow  # networks are exported
def test_both_runtimes_are_units_of_their_own() -> None:
    pytest.importorskip("onnxruntime")
    assert runtimes() == ("torch", "onnxruntime")
    table = measured_rows("net", {1: plain(), 2: plain()}, KNOWN, (1, 8, 8), (1,), notify=print)
    assert [(row.unit, row.level) for row in table.rows] == [
        (unit, level) for unit in ("cpu-1-thread", "cpu-1-thread-onnxruntime") for level in (1, 2)
    ]
    assert all(row.latency_s > 0 and row.energy_j is None for row in table.rows)
    assert table.about["onnxruntime"]


def test_a_runtime_that_fails_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise HwflowError("the pruned network cannot be exported to ONNX: no")

    monkeypatch.setattr(measurement, "_in_onnxruntime", refused)
    monkeypatch.setattr(measurement, "runtimes", lambda: ("onnxruntime", "torch"))
    monkeypatch.setattr(measurement, "needed", lambda *_: type("Runtime", (), {"__version__": "0"}))
    monkeypatch.setattr(measurement, "usable_cores", lambda: 2)
    told: list[str] = []
    table = measured_rows("net", {1: plain(), 2: plain()}, KNOWN, (1, 8, 8), (2,), notify=told.append)
    assert {row.unit for row in table.rows} == {"cpu-2-threads"}
    assert told == ["cpu-2-threads-onnxruntime was not measured: the pruned network cannot be exported to ONNX: no"]
    monkeypatch.setattr(measurement, "usable_cores", lambda: 1)
    monkeypatch.setattr(measurement, "time_in_turns", lambda *_, **__: {1: measurement.Timing(1.0, 1.0, 1.0, 2, 2, None, 1.0)})
    measured_rows("net", {1: plain()}, KNOWN, (1, 8, 8), (1, 2), notify=told.append)
    assert [text.partition(" only")[0] for text in told[1:]] == ["cpu-2-threads: this process may use 1 core"]
    with pytest.raises(InputError, match="threads of a measurement is 0"):
        measurement.check_threads((1, 0))

"""`hwflow list`."""

from __future__ import annotations

from terminal import Run


def test_lists(hw: Run) -> None:
    assert "mobilenet_v2  " in hw("list", "networks")[1]
    assert "eyeriss_256  " in hw("list", "accelerators")[1]
    code, out, err = hw("list", "dataflows")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [
        "flexible",
        "output_stationary",
        "row_stationary",
        "weight_stationary",
    ]

"""The benchmark of speed: what it makes of the runs of several commits."""

from __future__ import annotations

from benchmarks import speed


def run(drawn: float, one: float, shapes: list[float]) -> dict[str, float | list[float]]:
    return {"drawn": drawn, "one": one, "perfect": shapes, "ragged": [2 * seconds for seconds in shapes]}


def test_the_least_of_the_runs_counts_for_each_shape() -> None:
    found = speed.least([run(0.3, 0.2, [0.010, 0.030, 0.020]), run(0.1, 0.4, [0.020, 0.012, 0.025])])
    assert found == {"drawn": speed.BATCH / 0.1, "one": speed.BATCH / 0.2, "perfect": 12.0, "ragged": 24.0}


def test_rows_have_ratios_to_the_first_commit() -> None:
    before = speed.least([run(0.2, 0.1, [0.010])])
    lines = speed.rows({"before": before, "after": speed.least([run(0.1, 0.05, [0.005])])})
    assert lines[2] == "| before | 163,840 | 1.00 | 327,680 | 1.00 | 10.0 ms | 1.00 | 20.0 ms | 1.00 |"
    assert lines[3] == "| after | 327,680 | 2.00 | 655,360 | 2.00 | 5.0 ms | 0.50 | 10.0 ms | 0.50 |"

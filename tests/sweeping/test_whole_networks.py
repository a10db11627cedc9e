"""Sweeps whose layers depend on one another: a point is what an estimate of the whole network says."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import hwflow
from hwflow.errors import InputError
from hwflow.sweeping import run

LAYERS = [
    {"name": "stem", "C": 3, "M": 8, "P": 8, "Q": 8, "R": 3, "S": 3},
    {"name": "a", "C": 8, "M": 8, "P": 8, "Q": 8, "R": 3, "S": 3},
    {"name": "b", "C": 8, "M": 8, "P": 8, "Q": 8, "R": 3, "S": 3},
]
SUM = {"name": "sum", "type": "Add", "words_in": 1024, "words_out": 512, "inputs": ["b", "stem"]}
FIELDS = {"global_buffer.size_kib": [2, 8], "vector_unit.operations_per_cycle": [1, 16]}
SWEEP = {
    "networks": ["net.yaml"],
    "accelerators": [{"base": "eyeriss", "set": FIELDS}],
    "levels": ["coarse", "mid"],
    "energy": "normalized",
    "activations": "resident",
    "operators": "all",
}


def written(folder: Path, **changes: object) -> Path:
    (folder / "net.yaml").write_text(json.dumps({"layers": LAYERS, "other": [SUM]}), encoding="utf-8")
    (folder / "sweep.yaml").write_text(json.dumps({**SWEEP, **changes}), encoding="utf-8")
    return folder / "sweep.yaml"


def test_a_point_is_what_an_estimate_says(tmp_path: Path) -> None:
    result = run(written(tmp_path), tmp_path / "out")
    assert (result.points, dict(result.failures), result.counts.asked) == (8, {}, result.counts.layers)
    frame, layers = result.frame(), pd.read_parquet(tmp_path / "out" / "layers.parquet")
    for row in frame.to_dict("records"):
        chip = hwflow.Accelerator.load("eyeriss").with_({name: row[name] for name in FIELDS})
        more = {"activations": "resident", "operators": "all"} if row["level"] == "mid" else {}
        cost = hwflow.estimate(tmp_path / "net.yaml", chip, level=row["level"], energy="normalized", **more)  # type: ignore[arg-type]
        for name in ("energy_normalized", "cycles", "latency_s", "dram_bytes", "utilization"):
            assert row[name] == pytest.approx(getattr(cost, name), rel=1e-12), name
        mine = layers[layers["point"] == row["point"]]
        assert list(mine["layer"]) == ["stem", "a", "b", "operators"]
        assert list(mine["cycles"]) == [*(r.cycles for r in cost.rows), sum(o.cycles for o in cost.operators)]
    before = (tmp_path / "out" / "results.csv").read_bytes()
    assert run(written(tmp_path), tmp_path / "out").counts.points == 0
    assert (tmp_path / "out" / "results.csv").read_bytes() == before
    assert "tensors between layers stay on the chip where they fit" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_time_at_the_edges_of_layers_is_asked_for_in_the_file(tmp_path: Path) -> None:
    plain = {"activations": "dram", "operators": "mac", "accelerators": ["eyeriss"]}
    result = run(written(tmp_path, latency="with_fill", **plain), tmp_path / "out")
    cycles = {row["level"]: row["cycles"] for row in result.frame().to_dict("records")}
    cost = hwflow.estimate(tmp_path / "net.yaml", "eyeriss", energy="normalized", latency="with_fill")
    assert cycles["mid"] == cost.cycles
    assert sum(cost.provenance["edge_cycles"]) > 0
    assert "Latency: with_fill." in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_options_that_change_nothing_or_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sweep.yaml: activations is 'resident', which changes nothing at level coarse"):
        run(written(tmp_path, levels=["coarse"], operators="mac"), tmp_path / "out")
    with pytest.raises(InputError, match=r"unknown operators 'some'"):
        run(written(tmp_path, operators="some"), tmp_path / "out")

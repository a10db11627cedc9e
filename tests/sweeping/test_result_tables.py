"""The tables of sweeps that end otherwise than well, and what the page makes of pruned networks."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import hwflow
from hwflow.cli.inputs import load_accelerator
from hwflow.errors import InputError
from hwflow.reporting.sweeps.sweep_folder import Point as Shown
from hwflow.reporting.sweeps.sweep_folder import PointRecord, _sources
from hwflow.reporting.sweeps.sweep_folder import Sweep as SweepFolder
from hwflow.sweeping.result_tables import _harmless
from tests.sweeping.conftest import Sweep, swept


def test_a_search_that_must_end_leaves_its_tables(sweep_file: Sweep, tmp_path: Path) -> None:
    path = sweep_file(
        accelerators=swept(pe_array__rows=[4, 6, 8, 10, 12, 14], pe_array__columns=[4, 6, 8, 10, 12]),
        sample={"method": "nsga2", "points": 8, "objectives": ["energy_pj"]},
        levels=["coarse"],
    )
    with pytest.raises(InputError, match="energy_pj is not known"):
        hwflow.sweep(path, tmp_path / "out", store=False)
    assert len(pd.read_parquet(tmp_path / "out" / "results.parquet")) > 0


def test_a_pruned_network_is_shown_by_its_folder() -> None:
    rows = [
        PointRecord(point=i, network=name, accelerator="eyeriss", level="mid", status="ok")
        for i, name in enumerate(("resnet20", "resnet20 pruned in a"))
    ]
    found = _sources([Shown(row, {}) for row in rows], {"networks": ["resnet20"], "plans": ["runs/a"]})
    assert found == {"resnet20": ["resnet20"], "resnet20 pruned in a": ["runs/a"]}


def test_commands_have_the_options_of_the_sweep_file() -> None:
    point = Shown(PointRecord(point=0, network="net", accelerator="eyeriss", level="mid", status="ok"), {})
    options = {"engine": None, "proof": "gap", "ragged": False, "execution": {"conv1": "im2col", "*": "winograd4"}}
    command = SweepFolder(Path(), (point,), (), {}, options).command(point)
    assert command.endswith("--level mid --proof gap --perfect --execution conv1=im2col --execution '*=winograd4'")


def test_commands_take_fields_that_hold_lists(tmp_path: Path) -> None:
    chip = hwflow.Accelerator.load("eyeriss")
    row = PointRecord(point=0, network="resnet20", accelerator="eyeriss", level="mid", status="ok")
    for text, expected in (("", []), ("inputs", ["inputs"]), ("inputs,outputs", ["inputs", "outputs"])):
        point = Shown(row, {"global_buffer.may_bypass": text})
        words = shlex.split(SweepFolder(Path(), (point,), (), {}, {}).command(point))
        changed = load_accelerator("eyeriss", [words[words.index("--set") + 1]])
        assert changed.fingerprint == chip.with_({"global_buffer.may_bypass": expected}).fingerprint


def test_the_csv_holds_no_formulas() -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\t=1", "resnet20", "a=1", None, ""]
    table = pa.table({"network": pa.array(texts), "energy_pj": pa.array([-1.5] * len(texts))})
    safe = _harmless(table)
    assert safe["network"].to_pylist() == ["'=1+1", "'+1", "'-1", "'@x", "'\t=1", *texts[5:]]
    assert safe["energy_pj"].to_pylist() == [-1.5] * len(texts)
    assert safe.schema == table.schema

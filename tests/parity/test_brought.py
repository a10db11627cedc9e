"""Chips from Timeloop's own files: mid agrees with `timeloop-model`, which runs the user's architecture, on the same mappings.

`HWFLOW_REFRESH=1 pytest tests/parity/test_brought.py` with Timeloop on PATH draws and records again.
"""

from __future__ import annotations

import datetime
import os
import random
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import hwflow
from benchmarks import parity
from hwflow import cli
from hwflow.cost import energy_sources, mid
from hwflow.cost.fine import layer_cost
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.network import Network, from_yaml
from hwflow.timeloop.engine import find_engine
from hwflow.timeloop.importer.importer import from_timeloop
from hwflow.timeloop.process import clean_environment
from hwflow.timeloop.stats import read_stats
from tools.parity_cases import Case, random_mapping

DATA = Path(__file__).parents[1] / "data"
RECORDED = DATA / "brought.json.gz"
OFFICIAL = ("eyeriss_like", "simba_like", "simple_weight_stationary", "simple_output_stationary")
OWN = ("two_forms_nodes", "many_fanouts", "blocks", "backing_sram", "one_register_file", "lowered_two_axes")
"""Ours: what the official designs don't have, such as fan-outs without a level of their own, or no DRAM."""

LAYERS = (
    Layer("conv3x3", C=16, M=24, P=14, Q=28, R=3, S=3),
    Layer("strided_batch", C=8, M=12, P=12, Q=6, R=3, S=5, N=2, strides=(2, 1)),
    Layer("depthwise", C=1, M=1, G=24, P=14, Q=14, R=3, S=3),
    Layer("linear", C=64, M=60, N=4, type="linear"),
)
RAGGED = (Layer("odd", C=19, M=37, P=13, Q=11, R=3, S=3), Layer("classes", C=100, M=10, type="linear"))


@cache
def chip(name: str) -> TimeloopAccelerator:
    return from_timeloop(DATA / "timeloop_designs" / f"{name}.yaml")


def invented(accelerator: TimeloopAccelerator) -> EnergyTable:
    """A different number for every action."""
    parts = {
        m.name: PartEnergy(read=3.0 + i, write=5.5 + i, update=7.25 + i, leak=0.01 * (i + 1))
        for i, m in enumerate(accelerator.memories)
    }
    return EnergyTable("pJ", "invented", parts | {accelerator.mac.name: PartEnergy(compute=1.5)})


def drawn(name: str, seed: int) -> list[Case]:
    """Random mappings, perfect and ragged ones, within the constraints of the files, and what hwflow's search finds."""
    accelerator, rng = chip(name), random.Random(f"{name} {seed}")
    rules, table = constrain(accelerator), invented(accelerator)
    found = [
        Case(layer, accelerator, table, random_mapping(rng, layer, accelerator, rules, ragged=layer in RAGGED), "random")
        for layer in (*LAYERS, *RAGGED)
    ]
    table = energy_sources.energy_table(accelerator, store=False)  # type: ignore[arg-type]
    for layer in (rng.choice(LAYERS), rng.choice(RAGGED)):
        found.append(Case(layer, accelerator, table, mid.map_layer(layer, accelerator, rules, table).mapping, "hwflow"))
    return found


def compared(cases: list[tuple[Case, parity.Numbers]]) -> parity.Report:
    report = parity.Report()
    for case, theirs in cases:
        case.mapping.check(case.layer, case.accelerator)
        report.add(case, parity.analysed(case), theirs)
    return report


def test_the_recorded_numbers_of_timeloop_are_met() -> None:
    if os.environ.get("HWFLOW_REFRESH"):
        _record()
    content = parity.load(RECORDED)
    cases = [_case(record) for record in content["records"]]
    assert {case.accelerator.name for case, _ in cases} == {*OFFICIAL, *OWN}
    assert sum(case.mapping.ragged for case, _ in cases) >= len((*OFFICIAL, *OWN))
    assert {"tool", "version", "recorded"} <= set(content["provenance"])
    report = compared(cases)
    assert not report.wrong, "\n".join(report.lines())


@pytest.mark.timeloop
@pytest.mark.slow
@pytest.mark.parametrize("name", [*OFFICIAL, *OWN])
def test_timeloop_gives_the_same_numbers_now(name: str) -> None:
    engine = find_engine("native")
    report = compared([(case, parity.judged(case, engine)) for case in drawn(name, 1)])
    assert not report.wrong, "\n".join(report.lines())


@pytest.mark.timeloop
@pytest.mark.parametrize("mapper", ["hwflow", "timeloop"])
def test_what_render_writes_gives_by_hand_what_estimate_says(mapper: Any, tmp_path: Path) -> None:
    accelerator, layer = chip("two_forms_nodes"), Layer("small", C=4, M=6, P=8, R=3)
    from_yaml.write(Network("one", (layer,)), tmp_path / "one.yaml")
    asked = ["render", str(tmp_path / "one.yaml"), "--timeloop-arch", str(DATA / "timeloop_designs" / "two_forms_nodes.yaml")]
    with pytest.raises(SystemExit) as ended:
        cli.main([*asked, "--mapper", mapper, "-o", str(tmp_path)])
    assert not ended.value.code
    folder = tmp_path / layer.name
    argv = (folder / "command.txt").read_text().split()
    subprocess.run(argv, cwd=folder, env=clean_environment(), capture_output=True, check=True)
    found = Mapping.from_timeloop(
        folder / ("mapping.yaml" if mapper == "hwflow" else "timeloop-mapper.map.yaml"), layer, accelerator
    )
    table = energy_sources.energy_table(accelerator, store=None)
    by_hand = layer_cost(layer, accelerator, found, table, read_stats(folder, argv[0]), engine="by hand", seconds=0)
    said = hwflow.estimate(Network("one", (layer,)), accelerator, level="fine", mapper=mapper, store=False).rows[0]
    assert (by_hand.energy, by_hand.cycles, by_hand.accesses) == (said.energy, said.cycles, said.accesses)


def _case(record: dict[str, Any]) -> tuple[Case, parity.Numbers]:
    accelerator = chip(record["design"])
    parts = {name: PartEnergy(**part) for name, part in record["parts"].items()}
    mapping = Mapping.from_directives(record["mapping"], accelerator)
    table = EnergyTable("pJ", "as recorded", parts)
    return Case(Layer(**record["layer"]), accelerator, table, mapping, record["source"]), record["timeloop"]


def _record() -> None:
    engine, records = find_engine("native"), []
    for name in (*OFFICIAL, *OWN):
        for case in drawn(name, 0):
            plain = parity.to_record(case, parity.judged(case, engine))
            parts = plain["table"]["parts"]
            records.append(
                {"design": name, "parts": parts, **{k: plain[k] for k in ("layer", "mapping", "source", "timeloop")}}
            )
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    provenance = {"tool": "timeloop-model", "version": engine.version("timeloop-model"), "recorded": today}
    parity.save(RECORDED, provenance, records)

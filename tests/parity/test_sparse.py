"""hwflow's analysis of sparse layers against numbers of real timeloop-model, and against those that Timeloop's samples ship."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import parity, sparse_parity
from hwflow.hardware.energy_table import normalized
from hwflow.mapping import LevelMapping, Mapping
from hwflow.timeloop.engine import find_engine
from tools.parity_cases import Case
from tools.sparse_cases import SAMPLE, designs

RECORDED = Path(__file__).parents[1] / "data" / "parity_sparse.json.gz"

GATING, COMPRESSION = "eyeriss_gating", "eyeriss_compression"

# Of ref_outputs in 04.2.1, 04.2.2 and 04.2.3: the loops from DRAM inwards, and what timeloop-mapper.stats.txt says of them.
_LOOPS: dict[str, tuple[str, Any]] = {
    "04.2.1": (
        GATING,
        ([("M", 6), ("C", 64)], [("N", 4), ("P", 13)], [("Q", 13)], [("M", 4), ("S", 3)], [("R", 3), ("C", 4)], [("M", 16)]),
    ),
    "04.2.2": (
        GATING,
        (
            [("M", 3), ("P", 13), ("C", 4)],
            [("M", 2), ("S", 3), ("C", 8), ("Q", 13), ("N", 4)],
            [("M", 8)],
            [("M", 4), ("C", 2)],
            [("R", 3), ("C", 4)],
            [("M", 2)],
        ),
    ),
    "04.2.3": (
        COMPRESSION,
        (
            [("C", 16), ("N", 2), ("M", 8), ("S", 3), ("P", 13), ("Q", 13)],
            [("N", 2)],
            [("M", 12)],
            [("M", 2), ("C", 4)],
            [("R", 3), ("C", 4)],
            [("M", 2)],
        ),
    ),
}
_SAID: dict[str, dict[str, dict[str, float]]] = {
    "04.2.1": {
        "reads": {
            "psum_spad.outputs": 3828864,
            "weights_spad.weights": 1054311,
            "ifmap_spad.inputs": 3833856,
            "shared_glb.inputs": 3594240,
            "shared_glb.outputs": 16353792,
            "dram.weights": 884736,
            "dram.inputs": 380160,
        },
        "updates": {"psum_spad.outputs": 3833856, "shared_glb.outputs": 16613376, "dram.outputs": 104613},
        "level cycles": {"weights_spad": 1916929, "shared_glb": 1246752, "dram": 1054311},
        "cycles": {"all": 1916929},
        "index bits": {"dram.inputs": 5 * (390 + 380161), "dram.outputs": 5 * (7 + 104613)},
    },
    "04.2.2": {
        "reads": {"weights_spad.weights": 2569882, "dram.weights": 11501568, "dram.inputs": 494208},
        "updates": {"psum_spad.outputs": 9345024, "dram.outputs": 104613},
        "level cycles": {"weights_spad": 4672512, "dram": 2569882},
        "cycles": {"all": 4672512},
        "index bits": {"dram.inputs": 5 * (414 + 1284941), "dram.outputs": 5 * (40 + 104613)},
    },
    "04.2.3": {
        "reads": {
            "weights_spad.weights": 1713255,
            "ifmap_spad.inputs": 1713255,
            "shared_glb.inputs": 3426509,
            "shared_glb.outputs": 12200448,
            "dram.inputs": 3426509,
            "dram.outputs": 4916781,
        },
        "fills": {"ifmap_spad.inputs": 856628, "shared_glb.inputs": 3426509, "shared_glb.outputs": 12200448},
        "updates": {"psum_spad.outputs": 6230016, "dram.outputs": 5021393},
        "level cycles": {"psum_spad": 1713255, "shared_glb": 1827229, "dram": 1713255},
        "cycles": {"all": 1827229},
        "index bits": {
            "ifmap_spad.inputs": 4 * (1713255 + 856628),
            "shared_glb.inputs": 2 * 4 * (1168128 + 3426509),
            "dram.inputs": 5 * (337514 + 3037133 + 8908923),
            "dram.outputs": 5 * (127135 + 4916781 + 129840 + 5021393),
        },
    },
}


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return parity.load(RECORDED)


def test_recorded_numbers_of_timeloop_are_met(recorded: dict[str, Any]) -> None:
    report = parity.Report(tolerances=sparse_parity.TOLERANCES)
    for record in recorded["records"]:
        case, theirs = parity.from_record(record)
        report.add(case, sparse_parity.analysed(case), theirs)
    assert not report.wrong, "\n".join(report.lines())


def test_the_record_is_broad_and_says_where_it_comes_from(recorded: dict[str, Any]) -> None:
    assert {"tool", "version", "recorded"} <= set(recorded["provenance"])
    records = recorded["records"]
    assert {"random", "hwflow", "ragged"} <= {r["source"] for r in records}
    assert {GATING, COMPRESSION, "eyeriss", "simba"} <= set(Counter(r["accelerator"]["name"] for r in records))


@pytest.mark.parametrize("sample", _LOOPS)
def test_what_ships_with_the_sample_designs_is_met(sample: str) -> None:
    name, (dram, buffer, columns, rows, spad, sums) = _LOOPS[sample]
    chip = next(design for design in designs() if design.name == name)
    mapping = Mapping(
        (
            LevelMapping("dram", dram, [], ("weights", "inputs", "outputs")),
            LevelMapping("shared_glb", buffer, columns, ("inputs", "outputs"), "X"),
            LevelMapping("pe_array", [], rows, (), "Y"),
            LevelMapping("ifmap_spad", [], [], ("inputs",)),
            LevelMapping("weights_spad", spad, [], ("weights",)),
            LevelMapping("psum_spad", sums, [], ("outputs",)),
        )
    )
    mapping.check(SAMPLE, chip)
    found = sparse_parity.analysed(Case(SAMPLE, chip, normalized(chip), mapping, "shipped"))
    said = {kind: {label: found[kind][label] for label in labels} for kind, labels in _SAID[sample].items()}
    assert said == _SAID[sample]


@pytest.mark.timeloop
@pytest.mark.slow
def test_timeloop_gives_the_same_numbers_now() -> None:
    report, records = sparse_parity.run(find_engine("native"))
    assert not report.wrong, "\n".join(report.lines())
    assert sum(record["accelerator"]["name"] in (GATING, COMPRESSION) for record in records) >= 40

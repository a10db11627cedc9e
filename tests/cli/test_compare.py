"""`hwflow compare`."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from hwflow import estimate
from hwflow.cli.comparison_page import comparison_page
from hwflow.cost.comparison import Comparison, Configuration
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Layer
from hwflow.network import Network
from tests.cli.terminal import WRITTEN, Run


def test_compare_puts_side_by_side(hw: Run, tiny: str) -> None:
    code, out, err = hw("compare", tiny, "-a", "eyeriss,eyeriss_256", "--dataflows", "row_stationary,flexible")
    assert (code, err) == (0, "")
    assert "eyeriss_256/mid/flexible (cycles)" in out
    first = next(line for line in out.splitlines() if line.startswith("eyeriss/coarse "))
    assert re.search(r" 1\.000 .* 1\.000", first)
    assert len([line for line in out.splitlines() if re.match(r"eyeriss(_256)?/(coarse|mid/\w+) ", line)]) == 6
    data = json.loads(hw("compare", tiny, "-a", "eyeriss", "--format", "json")[1])
    coarse, mid = data["variants"]
    assert coarse["energy_ratio"] == coarse["latency_ratio"] == 1
    assert mid["energy_ratio"] == pytest.approx(mid["cost"]["totals"]["energy_pj"] / coarse["cost"]["totals"]["energy_pj"])
    assert -1 <= mid["energy_rank_correlation"] <= 1
    assert "asked_level,dataflow," in hw("compare", tiny, "-a", "eyeriss", "--format", "csv")[1]


def test_compare_says_whose_mappings_it_compares() -> None:
    network = Network("tiny", (Layer("conv", C=3, M=8, P=8, Q=8, R=3, S=3),))
    mid = estimate(network, Accelerator.load("eyeriss"), store=False)
    fine = replace(mid, level="fine", provenance={**mid.provenance, "mapper": "timeloop"})
    variants = tuple(Configuration("eyeriss", cost.level, "row_stationary", cost) for cost in (mid, fine))
    page = comparison_page(Comparison(network, variants))
    told = [line for line in page.lines if "timeloop-mapper" in line]
    assert told == ["eyeriss/fine/row_stationary: mappings of timeloop-mapper's own search."]


def test_compare_takes_files_beside_an_accelerator(hw: Run, tiny: str) -> None:
    ways = [*("compare", tiny, "-a", "eyeriss", "--set", "clock_mhz=100"), "--timeloop-arch", WRITTEN, "--format", "json"]
    code, out, err = hw(*ways)
    assert code == 0
    assert "meshX of 16" in err
    variants = json.loads(out)["variants"]
    assert [(v["accelerator"], v["asked_level"], v["dataflow"]) for v in variants] == [
        ("eyeriss (clock_mhz=100)", "coarse", None),
        ("eyeriss (clock_mhz=100)", "mid", "row_stationary"),
        ("simple_weight_stationary", "coarse", None),
        ("simple_weight_stationary", "mid", "as written"),
    ]
    own = json.loads(hw("compare", tiny, "--timeloop-arch", WRITTEN, "--format", "json")[1])["variants"]
    assert own[0]["energy_ratio"] == own[0]["latency_ratio"] == 1
    for alone, beside in zip(own, variants[2:], strict=True):
        assert alone["cost"]["totals"] == beside["cost"]["totals"]
    changed = variants[1]["cost"]["totals"]
    assert changed["latency_s"] == pytest.approx(changed["cycles"] / 100e6), "--set is for the named accelerator"
    estimated = json.loads(hw("estimate", tiny, "--timeloop-arch", WRITTEN, "--format", "json")[1])
    assert estimated["totals"] == own[1]["cost"]["totals"]


def test_compare_says_what_is_proven_of_each(hw: Run, tiny: str) -> None:
    code, out, _ = hw("compare", tiny, "-a", "eyeriss,tpu_like", "--levels", "mid", "--proof", "gap", "--perfect")
    assert code == 0
    assert " ".join(out.split()).count("Proven within 0.1 % of the best edp with perfect factors: the mappings of") == 2

"""The table of metrics: what is read from it, and that orders of files and columns stay."""

from __future__ import annotations

import json

import hwflow
from hwflow import metrics
from hwflow.compression import budget
from hwflow.reporting.pruning import totals
from hwflow.results import NetworkCost
from hwflow.sweeping import description, point_record, result_tables


def test_orders_are_those_of_the_first_release_with_new_ones_behind() -> None:
    assert [m.field for m in metrics.TOTALS] == [
        *("macs", "params", "params_other", "params_total", "energy_pj", "energy_normalized", "cycles", "latency_s"),
        *("edp_pj_s", "dram_bytes", "utilization", "other_traffic_bytes", "area_um2", "peak_activation_bytes"),
    ]
    columns = "energy_pj energy_normalized cycles latency_s edp_pj_s area_um2 utilization dram_bytes macs params"
    assert (*columns.split(), "peak_activation_bytes") == metrics.SWEPT
    assert metrics.ADDITIVE == ("energy", "latency", "macs", "params", "dram_bytes")
    assert (*metrics.ADDITIVE, "edp", "peak_activation_bytes") == budget.METRICS
    assert metrics.BUDGETS == ("energy", "latency", "edp", "macs", "params", "dram_bytes", "peak_activation_bytes")
    objectives = "energy_pj energy_normalized latency_s cycles edp_pj_s dram_bytes area_um2"
    assert objectives.split() == list(metrics.OBJECTIVES)
    assert metrics.FRONT == ("energy_pj", "energy_normalized", "latency_s", "area_um2")


def test_names_and_fields_stand_for_one_metric() -> None:
    assert len({m.field for m in metrics.TOTALS}) == len(metrics.TOTALS)
    assert metrics.BY_NAME["energy"].field == "energy_pj"
    for metric in metrics.TOTALS:
        assert hasattr(NetworkCost, metric.field) or metric.field in NetworkCost.__dataclass_fields__
        assert metric.budget <= bool(metric.name in metrics.BUDGETS)


def test_results_files_and_reports_are_read_from_it() -> None:
    cost = hwflow.estimate("resnet20", level="coarse")
    assert list(json.loads(cost.to_json())["totals"]) == [m.field for m in metrics.TOTALS]
    assert description.OBJECTIVES == metrics.OBJECTIVES
    assert list(result_tables._FOUND)[: len(metrics.SWEPT)] == list(metrics.SWEPT)
    assert point_record.SUMS == ("energy_pj", "energy_normalized", "cycles", "latency_s", "dram_bytes")
    assert (*point_record.SUMS, "edp_pj_s", "utilization", "area_um2", "peak_activation_bytes") == point_record.ANSWERS
    assert list(totals.NAMES) == [*metrics.BUDGETS, "cycles"]


def test_an_estimate_knows_the_peak_of_its_network_at_the_chips_word_widths() -> None:
    network = hwflow.zoo("resnet20")
    assert hwflow.estimate(network, level="coarse").peak_activation_bytes == network.peak_activation_bytes() == 98_304
    assert hwflow.estimate(network, "eyeriss", level="coarse").peak_activation_bytes == 98_304
    assert hwflow.estimate(network, "eyeriss", level="coarse", batch=4).peak_activation_bytes == 4 * 98_304
    eight = hwflow.estimate(network, "tpu_like", level="coarse", bits=(8, 8))
    assert eight.peak_activation_bytes == 98_304 // 2
    bare = hwflow.Network("bare", network.layers)
    assert hwflow.estimate(bare, level="coarse").peak_activation_bytes is None

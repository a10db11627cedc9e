"""The timeline of memories and the operators of an estimate: bars add up to what is in use, on the page and as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwflow import Network, NetworkCost, compare, estimate
from hwflow.reporting import write_report
from tests.reporting.reading import Read

LAYERS = [
    {"name": "stem", "C": 3, "M": 8, "P": 8, "Q": 8, "R": 3, "S": 3},
    {"name": "a", "C": 8, "M": 8, "P": 8, "Q": 8, "R": 3, "S": 3},
    {"name": "b", "C": 8, "M": 8, "P": 8, "Q": 8, "R": 3, "S": 3},
    {"name": "fc", "type": "linear", "C": 512, "M": 10, "inputs": ["sum"]},
]
SUM = {"name": "sum", "type": "Add", "words_in": 1024, "words_out": 512, "inputs": ["b", "stem"]}


@pytest.fixture(scope="module")
def cost(tmp_path_factory: pytest.TempPathFactory) -> NetworkCost:
    file = tmp_path_factory.mktemp("networks") / "tiny.yaml"
    file.write_text(json.dumps({"name": "tiny", "layers": LAYERS, "other": [SUM]}), encoding="utf-8")
    return estimate(Network.from_yaml(file), "shidiannao_like", activations="resident", operators="all", objective="energy")


def test_bars_add_up_to_what_is_in_use_and_tables_say_why(cost: NetworkCost, tmp_path: Path) -> None:
    told = cost.occupancy
    assert told is not None
    assert {t.name for t in told.stayed} == {"stem", "a", "b"}
    (tmp_path / "cost.json").write_text(cost.to_json(), encoding="utf-8")
    page = Read(write_report(tmp_path / "cost.json", static=tmp_path / "figures"))
    for memory, size in told.memories.items():
        (figure,) = [f for f in page.figures if f["layout"].get("yaxis", {}).get("title", {}).get("text") == f"{memory} (KiB)"]
        sums = [sum(trace["y"][place] or 0 for trace in figure["data"]) for place in range(len(told.operations))]
        assert sums == pytest.approx([told.used_bytes(memory, place) / 1024 for place in range(len(told.operations))])
        assert figure["layout"]["shapes"][0]["y0"] == size / 1024
        for kind in ("png", "svg"):
            assert (tmp_path / "figures" / f"occupancy-of-{memory.replace('_', '-')}.{kind}").stat().st_size > 1000
    assert "3 of 5 tensors between operations stay on the chip." in page.text
    assert "an input of the network, which comes from DRAM" in page.text
    assert "Operators beside the layers" in page.text
    assert "from nb_out to nb_in" in page.text


def test_bars_of_a_comparison_add_up_to_the_totals(cost: NetworkCost, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps({"name": "tiny", "layers": LAYERS, "other": [SUM]}), encoding="utf-8")
    both = compare(str(file), ["shidiannao_like", "eyeriss"], levels=["mid"], operators="all")
    (tmp_path / "both.json").write_text(both.to_json(), encoding="utf-8")
    page = Read(write_report(tmp_path / "both.json"))
    whole = "operators beside the layers"
    found = [f["data"] for f in page.figures if any(trace.get("name") == whole for trace in f["data"])]
    energies, times = [v.cost.energy_pj or 0.0 for v in both], [v.cost.latency_s or 0.0 for v in both]
    for traces, totals in zip(found, (energies, times), strict=True):
        first, second = (sum(trace["x"][i] or 0 for trace in traces) for i in range(2))
        assert first / second == pytest.approx(totals[0] / totals[1])

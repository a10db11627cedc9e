"""What the documentation says of searches of designs is what the benchmark printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pages" / "explanation" / "measured.md").read_text(encoding="utf-8")
RECORDS = [
    (ROOT / "benchmarks" / "results" / f"sweeps-{question}.txt").read_text(encoding="utf-8")
    for question in ("eyeriss", "tpu_like")
]
NSGA2 = "what NSGA-II has after 100 designs"


def needs(record: str, goal: str, method: str) -> str:
    """The designs by seed until a goal, once where all seeds agree, of the table of objectives, not logarithms."""
    found = re.search(rf"designs until {re.escape(goal)}, by seed: .*?{method} ([\d -]+)", record)
    assert found is not None
    seeds = found[1].split()
    return seeds[0] if len(set(seeds)) == 1 else " ".join(seeds)


@pytest.mark.parametrize(
    ("said", "goal", "method"),
    [
        (NSGA2, "NSGA-II's hypervolume with 100", "nsga2"),
        (NSGA2, "NSGA-II's hypervolume with 100", "surrogate"),
        ("what 100 random designs have", "random's with 100", "surrogate"),
        ("what 500 random designs have", "random's with 500", "surrogate"),
        ("99 % of the whole space's", "99.0% of the whole space's", "surrogate"),
        ("99 % of the whole space's", "99.0% of the whole space's", "nsga2"),
        ("99.9 %", "99.9% of the whole space's", "surrogate"),
        ("99.9 %", "99.9% of the whole space's", "nsga2"),
        ("100 %", "100.0% of the whole space's", "surrogate"),
    ],
)
def test_the_page_has_the_records_designs(said: str, goal: str, method: str) -> None:
    name = {"nsga2": "NSGA-II", "surrogate": "surrogate"}[method]
    row = " | ".join(needs(record, goal, method) for record in RECORDS)
    assert f"| {said} | {name} | {row} |" in PAGE


def test_the_page_has_the_records_hypervolumes_and_proofs() -> None:
    for record in RECORDS:
        linear = record.split("hypervolumes of logarithms")[0]
        found = re.findall(r"^ +(\d+)  mean +([\d.]+) +([\d.]+) +([\d.]+) .*\n.*whole space: ([\d.]+),", linear, re.MULTILINE)
        assert len(found) == 5
        for number, *volumes in found:
            if number != "25":
                assert f"{number} | {' | '.join(volumes)} |" in PAGE
        within = re.search(r"after 100 designs of the surrogate: its front is proven to be within ([\d.]+)%", record)
        costed = re.search(r"could be better than it by their bounds: (\d+) of (\d+)", record)
        assert within is not None
        assert costed is not None
        assert f"within {float(within[1]):.1f} % of" in PAGE
        assert f"{int(costed[1]):,} of the {int(costed[2]):,}" in PAGE

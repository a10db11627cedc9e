"""What headings say of results."""

from __future__ import annotations

from dataclasses import replace

import pytest

import hwflow
from hwflow.cli.estimate_page import estimate_page
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.results import batch_text


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([("conv", 1)], "batch 1"),
        ([("conv", 8), ("linear", 8)], "batch 8"),
        ([("conv", 8), ("linear", 1)], "batch 1 or 8"),
        ([("conv", 1), ("linear", 1000), ("linear", 1)], "batch 1 or 1000"),
        ([("conv", 8), ("matmul", 1)], "batch 8"),  # whose samples are groups
        ([("matmul", 1), ("matmul", 1)], "batch 1"),
        ([("conv", n) for n in (4, 1, 2, 8)], "batch 1 to 8"),
    ],
)
def test_the_batch_in_headings(layers: list[tuple[str, int]], text: str) -> None:
    assert batch_text(layers) == text


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Timeloop was not found: timeloop-model is not on PATH", "Timeloop was not found"),
        ("layer a (conv: C=8 R=2) has gaps: 3 of 4; use mid", "layer a (conv: C=8 R=2) has gaps"),
        ("it stopped (exit 1; killed)", "it stopped (exit 1; killed)"),
        ("no engine; none answers (docker: no)", "no engine"),
        ("a (b: c) d (e; f) g; h", "a (b: c) d (e; f) g"),
    ],
)
def test_the_title_cuts_a_reason_outside_its_parentheses(reason: str, told: str) -> None:
    cost = hwflow.estimate(Network("net", (Layer("a", C=2, M=2),)), level="coarse", store=False)
    provenance = {**cost.provenance, "asked_level": "fine", "fallback": f"coarse answers instead of fine: {reason}"}
    assert f"level coarse (fine was asked for: {told}), batch 1" in replace(cost, provenance=provenance).title


def test_a_page_says_whose_batch_it_is() -> None:
    network = Network("net", (Layer("a", C=3, M=4, P=5, Q=5, N=8), Layer("b", type="linear", C=4, M=2)))
    cost = hwflow.estimate(network, level="coarse", store=False)
    assert estimate_page(cost).title == "net, no accelerator, level coarse, batch 1 or 8"

"""Proofs with both bounds, the search's and that of certificates."""

from __future__ import annotations

import pytest

import hwflow
from hwflow.cost import mid, proofs
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.mapper import proof

LAYER = hwflow.Layer("small", C=64, M=64, P=8, Q=8, R=3, S=3)
"""Of ResNet-20: the search alone leaves its energy on simba open, by 45 %."""


def _found(layer: hwflow.Layer, name: str, objective: str, gap: float = 0.001) -> mid.MapResult:
    chip = Accelerator.load(name)
    return mid.map_layer(
        layer, chip, constrain(chip), normalized(chip), objective=objective, ragged=False, proof="gap", gap=gap
    )


def test_certificates_bounds_prove_what_the_search_leaves_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "USUAL", proof.Room(1, 1))  # what it would try next
    found = _found(LAYER, "simba", "energy")
    assert found.proven_by == "certificate"
    assert found.perfect_bound is not None
    assert found.cost.energy is not None
    assert 0.999 * found.cost.energy <= found.perfect_bound <= found.cost.energy


def test_the_search_proves_what_it_can_first() -> None:
    found = _found(hwflow.Layer("fc", C=64, M=10, type="linear"), "eyeriss", "edp")
    assert found.proven_by == "search"


def test_what_certificates_do_not_cover_is_left_to_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "_CHOICES", 1)
    monkeypatch.setattr(proofs, "_FIRST", proof.Room(1, 1))
    monkeypatch.setattr(proofs, "USUAL", proof.Room(100, 1))
    found = _found(LAYER, "eyeriss", "edp")
    assert found.proven_by == "search"
    assert found.perfect_bound is not None

"""The analysis of many mappings at once: each gets the numbers that it has alone, however the batch is cut."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from benchmarks.speed import drawn
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import recorded
from hwflow.layers import Layer
from hwflow.loopnest import nest as module
from hwflow.loopnest.nest import Batch, Nest, Verdict

LAYERS = (
    Layer("strided", C=6, M=10, P=9, Q=15, R=3, S=5, strides=(3, 2)),
    Layer("depthwise", C=1, M=1, G=12, P=8, Q=6, R=3, S=3),
    Layer("linear", C=24, M=30, N=4),
    Layer("gaps", C=8, M=4, P=7, Q=6, R=2, S=2, strides=(3, 3), type="conv_transpose"),
)


def drawn_for(layer: Layer, chip: str, count: int) -> tuple[Nest, Batch]:
    accelerator = Accelerator.load(chip)
    table = recorded(accelerator)
    assert table is not None
    nest = Nest(layer, accelerator, table)
    return nest, drawn(nest, constrain(accelerator), count)


def assert_equal(first: Verdict, second: Verdict) -> None:
    for field in fields(Verdict):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("chip", ["eyeriss", "simba"])
def test_each_mapping_gets_what_it_gets_alone(layer: Layer, chip: str) -> None:
    nest, batch = drawn_for(layer, chip, 24)
    for with_links in (False, True):
        together = nest.evaluate(batch, with_links=with_links)
        for i in range(batch.size):
            alone = nest.evaluate(batch.take(np.array([i])), with_links=with_links)
            assert_equal(alone, together.take(np.array([i])))


def test_pieces_of_a_batch_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    nest, batch = drawn_for(LAYERS[0], "eyeriss", 50)
    whole = nest.evaluate(batch, with_links=False)
    monkeypatch.setattr(module, "_PIECE", 16)
    assert_equal(nest.evaluate(batch, with_links=False), whole)

"""Bits of layers as decisions: which there are, the widths of rows that follow, and what a chip refuses."""

from __future__ import annotations

import itertools
import math
import random
from functools import cache

import pytest
from torch import nn

from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.quantization.bit_decisions import BitDecisions, bit_decisions
from hwflow.compression.quantization.mixed_accuracy import Sensitivities, sensitivities
from hwflow.compression.quantization.mixed_decisions import MixedGrouping
from hwflow.compression.quantization.quantized_layers import Code
from hwflow.cost.coarse import bits_of
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Bits
from hwflow.network.from_torch import trace
from tests.compression import nets

SHAPE = (1, 3, 8, 8)


def decided(
    model: nn.Module, chip: str | None = "eyeriss", options: tuple[int, ...] = (2, 4, 8), edge: int = 8
) -> BitDecisions:
    accelerator = None if chip is None else Accelerator.load(chip)
    return bit_decisions(model, trace(model, SHAPE, name="net"), accelerator, options, edge)


@cache
def mixed(streams: bool = True) -> MixedGrouping:
    """Channels and bits of a residual block."""
    model = nets.residual()
    grouping = find_groups(model, SHAPE, streams=streams, round_to=8)
    return MixedGrouping(grouping, bit_decisions(model, grouping.network, Accelerator.load("eyeriss"), (2, 4, 8), 8))


def test_first_and_last_layer_keep_eight_bits_and_the_last_option_is_the_chips_own() -> None:
    found = {one.name: one.options for one in decided(nets.residual()).decisions}
    assert found == {
        "stem.weight_bits": (8, 16),
        "stem.activation_bits": (8, 16),
        "a.weight_bits": (2, 4, 8, 16),
        "a.activation_bits": (2, 4, 8, 16),
        "b.weight_bits": (2, 4, 8, 16),
        "b.activation_bits": (2, 4, 8, 16),
        "fc.weight_bits": (8, 16),
        "fc.activation_bits": (8, 16),
    }
    lower = {one.name: one.options for one in decided(nets.residual(), edge=2).decisions}
    assert set(lower.values()) == {(2, 4, 8, 16)}
    eight = {one.name: one.options for one in decided(nets.residual(), "simba", (4, 8)).decisions}
    assert eight["a.weight_bits"] == (4, 8)
    assert eight["stem.weight_bits"] == (8,)


def test_a_result_is_stored_as_wide_as_the_next_layer_reads_it() -> None:
    """The stem's result is read by `a` directly, and by the addition, whose result is `fc`'s to say."""
    network = mixed().network_for({"a.activation_bits": 4, "b.weight_bits": 2, "b.activation_bits": 8, "fc.activation_bits": 8})
    assert {layer.name: layer.bits for layer in network.layers} == {
        "stem": Bits(16, 16, 4),
        "a": Bits(16, 4, 8),
        "b": Bits(2, 8, 8),
        "fc": Bits(16, 8, 16),
    }
    assert {one.name: one.rows for one in mixed().bits.decisions}["a.activation_bits"] == (0, 1)
    assert all(layer.bits is None for layer in mixed().network_for({}).layers)


def test_layers_that_read_the_same_value_or_weights_share_their_bits() -> None:
    names = [one.name for one in decided(nets.detached()).decisions]
    assert "b.activation_bits" in names
    assert "c.activation_bits" not in names
    assert "c.weight_bits" in names
    tied = [one.name for one in decided(nets.tied()).decisions]
    assert "b.weight_bits" not in tied
    assert "b.activation_bits" in tied
    again = decided(nets.twice())
    assert [one.rows for one in again.decisions if one.name == "again.weight_bits"] == [(1, 2)]


def test_all_word_widths_of_rows_are_known_beforehand() -> None:
    found = mixed()
    seen = {found.layer_for(row, tuple(widths)).bits for row, on in enumerate(found.dependence) for widths in _every(found, on)}
    assert seen - {None} == set(found.bits.word_widths)


def _every(found: MixedGrouping, on: tuple[int, ...]) -> list[list[int]]:
    full = [one.channels for one in found.groups]
    result = []
    for widths in itertools.product(*(found.groups[g].widths for g in on)):
        chosen = list(full)
        for g, width in zip(on, widths, strict=True):
            chosen[g] = width
        result.append(chosen)
    return result


@pytest.mark.parametrize("chip", [None, "eyeriss"])
def test_peaks_of_activations_are_those_of_the_network(chip: str | None) -> None:
    model, numbers = nets.residual(), random.Random(0)
    grouping = find_groups(model, SHAPE, streams=True, round_to=8)
    accelerator = None if chip is None else Accelerator.load(chip)
    found = MixedGrouping(grouping, bit_decisions(model, grouping.network, accelerator, (2, 4, 8), 4))
    memory = found.memory([bits_of(layer, accelerator) for layer in grouping.network.layers])
    plans = [{one.name: numbers.choice(one.widths) for one in found.groups} for _ in range(20)]
    expected = [found.network_for(plan).peak_activation_bytes(16, 16) for plan in plans]
    assert memory.peaks([found.widths_of(plan) for plan in plans]).tolist() == expected
    assert memory.sums is None


def test_codes_are_of_eight_bits_at_most_and_of_shifts_on_chips_that_shift() -> None:
    bits = decided(nets.residual())
    chosen = [one.options[0] for one in bits.decisions]
    assert bits.codes(chosen)["a"] == (Code("integer", 2), 2)
    assert bits.codes([one.channels for one in bits.decisions])["a"] == (None, None)
    shifts = decided(nets.residual(), "lightpe2", (4, 8), 4)
    assert shifts.codes([one.options[0] for one in shifts.decisions])["a"] == (Code("powers", 1), 4)
    assert shifts.codes([one.channels for one in shifts.decisions])["a"] == (Code("powers", 2), 8)


@pytest.mark.parametrize(
    ("chip", "options", "text"),
    [
        ("lightpe2", (2, 4, 8), r"--word-bits is 2,4,8: .* weights of 2 bits are no sum of powers of two.* multiples of 4"),
        ("eyeriss", (3, 8), r"--word-bits is 3,8, and eyeriss cannot run weights of .* words of 3 bits do not fill"),
        ("xnor", (2, 4), r"nothing to decide: these are 1 of weights and 1 of activations"),
        ("fp32", (4, 8), r"cannot run weights of 4 .*fp \(floating point\), which takes weights and inputs of 32 bits, not 4"),
    ],
)
def test_bits_that_a_chip_cannot_take_are_refused(chip: str, options: tuple[int, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        decided(nets.residual(), chip, options, options[0])


def test_a_network_without_plain_layers_is_refused() -> None:
    with pytest.raises(InputError, match="net has no Conv2d and no Linear layer: there are no bits to decide"):
        decided(nn.Sequential(nn.ConvTranspose2d(3, 4, 2)))


def test_plans_of_other_decisions_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown decision 'conv1'\..*This run decides channels and bits; .* \(--decide\)"):
        mixed().widths_of({"conv1": 8})
    with pytest.raises(InputError, match=r"the plan has 3 bits for 'a\.weight_bits'; allowed: 2, 4, 8, 16"):
        mixed().widths_of({"a.weight_bits": 3})
    with pytest.raises(InputError, match=r"the plan has 3 channels for 'a'; allowed: 8, 16, 24"):
        mixed().widths_of({"a": 3})
    alone = MixedGrouping(Grouping(mixed().network, (), (), (), {}), mixed().bits)
    with pytest.raises(InputError, match=r"unknown decision 'a'\. .*This run decides bits alone"):
        alone.widths_of({"a": 8})


def test_each_decision_is_measured_once_and_fewer_bits_never_lose_less() -> None:
    found, asked = mixed(), []
    accuracies = {2: 0.3, 4: 0.92, 8: 0.85}  # four bits came out better than eight, by chance

    def accuracy(plan: dict[str, int]) -> float:
        asked.append(plan)
        bits = [value for name, value in plan.items() if name.endswith("_bits")]
        return accuracies[bits[0]] if bits else 0.7 if plan else 0.9

    known = sensitivities(found, accuracy, lambda done, total: None)  # type: ignore[arg-type]
    assert len(asked) == sum(len(one.options) - 1 for one in found.bits.decisions) + 2
    assert known.measured == len(asked)
    losses = known.losses(found, {})
    assert list(losses["a.weight_bits"]) == sorted(losses["a.weight_bits"], reverse=True)
    assert losses["a.weight_bits"][1] == losses["a.weight_bits"][2] > losses["a.weight_bits"][3] == 0.0
    half = sum(losses[group.name][group.widths.index(8 if group.channels == 16 else 16)] for group in found.grouping.groups)
    assert half <= 2 * (odds(0.9) - odds(0.7))
    assert isinstance(known, Sensitivities)


def odds(accuracy: float) -> float:
    return math.log(accuracy / (1 - accuracy))

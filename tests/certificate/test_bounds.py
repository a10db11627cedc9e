"""The bounds of certificates, of each leaf, against every mapping of small layers."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwflow.certificate.bounds import Bounds, Way
from hwflow.certificate.recursion import Rate
from hwflow.certificate.space import Space
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import Dataflow, constrain
from hwflow.hardware.energy_table import normalized
from hwflow.hardware.storage_level import LevelConstraint
from hwflow.layers import DIMS, TENSORS, Bits, Layer
from hwflow.loopnest.nest import Nest, Verdict
from hwflow.types import Objective
from tests.mapper.test_search import SMALLER, everything

Rules = tuple[LevelConstraint, ...]
OBJECTIVES: tuple[Objective, ...] = ("energy", "latency", "edp")
_MANY = 8000  # mappings of a layer


def register_chip(
    columns: int,
    dims: Sequence[str],
    *,
    rows: int = 1,
    row_dims: Sequence[str] = (),
    kept: Sequence[str] = TENSORS,
    buffered: Sequence[str] = TENSORS,
    **limits: float,
) -> Accelerator:
    """One register below an array with `columns`, a buffer above it with `limits`, and DRAM."""
    array: dict[str, Any] = {"name": "pe_array", "kind": "fanout", "role": "array", "columns": columns, "column_dims": [*dims]}
    if rows > 1:
        array |= {"rows": rows, "row_dims": [*row_dims]}
    dram = {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "DDR3", "word_bits": 16, "width_bits": 64}
    register = {"name": "reg", "kind": "regfile", "role": "psum_spad", "size_words": 64, "word_bits": 16, "width_bits": 16}
    buffer = {"name": "buf", "kind": "sram", "role": "global", "size_kib": 64, "word_bits": 16, "width_bits": 16, "banks": 1}
    return Accelerator.from_dict(
        {
            "name": "registers",
            "description": "one register per MAC unit",
            "technology_nm": 65,
            "clock_mhz": 1000,
            "dataflow": "flexible",
            "hierarchy": [
                dram | {"bandwidth_gb_s": limits.pop("dram", 1000.0)},
                buffer | {"keeps": [*buffered]} | limits,
                array,
                register | {"keeps": [*kept]},
                {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 16},
            ],
        },
        "test",
    )


def objectives_of(verdict: Verdict) -> dict[Objective, np.ndarray]:
    """The three objectives of every mapping."""
    return {"energy": verdict.energy, "latency": verdict.cycles, "edp": verdict.energy * verdict.cycles}


def ratios(layer: Layer, chip: Accelerator, rules: Rules, rng: random.Random) -> Iterator[tuple[float, int]]:
    """Of each leaf with mappings and each objective, its bound over the least of its own mappings, and how many these are."""
    nest = Nest(layer, chip, normalized(chip))
    batch = everything(nest, rules)
    verdict = nest.evaluate(batch)
    own: dict[bytes, list[int]] = {}
    spatial = np.moveaxis(batch.spatial, 2, 0)
    for i in np.flatnonzero(verdict.fits).tolist():
        own.setdefault(spatial[i].tobytes(), []).append(i)
    space = Space.of(layer, chip, nest.table, rules)
    leaves = [tuple(map(tuple, np.frombuffer(key, dtype=np.int64).reshape(-1, len(DIMS)).tolist())) for key in own]
    for objective, values in objectives_of(verdict).items():
        bounds = Bounds(space, objective)
        rates = tuple(bounds.rates)
        mixed = ((rng.choice(rates), rng.random()),)
        ways = [
            Way("nothing"),
            Way("longest"),
            Way("every", () if objective == "energy" else rates),
            Way("every", rates, mixed),
        ]
        simple = dict(zip(bounds.spreads, bounds.simple.tolist(), strict=True))
        found = np.array([[simple[leaf] for leaf in leaves], *(bounds.of([(leaf, way) for leaf in leaves]) for way in ways)])
        for leaf, some, each in zip(leaves, own.values(), found.T, strict=True):
            least = float(values[some].min())
            assert (each[:3] <= each[1:4] * (1 + 1e-9)).all(), f"a way that counts more has a smaller bound: {each}"
            told = f"{layer} on {chip.label} within {rules}, {leaf}, {objective}: bounds {each}, the least is {least}"
            assert each.max() <= least * (1 + 1e-10), told
            yield float(each.max()) / least, len(some)


# What an adversary found: hand-overs of whole tiles, along two windows, over bypassed levels --------------------------------


def _held(chip: Accelerator, rules: dict[str, Any], layer: Layer) -> None:
    """The bounds of a chip with its own dataflow hold."""
    flow = Dataflow.model_validate({"name": "own", "description": "d", "source": "s", "rules": rules})
    assert list(ratios(layer, chip, constrain(chip, flow), random.Random(1)))


@pytest.mark.parametrize(
    ("sizes", "dilation", "columns", "dram", "buffered", "limits"),
    [
        ({"P": 2, "R": 2, "M": 2}, 1, ["P"], ["M", "P", "Q"], TENSORS, {"read_words_per_cycle": 1}),
        ({"P": 4, "R": 2, "M": 4}, 1, ["P"], ["S", "P", "Q"], TENSORS, {"read_words_per_cycle": 1}),
        ({"P": 2, "Q": 4, "R": 2, "M": 2, "S": 8}, 1, ["Q", "P"], ["S", "P", "Q"], TENSORS, {"read_words_per_cycle": 1}),
        ({"P": 3, "Q": 2, "R": 3, "M": 2, "S": 3}, 2, ["Q", "P"], ["S"], ["inputs", "outputs"], {"dram": 0.1}),
    ],
)
def test_whole_tiles_are_handed_on(
    sizes: dict[str, int], dilation: int, columns: list[str], dram: list[str], buffered: list[str], limits: dict[str, float]
) -> None:
    chip = register_chip(sizes["P"] * sizes.get("Q", 1), ["Q", "P", "M"], buffered=buffered, **limits)
    rules = {
        "global": {"temporal": ["R", "M"], "innermost": ["R", "M"]},
        "dram": {"temporal": dram},
        "psum_spad": {"temporal": []},
        "array": {"columns": columns},
    }
    _held(chip, rules, Layer("l", **sizes, C=1, dilations=(dilation, 1)))


@pytest.mark.parametrize("kept", [["weights"], ["inputs"]])
@pytest.mark.parametrize("order", [["R", "Q"], ["P", "R"]])
def test_neighbours_beyond_a_level_without_inputs_hand_on(kept: list[str], order: list[str]) -> None:
    chip = register_chip(3, order[:1], rows=3, row_dims=order[1:], kept=kept, read_words_per_cycle=1)
    rules = {"psum_spad": {"temporal": ["M"]}, "array": {"rows": order[1:], "columns": order[:1]}}
    rules |= {"global": {"temporal": sorted({*order, "P", "R", "M"})}, "dram": {"temporal": []}}
    _held(chip, rules, Layer("l", **dict.fromkeys({*order, "P", "R"}, 3), M=2, C=1))


@pytest.mark.parametrize(
    ("order", "sizes"),
    [
        (["M", "P"], {"M": 2}),  # P innermost: handed on
        (["P", "M"], {"M": 2}),
        (["P", "M"], {"M": 3}),
        (["C", "P"], {"C": 2}),
        (["P", "C"], {"C": 2}),
        (["P", "R", "M"], {"M": 2}),  # two loops along the window, and instances at both ends of M
    ],
)
def test_neighbours_differ_in_the_innermost_loop(order: list[str], sizes: dict[str, int]) -> None:
    chip = register_chip(4 if len(order) < 3 else 8, order, buffered=["inputs", "outputs"], read_words_per_cycle=1)
    temporal = sorted({*order, "P", "R"})
    rules = {"psum_spad": {"temporal": []}, "array": {"columns": order}, "global": {"temporal": temporal}}
    _held(chip, rules | {"dram": {"temporal": []}}, Layer("l", P=4, R=2, **{"M": 1, "C": 1, **sizes}))


@pytest.mark.parametrize(
    ("dims", "rows", "sizes", "stride", "dilation"),
    [
        (["S"], [], {"P": 4, "Q": 4, "R": 2, "S": 3}, 1, 1),  # steps along P reach no neighbour
        (["S", "R"], [], {"P": 4, "Q": 4, "R": 2, "S": 2}, 1, 1),
        (["S"], [], {"P": 4, "Q": 4, "R": 2, "S": 3, "M": 2}, 1, 1),  # M's steps move a tile back to a neighbour's
        (["Q"], ["S"], {"Q": 8, "S": 2, "P": 3, "R": 2}, 1, 2),
        (["Q"], [], {"Q": 9, "S": 3}, 1, 2),  # motions undo each other, with a spatial factor between
        (["Q"], [], {"Q": 8, "S": 3}, 2, 1),
        (["P"], ["M"], {"P": 9, "R": 3, "M": 2}, 1, 3),
    ],
)
def test_each_window_hands_on_along_itself(
    dims: list[str], rows: list[str], sizes: dict[str, int], stride: int, dilation: int
) -> None:
    chip = register_chip(3, dims, rows=2 if rows else 1, row_dims=rows, buffered=["inputs", "outputs"])
    rules: dict[str, Any] = {"psum_spad": {"temporal": ["R"]}, "array": {"columns": dims} | ({"rows": rows} if rows else {})}
    rules |= {"global": {"temporal": sorted(sizes)}, "dram": {"temporal": ["P", "Q", "S"] if len(sizes) < 4 else []}}
    layer = Layer("l", **{"M": 1, **sizes}, C=1, strides=(stride, stride), dilations=(dilation, dilation))
    _held(chip, rules, layer)


def test_what_takes_cycles_at_two_memories_is_bounded_together() -> None:
    """No weighted sum of their cycles closes this gap: of 7.8 % in this layer of ResNet-18."""
    chip = Accelerator.load("eyeriss")
    layer = Layer("l", C=128, M=256, P=14, Q=14, strides=(2, 2))
    space = Space.of(layer, chip, normalized(chip), constrain(chip))
    bounds = Bounds(space, "latency")
    spread = next(s for s, bound in zip(bounds.spreads, bounds.simple.tolist(), strict=True) if bound < 60_000)
    dram, buffer = (Rate(5, 2), Rate(4, 0))
    alone = max(bounds.of([(spread, Way("every", (rate,))) for rate in (dram, buffer)]))
    weighted = max(bounds.of([(spread, Way("every", (), ((dram, w), (buffer, 1 - w)))) for w in (0.5, 0.75)]))
    assert bounds.of([(spread, Way("every", (dram, buffer)))])[0] > 1.01 * max(alone, weighted)


# Random layers, chips and rules ---------------------------------------------------------------------------------------------


def _random_chip(rng: random.Random) -> Accelerator:
    name, bandwidth = rng.choice([*sorted(presets()), *["registers"] * 3]), rng.choice([0.01, 0.1, 0.72, 10.0])
    if name == "registers":
        kept = rng.choice([list(TENSORS), list(TENSORS), rng.sample(TENSORS, 2), ["weights"]])
        limit = rng.choice([{}, {"read_words_per_cycle": 1}, {"read_words_per_cycle": 1, "write_words_per_cycle": 2}])
        dims, more = rng.sample(["P", "Q", "R", "S", "M", "C"], 3), rng.sample(["P", "Q", "R", "S", "M", "C"], 2)
        return register_chip(
            rng.choice([2, 3, 4, 6]), dims, rows=rng.choice([1, 2, 3]), row_dims=more, kept=kept, dram=bandwidth, **limit
        )
    if name.startswith("eyeriss"):
        sizes = {"input_spad.size_words": [2, 4, 12], "weight_spad.size_words": [2, 8], "psum_spad.size_words": [2, 8]}
        sizes |= {"pe_array.rows": [1, 2, 3, 4], "pe_array.columns": [2, 3, 4, 6]}
        changes: dict[str, Any] = {field: rng.choice(some) for field, some in sizes.items()}
        changes |= {"global_buffer.size_kib": rng.choice([16, 64, 256]) * 4 / 512, "global_buffer.banks": 1}
    else:
        changes = dict(SMALLER[name])
        if name != "simba":
            changes |= {"pe_array.rows": rng.choice([2, 3]), "pe_array.columns": rng.choice([2, 3, 6])}
    return Accelerator.load(name).with_({**changes, "dram.bandwidth_gb_s": bandwidth})


def _random_layer(rng: random.Random) -> Layer:
    sizes = dict.fromkeys(DIMS, 1)
    for d in rng.sample(["P", "Q", "R", "S", "C", "M", "N", "G"], rng.choice([1, 2, 2])):
        sizes[d] = rng.choice([2, 3, 4, 6, 8, 9])
    if rng.random() < 0.7:
        sizes["P"], sizes["R"] = max(sizes["P"], rng.choice([2, 3, 4, 6])), max(sizes["R"], rng.choice([2, 3, 4, 6]))
    strides, dilations = ((rng.choice([1, 1, 2, 3]), rng.choice([1, 2])) for _ in range(2))
    return Layer("l", **sizes, strides=strides, dilations=dilations)


def _random_rules(chip: Accelerator, layer: Layer, rng: random.Random) -> Rules:
    """The levels with fewer dimensions in time and space, in any order over fan-outs, and with any forced to be innermost."""
    result = []
    for i, rule in enumerate(constrain(chip, "flexible")):
        keep, spread = rng.choice([0.3, 0.6, 1]) if i else rng.choice([0.7, 1]), rng.choice([0.5, 0.8, 1])
        temporal = tuple(d for d in rule.temporal if rng.random() < keep)
        spatial = [d for d in rule.spatial if rng.random() < spread]
        innermost = [d for d in temporal if layer.dims[d] > 1 and rng.random() < 0.4]
        rng.shuffle(spatial)
        rng.shuffle(innermost)
        result.append(replace(rule, temporal=temporal, spatial=tuple(spatial), innermost=tuple(innermost)))
    return tuple(result)


def _splits(layer: Layer, rules: Rules) -> int:
    """About how many mappings there are without their loops' orders."""
    result = 1
    for d, n in layer.dims.items():
        slots = sum((d in rule.temporal) + (d in rule.spatial and rule.level.fanout > 1) for rule in rules)
        twos, threes = (sum(n % p**i == 0 for i in range(1, 9)) for p in (2, 3))
        result *= math.comb(twos + slots - 1, twos) * math.comb(threes + slots - 1, threes) if slots else n == 1
    return result


def compared(count: int, seed: int, splits: int) -> tuple[list[float], int]:
    """The bounds over the least objectives of random cases, and how many mappings there are."""
    rng = random.Random(seed)
    result: list[float] = []
    mappings = 0
    while count:
        chip, layer = _random_chip(rng), _random_layer(rng)
        rules = _random_rules(chip, layer, rng)
        if not 0 < _splits(layer, rules) <= splits:
            continue
        nest = Nest(layer, chip, normalized(chip))
        try:
            size = everything(nest, rules).size
        except (ValueError, IndexError):  # none at all
            continue
        if 0 < size <= _MANY:
            count -= 1
            for ratio, some in ratios(layer, chip, rules, rng):
                result.append(ratio)
                mappings += some
    return result, mappings


def test_bounds_hold_for_every_mapping_of_each_leaf() -> None:
    found, _ = compared(5, seed=11, splits=60)
    assert len(found) > 20
    assert np.median(found) > 0.99


def test_bounds_do_not_depend_on_what_is_bounded_with_them() -> None:
    """Checks find the bounds of many leaves at once, with other leaves than issue."""
    chip = Accelerator.load("eyeriss").with_({"pe_array.rows": 3, "pe_array.columns": 6})
    space = Space.of(Layer("l", C=2, M=2, P=4, Q=6, R=3, S=3, strides=(1, 2)), chip, normalized(chip), constrain(chip))
    bounds = Bounds(space, "edp")
    for way in (Way("longest", (bounds.rates[0],)), Way("every", (bounds.rates[-1],))):
        alone = [bounds.of([(spread, way)])[0] for spread in bounds.spreads]
        assert len(alone) > 15
        assert bounds.of([(spread, way) for spread in bounds.spreads]) == pytest.approx(alone, rel=1e-13)


@pytest.mark.slow
def test_bounds_hold_for_every_mapping_of_each_leaf_of_many_layers() -> None:
    found, mappings = compared(150, seed=12, splits=250)
    assert mappings > len(found)
    assert np.mean(np.array(found) > 0.999) > 0.5


@pytest.mark.parametrize("objective", ["energy", "latency", "edp"])
def test_every_spatial_mapping_is_counted_once(objective: Objective) -> None:
    chip = Accelerator.load("tpu_like")
    layer = Layer("l", C=6, M=4, P=2, R=3)
    bounds = Bounds(Space.of(layer, chip, normalized(chip), constrain(chip)), objective)
    # M over 256 columns, C and R over 256 rows
    assert len(set(bounds.spreads)) == len(bounds.spreads) == 3 * 4 * 2
    assert len(bounds.simple) == len(bounds.spreads)


def test_what_certificates_do_not_cover_is_refused() -> None:
    chip = Accelerator.load("eyeriss")
    for layer, why in (
        (Layer("up", C=2, M=2, P=4, Q=4, R=2, S=2, strides=(2, 2), type="conv_transpose"), "'up', a transposed convolution"),
        (Layer("narrow", C=2, M=2, bits=Bits(8, 8, 8)), r"'narrow', whose widths \(bits=\(8, 8, 8\)\) may differ"),
    ):
        with pytest.raises(InputError, match=why):
            Space.of(layer, chip, normalized(chip), constrain(chip))

"""Strategies for tiny layers, chips and mappings, small enough to be walked point by point."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.layers import DIMS, TENSORS, Layer
from hwflow.mapping import LevelMapping, Loop, Mapping

Draw = Any


@st.composite
def layers(draw: Draw) -> Layer:
    """Up to a few hundred multiply-accumulates, of every kind."""
    kind = draw(st.sampled_from(["conv", "conv", "conv", "conv_transpose", "linear", "matmul"]))
    few = st.sampled_from([1, 1, 2, 3, 4])
    size = {"C": draw(few), "M": draw(few), "N": draw(st.sampled_from([1, 1, 1, 2])), "G": draw(st.sampled_from([1, 1, 2, 3]))}
    if kind == "linear":
        return Layer("l", type="linear", C=size["C"] * 2, M=size["M"] * 2, N=size["N"])
    if kind == "matmul":
        return Layer("l", type="matmul", **size, P=draw(few))
    size |= {
        "P": draw(st.sampled_from([1, 3, 4, 6])),
        "Q": draw(st.sampled_from([1, 1, 2, 4])),
        "R": draw(few),
        "S": draw(st.sampled_from([1, 1, 2])),
    }
    steps = st.tuples(st.sampled_from([1, 1, 2, 3]), st.sampled_from([1, 1, 2]))
    return Layer("l", type=kind, **size, strides=draw(steps), dilations=draw(steps))


@st.composite
def accelerators(draw: Draw) -> Accelerator:
    """Two to four memories with or without arrays between them and above the arithmetic; nothing overflows."""
    widths = st.sampled_from([1, 2, 4, 8])
    words = {"word_bits": 16}
    parts: list[dict[str, Any]] = [
        {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "width_bits": 64, **words}
        | draw(st.sampled_from([{}, {"bandwidth_gb_s": 0.8}, {"read_words_per_cycle": 0.5, "write_words_per_cycle": 2}]))
    ]
    for i in range(draw(st.integers(1, 3))):
        if i and draw(st.booleans()):
            parts.append(_array(draw, f"array{i}"))
        memory = {
            "name": f"m{i}",
            "kind": "sram",
            "role": f"m{i}",
            "size_words": 2**16,
            "width_bits": 16 * draw(widths),
            **words,
        }
        memory |= draw(st.sampled_from([{}, {}, {"read_words_per_cycle": 0.5}, {"bandwidth_gb_s": 0.3}]))
        keeps = draw(
            st.sampled_from([TENSORS, TENSORS, ("weights",), ("inputs", "outputs"), ("outputs",), ("weights", "inputs")])
        )
        parts.append(memory | {"keeps": keeps})
    if draw(st.booleans()):
        parts.append(_array(draw, "macs"))
    parts.append({"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 32})
    return Accelerator.from_dict({"name": "tiny", "technology_nm": 65, "clock_mhz": 200, "hierarchy": parts})


def _array(draw: Draw, name: str) -> dict[str, Any]:
    sizes = draw(st.sampled_from([{"columns": 4}, {"rows": 3}, {"rows": 4, "columns": 3}]))
    return {"name": name, "kind": "fanout", "role": name, **sizes}


@st.composite
def mappings(draw: Draw, layer: Layer, accelerator: Accelerator, *, ragged: bool = False) -> Mapping:
    """Any split over the levels, any order, any legal bypass; with `ragged`, bounds need not divide."""
    levels = accelerator.levels
    room = {level.name: level.fanout for level in levels}
    temporal: dict[str, list[Loop]] = {level.name: [] for level in levels}
    spatial: dict[str, list[Loop]] = {level.name: [] for level in levels}
    for dim in DIMS:
        left = layer.dims[dim]
        for level in reversed(levels):
            for target, limit in ((spatial, room[level.name]), (temporal, 4 if level.memory else 1)):
                if left == 1:
                    continue
                if level is levels[0] and target is temporal:
                    bound, left, last = left, 1, left
                else:
                    fits = [n for n in range(1, min(left, limit) + 1) if left % n == 0 or (ragged and n < left)]
                    bound = draw(st.sampled_from(fits))
                    left, last = -(-left // bound), (left - 1) % bound + 1
                if bound > 1:
                    target[level.name].append(Loop(dim, bound, last))
                    if target is spatial:
                        room[level.name] //= bound
    result = []
    for level in levels:
        kept = level.memory.keeps if level.memory else ()
        if level is not levels[0]:
            kept = tuple(t for t in kept if draw(st.sampled_from([True, True, False])))
        order, over = draw(st.permutations(temporal[level.name])), draw(st.permutations(spatial[level.name]))
        result.append(LevelMapping(level.name, order, over, kept, level.axis))
    return Mapping(tuple(result))


@st.composite
def triples(draw: Draw, *, ragged: bool = False) -> tuple[Layer, Accelerator, Mapping]:
    """A layer, a chip, and a mapping of the one on the other."""
    layer, accelerator = draw(layers()), draw(accelerators())
    return layer, accelerator, draw(mappings(layer, accelerator, ragged=ragged))


def energies(accelerator: Accelerator) -> EnergyTable:
    """A different prime for every action, so that no two can be mistaken for each other."""
    primes = iter((2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61))
    parts = {m.name: PartEnergy(next(primes), next(primes), next(primes), leak=next(primes) / 64) for m in accelerator.memories}
    parts[accelerator.mac.name] = PartEnergy(compute=1)
    return EnergyTable("pJ", "primes", parts)

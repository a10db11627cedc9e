"""The (layer, accelerator, mapping) triples of the parity suite: many kinds of each, drawn with a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hwflow.cost import fine, mid
from hwflow.cost.chip import Chip
from hwflow.cost.residency import homes_of, resident_chip, tiles_of
from hwflow.errors import InputError, NotMappable
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import LevelConstraint, constrain
from hwflow.hardware.energy_table import EnergyTable, PartEnergy, normalized, recorded
from hwflow.layers import DIMS, Bits, Dim, Layer, Tensor
from hwflow.mapping import LevelMapping, Loop, Mapping
from hwflow.timeloop.engine import Engine
from hwflow.timeloop.render import SearchSettings
from hwflow.types import Objective

LAYERS = (
    Layer("conv3x3", C=16, M=24, P=14, Q=28, R=3, S=3),
    Layer("strided", C=8, M=12, P=12, Q=6, R=3, S=5, strides=(2, 1)),
    Layer("dilated", C=6, M=8, P=9, Q=8, R=3, S=3, dilations=(2, 3)),
    Layer("depthwise_strided", C=1, M=1, G=24, P=14, Q=14, R=3, S=3, strides=(2, 2)),
    Layer("grouped_batch", C=4, M=6, G=4, P=8, Q=8, R=3, S=3, N=2),
    Layer("linear", C=64, M=60, N=4, type="linear"),
    Layer("pointwise", C=32, M=48, P=14, Q=14),
    Layer("pointwise_strided", C=16, M=16, P=7, Q=7, strides=(2, 2)),
    Layer("stem7x7", C=3, M=32, P=28, Q=28, R=7, S=7, strides=(2, 2)),
    Layer("transposed", C=8, M=6, P=8, Q=8, R=4, S=4, strides=(2, 2), type="conv_transpose"),
    Layer("matmul", C=32, M=24, P=16, G=4, type="matmul"),
    Layer("conv1d", C=8, M=8, P=32, R=5),
    Layer("alexnet2", C=48, M=128, P=27, Q=27, R=5, S=5, G=2),
    Layer("batched", C=12, M=20, P=10, Q=10, R=3, S=3, N=4),
)

_RAGGED = (
    Layer("odd", C=19, M=37, P=13, Q=11, R=3, S=3),
    Layer("odd_strided", C=7, M=11, P=15, Q=9, R=3, S=3, strides=(2, 2), N=3),
)

_PADDED = (
    *_RAGGED,
    Layer("classes", C=100, M=10, type="linear"),
    Layer("prime_depthwise", C=1, M=1, G=37, P=7, Q=13, R=3, S=3),
    Layer("prime_dilated", C=13, M=17, P=11, Q=11, R=3, S=3, dilations=(2, 2)),
    Layer("prime_groups", C=5, M=7, G=3, P=13, Q=11, R=3, S=5, strides=(2, 3)),
    Layer("pruned", C=43, M=53, P=14, Q=14, R=3, S=3),
    Layer("pruned_pointwise", C=43, M=29, P=7, Q=7, N=3),
)

_RESIDENT: tuple[tuple[Tensor, ...], ...] = (("inputs",), ("outputs",), ("inputs", "outputs"))
_OBJECTIVES: tuple[Objective, ...] = ("edp", "energy", "latency")
_DRAM = {"name": "dram", "kind": "dram", "role": "dram", "dram_type": "LPDDR4", "word_bits": 16, "width_bits": 64}
_MAC = {"name": "mac", "kind": "mac", "multiplier_bits": 16, "adder_bits": 32}


@dataclass(frozen=True)
class Case:
    """One triple, the energies to use, and where its mapping comes from: random, ragged, hwflow, hwflow_ragged, resident or
    timeloop."""

    layer: Layer
    accelerator: Accelerator
    table: EnergyTable
    mapping: Mapping
    source: str

    def __str__(self) -> str:
        return f"{self.layer.name} on {self.accelerator.name}, {self.source} mapping"


def cases(engine: Engine | None, seed: int = 0, draws: int = 1) -> Iterator[Case]:
    """The suite. Mappings that timeloop-mapper finds are in it where there is an engine to ask."""
    rng = random.Random(seed)
    for accelerator in (*preset_chips(), *variants(), *strange_chips()):
        table = energies(accelerator)
        names = [accelerator.dataflow] if accelerator.dataflow == "flexible" else [accelerator.dataflow, "flexible"]
        for name in names:
            rules = constrain(accelerator, name)
            for layer in LAYERS if accelerator.name in presets() else rng.sample(LAYERS, 5):
                for _ in range(draws):
                    mapping = random_mapping(rng, layer, accelerator, rules, bypass=name == "flexible")
                    yield Case(layer, accelerator, table, mapping, "random")
        for layer in (*_RAGGED, *rng.sample(LAYERS, 2)):
            rules = constrain(accelerator, rng.choice(names))
            for _ in range(draws):
                yield Case(layer, accelerator, table, random_mapping(rng, layer, accelerator, rules, ragged=True), "ragged")
        if accelerator.name in presets():
            yield from _found(rng, accelerator, table, engine)


def _found(rng: random.Random, accelerator: Accelerator, table: EnergyTable, engine: Engine | None) -> Iterator[Case]:
    """What searches end with is not what chance draws: large tiles, full arrays."""
    rules = constrain(accelerator)
    for layer in rng.sample(LAYERS, 6):
        for objective in rng.sample(_OBJECTIVES, 1):
            try:
                mapping = mid.map_layer(layer, accelerator, rules, table, objective=objective).mapping
            except NotMappable:
                continue
            yield Case(layer, accelerator, table, mapping, "hwflow_ragged" if mapping.ragged else "hwflow")
    for layer in _PADDED:
        mapping = mid.map_layer(layer, accelerator, rules, table).mapping
        if mapping.ragged:
            yield Case(layer, accelerator, table, mapping, "hwflow_ragged")
    if engine is None:
        return
    settings = SearchSettings(victory_condition=20, threads=1)
    for layer in rng.sample(LAYERS, 4):
        try:
            row = fine.search(layer, accelerator, rules, table, settings=settings, engine=engine)
        except NotMappable:
            continue
        assert row.mapping is not None
        mapping = Mapping.from_directives([dict(d) for d in row.mapping], accelerator)
        yield Case(layer, accelerator, table, mapping, "timeloop")


def resident_cases() -> Iterator[Case]:
    """Layers on every preset whose inputs, outputs or both bypass DRAM, on a chip with room for no more than the mapping."""
    for accelerator in preset_chips():
        chip, homes = Chip(accelerator, constrain(accelerator), energies(accelerator)), homes_of(accelerator)
        for i, layer in enumerate(LAYERS):
            for resident in _RESIDENT:
                objective = _OBJECTIVES[i % len(_OBJECTIVES)]
                own = (layer, accelerator, chip.constraints, chip.table)
                try:
                    mapping = mid.map_layer(*own, objective=objective, resident=resident).mapping
                except NotMappable:
                    continue
                tiles = tiles_of(layer, chip, mapping, homes)
                used = tuple(homes.rows(sum(tile.values()), m) for m, tile in enumerate(tiles))
                seen = resident_chip(chip, homes, resident, used)
                assert seen is not None
                yield Case(layer, seen.accelerator, seen.table, mapping, "resident")


# Accelerators --------------------------------------------------------------------------------------------------------


def preset_chips() -> list[Accelerator]:
    """The five that ship."""
    return [Accelerator.load(name) for name in sorted(presets())]


def variants() -> list[Accelerator]:
    """Presets with other sizes, bandwidths and word widths."""
    eyeriss, tpu = Accelerator.load("eyeriss"), Accelerator.load("tpu_like")
    changed = [
        (eyeriss.with_bits(Bits(8, 8, 16)), "eyeriss_8_bit"),
        (eyeriss.with_({"pe_array.rows": 5, "pe_array.columns": 7, "global_buffer.size_kib": 32}), "eyeriss_5x7"),
        (tpu.with_({"pe_array.rows": 16, "pe_array.columns": 16}), "tpu_16x16"),
        (Accelerator.load("simba").with_({"dram.bandwidth_gb_s": 2.5}), "simba_slow_dram"),
        (Accelerator.load("shidiannao_like").with_bits(Bits(8, 8, 16)), "shidiannao_8_bit"),
    ]
    return [Accelerator.from_dict({**chip.model_dump(exclude_none=True), "name": name}) for chip, name in changed]


def strange_chips() -> list[Accelerator]:
    """Hierarchies that no preset has."""

    def memory(name: str, size: int, width: int = 16, **more: object) -> dict[str, object]:
        return {"name": name, "kind": "sram", "role": name, "size_words": size, "word_bits": 16, "width_bits": width, **more}

    def array(name: str, **sizes: int) -> dict[str, object]:
        return {"name": name, "kind": "fanout", "role": name, **sizes}

    shared = {"bandwidth_gb_s": 0.4}
    hierarchies = {
        "array_above_macs": [_DRAM, memory("buffer", 4096, 128), array("macs", rows=4, columns=8)],
        "row_above_macs": [
            _DRAM | shared,
            memory("buffer", 1024),
            memory("lines", 64, keeps=["inputs"]),
            array("macs", columns=6),
        ],
        "line": [_DRAM, memory("buffer", 2048, 64, **shared), array("pes", rows=12), memory("spad", 64)],
        "three_levels": [
            _DRAM | {"read_words_per_cycle": 2, "write_words_per_cycle": 1},
            memory("l3", 32768, 128),
            array("clusters", columns=3),
            memory("l2", 2048, 64, keeps=["weights", "outputs"], read_words_per_cycle=1.5),
            array("pes", rows=4, columns=4),
            memory("l1", 128),
        ],
        "two_arrays": [
            _DRAM,
            memory("buffer", 8192),
            array("tiles", rows=2, columns=3),
            memory("local", 512),
            array("macs", rows=8),
        ],
        "double_buffered": [
            _DRAM,
            memory("buffer", 4096, 128, buffering=2),
            array("pes", columns=4),
            memory("spad", 96, buffering=2),
        ],
        "no_array": [_DRAM | shared, memory("buffer", 1024, 128)],
        "wide_blocks": [
            _DRAM | {"width_bits": 512},
            memory("buffer", 4096, 128),
            array("pes", rows=3, columns=5),
            memory("spad", 64, 128),
        ],
    }
    chips = []
    for name, parts in hierarchies.items():
        content = {"name": name, "technology_nm": 65, "clock_mhz": 200, "hierarchy": [*parts, _MAC]}
        chips.append(Accelerator.from_dict(content))
    return chips


def energies(accelerator: Accelerator) -> EnergyTable:
    """The recorded ones; for presets' variants normalised units; for strange chips a different number for every action."""
    if (table := recorded(accelerator)) is not None:
        return table
    if accelerator.dataflow != "flexible":
        return normalized(accelerator)
    parts = {
        m.name: PartEnergy(read=3.0 + i, write=5.5 + i, update=7.25 + i, leak=0.01 * (i + 1))
        for i, m in enumerate(accelerator.memories)
    }
    return EnergyTable("pJ", "invented", parts | {accelerator.mac.name: PartEnergy(compute=1.5)})


# Mappings ------------------------------------------------------------------------------------------------------------


def random_mapping(
    rng: random.Random,
    layer: Layer,
    accelerator: Accelerator,
    rules: Sequence[LevelConstraint],
    *,
    ragged: bool = False,
    bypass: bool = False,
) -> Mapping:
    """Any mapping within the rules that fits: the more draws overflow, the more of the loops go to the outermost level."""
    for attempt in range(1000):
        mapping = _draw(rng, layer, rules, keen=1.0 / (1 + attempt / 10), ragged=ragged, bypass=bypass)
        if ragged and not mapping.ragged and attempt < 100:
            continue
        try:
            mid.analyse(layer, accelerator, mapping, normalized(accelerator))
        except NotMappable:
            continue
        return mapping
    raise InputError(f"no mapping of {layer} fits {accelerator.name}")


def _draw(
    rng: random.Random, layer: Layer, rules: Sequence[LevelConstraint], *, keen: float, ragged: bool, bypass: bool
) -> Mapping:
    room = {rule.level.name: rule.level.fanout for rule in rules}
    found: dict[tuple[str, bool], list[Loop]] = {(rule.level.name, inside): [] for rule in rules for inside in (True, False)}
    for dim in DIMS:
        left = layer.dims[dim]
        for rule in reversed(rules):
            for spatial in (True, False):
                name = rule.level.name
                limit = room[name] if spatial else left
                if dim not in (rule.spatial if spatial else rule.temporal) or limit == 1 or left == 1:
                    continue
                if rule is rules[0] and not spatial:
                    bound = left
                elif rng.random() < keen:
                    bound = _bound(rng, left, limit, ragged)
                else:
                    continue
                if bound > 1:
                    found[name, spatial].append(Loop(dim, bound, (left - 1) % bound + 1))
                    left = -(-left // bound)
                    room[name] //= bound if spatial else 1
    levels = []
    for rule in rules:
        level = rule.level
        temporal, unrolled = found[level.name, False], found[level.name, True]
        rng.shuffle(temporal)
        rng.shuffle(unrolled)
        temporal.sort(key=lambda loop: _place(loop.dim, rule.innermost))
        kept = level.memory.keeps if level.memory else ()
        if bypass and rule is not rules[0] and rng.random() < 0.3:
            kept = tuple(t for t in kept if rng.random() < 0.6)
        levels.append(LevelMapping(level.name, temporal, unrolled, kept, level.axis))
    return Mapping(tuple(levels))


def _bound(rng: random.Random, left: int, limit: int, ragged: bool) -> int:
    if ragged and rng.random() < 0.6:
        return rng.randint(1, min(left, limit))
    return rng.choice([n for n in range(1, min(left, limit) + 1) if left % n == 0])


def _place(dim: Dim, innermost: Sequence[Dim]) -> int:
    """Loops whose place is forced come last, the very innermost at the end."""
    return -innermost.index(dim) if dim in innermost else -len(innermost)

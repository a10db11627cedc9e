"""The (layer, accelerator, mapping) triples of the sparse parity suite: Timeloop's sample designs, presets that save zeros."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwflow.cost import mid
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized, recorded
from hwflow.layers import Densities, Layer
from tools.parity_cases import LAYERS, Case, random_mapping

DESIGNS = Path(__file__).parents[1] / "benchmarks" / "sparse_designs"

SAMPLE = Layer("sample", C=256, M=384, P=13, Q=13, R=3, S=3, N=4, densities=Densities(0.446133, 0.275, 0.403))
"""The problem of the sample designs: conv3 of AlexNet at batch 4."""

_SAVING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("eyeriss", {"gates": "inputs", "compressed": {"dram": {"inputs": "rle", "outputs": "rle", "index_bits": 5}}}),
    ("eyeriss", {"skips": "weights", "compressed": {"dram": {"weights": "bitmask", "inputs": "bitmask"}}}),
    (
        "eyeriss",
        {
            "skips": ["weights", "inputs"],
            "compressed": {
                "dram": {"weights": "coordinates", "inputs": "coordinates", "index_bits": 4, "offset_bits": 8},
                "weight_spad": {"weights": "coordinates", "index_bits": 4},
            },
        },
    ),
    (
        "eyeriss",
        {
            "skips": {"weights": ["input_spad"]},
            "gates": {"inputs": ["weight_spad"]},
            "compressed": {"dram": {"weights": "bitmask"}, "weight_spad": {"weights": "bitmask"}},
        },
    ),
    (
        "simba",
        {
            "skips": "weights",
            "compressed": {
                "dram": {"weights": "rle", "index_bits": 4},
                "weight_buffer": {"weights": "rle", "index_bits": 4},
            },
        },
    ),
    ("shidiannao_like", {"gates": "inputs"}),
    (
        "tpu_like",
        {
            "skips": "weights",
            "compressed": {
                "dram": {"inputs": "rle", "index_bits": 4},
                "unified_buffer": {"inputs": "rle", "index_bits": 4},
            },
        },
    ),
)


def designs() -> list[Accelerator]:
    """The sample designs that hwflow has words for."""
    return [Accelerator.load(path) for path in sorted(DESIGNS.glob("*.yaml"))]


def saving_presets() -> list[Accelerator]:
    """Presets with a sparsity that the chips of that name do not have."""
    chips = []
    for name, sparsity in _SAVING:
        small = {"pe_array.rows": 16, "pe_array.columns": 16, "unified_buffer.width_bits": 256} if name == "tpu_like" else {}
        chips.append(Accelerator.load(name).with_({**small, "sparsity": sparsity}))
    return chips


def sparse_cases(seed: int = 0) -> Iterator[Case]:
    """Of each design 26 mappings, of its own problem and of the parity layers: drawn, ragged, found; of presets fewer."""
    rng = random.Random(seed)
    for accelerator in (*designs(), *saving_presets()):
        design = accelerator.name.startswith("eyeriss_")
        table, rules = recorded(accelerator) or normalized(accelerator), constrain(accelerator)
        for i in range(12 if design else 3):
            layer = SAMPLE if design and i % 3 == 0 else _sparse(rng, rng.choice(LAYERS))
            yield Case(layer, accelerator, table, random_mapping(rng, layer, accelerator, rules), "random")
        for _ in range(6 if design else 2):
            layer = _sparse(rng, rng.choice(LAYERS))
            yield Case(layer, accelerator, table, random_mapping(rng, layer, accelerator, rules, ragged=True), "ragged")
        for layer in (SAMPLE, *(_sparse(rng, layer) for layer in rng.sample(LAYERS, 7))) if design else ():
            yield Case(layer, accelerator, table, mid.map_layer(layer, accelerator, rules, table).mapping, "hwflow")


def _sparse(rng: random.Random, layer: Layer) -> Layer:
    """With densities, now and then none or a round one."""
    return layer.with_(densities=Densities(*(rng.choice([1.0, 0.5, 0.25, round(rng.uniform(0.02, 1), 3)]) for _ in range(3))))

"""What Timeloop is told of a sparse chip."""

from __future__ import annotations

from typing import Any

import yaml

from hwflow.cost import mid
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import normalized
from hwflow.layers import DIMS, Densities, Layer
from hwflow.timeloop.render import render

LAYER = Layer("l", C=8, M=16, P=6, Q=6, R=3, S=3, densities=Densities(0.5, 0.25, 0.75))
EYERISS = Accelerator.load("eyeriss")
CHIP = EYERISS.with_(
    {
        "sparsity": {
            "skips": {"inputs": ["weight_spad"]},
            "compressed": {
                "dram": {"inputs": "rle", "outputs": "bitmask", "index_bits": 5, "offset_bits": 10},
                "global_buffer": {"inputs": "rle", "index_bits": 4},
            },
        }
    }
)


def files(chip: Accelerator, layer: Layer) -> dict[str, Any]:
    table = normalized(chip)
    mapping = mid.map_layer(layer.with_(densities=None), chip, constrain(chip), table, ragged=False).mapping
    rendered = render(layer, chip, (), table, mapping=mapping)
    return {name: yaml.safe_load(text) for name, text in rendered.items()}


def test_ranks_savings_and_densities() -> None:
    rendered = files(CHIP, LAYER)
    targets = {target["name"]: target for target in rendered["sparse_optimizations.yaml"]["sparse_optimizations"]["targets"]}
    inputs, outputs = targets["dram"]["representation_format"]["data_spaces"]
    dims = [list(DIMS)]
    tiles = {"format": "UOP", "payload_word_bits": 10, "flattened_rankIDs": dims}
    # in the spad each tile is compressed no longer: one rank of tiles for it, one for the buffer's
    assert inputs == {
        "name": "Inputs",
        "ranks": [tiles, tiles, {"format": "RLE", "metadata_word_bits": 5, "flattened_rankIDs": dims}],
    }
    assert outputs["ranks"] == [tiles, {"format": "B", "metadata_word_bits": 1, "flattened_rankIDs": dims}]
    assert targets["weight_spad"]["action_optimization"] == [
        {"type": "skipping", "options": [{"target": "Weights", "condition_on": ["Inputs"]}]}
    ]
    assert rendered["problem.yaml"]["problem"]["instance"]["densities"] == {
        name: {"distribution": "fixed_structured", "density": share}
        for name, share in {"Weights": 0.5, "Inputs": 0.25, "Outputs": 0.75}.items()
    }


def test_memories_that_store_indices_have_room_and_a_price_for_them() -> None:
    rendered = files(CHIP, LAYER)
    levels = {
        level["name"]: level["attributes"] for level in rendered["architecture.yaml"]["architecture"]["subtree"][0]["local"]
    }
    dram, buffer = levels["dram"], levels["global_buffer"]
    assert (dram["metadata_storage_width"], dram["metadata_datawidth"]) == (60, 5)
    assert buffer["metadata_storage_width"] * buffer["metadata_storage_depth"] >= 4 * buffer["depth"] * buffer["block_size"]
    assert buffer["compression_supported"] is True
    tables = {table["name"]: table["actions"] for table in rendered["ERT.yaml"]["ERT"]["tables"]}
    energies = {action["name"]: action["energy"] for action in tables["system.dram"]}
    assert energies["metadata_read"] == energies["read"]
    assert "metadata_read" not in {action["name"] for action in tables["system.psum_spad[1..168]"]}


def test_without_densities_the_input_is_that_of_the_dense_chip() -> None:
    dense = LAYER.with_(densities=None)
    assert files(CHIP, dense) == files(EYERISS, dense)
    assert files(EYERISS, LAYER) == files(EYERISS, dense)

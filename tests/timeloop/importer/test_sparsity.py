"""`sparse_optimizations` of a user's files: what hwflow's terms say, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwflow
from hwflow.errors import InputError
from hwflow.hardware.timeloop_accelerator import TimeloopAccelerator
from hwflow.layers import Densities, Layer
from hwflow.network import Network

RANKS = "flattened_rankIDs: [[R, S, P, C, M, N, Q, G]]"
DESIGN = f"""
architecture:
  version: 0.4
  nodes:
  - !Container {{name: system, attributes: {{technology: "45nm", global_cycle_seconds: 1e-9}}}}
  - !Component
    name: DRAM
    class: DRAM
    attributes: {{width: 64, datawidth: 16, metadata_storage_width: 60, metadata_datawidth: 5}}
    sparse_optimizations:
      representation_format:
        data_spaces:
        - name: Inputs
          ranks:
          - {{format: UOP, {RANKS}}}
          - {{format: UOP, {RANKS}}}
          - {{format: RLE, {RANKS}}}
        - name: Outputs
          ranks:
          - {{format: UOP, payload_word_bits: 5, {RANKS}}}
          - {{format: RLE, {RANKS}}}
  - !Component
    name: buffer
    class: SRAM
    attributes: {{depth: 4096, width: 64, datawidth: 16, metadata_storage_width: 32, metadata_datawidth: 4,
                 metadata_storage_depth: 2048, decompression_supported: true, compression_supported: true}}
    constraints: {{dataspace: {{keep: [Inputs, Outputs], bypass: [Weights]}}}}
    sparse_optimizations:
      representation_format:
        data_spaces:
        - name: Inputs
          ranks:
          - {{format: UOP, {RANKS}}}
          - {{format: RLE, {RANKS}}}
  - !Container
    name: row
    spatial: {{meshX: 4}}
    constraints: {{spatial: {{factors: [N=1, C=1, P=1, Q=1, R=1, S=1, G=1], split: 0}}}}
  - !Parallel
    nodes:
    - !Component
      name: inputs
      class: regfile
      attributes: {{depth: 16, width: 16, datawidth: 16, metadata_storage_width: 8, metadata_datawidth: 4,
                   metadata_storage_depth: 32}}
      constraints: {{dataspace: {{keep: [Inputs]}}}}
      sparse_optimizations:
        representation_format: {{data_spaces: [{{name: Inputs, ranks: [{{format: RLE, {RANKS}}}]}}]}}
    - !Component
      name: weights
      class: regfile
      attributes: {{depth: 256, width: 16, datawidth: 16}}
      constraints: {{dataspace: {{keep: [Weights]}}}}
      sparse_optimizations:
        action_optimization: [{{type: skipping, options: [{{target: Weights, condition_on: [Inputs]}}]}}]
    - !Component
      name: sums
      class: regfile
      attributes: {{depth: 32, width: 16, datawidth: 16}}
      constraints: {{dataspace: {{keep: [Outputs]}}}}
  - !Component {{name: mac, class: intmac, attributes: {{multiplier_width: 16, adder_width: 16}}}}
"""
NET = Network("net", (Layer("l", C=4, M=8, P=6, Q=6, R=3, S=3, densities=Densities(1.0, 0.25, 0.5)),))
DENSE = Network("net", (NET.layers[0].with_(densities=None),))


def brought(folder: Path, *replaced: tuple[str, str]) -> TimeloopAccelerator:
    text = DESIGN
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "design.yaml"
    path.write_text(text)
    return hwflow.from_timeloop(path)


def test_skipping_and_compression_are_hwflows(tmp_path: Path) -> None:
    chip = brought(tmp_path)
    assert chip.refusals == ()
    assert chip.sparsity is not None
    assert chip.sparsity.model_dump(exclude_none=True) == {
        "skips": {"inputs": ("weights",)},
        "gates": {},
        "compressed": {
            "DRAM": {"inputs": "rle", "outputs": "rle", "index_bits": 5, "offset_bits": 5, "index_row_bits": 60},
            "buffer": {"inputs": "rle", "index_bits": 4, "offset_bits": 4, "index_row_bits": 32},
            "inputs": {"inputs": "rle", "index_bits": 4, "offset_bits": 0, "index_row_bits": 8},
        },
    }
    assert any("indices have room of their own at mid" in note for note in chip.notes)
    few, all_there = (hwflow.estimate(net, chip, energy="normalized", store=False).rows[0] for net in (NET, DENSE))
    assert few.note.startswith("zeros are counted")
    assert all_there.note == "dense: no densities are given, and design would save zeros"
    assert (few.energy or 0) < (all_there.energy or 0)


@pytest.mark.timeloop
@pytest.mark.slow
def test_timeloop_counts_the_same(tmp_path: Path) -> None:
    chip = brought(tmp_path)
    for net in (NET, DENSE):
        mid, fine = (
            hwflow.estimate(net, chip, level=level, energy="normalized", fallback="none", store=False).rows[0]  # type: ignore[arg-type]
            for level in ("mid", "fine")
        )
        assert fine.energy == pytest.approx(mid.energy, rel=1e-6)
        assert (fine.cycles, fine.accesses) == (mid.cycles, mid.accesses)


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        (("condition_on: [Inputs]", "condition_on: [Outputs]"), "weights.action_optimization: 'Outputs' is none of Weights"),
        (("type: skipping", "type: spatial_skipping"), "weights: 'spatial_skipping'; hwflow knows skipping and gating"),
        (("payload_word_bits: 5", "payload_word_bits: 4"), "DRAM: pointers to tiles of 4 and 5 bits; hwflow has one width"),
        ((f"          - {{format: UOP, {RANKS}}}\n", ""), "DRAM.Inputs has 2 ranks, and hwflow has 3"),
        (("format: RLE, ", "format: UB, "), "DRAM.Inputs: the innermost rank is UB; hwflow knows RLE, CP, B"),
        ((f", {RANKS}}}]}}", "}]}"), "inputs.Inputs: a rank has no flattened_rankIDs"),
        (("[[R, S, P, C", "[[R, S, P"), "DRAM.Inputs: a rank is not of all dimensions (C apart)"),
        (("metadata_storage_width: 60, ", ""), "DRAM has no metadata_storage_width"),
        (("decompression_supported: true, ", ""), "Outputs come compressed from DRAM to buffer"),
        (("          ranks:\n", "          order: x\n          ranks:\n"), "DRAM.Inputs.order; hwflow knows name, ranks"),
        (("target: Weights", "target: Outputs"), "accesses to Outputs in weights are not saved so in hwflow"),
    ],
)
def test_what_hwflow_cannot_say_is_refused_by_name(replaced: tuple[str, str], words: str, tmp_path: Path) -> None:
    chip = brought(tmp_path, replaced)
    assert chip.sparsity is None
    (refusal,) = chip.refusals
    assert words in refusal
    with pytest.raises(InputError, match=r"mid cannot answer for it: sparse_optimizations.*--mapper timeloop"):
        hwflow.estimate(NET, chip, energy="normalized", store=False)


def test_a_section_that_is_no_mapping_is_an_error(tmp_path: Path) -> None:
    old = "        representation_format: {data_spaces"
    with pytest.raises(InputError, match=r"inputs\.sparse_optimizations is \[1\]; it must be a mapping"):
        brought(tmp_path, (f"sparse_optimizations:\n{old}", f"sparse_optimizations: [1]\n      required_actions:\n{old}"))

"""`--activations` and `--operators` of estimate, compare and map."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.terminal import Run

BLOCK = """
name: block
layers:
  - {name: stem, C: 3, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: a, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: b, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: fc, type: linear, C: 512, M: 10, inputs: [sum]}
other:
  - {name: sum, type: Add, words_in: 1024, words_out: 512, inputs: [b, stem]}
"""


@pytest.fixture
def block(tmp_path: Path) -> str:
    (tmp_path / "block.yaml").write_text(BLOCK)
    return str(tmp_path / "block.yaml")


def test_a_network_as_a_whole_in_the_terminal(hw: Run, block: str) -> None:
    asked = ("-a", "eyeriss", "--activations", "resident", "--operators", "all")
    code, out, err = hw("estimate", block, *asked)
    assert (code, err) == (0, "")
    assert "bound by  stays" in out
    assert "inputs, outputs" in out
    assert "operator  how  number  operations (M)  energy (uJ)  cycles  DRAM (kB)" in out
    assert "3 of 5 tensors between operations stay in global_buffer; the others, the weights," in out
    assert "of 108.0 KiB in use, while" in out
    assert "Through DRAM: fc: a result of the network, which goes to DRAM." in out
    assert "With everything through DRAM: " in out
    assert "Operators: all have a price; the totals include them." in out
    assert "Not counted" not in out
    told = json.loads(hw("estimate", block, *asked, "--format", "json")[1])
    assert [o["name"] for o in told["operators"]] == ["sum"]
    assert [t["name"] for t in told["occupancy"]["tensors"] if t["memory"]] == ["stem", "a", "b"]
    assert (told["provenance"]["activations"], told["provenance"]["operators"]) == ("resident", "all")
    beside = hw("compare", block, *asked)[1]
    assert "eyeriss/mid/row_stationary: activations resident, operators all; 3 of 5 tensors" in beside
    unaware = "eyeriss/coarse, without activations resident and operators all"
    assert f"{unaware}, of which level coarse knows nothing: totals assume that every layer reads" in beside
    assert f"\n{unaware} " in beside
    mapped = hw("map", block, "--layer", "b", "-a", "eyeriss", "--activations", "resident")[1]
    assert "\ndram [weights]\n" in mapped


def test_the_time_at_a_layers_edges_by_memory(hw: Run, block: str) -> None:
    asked = ("map", block, "--layer", "b", "-a", "eyeriss", "--quick", "--objective", "latency")
    usual, later = (json.loads(hw(*asked, *more, "--format", "json")[1]) for more in ((), ("--latency", "with_fill")))
    edges = later["edge_cycles"]
    assert set(edges["fill"]) >= {"global_buffer", "weight_spad"}
    more = sum(edges["fill"].values()) + sum(edges["drain"].values())
    assert later["layer"]["cycles"] == usual["layer"]["cycles"] + more
    assert (later["mapping"], "edge_cycles" in usual) == (usual["mapping"], False)
    assert later["where_mac_cycles_go"][-1]["used"] == usual["layer"]["cycles"]
    page = hw(*asked, "--latency", "with_fill")[1]
    assert f"Cycles at the layer's edges, by hwflow's own estimate: {more:,} (fill global_buffer " in page
    assert "the mapping was chosen without the cycles at the edges" in page
    assert hw(*asked, "--latency", "with_fill", "--activations", "resident")[0] == 0


def test_what_changes_nothing_is_refused(hw: Run, block: str) -> None:
    code, _, err = hw("estimate", block, "--operators", "all")
    assert (code, "operators (--operators) is 'all', which changes nothing at level coarse" in " ".join(err.split())) == (
        2,
        True,
    )


_ENTRY = "{{name: {}, C: 8, M: 8, P: 8, Q: 8, R: 1, S: 1, inputs: [{}]}}"
_WARP = "other:\n  - {name: warp, type: Warp, words_in: 512, words_out: 512, inputs: [a]}\n"


@pytest.mark.parametrize(
    ("entries", "other", "asked", "said"),
    [
        (
            [("a", "b"), ("b", "a")],
            "",
            "--activations resident",
            "no order of execution: layers[0] (a) waits for b. Entries may",
        ),
        (
            [("a", "a")],
            "",
            "--activations resident",
            "no order of execution: layers[0] (a) waits for a. Entries may not read in",
        ),
        (
            [("a", "input"), ("b", "aa")],
            "",
            "",
            "unknown producer in layers[1].inputs 'aa'. Did you mean 'a'? Known: a, b, input.",
        ),
        ([("a", "input"), ("b", "3")], "", "", "layers[1].inputs[0] is 3; it must be a list of names of layers and operators"),
        (
            [("a", "input"), ("b", "warp")],
            _WARP,
            "--operators all",
            "no price is known of warp (Warp) (operators is 'all'). Use",
        ),
    ],
)
def test_what_a_list_says_wrong_is_refused(
    hw: Run, tmp_path: Path, entries: list[tuple[str, str]], other: str, asked: str, said: str
) -> None:
    lines = "".join(f"  - {_ENTRY.format(name, reads)}\n" for name, reads in entries)
    (tmp_path / "net.yaml").write_text(f"layers:\n{lines}{other}")
    code, out, err = hw("estimate", str(tmp_path / "net.yaml"), "-a", "eyeriss", *asked.split())
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_what_has_no_price_is_listed_and_what_has_no_room_is_told(hw: Run, tmp_path: Path) -> None:
    lines = "".join(f"  - {_ENTRY.format(name, reads)}\n" for name, reads in (("a", "input"), ("b", "warp")))
    (tmp_path / "net.yaml").write_text(f"layers:\n{lines}{_WARP}")
    small = ("--set", "global_buffer.size_kib=0.125", "--set", "global_buffer.banks=1")
    code, out, err = hw("estimate", str(tmp_path / "net.yaml"), "-a", "eyeriss", "--activations", "resident", *small)
    assert (code, err) == (0, "")
    assert "\nNothing stays on the chip: totals assume that every layer reads its inputs from and writes" in out
    assert "Through DRAM: a, warp: larger than global_buffer." in out
    assert "Not counted: Warp x1." in out

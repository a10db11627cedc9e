"""Reading Timeloop's output: recorded outputs, and everything that can be wrong with a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hwflow.accelerator import Accelerator
from hwflow.cost.fine import layer_cost
from hwflow.energy import EnergyTable, recorded
from hwflow.errors import ToolError
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.timeloop.parse import parse_text, read_mapping, read_stats

EYERISS_LAYER = Layer("x", C=16, M=32, P=14, Q=14, R=3, S=3)


@pytest.fixture
def place(outputs: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run's output, to be damaged."""
    return Path(shutil.copytree(outputs / "tiny", tmp_path / "tiny"))


def test_energies_are_those_worked_out_by_hand(outputs: Path) -> None:
    stats = read_stats(outputs / "tiny", "timeloop-model")
    assert (stats.cycles, stats.computes) == (7, 24)
    buffer = stats.levels["buffer"]
    # Accesses are counted in blocks of 4 words: reads 10, fills 11, updates 12 pJ.
    assert buffer.tensors["weights"].energy == 6 * 10 + 2 * 11
    assert buffer.tensors["inputs"].energy == 2 * 10 + 2 * 11
    assert buffer.tensors["outputs"].energy == 3 * 10 + 6 * 12
    assert buffer.leakage == 0.5 * 7
    assert stats.levels["dram"].energy == (2 + 2 + 3) * 512
    assert stats.levels["mac"].energy == 24 * 2
    assert stats.energy == pytest.approx(3861.5, rel=1e-12)


def test_the_row_has_counts_per_instance_bytes_and_what_bounds_it(
    outputs: Path, layer: Layer, tiny: Accelerator, table: EnergyTable, mapping: Mapping
) -> None:
    stats = read_stats(outputs / "tiny", "timeloop-model")
    cost = layer_cost(layer, tiny, mapping, table, stats, engine="timeloop-model (test)", seconds=0.1)
    assert cost.energy_pj == pytest.approx(3861.5)
    assert cost.energy_by_level == {"dram": 3584, "buffer": 229.5, "mac": 48}
    assert cost.cycles == 7
    assert cost.bound_by == "dram"
    assert cost.latency_s == pytest.approx(7 * 5e-9)
    assert cost.utilization == pytest.approx(24 / (7 * 4))
    assert cost.accesses["buffer"]["weights"] == {"reads": 24, "fills": 8, "updates": 0}
    assert cost.dram_bytes == (8 + 6 + 12) * 2
    assert cost.utilized_instances == {"dram": 1, "buffer": 1}
    assert cost.energy_source == "by hand"
    assert Mapping.from_directives([dict(d) for d in cost.mapping or ()], tiny) == mapping


def test_a_sparse_design_has_its_actual_counts(outputs: Path) -> None:
    # An Eyeriss that gates weights where inputs are zero, a quarter of these being other than zero, and half of the weights.
    stats = read_stats(outputs / "sparse", "timeloop-mapper")
    assert (stats.cycles, stats.computes) == (24336, 16 * 16 * 13 * 13 * 9)  # all of the layer, of which a quarter is done
    assert stats.levels["mac"].energy == 389376 / 4 * 0.25
    weights = stats.levels["weights_spad"].tensors["weights"]
    assert (weights.reads, weights.fills, weights.updates, weights.capacity) == (12168, 3744, 0, 2)  # of 48672 reads
    assert stats.levels["DRAM"].tensors["inputs"].reads == 900  # of 3600
    assert stats.energy == pytest.approx(10295320, rel=1e-6)


@pytest.mark.parametrize(
    "line", ["Algorithmic Computes = 389376", "    Total                                         = 26440.56"]
)
def test_sparse_statistics_that_are_cut_off_are_refused(outputs: Path, line: str) -> None:
    text = (outputs / "sparse" / "timeloop-mapper.stats.txt").read_text()
    assert line in text
    with pytest.raises(ToolError, match=r"add up to|it has no line|cut off"):
        parse_text(text.replace(line, "").replace("Actual Computes", "Other"), "stats.txt")


def test_the_text_alone_is_good_to_a_hundredth_of_a_percent(outputs: Path, place: Path) -> None:
    (place / "timeloop-model.map+stats.xml").unlink()
    whole = read_stats(outputs / "tiny", "timeloop-model").energy
    assert read_stats(place, "timeloop-model").energy == pytest.approx(whole, rel=1e-4)


def test_a_mappers_output_gives_statistics_and_mapping(outputs: Path) -> None:
    accelerator = Accelerator.load("eyeriss")
    stats = read_stats(outputs / "eyeriss", "timeloop-mapper")
    assert list(stats.levels) == ["mac", "psum_spad", "weight_spad", "input_spad", "global_buffer", "dram"]
    table = recorded(accelerator)
    assert table is not None
    assert stats.levels["mac"].energy == pytest.approx(EYERISS_LAYER.macs * table.parts["mac"].compute, rel=1e-6)
    mapping = read_mapping(outputs / "eyeriss", EYERISS_LAYER, accelerator)
    assert [level.level for level in mapping.levels][:3] == ["dram", "global_buffer", "pe_array"]


@pytest.mark.parametrize("content", ["", "\n \n"], ids=["empty", "blank"])
def test_empty_statistics_are_an_error(place: Path, content: str) -> None:
    (place / "timeloop-model.stats.txt").write_text(content)
    with pytest.raises(ToolError, match=r"timeloop-model\.stats\.txt, which should hold the statistics .* is empty"):
        read_stats(place, "timeloop-model")


def test_missing_statistics_are_an_error(place: Path) -> None:
    with pytest.raises(ToolError, match=r"there is no timeloop-mapper\.stats\.txt"):
        read_stats(place, "timeloop-mapper")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97])
def test_statistics_that_are_cut_off_are_an_error(place: Path, share: float) -> None:
    path = place / "timeloop-model.stats.txt"
    text = path.read_text()
    path.write_text(text[: int(len(text) * share)])
    with pytest.raises(ToolError, match=r"timeloop-model\.stats\.txt is cut off or not Timeloop's"):
        read_stats(place, "timeloop-model")


@pytest.mark.parametrize("content", [b"nonsense\n" * 40, b"\xff\xfe\x00rubbish"], ids=["text", "bytes"])
def test_rubbish_is_an_error(place: Path, content: bytes) -> None:
    (place / "timeloop-model.stats.txt").write_bytes(content)
    with pytest.raises(ToolError, match=r"timeloop-model\.stats\.txt"):
        read_stats(place, "timeloop-model")


def test_a_number_that_is_none_is_an_error(outputs: Path) -> None:
    text = (outputs / "tiny" / "timeloop-model.stats.txt").read_text()
    damaged = text.replace("Scalar reads (per-instance)              : 24", "Scalar reads (per-instance)              : many")
    with pytest.raises(ToolError, match=r"buffer: Scalar reads \(per-instance\) is 'many'; a number was expected"):
        parse_text(damaged, "stats")


def test_levels_that_do_not_add_up_to_the_total_are_refused(outputs: Path) -> None:
    text = (outputs / "tiny" / "timeloop-model.stats.txt").read_text()
    with pytest.raises(ToolError, match=r"add up to .* the total is .* counts something that hwflow does not know"):
        parse_text(text.replace("Total            = 160895.83", "Total            = 170000.00"), "stats")


@pytest.mark.parametrize("damage", ["<boost>", "cut", "levels"])
def test_damaged_xml_is_an_error(place: Path, damage: str) -> None:
    path = place / "timeloop-model.map+stats.xml"
    text = path.read_text()
    if damage == "cut":
        damage = text[: len(text) // 3]
    elif damage == "levels":
        damage = "<topology_><levels_></levels_></topology_>"
    path.write_text(damage)
    with pytest.raises(ToolError, match=r"timeloop-model\.map\+stats\.xml"):
        read_stats(place, "timeloop-model")


@pytest.mark.parametrize("content", ["", "mapping: 3\n", "mapping:\n  - {target: nowhere, type: temporal}\n", "a: [\n"])
def test_a_mapping_that_is_none_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "timeloop-mapper.map.yaml").write_text(content)
    with pytest.raises(ToolError, match=r"timeloop-mapper\.map\.yaml"):
        read_mapping(tmp_path, EYERISS_LAYER, Accelerator.load("eyeriss"))

"""AlexNet on Eyeriss: hwflow against the papers' figures, and the page against what the command prints."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwflow
from benchmarks import eyeriss
from hwflow.files import read_yaml
from hwflow.layers import Densities

ROOT = Path(__file__).resolve().parents[2]
CONTENT = read_yaml(eyeriss.PLACE / "eyeriss_published.yaml", "published figures")
LAYERS = list(hwflow.Network.from_yaml(eyeriss.PLACE / "alexnet_grouped.yaml").layers)


@pytest.fixture(scope="module")
def chip() -> list[eyeriss.OnChip]:
    return eyeriss.on_chip(LAYERS[:5], CONTENT)


def test_energies_of_the_simulated_machine_are_the_papers_within_two_percent() -> None:
    rows = eyeriss.simulated(LAYERS, eyeriss.published(CONTENT, "figure_10"))
    assert [row[0] for row in rows] == [layer.name for layer in LAYERS]
    assert all(abs(float(row[2]) - 1) < 0.02 for row in rows)


def test_the_chips_mapping_moves_what_the_chip_moves_before_compression(chip: list[eyeriss.OnChip]) -> None:
    for layer in chip:
        assert layer.theirs.dram_bytes / 1e6 == pytest.approx(layer.paper["uncompressed_mb"], abs=0.06)


def test_compressed_feature_maps_move_what_the_chip_moves_where_the_paper_tells_their_zeros(chip: list[eyeriss.OnChip]) -> None:
    for c in chip[2:]:
        assert c.sparse.dram_bytes / 1e6 == pytest.approx(c.paper["dram_mb"], abs=0.1)
    total = sum(c.sparse.dram_bytes for c in chip) / 1e6
    assert total == pytest.approx(16.29, abs=0.01)  # the chip: 15.4
    for layer, c in zip(LAYERS[:2], chip, strict=False):
        share = eyeriss.density_for(layer, c)
        densities = Densities(1.0, c.sparse.layer.densities.inputs, share)  # type: ignore[union-attr]
        mapping = eyeriss.mapping_of(c.theirs)
        again = hwflow.analyse(c.sparse.layer.with_(densities=densities), eyeriss.saving_chip(layer), mapping)
        assert again.dram_bytes / 1e6 == pytest.approx(c.paper["dram_mb"], rel=5e-3)


def test_gating_takes_no_more_cycles_and_less_energy(chip: list[eyeriss.OnChip]) -> None:
    for c in chip[1:]:
        assert c.sparse.cycles == c.theirs.cycles
        zeros = c.paper["zeros"]
        saved = c.theirs.energy_by_level["mac"] - c.sparse.energy_by_level["mac"]
        assert saved == pytest.approx(zeros * c.theirs.energy_by_level["mac"], rel=1e-3)


def test_the_chips_mapping_keeps_its_pes_busy(chip: list[eyeriss.OnChip]) -> None:
    """Active PEs of JSSC's Table V; conv1's last strip of rows is not full."""
    for layer, active in zip(chip, (154 * 55 / 56, 135, 156, 156, 156), strict=True):
        assert layer.theirs.utilization == pytest.approx(active / 168)
        assert (layer.theirs.latency_s or 0) * 1e3 < layer.paper["processing_ms"]


def test_the_chips_count_of_buffer_accesses_is_reproduced(chip: list[eyeriss.OnChip]) -> None:
    for layer, c in zip(LAYERS, chip, strict=False):
        way = chip[3].way if layer.name == "conv3" else c.way
        assert eyeriss.counted_mb(layer.with_(N=4), way) == pytest.approx(c.paper["buffer_mb"], abs=0.05)


def test_the_page_shows_the_tables_that_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    eyeriss.main()
    printed = capsys.readouterr().out
    page = (ROOT / "docs" / "pages" / "explanation" / "eyeriss.md").read_text(encoding="utf-8")
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(rows) > 40
    assert [row for row in rows if row not in page] == []
    assert "with conv4's parameters instead of its own: 50.2 MB" in printed
    assert "5.14 pJ recorded, at most 1.65 pJ" in printed

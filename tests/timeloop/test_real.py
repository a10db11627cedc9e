"""The real Timeloop and Accelergy: every kind of layer on every preset, the same numbers by every way of running them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from hwflow.cost.fine import judge, layer_cost, search
from hwflow.errors import NotMappable, ToolMissing
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import constrain, dataflows, load_dataflow
from hwflow.hardware.energy_table import EnergyTable, normalized, recorded
from hwflow.layers import Layer
from hwflow.mapping import LevelMapping, Mapping
from hwflow.results import LayerCost
from hwflow.timeloop.accelergy import characterise
from hwflow.timeloop.engine import Native, Pytimeloop
from hwflow.timeloop.process import clean_environment
from hwflow.timeloop.render import SearchSettings, command, render
from hwflow.timeloop.stats import read_mapping, read_stats
from tools.record_energies import record

pytestmark = [
    pytest.mark.timeloop,
]

QUICK = SearchSettings(victory_condition=5)
KINDS = [
    Layer("conv", C=8, M=16, P=14, Q=14, R=3, S=3),
    Layer("strided", C=3, M=16, P=16, Q=16, R=7, S=7, strides=(2, 2)),
    Layer("strided_1x1", C=16, M=32, P=14, Q=14, strides=(2, 2)),
    Layer("asymmetric", C=8, M=8, P=17, Q=12, R=7, S=1, strides=(1, 2)),
    Layer("grouped", G=2, C=8, M=16, P=13, Q=13, R=5, S=5),
    Layer("depthwise", G=32, C=1, M=1, P=14, Q=14, R=3, S=3),
    Layer("dilated", C=16, M=16, P=14, Q=14, R=3, S=3, dilations=(4, 4)),
    Layer("conv_transpose", type="conv_transpose", C=16, M=8, P=7, Q=7, R=4, S=4, strides=(2, 2)),
    Layer("linear", type="linear", C=512, M=100),
    Layer("matmul", type="matmul", G=4, C=32, M=64, P=64),
    Layer("conv1d", C=16, M=16, P=50, R=5),
    Layer("prime", N=3, C=37, M=37, P=7, Q=7, R=3, S=3),
    Layer("one", C=1, M=1),
]


def energies(accelerator: Accelerator) -> EnergyTable:
    """The recorded table of a preset."""
    table = recorded(accelerator)
    assert table is not None
    return table


def of(cost: LayerCost, accelerator: Accelerator) -> Mapping:
    """The mapping of a row."""
    assert cost.mapping is not None
    return Mapping.from_directives([dict(d) for d in cost.mapping], accelerator)


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("layer", KINDS, ids=lambda layer: layer.name)
def test_every_kind_of_layer_is_mapped_and_judged_alike(layer: Layer, name: str) -> None:
    accelerator = Accelerator.load(name)
    table = energies(accelerator)
    found = search(layer, accelerator, constrain(accelerator), table, settings=QUICK, engine=Native())
    again = judge(layer, accelerator, of(found, accelerator), table, engine=Native())
    assert found.engine.startswith("timeloop-mapper (native, ")
    assert again.engine.startswith("timeloop-model (native, ")
    for field in ("energy", "cycles", "energy_by_level", "accesses", "utilized_instances", "bound_by", "dram_bytes", "mapping"):
        assert getattr(found, field) == getattr(again, field), field
    # Every multiply-accumulate is paid for once, with our energy; every tensor moves at least once.
    assert found.energy_by_level["mac"] == pytest.approx(layer.macs * table.parts["mac"].compute, rel=1e-9)
    words = sum(layer.words(t) for t in ("weights", "outputs"))
    assert found.dram_bytes >= words * accelerator.dram.word_bits / 8


@pytest.mark.parametrize("name", presets())
def test_every_legal_dataflow_finds_a_mapping(name: str) -> None:
    accelerator = Accelerator.load(name)
    for dataflow in dataflows():
        if load_dataflow(dataflow).fits(accelerator):
            rules = constrain(accelerator, dataflow)
            cost = search(KINDS[0], accelerator, rules, normalized(accelerator), settings=QUICK, engine=Native())
            assert cost.energy_normalized is not None
            assert cost.energy_normalized > KINDS[0].macs * (accelerator.mac.multiplier_bits / 16) ** 2


@pytest.mark.parametrize("mapped", [False, True], ids=["mapper", "model"])
def test_a_hand_run_of_the_rendered_command_gives_the_same(tmp_path: Path, mapped: bool) -> None:
    accelerator, layer = Accelerator.load("eyeriss"), KINDS[0]
    table, rules = energies(accelerator), constrain(accelerator)
    cost = search(layer, accelerator, rules, table, settings=QUICK, engine=Native())
    files = render(layer, accelerator, rules, table, search=QUICK)
    if mapped:
        files = render(layer, accelerator, rules, table, mapping=of(cost, accelerator))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    line = shlex.join(command(files))
    done = subprocess.run(line.split(), cwd=tmp_path, env=clean_environment(), capture_output=True, check=True)
    assert b"execute:" not in done.stdout, "Timeloop must not call Accelergy"
    stats = read_stats(tmp_path, command(files)[0])
    mapping = of(cost, accelerator) if mapped else read_mapping(tmp_path, layer, accelerator)
    by_hand = layer_cost(layer, accelerator, mapping, table, stats, engine="by hand", seconds=0)
    assert (by_hand.energy, by_hand.cycles, by_hand.accesses) == (cost.energy, cost.cycles, cost.accesses)
    text = (tmp_path / f"{command(files)[0]}.stats.txt").read_text()
    levels = len(accelerator.memories)
    assert text.count("Vector access energy source     : ERT") == levels


def test_the_tiny_chip_costs_what_was_worked_out_by_hand(
    layer: Layer, tiny: Accelerator, mapping: Mapping, table: EnergyTable
) -> None:
    cost = judge(layer, tiny, mapping, table, engine=Native())
    assert (cost.energy_pj, cost.cycles, cost.bound_by) == (pytest.approx(3861.5, rel=1e-9), 7, "dram")


def test_two_searches_give_the_same(layer: Layer, tiny: Accelerator, table: EnergyTable) -> None:
    first, second = (search(layer, tiny, constrain(tiny), table, settings=QUICK, engine=Native()) for _ in range(2))
    assert first == second


def test_a_stride_is_not_lost(tiny: Accelerator, table: EnergyTable) -> None:
    layer = Layer("k", C=1, M=1, P=5, R=3, strides=(2, 1), dilations=(3, 1))
    everything = ("weights", "inputs", "outputs")
    mapping = Mapping(
        (LevelMapping("dram", (), (), everything), LevelMapping("buffer", (("P", 5), ("R", 3)), (), everything, "X"))
    )
    cost = judge(layer, tiny, mapping, table, engine=Native())
    assert cost.accesses["dram"]["inputs"]["reads"] == layer.words("inputs") == 4 * 2 + 2 * 3 + 1


def test_a_mapping_that_does_not_fit_says_where(layer: Layer, tiny: Accelerator, mapping: Mapping, table: EnergyTable) -> None:
    small = tiny.with_({"buffer.size_words": 4})
    with pytest.raises(NotMappable, match=r"couldn't map level buffer: mapped tile size 14 exceeds buffer capacity 4"):
        judge(layer, small, mapping, table, engine=Native())


def test_a_search_that_finds_nothing_says_why() -> None:
    accelerator = Accelerator.load("eyeriss").with_({"global_buffer.size_kib": 0.0078125, "global_buffer.banks": 1})
    layer = Layer("k", C=1, M=64, P=1, Q=1, R=1, S=97)
    with pytest.raises(NotMappable, match="no valid mappings found"):
        search(
            layer,
            accelerator,
            constrain(accelerator),
            normalized(accelerator),
            settings=SearchSettings(victory_condition=5, timeout=50),
            engine=Native(),
        )


def test_pytimeloop_gives_the_same() -> None:
    engine = Pytimeloop()
    try:
        engine.version("timeloop-model")
    except ToolMissing as error:
        pytest.skip(str(error))
    accelerator, layer = Accelerator.load("eyeriss"), KINDS[0]
    table, rules = energies(accelerator), constrain(accelerator)
    one = search(layer, accelerator, rules, table, settings=QUICK, engine=Native())
    other = search(layer, accelerator, rules, table, settings=QUICK, engine=engine)
    again = judge(layer, accelerator, of(one, accelerator), table, engine=engine)
    assert (one.energy, one.cycles, one.mapping) == (other.energy, other.cycles, other.mapping)
    assert again.energy == pytest.approx(one.energy, rel=1e-6)
    assert (again.cycles, again.accesses) == (one.cycles, one.accesses)


def needs_accelergy() -> None:
    """Skip where Accelergy is not on PATH."""
    if shutil.which("accelergy") is None:
        pytest.skip("accelergy is not on PATH")


def test_a_variant_is_characterised() -> None:
    needs_accelergy()
    accelerator = Accelerator.load("eyeriss").with_({"global_buffer.size_kib": 64, "global_buffer.banks": 16})
    assert recorded(accelerator) is None
    table = characterise(accelerator, Native())
    assert "Cacti" in table.source
    smaller = table.parts["global_buffer"]
    larger = energies(Accelerator.load("eyeriss")).parts["global_buffer"]
    assert smaller.read < larger.read
    assert (smaller.area_um2 or 0) < (larger.area_um2 or 0)


@pytest.mark.slow
def test_recording_again_gives_what_is_shipped() -> None:
    needs_accelergy()
    found = record(Native())
    from hwflow.hardware.energy_table import _library

    assert found == _library()[0]

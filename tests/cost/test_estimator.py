"""From networks to costs: equal layers once, the store, fallback as a whole, word widths, pools, interruption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.cost import energy_sources, fine, mid
from hwflow.errors import HwflowError, InputError, NotMappable, ToolError, ToolMissing
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable, normalized
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.results import LayerCost, NetworkCost
from hwflow.store import Store, pool
from hwflow.timeloop import engine as engines

SMALL = Layer("a", C=4, M=8, P=6, Q=6, R=3, S=3)
OTHER = Layer("b", C=8, M=4, P=6, Q=6)
NET = Network("net", (SMALL, OTHER, SMALL.with_(name="c"), OTHER.with_(name="d")))
ACC = Accelerator.load("eyeriss")


def plain(cost: NetworkCost) -> str:
    """JSON without times."""
    data = cost.to_dict()
    for row in data["layers"]:
        del row["seconds"]
    return json.dumps(data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.sqlite")


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers that mid really searched, by name."""
    names: list[str] = []
    real = mid.map_layer

    def counted(layer: Layer, *args: Any, **kwargs: Any) -> mid.MapResult:
        names.append(layer.name)
        return real(layer, *args, **kwargs)

    monkeypatch.setattr(mid, "map_layer", counted)
    return names


# Sameness ------------------------------------------------------------------------------------------------------------


def test_equal_layers_are_computed_once_and_stand_in_every_row(store: Store, searches: list[str]) -> None:
    cost = hwflow.estimate(NET, ACC, store=store)
    assert searches == ["a", "b"]
    assert [r.layer.name for r in cost.rows] == ["a", "b", "c", "d"]
    assert cost.rows[0].cycles == cost.rows[2].cycles
    assert cost.cycles == sum(r.cycles or 0 for r in cost.rows)
    assert cost.energy_pj == pytest.approx(sum(r.energy_pj or 0 for r in cost.rows))
    assert (cost.level, cost.accelerator, cost.batch) == ("mid", "eyeriss", 1)


def test_the_store_answers_the_second_time_with_the_same_bytes(store: Store, searches: list[str]) -> None:
    first = hwflow.estimate(NET, ACC, store=store)
    second = hwflow.estimate(NET, ACC, store=store)
    fresh = hwflow.estimate(NET, ACC, store=False)
    assert searches == ["a", "b", "a", "b"]
    assert plain(first) == plain(second) == plain(fresh)
    assert first == second
    assert store.info().entries == {"mid": 2}


def test_names_are_no_part_of_identity_but_content_is(store: Store, searches: list[str]) -> None:
    hwflow.estimate(NET, ACC, store=store)
    searches.clear()
    hwflow.estimate(Network("renamed", (SMALL.with_(name="x"),)), ACC.with_({"name": "my_chip"}), store=store)
    assert searches == []
    for changed in (
        lambda: hwflow.estimate(NET, ACC.with_({"dram.bandwidth_gb_s": 2}), store=store),
        lambda: hwflow.estimate(NET, ACC, objective="energy", store=store),
        lambda: hwflow.estimate(NET, ACC, dataflow="flexible", store=store),
        lambda: hwflow.estimate(NET, ACC, energy="normalized", store=store),
        lambda: hwflow.estimate(NET, ACC, effort=2, store=store),
    ):
        searches.clear()
        changed()
        assert searches == ["a", "b"]


def test_a_new_version_of_mid_asks_again(store: Store, searches: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    hwflow.estimate(NET, ACC, store=store)
    monkeypatch.setattr(mid, "VERSION", "mid-next")
    hwflow.estimate(NET, ACC, store=store)
    assert searches == ["a", "b"] * 2


def test_many_pairs_share_work_and_keep_their_order(store: Store, searches: list[str]) -> None:
    other = Network("other", (OTHER, Layer("new", C=2, M=2, P=3, Q=3)))
    costs = hwflow.estimate_many([(NET, ACC), (other, ACC)], store=store)
    assert searches == ["a", "b", "new"]
    assert [c.network for c in costs] == ["net", "other"]
    assert plain(costs[1]) == plain(hwflow.estimate(other, ACC, store=False))


def test_a_pool_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    real = pool.workers
    monkeypatch.setattr(pool, "workers", lambda jobs: (started.append(jobs), real(jobs))[1])
    monkeypatch.setattr(pool, "_START_S", -1.0)  # workers cost nothing: they are worth it from the fourth piece on
    net = Network("five", tuple(Layer(f"l{i}", C=4, M=4, P=i + 2, Q=3, R=3, S=3) for i in range(5)))
    serial = hwflow.estimate(net, ACC, store=False)
    pooled = hwflow.estimate(net, ACC, jobs=2, store=Store(tmp_path / "pooled.sqlite"))
    assert plain(serial) == plain(pooled)
    assert started == [2]


@pytest.mark.parametrize(
    ("pending", "measured", "jobs", "worth"),
    [
        ([None] * 100, [1.0] * 3, 1, False),  # nothing to share
        ([None] * 100, [1.0] * 2, 2, False),  # not known yet: the first piece imports, too
        ([None] * 9, [0.5, 0.04, 0.04], 2, False),  # ResNet-18 on eyeriss: 0.4 s of work, of which two workers save half
        ([None] * 21, [0.5, 0.12, 0.12], 2, True),  # ResNet-50 on simba: 2.5 s
        ([None] * 21, [0.5, 0.04, 0.04], 16, True),  # 16 save nearly all of 0.84 s
        ([None] * 300, [0.5, 0.02, 0.02], 2, True),  # a sweep
        ([None], [0.5, 90.0, 90.0], 8, False),  # the last one
        ([0.2] * 4, [], 2, False),  # timeloop-model on a few layers
        ([0.2] * 12, [], 2, True),
        ([20.0, 20.0], [], 2, True),  # timeloop-mapper
        ([20.0], [], 8, False),
    ],
)
def test_workers_are_started_where_they_pay(pending: list[float | None], measured: list[float], jobs: int, worth: bool) -> None:
    assert pool._pays(pending, measured, jobs) == worth


def test_a_mapping_survives_the_store(store: Store) -> None:
    first = hwflow.map_layer(SMALL, ACC, store=store)
    second = hwflow.map_layer(SMALL, ACC, store=store)
    assert first == second
    judged = hwflow.analyse(SMALL, ACC, second.mapping)
    assert (judged.cycles, judged.energy) == (first.cost.cycles, first.cost.energy)
    assert judged.accesses["dram"]["weights"]["reads"] >= SMALL.params


# Energies ------------------------------------------------------------------------------------------------------------


def test_auto_prefers_recorded_and_names_it() -> None:
    assert energy_sources.energy_table(ACC).source.startswith("recorded (Accelergy: ")
    assert energy_sources.energy_table(ACC.with_({"pe_array.rows": 4}), "recorded").unit == "pJ"


def test_energies_that_cannot_be_had_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_engine", _no_engine)
    monkeypatch.setattr("shutil.which", lambda name: None)
    variant = ACC.with_({"global_buffer.size_kib": 64, "global_buffer.banks": 16})
    with pytest.raises(InputError, match=r"no recorded energies for global_buffer.*Use auto or fitted"):
        energy_sources.energy_table(variant, "recorded")
    with pytest.raises(ToolMissing):
        energy_sources.energy_table(variant, "accelergy")


def test_accelergy_is_asked_once_for_an_accelerator(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def characterise(accelerator: Accelerator, engine: object) -> EnergyTable:
        asked.append(accelerator.name)
        return replace(normalized(accelerator), unit="pJ", source="accelergy (Fake)", provenance={"accelergy": "1"})

    monkeypatch.setattr("hwflow.timeloop.accelergy.characterise", characterise)
    monkeypatch.setattr(engines, "find_engine", lambda name=None, tools=(): FakeEngine())
    monkeypatch.setattr("shutil.which", lambda name: None)
    variant = ACC.with_({"global_buffer.size_kib": 64, "global_buffer.banks": 16})
    first = energy_sources.energy_table(variant, "accelergy", store=store)
    assert (first.unit, first.source, first.provenance) == ("pJ", "accelergy (Fake)", {"accelergy": "1"})
    assert energy_sources.energy_table(variant, "accelergy", store=store) == first
    assert asked == ["eyeriss"]


def test_the_source_of_a_cached_row_is_that_of_the_caller(store: Store) -> None:
    hwflow.estimate(NET, ACC, energy="normalized", store=store)
    table = replace(normalized(ACC), source="normalized, for a reason")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(energy_sources, "normalized", lambda acc: table)
        assert hwflow.estimate(NET, ACC, energy="normalized", store=store).energy_sources == ("normalized, for a reason",)


def test_layers_have_their_own_word_widths_and_units_do_not_mix() -> None:
    net = Network("mixed", (SMALL, SMALL.with_(name="narrow", bits=Bits(4, 4, 4))))
    wide, narrow = hwflow.estimate(net, ACC, store=False).rows
    assert narrow.dram_bytes < wide.dram_bytes
    assert (wide.energy_unit, narrow.energy_unit) == ("pJ", "pJ")
    assert narrow.energy_source.startswith(f"{wide.energy_source}, but mac fitted (held-out error ")
    odd = ACC.with_({"global_buffer.width_bits": 4096, "global_buffer.size_kib": 128})
    beyond = hwflow.estimate(net, odd, store=False).rows
    assert [row.energy_unit for row in beyond] == ["normalized", "normalized"]
    assert beyond[0].energy_source == beyond[1].energy_source


def test_one_chip_without_energies_brings_all_to_normalised_units() -> None:
    odd = ACC.with_({"global_buffer.width_bits": 4096, "global_buffer.size_kib": 128})
    tables = energy_sources.energy_tables([ACC, odd])
    assert {table.unit for table in tables.values()} == {"normalized"}
    assert len({table.source for table in tables.values()}) == 1
    assert energy_sources.energy_table(ACC).unit == "pJ"


# Fine and fallback ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FakeEngine:
    name: str = "fake"

    def version(self, tool: str) -> str:
        return "1"


def _no_engine(name: str | None = None, tools: tuple[str, ...] = ()) -> FakeEngine:
    raise ToolMissing("Timeloop was not found: it is not on PATH. Install it.")


@pytest.fixture
def timeloop(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception]:
    """A Timeloop that answers like mid, but for the layers (by name) given an error here; says 'fine' and counts."""
    failing: dict[str, Exception] = {}

    def judge(layer: Layer, acc: Accelerator, mapping: Any, table: EnergyTable, *, engine: FakeEngine, **_: Any) -> LayerCost:
        if layer.name in failing:
            raise failing[layer.name]
        return replace(mid.analyse(layer, acc, mapping, table), level="fine", engine=f"timeloop-model ({engine.name})")

    def search(layer: Layer, acc: Accelerator, rules: Sequence[Any], table: EnergyTable, **_: Any) -> LayerCost:
        if layer.name in failing:
            raise failing[layer.name]
        return replace(mid.map_layer(layer, acc, rules, table).cost, level="fine", engine="timeloop-mapper (fake)")

    monkeypatch.setattr(engines, "find_engine", lambda name=None, tools=(): FakeEngine())
    monkeypatch.setattr(fine, "judge", judge)
    monkeypatch.setattr(fine, "search", search)
    return failing


@pytest.mark.parametrize("mapper", ["hwflow", "timeloop"])
def test_fine_answers_and_is_kept(store: Store, timeloop: dict[str, Exception], mapper: Any) -> None:
    cost = hwflow.estimate(NET, ACC, level="fine", mapper=mapper, store=store)
    assert {r.level for r in cost.rows} == {"fine"}
    assert cost.provenance["mapper"] == mapper
    timeloop.update(a=ToolError("must not be asked again"), b=ToolError("nor this"))
    assert plain(hwflow.estimate(NET, ACC, level="fine", mapper=mapper, store=store)) == plain(cost)
    assert store.info().entries["fine"] == 2


def test_without_timeloop_the_default_is_mid_with_a_warning(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """As on the command line: the title says which level was asked for and why another one answered."""
    monkeypatch.setattr(engines, "find_engine", _no_engine)
    with pytest.warns(hwflow.HwflowWarning, match="fine cannot answer; mid answers instead, in every row"):
        cost = hwflow.estimate(NET, ACC, level="fine", store=store)
    assert cost.title == f"{NET.name} on {ACC.name}, level mid (fine was asked for: Timeloop was not found), batch 1"
    assert repr(cost).startswith(f"<NetworkCost {cost.title}: ")
    with pytest.raises(ToolMissing, match="not on PATH"):
        hwflow.estimate(NET, ACC, level="fine", fallback="none", store=store)


@pytest.mark.parametrize("fallback", ["mid", "coarse"])
def test_without_timeloop_every_row_is_marked(monkeypatch: pytest.MonkeyPatch, store: Store, fallback: Any) -> None:
    monkeypatch.setattr(engines, "find_engine", _no_engine)
    told: list[str] = []
    cost = hwflow.estimate(NET, ACC, level="fine", fallback=fallback, store=store, notify=told.append)
    note = f"answered at {fallback} instead of fine: Timeloop was not found: it is not on PATH"
    assert cost.level == fallback
    assert {(r.level, r.note) for r in cost.rows} == {(fallback, note)}
    assert cost.provenance["fallback"] == note
    assert cost.provenance["asked_level"] == "fine"
    assert len(told) == 1
    assert "Install it." in told[0]
    below = hwflow.estimate(NET, ACC, level=fallback, store=store)
    assert [r.energy for r in cost.rows] == [r.energy for r in below.rows]


def test_one_layer_moves_the_whole_network_and_no_other(store: Store, timeloop: dict[str, Exception]) -> None:
    timeloop["b"] = ToolError("timeloop-model on layer b failed with exit status 1. Kept in /tmp/random123.")
    alone = Network("alone", (SMALL,))
    told: list[str] = []
    costs = hwflow.estimate_many([(NET, ACC), (alone, ACC)], level="fine", fallback="mid", store=store, notify=told.append)
    assert {r.level for r in costs[0].rows} == {"mid"}
    assert {r.level for r in costs[1].rows} == {"fine"}
    assert "timeloop-model on layer b failed with exit status 1" in costs[0].rows[0].note
    assert "random123" not in plain(costs[0])  # two equal runs have equal bytes
    assert "random123" in told[0]
    with pytest.raises(ToolError, match="layer b failed"):
        hwflow.estimate(NET, ACC, level="fine", fallback="none", store=store)


def test_the_library_warns_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(engines, "find_engine", _no_engine)
    with pytest.warns(hwflow.HwflowWarning, match="mid answers instead, in every row"):
        hwflow.estimate(NET, ACC, level="fine", fallback="mid", store=store)


def test_what_mid_cannot_map_is_not_hidden(store: Store, timeloop: dict[str, Exception]) -> None:
    tiny = ACC.with_({"psum_spad.keeps": ["outputs", "weights", "inputs"], "psum_spad.size_words": 1})
    for level, fallback in (("mid", "mid"), ("fine", "mid"), ("fine", "coarse")):
        with pytest.raises(NotMappable, match="psum_spad"):
            hwflow.estimate(NET, tiny, level=level, fallback=fallback, energy="normalized", dataflow="flexible", store=store)  # type: ignore[arg-type]


def test_what_only_timeloop_cannot_map_falls_back(store: Store, timeloop: dict[str, Exception]) -> None:
    timeloop["a"] = NotMappable("timeloop-mapper on layer a found nothing. Enlarge the memory.")
    for fallback in ("mid", "coarse"):
        cost = hwflow.estimate(
            NET,
            ACC,
            level="fine",
            mapper="timeloop",
            fallback=fallback,
            store=store,
            notify=lambda text: None,  # type: ignore[arg-type]
        )
        assert {r.level for r in cost.rows} == {fallback}
    with pytest.raises(NotMappable, match="found nothing"):
        hwflow.estimate(NET, ACC, level="fine", mapper="timeloop", fallback="none", store=store)


def test_a_defect_is_not_taken_for_a_failed_run(store: Store, timeloop: dict[str, Exception]) -> None:
    timeloop["a"] = KeyError("a defect")
    with pytest.raises(KeyError):
        hwflow.estimate(NET, ACC, level="fine", fallback="mid", store=store)
    assert isinstance(store.begin("mid", "free"), object)


# Interruption, and a store that fails ----------------------------------------------------------------------------------


def test_an_interruption_keeps_what_is_done_and_leaves_no_claim(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = mid.map_layer

    def interrupted(layer: Layer, *args: Any, **kwargs: Any) -> mid.MapResult:
        if layer.name == "b":
            raise KeyboardInterrupt
        return real(layer, *args, **kwargs)

    monkeypatch.setattr(mid, "map_layer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hwflow.estimate(NET, ACC, store=store)
    assert store.info().entries == {"mid": 1}
    monkeypatch.setattr(mid, "map_layer", real)
    assert hwflow.estimate(NET, ACC, store=Store(store.path)).cycles  # no claim of the first is waited for


def test_a_store_that_cannot_be_written_loses_no_result(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    cost = hwflow.estimate(NET, ACC, store=Store(tmp_path / "file" / "store.sqlite"), notify=told.append)
    assert plain(cost) == plain(hwflow.estimate(NET, ACC, store=False))
    assert len(told) == 1
    assert "results are not kept" in told[0]


def test_progress_counts_distinct_layers(store: Store) -> None:
    seen: list[tuple[int, int]] = []
    hwflow.estimate(NET, ACC, store=store, progress=lambda done, total, text: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]


# Arguments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "middle"}, "unknown level 'middle'. Did you mean 'mid'"),
        ({"objective": "edpp"}, "unknown objective 'edpp'. Did you mean 'edp'"),
        ({"energy": "recoded"}, "unknown energy 'recoded'. Did you mean 'recorded'"),
        ({"mapper": "timelop"}, "Did you mean 'timeloop'"),
        ({"fallback": "med"}, "unknown fallback 'med'"),
        ({"effort": 0}, "effort is 0; it must be a whole number of at least 1"),
        ({"jobs": True}, "jobs is True"),
        ({"dataflow": "row_stationery"}, "row_stationary"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        hwflow.estimate(NET, ACC, store=False, **arguments)
    assert message in str(caught.value)


def test_mid_needs_an_accelerator_and_coarse_does_not() -> None:
    assert hwflow.estimate(NET, level="coarse").energy_normalized
    with pytest.raises(InputError, match="level mid needs an accelerator"):
        hwflow.estimate(NET)


def test_coarse_counts_other_operators_apart() -> None:
    cost = hwflow.estimate(hwflow.zoo("resnet20"), level="coarse")
    assert cost.other_traffic_bytes is not None
    assert cost.other_traffic_bytes > 0
    assert cost.dram_bytes == sum(r.dram_bytes for r in cost.rows)
    assert hwflow.estimate(hwflow.zoo("resnet20"), ACC, store=False).other_traffic_bytes is None


def test_every_error_is_of_the_family() -> None:
    assert issubclass(NotMappable, HwflowError)
    assert (InputError.exit_code, NotMappable.exit_code) == (2, 1)

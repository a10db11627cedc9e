"""What every cost backend promises: keys of content, equal answers wherever it runs, rows that all of hwflow can use."""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.cost import fine, mid
from hwflow.cost.backend import BACKENDS, CostBackend, Job, backend_of
from hwflow.cost.chip import Chip
from hwflow.cost.energy_sources import energy_table
from hwflow.cost.options import USED_BY, CostArguments, CostOptions, SharedArguments
from hwflow.cost.serialization import cost_from_data, cost_to_data, is_cost
from hwflow.errors import ToolMissing
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.results import LayerCost, NetworkCost
from hwflow.store import Store, key_of
from hwflow.timeloop import engine as engines
from hwflow.timeloop import render
from tests.ppa import synthetic


class Toy:
    """A picojoule and a nanosecond for every multiply-accumulate."""

    name, version = "toy", "toy-1"
    needs_chip = maps = external = fitted = False

    def seconds(self, options: CostOptions) -> float | None:
        return None

    def ready(self, options: CostOptions) -> Toy:
        return self

    def judges(self, options: CostOptions) -> str | None:
        return None

    def job(self, layer: Layer, chip: Chip | None, options: CostOptions, before: LayerCost | None) -> ToyJob:
        return ToyJob(key_of(self.version, layer.key), layer)


@dataclass(frozen=True)
class ToyJob:
    key: str
    layer: Layer

    def cost(self) -> LayerCost:
        macs = self.layer.macs
        return LayerCost(
            layer=self.layer,
            level="toy",
            engine="toy-1",
            energy=float(macs),
            energy_unit="pJ",
            energy_source="a picojoule a MAC",
            energy_by_level={"mac": float(macs)},
            cycles=macs,
            latency_s=macs * 1e-9,
            bound_by="compute",
            utilization=1.0,
            dram_bytes=0.0,
        )


@dataclass(frozen=True)
class Recorded:
    """An engine that is nowhere: what it would be asked is answered by mid's analysis; see `_timeloop_answers`."""

    name: str = "recorded"

    def version(self, tool: str) -> str:
        return "1"


ALL = ["coarse", "mid", "fine", "ppa", "toy"]
NEEDED: dict[str, dict[str, Any]] = {name: {} for name in ALL}
"""What a backend must be given; the model of ppa is fitted to formulas."""

CONV, POINTWISE = Layer("a", C=4, M=8, P=6, Q=6, R=3, S=3), Layer("b", C=8, M=4, P=6, Q=6)
LAYERS = [CONV, POINTWISE, Layer("fc", C=32, M=10, P=1, Q=1, type="linear"), Layer("dw", G=8, C=1, M=1, P=5, Q=4, R=3, S=3)]
NET = Network("net", (CONV, POINTWISE, CONV.with_(name="c")))
ACC = Accelerator.load("eyeriss")


def chip_of(accelerator: Accelerator = ACC, dataflow: str | None = None) -> Chip:
    return Chip(accelerator, constrain(accelerator, dataflow), energy_table(accelerator))


@pytest.fixture(autouse=True, scope="module")
def _model(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("ppa") / "model.json"
    synthetic.model(file, layers=(*LAYERS, CONV.with_(P=7)), chips=20)
    NEEDED["ppa"] = {"ppa_model": file}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "toy", Toy())


@pytest.fixture(autouse=True)
def _timeloop_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeloop's verdict on a mapping is mid's, which equals it; tests/timeloop has the real one."""

    def judge(layer: Layer, acc: Accelerator, mapping: Any, table: Any, **_: Any) -> LayerCost:
        return replace(mid.analyse(layer, acc, mapping, table), level="fine", engine="timeloop-model (recorded, 1)")

    def search(layer: Layer, acc: Accelerator, rules: Any, table: Any, **_: Any) -> LayerCost:
        found = mid.map_layer(layer, acc, rules, table, ragged=False).cost
        return replace(found, level="fine", engine="timeloop-mapper (recorded, 1)")

    monkeypatch.setattr(engines, "find_engine", lambda name=None, tools=(): Recorded())
    monkeypatch.setattr(fine, "judge", judge)
    monkeypatch.setattr(fine, "search", search)


def job_of(name: str, layer: Layer = CONV, chip: Chip | None = None, **given: Any) -> Job:
    """What a backend has to do for a layer, after the level that it judges."""
    options = CostOptions(level=name, **{**NEEDED[name], **given})
    backend = backend_of(name).ready(options)
    on = chip or chip_of()
    judged = backend.judges(options)
    before = None if judged is None else job_of(judged, layer, on, **given).cost()
    return backend.job(layer, on, options, before)


# Attributes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_it_bears_the_name_it_is_registered_under_and_a_version(name: str) -> None:
    backend: CostBackend = BACKENDS[name]
    assert backend.name == name
    assert backend.version
    assert all(isinstance(found, bool) for found in (backend.needs_chip, backend.maps, backend.external, backend.fitted))
    assert (seconds := backend.seconds(CostOptions(level=name))) is None or seconds >= 0
    judged = backend.judges(CostOptions(level=name))
    assert judged is None or (judged in BACKENDS and judged != name)


# Keys ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_equal_work_has_equal_keys_whatever_its_names(name: str) -> None:
    key = job_of(name).key
    assert key == job_of(name).key
    assert key == job_of(name, CONV.with_(name="another")).key
    assert key == job_of(name, chip=chip_of(ACC.with_({"name": "my_chip"}))).key
    assert key == job_of(name, jobs=4).key


@pytest.mark.parametrize("name", ALL)
def test_other_layers_and_versions_have_other_keys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [job_of(name, layer).key for layer in LAYERS]
    others = [CONV.with_(P=7), CONV.with_(strides=(2, 1)), CONV.with_(N=2), CONV.with_(dilations=(1, 2))]
    keys += [job_of(name, layer).key for layer in others]
    modules = {"coarse": "hwflow.cost.coarse.VERSION", "mid": "hwflow.cost.mid.VERSION", "fine": "hwflow.cost.fine.MODEL"}
    modules["ppa"] = "hwflow.ppa.model.VERSION"
    if name in modules:
        monkeypatch.setattr(modules[name], "next")
    else:
        monkeypatch.setattr(Toy, "version", "next")
    keys.append(job_of(name).key)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("option", "value"),
    [("objective", "energy"), ("effort", 2), ("ragged", False), ("mapper", "timeloop")],
)
@pytest.mark.parametrize("name", ALL)
def test_options_that_it_looks_at_are_in_its_key_or_its_answer_is_the_same(name: str, option: str, value: Any) -> None:
    usual, other = job_of(name, POINTWISE), job_of(name, POINTWISE, **{option: value})
    if not getattr(BACKENDS[name], USED_BY[option][0]):
        assert usual.key == other.key
    if usual.key == other.key:
        assert usual.cost() == other.cost()


@pytest.mark.parametrize("name", [name for name in ALL if name in ("mid", "fine", "coarse", "ppa")])
def test_another_chip_has_another_key(name: str) -> None:
    chips = [chip_of(), chip_of(ACC.with_({"dram.bandwidth_gb_s": 2})), chip_of(ACC.with_({"pe_array.columns": 7}))]
    chips.append(chip_of(ACC.serving(CONV.with_(bits=Bits(8, 8, 8)))))
    assert len({job_of(name, chip=chip).key for chip in chips}) == len(chips)


# Answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS, ids=[layer.name for layer in LAYERS])
@pytest.mark.parametrize("name", ALL)
def test_an_answer_is_pure_and_of_its_level(name: str, layer: Layer) -> None:
    job = job_of(name, layer)
    first, second = job.cost(), pickle.loads(pickle.dumps(job)).cost()
    assert first == second == job_of(name, layer).cost()
    assert (first.level, first.layer.key) == (name, layer.key)
    assert first.engine
    assert first.energy_source
    assert first.energy is not None
    assert sum(first.energy_by_level.values()) == pytest.approx(first.energy)
    assert first.utilization is None or 0 <= first.utilization <= 1
    assert (first.mapping is not None) == BACKENDS[name].maps


@pytest.mark.parametrize("name", ALL)
def test_an_answer_survives_the_store_and_is_accepted_there(name: str) -> None:
    cost = job_of(name).cost()
    data = json.loads(json.dumps(cost_to_data(cost)))
    assert is_cost(data, name, mapped=BACKENDS[name].maps)
    back = cost_from_data(data, CONV)
    assert back == cost
    assert (back.proven_optimal, back.bound) == (cost.proven_optimal, cost.bound)


@pytest.mark.parametrize("name", ["coarse", "mid", "ppa", "toy"])
def test_a_worker_process_gives_the_same_answer(name: str) -> None:
    job = job_of(name)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        assert workers.submit(job.cost).result() == job.cost()


# Through the estimator -----------------------------------------------------------------------------------------------


def estimated(name: str, store: Store | bool = False, **given: Any) -> NetworkCost:
    return hwflow.estimate(NET, ACC, level=name, store=store, **{**NEEDED[name], **given})


@pytest.mark.parametrize("name", ALL)
def test_totals_are_sums_of_rows_and_provenance_says_who_answered(name: str) -> None:
    cost, backend = estimated(name), BACKENDS[name]
    assert [row.layer.name for row in cost.rows] == ["a", "b", "c"]
    assert (cost.level, {row.level for row in cost.rows}) == (name, {name})
    assert cost.cycles == sum(row.cycles or 0 for row in cost.rows)
    assert cost.energy_pj == sum(row.energy or 0 for row in cost.rows)
    assert cost.dram_bytes == sum(row.dram_bytes for row in cost.rows)
    told = cost.provenance
    assert (told["asked_level"], told["fallback"]) == (name, None)
    assert told["engines"] == sorted({row.engine for row in cost.rows})
    assert told["energy"]["sources"] == sorted({row.energy_source for row in cost.rows})
    assert ("objective" in told, "mapper" in told) == (backend.maps, backend.external)


@pytest.mark.parametrize("name", ALL)
def test_the_second_time_the_store_answers_the_same(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    first = estimated(name, store)
    assert estimated(name, store) == first == estimated(name)
    kept = store.info().entries.get(name, 0)
    assert kept == (0 if BACKENDS[name].seconds(CostOptions(level=name)) == 0 else 2)


@pytest.mark.parametrize("name", ALL)
def test_json_and_csv_have_a_row_a_layer(name: str) -> None:
    cost = estimated(name)
    told = json.loads(cost.to_json())
    assert (told["level"], [row["level"] for row in told["layers"]]) == (name, [name] * 3)
    assert not {"mapping", "proven_optimal", "bound"} & set(told["layers"][0])
    rows = list(csv.DictReader(io.StringIO(cost.to_csv())))
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert [float(row["cycles"]) for row in rows] == [row.cycles for row in cost.rows]


@pytest.mark.parametrize("name", ALL)
def test_without_an_accelerator_it_answers_or_says_that_it_needs_one(name: str) -> None:
    if not BACKENDS[name].needs_chip:
        assert hwflow.estimate(NET, level=name, store=False).level == name
        return
    with pytest.raises(hwflow.InputError, match=rf"level {name} needs an accelerator: .* Only coarse and toy answers without"):
        hwflow.estimate(NET, level=name, store=False)


@pytest.mark.parametrize("name", ALL)
def test_a_missing_tool_falls_back_where_another_program_answers_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: Any, options: CostOptions) -> Any:
        raise ToolMissing("It was not found. Install it.")

    monkeypatch.setattr(type(BACKENDS[name]), "ready", none)
    told: list[str] = []
    if not BACKENDS[name].external:
        with pytest.raises(ToolMissing):
            estimated(name)
        return
    cost = estimated(name, notify=told.append)
    assert (cost.level, cost.provenance["fallback"]) == ("mid", f"answered at mid instead of {name}: It was not found")
    assert len(told) == 1


@pytest.mark.parametrize("mapper", ["hwflow", "timeloop"])
def test_fine_renders_each_distinct_layer_once(mapper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    real: Callable[..., dict[str, str]] = render.render

    def counted(layer: Layer, *args: Any, **given: Any) -> dict[str, str]:
        rendered.append(layer.name)
        return real(layer, *args, **given)

    monkeypatch.setattr(render, "render", counted)
    monkeypatch.setattr(fine, "render", counted)
    estimated("fine", mapper=mapper)
    assert rendered == ["a", "b"]


# Options -------------------------------------------------------------------------------------------------------------


def test_keyword_arguments_are_the_fields_of_the_options() -> None:
    known = {field.name for field in fields(CostOptions)}
    assert CostArguments.__optional_keys__ == known
    assert SharedArguments.__optional_keys__ == known - {"level", "dataflow"}
    assert set(USED_BY) < known


CALLS: dict[str, Callable[..., Any]] = {
    "estimate": lambda **given: hwflow.estimate(NET, ACC, store=False, **given).provenance["effort"],
    "estimate_many": lambda **given: hwflow.estimate_many([(NET, ACC)], store=False, **given)[0].provenance["effort"],
    "compare": lambda **given: next(iter(hwflow.compare(NET, ACC, levels=["mid"], store=False, **given))).cost.provenance[
        "effort"
    ],
    "cost_table": lambda **given: hwflow.cost_table(NET, ACC, fill=False, store=False, **given)._options.effort,
}


@pytest.mark.parametrize("call", CALLS)
def test_options_are_an_object_or_keyword_arguments_or_both(call: str) -> None:
    asked = CALLS[call]
    assert asked() == 1
    assert asked(effort=2) == asked(options=CostOptions(effort=2)) == asked(options=CostOptions(effort=3), effort=2) == 2
    with pytest.raises(TypeError, match=r"unknown keyword argument 'efort'\. Did you mean 'effort'"):
        asked(efort=2)
    with pytest.raises(hwflow.InputError, match=r"options is \{'effort': 2\}; it must be a hwflow.CostOptions"):
        asked(options={"effort": 2})
    with pytest.raises(hwflow.InputError, match="effort is 0; it must be a whole number"):
        asked(effort=0)


def test_options_that_a_function_cannot_follow_are_refused() -> None:
    with pytest.raises(hwflow.InputError, match="level is 'fine', and mappings of one layer are searched at mid only"):
        hwflow.map_layer(CONV, ACC, level="fine", store=False)
    with pytest.raises(hwflow.InputError, match=r"level is 'fine', but compare takes several: give levels=\['fine'\]"):
        hwflow.compare(NET, ACC, options=CostOptions(level="fine"), store=False)
    with pytest.raises(hwflow.InputError, match="fallback is 'coarse', and every answer of a cost table is of its level"):
        hwflow.cost_table(NET, ACC, level="fine", fallback="coarse", store=False)
    with pytest.raises(hwflow.InputError, match=r"unknown level 'exact'\..* Known: coarse, fine, mid, ppa, toy"):
        hwflow.estimate(NET, ACC, level="exact", store=False)
    with pytest.raises(TypeError):
        CostOptions("mid")  # type: ignore[misc]


# A new level, everywhere ---------------------------------------------------------------------------------------------


def test_the_toy_is_a_level_of_estimates_tables_comparisons_and_pages(tmp_path: Path) -> None:
    cost = estimated("toy")
    assert cost.energy_pj == NET.macs
    assert "level toy" in cost.title
    table = hwflow.cost_table(NET, level="toy", round_to=4, store=False)
    assert table.cost("a", M=4).energy == CONV.with_(M=4).macs
    both = hwflow.compare(NET, ACC, levels=["toy", "mid"], dataflows=[None, "flexible"], store=False)
    assert [(v.level, v.dataflow) for v in both] == [
        ("toy", None),
        ("mid", "row_stationary"),
        ("mid", "flexible"),
    ]
    pytest.importorskip("plotly")
    for found in (cost, both):
        assert "toy" in found.to_html(tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_toy_is_a_level_of_the_command_line_and_of_reports_of_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hwflow.cli import main

    pytest.importorskip("plotly")
    file = tmp_path / "cost.json"
    with pytest.raises(SystemExit) as ended:
        main(["estimate", "resnet20", "--level", "toy", "-o", str(file)])
    assert ended.value.code in (0, None), capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["report", str(file), "-o", str(tmp_path / "page.html")])
    assert ended.value.code in (0, None), capsys.readouterr().err
    assert "toy" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_toy_is_a_level_of_sweeps(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "networks: [resnet20]\naccelerators: [{base: eyeriss, set: {dram.bandwidth_gb_s: [2, 4]}}]\nlevels: [coarse, toy]\n",
        encoding="utf-8",
    )
    frame = hwflow.sweep(file, tmp_path / "run", store=False, progress=False)
    assert list(frame["level"]) == ["coarse", "toy"] * 2
    assert set(frame["status"]) == {"ok"}
    assert "toy" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_the_toy_is_a_level_of_pruning_and_its_report(tmp_path: Path) -> None:
    nn = pytest.importorskip("torch").nn
    from hwflow.compression.accuracy import ProxySettings
    from hwflow.compression.budget import Budget
    from hwflow.compression.search.ddpg import Hyperparameters
    from hwflow.compression.settings import Settings
    from hwflow.datasets import load_data
    from hwflow.training import Recipe

    settings = Settings(
        levels=("toy",),
        budgets=(Budget("energy", 0.6),),
        episodes=4,
        agent=Hyperparameters(hidden=8),
        proxy=ProxySettings(samples=40, batches=1, batch_size=40),
        tuning=Recipe(epochs=1, batch_size=64, device="cpu", precision="float32"),
    )
    body = nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU()
    net, out = nn.Sequential(*body, nn.Flatten(), nn.Linear(256, 10)), tmp_path / "run"
    result = hwflow.prune(net, load_data("digits"), settings=settings, output=out, progress=False, notify=lambda _: None)
    before, after = result.costs["toy"]
    assert after.energy_pj is not None
    assert before.energy_pj == before.macs
    assert after.energy_pj <= 0.6 * before.macs
    assert set(result.not_available) == {"mid", "fine"}
    assert json.loads((out / "metrics.json").read_text())["after"]["toy"]["macs"] == after.macs
    if (out / "report.html").exists():
        assert "At toy" in (out / "report.html").read_text(encoding="utf-8")

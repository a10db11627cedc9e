"""Reports of sweeps: fronts, the chooser's designs, agreement of levels, failures, size; and what is refused."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwflow import cli
from hwflow.errors import InputError, MissingDependency
from hwflow.ranking import spearman
from hwflow.reporting import write_report
from hwflow.reporting.page.palette import THEMES
from hwflow.reporting.sweeps.pareto import AREA, ENERGY, LATENCY, MOST_DRAWN, undominated
from hwflow.reporting.sweeps.sweep_folder import Point, read_sweep
from hwflow.reporting.sweeps.sweep_report import MOST_ROWS
from tests.reporting.reading import Read, strings
from tests.reporting.sweeps import change_rows, failed, read_rows, write_sweep


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("sweeps") / "sweep")


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "sweep"))


def report(folder: Path) -> Read:
    return Read(write_report(folder))


# Fronts --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=30))
def test_a_front_is_what_no_other_beats(costs: list[tuple[int, int, int]]) -> None:
    points = [SimpleNamespace(energy=e, row=SimpleNamespace(latency_s=s), area_m2=a) for e, s, a in costs]
    front = undominated(cast("list[Point]", points), [ENERGY, LATENCY, AREA])
    for point, cost in zip(points, costs, strict=True):
        beaten = any(all(a <= b for a, b in zip(other, cost, strict=True)) and other != cost for other in costs)
        assert (point in cast("list[Any]", front)) != beaten


def test_the_fronts_hold_the_tables_points(folder: Path) -> None:
    page, rows = report(folder), [r for r in read_rows(folder) if (r["network"], r["level"]) == ("two", "mid")]
    shown = next(
        f
        for f in page.figures
        if f["layout"]["xaxis"].get("title", {}).get("text", "").startswith("latency (")
        and f["layout"]["yaxis"].get("title", {}).get("text", "").startswith("energy (")
        and any("point 23" in hint for t in f["data"] for hint in t.get("hovertext", ()))
    )
    _, others, best = shown["data"]
    found = sorted((round(x, 9), round(y, 9)) for t in (others, best) for x, y in zip(t["x"], t["y"], strict=True))
    assert found == sorted((round(r["latency_s"] * 1e6, 9), round(r["energy_pj"] * 1e-6, 9)) for r in rows)
    costs = [(r["energy_pj"], r["latency_s"], r["area_um2"]) for r in rows]
    front = [c for c in costs if not any(o != c and all(a <= b for a, b in zip(o, c, strict=True)) for o in costs)]
    assert len(best["x"]) == len(front)
    assert f"{len(front)} of 8 designs are beaten by no other in energy, latency and area together." in page.text
    hint = best["hovertext"][0].replace("\u00a0", " ")
    assert re.match(
        r"dataflow \w+<br>pe_array\.columns \d+<br>pe_array\.rows \d<br>\S+ [nµ]J, \S+ µs, \S+ mm²<br>point \d+", hint
    )


# The chooser ---------------------------------------------------------------------------------------------------------


def test_the_choosers_designs_are_the_tables_and_their_commands_give_them_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (chooser,) = report(folder).choosers
    assert [name for name, _ in chooser["quantities"]] == ["latency", "energy", "area", "EDP", "DRAM traffic"]
    assert chooser["headings"] == ["dataflow", "pe_array.columns", "pe_array.rows"]
    sizes = {name: len(group) for name, group in chooser["groups"].items()}
    assert sizes == {"one at coarse": 4, "two at coarse": 4, "one at mid": 8, "two at mid": 8}
    rows = {str(row["point"]): row for row in read_rows(folder)}
    for group in chooser["groups"].values():
        for name, values, setting, _ in group:
            row = rows[name]
            assert setting == [row["dataflow"] or "-", str(row["pe_array.columns"]), str(row["pe_array.rows"])]
            assert values[0] == pytest.approx(row["latency_s"] * 1e6, rel=1e-5)
            assert values[2] == pytest.approx(row["area_um2"] * 1e-6, rel=1e-5)
    name, _, _, command = chooser["groups"]["two at mid"][-1]
    words = shlex.split(command)
    assert words[0] == "hwflow"
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main([*words[1:], "--format", "json"])
    assert ended.value.code == 0
    totals = json.loads(capsys.readouterr().out)["totals"]
    assert totals["energy_pj"] == pytest.approx(rows[name]["energy_pj"], rel=1e-12)
    assert totals["latency_s"] == pytest.approx(rows[name]["latency_s"], rel=1e-12)


def test_energies_of_two_units_are_never_held_against_each_other(folder: Path) -> None:
    def change(_: int, row: dict[str, Any]) -> dict[str, Any]:
        return (
            {**row, "energy_normalized": row["energy_pj"], "energy_pj": None, "edp_pj_s": None}
            if row["pe_array.rows"] == 3
            else row
        )

    change_rows(folder, change)
    page = report(folder)
    (chooser,) = page.choosers
    assert [name for name, _ in chooser["quantities"]] == ["latency", "area", "DRAM traffic"]
    assert "so none is chosen by them" in page.text
    assert set(chooser["groups"]) >= {"two at mid, joule", "two at mid, normalized"}


# Sections ------------------------------------------------------------------------------------------------------------


def test_levels_agree_as_their_ranks_do(folder: Path) -> None:
    page, rows = report(folder), read_rows(folder)
    key = ("network", "pe_array.columns", "pe_array.rows")
    coarse = {tuple(r[k] for k in key): r["latency_s"] for r in rows if r["level"] == "coarse"}
    mid = [r for r in rows if r["level"] == "mid" and r["network"] == "two"]
    expected = spearman([coarse[tuple(r[k] for k in key)] for r in mid], [r["latency_s"] for r in mid])
    assert ["coarse and mid", "two", "latency", "8", f"{expected:.3f}"] in page.tables["Rank correlation of designs (Spearman)"]
    assert ["coarse and mid", "two", "energy", "8", "-"] in page.tables["Rank correlation of designs (Spearman)"]  # all equal


def test_dataflows_stand_side_by_side_and_the_best_layers_are_there(folder: Path) -> None:
    page, rows = report(folder), read_rows(folder)
    best = page.tables["The best by EDP of each"]
    assert [row[:2] for row in best[1:]] == [["eyeriss, row_stationary", "4"], ["eyeriss, flexible", "4"]]
    of = [r for r in rows if (r["network"], r["level"]) == ("two", "mid")]
    least = min((r for r in of if r["dataflow"] == "flexible"), key=lambda r: r["energy_pj"] * r["latency_s"])
    assert f"pe_array.rows {least['pe_array.rows']}" in best[2][-1]
    layers = [row for row in read_rows(folder, "layers") if row["point"] == min(of, key=lambda r: r["energy_pj"])["point"]]
    stack = [f for f in page.figures if any(t["name"] == "psum_spad" for t in f["data"])][-1]
    for i, layer in enumerate(layers):
        bars = [t["y"][i] for t in stack["data"] if t["x"][i] <= i]
        assert sum(bars) * 1e3 == pytest.approx(layer["energy_pj"], rel=1e-9)  # nJ


def test_every_field_is_an_axis(folder: Path) -> None:
    lines = [f for f in report(folder).figures if any(t["name"] == "best fifth" for t in f["data"])][-1]
    axes = lines["layout"]["xaxis"]["ticktext"]
    assert axes[:3] == ["dataflow", "pe_array.<br>columns", "pe_array.<br>rows"]
    assert [text.split(" (")[0] for text in axes[3:]] == ["energy", "latency", "area"]
    assert sum(t["y"].count(None) for t in lines["data"]) == 8


def test_failures_are_counted_with_their_reasons(folder: Path) -> None:
    change_rows(folder, lambda i, row: failed(row, "too <small>") if i in (9, 11) else failed(row, "odd") if i == 3 else row)
    page = report(folder)
    reasons = page.tables["Reasons"]
    assert [row[:3] for row in reasons[1:]] == [["2", "too <small>", "9"], ["1", "odd", "3"]]
    assert len(page.tables["Every point that failed"]) == 1 + 3
    assert "3 points failed; their reasons are below." in page.text
    assert len(page.tables["Every point that was answered"]) == 1 + 21


def test_a_sweep_in_which_all_failed_has_a_page(folder: Path) -> None:
    change_rows(folder, lambda _, row: failed(row, "no"))
    page = report(folder)
    assert "None of 24 points was answered. 24 points failed" in page.text
    assert not page.figures


# Size and safety -----------------------------------------------------------------------------------------------------


def multiplied(folder: Path, times: int) -> None:
    """The same sweep with many points, each a little different."""
    results, layers = read_rows(folder), read_rows(folder, "layers")
    schema, inner = (pq.read_schema(folder / f"{name}.parquet") for name in ("results", "layers"))
    rows, parts = [], []
    for k in range(times):
        base, slower, more = k * len(results), 1 + 0.37 * ((k * 7919) % times) / times, 1 + 0.5 * ((k * 104729) % times) / times
        rows += [
            {
                **row,
                "point": row["point"] + base,
                "latency_s": row["latency_s"] * slower,
                "energy_pj": row["energy_pj"] * more,
            }
            for row in results
        ]
        parts += [{**row, "point": row["point"] + base, "layer": f"{row['layer']}.{j}"} for row in layers for j in range(10)]
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "results.parquet")
    pq.write_table(pa.Table.from_pylist(parts, inner), folder / "layers.parquet")


def test_a_thousand_points_of_thirty_layers_are_a_small_page(folder: Path) -> None:
    multiplied(folder, 42)
    page = report(folder)
    assert len(page.tables["Every point that was answered"]) == 1 + 24 * 42
    assert (folder / "report.html").stat().st_size < 10e6
    assert len(page.tables["Every layer at mid"]) == 1 + 30


def test_points_that_are_too_many_to_draw_are_left_out_and_said(folder: Path) -> None:
    multiplied(folder, MOST_DRAWN // 6)
    page = report(folder)
    left = re.findall(r"([\d,]+) points behind it are left out of the figures; results\.csv has all", page.text)
    assert left
    assert f"The first {MOST_ROWS:,} of {24 * (MOST_DRAWN // 6):,} points" in page.text
    (chooser,) = page.choosers
    assert sum(map(len, chooser["groups"].values())) == 24 * (MOST_DRAWN // 6)  # all can be chosen


def test_names_are_text_in_pages_of_sweeps(folder: Path) -> None:
    evil = "</script><script>alert(1)</script><b onclick='x'>&"
    change_rows(
        folder, lambda i, row: failed(row, evil) if i == 3 else {**row, "network": evil, "dataflow": row["dataflow"] and evil}
    )
    change_rows(folder, lambda _, row: {**row, "layer": evil, "bound_by": evil}, "layers")
    page = report(folder)
    assert evil in page.text
    assert not [tag for tag, attributes in page.tags if tag == "b" or "onclick" in attributes]
    assert sum(tag == "script" and not attributes for tag, attributes in page.tags) == 3  # plotly, the page's, the chooser's
    assert not [text for one in page.figures for text in strings(one) if "<script" in text or "<b " in text]
    assert "<script>alert" not in (folder / "report.html").read_text(encoding="utf-8")


def test_equal_sweeps_give_equal_bytes_and_plotly_knows_every_property(folder: Path, finished: Path, tmp_path: Path) -> None:
    assert write_report(folder).read_bytes() == write_report(finished, tmp_path / "page.html").read_bytes()
    graph_objects = pytest.importorskip("plotly.graph_objects")
    figures = Read(folder / "report.html").figures
    used = {text[1:].partition("/")[0] for one in figures for text in strings(one) if text.startswith("@")}
    assert {"fifth-1", "fifth-5", "after"} <= used <= set(THEMES["light"])
    for one in figures:
        text = re.sub(r'"@([\w-]+)[^"]*"', lambda name: json.dumps(THEMES["light"][name[1]]), json.dumps(one))
        graph_objects.Figure(json.loads(text))


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_sweep_without_tables_or_with_damaged_ones(folder: Path) -> None:
    (folder / "report.html").unlink()
    (folder / "layers.parquet").unlink()
    with pytest.raises(InputError, match=r"layers\.parquet does not exist; the sweep's folder is not complete"):
        write_report(folder)
    content = (folder / "results.parquet").read_bytes()
    (folder / "results.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"results\.parquet is damaged: .* Run the same 'hwflow sweep' again"):
        write_report(folder)
    (folder / "results.parquet").unlink()
    with pytest.raises(InputError, match=r"holds a sweep without tables: it has records\.jsonl, but no results\.parquet"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_a_column_that_is_gone_is_named(folder: Path) -> None:
    table = pq.read_table(folder / "results.parquet").drop_columns(["status"])
    pq.write_table(table, folder / "results.parquet")
    with pytest.raises(InputError, match=r"results\.parquet is damaged: status: field required"):
        read_sweep(folder)


def test_a_missing_pyarrow_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=re.escape('pip install "hwflow[report]"')):
        write_report(folder)

"""Reports of pruning runs: what is on the page, what is refused, and that no name of a folder becomes part of the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwflow import cli
from hwflow.errors import InputError, MissingDependency
from hwflow.reporting import write_report
from hwflow.reporting.page.palette import METHODS, THEMES
from hwflow.reporting.page.values import counted, listed, number, prefix, quantities, quantity, share_of, spread
from tests.reporting.folders import read_json, write_json, write_run
from tests.reporting.reading import Read, strings


def report(folder: Path) -> Read:
    return Read(write_report(folder))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


# What is on the page -------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_metrics_are_on_the_page(run: Path) -> None:
    metrics, page = read_json(run / "metrics.json"), report(run)
    assert "accuracy on the test set of digits was 98.75 % before and is 96.25 % after" in page.text
    rows = {(row[0], row[1]): row[2:] for row in page.tables["Totals of the network at each level"][1:]}
    for level in ("coarse", "mid"):
        before, after = metrics["before"][level], metrics["after"][level]
        share = after["energy_pj"] / before["energy_pj"]
        assert rows[level, "energy"] == [
            "µJ",
            *(number(side["energy_pj"] * 1e-6) for side in (before, after)),
            f"{100 * share:.1f}",
            f"{1 / share:.2f}",
            "yes, at most 80 %",
        ]
        assert rows[level, "latency"][:3] == ["µs", *(number(side["latency_s"] * 1e6) for side in (before, after))]
        assert rows[level, "MACs"][:3] == ["k", *(number(side["macs"] / 1e3) for side in (before, after))]
        edp = [side["energy_pj"] * side["latency_s"] for side in (before, after)]
        assert rows[level, "EDP"][:3] == ["pJ s", *map(number, edp)]
    exact = {tag["data-value"] for name, tag in page.tags if name == "td" and "data-value" in tag}
    assert {str(metrics[side]["mid"]["latency_s"]) for side in ("before", "after")} <= exact
    assert f"{100 * metrics['after']['mid']['energy_pj'] / metrics['before']['mid']['energy_pj']:.1f} % left" in page.text


def test_every_candidate_and_every_plan_of_the_refinement_is_there(run: Path) -> None:
    page = report(run)
    rows = page.tables["Plans compared"]
    assert [row[0] for row in rows[1:]] == ["unpruned", "uniform", "random", "agent on MACs", "agent"]
    assert rows[0][2:5] == ["search split (%)", "held-out split (%)", "energy (%)"]
    assert rows[-1] == ["agent", "0", "91.00", "90.00", *["78.0"] * 2, "60.8", *["78.0"] * 3, "yes", "6"]
    assert "From coarse to mid, 2 of 3 plans changed rank, and 1 had to be cut" in page.text
    assert "The best was number 2 at coarse." in page.text
    assert [row[:4] for row in page.tables["Plans at each level"][1:]] == [
        ["mid", "1", "2", "yes"],
        ["mid", "2", "1", "no"],
        ["mid", "3", "3", "no"],
    ]
    assert "Search and refinement took 35.2 s: 3.25 s for costs, 22.0 s for accuracy and 10.0 s for the searches." in page.text


def test_channels_settings_and_sources_are_there(run: Path) -> None:
    page = report(run)
    assert page.tables["Every group"][1:] == [["conv1", "conv1", "16", "8", "50.0"], ["conv2", "conv2", "32", "24", "75.0"]]
    assert "32 of 48 channels in 2 groups are kept, 66.7 %." in page.text
    assert ["fc", "they are the model's outputs"] in page.tables["Left out of the pruning"]
    assert ["fine", "Timeloop was not found"] in page.tables["Levels that are not available"]
    answered = {row[0]: row for row in page.tables["What answered"][1:]}
    assert answered["mid"][1].startswith("before and after")
    assert answered["mid"][2].startswith("hwflow mid-")
    assert answered["mid"][3].startswith("recorded (Accelergy")
    assert answered["mid"][5] == "row_stationary"
    assert ["versions.torch", "2.13.0"] in page.tables["All settings and versions"]
    assert ["settings.episodes", "6"] in page.tables["All settings and versions"]


def figure(page: Read, y_title: str) -> dict[str, Any]:
    return next(f for f in page.figures if f["layout"].get("yaxis", {}).get("title", {}).get("text", "") == y_title)


def test_figures_hold_the_costs_of_every_layer_and_part(run: Path) -> None:
    page, costs = report(run), read_json(run / "costs.json")["mid"]
    energy = [f for f in page.figures if f["layout"].get("yaxis", {}).get("title", {}).get("text") == "energy (µJ)"][-1]
    for place, side in enumerate(("before", "after")):
        for i, layer in enumerate(costs[side]["layers"]):
            bars = {t["name"]: t["y"][i] for t in energy["data"] if (t["x"][i] > i) == place}
            assert bars == pytest.approx({part: pj * 1e-6 for part, pj in layer["energy_by_level_pj"].items()})
            assert sum(bars.values()) == pytest.approx(layer["energy_pj"] * 1e-6)
        assert {t["x"][0] + t["width"] / 2 for t in energy["data"] if (t["x"][0] > 0) == place} == {(0, 0.375)[place]}
        latency = figure(page, "latency (µs)")["data"][place]
        assert latency["name"] == side
    coarse, mid = (
        {t["name"]: t["marker"]["color"] for t in f["data"]}
        for f in page.figures
        if f["layout"].get("yaxis", {}).get("title", {}).get("text") == "energy (µJ)"
    )
    assert coarse.items() <= mid.items()  # a part has one colour at all levels
    assert len(set(mid.values())) == len(mid)


def test_the_learning_curve_holds_every_episode_and_the_best_so_far(run: Path) -> None:
    episodes = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    curve = figure(report(run), "accuracy of plans (%)")
    for by in ("agent", "random", "agent on MACs"):
        found = [100 * e["accuracy"] for e in episodes if e["by"] == by]
        dots, line = (next(t for t in curve["data"] if t["name"] == name) for name in (f"{by}, each plan", by))
        assert dots["y"] == pytest.approx(found)
        assert line["y"] == pytest.approx([max(found[: i + 1]) for i in range(len(found))])
        assert line["line"]["color"] == METHODS[by]


def test_what_was_applied_and_chosen_from_is_there(tmp_path: Path) -> None:
    """Of a baseline here. Folders of version 0.1 have no such choice: there the first seed's plan was applied."""
    page = report(write_run(tmp_path / "run", seeds=(3, 4)))
    assert "Of all searches and baselines, the plan of random, seed 4 was applied." in page.text
    assert "Applied: the plan of random, seed 4, the best of 2 plans on images that no search saw (choice split)." in page.text
    assert page.tables["The best plans of all searches and baselines"][1:] == [
        ["random", "4", "90.00", "89.00", "88.00", "yes"],
        ["agent", "3", "91.00", "87.00", "86.00", ""],
    ]
    old = write_run(tmp_path / "old", seeds=(3, 4))
    found = read_json(old / "comparison.json")
    del found["finalists"]
    write_json(old / "comparison.json", found)
    page = report(old)
    assert "The first seed's plan was applied." in page.text
    assert "Applied:" not in page.text


def test_a_search_that_is_not_known_has_a_colour_and_comes_first(tmp_path: Path) -> None:
    """Also of searchers that a later version adds."""
    folder = write_run(tmp_path / "run")
    for name in ("log.jsonl", "comparison.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"agent on MACs"', '"genie"'))
    page = report(folder)
    assert [row[0] for row in page.tables["Plans compared"][1:]] == ["genie", "unpruned", "uniform", "random", "agent"]
    assert {"genie", "genie, each plan"} <= {t["name"] for t in figure(page, "accuracy of plans (%)")["data"]}


def test_several_seeds_have_means_and_spreads(tmp_path: Path) -> None:
    page = report(write_run(tmp_path / "run", seeds=(3, 4, 5), budgets=(("energy", 0.8), ("latency", 0.5))))
    agent = page.tables["Plans compared"][-1]
    assert agent[:4] == ["agent", "3, 4, 5", "93.00 ± 2.00", "92.00 ± 2.00"]
    assert len(page.tables["Every seed"]) == 1 + 2 + 3 * 3
    curve = figure(page, "accuracy of plans (%)")
    low, high, line = (t for t in curve["data"] if t["legendgroup"] == "agent" and t["mode"] == "lines")
    assert all(a <= m <= b for a, m, b in zip(low["y"], line["y"], high["y"], strict=True))
    assert "At mid the budget of latency does not hold" in page.text
    assert ("li", {"class": "bad"}) in page.tags


def test_what_is_not_known_is_said_and_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", accelerator=None, levels=("coarse",), budgets=(("latency", 0.5),))
    log = (folder / "log.jsonl").read_text().splitlines()
    first = {**json.loads(log[0]), "reward": float("nan"), "accuracy": float("nan")}
    (folder / "log.jsonl").write_text("\n".join([json.dumps(first), *log[1:]]))
    page = report(folder)
    assert "Latencies are not known at coarse without an accelerator." in page.text
    assert "Normalized energies are in units of one 16-bit multiply-accumulate." in page.text
    assert "M normalized" in page.text
    names = [row[1] for row in page.tables["Totals of the network at each level"][1:]]
    assert names == ["energy", "MACs", "parameters", "DRAM traffic", "peak activation memory"]
    assert "Latency budget not known" in " ".join(page.text.split())
    dots = next(t for t in figure(page, "accuracy of plans (%)")["data"] if t["name"] == f"{first['by']}, each plan")
    assert dots["y"][0] is None


def test_a_plan_that_was_given_has_no_comparison(tmp_path: Path) -> None:
    page = report(write_run(tmp_path / "run", plan="uniform", task="segmentation", budgets=()))
    assert "No search: uniform pruning was applied." in page.text
    assert "mean IoU on the test set" in page.text
    assert "Plans compared" not in page.tables
    assert "keeps the budget" not in page.text


def test_a_reward_of_its_own_has_a_curve_of_its_own(run: Path) -> None:
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (run / "log.jsonl").write_text("\n".join(json.dumps({**line, "reward": -line["accuracy"]}) for line in log))
    curve = figure(report(run), "reward")
    assert next(t for t in curve["data"] if t["name"] == "agent, each plan")["y"][0] < 0


# Safety and form -----------------------------------------------------------------------------------------------------


def test_names_are_text_wherever_they_stand(run: Path) -> None:
    evil = "</script><script>alert(1)</script><b onclick='x'>&"
    for file in ("config", "plan", "costs", "comparison", "metrics"):
        text = (run / f"{file}.json").read_text()
        for name in ("tiny", "conv1", "dram", "digits", "Timeloop was not found", "searches", "they are the model's outputs"):
            text = text.replace(json.dumps(name), json.dumps(evil))
        text = text.replace('"bound_by": "compute"', f'"bound_by": {json.dumps(evil)}')
        (run / f"{file}.json").write_text(text)
    page = report(run)
    assert evil in page.text
    assert not [tag for tag, attributes in page.tags if tag == "b" or "onclick" in attributes]
    assert sum(tag == "script" and not attributes for tag, attributes in page.tags) == 2  # plotly and ours
    inside = [text for one in page.figures for text in strings(one)]
    assert any("&lt;/script&gt;" in text for text in inside)
    assert not [text for text in inside if "<script" in text or "<b " in text]
    assert "<script>alert" not in (run / "report.html").read_text(encoding="utf-8")


def test_equal_folders_give_equal_bytes(run: Path, finished: Path, tmp_path: Path) -> None:
    one, two = write_report(run), write_report(finished, tmp_path / "elsewhere" / "page.html")
    assert two == tmp_path / "elsewhere" / "page.html"
    assert one.read_bytes() == two.read_bytes()


def test_the_page_needs_nothing_else(run: Path) -> None:
    page = report(run)
    assert (run / "report.html").stat().st_size < 10e6
    assert not [a for _, a in page.tags if {"src", "srcset", "data-src"} & set(a)]
    assert all(str(a["href"]).startswith("#") for _, a in page.tags if "href" in a)
    policy = next(str(a["content"]) for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


def test_the_page_can_be_used_by_keyboard_and_reader(run: Path) -> None:
    page = report(run)
    identities = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identities) == len(set(identities))
    assert {str(a["href"])[1:] for _, a in page.tags if "href" in a} <= set(identities)
    assert {str(a["aria-labelledby"]) for _, a in page.tags if "aria-labelledby" in a} <= set(identities)
    headings = [i for i, (tag, a) in enumerate(page.tags) if tag == "th"]
    assert headings
    for i in headings:
        assert page.tags[i][1]["aria-sort"] == "none"
        assert page.tags[i + 1] == ("button", {"type": "button"})


def test_figures_use_colours_of_both_themes_only(run: Path) -> None:
    assert set(THEMES["light"]) == set(THEMES["dark"])
    used = {text for one in report(run).figures for text in strings(one) if text.startswith("@")}
    assert {"@before", "@after", "@part-1"} <= used
    assert {text[1:].partition("/")[0] for text in used} <= set(THEMES["light"])


def test_plotly_knows_every_property_of_the_figures(tmp_path: Path) -> None:
    """Plotly's Python classes refuse what plotly.js would silently leave out."""
    graph_objects = pytest.importorskip("plotly.graph_objects")
    page = report(write_run(tmp_path / "run", seeds=(0, 1)))
    assert len(page.figures) >= 10
    for one in page.figures:
        text = re.sub(r'"@([\w-]+)[^"]*"', lambda name: json.dumps(THEMES["light"][name[1]]), json.dumps(one))
        graph_objects.Figure(json.loads(text))


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_folder_that_is_missing_or_another(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is neither a run's nor a sweep's folder: it does not exist"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(
        InputError,
        match=r"neither config\.json nor records\.jsonl\. Give a folder that 'hwflow prune', 'compress' or 'sweep' wrote",
    ):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_finished(run: Path) -> None:
    (run / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"not finished: .* so far 18 episodes in its log\.jsonl\. .* with --resume goes on"):
        write_report(run)
    assert not (run / "report.html").exists()


def without(*path: Any) -> Callable[[Any], Any]:
    def change(content: Any) -> Any:
        inner = content
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]
        return content

    return change


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        ("config.json", without("settings", "levels"), "settings.levels: field required"),
        ("metrics.json", without("after", "accuracy"), "after.accuracy: field required"),
        ("metrics.json", without("after", "mid"), "lacks the level mid"),
        ("costs.json", without("mid", "before", "totals", "macs"), "mid.before.totals.macs: field required"),
        ("costs.json", without("mid"), "lacks the level mid"),
        ("plan.json", lambda _: [], "the whole: "),
        ("comparison.json", without("candidates", 0, "judged"), "candidates.0.judged: field required"),
        ("comparison.json", lambda found: {**found, "candidates": []}, "candidates: "),
        ("tuning.json", without("epochs", 2, "loss"), "epochs.2.loss: field required"),
    ],
)
def test_a_damaged_file_is_named_with_its_field(run: Path, file: str, change: Callable[[Any], Any], problem: str) -> None:
    write_json(run / file, change(read_json(run / file)))
    with pytest.raises(InputError, match=f"{re.escape(str(run / file))} is damaged: .*{re.escape(problem)}"):
        write_report(run)


@pytest.mark.parametrize("file", ["config.json", "metrics.json", "comparison.json", "tuning.json", "plan.json", "costs.json"])
def test_a_file_that_is_torn(run: Path, file: str) -> None:
    text = (run / file).read_text()
    (run / file).write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=f"{file} is damaged: "):
        write_report(run)


def test_a_torn_line_of_the_log_is_named(run: Path) -> None:
    text = (run / "log.jsonl").read_text()
    (run / "log.jsonl").write_text(text[:-30])
    with pytest.raises(InputError, match=r"log\.jsonl is damaged: line 18, "):
        write_report(run)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda log: [*log, log[3]], "line 19, it has episode 4 of random, seed 0, as line 4 has"),
        (lambda log: [*log, {**log[-1], "number": 7}], "line 19, the run had no episode 7 of agent, seed 0"),
        (lambda log: [*log, {**log[-1], "seed": 5}], "line 19, the run had no episode 6 of agent, seed 5"),
        (lambda log: log[:-1], "episode 6 of agent, seed 0, is missing"),
        (lambda log: log[1:], "episode 1 of random, seed 0, is missing"),
        (lambda log: [{**log[0], "accuracy": 1.5}, *log[1:]], "line 1, accuracy: input should be less than or equal to 1"),
        (lambda log: [{**log[0], "number": 0}, *log[1:]], "line 1, number: input should be greater than or equal to 1"),
        (lambda log: [*log[:2], [], *log[3:]], "line 3, the whole: "),
    ],
)
def test_an_edited_log_is_named_with_its_line(run: Path, change: Callable[[list[Any]], list[Any]], problem: str) -> None:
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in change(log)))
    with pytest.raises(InputError, match=rf"log\.jsonl is damaged: {problem}"):
        write_report(run)


def put(value: Any, *path: Any) -> Callable[[Any], Any]:
    """A change that puts a value somewhere."""

    def change(content: Any) -> Any:
        inner = content
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        return content

    return change


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        (
            "costs.json",
            put(1, "mid", "after", "totals", "cycles"),
            r"mid\.after\.totals\.cycles is 1\.0, the layers' sum is \d+",
        ),
        (
            "costs.json",
            put(1, "mid", "after", "layers", 1, "energy_pj"),
            r"mid\.after\.totals\.energy_pj is .*, the layers' sum is",
        ),
        ("costs.json", put(None, "mid", "before", "layers", 0, "latency_s"), r"latency_s is .*, the layers' sum is None"),
        ("costs.json", put(7, "coarse", "before", "totals", "params"), r"coarse\.before\.totals\.params is 7, the layers' sum"),
        ("costs.json", put(float("nan"), "mid", "after", "totals", "dram_bytes"), "dram_bytes is None, the layers' sum is"),
        ("metrics.json", put(1, "after", "mid", "energy_pj"), r"after\.mid is not what costs\.json says"),
        ("metrics.json", put(1.0, "before", "coarse", "macs"), r"before\.coarse is not what costs\.json says"),
    ],
)
def test_totals_that_were_edited_are_named(run: Path, file: str, change: Callable[[Any], Any], problem: str) -> None:
    write_json(run / file, change(read_json(run / file)))
    with pytest.raises(InputError, match=rf"{re.escape(file)} is damaged: .*{problem}") as error:
        write_report(run)
    assert "The same 'hwflow prune' command with --resume writes it again." in str(error.value)


def test_a_run_without_its_times_is_reported_without_them(run: Path) -> None:
    whole = report(run)
    (run / "times.json").unlink()
    assert "Search and refinement took" in whole.text
    assert "Search and refinement took" not in report(run).text


@pytest.mark.parametrize("file", ["comparison.json", "log.jsonl", "tuning.json", "plan.json", "costs.json"])
def test_a_file_that_is_gone(run: Path, file: str) -> None:
    (run / file).unlink()
    with pytest.raises(InputError, match=f"{file} does not exist, though the run is finished"):
        write_report(run)


def test_a_missing_plotly_is_a_sentence(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependency, match=re.escape('pip install "hwflow[report]"')):
        write_report(run)
    assert not (run / "report.html").exists()


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_writes_where_it_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, file in (([], run / "report.html"), (["-o", str(tmp_path / "x.html")], tmp_path / "x.html")):
        with pytest.raises(SystemExit) as ended:
            cli.main(["report", str(run), *arguments])
        assert ended.value.code == 0
        assert capsys.readouterr().err == f"hwflow: wrote {file}\n"
        assert file.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_command_says_what_is_wrong_in_one_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", str(tmp_path)])
    assert ended.value.code == 2
    assert re.fullmatch(r"hwflow: .* is neither a run's nor a sweep's folder: .*\n", capsys.readouterr().err)


def test_reports_need_no_torch(run: Path) -> None:
    code = "import sys; from hwflow.reporting import write_report; write_report(sys.argv[1]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Numbers -------------------------------------------------------------------------------------------------------------


def test_numbers_have_few_digits_and_units() -> None:
    assert number(1e308 * 10) == "inf"
    assert quantities([1e308 * 10, 2.0], "J")[0].startswith("inf")
    assert [number(v) for v in (None, 0, 1234567, 12.3456, 0.0012345)] == ["-", "0", "1,234,567", "12.35", "0.001234"]
    assert quantity(2.993e-05, "J").replace("\u00a0", " ") == "29.93 µJ"
    assert quantity(999, "") == "999.0"
    assert [q.replace("\u00a0", " ") for q in quantities([1.134e-3, 6.385e-4, None], "s")] == ["1.134 ms", "0.6385 ms", "-"]
    assert prefix([None, 0.0]) == (1.0, "")
    assert prefix([1e-20]) == (1e-12, "p")
    assert share_of(0.55).replace("\u00a0", " ") == "55 %"
    assert spread([0.9]) == "90.0"
    assert spread([0.8, 0.9]) == "85.0 ± 7.1"
    assert [counted(1, "epoch"), counted(2000, "epoch")] == ["1 epoch", "2,000 epochs"]
    assert [listed([]), listed(["a"]), listed(["a", "b", "c"])] == ["", "a", "a, b and c"]

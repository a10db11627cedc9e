"""The page in a real browser: nothing fails in it, figures are drawn, tables sort, levels and themes switch."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hwflow import Accelerator, estimate, zoo
from hwflow.cost.energy_sources import energy_table
from hwflow.reporting import write_costs, write_report
from hwflow.reporting.estimates.configuration import configuration
from tests.reporting.folders import write_run
from tests.reporting.sweeps import read_rows, write_sweep

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on PATH")

WATCH = """<script>
window.problems = [];
addEventListener("error", (event) => problems.push(String(event.message)));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective + " " + event.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => problems.push(words.join(" "));
</script>"""

COMMON = """
  const pause = () => new Promise((resume) => setTimeout(resume, 50));
  const until = async (holds) => { for (let i = 0; i < 200 && !holds(); i++) await pause(); };
  const shown = () => [...document.querySelectorAll(".chart")].filter((plot) => plot.offsetWidth);
  const drawn = () => shown().filter((plot) => plot.querySelector(".main-svg"));
  const allDrawn = () => drawn().length === shown().length;
  const tableOf = (caption) => [...document.querySelectorAll("table")].find((one) => one.caption.textContent === caption);
  const column = (table, at) => [...table.tBodies[0].rows].map((row) => row.cells[at].textContent);
  const tell = (found) => {
    found.problems = problems;
    const out = document.createElement("pre");
    out.id = "found";
    out.textContent = JSON.stringify(found);
    document.body.replaceChildren(out);
  };
"""

PRUNED = """
  const table = tableOf("Plans compared");
  const heading = (at) => table.tHead.rows[0].cells[at];
  const ground = () => document.querySelector(".chart .main-svg").style.background;
  const found = { sorted: [], aria: [] };
  await until(allDrawn);
  found.figures = shown().length;
  found.drawn = drawn().length;
  found.bars = document.querySelectorAll(".option:not([hidden]) .chart .bars .point").length;
  for (let i = 0; i < 3; i++) {
    heading(3).firstElementChild.click();
    found.sorted.push(column(table, 3));
    found.aria.push(heading(3).getAttribute("aria-sort"));
  }
  heading(0).firstElementChild.click();
  found.words = column(table, 0);
  const level = document.querySelector(".choice input:not(:checked)");
  level.click();
  found.level = level.parentNode.textContent.trim();
  await until(allDrawn);
  found.titles = [...document.querySelectorAll(".option:not([hidden]) figcaption strong")].map((one) => one.textContent);
  found.option = drawn().length;
  found.light = ground();
  document.getElementById("theme").click();
  await until(() => shown().every((plot) => plot.dataset.theme === "dark"));
  found.dark = ground();
  found.body = getComputedStyle(document.body).backgroundColor;
  const image = await Plotly.toImage(drawn()[0], { format: "svg" });
  found.image = image.slice(0, 18);
  tell(found);
"""

SWEPT = """
  const found = { light: "" };
  await until(allDrawn);
  found.figures = shown().length;
  found.drawn = drawn().length;
  const form = document.querySelector(".chooser");
  const part = (name) => form.querySelector(`[data-part="${name}"]`);
  const put = (input, value) => { input.value = value; input.dispatchEvent(new Event("input", { bubbles: true })); };
  const limits = [...form.querySelectorAll(".limit")];
  const limit = (name) => limits.find((one) => one.textContent.includes(name)).querySelector("input");
  const answer = () => ({
    text: part("answer").textContent,
    none: part("answer").classList.contains("none"),
    points: column(part("best"), part("best").rows[0].cells.length - 1),
    values: column(part("best"), 1),
    command: part("command").textContent,
  });
  found.all = answer();
  put(limit("area"), "1.5");
  found.small = answer();
  put(limit("area"), "0.1");
  found.impossible = answer();
  form.querySelector("[type=reset]").click();
  found.again = answer();
  put(part("least"), "area");
  found.least = answer();
  put(part("group"), "one at coarse");
  found.other = answer();
  const reached = (one) => { one.focus(); return document.activeElement === one; };
  found.reached = [...form.querySelectorAll("select,input,button")].every(reached);
  const table = tableOf("Every point that was answered");
  table.closest("details").open = true;
  const button = table.tHead.rows[0].cells[0].firstElementChild;
  button.click();
  button.click();
  found.sorted = column(table, 0);
  document.querySelectorAll(".choice input:not(:checked)").forEach((input) => input.click());
  await until(allDrawn);
  found.others = drawn().length === shown().length;
  document.getElementById("theme").click();
  await until(() => shown().every((plot) => plot.dataset.theme === "dark"));
  found.dark = shown().every((plot) => plot.dataset.theme === "dark");
  tell(found);
"""

COSTED = """
  const found = {};
  await until(allDrawn);
  found.figures = shown().length;
  found.drawn = drawn().length;
  found.patterns = document.querySelectorAll("pattern").length;
  for (const choice of document.querySelectorAll(".choice")) choice.querySelector("input:not(:checked)")?.click();
  await until(allDrawn);
  found.others = drawn().length === shown().length;
  const image = await Plotly.toImage(drawn()[0], { format: "svg" });
  found.image = image.slice(0, 18);
  tell(found);
"""

NARROW = """
  const found = {};
  await until(allDrawn);
  await pause();
  const areas = shown().map((plot) => plot.querySelector(".nsewdrag").getBoundingClientRect());
  found.widths = areas.map((area) => area.width);
  found.heights = areas.map((area) => area.height);
  const clipped = (plot) => [...plot.querySelectorAll(".legend .scrollbar")].some((bar) => bar.getAttribute("height") > 0);
  found.clipped = shown().filter(clipped).length;
  found.wide = shown().filter((plot) => plot.scrollWidth > plot.clientWidth).length;
  tell(found);
"""


def used(page: Path, use: str) -> dict[str, Any]:
    """What a headless browser says of the page while it is used; nothing outside the machine can be reached from it."""
    script = f"<script>(async () => {{{COMMON}{use}}})();</script>"
    text = page.read_text(encoding="utf-8")
    assert text.count("<head>\n") == 1
    page.write_text(text.replace("<head>\n", f"<head>\n{WATCH}", 1).replace("</body>", f"{script}</body>"), encoding="utf-8")
    argv = [
        str(CHROMIUM),
        "--headless",
        "--disable-gpu",
        "--virtual-time-budget=60000",
        f"--user-data-dir={page.parent / 'profile'}",
    ]
    argv += ["--no-sandbox"] if os.geteuid() == 0 else []
    argv += ["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", page.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return dict(json.loads(html.unescape(found[1])))


@pytest.mark.slow
@needs_chromium
def test_the_page_works_in_a_browser(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", network="<script>alert(1)</script>", seeds=(0, 1))
    found = used(write_report(folder), PRUNED)
    assert found["problems"] == []
    assert found["figures"] == found["drawn"] == 9
    assert found["bars"] > 3 * 2 * 6  # energies of three layers on both sides by six parts, and latencies
    ascending, descending, own = found["sorted"]
    values = [float(text.split(" ")[0]) for text in ascending]
    assert values == sorted(values)
    assert descending == ascending[::-1]
    assert own != ascending
    assert found["aria"] == ["ascending", "descending", "none"]
    assert found["words"] == ["agent", "agent on MACs", "random", "uniform", "unpruned"]
    assert found["level"] == "coarse"
    assert found["titles"] == ["Energy per layer at coarse", "Latency per layer at coarse"]
    assert found["option"] == 9
    assert found["light"] != found["dark"]
    assert found["body"] == "rgb(18, 22, 28)"
    assert found["image"] == "data:image/svg+xml"


@pytest.mark.slow
@needs_chromium
def test_the_page_of_a_sweep_finds_the_best_design_within_limits(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep")
    rows = [r for r in read_rows(folder) if (r["network"], r["level"]) == ("two", "mid")]
    found = used(write_report(folder), SWEPT)
    assert found["problems"] == []
    assert found["figures"] == found["drawn"] >= 8
    by_latency = sorted(rows, key=lambda r: float(f"{r['latency_s'] * 1e6:.6g}"))
    assert found["all"] == found["again"]
    assert found["all"]["points"][0] == str(by_latency[0]["point"])
    assert found["all"]["text"].startswith("Best of 8 of 8 designs: point ")
    small = [r for r in by_latency if r["area_um2"] <= 1.5e6]
    assert 0 < len(small) < 8
    assert found["small"]["points"] == [str(r["point"]) for r in small]
    assert f"--set pe_array.rows={small[0]['pe_array.rows']}" in found["small"]["command"]
    least = min(r["area_um2"] for r in rows) * 1e-6
    assert found["impossible"]["none"]
    assert found["impossible"]["points"] == []
    assert f"No design of 8 keeps these limits: the least area of all is {least:.3f}" in found["impossible"]["text"]
    assert len(found["least"]["values"]) == 8
    assert found["least"]["points"][0] in {str(r["point"]) for r in rows if r["area_um2"] * 1e-6 < least * 1.0001}
    assert found["other"]["text"].startswith("Best of 4 of 4 designs")
    assert found["reached"]
    assert found["sorted"] == [str(i) for i in reversed(range(24))]
    assert found["others"]
    assert found["dark"]


@pytest.mark.slow
@needs_chromium
def test_the_page_of_a_comparison_works_in_a_browser(tmp_path: Path) -> None:
    network, chip = zoo("alexnet"), Accelerator.load("eyeriss")
    tables = [energy_table(chip)] * len(network)
    configurations = [configuration(estimate(network, chip, level=level), chip, tables) for level in ("coarse", "mid")]
    found = used(write_costs(configurations, tmp_path / "page.html"), COSTED)
    assert found["problems"] == []
    assert found["figures"] == found["drawn"] >= 8
    assert found["patterns"] > 0  # inputs striped, outputs crossed
    assert found["others"]
    assert found["image"] == "data:image/svg+xml"


@pytest.mark.slow
@needs_chromium
def test_figures_keep_room_for_their_bars_in_a_narrow_window(tmp_path: Path) -> None:
    network = zoo("mobilenet_v2")
    chips = [Accelerator.load(name) for name in ("eyeriss", "simba", "shidiannao_like")]
    configurations = [configuration(estimate(network, chip, level="coarse"), chip) for chip in chips]
    page = write_costs(configurations, tmp_path / "page.html")  # headless windows are 500 pixels wide at least
    page.write_text(page.read_text(encoding="utf-8").replace("</head>", "<style>main{width:390px}</style></head>", 1))
    found = used(page, NARROW)
    assert max(found["widths"]) < 390
    assert found["problems"] == []
    assert min(found["widths"]) > 150
    assert min(found["heights"]) > 110
    assert found["clipped"] == found["wide"] == 0

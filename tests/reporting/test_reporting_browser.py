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
from folders import write_run

from hwflow.reporting import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on PATH")

WATCH = """<script>
window.problems = [];
addEventListener("error", (event) => problems.push(String(event.message)));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective + " " + event.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => problems.push(words.join(" "));
</script>"""

USE = """<script>
(async () => {
  const pause = () => new Promise((resume) => setTimeout(resume, 50));
  const until = async (holds) => { for (let i = 0; i < 200 && !holds(); i++) await pause(); };
  const shown = () => [...document.querySelectorAll(".chart")].filter((plot) => plot.offsetWidth);
  const drawn = () => shown().filter((plot) => plot.querySelector(".main-svg"));
  const allDrawn = () => drawn().length === shown().length;
  const table = [...document.querySelectorAll("table")].find((one) => one.caption.textContent === "Plans compared");
  const column = (at) => [...table.tBodies[0].rows].map((row) => row.cells[at].textContent);
  const heading = (at) => table.tHead.rows[0].cells[at];
  const ground = () => document.querySelector(".chart .main-svg").style.background;
  const found = { sorted: [], aria: [] };
  await until(allDrawn);
  found.figures = shown().length;
  found.drawn = drawn().length;
  found.bars = document.querySelectorAll(".option:not([hidden]) .chart .bars .point").length;
  for (let i = 0; i < 3; i++) {
    heading(3).firstElementChild.click();
    found.sorted.push(column(3));
    found.aria.push(heading(3).getAttribute("aria-sort"));
  }
  heading(0).firstElementChild.click();
  found.words = column(0);
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
  found.problems = problems;
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.replaceChildren(out);
})();
</script>"""


def used(page: Path) -> dict[str, Any]:
    """What a headless browser says of the page while it is used; nothing outside the machine can be reached from it."""
    text = page.read_text(encoding="utf-8")
    assert text.count("<head>\n") == 1
    page.write_text(text.replace("<head>\n", f"<head>\n{WATCH}", 1).replace("</body>", f"{USE}</body>"), encoding="utf-8")
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
    found = used(write_report(folder))
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

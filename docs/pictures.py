"""The pictures of the README and of the documentation's gallery: figures of real reports, made by hwflow itself.

    make pictures        # writes docs/pages/pictures/*.svg, about a minute

Each is drawn twice, for light and for dark pages. Needs the extras `report` and `sweep`. The figure of a pruning run is one
that `make experiments` drew, which takes hours.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hwflow.reporting.page.palette import THEMES

PAGES = Path(__file__).resolve().parent / "pages"
FOLDER = PAGES / "pictures"
DRAWN = {"channels": PAGES / "explanation" / "pruning-figures" / "energy-channels.svg"}
MAX_BYTES = 150_000

_SWEEP = """\
networks: [resnet20]
accelerators:
  - base: eyeriss
    set:
      global_buffer.size_kib: [54, 108, 216]
      pe_array.rows: [6, 12, 24]
      pe_array.columns: [7, 14, 28]
      dram.bandwidth_gb_s: [0.72, 2.88]
levels: [mid]
energy: fitted
"""

REPORTS: Mapping[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "estimate": (
        ("estimate", "resnet18", "--accelerator", "eyeriss", "--format", "json", "-o", "estimate.json"),
        {"energy-per-layer": "energy", "utilization-per-layer": "utilization", "roofline": "roofline"},
    ),
    "compare": (
        ("compare", "resnet18", "--accelerator", "simba,tpu_like", "--levels", "mid", "--format", "json", "-o", "compare.json"),
        {"energy-of-the-network-by-part": "comparison"},
    ),
    "sweep": (
        ("sweep", "sweep.yaml", "-o", "sweep", "--jobs", "1"),
        {"latency-and-area": "pareto"},
    ),
}
"""For each report the command whose result it shows, and what its figures, by the beginning of their names, are called here."""


def write(folder: Path, reports: Sequence[str] = tuple(REPORTS)) -> list[Path]:
    """Run the commands in a temporary folder and write their figures, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {name: path.read_text(encoding="utf-8") for name, path in DRAWN.items()}
    for report in reports:
        drawings |= _figures(*REPORTS[report])
    written = []
    for name, drawing in drawings.items():
        light = _without_metadata(drawing)
        for theme, content in (("light", light), ("dark", _dark(light))):
            written.append(folder / f"{name}-{theme}.svg")
            written[-1].write_text(content, encoding="utf-8")
    return written


def _figures(command: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """The drawings of a command's report that are wanted, by their names here."""
    drawings = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (place / "sweep.yaml").write_text(_SWEEP, encoding="utf-8")
        _hwflow(place, *command)
        _hwflow(place, "report", command[command.index("-o") + 1], "-o", "report.html", "--static", "figures")
        for beginning, name in names.items():
            found = sorted((place / "figures").glob(f"{beginning}*.svg"))
            if len(found) != 1:
                raise SystemExit(f"'hwflow {' '.join(command)}' made {len(found)} figures named {beginning}*.svg, not one.")
            drawings[name] = found[0].read_text(encoding="utf-8")
    return drawings


def _hwflow(place: Path, *arguments: str) -> None:
    argv = [sys.executable, "-m", "hwflow", *arguments]
    done = subprocess.run(argv, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"'hwflow {' '.join(arguments)}' failed: {done.stderr.strip()}")


def _without_metadata(drawing: str) -> str:
    """Without the version of matplotlib, so that another version that draws the same leaves the file alone."""
    return re.sub(r" *<metadata>.*?</metadata>\n", "", drawing, flags=re.DOTALL)


def _dark(drawing: str) -> str:
    """The same drawing in the colours of the report's dark theme."""
    colours = {THEMES["light"][name]: THEMES["dark"][name] for name in THEMES["light"]} | {"#000000": THEMES["dark"]["ink"]}
    drawing = re.sub(r"#[0-9a-f]{6}\b", lambda colour: colours.get(colour[0], colour[0]), drawing)
    return drawing.replace("</style>", f"text{{fill: {THEMES['dark']['ink']}}}</style>", 1)


if __name__ == "__main__":
    for path in write(FOLDER):
        print(f"{path.name}: {path.stat().st_size:,} bytes")

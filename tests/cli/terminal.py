"""What the tests of the command line share: inputs, and how output is read."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

WRITTEN = str(Path(__file__).parents[1] / "data" / "timeloop_designs" / "simple_weight_stationary.yaml")
"""Of its 256 PEs its own constraints leave 16."""

SMALL = """
name: tiny
layers:
  - {name: conv1, C: 3, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: conv2, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: conv2_again, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
"""

ODD = """
name: odd
layers:
  - {name: conv, C: 8, M: 37, P: 8, Q: 8, R: 3, S: 3}
  - {name: depthwise, G: 16, C: 1, M: 1, P: 8, Q: 8, R: 3, S: 3}
"""


Answer = tuple[int, str, str]
Run = Callable[..., Answer]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hwflow", *arguments]


def untimed(text: str) -> str:
    return re.sub(r'"seconds": [0-9.e-]+', '"seconds": 0', text)


def one_paragraph(text: str) -> str:
    assert text.count("\n") == 1, text
    assert text.startswith("hwflow: ")
    assert "Traceback" not in text
    return text


def cells(out: str, start: str) -> list[str]:
    """The cells of the row that begins with `start`."""
    return next(re.split(r" {2,}", line) for line in out.splitlines() if re.match(rf"{re.escape(start)} {{2,}}", line))

"""The public API: what tests/data/api.txt lists. A line that goes or changes there breaks somebody's program."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytest

import hwflow

LIST = Path(__file__).parent / "data" / "api.txt"


def members(kind: type) -> list[str]:
    """Public attributes that the class itself declares, fields included."""
    own = {name for name in (*vars(kind), *vars(kind).get("__annotations__", {})) if not name.startswith("_")}
    return sorted(own - {"model_config"})


def described() -> str:
    """One line a function with its arguments, one line a member of a class."""
    lines = []
    for name in sorted(hwflow.__all__):
        found = getattr(hwflow, name)
        if inspect.isclass(found):
            lines += [f"class {name}", *(f"class {name}.{member}" for member in members(found))]
        else:
            lines.append(f"{name}({', '.join(str(p) for p in inspect.signature(found).parameters.values())})")
    return "\n".join(lines) + "\n"


def test_the_public_api_is_what_is_listed() -> None:
    """Refresh by `HWFLOW_REFRESH=1 pytest tests/test_api.py`, with a line in CHANGELOG.md that says what users must change."""
    pytest.importorskip("torch", reason="pruning and training are part of the API")
    if os.environ.get("HWFLOW_REFRESH"):
        LIST.write_text(described(), encoding="utf-8")
    assert described() == LIST.read_text(encoding="utf-8")

"""`hwflow cache`."""

from __future__ import annotations

import re
from pathlib import Path

from terminal import Run


def test_cache_info_and_clear(hw: Run, tiny: str, own_cache: Path) -> None:
    assert "empty" in hw("cache", "info")[1]
    hw("estimate", tiny, "-a", "eyeriss")
    code, out, err = hw("cache", "info")
    assert (code, err) == (0, "")
    assert str(own_cache) in out
    assert re.search(r"^mid +2 results$", out, re.MULTILINE)
    assert hw("cache", "clear")[1] == f"removed 2 results from {own_cache}\n"
    assert "empty" in hw("cache", "info")[1]

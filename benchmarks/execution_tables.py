"""The tables of `benchmarks.execution_accuracy`, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def tables(records: Sequence[dict[str, Any]]) -> str:
    """All of them."""
    return f"{len(records)} runs"

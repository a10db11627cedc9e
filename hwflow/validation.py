"""`explain`: what pydantic refuses of a file that users write, as one paragraph in their words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from hwflow.errors import shown


def explain(error: ValidationError, content: Any, where: str) -> str:
    """A pydantic error as one paragraph: every wrong field with its path as users write it, its value and what is allowed."""
    problems = []
    for item in error.errors():
        path, here = [], content
        for step in item["loc"]:
            if isinstance(here, Mapping) and step in here:
                here = here[step]
                path.append(str(step))
            elif isinstance(here, (list, tuple)) and isinstance(step, int) and step < len(here):
                here = here[step]
                named = here.get("name") if isinstance(here, Mapping) else None
                if named and path and path[-1] == "hierarchy":
                    path[-1] = str(named)
                else:
                    path.append(f"[{step}]")
            elif step not in ("dram", "sram", "regfile", "fanout", "mac"):
                path.append(str(step))
        label = ".".join(path).replace(".[", "[") or "description"
        message = item["msg"].removeprefix("Value error, ")
        whole = item["type"] == "missing" or (
            item["type"] == "value_error" and not isinstance(item["input"], (int, float, str))
        )
        value = "" if whole else f" is {shown(item['input'])}"
        problems.append(f"{label}{value}: {message}")
    return f"{where}: " + "; ".join(problems) + "."


__all__ = ["explain"]

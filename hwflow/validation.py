"""`explain`: pydantic's validation errors of users' files, as one paragraph in the terms of the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hwflow.errors import listed, shown


def explain(error: ValidationError, content: Any, where: str, known: Iterable[str] = ()) -> str:
    """A pydantic error as one paragraph: every wrong field with its path as users write it, its value and what is allowed."""
    problems = []
    for item in error.errors(include_url=False)[:10]:
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
        message = _sentence(item, known)
        whole = item["type"] in ("missing", "extra_forbidden", "union_tag_not_found") or (
            item["type"] == "value_error" and not isinstance(item["input"], (int, float, str))
        )
        value = "" if whole else f" is {shown(item['input'])}"
        problems.append(f"{label}{value}: {message}")
    return f"{where}: {listed(problems, error.error_count())}."


def _sentence(item: ErrorDetails, known: Iterable[str]) -> str:
    """What is wrong with one field; pydantic's own words only where there are no better ones."""
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
        return f"unknown field{f' (did you mean {near[0]}?)' if near else ''}"
    wording = _WORDINGS.get(item["type"])
    if wording is None:
        return item["msg"].removeprefix("Value error, ")
    return wording.format_map({name: str(value).replace("'", "") for name, value in item.get("ctx", {}).items()})


_NUMBER, _WHOLE = "it must be a number", "it must be a whole number"
_WORDINGS = {
    "missing": "it is missing",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "it must be a finite number",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "string_type": "it must be a text",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "list_type": "it must be a list",
    "tuple_type": "it must be a list",
    "dict_type": "it must be a mapping of names to values",
    "model_type": "it must be a mapping of fields",
    "model_attributes_type": "it must be a mapping of fields",
    "literal_error": "it must be {expected}",
    "union_tag_invalid": "kind must be one of {expected_tags}",
    "union_tag_not_found": "kind is missing",
    "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be below {lt}",
    "less_than_equal": "it must be at most {le}",
    "string_too_short": "it must not be empty",
    "string_pattern_mismatch": "it must begin with a letter or _, and hold letters, digits and _ only",
}


__all__ = ["explain"]

"""The Jinja environment for Timeloop's and Accelergy's files: undefined names are errors, templates cannot run code."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from hwflow.errors import HwflowError
from hwflow.files import folder


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The text of `arch_templates/timeloop/<template>` with `values` filled in.

    Raises:
        HwflowError: naming the template, where it is missing or asks for a value that nothing provides.
    """
    try:
        return _environment().get_template(template).render(values)
    except TemplateError as error:
        place = folder("arch_templates") / "timeloop" / template
        raise HwflowError(f"the template {place} cannot be rendered: {type(error).__name__}: {error}.") from error


def number(value: float) -> str:
    """A number that every YAML reader takes for one: `5e-09` is a string to some, `5.0e-09` to none."""
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text


def flow(value: Any) -> str:
    """A value as YAML in one line. Strings are quoted, which Accelergy wants: it evaluates what is not."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, (bool, str)):
        return json.dumps(value)
    return number(value)


@functools.cache
def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(folder("arch_templates") / "timeloop"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["number"] = number
    environment.filters["flow"] = flow
    return environment

"""MkDocs hook: writes the reference from the code itself, so that both always agree.

reference/command-line.md        from typer's commands
reference/python.md              from the list of public names; mkdocstrings fills in signatures and docstrings
reference/accelerator.md, files.md   from the pydantic models, with JSON schemas beside them
reference/result.md              from the annotations and docstrings of `NetworkCost` and `LayerCost`, likewise
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel, TypeAdapter

import hwflow
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import Dataflow
from hwflow.layers import Layer
from hwflow.network import from_yaml
from hwflow.results import LayerCost, NetworkCost
from hwflow.sweeping.description import Description

Schema = dict[str, Any]
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those in docs/pages."""
    for path, content in pages().items():
        files.append(File.generated(config, f"reference/{path}", content=content))
    return files


def pages() -> dict[str, str]:
    """Path below reference/ to content."""
    schemas = {
        "accelerator.schema.json": Accelerator.model_json_schema(),
        "layers.schema.json": from_yaml._File.model_json_schema(),
        "dataflow.schema.json": Dataflow.model_json_schema(),
        "result.schema.json": result_schema(),
    }
    return {
        "command-line.md": command_line(),
        "python.md": python(),
        "accelerator.md": _models("Accelerator files", _ACCELERATOR, {"The file": Accelerator}, "accelerator.schema.json"),
        "files.md": _models("Layer lists, dataflows, sweeps", _FILES, {"A layer list": from_yaml._File}, "layers.schema.json")
        + _models("", "", {"A dataflow": Dataflow}, "dataflow.schema.json")
        + _models("", _SWEEP, {"A sweep": Description}),
        "result.md": result(),
        **{name: json.dumps(schema, indent=1) + "\n" for name, schema in schemas.items()},
    }


# The command line ----------------------------------------------------------------------------------------------------


def command_line() -> str:
    """Every command with its arguments and options."""
    from typer.main import get_command

    from hwflow.cli import app

    root: Any = get_command(app)
    parts = ["# Command line", _text(root.help), _options(root)]
    for name, command in root.commands.items():
        for path, leaf in _leaves(name, command):
            parts += [f"## hwflow {path}", f"    {_usage(path, leaf)}", _text(leaf.help), _options(leaf)]
    parts += ["## Exit codes", "0: success. 1: a run failed, and the message says why. 2: wrong usage or invalid input."]
    parts += ["## Environment variables", _table(["variable", "meaning"], list(_ENVIRONMENT.items()))]
    return "\n\n".join(part for part in parts if part) + "\n"


_ENVIRONMENT = {
    "`XDG_CACHE_HOME`": "results are kept in `$XDG_CACHE_HOME/hwflow`; by default `~/.cache/hwflow`",
    "`HWFLOW_DATA`": "a folder with data sets: `$HWFLOW_DATA/cifar10`, ...",
    "`HWFLOW_IMAGE`": "the container image in which Timeloop runs",
    "`HWFLOW_PYTIMELOOP_PYTHON`": "the Python interpreter that has pytimeloop",
    "`TMPDIR`": "where runs of Timeloop create their folders; its path must not contain spaces",
}


def _leaves(path: str, command: Any) -> Iterable[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from _leaves(f"{path} {name}", inner)


def _usage(path: str, command: Any) -> str:
    arguments = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
    required = [f"{p.opts[-1]} {p.metavar}" for p in command.params if p.param_type_name == "option" and p.required]
    return " ".join(["hwflow", path, *arguments, *required, "[OPTIONS]"])


def _options(command: Any) -> str:
    rows = []
    for p in command.params:
        names = p.opts if p.param_type_name == "option" else [p.metavar or p.name]
        metavar = f" {p.metavar}" if p.param_type_name == "option" and p.metavar else ""
        empty = p.default is None or p.default is False or p.default == () or callable(p.default) or p.required
        default = "required" if p.required else "" if empty else f"`{p.default}`"
        rows.append(["`" + ", ".join(names) + metavar + "`", default, _text(p.help)])
    return _table(["option", "default", "meaning"], rows) if rows else ""


# Python --------------------------------------------------------------------------------------------------------------

_TITLES = {
    "network": "Networks",
    "layers": "Layers",
    "hardware": "Accelerators, dataflows, energies",
    "timeloop": "Timeloop's files",
    "mapping": "Mappings",
    "cost": "Costs",
    "certificate": "Certificates",
    "layer_cost": "Costs of layers",
    "results": "Results",
    "datasets": "Data sets",
    "training": "Training",
    "compression": "Pruning",
    "sweeping": "Sweeps",
    "reporting": "Reports",
    "store": "The store",
    "errors": "Errors",
}


def python() -> str:
    """All public names by part of the package. The package is read, not imported, so no extra is needed."""
    package = griffe.load("hwflow", search_paths=[Path(hwflow.__file__).parents[1]], resolve_aliases=True)
    homes: dict[str, list[str]] = {}
    for name in hwflow.__all__:
        path = package[name].canonical_path
        homes.setdefault(path.split(".")[1], []).append(path)
    unknown = set(homes) - set(_TITLES)
    if unknown:
        raise ValueError(f"public names of {', '.join(sorted(unknown))}: _TITLES in docs/generate.py has no title for them")
    parts = ["# Python", "All public names. Each is an attribute of `hwflow`: `hwflow.estimate`, `hwflow.Network`, ..."]
    for part in (p for p in _TITLES if p in homes):
        parts += [f"## {_TITLES[part]}", *(f"::: {name}" for name in sorted(homes[part]))]
    return "\n\n".join(parts) + "\n"


# Files that users write ----------------------------------------------------------------------------------------------

_ACCELERATOR = (
    "How to write one: [Bring your accelerator](../how-to/accelerator.md). A file either describes a whole chip with the "
    "fields below, or has `base: PRESET` and the fields that differ, under the names that `--set` uses."
)
_FILES = (
    "How to write them: [Bring your network](../how-to/network.md), [Add a dataflow](../how-to/dataflow.md), "
    "[Sweep](../how-to/sweep.md)."
)
_SWEEP = "A network or an accelerator that needs no other field can be given by its name alone."


def _models(title: str, text: str, models: Mapping[str, type[BaseModel]], schema: str = "") -> str:
    parts = [f"# {title}", text] if title else []
    for heading, model in models.items():
        whole = model.model_json_schema()
        parts += [f"## {heading}", *([] if title else [text]), _fields(whole, whole)]
        for name, definition in whole.get("$defs", {}).items():
            parts += [f"### {name.lstrip('_')}", _text(definition.get("description", "")), _fields(definition, whole)]
        parts += [f"For editors and other programs: [JSON schema]({schema})."] if schema else []
    return "\n\n".join(part for part in parts if part) + "\n\n"


def _fields(model: Schema, whole: Schema) -> str:
    needed = set(model.get("required", ()))
    rows = []
    for name, field in model["properties"].items():
        default = "required" if name in needed else _shown(field.get("default"))
        kind = _type(field, whole).removesuffix(" or null")
        rows.append([f"`{name}`", kind, default])
    return _table(["field", "type", "default"], rows)


def _type(field: Schema, whole: Schema) -> str:
    """A field's type in words."""
    if "$ref" in field:
        return field["$ref"].rsplit("/", 1)[-1].lstrip("_")
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(dict.fromkeys(_type(kind, whole) for kind in field[several]))
    if "enum" in field or "const" in field:
        return "one of " + ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "type" not in field:
        return "anything"
    kind = {"integer": "whole number", "object": "mapping", "string": "text", "array": "list"}.get(field["type"], field["type"])
    if field["type"] == "array" and "prefixItems" in field:
        return f"list of {len(field['prefixItems'])}: {_type(field['prefixItems'][0], whole)}"
    if field["type"] == "array":
        return f"list: {_type(field['items'], whole)}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"mapping of names to {_type(field['additionalProperties'], whole)}"
    least, most = field.get("minimum"), field.get("maximum")
    return kind + (f" from {least:g}" if least is not None else "") + (f" to {most:g}" if most is not None else "")


# The result ----------------------------------------------------------------------------------------------------------


def result_schema() -> Schema:
    """JSON schema of what `--format json` prints and `NetworkCost.to_dict` returns."""
    network = hwflow.estimate(hwflow.zoo("resnet20"), level="coarse", store=False).to_dict()
    parts = {
        "totals": _object(network["totals"], NetworkCost),
        "layers": {"type": "array", "items": _object(network["layers"][0], LayerCost, Layer)},
    }
    top = {
        key: {**parts[key], "description": _MEANINGS[key]} if key in parts else _property(key, NetworkCost) for key in network
    }
    schema = _closed(top)
    schema["properties"] |= {key: {**kind, "description": _MEANINGS[key]} for key, kind in _ASKED.items()}
    return {"$schema": _DRAFT, **schema}


def _object(keys: Iterable[str], *owners: type) -> Schema:
    return _closed({key: _property(key, *owners) for key in keys})


def _closed(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


_ASKED: dict[str, Schema] = {"operators": {"type": "array", "items": {"type": "object"}}, "occupancy": {"type": "object"}}
"""Keys that are there where an option asks for them."""

_COMPUTED: dict[str, Any] = {
    "shape": dict[str, int],
    "params_shared": bool,
    "execution": str,
    "energy_by_level_pj": dict[str, float] | None,
    "energy_by_level_normalized": dict[str, float] | None,
}
"""The types of what stands in no attribute of the result."""

_MEANINGS = {
    "network": "Name of the network.",
    "accelerator": "Name of the accelerator; null at coarse without one.",
    "level": "The level that answered. Where fine could not, this is mid, and `note` says why.",
    "batch": "Images per inference.",
    "totals": "Sums over `layers` and `operators`. `provenance.assumption` says what goes through DRAM.",
    "operators": "With `--operators all`: cost of each operator that is no layer. Also moves of tensors between two memories.",
    "occupancy": "With `--activations resident`: memories, operations in order, and where each tensor between them lies.",
    "layers": "One row per occurrence of a layer.",
    "not_counted": "Operators whose cost is not included, and how many of each.",
    "provenance": "Versions, settings, and the origin of recorded energies.",
    "params": "Number of weights. In the totals, weights that several rows read are counted once.",
    "params_shared": "True if the totals do not count these weights: they are another row's, or no parameters.",
    "execution": "How the layer runs; if not `direct`, the row is what is multiplied instead of it.",
    "params_other": "Parameters of bias, normalization, embeddings and the like, not included in `params`.",
    "params_total": "Sum of `params` and `params_other`; for a PyTorch model, what sum(p.numel()) gives.",
    "other_traffic_bytes": "At coarse: memory traffic of the operators in `not_counted`.",
    "area_um2": "Area of memories and MAC units, without DRAM, wires and control; null if that of any part is unknown.",
    "name": "Name of the layer.",
    "shape": "Loop bounds: N, G, C, M, P, Q, R, S.",
    "strides": "[width, height]",
    "dilations": "[width, height]",
    "energy_by_level_pj": "`energy_pj` by part of the chip; null in normalized units.",
    "energy_by_level_normalized": "`energy_normalized` by part of the chip; null in picojoule.",
    "latency_s": "Seconds: cycles / clock.",
    "engine": "The program and its version.",
    "energy_source": "Where the energies came from, and which estimators answered.",
}
"""Keys that no docstring explains."""


def _property(key: str, *owners: type) -> Schema:
    """Type and meaning of one key, from the attribute of that name."""
    if key in _COMPUTED:
        annotation, said = _COMPUTED[key], ""
    else:
        owner = next(o for o in owners if key in o.__dict__ or key in o.__dataclass_fields__)
        attribute = inspect.getattr_static(owner, key, None)
        getter = attribute.func if isinstance(attribute, cached_property) else getattr(attribute, "fget", None)
        annotation = get_type_hints(owner)[key] if getter is None else get_type_hints(getter)["return"]
        said = _text(getter.__doc__) if getter is not None else _attribute(owner, key)
    meaning = _MEANINGS.get(key) or said.replace("None", "null")
    return {**TypeAdapter(annotation).json_schema(), "description": meaning}


def _attribute(owner: type, key: str) -> str:
    """What the docstring's list of attributes says; a line may name several."""
    text = inspect.getdoc(owner) or ""
    for names, meaning in re.findall(r"^ {4}([\w, ]+): (.+(?:\n {8}.+)*)", text, re.MULTILINE):
        if key in names.split(", "):
            return _text(meaning)
    return ""


def result() -> str:
    """The JSON result, key by key."""
    schema = result_schema()
    tables = {"The object": schema, "totals": schema["properties"]["totals"]}
    tables["layers, each"] = schema["properties"]["layers"]["items"]
    parts = [
        "# JSON result",
        "`hwflow estimate --format json` prints this object, and `NetworkCost.to_dict()` returns it. null means that the level "
        "does not compute the figure. Energies are in picojoules or in normalized units; the other key is null. `shape` has G "
        "groups, C and M channels per group, P x Q outputs and an R x S kernel, width first.",
    ]
    for heading, part in tables.items():
        rows = [[f"`{k}`", _type(p, schema), p.get("description", "")] for k, p in part["properties"].items()]
        parts += [f"## {heading}", _table(["key", "type", "meaning"], rows)]
    parts += ["For other programs: [JSON schema](result.schema.json)."]
    return "\n\n".join(parts) + "\n"


# Markdown ------------------------------------------------------------------------------------------------------------


def _table(headings: list[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [headings, ["---"] * len(headings), *([c.replace("|", "\\|") for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def _text(text: str | None) -> str:
    return " ".join((text or "").split())


def _shown(value: Any) -> str:
    return "" if value in (None, [], {}, "") else f"`{json.dumps(value).strip(chr(34))}`"

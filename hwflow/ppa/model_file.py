"""A model as a JSON file: coefficients, ranges, errors, where all of it comes from, and a checksum of the content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from hwflow.errors import InputError, shown
from hwflow.files import checked, parse_json, read_text, write_text
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_fit.polynomials import Error
from hwflow.hardware.pe_types import PE_TYPES
from hwflow.layers import Layer
from hwflow.ppa.model import AREA, DRAM_BYTES, ERRORS, ON_CHIP, PpaModel, Quality, TypeModel
from hwflow.ppa.polynomials import Basis, Family, Polynomial, monomials
from hwflow.ppa.variables import LAYER_VARIABLES, OWN, layer_sizes
from hwflow.types import EnergyUnit
from hwflow.validation import Strict, explain

KIND, FORMAT = "hwflow ppa model", 1

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]
_AGAIN = "Write it again: hwflow ppa fit"


class _Polynomial(Strict):
    degree: Annotated[int, Field(ge=0, le=10)]
    ridge: _Amount
    coefficients: list[_Number]


class _Family(Strict):
    variables: list[str]
    centre: list[_Number]
    scale: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    targets: dict[str, _Polynomial]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.variables) == len(self.centre) == len(self.scale):
            raise ValueError("variables, centre and scale must be of one length")
        for name, target in self.targets.items():
            count = monomials(len(self.variables), target.degree)
            if len(target.coefficients) != count:
                raise ValueError(f"targets.{name} has {len(target.coefficients)} coefficients, and its degree needs {count}")
        return self


class _Quality(Strict):
    median: _Amount
    p95: _Amount
    rank: Annotated[float, Field(ge=-1.001, le=1.001)] | None


class _Type(Strict):
    fitted: _Count
    held_out: _Count
    energy_source: str
    errors: dict[str, _Quality]
    layer: _Family
    chip: _Family


class _Content(Strict):
    kind: Literal["hwflow ppa model"]
    format: Literal[1]
    remark: str
    checksum: str
    level: Literal["mid", "fine"]
    level_version: str
    energies: str
    energy_unit: EnergyUnit
    base: dict[str, Any]
    fields: dict[str, tuple[_Number, _Number]]
    layers: dict[str, tuple[_Number, _Number]]
    transposed: bool
    types: Annotated[dict[str, _Type], Field(min_length=1)]
    provenance: dict[str, Any]

    @model_validator(mode="after")
    def _check(self) -> Self:
        sizes = set(layer_sizes(Layer("any", C=1, M=1)))
        if set(self.layers) != sizes:
            raise ValueError(f"layers must have {', '.join(sorted(sizes))}")
        for name, found in self.types.items():
            if name != OWN and name not in PE_TYPES:
                raise ValueError(f"types.{name} is no PE type")
            if set(found.errors) - set(ERRORS) or not {"energy", "cycles"} <= set(found.errors):
                raise ValueError(f"types.{name}.errors must be of {', '.join(ERRORS)}")
            if not {ON_CHIP, DRAM_BYTES} < set(found.layer.targets) or set(found.chip.targets) - {AREA}:
                raise ValueError(f"types.{name} lacks a target")
            if set(found.layer.variables) - {*self.fields, *LAYER_VARIABLES} or set(found.chip.variables) - set(self.fields):
                raise ValueError(f"types.{name} has variables that are no fields and no sizes")
        return self


def write_model(model: PpaModel, path: str | Path) -> PpaModel:
    """Write a model, and give it as it is read again: with its file's name, and its identity.

    Raises:
        HwflowError: where the file cannot be written.
    """
    content = _content(model)
    content["checksum"] = _checksum(content)
    write_text(path, json.dumps(content, indent=1) + "\n")
    return _model(content, Path(path).name)


def read_model(path: str | Path) -> PpaModel:
    """The model in a file.

    Raises:
        InputError: where there is none, naming the file and what is wrong with it.
    """
    file = checked(path, "the PPA model", "result", ": there is no such file. 'hwflow ppa fit' writes one")
    status = os.stat(file)
    return _read(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(16)
def _read(path: str, _changed: int, _size: int) -> PpaModel:
    try:
        content = parse_json(read_text(path, "the PPA model", "result"))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the PPA model {path} is no JSON: {error}. {_AGAIN}.") from None
    if not isinstance(content, Mapping) or content.get("kind") != KIND:
        raise InputError(f"{path} is no PPA model: it does not say kind {KIND!r}. Name a file that 'hwflow ppa fit' wrote.")
    if content.get("format") != FORMAT:
        raise InputError(
            f"the PPA model {path} is of format {shown(content.get('format'))}, and this version of hwflow reads {FORMAT}. "
            f"{_AGAIN}."
        )
    try:
        _Content.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{explain(error, content, f'the PPA model {path} is damaged')} {_AGAIN}.") from None
    if content["checksum"] != _checksum(content):
        raise InputError(
            f"the PPA model {path} is damaged: its content is not that of which its checksum was written. {_AGAIN}."
        )
    return _model(content, Path(path).name)


def _checksum(content: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _content(model: PpaModel) -> dict[str, Any]:
    return {
        "kind": KIND,
        "format": FORMAT,
        "remark": model.remark,
        "checksum": "",
        "level": model.level,
        "level_version": model.level_version,
        "energies": model.energies,
        "energy_unit": model.energy_unit,
        "base": model.base.model_dump(mode="json", exclude_none=True),
        "fields": {name: list(limits) for name, limits in model.fields.items()},
        "layers": {name: list(limits) for name, limits in model.layers.items()},
        "transposed": model.transposed,
        "types": {name: _type_data(found) for name, found in model.types.items()},
        "provenance": dict(model.provenance),
    }


def _type_data(model: TypeModel) -> dict[str, Any]:
    return {
        "fitted": model.fitted,
        "held_out": model.held_out,
        "energy_source": model.energy_source,
        "errors": {
            name: {"median": one.error.median, "p95": one.error.p95, "rank": one.rank} for name, one in model.quality.items()
        },
        "layer": _family_data(model.layer),
        "chip": _family_data(model.chip),
    }


def _family_data(family: Family) -> dict[str, Any]:
    return {
        "variables": list(family.basis.names),
        "centre": family.basis.centre.tolist(),
        "scale": family.basis.scale.tolist(),
        "targets": {
            name: {"degree": one.degree, "ridge": one.ridge, "coefficients": one.coefficients.tolist()}
            for name, one in family.polynomials.items()
        },
    }


def _model(content: Mapping[str, Any], name: str) -> PpaModel:
    return PpaModel(
        name,
        Accelerator.from_dict(content["base"], f"base of {name}"),
        {field: (low, high) for field, (low, high) in content["fields"].items()},
        {size: (low, high) for size, (low, high) in content["layers"].items()},
        content["transposed"],
        {pe_type: _type(found) for pe_type, found in content["types"].items()},
        content["level"],
        content["level_version"],
        content["energies"],
        content["energy_unit"],
        content["provenance"],
        content["checksum"],
    )


def _type(data: Mapping[str, Any]) -> TypeModel:
    quality = {name: Quality(Error(one["median"], one["p95"]), one["rank"]) for name, one in data["errors"].items()}
    return TypeModel(
        _family(data["layer"]), _family(data["chip"]), quality, data["fitted"], data["held_out"], data["energy_source"]
    )


def _family(data: Mapping[str, Any]) -> Family:
    basis = Basis(tuple(data["variables"]), np.array(data["centre"]), np.array(data["scale"]))
    targets = {
        name: Polynomial(one["degree"], one["ridge"], np.array(one["coefficients"])) for name, one in data["targets"].items()
    }
    return Family(basis, targets)

"""Costs as plain data, for the store and for worker processes, and back; and what form the store's must have."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, ValidationError

from hwflow.layers import DIMS, Layer
from hwflow.results import LayerCost, LevelName
from hwflow.store import key_of
from hwflow.types import EnergyUnit, Tensor

FORM = 3
"""Of a kept cost; raised with every change of `LayerCost`'s fields, so that those of another form are computed again."""

_Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(strict=True, ge=0)]
_Tensor = Literal["Weights", "Inputs", "Outputs"]
_LOOPS = " ".join(rf"{dim}=[1-9]\d{{0,17}}(,[1-9]\d{{0,17}})?" for dim in DIMS)
_Factors = Annotated[str, Field(pattern=f"^{_LOOPS}$")]


def _permuted(text: str) -> str:
    if sorted(text) != sorted(DIMS):
        raise ValueError("it is no permutation of the dimensions")
    return text


_Permutation = Annotated[str, AfterValidator(_permuted)]


class _Form(BaseModel):
    """JSON with these fields and no others."""

    model_config = ConfigDict(extra="forbid", defer_build=True)  # an empty store needs none of them


class _Kept(_Form):
    """Which tensors a level keeps."""

    target: str
    type: Literal["datatype"]
    keep: list[_Tensor]
    bypass: list[_Tensor]


class _Temporal(_Form):
    target: str
    type: Literal["temporal"]
    factors: _Factors
    permutation: _Permutation


class _Spatial(_Form):
    target: str
    type: Literal["spatial"]
    factors: _Factors
    permutation: _Permutation
    split: Literal[0, 8]


_Directive = Annotated[_Kept | _Temporal | _Spatial, Field(discriminator="type")]


class _Cost(_Form):
    level: LevelName
    engine: str
    energy: _Amount | None
    energy_unit: EnergyUnit
    energy_source: str
    energy_by_level: dict[str, _Amount]
    cycles: _Count | None
    latency_s: _Amount | None
    bound_by: str | None
    utilization: _Amount | None
    dram_bytes: _Amount
    seconds: _Amount
    accesses: dict[str, dict[Tensor, dict[str, _Amount]]]
    utilized_instances: dict[str, _Amount]
    mapping: Annotated[list[_Directive], Field(min_length=1)] | None
    note: str
    proven_optimal: StrictBool | None
    bound: _Amount | None
    perfect_bound: _Amount | None


class _Part(_Form):
    read: _Amount
    write: _Amount
    update: _Amount
    compute: _Amount
    leak: _Amount
    area_um2: _Amount | None
    estimator: str


class _Energies(_Form):
    unit: EnergyUnit
    parts: dict[str, _Part]
    source: str
    provenance: dict[str, Any]


def stored_key(key: str) -> str:
    """The key of a cost in the store, from that of its `Job`."""
    return key_of(FORM, key)


def is_cost(data: Any, level: LevelName, *, mapped: bool) -> bool:
    """Whether it is what `cost_to_data` writes of an answer of this level, with a mapping where it is of one.

    No amount can be negative, infinite or no number.
    """
    return _has_form(_Cost, data) and data["level"] == level and (data["mapping"] is not None or not mapped)


def is_energy_table(data: Any) -> bool:
    """Whether it is what Accelergy's answer is kept as."""
    return _has_form(_Energies, data)


def _has_form(form: type[_Form], data: Any) -> bool:
    try:
        form.model_validate(data)
    except ValidationError:
        return False
    return True


def cost_to_data(cost: LayerCost) -> dict[str, Any]:
    """Everything of a row but its layer, which is known to whoever asks."""
    return {f.name: _plain(getattr(cost, f.name)) for f in fields(LayerCost) if f.name != "layer"}


def cost_from_data(data: MappingABC[str, Any], layer: Layer) -> LayerCost:
    """A row for `layer`, an occurrence of the layer that was costed."""
    content = dict(data)
    if content.get("mapping") is not None:
        content["mapping"] = tuple(content["mapping"])
    return LayerCost(layer=layer, **content)


def _plain(value: Any) -> Any:
    if isinstance(value, MappingABC):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value

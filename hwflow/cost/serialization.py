"""Costs and mappings as plain data, for the store and for worker processes, and the validation of stored values."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from hwflow.layers import Dim, Layer, Tensor
from hwflow.mapping import LevelMapping, Mapping
from hwflow.results import LayerCost, LevelName
from hwflow.types import EnergyUnit

_Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(strict=True, ge=0)]
_Bound = Annotated[int, Field(strict=True, ge=1)]
_Loop = tuple[Dim, _Bound, _Bound]


class _Form(BaseModel):
    """JSON with these fields and no others."""

    model_config = ConfigDict(extra="forbid", defer_build=True)  # an empty store needs none of them


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
    mapping: list[dict[str, Any]] | None
    note: str


class _Level(_Form):
    level: str
    temporal: list[_Loop]
    spatial: list[_Loop]
    keeps: list[Tensor]
    axis: Literal["X", "Y"] | None


class _Search(_Form):
    mapping: Annotated[list[_Level], Field(min_length=1)]
    cost: _Cost
    proven_optimal: StrictBool
    bound: _Amount | None


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


def is_cost(data: Any) -> bool:
    """Whether it is what `cost_to_data` writes; no amount can be negative, infinite or no number."""
    return _has_form(_Cost, data)


def is_search(data: Any) -> bool:
    """Whether it is what mid's search of a layer is kept as: a mapping with its cost."""
    return _has_form(_Search, data)


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


def cost_from_data(data: MappingABC[str, Any], layer: Layer, *, energy_source: str | None = None, note: str = "") -> LayerCost:
    """A row for `layer`, an occurrence of the layer that was costed; `energy_source` as the caller's table names it."""
    content = dict(data)
    if content.get("mapping") is not None:
        content["mapping"] = tuple(content["mapping"])
    if energy_source is not None:
        content["energy_source"] = energy_source
    if note:
        content["note"] = f"{content['note']}; {note}" if content.get("note") else note
    return LayerCost(layer=layer, **content)


def mapping_to_data(mapping: Mapping) -> list[dict[str, Any]]:
    """The levels of a mapping, outermost first."""
    return [asdict(level) for level in mapping.levels]


def mapping_from_data(data: list[dict[str, Any]]) -> Mapping:
    """The mapping that `mapping_to_data` wrote."""
    return Mapping(tuple(LevelMapping(**{name: _tuples(value) for name, value in level.items()}) for level in data))


def _plain(value: Any) -> Any:
    if isinstance(value, MappingABC):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value

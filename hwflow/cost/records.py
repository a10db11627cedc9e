"""Costs and mappings as plain data, for the store and for worker processes, and back."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import asdict, fields
from typing import Any

from hwflow.layers import Layer
from hwflow.mapping import LevelMapping, Mapping
from hwflow.results import LayerCost


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

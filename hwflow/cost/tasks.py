"""The pieces of work of an estimate: what they compute, and the keys under which the store keeps them.

A key is made of content only: the layer's shape, the chip, the dataflow's constraints, the energies, the search's settings and
the version of what answers. The functions named by tasks run in worker processes, so they take and give plain data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hwflow.cost.serialization import cost_to_data, is_cost, is_search, mapping_from_data, mapping_to_data
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import LevelConstraint
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import Layer
from hwflow.store import key_of
from hwflow.store.pool import Task
from hwflow.types import Objective

if TYPE_CHECKING:
    from hwflow.timeloop.engine import Engine
    from hwflow.timeloop.render import SearchSettings

_JUDGE_S, _SEARCH_S = 0.2, 20.0  # of timeloop-model and timeloop-mapper, on a layer of usual size: measured


@dataclass(frozen=True)
class Chip:
    """What a layer is computed on: an accelerator at its word widths, a dataflow's constraints, energies."""

    accelerator: Accelerator
    constraints: tuple[LevelConstraint, ...]
    table: EnergyTable

    @cached_property
    def identity(self) -> str:
        """Hash of all that mid's answers depend on beside the layer and the search."""
        rules = [[c.level.name, c.temporal, c.innermost, c.spatial] for c in self.constraints]
        return key_of(self.accelerator.fingerprint, rules, self.table.content())

    @cached_property
    def portable(self) -> Chip:
        """Without provenance, which does not go to other processes."""
        return replace(self, table=replace(self.table, provenance={}))


# Mid -----------------------------------------------------------------------------------------------------------------


def mid_key(layer: Layer, chip: Chip, objective: Objective, effort: int, ragged: bool) -> str:
    """What mid's best mapping of a layer depends on."""
    from hwflow.cost import mid

    return key_of(mid.VERSION, layer.key, chip.identity, objective, effort, ragged)


def mid_task(layer: Layer, chip: Chip, objective: Objective, effort: int, ragged: bool) -> Task:
    """mid's search for one layer."""
    key = mid_key(layer, chip, objective, effort, ragged)
    return Task("mid", key, layer.name, search_mid, (layer, chip.portable, objective, effort, ragged), accepts=is_search)


def search_mid(layer: Layer, chip: Chip, objective: Objective, effort: int, ragged: bool) -> dict[str, Any]:
    """The best mapping and its cost, as plain data."""
    from hwflow.cost import mid

    found = mid.map_layer(
        layer, chip.accelerator, chip.constraints, chip.table, objective=objective, effort=effort, ragged=ragged
    )
    return {
        "mapping": mapping_to_data(found.mapping),
        "cost": cost_to_data(found.cost),
        "proven_optimal": found.proven_optimal,
        "bound": found.bound,
    }


# Fine ----------------------------------------------------------------------------------------------------------------


def judge_task(layer: Layer, chip: Chip, mapping: list[dict[str, Any]], engine: Engine) -> Task:
    """Timeloop's verdict on one mapping."""
    from hwflow.cost import fine
    from hwflow.timeloop.render import render

    files = render(layer, chip.accelerator, (), chip.table, mapping=mapping_from_data(mapping))
    key = fine.key(files, chip.table, engine)
    args = (layer, chip.portable, mapping, engine)
    return Task("fine", key, layer.name, judge_fine, args, seconds=_JUDGE_S, accepts=is_cost)


def judge_fine(layer: Layer, chip: Chip, mapping: list[dict[str, Any]], engine: Engine) -> dict[str, Any]:
    """The verdict as plain data."""
    from hwflow.cost import fine

    return cost_to_data(fine.judge(layer, chip.accelerator, mapping_from_data(mapping), chip.table, engine=engine))


def search_task(layer: Layer, chip: Chip, objective: Objective, effort: int, engine: Engine) -> Task:
    """Timeloop's own search for one layer."""
    from hwflow.cost import fine
    from hwflow.timeloop.render import render

    settings = search_settings(effort)
    files = render(layer, chip.accelerator, chip.constraints, chip.table, objective=objective, search=settings)
    key = fine.key(files, chip.table, engine)
    args = (layer, chip.portable, objective, effort, engine)
    return Task("fine", key, layer.name, search_fine, args, seconds=_SEARCH_S * effort, accepts=is_cost)


def search_fine(layer: Layer, chip: Chip, objective: Objective, effort: int, engine: Engine) -> dict[str, Any]:
    """What Timeloop's mapper found, as plain data."""
    from hwflow.cost import fine

    cost = fine.search(
        layer,
        chip.accelerator,
        chip.constraints,
        chip.table,
        objective=objective,
        settings=search_settings(effort),
        engine=engine,
        limit_s=fine.SEARCH_LIMIT_S * effort,
    )
    return cost_to_data(cost)


def search_settings(effort: int) -> SearchSettings:
    """Timeloop's mapper, given `effort` times its usual patience."""
    from hwflow.timeloop.render import SearchSettings

    usual = SearchSettings()
    return replace(usual, victory_condition=usual.victory_condition * effort, timeout=usual.timeout * effort)

"""The three levels as backends (`hwflow.cost.backend.CostBackend`): coarse, mid, fine.

What computes is imported when it is asked: numpy is not needed for coarse, nor Timeloop's templates for mid.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hwflow.cost import coarse
from hwflow.cost.chip import Chip
from hwflow.cost.options import CostOptions, Objective
from hwflow.hardware.counted_zeros import counts_zeros
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.results import LayerCost
from hwflow.store import key_of
from hwflow.types import Proof

if TYPE_CHECKING:
    from hwflow.timeloop.engine import Engine
    from hwflow.timeloop.render import SearchSettings

MAPPER = "mid"
"""The level at which hwflow searches mappings."""

_JUDGE_S, _SEARCH_S = 0.2, 20.0  # of timeloop-model and timeloop-mapper, on a layer of usual size: measured


@dataclass(frozen=True)
class Coarse:
    """Closed formulas; see `hwflow.cost.coarse`."""

    name = "coarse"
    needs_chip = False
    maps = False
    external = False
    fitted = False

    @property
    def version(self) -> str:
        """That of the formulas."""
        return coarse.VERSION

    def seconds(self, options: CostOptions) -> float | None:
        """Microseconds."""
        return 0.0

    def ready(self, options: CostOptions) -> Coarse:
        """As it is: it needs no tool."""
        return self

    def judges(self, options: CostOptions) -> str | None:
        """No other level."""
        return None

    def job(self, layer: Layer, chip: Chip | None, options: CostOptions, before: LayerCost | None) -> CoarseJob:
        """The formulas for one layer."""
        return CoarseJob(layer, None if chip is None else chip.portable)


@dataclass(frozen=True)
class CoarseJob:
    """The formulas for one layer."""

    layer: Layer
    chip: Chip | None

    @property
    def key(self) -> str:
        """Computed where it is asked for: answers of coarse are not kept."""
        return key_of(coarse.VERSION, self.layer.key, self.chip.identity if self.chip else None)

    def cost(self) -> LayerCost:
        """The answer."""
        if self.chip is None:
            return coarse.analyse(self.layer)
        return coarse.analyse(self.layer, self.chip.accelerator, self.chip.table)


@dataclass(frozen=True)
class Mid:
    """hwflow's own analysis and search; see `hwflow.cost.mid`."""

    name = "mid"
    needs_chip = True
    maps = True
    external = False
    fitted = False

    @property
    def version(self) -> str:
        """That of the analysis and the search."""
        from hwflow.cost import mid

        return mid.VERSION

    def seconds(self, options: CostOptions) -> float | None:
        """Measured."""
        return None

    def ready(self, options: CostOptions) -> Mid:
        """As it is: it needs no tool."""
        return self

    def judges(self, options: CostOptions) -> str | None:
        """No other level."""
        return None

    def job(self, layer: Layer, chip: Chip | None, options: CostOptions, before: LayerCost | None) -> MidJob:
        """The search for one layer."""
        assert chip is not None
        asked = (options.objective, options.effort, options.ragged)
        proof = () if options.proof == "off" else (options.proof, options.gap)
        more = (*_proof_version(options), *_zeros_version(layer, chip))
        key = key_of(self.version, layer.key, chip.identity, chip.table.source, *asked, *proof, *more)
        return MidJob(key, layer, chip.portable, *asked, *proof)


def _proof_version(options: CostOptions) -> tuple[int, ...]:
    """What makes proofs of another version of the bounds others."""
    if options.proof == "off":
        return ()
    from hwflow.cost import proofs
    from hwflow.mapper import proof, ragged_proof

    versions = (proof.VERSION, proofs.VERSION)
    return (*versions, ragged_proof.VERSION) if options.ragged else versions


def _zeros_version(layer: Layer, chip: Chip) -> tuple[str, ...]:
    """What makes answers with zeros those of another version."""
    if not counts_zeros(layer, chip.accelerator):
        return ()
    from hwflow.cost import mid

    return (f"zeros {mid.SPARSE_VERSION}",)


@dataclass(frozen=True)
class MidJob:
    """The search for one layer."""

    key: str
    layer: Layer
    chip: Chip
    objective: Objective
    effort: int
    ragged: bool
    proof: Proof = "off"
    gap: float = 0.0

    def cost(self) -> LayerCost:
        """The cost of the best mapping, with what the search proved of it."""
        from hwflow.cost import mid

        chip = self.chip
        found = mid.map_layer(
            self.layer,
            chip.accelerator,
            chip.constraints,
            chip.table,
            objective=self.objective,
            effort=self.effort,
            ragged=self.ragged,
            proof=self.proof,
            gap=self.gap,
            resident=chip.resident,
        )
        return replace(found.cost, proven_optimal=found.proven_optimal, bound=found.bound, perfect_bound=found.perfect_bound)


@dataclass(frozen=True)
class Fine:
    """Timeloop; see `hwflow.cost.fine`. It has an engine once it is `ready`."""

    engine: Engine | None = None

    name = "fine"
    needs_chip = True
    maps = True
    external = True
    fitted = False

    @property
    def version(self) -> str:
        """That of the reading of Timeloop's output; Timeloop's own is in the keys, too."""
        from hwflow.cost import fine

        return fine.MODEL

    def seconds(self, options: CostOptions) -> float | None:
        """As timeloop-model or timeloop-mapper usually takes."""
        return _JUDGE_S if self.judges(options) else _SEARCH_S * options.effort

    def ready(self, options: CostOptions) -> Fine:
        """With the engine that was asked for, or the first that answers."""
        from hwflow.timeloop.engine import find_engine

        return Fine(find_engine(options.engine))

    def judges(self, options: CostOptions) -> str | None:
        """The level of hwflow's search, unless Timeloop is to search itself."""
        return MAPPER if options.mapper == "hwflow" else None

    def job(self, layer: Layer, chip: Chip | None, options: CostOptions, before: LayerCost | None) -> FineJob:
        """Timeloop's input for one layer, rendered."""
        from hwflow.cost import fine

        assert chip is not None
        assert self.engine is not None
        mapping = None if before is None else mapping_of(before, chip)
        files = input_of(layer, chip, options, mapping)
        key = fine.key(files, chip.table, self.engine, layer, chip.accelerator)
        return FineJob(key, layer, chip.portable, mapping, files, options, self.engine)


@dataclass(frozen=True)
class FineJob:
    """Timeloop's verdict on a mapping, or its own search where there is none."""

    key: str
    layer: Layer
    chip: Chip
    mapping: Mapping | None
    files: MappingABC[str, str]
    options: CostOptions
    engine: Engine

    def cost(self) -> LayerCost:
        """What Timeloop answers."""
        from hwflow.cost import fine

        layer, chip, files, engine = self.layer, self.chip, dict(self.files), self.engine
        if self.mapping is not None:
            return fine.judge(layer, chip.accelerator, self.mapping, chip.table, engine=engine, files=files)
        return fine.search(
            layer,
            chip.accelerator,
            chip.constraints,
            chip.table,
            engine=engine,
            files=files,
            limit_s=fine.SEARCH_LIMIT_S * self.options.effort,
        )


def mapping_of(cost: LayerCost, chip: Chip) -> Mapping:
    """The mapping that a cost is of."""
    assert cost.mapping is not None
    return Mapping.from_directives([dict(entry) for entry in cost.mapping], chip.accelerator)


def input_of(layer: Layer, chip: Chip, options: CostOptions, mapping: Mapping | None) -> dict[str, str]:
    """Timeloop's input, by file: for timeloop-model with a mapping, for timeloop-mapper without one."""
    from hwflow.timeloop.render import render

    if mapping is not None:
        return render(layer, chip.accelerator, (), chip.table, mapping=mapping)
    settings = _search_settings(options.effort)
    return render(layer, chip.accelerator, chip.constraints, chip.table, objective=options.objective, search=settings)


def _search_settings(effort: int) -> SearchSettings:
    """Timeloop's mapper, given `effort` times its usual patience."""
    from hwflow.timeloop.render import SearchSettings

    usual = SearchSettings()
    return replace(usual, victory_condition=usual.victory_condition * effort, timeout=usual.timeout * effort)


__all__ = ["MAPPER", "Coarse", "CoarseJob", "Fine", "FineJob", "Mid", "MidJob", "input_of", "mapping_of"]

"""`PpaModel`: power, performance and area of the variants of one chip, as they were characterised at one level.

Of each PE type the model predicts the energy of every part of the chip, the cycles that the chip alone takes, and the bytes
that a layer moves to and from DRAM, whose cycles follow from the bandwidth; and the area. Cycles jump where a size stops to
divide, and where DRAM begins to be the limit; so compute and DRAM are fitted apart, and joined by their maximum (ours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwflow.arrays import Floats
from hwflow.errors import InputError, shown
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_fit.polynomials import Error
from hwflow.hardware.pe_types import PE_TYPES
from hwflow.layers import Layer
from hwflow.ppa.polynomials import Family
from hwflow.ppa.variables import (
    LAYER_VARIABLES,
    OWN,
    Range,
    array_fields,
    field_of,
    layer_logs,
    layer_sizes,
    outside,
)
from hwflow.types import EnergyUnit

VERSION = "ppa-1"
"""Changes whenever the same model can answer another number."""

ON_CHIP, DRAM_BYTES, AREA = "on-chip cycles", "DRAM bytes", "area"
ENERGY, CYCLES, POWER = "energy", "cycles", "power"
ERRORS = (ENERGY, CYCLES, POWER, ON_CHIP, DRAM_BYTES, AREA)
"""What held-out errors are stated of."""

_TOGETHER = 4096
"""Rows that are computed at once; more need more memory than a cache has."""


@dataclass(frozen=True)
class Quality:
    """How well a quantity is predicted on configurations that the fit has not seen: errors relative to what was characterised,
    and Spearman's rank correlation with it, None where that has one value only."""

    error: Error
    rank: float | None

    def __str__(self) -> str:
        return str(self.error) if self.rank is None else f"{self.error}, rank correlation {self.rank:.3f}"


@dataclass(frozen=True)
class TypeModel:
    """One PE type.

    Attributes:
        layer: energies by part (names of the chip's parts), `ON_CHIP` and `DRAM_BYTES`, over fields and `LAYER_VARIABLES`.
        chip: `AREA` over fields; without polynomials where no area is known.
        quality: by `ERRORS`.
        fitted, held_out: configurations.
        energy_source: of the energies that were characterised.
    """

    layer: Family
    chip: Family
    quality: Mapping[str, Quality]
    fitted: int
    held_out: int
    energy_source: str


@dataclass(frozen=True)
class Prediction:
    """Of chips and layers, arrays [chip, layer] but for `area_um2`, [chip], which is None where it is not known.

    Attributes:
        energy: by part of the chip.
        on_chip_cycles, dram_cycles, cycles: the last is the larger of the two, and never below MACs / MAC units.
    """

    energy: Mapping[str, Floats]
    on_chip_cycles: Floats
    dram_cycles: Floats
    dram_bytes: Floats
    cycles: Floats
    area_um2: Floats | None


@dataclass(frozen=True, eq=False)
class PpaModel:
    """A fitted model; `name` is how errors call it.

    Attributes:
        base: the chip whose fields were varied.
        fields: the range of each varied field; `layers`: of the layers' sizes.
        transposed: whether layers were transposed convolutions; a model is of one kind alone.
        types: by PE type; `OWN` stands for the base's own PEs.
        level: that was asked, with its `level_version`; `energies`: where its energies came from.
        provenance: command, seed, networks, number of points.
        identity: a hash of all that an answer depends on.
    """

    name: str
    base: Accelerator
    fields: Mapping[str, Range]
    layers: Mapping[str, Range]
    transposed: bool
    types: Mapping[str, TypeModel]
    level: str
    level_version: str
    energies: str
    energy_unit: EnergyUnit
    provenance: Mapping[str, Any]
    identity: str
    _checked: dict[tuple[object, ...], Floats] = field(default_factory=dict, repr=False)

    @property
    def remark(self) -> str:
        """What every page and output says of the numbers."""
        return (
            f"Predicted by polynomials that were fitted to the answers of level {self.level} ({self.level_version}): a model "
            "of a model, not synthesis."
        )

    @property
    def engine(self) -> str:
        """Who answers, as rows say it."""
        return f"hwflow {VERSION}, fitted to {self.level_version}, not synthesis"

    def source(self, pe_type: str) -> str:
        """Where the numbers of a PE type come from, and how far they were off on held-out configurations."""
        told = [f"{what} {self.types[pe_type].quality[what].error}" for what in (ENERGY, CYCLES)]
        own = self.types[pe_type]
        return f"{own.energy_source}, through a model fitted to {own.fitted} chips; held-out errors: {'; '.join(told)}"

    def type_of(self, accelerator: Accelerator) -> str:
        """The PE type of a chip.

        Raises:
            InputError: where it was not characterised.
        """
        pe_type = accelerator.pe_type or OWN
        if pe_type not in self.types:
            named = "no PE type" if pe_type == OWN else f"PEs of type {pe_type}"
            raise InputError(
                f"accelerator {accelerator.name} has {named}, and {self.name} was fitted to {', '.join(self.types)}: choose "
                "one of these (--pe-type), or characterise this one, too."
            )
        return pe_type

    def values_of(self, accelerator: Accelerator, layer: Layer) -> Floats:
        """The varied fields of the chip that serves a layer, [field].

        Raises:
            InputError: where the chip differs from the characterised ones in another field, or the layer has other bits.
        """
        key = (accelerator.fingerprint, accelerator.dataflow, layer.bits)
        if key not in self._checked:
            self._checked[key] = self._values(accelerator, layer)
        return self._checked[key]

    def _values(self, accelerator: Accelerator, layer: Layer) -> Floats:
        pe_type = self.type_of(accelerator)
        own = None if pe_type == OWN else (PE_TYPES[pe_type].weights, PE_TYPES[pe_type].activations)
        bits = None if layer.bits is None else (layer.bits.weights, layer.bits.inputs)
        if bits != own:
            asked = f"runs at {bits[0]} and {bits[1]} bits" if bits else "states no bits"
            served = f"{own[0]} and {own[1]} bits" if own else "the chip's own words"
            raise InputError(
                f"layer {layer.name} {asked} (weights and activations), and {self.name} was characterised with {served} at PEs "
                f"of type {pe_type}: ask for those, or for the level {self.level}."
            )
        values: dict[str, Any] = {}
        for name in self.fields:
            value = field_of(accelerator, name)
            if value is None:
                raise InputError(
                    f"accelerator {accelerator.name} has no number {name}, which {self.name} needs; {self._variants}."
                )
            values[name] = int(value) if value.is_integer() else value
        typed = {} if pe_type == OWN else {"pe_type": pe_type}
        expected = self.base.with_({**typed, **values}).serving(layer)
        changed = expected.differences(accelerator) if expected.fingerprint != accelerator.fingerprint else {}
        if accelerator.dataflow != expected.dataflow:
            changed = {"dataflow": expected.dataflow, **changed}
        if changed:
            now = accelerator.differences(expected) | {"dataflow": accelerator.dataflow}
            told = ", ".join(f"{name} (={shown(now.get(name))}) is not {shown(was)}" for name, was in changed.items())
            raise InputError(
                f"accelerator {accelerator.name} is none of those that {self.name} knows: {told}; {self._variants}."
            )
        return np.array(list(values.values()), dtype=np.float64)

    @property
    def _variants(self) -> str:
        return f"it was fitted to variants of {self.base.name} in {', '.join(self.fields)}, and in nothing else"

    def beyond(self, values: Sequence[float], layer: Layer) -> list[str]:
        """What is outside the range of the characterisation, in words; empty where nothing is.

        Raises:
            InputError: where the layer is of a kind that was not characterised at all.
        """
        if (layer.type == "conv_transpose") != self.transposed:
            kind = "no transposed convolution" if not self.transposed else "only transposed convolutions"
            raise InputError(f"layer {layer.name} is of type {layer.type}, and {self.name} was fitted to {kind}.")
        chip = outside(dict(zip(self.fields, values, strict=True)), self.fields)
        return [*chip, *outside(layer_sizes(layer), self.layers)]

    def check_range(self, values: Sequence[float], layer: Layer) -> None:
        """Refuse to extrapolate.

        Raises:
            InputError: naming each field or size, its value and the range.
        """
        if beyond := self.beyond(values, layer):
            raise InputError(
                f"layer {layer.name}: {', '.join(beyond)}, the range that {self.name} was characterised in, beyond which its "
                "polynomials mean little. Stay within it, characterise a wider one, or ask for it all the same (--extrapolate, "
                "extrapolate=True)."
            )

    def predict(self, pe_type: str, values: Floats, layers: Sequence[Layer]) -> Prediction:
        """What layers cost on chips, within the range or not.

        Args:
            values: of the varied fields, [chip, field].
        """
        model, names = self.types[pe_type], (*self.fields, *LAYER_VARIABLES)
        chips, shapes = np.log(values), layer_logs(layers)
        found: dict[str, list[Floats]] = {}
        step = max(1, _TOGETHER // len(layers))
        for start in range(0, len(chips), step):
            block = chips[start : start + step]
            logs = np.concatenate([np.repeat(block, len(layers), axis=0), np.tile(shapes, (len(block), 1))], axis=1)
            for target, told in model.layer.predict(model.layer.basis.chosen(names, logs)).items():
                found.setdefault(target, []).append(told.reshape(len(block), len(layers)))
        whole = {target: np.concatenate(blocks) for target, blocks in found.items()}
        on_chip, dram_bytes = whole.pop(ON_CHIP), whole.pop(DRAM_BYTES)
        macs = np.array([layer.macs for layer in layers], dtype=np.float64)
        on_chip = np.maximum(on_chip, macs / self.of_chips(array_fields(self.base), values).prod(axis=1)[:, None])
        bandwidth = self.of_chips([f"{self.base.dram.name}.bandwidth_gb_s"], values) * 1e9
        clock = self.of_chips(["clock_mhz"], values) * 1e6
        dram = dram_bytes / bandwidth * clock
        area = None
        if model.chip.polynomials:
            area = model.chip.predict(model.chip.basis.chosen(tuple(self.fields), chips))[AREA]
        return Prediction(whole, on_chip, dram, dram_bytes, np.maximum(on_chip, dram), area)

    def of_chips(self, names: Sequence[str], values: Floats) -> Floats:
        """The values of some fields, varied or not, [chip, field]."""
        columns = list(self.fields)
        known = [values[:, columns.index(n)] if n in columns else np.full(len(values), field_of(self.base, n)) for n in names]
        return np.stack(known, axis=1) if known else np.ones((len(values), 1))


def whole_cycles(predicted: float) -> int:
    """As many as a prediction needs, at least one."""
    return max(1, math.ceil(predicted - 1e-9))

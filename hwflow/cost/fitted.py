"""The level ppa as a backend: the predictions of a model that was fitted to another level's answers; see `hwflow.ppa`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwflow.cost.chip import Chip
from hwflow.cost.levels import Fine, Mid
from hwflow.cost.options import CostOptions
from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.results import COMPUTE, LayerCost
from hwflow.store import key_of

if TYPE_CHECKING:
    from hwflow.ppa.model import PpaModel


@dataclass(frozen=True)
class Ppa:
    """A fitted model. It has one once it is `ready`."""

    model: PpaModel | None = None

    name = "ppa"
    needs_chip = True
    maps = False
    external = False
    fitted = True

    @property
    def version(self) -> str:
        """That of the predictions from the same model, which is in the keys, too."""
        from hwflow.ppa.model import VERSION

        return VERSION

    def seconds(self, options: CostOptions) -> float | None:
        """A fraction of a millisecond."""
        return 0.0

    def ready(self, options: CostOptions) -> Ppa:
        """With the model that is named.

        Raises:
            InputError: where none is, its file cannot be read, or other energies are asked for than it was fitted to.
        """
        if options.ppa_model is None:
            raise InputError(
                "level ppa needs a fitted model: name the file that 'hwflow ppa fit' wrote (--ppa-model FILE, ppa_model=)."
            )
        from hwflow.ppa.model_file import read_model

        model = read_model(options.ppa_model)
        if options.energy not in ("auto", model.energies):
            raise InputError(
                f"energy is {options.energy!r}, and the model {model.name} was fitted to energies of {model.energies}: leave "
                "it out, or characterise with those."
            )
        return Ppa(model)

    def judges(self, options: CostOptions) -> str | None:
        """No other level."""
        return None

    def job(self, layer: Layer, chip: Chip | None, options: CostOptions, before: LayerCost | None) -> PpaJob:
        """The prediction for one layer."""
        assert chip is not None
        assert self.model is not None
        accelerator = chip.accelerator
        asked = (accelerator.fingerprint, accelerator.dataflow, options.extrapolate)
        key = key_of(self.version, self.model.identity, layer.key, *asked)
        return PpaJob(key, layer, chip.portable, self.model, options.extrapolate)


@dataclass(frozen=True)
class PpaJob:
    """The prediction for one layer."""

    key: str
    layer: Layer
    chip: Chip
    model: PpaModel
    extrapolate: bool

    def cost(self) -> LayerCost:
        """What the model predicts.

        Raises:
            InputError: where the chip is no variant of the characterised one, or fields or sizes are beyond its range and that
                was not asked for.
        """
        from hwflow.ppa.model import whole_cycles

        model, layer, accelerator = self.model, self.layer, self.chip.accelerator
        values, pe_type = model.values_of(accelerator, layer), model.type_of(accelerator)
        if not self.extrapolate:
            model.check_range(values.tolist(), layer)
        beyond = model.beyond(values.tolist(), layer)
        found = model.predict(pe_type, values[None], (layer,))
        energies = {part: float(energy[0, 0]) for part, energy in found.energy.items()}
        cycles = whole_cycles(float(found.cycles[0, 0]))
        stalls = found.dram_cycles[0, 0] > found.on_chip_cycles[0, 0]
        return LayerCost(
            layer=layer,
            level="ppa",
            engine=model.engine,
            energy=sum(energies.values()),
            energy_unit=model.energy_unit,
            energy_source=model.source(pe_type),
            energy_by_level=energies,
            cycles=cycles,
            latency_s=cycles * accelerator.cycle_s,
            bound_by=accelerator.dram.name if stalls else COMPUTE,
            utilization=layer.macs / (cycles * accelerator.mac_units),
            dram_bytes=float(found.dram_bytes[0, 0]),
            note="; ".join([*([f"extrapolated: {', '.join(beyond)}"] if beyond else []), *_outdated(model)]),
        )


def _outdated(model: PpaModel) -> list[str]:
    """That the level, which has changed since, would answer other numbers now."""
    now = (Mid() if model.level == "mid" else Fine()).version
    return [] if now == model.level_version else [f"fitted to {model.level_version}, and level {model.level} is {now} now"]


__all__ = ["Ppa", "PpaJob"]

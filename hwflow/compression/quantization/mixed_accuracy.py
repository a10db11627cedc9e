"""The accuracy of plans of channels and bits, and what each decision alone takes off it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from hwflow.compression.accuracy import Proxy
from hwflow.compression.decision import Decision
from hwflow.compression.quantization.integers import Scale
from hwflow.compression.quantization.mixed_decisions import MixedGrouping
from hwflow.compression.quantization.quantized_layers import quantize
from hwflow.compression.search.environment import Losses, Scores
from hwflow.compression.search.projection import nearest
from hwflow.compression.search.sensitivity import importance_losses, log_odds

_VERSION = "bits-1"
_HALF = 0.5  # of every group's channels, where the importance of channels is held against the accuracy


@dataclass(kw_only=True)
class MixedProxy(Proxy):
    """`Proxy` of networks whose channels are cut and whose operands are rounded, without training.

    Attributes:
        mixed: what is decided; its channels are the proxy's `grouping`.
        scales: of the inputs of all modules that can be rounded, as the uncompressed network has them. The statistics of the
            normalisation are estimated anew for each plan, so ranges behind it hardly depend on the plan.
    """

    mixed: MixedGrouping
    scales: Mapping[str, Scale] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        bits = self.mixed.bits
        decided = [[one.name, list(one.options)] for one in bits.decisions]
        self._identity += [_VERSION, decided, bits.shifts, {name: list(scale) for name, scale in self.scales.items()}]

    def widths_of(self, plan: Mapping[str, int]) -> tuple[int, ...]:
        """Of channels and of words."""
        return self.mixed.widths_of(plan)

    def pruned(self, plan: Mapping[str, int]) -> nn.Module:
        """The network cut and rounded to a plan."""
        model = self.cut(plan)
        quantize_all(model, self.mixed, plan, self.scales)
        return model

    def copied(self, plan: Mapping[str, int]) -> nn.Module:
        """The network cut and rounded to a plan: modules that are rounded cannot be cut again."""
        return self.pruned(plan)

    def cut(self, plan: Mapping[str, int]) -> nn.Module:
        """The network cut to a plan's channels, without rounding."""
        return super().pruned(self.mixed.channels_of(plan))


def quantize_all(model: nn.Module, mixed: MixedGrouping, plan: Mapping[str, int], scales: Mapping[str, Scale]) -> None:
    """Make the modules of a network what a plan has them be, in place.

    Args:
        scales: of the inputs at 8 bits.
    """
    for name, (code, bits) in mixed.bits.codes(mixed.bits_of(plan)).items():
        if code is not None or bits is not None:
            quantize(model, name, code, None if bits is None else scales[name].at(bits), bits)


@dataclass(frozen=True)
class Sensitivities:
    """Accuracies of the network with one decision at another option, all others as they are.

    Attributes:
        whole: of the uncompressed network.
        halved: with half of every group's channels; None where no channels are decided.
        accuracies: by decision, of each option but the last.
    """

    whole: float
    halved: float | None
    accuracies: Mapping[str, Mapping[int, float]]

    @property
    def measured(self) -> int:
        """Plans that were."""
        return 1 + (self.halved is not None) + sum(map(len, self.accuracies.values()))

    def losses(self, mixed: MixedGrouping, scores: Scores) -> Losses:
        """The fall of the accuracy's log-odds by decision and option.

        Of bits as measured, more bits never losing more than fewer. Of channels it is the importance that is removed, in such
        a unit that for half of all channels it is the measured fall: single groups would take many measurements.
        """
        found: dict[str, list[float]] = {}
        for one in mixed.groups:
            if isinstance(one, Decision):
                falls = [self._fall(self.accuracies[one.name][n]) for n in one.options[:-1]]
                found[one.name] = [*np.maximum.accumulate(falls[::-1])[::-1].tolist(), 0.0]
        channels = importance_losses(mixed.grouping.groups, scores or None)
        if self.halved is not None:
            plan = halved(mixed)
            pairs = zip(mixed.grouping.groups, channels, strict=True)
            whole = sum(float(loss[group.widths.index(plan[group.name])]) for group, loss in pairs)
            unit = max(self._fall(self.halved), _LEAST) / whole if whole > 0 else 1.0
            for group, loss in zip(mixed.grouping.groups, channels, strict=True):
                found[group.name] = (unit * loss).tolist()
        return found

    def _fall(self, accuracy: float) -> float:
        return max(0.0, float(log_odds(self.whole) - log_odds(accuracy)))


_LEAST = 0.01  # of the fall for half of the channels, so that channels are never free


def halved(mixed: MixedGrouping) -> dict[str, int]:
    """The plan that keeps about half of every group's channels and all bits."""
    return {group.name: nearest(group, _HALF * group.channels) for group in mixed.grouping.groups}


def sensitivities(
    mixed: MixedGrouping, proxy: Callable[[Mapping[str, int]], float], tell: Callable[[int, int], None]
) -> Sensitivities:
    """Measure them, each once.

    Args:
        proxy: the accuracy of a plan, which need not name all decisions.
        tell: told how many of how many are measured.
    """
    asked = [(one.name, option) for one in mixed.bits.decisions for option in one.options[:-1]]
    found: dict[str, dict[int, float]] = {one.name: {} for one in mixed.bits.decisions}
    for done, (name, option) in enumerate(asked, start=1):
        found[name][option] = proxy({name: option})
        tell(done, len(asked))
    half = proxy(halved(mixed)) if mixed.grouping.groups else None
    return Sensitivities(proxy({}), half, found)


__all__ = ["MixedProxy", "Sensitivities", "halved", "quantize_all", "sensitivities"]

"""`SinglePathSettings`: the options of methods that decide by trained thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwflow.errors import InputError, check_whole, is_number

_MOST_EPOCHS = 100_000


@dataclass(frozen=True)
class SinglePathSettings:
    """How thresholds are trained, and how strongly costs count.

    Raises:
        InputError: naming the field whose value cannot be used.
    """

    search_epochs: int = 8
    """Of singlepath: epochs in which thresholds are trained, before the network that they leave is trained from scratch."""
    warmup_share: float = 0.5
    """The share of the search in which costs do not count, and gates are closed at random."""
    gate_dropout: float = 0.4
    """How often a gate is closed at random meanwhile; 0.4 in the authors' code, which keeps 0.6."""
    strength: float = 0.1
    """The factor lambda on the logarithm of a cost: the least where there is a budget, the only one where there is none."""
    ascent: float = 2.0
    """With a budget, lambda is multiplied by (cost / budget) to this power over an epoch, a little at every step."""
    threshold_rate: float = 500.0
    """How far a constant gradient of 1 moves a threshold in the steps in which costs count. The thresholds' learning rate
    follows from it and from the number of these steps, so that a short search reaches as far as a long one."""

    from_scratch: bool = False
    """Of singlepath: whether the run's recipe, `tuning`, is one of a training from fresh weights, as that of `hwflow search`
    is. Otherwise it is a fine-tuning's, and the found network has its epochs in the recipe of `hwflow train`."""

    def __post_init__(self) -> None:
        check_whole("search_epochs", self.search_epochs, _MOST_EPOCHS)
        for name in ("warmup_share", "gate_dropout"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < 1:
                raise InputError(f"{name} is {value!r}; it must be a share, at least 0 and below 1.")
        if not is_number(self.strength) or not 0 <= self.strength < math.inf:
            raise InputError(
                f"strength (lambda, the factor on the logarithm of the cost) is {self.strength!r}; it must be a number of at "
                "least 0: 0 leaves the cost out, 0.1 is the default."
            )
        for name in ("ascent", "threshold_rate"):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < math.inf:
                raise InputError(f"{name} is {value!r}; it must be a number above 0.")


__all__ = ["SinglePathSettings"]

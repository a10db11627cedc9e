"""Co-exploration of chips and networks: `characterise` a chip's variants, `fit` a model, and look for `fronts` with it.

Needs the extra `sweep`, and `report` for the page.
"""

from __future__ import annotations

from hwflow.coexploration.characterisation import Characterised, Interrupted, characterise
from hwflow.coexploration.fits import fit
from hwflow.coexploration.fronts import Fronts, fronts

__all__ = ["Characterised", "Fronts", "Interrupted", "characterise", "fit", "fronts"]

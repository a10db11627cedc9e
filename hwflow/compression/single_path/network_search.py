"""`search_network`: a network found by gradient, trained from fresh weights, in a folder like that of `hwflow.prune`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from hwflow.compression.result import PruneResult
from hwflow.compression.run import prune
from hwflow.datasets import Data, load_data
from hwflow.errors import InputError
from hwflow.network.load import load_module
from hwflow.progress import Shown
from hwflow.store import Store
from hwflow.training.recipe import Recipe, default_recipe
from hwflow.types import LevelName

if TYPE_CHECKING:
    from hwflow.cost.inputs import AcceleratorLike


def search_network(
    model: str | nn.Module,
    data: str | Data,
    accelerator: AcceleratorLike | None = None,
    *,
    level: LevelName = "mid",
    metric: str = "latency",
    budget: float | str | Mapping[str, float] | None = 0.5,
    seed: int = 0,
    recipe: Recipe | None = None,
    weights: str | Path | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Callable[[str], None] | None = None,
    **changes: Any,
) -> PruneResult:
    """Search kernels, expansions and blocks of a network of inverted residuals, and train what is found from fresh weights.

    Single-Path NAS (Stamoulis et al., arXiv:1904.02877): see `hwflow.compression.single_path`. `model` is the largest network
    of the search. Without weights it is trained first: the search starts from it, and the result is compared with it. Equal
    arguments give equal networks on one machine with one number of threads, interrupted or not.

    Args:
        model: a zoo name (`small_mbconv`, `mobilenet_v2`), `package.module:callable`, or a module, which should be trained.
        data, accelerator, level, weights, output, resume, store, progress, notify: as in `hwflow.prune`.
        metric: what a budget that is only a number is of.
        budget: the share of the largest network's cost that the found one has at most, and as nearly as its decisions allow; or
            shares by metric; None for no budget, with `strength` as the factor on the logarithm of the cost.
        seed: of the order of samples, of closed gates and of fresh weights.
        recipe: of both trainings, of the largest network and of the found one; by default `hwflow train`'s.
        changes: fields of the recipe or of the settings with other values: `epochs=20, search_epochs=10, strength=0.05`.

    Returns:
        As `hwflow.prune`: `plan` has an option for each decision, such as `features.3.kernel`; `model` is the found network.

    Raises:
        InputError: for a network without blocks to search, a budget that cannot be reached (what the cheapest and the dearest
            network cost), or settings that cannot be used; and as `hwflow.prune`.
        Diverged, NotMappable, ToolMissing, ToolError: as `hwflow.prune`.
    """
    if "method" in changes or "tuning" in changes:
        named = "method" if "method" in changes else "tuning"
        raise InputError(f"search_network takes no {named}; its method is singlepath, and recipe= is that of its trainings.")
    loaded = load_data(data) if isinstance(data, str) else data
    module = model
    if isinstance(module, str):
        module = load_module(module, num_classes=loaded.classes, in_channels=loaded.input_shape[0])
    own = {name: changes.pop(name) for name in list(changes) if name in Recipe.__dataclass_fields__}
    used = replace(recipe or default_recipe(loaded, module), **{"seed": seed, **own})
    return prune(
        model,
        loaded,
        accelerator,
        level=level,
        metric=metric,
        budget=budget,
        seed=seed,
        weights=weights,
        training=used if isinstance(model, str) and weights is None else None,
        output=output,
        resume=resume,
        store=store,
        progress=progress,
        notify=notify,
        method="singlepath",
        tuning=used,
        **{"from_scratch": True, **changes},
    )


__all__ = ["search_network"]

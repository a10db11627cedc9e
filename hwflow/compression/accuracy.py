"""`Proxy`: the accuracy of a plan before fine-tuning, measured on held-out samples with new statistics of batch normalisation.

This is AMC's proxy (arXiv:1802.03494, section 3.2), optionally after a few steps of training. Statistics are re-estimated on
training samples as in EagleEye (arXiv:2007.02491), or are those of the measured samples themselves, which is ours and saves a
pass. The samples belong neither to the training part nor to the test set. Accuracies are cached in the store under a key of
everything that they depend on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import nn

from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.pruned_copy import PrunedCopy
from hwflow.compression.channels.reconstruction import Refit, reconstruct
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.compression.measured_samples import MeasuredBatches, evenly
from hwflow.datasets.data import Task
from hwflow.datasets.samples import Samples
from hwflow.errors import InputError, check_whole, is_number, not_found
from hwflow.store import Store, key_of
from hwflow.training.checkpoint import digest
from hwflow.training.loop import fit
from hwflow.training.recipe import Recipe
from hwflow.training.score import channels_last, placed, reestimate_batchnorm, score, score_batches

Statistics = Literal["batch", "training"]

_ERRORS = 3.0  # standard errors by which a plan must be worse than the reference to lose the race; ours


VERSION = "accuracy-2"
"""Raised whenever the same plan would be given another accuracy."""


@dataclass(frozen=True)
class ProxySettings:
    """How the accuracy of plans is measured during a search.

    Raises:
        InputError: naming the field whose value cannot be used.
    """

    samples: int = 500
    """Held-out samples that searches measure accuracy on, chosen as `representative` does."""
    judged: int = 2500
    """Held-out samples on which the best plans are compared, and as many others for what is reported; at least `samples`."""
    statistics: Statistics = "batch"
    """Of batch normalisation: of the `batch` that is measured, about `batch_size` samples; or re-estimated on `batches`
    batches of `training` samples before."""
    batches: int = 4
    """Batches of training samples on which statistics are re-estimated; 0 leaves them as they were."""
    batch_size: int = 250
    """Samples in a batch."""
    epochs: int = 0
    """Of training before the measurement, on `tuned_on` samples."""
    tuned_on: int = 5000
    """Training samples of such an epoch."""
    learning_rate: float = 0.01
    """Of such an epoch."""
    first: int = 0
    """Of these, samples that every plan is measured on first, evenly spaced; where it is clearly less accurate on these than
    the uniform plan of the same budget, this accuracy is told. 0 measures every plan on all."""

    def __post_init__(self) -> None:
        for name, least in (
            ("samples", 1),
            ("judged", 1),
            ("batches", 0),
            ("batch_size", 2),
            ("epochs", 0),
            ("tuned_on", 1),
            ("first", 0),
        ):
            check_whole(f"{name} of the proxy", getattr(self, name), 10**9, least)
        if not is_number(self.learning_rate) or not self.learning_rate > 0:
            raise InputError(f"learning_rate of the proxy is {self.learning_rate!r}; it must be above 0.")
        if self.statistics not in get_args(Statistics):
            raise not_found("source of statistics", self.statistics, get_args(Statistics))


@dataclass
class Proxy:
    """Accuracies of plans, each measured once.

    Attributes:
        fit_on: samples for the normalisation's statistics and for training steps.
        held: samples that accuracy is measured on.
        recipe: device, precision and seed, resolved; of training steps also momentum and the like.
        criterion: what makes a channel important, a name of `hwflow.compression.channels.criteria.CRITERIA`.
        reconstructed: whether what reads channels that were cut is refitted before the measurement.
        measured, seconds: plans that this object has measured, and how long that took.
        reference: the accuracy that plans race against; see `race_against`.
    """

    model: nn.Module
    grouping: Grouping
    fit_on: Samples
    held: Samples
    settings: ProxySettings
    recipe: Recipe
    task: Task = "classification"
    store: Store | None = None
    criterion: str = "l1"
    reconstructed: bool = False
    measured: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    reference: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        with placed(self.model, self.recipe.device):
            self._ranking = rank_channels(self.model, self.grouping, self.criterion, self.fit_on, seed=self.recipe.seed)
        self._known: dict[tuple[int, ...], tuple[float, int]] = {}
        if self.settings.first and self.task != "classification":
            raise InputError(
                f"first of the proxy is {self.settings.first}, and the task is {self.task}: only shares of images that are "
                "right have the bounds by which a race is decided. Leave it 0."
            )
        self._copy: PrunedCopy | None = None
        self._first = self.held.subset(evenly(len(self.held), self.settings.first or len(self.held)))
        self._batches = {id(part): MeasuredBatches(part, self.settings.batch_size) for part in (self.held, self._first)}
        if self.settings.statistics == "batch" and len(self.held) < 2:
            raise InputError(
                f"accuracy is measured on {len(self.held)} held-out samples, of which batch normalisation takes its "
                "statistics; 2 are the least. Hold out more, or let statistics of the proxy be 'training'."
            )
        used = self.recipe
        recipe = asdict(self._tuning()) if self.settings.epochs else [used.device, used.precision, used.seed]
        machine = [torch.__version__, torch.get_num_threads()]  # sums in another order may move a sample to another class
        groups = [[group.name, group.channels, group.unit] for group in self.grouping.groups]
        data = [self.fit_on.identity, self.held.identity, self.task]
        told = score(  # structure and weights do not tell what a forward() does with them
            self.model, self.held.subset(range(min(8, len(self.held)))), task=self.task, device=used.device, precision="float32"
        )
        behaviour = [digest(self.model), told.loss]
        self._identity = [
            VERSION,
            behaviour,
            groups,
            data,
            {name: value for name, value in asdict(self.settings).items() if name != "judged"},
            self.criterion,
            self.reconstructed,
            recipe,
            machine,
        ]

    def __call__(self, plan: Mapping[str, int]) -> float:
        """Accuracy in [0, 1] (mean intersection over union in segmentation) of the network pruned to a plan, untuned."""
        return self._told(plan)[0]

    def samples_of(self, plan: Mapping[str, int]) -> int:
        """How many held-out samples the accuracy of a plan was measured on: fewer where it lost the race."""
        return self._told(plan)[1]

    def race_against(self, plan: Mapping[str, int]) -> None:
        """Measure a plan in full; others are measured in full only where they may be as accurate.

        A plan loses where the upper bound of its accuracy on the `first` samples (Wilson's, three standard errors) is below
        this plan's. So what is told of a plan does not depend on the plans that were measured before it, and a search that goes
        on from a checkpoint is told the same.
        """
        self.reference, self._known = None, {}
        self.reference = self(plan)

    def _told(self, plan: Mapping[str, int]) -> tuple[float, int]:
        """A plan's accuracy, and on how many samples it was measured."""
        widths = self.widths_of(plan)
        if widths not in self._known:
            key, first = key_of(self._identity, widths), self._first
            model = None
            if self.reference is not None and len(first) < len(self.held):
                model, begun = self._measured(f"{key}-first", plan, first, None)
                if _at_most(begun, len(first)) < self.reference:
                    self._known[widths] = begun, len(first)
                    return self._known[widths]
            self._known[widths] = self._measured(key, plan, self.held, model)[1], len(self.held)
        return self._known[widths]

    def _measured(
        self, key: str, plan: Mapping[str, int], held: Samples, model: nn.Module | None
    ) -> tuple[nn.Module | None, float]:
        """Accuracy on some samples, from the store or measured; with the network that is ready to be measured on others."""
        kept = self.store.get("accuracy", key, _is_share) if self.store else None
        if kept is not None:
            return model, float(kept)
        start = time.perf_counter()
        self.measured += model is None
        model = self._ready(plan) if model is None else model
        found = self._score(model, held)
        self.seconds += time.perf_counter() - start
        if self.store:
            self.store.put("accuracy", key, found)
        return model, found

    def widths_of(self, plan: Mapping[str, int]) -> tuple[int, ...]:
        """What tells plans apart."""
        return self.grouping.widths_of(plan)

    def pruned(self, plan: Mapping[str, int]) -> nn.Module:
        """The network pruned to a plan, by this proxy's ranking of channels."""
        return prune_model(self.model, self.grouping, plan, ranking=self._ranking)

    def reconstruct(self, model: nn.Module, plan: Mapping[str, int]) -> dict[str, Refit]:
        """Refit a network pruned to a plan, in place, on training samples; see `hwflow.compression.channels.reconstruction`."""
        recipe = self.recipe
        return reconstruct(
            model, self.model, self.grouping, plan, self._ranking, self.fit_on, seed=recipe.seed, device=recipe.device
        )

    def judge(self, model: nn.Module) -> float:
        """Accuracy of a network on the held-out samples as plans are measured; statistics are re-estimated in place, if any."""
        self.reestimate(model)
        return self._score(model, self.held)

    def _ready(self, plan: Mapping[str, int]) -> nn.Module:
        """The network of a plan as it is measured, until that of the next one is made."""
        model = self.copied(plan)
        if self.reconstructed:
            self.reconstruct(model, plan)
        if self.settings.epochs:
            tuned_on = self.fit_on.subset(range(min(self.settings.tuned_on, len(self.fit_on))))
            fit(model, tuned_on, self.held, self._tuning(), task=self.task)
        self.reestimate(model)
        return model

    def copied(self, plan: Mapping[str, int]) -> nn.Module:
        """The network pruned to a plan, until the next one is made: one copy is cut again and again."""
        if self._copy is None:
            self._copy = PrunedCopy(self.model, self.grouping, self._ranking)
        return self._copy.cut(plan)

    def reestimate(self, model: nn.Module) -> None:
        """Statistics of the normalisation anew, in place, as before a measurement."""
        settings, recipe = self.settings, self.recipe
        if settings.statistics == "training" and settings.batches:
            reestimate_batchnorm(
                model,
                self.fit_on,
                batches=settings.batches,
                batch_size=settings.batch_size,
                seed=recipe.seed,
                device=recipe.device,
                precision=recipe.precision,
            )

    def _score(self, model: nn.Module, held: Samples) -> float:
        with channels_last(model):
            found = score_batches(
                model,
                self._batches[id(held)],
                held.source.classes,
                task=self.task,
                device=self.recipe.device,
                precision=self.recipe.precision,
                by_batch=self.settings.statistics == "batch",
            )
        return found.accuracy

    def _tuning(self) -> Recipe:
        """Without a teacher or early stopping, so that no epoch is chosen on the samples that accuracy is measured on."""
        return replace(
            self.recipe,
            epochs=self.settings.epochs,
            learning_rate=self.settings.learning_rate,
            warmup_epochs=0,
            distillation=0.0,
            patience=None,
        )


def _at_most(share: float, samples: int) -> float:
    """Wilson's upper bound of a probability, three standard errors up (Wilson 1927)."""
    square = _ERRORS**2
    spread = _ERRORS * math.sqrt(share * (1 - share) / samples + square / (4 * samples**2))
    return (share + square / (2 * samples) + spread) / (1 + square / samples)


def _is_share(value: object) -> bool:
    return isinstance(value, float) and 0 <= value <= 1

"""`Method`: how a network is compressed, from a trained module to a smaller or cheaper one.

`hwflow.prune` does what all methods share: it opens or continues the folder, trains a network that has no weights yet, scores
the networks on the test set, costs both at every level, and writes the files and the report. A method makes the compressed
network:

    prepare(task)     before the network is trained: raise InputError for what cannot be done
    compress(task)    the compressed network, from the trained one
    rebuild(...)      the compressed network's structure, into which its saved weights are loaded

A method subclasses the Protocol to inherit the defaults, and is registered in `hwflow.compression.registry`. Each run makes an
instance of its own. `tests/conformance` judges every method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from torch import nn

from hwflow.compression.budget import Budget
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.decision import Choice, Decision
from hwflow.compression.folder import Folder, as_begun
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.search.comparison import PlanComparison
from hwflow.compression.search.policy import Policy
from hwflow.compression.settings import Settings
from hwflow.cost.executed_network import executed
from hwflow.cost.execution import Execution
from hwflow.datasets import Data
from hwflow.errors import not_found
from hwflow.layers import Bits
from hwflow.network import Network
from hwflow.network.from_torch import Rows
from hwflow.progress import Progress, headed
from hwflow.store import Store, key_of
from hwflow.training.checkpoint import digest
from hwflow.training.hooks import TrainingHook
from hwflow.training.loop import History, fit
from hwflow.training.recipe import Recipe


@dataclass(frozen=True)
class Task:
    """What a method is given.

    Attributes:
        model: the uncompressed network, on the CPU. `prepare` may see it before it is trained; it is not to be changed.
        name: of the network.
        data: samples; `data.test` is for the result's scores only.
        costs: costs of whole networks, at every level.
        recipe: of the fine-tuning, with the device and precision that are used here.
        settings: everything that the run was asked for.
        plan: a plan that was given instead of a search; None where the method chooses.
        folder: for checkpoints, `folder.checkpoints`, and for files of the method's own.
        config: what the run is of, as in `config.json`.
        store: for results that other runs can use.
        progress: told what is done; `stage` gives it a heading.
        notify: told in a sentence what a user should know.
        part: where several methods share a run, which one this is: its checkpoints have names of their own.
        given: how the rows of `model` run where an earlier run compressed it; None where none did. Methods need not look at it:
            see `hwflow.compression.given_network`.
    """

    model: nn.Module
    name: str
    data: Data
    costs: LevelCosts
    recipe: Recipe
    settings: Settings
    plan: str | Path | Mapping[str, int] | None
    folder: Folder
    config: Mapping[str, Any]
    store: Store | None
    progress: Progress | None
    notify: Callable[[str], None]
    part: str = ""
    given: Rows | None = None

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """What the compressed network must not exceed, at the last of the settings' levels."""
        return self.settings.budgets

    @property
    def seed(self) -> int:
        """Of everything that is drawn at random, where a method uses one seed."""
        return self.settings.seeds[0]

    @property
    def identity(self) -> str:
        """Tells this run with these weights from all others, for checkpoints; a longer search keeps that of the shorter one."""
        return key_of(as_begun(self.config), digest(self.model))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(1, C, H, W), as `Network.from_torch` takes it."""
        return (1, *self.data.input_shape)

    def stage(self, heading: str) -> Progress | None:
        """Progress of one part of the work."""
        return headed(self.progress, heading)

    def tell(self, text: str, done: int = 0, total: int = 0) -> None:
        """Report progress once."""
        if self.progress is not None:
            self.progress(done, total, text)

    def fine_tune(self, model: nn.Module, *, hooks: Sequence[TrainingHook] = (), recipe: Recipe | None = None) -> History:
        """Train a compressed network in place, by default with the run's recipe; an interrupted run continues it.

        The uncompressed network is the teacher where the recipe distils.
        """
        return self._fit(model, hooks, recipe or self.recipe, "tuning.pt", "fine-tuning")

    def train(
        self, model: nn.Module, heading: str, *, hooks: Sequence[TrainingHook] = (), recipe: Recipe, part: int = 0
    ) -> History:
        """The same before the network is compressed; `heading` is shown meanwhile. Several trainings have numbers, `part`."""
        return self._fit(model, hooks, recipe, f"preparation{part or ''}.pt", heading)

    def _fit(self, model: nn.Module, hooks: Sequence[TrainingHook], recipe: Recipe, checkpoint: str, heading: str) -> History:
        train, held = self.data.hold_out()
        return fit(
            model,
            train,
            held,
            recipe,
            task=self.data.task,
            teacher=self.model if recipe.distillation else None,
            hooks=hooks,
            checkpoint=self.folder.checkpoints / f"{self.part}{checkpoint}",
            progress=self.stage(heading),
        )


@dataclass(frozen=True)
class Compressed:
    """What a method gives.

    Attributes:
        model: the compressed, fine-tuned network.
        plan: the option chosen for each decision; `decisions` says what could be chosen.
        decisions: None where they are those of `grouping`.
        grouping: of methods that prune channels: what could be pruned.
        tuning: the fine-tuning's epochs; None where there was none.
        bits: word widths by name of the row, where they differ from the accelerator's.
        executions: by name of the row, how it runs where it does not run directly.
        comparison: the search that found the plan, and its baselines; None where there was none.
        seconds: wall clock by part of the work that came before the search.
        summary: what else a reader of the report should know, by heading.
        trained: images that were trained on before the fine-tuning, each counted as often as it was.
        evaluated: plans whose accuracy was measured, besides those of `comparison`.
        policy: the kept policy that the search started from.
        densities: by name of the module, of methods that leave zeros, the shares of its weights that are not zero, as
            `hwflow.weight_densities` counts them: chips that do something about zeros are costed with these.
    """

    model: nn.Module
    plan: Choice
    decisions: tuple[Decision, ...] | None = None
    grouping: Grouping | None = None
    tuning: History | None = None
    bits: Mapping[str, Bits] = field(default_factory=dict)
    executions: Mapping[str, Execution] = field(default_factory=dict)
    comparison: PlanComparison | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    summary: Mapping[str, str] = field(default_factory=dict)
    trained: int = 0
    evaluated: int = 0
    policy: Policy | None = None
    densities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def network(self, input_shape: tuple[int, ...], name: str) -> Network:
        """What is costed: the rows of the model, with their word widths and zeros, and as they run.

        Raises:
            InputError: for word widths or an execution of a row that the model does not have.
        """
        network = Network.from_torch(self.model, input_shape, name=name)
        return running(network, self.bits, self.executions, self.densities)


def running(
    network: Network,
    bits: Mapping[str, Bits],
    executions: Mapping[str, Execution],
    densities: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Network:
    """A network's rows with their word widths and zeros, and as they run; see `Compressed`.

    Raises:
        InputError: for word widths or an execution of a row that it does not have.
    """
    if densities:
        known = {layer.name: own for layer in network if (own := densities.get(layer.name.partition("#")[0]))}
        network = network.with_densities(known)
    if not bits and not executions:
        return network
    names = {layer.name for layer in network.layers}
    for row in bits:
        if row not in names:
            raise not_found(f"row of the compressed {network.name}", row, names)
    sized = (layer.with_(bits=bits[layer.name]) if layer.name in bits else layer for layer in network.layers)
    return executed(replace(network, layers=tuple(sized)), executions)


class Method(Protocol):
    """A way to compress a network; equal tasks give equal networks, interrupted or not."""

    name: str
    about: str = ""
    """What it does, in a line."""
    source: str = ""
    """Where it was published."""
    needs: str = "nothing"
    """What the accelerator must have for its result to be worth what it is said to cost."""
    takes_plan: bool = False
    """Whether a plan can be given instead of being chosen by the method."""
    follows_allocation: bool = True
    """Whether it keeps what `Settings.allocate` says, where that is not fixed by the method."""
    ranks: bool = True
    """Whether channels stay or go by `Settings.criterion`."""
    refits: bool = False
    """Whether it refits layers after surgery where `Settings.reconstruct` asks for it."""
    zeroes: bool = False
    """Whether it leaves zero weights that a processor can skip; then the networks are timed on this one, too."""

    def prepare(self, task: Task) -> None:
        """Refuse what cannot be done before a network is trained for hours, by raising InputError."""
        return

    def compress(self, task: Task) -> Compressed:
        """The compressed network. Budgets hold at the last of the settings' levels, unless a plan was given."""
        ...

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The structure of the compressed network, from the uncompressed one and the plan; by default the same structure."""
        return model

    def costed(self, network: Network, plan: Mapping[str, int]) -> Network:
        """The rows of a compressed network that was loaded, as `Compressed` of this plan has them costed: as they run, and with
        word widths that its folder does not state. By default those that are given."""
        return network


__all__ = ["Choice", "Compressed", "Decision", "Execution", "Method", "Task", "running"]

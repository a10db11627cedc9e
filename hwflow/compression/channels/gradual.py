"""`GradualPruning`: methods that prepare the cut while the network is trained, each a hook in the one training loop.

A share of the epochs trains with the hook, on whose units surgery follows; the others fine-tune what is left. What each method
adds is one function from `Setting` to its hook.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol

from torch import nn

from hwflow.compression.channels.columns import ColumnCut, ColumnPlan, matrix_products
from hwflow.compression.channels.discovery import rebuild
from hwflow.compression.channels.gradual_options import GradualSettings
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.planned import Allocated
from hwflow.compression.channels.regularization import (
    LEAST_INTERVALS,
    GrowingRegularization,
    IncrementalRegularization,
    check_growth,
    check_limit,
    check_ramp,
    growth_for,
    pick_shrinkage,
    ramps_until_removed,
    stable_ramp,
)
from hwflow.compression.channels.schedules import Asymptotic, Constant, Falling
from hwflow.compression.channels.soft_masks import SoftMasks
from hwflow.compression.channels.surgery import shrunk
from hwflow.compression.channels.units import Channels, UnitSource
from hwflow.compression.decision import Choice
from hwflow.compression.folder import Log
from hwflow.compression.method import Compressed, Method, Task, running
from hwflow.compression.search.refinement import shares_of
from hwflow.errors import InputError
from hwflow.network import Network
from hwflow.network.replica import replica
from hwflow.text import percent
from hwflow.training.loop import History
from hwflow.training.recipe import Recipe
from hwflow.training.score import reestimate_batchnorm, score

_SHRINKAGE = math.log(1000)
_USED = 0.8  # of the steps, so that increg's last units are gone before the cut
_RAMP = 0.4  # of the steps: where the loss holds on to a unit, its regularisation grows on behind the ramp
_INCREG_LIMIT = 2.5


class PruningHook(Protocol):
    """A training hook that says what it removed, `removed`, and after each epoch how many units were left, `left`."""

    removed: dict[str, tuple[int, ...]]
    left: list[dict[str, int]]


class Setting(NamedTuple):
    """What a method's hook is made from.

    Attributes:
        source, cuts: the units, and how many of each name go.
        counts: how many there are.
        rates: the learning rate of each step of the training towards the cut.
    """

    source: UnitSource
    cuts: Mapping[str, int]
    counts: Mapping[str, int]
    recipe: Recipe
    rates: Sequence[float]
    asked: GradualSettings


def _soft(*, rising: bool, falling: bool) -> Callable[[Setting], SoftMasks]:
    def made(given: Setting) -> SoftMasks:
        asked = given.asked
        ratio = Asymptotic(asked.ratio_start) if rising else Constant()
        for name, cut in given.cuts.items():
            ratio(1.0, cut / given.counts[name])
        scale = Falling(asked.scale_start, asked.scale_law) if falling else Falling(0.0)
        return SoftMasks(given.source, given.cuts, given.recipe.epochs, ratio, scale, asked.normalization)

    return made


def _growing(*, pick: bool) -> Callable[[Setting], GrowingRegularization]:
    def made(given: Setting) -> GrowingRegularization:
        asked, rates, momentum = given.asked, given.rates, given.recipe.momentum
        _check_descent(given.recipe)
        picked = len(rates) // 4 if pick else 0
        rest = rates[picked:]
        ramp = asked.ramp_steps or _ramp(rest, given)
        _check_fits("ramp_steps", ramp, len(rest), given)
        check_ramp(ramp, asked.interval)
        growth = asked.growth or growth_for(_SHRINKAGE, rest[:ramp], momentum, asked.interval)
        check_growth(growth, ramp, asked.interval, max(rest), momentum)
        pick_growth = 0.0
        if pick:
            pick_growth = growth_for(pick_shrinkage(), rates[:picked], momentum, asked.interval)
        most = (1 - momentum) / max(rates)
        limit = most / 2 if asked.limit is None else asked.limit
        check_limit(limit, max(rates), momentum)
        return GrowingRegularization(given.source, given.cuts, growth, limit, asked.interval, pick_growth, picked)

    return made


def _ramp(rates: Sequence[float], given: Setting) -> int:
    """The least ramp from a share of the steps on whose growth is stable; with a growth that was given, that share."""
    interval, momentum = given.asked.interval, given.recipe.momentum
    if given.asked.growth is not None:
        return max(LEAST_INTERVALS * interval, int(_RAMP * len(rates)))
    ramp = stable_ramp(_SHRINKAGE, rates, momentum, interval, _RAMP)
    if ramp is not None:
        return ramp
    used, per_epoch, epochs = len(rates) / len(given.rates), len(given.rates) // given.recipe.epochs, given.recipe.epochs
    while ramp is None:
        epochs += 1
        recipe, steps = replace(given.recipe, epochs=epochs), range(epochs * per_epoch)
        longer = [recipe.learning_rate_at(step, per_epoch) for step in steps][-int(used * len(steps)) :]
        ramp = stable_ramp(_SHRINKAGE, longer, momentum, interval, _RAMP)
    raise InputError(
        f"regularisation cannot grow in {len(rates)} steps: with an interval of {interval} it has to grow at least "
        f"{LEAST_INTERVALS} times, and not so fast that weights oscillate. Train for at least {epochs} epochs towards the cut "
        f"(epochs x preparation, now {given.recipe.epochs}){', or lower the interval' if interval > 1 else ''}."
    )


def _incremental(given: Setting) -> IncrementalRegularization:
    asked, steps = given.asked, len(given.rates)
    _check_descent(given.recipe)
    limit = min(_INCREG_LIMIT, (1 - given.recipe.momentum) / max(given.rates)) if asked.limit is None else asked.limit
    check_limit(limit, max(given.rates), given.recipe.momentum)
    longest = max((ramps_until_removed(given.counts[name], cut) for name, cut in given.cuts.items() if cut), default=1.0)
    ramp = asked.ramp_steps or int(_USED * steps / longest)
    least = 10
    if ramp < least:
        raise InputError(
            f"increg would remove its first unit after {ramp} steps, and at least {least} are needed: {steps} steps are too "
            f"few for groups that take {longest:.1f} times as long to lose all. Train for at least "
            f"{math.ceil(least * longest / _USED / steps * given.recipe.epochs)} epochs towards the cut."
        )
    _check_fits("ramp_steps", ramp, steps, given)
    return IncrementalRegularization(given.source, given.cuts, ramp, limit)


def _check_descent(recipe: Recipe) -> None:
    if recipe.optimizer != "sgd":
        raise InputError(
            f"optimizer is {recipe.optimizer!r}; regularisation that grows needs 'sgd': how fast weights shrink follows from "
            "its learning rate and momentum."
        )


def _check_fits(name: str, wanted: int, steps: int, given: Setting) -> None:
    if wanted > steps:
        epochs = given.recipe.epochs
        raise InputError(
            f"{name} is {wanted}, and the training towards the cut has {steps} steps in {epochs} epochs. Lower {name}, or "
            f"train for at least {math.ceil(wanted * epochs / steps)} epochs towards the cut."
        )


@dataclass(frozen=True)
class Preparation:
    """What makes a gradual method.

    Attributes:
        about, source, needs: as of `Method`.
        hook: what acts while the network is trained.
    """

    about: str
    source: str
    hook: Callable[[Setting], Any]
    needs: str = "nothing"


_SFP = "He et al., IJCAI 2018, arXiv:1808.06866"
_SRFP = "Cai et al., ICPR 2020, arXiv:2010.09498"
_GREG = "Wang et al., ICLR 2021, arXiv:2012.09243"
PREPARATIONS: dict[str, Preparation] = {
    "sfp": Preparation(
        "zeroes the filters of least norm after every epoch; they may recover", _SFP, _soft(rising=False, falling=False)
    ),
    "asfp": Preparation(
        "sfp with a share of filters that rises from epoch to epoch",
        "He et al. 2019, arXiv:1808.07471",
        _soft(rising=True, falling=False),
    ),
    "srfp": Preparation(
        "sfp that weakens filters instead of zeroing them, more from epoch to epoch", _SRFP, _soft(rising=False, falling=True)
    ),
    "asrfp": Preparation("srfp with a share of filters that rises", _SRFP, _soft(rising=True, falling=True)),
    "increg": Preparation(
        "regularises the channels that rank low on the average of all steps, until they are gone",
        "Wang et al., IJCNN 2019, arXiv:1811.08390",
        _incremental,
    ),
    "greg1": Preparation("regularises the channels of least magnitude, more and more", _GREG, _growing(pick=False)),
    "greg2": Preparation("greg1 on the channels that give way first when all are regularised", _GREG, _growing(pick=True)),
}
"""By name of the method; one line adds another one."""


class GradualPruning(Method):
    """Trains the network towards the cut, cuts it by the units that the hook names, and fine-tunes the rest of the epochs."""

    takes_plan = True

    def __init__(self, name: str) -> None:
        self._made = PREPARATIONS[name]
        self.name, self.about, self.source, self.needs = name, self._made.about, self._made.source, self._made.needs

    def prepare(self, task: Task) -> None:
        """Refuse budgets that no plan reaches, plans that do not fit, and schedules for which there are too few epochs."""
        asked, recipe = task.settings, task.recipe
        if recipe.patience is not None:
            raise InputError(
                f"patience is {recipe.patience}, but {self.name} changes which weights are zero until the end: an earlier "
                "epoch is another network, not a better one. Leave patience out."
            )
        if asked.criterion != "l1":
            raise InputError(
                f"the criterion is {asked.criterion!r}, but {self.name} ranks by the magnitudes that its training leaves; "
                "leave the criterion out, or take the method l1."
            )
        first = min(recipe.epochs, max(1, round(asked.gradual.preparation * recipe.epochs)))
        self._recipe, self._later = replace(recipe, epochs=first), recipe.epochs - first
        if asked.gradual.unit == "column":
            self._cut: _Cut = ColumnCut(task)
        else:
            self._cut = ChannelCut(task)
        self._hook(task, self._cut.likely)

    def compress(self, task: Task) -> Compressed:
        """The network trained towards the cut, cut, and fine-tuned."""
        plan = self._cut.plan(task)
        hook, recipe, model = self._hook(task, plan), self._recipe, replica(task.model)
        train, held = task.data.hold_out()
        history = task.train(model, f"training with {self.name}", hooks=[hook], recipe=recipe)
        small, hooks = self._cut.apply(model, hook.removed)
        task.tell("scoring the cut")
        cut = score(small, held, task=task.data.task, device=recipe.device, precision=recipe.precision)
        tuning = None
        if self._later:
            tuning = task.fine_tune(small, hooks=hooks, recipe=replace(task.recipe, epochs=self._later))
        else:
            reestimate_batchnorm(small, train, seed=recipe.seed, device=recipe.device, precision=recipe.precision)
        self._log(task, hook.left, history, tuning, plan)
        before = history.epochs[-1].accuracy
        summary = {
            "Cut": f"after {recipe.epochs} epochs of {self.name}; on the held-out images {percent(before)} before it, "
            f"{percent(cut.accuracy)} after it, {percent((tuning or history).epochs[-1].accuracy)} at the end",
            **_told(hook),
        }
        return self._cut.result(small, plan, hook.removed, tuning, summary, len(history.epochs) * len(train))

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The uncompressed network cut to the plan; columns that are pruned are zeros in it."""
        return model if ColumnPlan.is_one(plan) else rebuild(model, input_shape, plan)

    def costed(self, network: Network, plan: Mapping[str, int]) -> Network:
        """With matrix products of the columns that are left, where columns were pruned."""
        return running(network, {}, matrix_products(network, plan)) if ColumnPlan.is_one(plan) else network

    def _hook(self, task: Task, plan: Choice) -> Any:
        counts = self._cut.counts
        train = len(task.data.hold_out()[0])
        per_epoch = train // min(self._recipe.batch_size, train)
        rates = [self._recipe.learning_rate_at(step, per_epoch) for step in range(self._recipe.epochs * per_epoch)]
        cuts = self._cut.cuts(plan)
        return self._made.hook(Setting(self._cut.source, cuts, counts, self._recipe, rates, task.settings.gradual))

    def _log(
        self, task: Task, left: Sequence[Mapping[str, int]], history: History, tuning: History | None, plan: Choice
    ) -> None:
        """`log.jsonl`: accuracy and the cost of what is left, epoch by epoch."""
        log = Log(task.folder.path / "log.jsonl")
        number = 0
        for stage, epochs in (("preparation", history.epochs), ("fine-tuning", tuning.epochs if tuning else ())):
            for i, epoch in enumerate(epochs):
                number += 1
                shares = self._cut.shares(left[i] if stage == "preparation" else None, plan)
                log.add({"stage": stage, **asdict(epoch), "number": number, "shares": shares})
        log.close()


class _Cut(Protocol):
    """What channels and columns differ in."""

    source: UnitSource
    likely: Choice

    @property
    def counts(self) -> Mapping[str, int]:
        """Units of each name."""

    def plan(self, task: Task) -> Choice:
        """What is kept, for the trained network."""

    def cuts(self, plan: Choice) -> dict[str, int]:
        """Units that a plan removes."""

    def shares(self, left: Mapping[str, int] | None, plan: Choice) -> dict[str, float]:
        """Costs as shares of the unpruned network's while so many units are left; of the plan where None."""

    def apply(self, model: nn.Module, removed: Mapping[str, Sequence[int]]) -> tuple[nn.Module, list[Any]]:
        """The network without the removed units, and what its fine-tuning needs."""

    def result(
        self,
        model: nn.Module,
        plan: Choice,
        removed: Mapping[str, Sequence[int]],
        tuning: History | None,
        summary: Mapping[str, str],
        trained: int,
    ) -> Compressed:
        """What the method gives."""


class ChannelCut:
    """Channels are removed by surgery, which follows the hook's units and not which weights are zero."""

    def __init__(self, task: Task) -> None:
        self._allocated = Allocated(task)
        self.grouping: Grouping = self._allocated.grouping
        self.source: UnitSource = Channels(self.grouping)
        self.likely: Choice = self._allocated.likely

    @property
    def counts(self) -> Mapping[str, int]:
        """Units of each group."""
        return {group.name: group.units for group in self.grouping.groups}

    def plan(self, task: Task) -> Choice:
        """See `Allocated`."""
        return self._allocated.plan(task)

    def cuts(self, plan: Choice) -> dict[str, int]:
        """Units that go of each group."""
        return {group.name: (group.channels - plan[group.name]) // group.unit for group in self.grouping.groups}

    def shares(self, left: Mapping[str, int] | None, plan: Choice) -> dict[str, float]:
        """Of the network with the least widths that hold what is left."""
        if left is None:
            return shares_of(self._allocated.costs, plan)
        wide = {
            group.name: next(width for width in group.widths if width >= left[group.name] * group.unit)
            for group in self.grouping.groups
        }
        return shares_of(self._allocated.costs, wide)

    def apply(self, model: nn.Module, removed: Mapping[str, Sequence[int]]) -> tuple[nn.Module, list[Any]]:
        """A smaller network; nothing is left that fine-tuning would have to hold."""
        return shrunk(model, [(self.grouping[name], units) for name, units in removed.items()]), []

    def result(
        self,
        model: nn.Module,
        plan: Choice,
        removed: Mapping[str, Sequence[int]],
        tuning: History | None,
        summary: Mapping[str, str],
        trained: int,
    ) -> Compressed:
        """Of a grouping."""
        return Compressed(
            model,
            plan,
            grouping=self.grouping,
            tuning=tuning,
            seconds=self._allocated.seconds,
            summary=summary,
            trained=trained,
            evaluated=self._allocated.evaluated,
        )


def _told(hook: Any) -> dict[str, str]:
    """What a growing regularisation came to, and the ratios, which published comparisons often leave out."""
    if isinstance(hook, SoftMasks):
        return {}
    told = {"Left of the removed units": f"{hook.largest_ratio:.2g} of the magnitude of the others, in the worst group"}
    if isinstance(hook, IncrementalRegularization):
        total = sum(map(len, hook.removed.values()))
        told["Removed while training"] = f"{hook.early} of {total} units; the others at the cut"
    else:
        told["Regularisation at the end"] = f"{max((float(f.max()) for f in hook.factors.values()), default=0.0):.3g}"
    return told


__all__ = ["PREPARATIONS", "ChannelCut", "GradualPruning", "Preparation", "Setting"]

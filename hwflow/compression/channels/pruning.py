"""`ChannelPruning`: channels are removed by a plan that a search finds within the budgets, and the network is fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from hwflow.compression.accuracy import Proxy
from hwflow.compression.channels.criteria import CRITERIA, scores
from hwflow.compression.channels.discovery import STREAM, find_groups, rebuild
from hwflow.compression.channels.groups import Grouping
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.decision import Choice
from hwflow.compression.folder import PLAN, SEARCHES, Log
from hwflow.compression.measured_samples import representative
from hwflow.compression.method import Compressed, Method, Task
from hwflow.compression.plan_costs import Sizing
from hwflow.compression.plan_files import plan_from_file, plan_to_data, refuse_other_network
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.comparison import PlanComparison, Splits, compare, searches_of
from hwflow.compression.search.environment import Losses, PruningEnv, Scores
from hwflow.compression.search.policy import Policy
from hwflow.compression.search.search import Episode
from hwflow.datasets.samples import Samples
from hwflow.errors import InputError
from hwflow.network.replica import replica
from hwflow.training.score import placed
from hwflow.training.weights import trained_on


class ChannelPruning(Method):
    """A search through plans (channels kept of each group), surgery, and fine-tuning; a plan can be given instead."""

    name = "channels"
    about = "searches how many channels each group keeps, with a reinforcement-learning agent; also called agent"
    source = "after AMC, He et al., ECCV 2018, arXiv:1802.03494"
    takes_plan = True
    refits = True
    _policy: Policy | None = None

    def prepare(self, task: Task) -> None:
        """Find the groups, and refuse budgets that no plan reaches and plans that do not fit."""
        self._grouping = grouping_of(task)
        self._sizing: Sizing = self._grouping
        self._tables = PlanTables(self._grouping, task.costs)
        self._given = self._given_plan(task)
        self._policy = None if task.settings.policy is None else Policy.load(task.settings.policy)

    def compress(self, task: Task) -> Compressed:
        """The network pruned to the plan, fine-tuned."""
        grouping = self._grouping
        if self._given is None:
            tell_of_training(task)
        fit_on, _ = task.data.hold_out()
        splits = Splits(
            *(
                Proxy(
                    task.model,
                    grouping,
                    fit_on,
                    part,
                    task.settings.proxy,
                    task.recipe,
                    task.data.task,
                    task.store,
                    task.settings.criterion,
                    task.settings.reconstruct == "search",
                )
                for part in held_parts(task)
            )
        )
        comparison = self._search(task, splits, scores=self._scores(task)) if self._given is None else None
        plan = self._given if comparison is None else comparison.plan
        assert plan is not None
        task.folder.write(PLAN, plan_to_data(grouping, plan, self._policy))  # before the fine-tuning, which can take hours
        small = splits.search.pruned(plan)
        refitted = _refit(task, splits.held_out, small, plan)
        return Compressed(
            model=small,
            plan=plan,
            grouping=grouping,
            tuning=task.fine_tune(small),
            comparison=comparison,
            policy=self._policy,
            seconds={f"tables at {level}": seconds for level, seconds in self._tables.seconds.items()},
            summary=refitted | outcomes(task, comparison),
        )

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The uncompressed network cut to the plan."""
        return rebuild(model, input_shape, plan)

    def _given_plan(self, task: Task) -> Choice | None:
        """The plan where none is searched."""
        asked, given = task.settings, task.plan
        if given is not None and given != "uniform":
            wanted = given if isinstance(given, Mapping) else plan_from_file(Path(given))
            if not isinstance(given, Mapping):
                refuse_other_network(Path(given), task.name, [group.name for group in self._sizing.groups])
            return dict(zip((g.name for g in self._sizing.groups), self._sizing.widths_of(wanted), strict=True))
        levels = asked.levels if given is None else asked.levels[:1]
        envs = [PruningEnv(self._tables.at(level), lambda _: 0.0, task.budgets, metric=asked.metric) for level in levels]
        return None if given is None else uniform_plan(envs[0])

    def _search(
        self, task: Task, splits: Splits, *, scores: Scores | None = None, losses: Losses | None = None
    ) -> PlanComparison:
        asked = task.settings
        total, done = len(searches_of(asked)) * len(asked.seeds) * asked.episodes, 0
        self._tables.fill(asked.levels[0])
        if asked.proxy.first:
            env = PruningEnv(self._tables.at(asked.levels[0]), lambda _: 0.0, task.budgets, metric=asked.metric)
            splits.search.race_against(uniform_plan(env))
        log = Log(task.folder.path / "log.jsonl")

        def told(by: str, seed: int, episode: Episode) -> None:
            nonlocal done
            done += 1
            raced = {"samples": splits.search.samples_of(episode.plan)} if asked.proxy.first else {}
            log.add({"by": by, "seed": seed, **asdict(episode), **raced})
            task.tell(f"{by}, seed {seed}: accuracy {episode.accuracy:.4f}", done, total)

        try:
            return compare(
                asked,
                self._tables.at,
                splits,
                scores=scores,
                losses=losses,
                policy=self._policy,
                folder=task.folder.checkpoints,
                identity=task.identity,
                on_episode=told,
            )
        finally:
            log.close()

    def _scores(self, task: Task) -> Scores:
        """By the run's criterion where it compares units of different groups, else by LAMP."""
        asked = task.settings.criterion
        criterion = asked if CRITERIA[asked].between_groups else "lamp"
        with placed(task.model, task.recipe.device):
            return scores(task.model, self._grouping, criterion, task.data.hold_out()[0], seed=task.recipe.seed)


def outcomes(task: Task, comparison: PlanComparison | None) -> dict[str, str]:
    """Keep in the folder what searches found out beside their plans; their notes for the report."""
    found = comparison.outcomes if comparison else {}
    if found:
        task.folder.write(SEARCHES, {name: outcome.data for name, outcome in found.items()})
    return {name: outcome.note for name, outcome in found.items()}


def _refit(task: Task, held_out: Proxy, small: nn.Module, plan: Choice) -> dict[str, str]:
    """Reconstruct the pruned network where that was asked for; what that brought, for the report."""
    if task.settings.reconstruct == "none":
        return {}
    task.tell("refitting layers whose inputs were cut")
    before = held_out.judge(replica(small))
    refits = held_out.reconstruct(small, plan).values()
    after = held_out.judge(replica(small))
    if not refits:
        return {"reconstruction": "no layer whose inputs were cut is linear in its weights"}
    count = "1 layer" if len(refits) == 1 else f"{len(refits)} layers"
    error = [sum(errors) / len(refits) for errors in zip(*refits, strict=True)]
    return {
        "reconstruction": f"{count} refitted, whose outputs were {100 * error[0]:.1f} % (mean square) from those of the whole "
        f"network and are {100 * error[1]:.1f} % now; accuracy before fine-tuning {100 * before:.2f} % without and "
        f"{100 * after:.2f} % with it, on held-out images"
    }


def held_parts(task: Task) -> tuple[Samples, Samples, Samples]:
    """The held-out samples that searches measure plans on, those for the choice among the best, and for what is reported."""
    asked, (_, held) = task.settings.proxy, task.data.hold_out()
    pool, *judged = (held.subset(part) for part in parts(len(held), max(asked.samples, asked.judged)))
    seen = representative(task.model, pool, asked.samples, task=task.data.task, recipe=task.recipe)
    return seen, judged[0], judged[1]


def parts(held: int, wanted: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of held-out samples from which those for searches are taken, for the choice, and for what is reported.

    Half at most for the searches; what is left is halved. Drawn at random, since folders come class by class.
    """
    drawn = torch.randperm(held, generator=torch.Generator().manual_seed(0))
    searched = min(wanted, max(held // 2, 1))
    rest = drawn[searched:] if held > searched else drawn
    count = min(wanted, max(len(rest) // 2, 1))  # of a single sample left, both are made
    return drawn[:searched].sort().values, rest[:count].sort().values, rest[-count:].sort().values


def grouping_of(task: Task) -> Grouping:
    """What can be pruned of the network, trained or not."""
    asked = task.settings
    task.tell("finding what can be pruned")
    grouping = find_groups(
        task.model,
        task.input_shape,
        streams=asked.streams,
        exclude=asked.exclude,
        round_to=asked.round_to,
        floor_ratio=asked.floor_ratio,
        name=task.name,
    )
    if not grouping.groups:
        streams = [group for group, why in grouping.left_out.items() if why == STREAM]
        others = [f"{group}: {why}" for group, why in grouping.left_out.items() if why != STREAM]
        if streams:
            count = "the group" if len(streams) == 1 else f"the {len(streams)} groups"
            others = [
                f"--streams (streams=True) offers {count} {', '.join(streams[:3])}, which additions tie together",
                *others,
            ]
        reasons = "; ".join(others[:3]) or "it has no layer with channels of its own"
        raise InputError(f"nothing can be pruned of {task.name}: {reasons}.")
    return grouping


def tell_of_training(task: Task) -> None:
    """Say where plans may be compared on samples that the network was trained on, which a module does not tell.

    What `hwflow.train` trains, and files of weights that it writes, say on which data they were trained; for these the
    held-out samples are the same. Of other networks, and other data, nothing is known.
    """
    known, data = trained_on(task.model), task.data
    if known == data.identity or data.held is not None:
        return
    why = "it was trained on other data, or its files were moved since" if known else "hwflow did not train it"
    held = len(data.hold_out()[1])
    task.notify(
        f"plans are compared on {held:,} images held out of the training set of {data.name}, and it is not known whether "
        f"{task.name} was trained on them ({why}). If it was, accuracies of plans come out too high; those before and after, "
        "on the test set, do not. 'hwflow train', and training on Data.hold_out()[0] only, leave these images out; --holdout "
        "(holdout=) names images that it has not seen, for instance test:0.3, a part of the test set."
    )


__all__ = ["ChannelPruning", "grouping_of", "held_parts", "outcomes", "parts", "tell_of_training"]

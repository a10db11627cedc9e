"""`train_policy`: one policy for many networks, accelerators and budgets, in a folder that an interrupted training continues.

config.json      what the training is of: a continued one must be of the same
networks/        weights of networks that came without (NAME.pt), and their measured plans (NAME.json)
checkpoint.pt    the agent's state, no longer needed once policy.pt exists
policy.pt        the policy, with its provenance
"""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hwflow.compression.accuracy import Proxy, ProxySettings
from hwflow.compression.budget import Budget
from hwflow.compression.channels.criteria import CRITERIA, scores
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.folder import CONFIG, read_json, write_json
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.policies.examples import AccuracyTable, Example, Subject, random_wishes
from hwflow.compression.policies.learner import learn
from hwflow.compression.policies.options import PolicyOptions
from hwflow.compression.search.policy import FILE, Policy
from hwflow.compression.settings import Settings
from hwflow.cost.inputs import accelerator_of
from hwflow.cost.session import opened
from hwflow.datasets import Data, load_data
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import dataflow_identity
from hwflow.network.load import load_module
from hwflow.network.replica import replica
from hwflow.progress import Progress, Shown, headed, shown
from hwflow.run_folder import differences, held, other_run
from hwflow.store import Store, key_of
from hwflow.training.checkpoint import digest
from hwflow.training.recipe import Recipe, default_recipe
from hwflow.training.runs import train
from hwflow.training.weights import load_weights
from hwflow.version import __version__

if TYPE_CHECKING:
    from hwflow.cost.inputs import AcceleratorLike

Networks = Sequence[str] | Mapping[str, str | Path | nn.Module | None]
Notify = Callable[[str], None]

_FORMAT = 1
_LOCK = ".lock"
_ASKED_ONCE = ("begun", "command")  # what a continued training keeps from its beginning


def train_policy(
    networks: Networks,
    data: str | Data,
    accelerators: Sequence[AcceleratorLike],
    *,
    output: str | Path,
    options: PolicyOptions | None = None,
    resume: bool = False,
    command: str = "",
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
    **changes: Any,
) -> Policy:
    """Train one policy over several networks, accelerators and budgets, for `hwflow.prune(..., policy=)`.

    Of each network some plans are measured, over all accelerators and budgets; a model of these accuracies rewards the agent
    (`hwflow.compression.policies.examples`).

    Args:
        networks: zoo names or `package.module:callable`s, which are trained first; or a mapping of such names to files of
            weights, or of any names to trained modules.
        data: a name or folder as `load_data` takes it, or a `Data`.
        accelerators: presets, files or `Accelerator`s.
        output: the folder; `policy.pt` in it is the policy.
        options: everything else; `changes` are fields of it with other values.
        resume: go on in a folder where the same training was interrupted, or was shorter (`episodes`); `policy.pt` is that of
            an uninterrupted one.
        command: how this was asked for, for the policy's provenance.
        store, progress, notify: as in `hwflow.prune`.

    Raises:
        InputError: for unknown names, for a network of which nothing can be pruned, where no budget can be reached, and where
            the folder holds something else or another training: what differs.
    """
    asked = replace(options or PolicyOptions(), **_known(changes))
    given = dict.fromkeys(networks) if not isinstance(networks, Mapping) else dict(networks)
    if not given or not accelerators:
        raise InputError("a policy is trained on at least one network and one accelerator; name them.")
    chips = {chip.label: chip for chip in map(accelerator_of, accelerators)}
    loaded = load_data(data) if isinstance(data, str) else data
    modules = {name: _module(name, source, loaded) for name, source in given.items()}
    config = {
        "networks": {name: digest(module) if module_given(given[name]) else None for name, module in modules.items()},
        "data": loaded.name,
        "data_identity": loaded.identity,
        "accelerators": {label: [chip.fingerprint, dataflow_identity(chip)] for label, chip in chips.items()},
        "options": asked.to_data(),
        "versions": {"hwflow": __version__, "torch": torch.__version__},
    }
    place = Path(output)
    with (
        _opened(place, config, command, resume=resume) as begun,
        opened(store, notify) as (cache, tell),
        shown(progress, f"policy for {len(modules)} networks on {len(chips)} chips") as bar,
    ):
        subjects = []
        for name, module in modules.items():
            if not module_given(given[name]):
                _train(name, module, loaded, asked, place, bar)
            subjects.append(_subject(name, module, loaded, chips, asked, cache, bar, tell))
        examples: list[Example] = []
        fits: dict[str, Any] = {}
        for number, subject in enumerate(subjects):
            problems = subject.problems(asked.budgets)
            if not problems:
                raise InputError(
                    f"no budget of {', '.join(f'{share:g}' for share in asked.budgets)} can be reached by {subject.name}: name "
                    "larger ones, lower the floor, or allow the residual streams to be pruned (--streams)."
                )
            plans, found = _measured(subject, problems, asked, number, place / "networks" / f"{_file(subject.name)}.json", bar)
            table = AccuracyTable.fitted(subject, plans, found)
            fits[subject.name] = {"plans": len(plans), "agreement": table.agreement}
            for title, problem in problems:
                _tell(bar, f"preparing {title}")
                examples.append(Example(title, problem, table, [asked.seed, 3, len(examples)]))
        about = {**begun, **config, "machine": platform.machine(), "accuracy_models": fits}
        policy = learn(
            examples,
            asked.episodes,
            asked.learner,
            asked.seed,
            checkpoint=place / "checkpoint.pt",
            identity=key_of(_at_any_length(config), [digest(module) for module in modules.values()]),
            about=about,
            progress=headed(bar, "training the agent"),
        )
        policy.save(place / FILE)
    return replace(policy, name=str(place / FILE))


def module_given(source: Any) -> bool:
    """Whether a network came with weights."""
    return source is not None


def _known(changes: Mapping[str, Any]) -> dict[str, Any]:
    for name in changes:
        if name not in PolicyOptions.__dataclass_fields__:
            raise InputError(
                f"{name!r} is no option of train_policy; there are {', '.join(PolicyOptions.__dataclass_fields__)}."
            )
    return dict(changes)


def _module(name: str, source: str | Path | nn.Module | None, data: Data) -> nn.Module:
    if isinstance(source, nn.Module):
        return replica(source)
    module = load_module(name, num_classes=data.classes, in_channels=data.input_shape[0])
    if source is not None:
        load_weights(source, module)
    return module


def _train(name: str, module: nn.Module, data: Data, asked: PolicyOptions, place: Path, bar: Progress | None) -> None:
    """Fill a network with weights that the folder keeps."""
    file = place / "networks" / f"{_file(name)}.pt"
    if not file.exists():
        changes: dict[str, Any] = {} if asked.epochs is None else {"epochs": asked.epochs}
        recipe = replace(default_recipe(data, module), device="cpu", precision="float32", seed=asked.seed, **changes)
        train(name, data, recipe=recipe, output=file, progress=headed(bar, f"training {name}") or False)
    load_weights(file, module)


def _subject(
    name: str,
    module: nn.Module,
    data: Data,
    chips: Mapping[str, Accelerator],
    asked: PolicyOptions,
    store: Store | None,
    bar: Progress | None,
    tell: Notify,
) -> Subject:
    """A trained network, with the costs of its plans and a way to measure their accuracy."""
    _tell(bar, f"finding what can be pruned of {name}")
    grouping = find_groups(
        module,
        (1, *data.input_shape),
        streams=asked.streams,
        round_to=asked.round_to,
        floor_ratio=asked.floor_ratio,
        name=name,
    )
    if not grouping.groups:
        reasons = "; ".join(f"{group}: {why}" for group, why in list(grouping.left_out.items())[:3])
        raise InputError(f"nothing can be pruned of {name}: {reasons or 'it has no layer with channels of its own'}.")
    costs = {}
    for label, chip in chips.items():
        for metric in asked.metrics:
            settings = Settings(
                levels=(asked.level,), budgets=(Budget(metric, 1.0),), metric=metric, effort=asked.effort, jobs=asked.jobs
            )
            priced = LevelCosts(
                chip, settings, store=store or False, notify=tell, progress=headed(bar, f"costing {name} on {label}")
            )
            tables = PlanTables(grouping, priced)
            tables.fill(asked.level)
            costs[label, metric] = tables.at(asked.level)
    criterion = asked.criterion if CRITERIA[asked.criterion].between_groups else "lamp"
    fit_on, part = data.hold_out()
    drawn = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))[: asked.samples].sort().values
    proxy = Proxy(
        module.eval(),
        grouping,
        fit_on,
        part.subset(drawn),
        ProxySettings(samples=asked.samples, batches=2),
        Recipe(device="cpu", precision="float32").resolved(),
        data.task,
        store,
        asked.criterion,
    )
    found = scores(module, grouping, criterion, fit_on, seed=asked.seed)
    return Subject(name, grouping.groups, found, costs, proxy)


def _measured(
    subject: Subject, problems: Sequence[Any], asked: PolicyOptions, number: int, file: Path, bar: Progress | None
) -> tuple[list[dict[str, int]], list[float]]:
    """Random plans of a network over all its problems, the first one unpruned, and their accuracies; kept in a file."""
    known = read_json(file) if file.exists() else []
    for count in range(len(known), asked.plans):
        generator = np.random.default_rng([asked.seed, 0, number, count])
        _, problem = problems[int(generator.integers(len(problems)))]
        plan = problem.project(random_wishes(generator, len(subject.groups)))
        if count == 0:
            plan = problem.costs.plan(problem.costs.full)
        known.append({"plan": plan, "accuracy": subject.accuracy(plan)})
        write_json(file, known)
        if bar is not None:
            bar(count + 1, asked.plans, f"measuring plans of {subject.name}")
    return [one["plan"] for one in known[: asked.plans]], [one["accuracy"] for one in known[: asked.plans]]


@contextlib.contextmanager
def _opened(place: Path, config: Mapping[str, Any], command: str, *, resume: bool) -> Iterator[dict[str, Any]]:
    """Begin, or go on where the same training was interrupted; when and how it was begun."""
    file = place / CONFIG
    now = json.loads(json.dumps({"format": _FORMAT, **config}))
    asked = now["options"]
    begun: dict[str, Any] = {"begun": datetime.date.today().isoformat(), "command": command}
    if file.exists():
        if not resume:
            raise InputError(f"{place} holds a policy's training already: --resume continues it; or name another folder.")
        before = read_json(file)
        try:
            first, longer = {n: before.pop(n) for n in _ASKED_ONCE}, before["options"]["episodes"] < asked["episodes"]
        except (AttributeError, KeyError, TypeError):
            raise InputError(f"{file} is damaged, or of no policy's training: name another folder.") from None
        begun = first | ({"command": command} if longer and command else {})
        if changed := differences(*(map(_at_any_length, (before, now)) if longer else (before, now))):
            raise other_run(place, "training", changed)
        write_json(file, {**now, **begun})
    elif place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError(f"{place} is no folder of a policy's training and is not empty: name another, or a new one.")
    else:
        (place / "networks").mkdir(parents=True, exist_ok=True)
        write_json(file, {**now, **begun})
    with held(place, place / _LOCK, "prune"):
        yield begun


def _at_any_length(config: Mapping[str, Any]) -> dict[str, Any]:
    """A training's config without the number of episodes, by which a longer one differs from the shorter that it continues."""
    return {**config, "options": {name: value for name, value in config["options"].items() if name != "episodes"}}


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)


def _tell(bar: Progress | None, text: str) -> None:
    if bar is not None:
        bar(0, 0, text)


__all__ = ["train_policy"]

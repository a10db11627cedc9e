"""`prune`: from a network, data, an accelerator and a budget to a smaller network, in a folder that can be continued."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hwflow.compression.accuracy import Proxy
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.fine_tuning import default_tuning, export_onnx
from hwflow.compression.folder import Folder, Log, plan_from_file, plan_to_data
from hwflow.compression.level_costs import Pricing
from hwflow.compression.result import PruneResult
from hwflow.compression.search.baselines import uniform_plan
from hwflow.compression.search.comparison import Contest, hold
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.search import Episode
from hwflow.compression.settings import Settings, changed, settings_of
from hwflow.cost.inputs import accelerator_of
from hwflow.cost.options import Options, check_used
from hwflow.cost.session import opened
from hwflow.datasets import Data, load_data
from hwflow.errors import HwflowError, InputError, MissingDependency
from hwflow.files import open_input
from hwflow.hardware.accelerator import Accelerator
from hwflow.network.load import load_module
from hwflow.network.replica import replica
from hwflow.progress import Progress, Shown, shown
from hwflow.reporting import write_report
from hwflow.results import NetworkCost
from hwflow.store import Store, key_of
from hwflow.training.checkpoint import digest
from hwflow.training.loop import fit
from hwflow.training.recipe import Recipe
from hwflow.training.runs import train
from hwflow.training.score import score
from hwflow.training.weights import check_values, load_weights, save_weights, trained_on
from hwflow.version import __version__

if TYPE_CHECKING:
    from hwflow.cost.inputs import AcceleratorLike

Notify = Callable[[str], None]


def prune(
    model: str | nn.Module,
    data: str | Data,
    accelerator: AcceleratorLike | None = None,
    *,
    level: str | Sequence[str] = "mid",
    metric: str = "energy",
    budget: float | str | Mapping[str, float] | None = 0.5,
    seed: int | Sequence[int] = 0,
    plan: str | Path | Mapping[str, int] | None = None,
    weights: str | Path | None = None,
    training: Recipe | None = None,
    settings: Settings | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
    **changes: Any,
) -> PruneResult:
    """Search a plan within a budget, prune the network to it, fine-tune it, and cost it at every level that answers.

    Args:
        model: a trained module; or a zoo name or `package.module:callable`, which is trained first unless `weights` are given.
        data: a name or folder as `load_data` takes it, or a `Data`. Plans are judged on a part of the training samples that
            `hwflow.train` holds out; the test samples are used for the two scores of the result only.
        accelerator: None at coarse only.
        level: where plans are costed; several: the search's, then those at which the best plans are ranked again.
        metric: what a single budget is of: energy, latency, edp, macs, params, dram_bytes or
            peak_activation_bytes.
        budget: at most this share of the unpruned network's metric; or shares by metric, as `{"energy": 0.5, "latency": 0.6}`
            or `"energy=0.5,latency=0.6"`; None for AMC's soft budget.
        seed: of the agent and of the random plans; several give the comparison its spread, the first one's plan is applied.
        plan: a plan to apply instead of a search: channels by group, a file or folder that holds one, or `"uniform"`.
        weights: a file, from `hwflow train`.
        training: how a network without weights is trained; by default `hwflow.training.default_recipe`.
        settings: everything else, and instead of `level`, `metric`, `budget` and `seed` where given.
        output: the folder to write; see `hwflow.compression.folder`. Without one nothing is kept but the store's answers.
        resume: go on in a folder where the same run was interrupted; the result is that of an uninterrupted one.
        store: for costs and for accuracies of plans, as in `hwflow.estimate`.
        progress: told what is done of the work at hand; None shows it in a terminal and in a notebook, False nowhere.
        notify: told in a sentence what a user should know.
        changes: fields of the settings with other values, and of the fine-tuning's recipe: `episodes=60, epochs=10`.

    Raises:
        InputError: where names, sizes, the plan or the folder cannot be used, or a budget cannot be reached: what can.
        ImportFailed: where the network cannot be traced.
        Diverged: where the loss of a training is not finite; the last whole epoch is kept in the folder.
        NotMappable, ToolMissing, ToolError: as `hwflow.estimate`.
    """
    loaded = load_data(data) if isinstance(data, str) else data
    asked = settings or settings_of(level, metric, budget, seed)
    asked = changed(asked, changes, lambda: default_tuning(loaded, _module(model, loaded)))
    chip = None if accelerator is None else accelerator_of(accelerator)
    if chip is None:
        check_used(Options("coarse", asked.dataflow, "edp", asked.energy, asked.mapper, asked.engine, asked.effort))
    with (
        _place(output) as place,
        opened(store, notify) as (cache, tell),
        shown(progress, f"{_name(model)} on {loaded.name}") as bar,
    ):
        folder = Folder(place)
        config = _config(model, loaded, chip, asked, plan, weights, training)
        with folder.opened(config, resume=resume):
            for samples in (loaded.train, loaded.test):  # a bad file shows now, not hours later
                samples.check()
            run = _Run(folder, asked, loaded, cache, tell, bar)
            whole = run.made(model, weights)
            pricing = run.pricing(whole, _name(model), chip)
            given = run.given(plan, pricing)
            if isinstance(model, str) and weights is None:
                run.train(model, whole, training)
            if given is None:
                run.tell_of_training(whole, _name(model))
            return run.pruned(whole, pricing, given, key_of(config, digest(whole)))


class _Run:
    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        data: Data,
        store: Store | None,
        notify: Notify,
        progress: Progress | None,
    ) -> None:
        self.folder, self.settings, self.data = folder, settings, data
        self.store, self.notify, self.progress = store, notify, progress

    def made(self, model: str | nn.Module, weights: str | Path | None) -> nn.Module:
        """The unpruned network, on the CPU; with its weights where they are there."""
        made = replica(model) if isinstance(model, nn.Module) else _module(model, self.data)
        if weights is not None:
            load_weights(weights, made)
        if isinstance(model, nn.Module):
            check_values(made, type(model).__name__)
        return made

    def pricing(self, whole: nn.Module, name: str, accelerator: Accelerator | None) -> Pricing:
        """What can be pruned of the network, trained or not, and what that costs."""
        asked = self.settings
        self._tell(0, 0, "finding what can be pruned")
        grouping = find_groups(
            whole,
            (1, *self.data.input_shape),
            streams=asked.streams,
            exclude=asked.exclude,
            round_to=asked.round_to,
            floor_ratio=asked.floor_ratio,
            name=name,
        )
        if not grouping.groups:
            reasons = "; ".join(f"{group}: {why}" for group, why in list(grouping.left_out.items())[:3])
            raise InputError(f"nothing can be pruned of {name}: {reasons or 'it has no layer with channels of its own'}.")
        return Pricing(
            grouping,
            accelerator,
            asked,
            store=self.store or False,
            notify=self.notify,
            progress=self._stage("costing widths"),
        )

    def given(self, plan: str | Path | Mapping[str, int] | None, pricing: Pricing) -> dict[str, int] | None:
        """The plan where none is searched. What cannot be done shows here, before hours of training."""
        asked, grouping = self.settings, pricing.grouping
        if plan is not None and plan != "uniform":
            wanted = plan if isinstance(plan, Mapping) else plan_from_file(Path(plan))
            return dict(zip((g.name for g in grouping.groups), grouping.widths_of(wanted), strict=True))
        levels = asked.levels if plan is None else asked.levels[:1]
        envs = [PruningEnv(pricing.at(level), lambda _: 0.0, asked.budgets, metric=asked.metric) for level in levels]
        return None if plan is None else uniform_plan(envs[0])

    def train(self, model: str, made: nn.Module, recipe: Recipe | None) -> None:
        """Fill the network with weights that the folder keeps."""
        file = self.folder.path / "base.pt"
        if not file.exists():
            train(model, self.data, recipe=recipe, output=file, progress=self._stage("training") or False)
        load_weights(file, made)

    def tell_of_training(self, whole: nn.Module, name: str) -> None:
        """Say where plans may be judged on samples that the network has learnt from: nothing in a module tells which it has.

        What `hwflow.train` trains, and files of weights that it writes, say on which data they were trained; for these the
        held-out samples are the same. Of other networks, and other data, nobody knows.
        """
        known, data = trained_on(whole), self.data
        if known == data.identity:
            return
        why = "it was trained on other data, or its files were moved since" if known else "hwflow did not train it"
        held = len(data.hold_out()[1])
        self.notify(
            f"plans are compared on {held:,} images held out of the training set of {data.name}, and it is not known whether "
            f"{name} was trained on them ({why}). If it was, accuracies of plans come out too high; those before and after, on "
            "the test set, do not. 'hwflow train', and training on Data.hold_out()[0] only, leave these images out."
        )

    def pruned(self, whole: nn.Module, pricing: Pricing, given: dict[str, int] | None, identity: str) -> PruneResult:
        """All that comes after the unpruned network is there."""
        asked, data, grouping = self.settings, self.data, pricing.grouping
        tuning = (asked.tuning or default_tuning(data, whole)).resolved()
        fit_on, held = data.hold_out()
        searched, judged = _halves(len(held), asked.proxy.samples)
        proxy, judge = (
            Proxy(whole, grouping, fit_on, held.subset(part), asked.proxy, tuning, data.task, self.store)
            for part in (searched, judged)
        )
        contest = self._contest(pricing, proxy, judge, identity) if given is None else None
        chosen = contest.plan if contest is not None else given
        assert chosen is not None
        self.folder.write("plan.json", plan_to_data(grouping, chosen))
        small = proxy.pruned(chosen)
        history = fit(
            small,
            fit_on,
            held,
            tuning,
            task=data.task,
            teacher=whole if tuning.distillation else None,
            checkpoint=self.folder.checkpoints / "tuning.pt",
            progress=self._stage("fine-tuning"),
        )
        self._tell(0, 0, "judging on the test set")
        before, after = (
            score(m, data.test, task=data.task, device=tuning.device, precision=tuning.precision) for m in (whole, small)
        )
        full, missing = pricing.networks(grouping.network)
        less, also = pricing.networks(grouping.network_for(chosen))
        missing |= also
        costs = {level: (full[level], less[level]) for level in full if level in less}
        whole_again, small_again = (pricing.remapped(n) for n in (grouping.network, grouping.network_for(chosen)))
        remapped = {name: (whole_again[name], small_again[name]) for name in whole_again if name in small_again}
        result = PruneResult(
            small.eval(),
            chosen,
            grouping,
            contest,
            before,
            after,
            costs,
            missing,
            history,
            asked.mapping_objective,
            remapped,
        )
        self._write(result, pricing)
        return result

    def _contest(self, pricing: Pricing, proxy: Proxy, judge: Proxy, identity: str) -> Contest:
        asked = self.settings
        searches = 2 if {b.metric for b in asked.budgets} == {"macs"} else 3
        total, done = searches * len(asked.seeds) * asked.episodes, 0
        log = Log(self.folder.path / "log.jsonl")

        def told(by: str, seed: int, episode: Episode) -> None:
            nonlocal done
            done += 1
            log.add({"by": by, "seed": seed, **asdict(episode)})
            self._tell(done, total, f"{by}, seed {seed}: accuracy {episode.accuracy:.4f}")

        try:
            return hold(
                asked,
                pricing.at,
                proxy,
                judge,
                folder=self.folder.checkpoints,
                identity=identity,
                on_episode=told,
            )
        finally:
            log.close()

    def _write(self, result: PruneResult, pricing: Pricing) -> None:
        """Everything that a reader of the folder wants; `metrics.json` says that the run is complete, and can be reported."""
        folder, contest = self.folder, result.contest
        if contest is not None:
            seconds = {**{f"tables at {level}": s for level, s in pricing.seconds.items()}, **contest.seconds}
            folder.write("comparison.json", {"candidates": contest.candidates, "refined": contest.refined})
            folder.write("times.json", {"seconds": seconds})
        folder.write("tuning.json", {"epochs": result.tuning.epochs, "kept": result.tuning.kept})
        folder.write(
            "costs.json",
            {level: {"before": _timeless(pair[0]), "after": _timeless(pair[1])} for level, pair in result.costs.items()},
        )
        about = {"plan": dict(result.plan), "accuracy": result.after.accuracy, "data_identity": trained_on(result.model) or ""}
        save_weights(folder.path / "model.pt", result.model, about)
        try:
            self._tell(0, 0, "exporting to ONNX")
            export_onnx(result.model, self.data.input_shape, folder.path / "model.onnx")
        except HwflowError as error:
            self.notify(f"model.onnx was not written: {error}")
        folder.write("metrics.json", result.metrics())
        try:
            write_report(folder.path)
        except MissingDependency as error:
            self.notify(f"report.html was not written: {error}")

    def _stage(self, stage: str) -> Progress | None:
        if self.progress is None:
            return None
        return lambda done, total, text: self._tell(done, total, f"{stage}: {text}" if text else stage)

    def _tell(self, done: int, total: int, text: str) -> None:
        if self.progress is not None:
            self.progress(done, total, text)


def _module(model: str | nn.Module, data: Data) -> nn.Module:
    """The network, made for the data where it is a name."""
    if isinstance(model, nn.Module):
        return model
    return load_module(model, num_classes=data.classes, in_channels=data.input_shape[0])


def _timeless(cost: NetworkCost) -> dict[str, Any]:
    """A network's costs without how long they took, which differs between equal runs."""
    content = cost.to_dict()
    for row in content["layers"]:
        del row["seconds"]
    return content


def _name(model: str | nn.Module) -> str:
    return model if isinstance(model, str) else type(model).__name__


def _config(
    model: str | nn.Module,
    data: Data,
    accelerator: Accelerator | None,
    settings: Settings,
    plan: str | Path | Mapping[str, int] | None,
    weights: str | Path | None,
    training: Recipe | None,
) -> dict[str, Any]:
    """What a run is of and what it is asked for; two runs with the same are the same."""
    module = isinstance(model, nn.Module)
    return {
        "network": _name(model),
        "module": module,
        "weights": key_of(_hash(weights)) if weights is not None else digest(model) if isinstance(model, nn.Module) else None,
        "training": None if training is None else asdict(training),
        "data": data.name,
        "data_identity": data.identity,
        "classes": data.classes,
        "input_shape": list(data.input_shape),
        "task": data.task,
        "accelerator": None if accelerator is None else accelerator.label,
        "accelerator_identity": None if accelerator is None else accelerator.fingerprint,
        "plan": dict(plan) if isinstance(plan, Mapping) else None if plan is None else str(plan),
        "settings": settings.to_data(),
        "versions": {"hwflow": __version__, "torch": torch.__version__},
    }


def _hash(path: str | Path) -> str:
    with open_input(path, "the weights", "weights") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _halves(held: int, wanted: int) -> tuple[Tensor, Tensor]:
    """Positions of the held-out samples that searches see, and of those that judge: as many, and none of both.

    Drawn at random, since folders come class by class.
    """
    count = min(wanted, held // 2)
    drawn = torch.randperm(held, generator=torch.Generator().manual_seed(0))
    return drawn[:count].sort().values, drawn[count : 2 * count].sort().values


@contextlib.contextmanager
def _place(output: str | Path | None) -> Iterator[Path]:
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="hwflow-prune-") as folder:
        yield Path(folder)

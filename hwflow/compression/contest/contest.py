"""`compress` with one method, and `compress_many`: a contest of several in one folder, which a killed process continues.

contest.json            what the contest is of: a continued one must be of the same
base.pt                 the unpruned network, where the contest trained it
runs/BUDGET/METHOD-seedS/   one compression run each, as `hwflow.prune` leaves it
results.json            one record a run, written after each
results.csv, results.parquet   the same as a table, costs in columns
report.html
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hwflow.compression.budget import Budget, amount_of, parse_budgets
from hwflow.compression.contest.entries import REFERENCE, SEARCH, Entry, entries
from hwflow.compression.fine_tuning import default_tuning
from hwflow.compression.folder import read_json, records_dataflow, write_json
from hwflow.compression.method import Method
from hwflow.compression.registry import method_name, method_named
from hwflow.compression.result import PruneResult
from hwflow.compression.run import check, prune
from hwflow.compression.search.policy import SHIPPED
from hwflow.compression.settings import Settings, changed
from hwflow.cost.backend import backend_of
from hwflow.cost.inputs import accelerator_of
from hwflow.datasets import Data, load_data
from hwflow.datasets.holdout import with_holdout
from hwflow.datasets.samples import Samples
from hwflow.errors import HwflowError, InputError, MissingDependency
from hwflow.files import open_input, write_bytes, write_text
from hwflow.hardware.dataflow import dataflow_identity
from hwflow.network.load import load_module
from hwflow.network.replica import replica
from hwflow.progress import Shown, shown
from hwflow.reporting import write_report
from hwflow.reporting.compression.contest_records import CONTEST, RESULTS
from hwflow.run_folder import differences, held, other_run
from hwflow.store import Store, key_of
from hwflow.training.checkpoint import digest
from hwflow.training.recipe import Recipe
from hwflow.training.runs import train
from hwflow.training.weights import load_weights
from hwflow.types import LevelName
from hwflow.version import __version__

if TYPE_CHECKING:
    import pandas

    from hwflow.cost.inputs import AcceleratorLike

Notify = Callable[[str], None]

_FORMAT = 1
_LOCK = ".lock"
_EXTENDED = ("methods", "seeds", "budgets")  # what a contest that goes on may have more of
_METRICS = ("energy_pj", "energy_normalized", "latency_s", "macs", "params", "dram_bytes")


@dataclass(frozen=True)
class Contest:
    """Several methods, seeds and budgets on the same work.

    Attributes:
        folder: where everything is.
        records: one for each run, as in `results.json`; those that failed say why.
    """

    folder: Path
    records: tuple[Mapping[str, Any], ...]

    def to_frame(self) -> pandas.DataFrame:
        """One row a run, costs as shares in columns such as `mid_energy_pj`."""
        import pandas as pd

        return pd.DataFrame([_flat(record) for record in self.records])

    @property
    def failed(self) -> dict[str, str]:
        """Why runs failed, by folder."""
        return {str(record["folder"]): str(record["failed"]) for record in self.records if record["failed"]}


def compress(
    model: str | nn.Module,
    data: str | Data,
    accelerator: AcceleratorLike | None = None,
    *,
    method: str,
    allocate: str | Path | Mapping[str, int] = "uniform",
    **options: Any,
) -> PruneResult:
    """Compress a network with one method; `hwflow.prune` with the method and its allocation in front.

    Args:
        model, data, accelerator: as in `hwflow.prune`.
        method: a name of `hwflow.pruning.METHODS`; `agent` is another name for `channels`.
        allocate: how many channels each group keeps: a name of `hwflow.compression.allocation.ALLOCATIONS`, a plan's file or
            folder, or channels by group. Budgets do not apply to a plan that is given.
        options: as in `hwflow.prune`: `level`, `metric`, `budget`, `seed`, `weights`, `output`, `epochs`, `ramp_steps`, ...

    Raises:
        InputError: as `hwflow.prune`; for an allocation for another network, for schedules with too few epochs, and for an
            allocation beside a method that chooses widths itself.
    """
    name = method_name(method)
    made = method_named(name)
    if name == SEARCH or getattr(made, "allocation", None) or not made.follows_allocation:
        if allocate != "uniform":
            raise InputError(f"the method {method} chooses how many channels are kept itself; leave out allocate={allocate!r}.")
        return prune(model, data, accelerator, method=name, **options)
    if isinstance(allocate, Mapping):
        return prune(model, data, accelerator, method=name, plan=allocate, **options)
    return prune(model, data, accelerator, method=name, allocate=str(allocate), **options)


def compress_many(
    model: str | nn.Module,
    data: str | Data,
    accelerator: AcceleratorLike | None = None,
    *,
    methods: Sequence[str],
    output: str | Path,
    allocate: str = "uniform",
    budgets: Sequence[float | str] = (0.5,),
    seeds: Sequence[int] = (0,),
    level: LevelName = "mid",
    metric: str = "energy",
    weights: str | Path | None = None,
    training: Recipe | None = None,
    holdout: str | Samples | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
    **changes: Any,
) -> Contest:
    """A contest: every method with every seed and budget, from the same weights and for the same number of epochs.

    Always in are the unpruned network, uniform pruning in one step, hwflow's search, and the small uniform network from fresh
    weights, which trains for as many epochs as the unpruned one (where that is known) and the methods together. What cannot
    work (a budget out of reach, at the first budget too few epochs for a method's schedule) is refused before anything is
    trained; a run that fails later is recorded, and the others go on.

    Args:
        model, data, accelerator, weights, training, holdout, store, progress, notify: as in `hwflow.prune`.
        methods: names of `hwflow.pruning.METHODS`.
        output: the folder.
        allocate: as in `compress`, of the methods that are named.
        budgets: each is a share of `metric`, or a text such as `"energy=0.5,latency=0.6"` of several that hold together.
        seeds: of searches, orders of samples and fresh weights.
        settings: everything else, as in `hwflow.prune`; `changes` are fields of it with other values.
        resume: go on in a folder of the same contest; finished runs are kept, failed ones repeated. Methods, seeds and budgets
            may be added.

    Raises:
        InputError: as `compress`, and where the folder holds another contest: what differs.
    """
    loaded = load_data(data) if isinstance(data, str) else data
    loaded = loaded if holdout is None else with_holdout(loaded, holdout)
    asked = settings or Settings(levels=(level,), metric=metric)
    if settings is None and not {"searcher", "policy"} & set(changes):
        asked = replace(asked, policy=SHIPPED)  # as `hwflow.prune` without settings
    module = model if isinstance(model, nn.Module) else _made(model, loaded)
    asked = changed(asked, changes, lambda: default_tuning(loaded, module))
    asked = replace(asked, tuning=asked.tuning or default_tuning(loaded, module))
    wanted = [parse_budgets(str(b), asked.metric) for b in budgets]
    runs = entries([method_name(name) for name in methods], allocate, tuple(seeds), wanted)
    chip = None if accelerator is None else accelerator_of(accelerator)
    place = Path(output)
    config = {
        "format": _FORMAT,
        "network": model if isinstance(model, str) else type(model).__name__,
        "weights": digest(model) if isinstance(model, nn.Module) else None if weights is None else key_of(_bytes(weights)),
        "training": None if training is None else asdict(training),
        "data": loaded.name,
        "data_identity": loaded.identity,
        "accelerator": None if chip is None else chip.label,
        "accelerator_identity": None if chip is None else chip.fingerprint,
        "dataflow": dataflow_identity(chip, asked.dataflow) if any(backend_of(name).maps for name in asked.levels) else None,
        "level": asked.levels[-1],
        "methods": list(dict.fromkeys(run.name for run in runs)),
        "reference": REFERENCE,
        "seeds": list(seeds),
        "budgets": list(dict.fromkeys(run.budget for run in runs)),
        "epochs": asked.tuning.epochs if asked.tuning else 0,
        **({} if allocate == "uniform" else {"allocate": allocate}),
        "settings": asked.to_data(),
        "versions": {"hwflow": __version__, "torch": torch.__version__},
    }
    if resume and not records_dataflow(place, CONTEST):
        del config["dataflow"]
    with _opened(place, config, resume=resume), shown(progress, f"contest of {len(runs)} runs") as bar:
        done = {run: place / run.folder for run in runs if (place / run.folder / "metrics.json").exists()}
        first = {(r.name, r.budget): r for r in reversed(runs) if r not in done}
        for run in (r for r in first.values() if r.name == REFERENCE or r.budget == runs[0].budget):
            if bar is not None:
                bar(0, 0, f"checking {run.name} at {run.budget}")
            check(model, loaded, chip, run.settings(asked, asked.tuning), store=store, notify=notify)
        base = _base(model, loaded, weights, training, place, bar)
        scratch = _scratch(asked, module, base)
        records: dict[Entry, dict[str, Any]] = {run: _record(run, folder) for run, folder in done.items()}
        for number, run in enumerate(runs, start=1):
            if run not in done:
                if bar is not None:
                    bar(number - 1, len(runs), f"{run.name}, seed {run.seed}, {run.budget}")
                records[run] = _run(
                    run, model, loaded, chip, base, run.settings(asked, scratch), place, store=store, bar=bar, notify=notify
                )
            _write(place, [records[one] for one in runs if one in records])
        ordered = tuple(records[run] for run in runs)
        try:
            write_report(place)
        except (MissingDependency, InputError) as error:
            if notify is not None:
                notify(f"report.html was not written: {error}")
    return Contest(place, ordered)


def _run(
    run: Entry,
    model: str | nn.Module,
    data: Data,
    chip: Any,
    base: Path | None,
    settings: Settings,
    place: Path,
    *,
    store: Store | bool,
    bar: Any,
    notify: Notify | None,
) -> dict[str, Any]:
    """One run, begun or continued; its record, which says why where it fails."""
    folder = place / run.folder
    try:
        prune(
            model,
            data,
            chip,
            settings=settings,
            weights=base,
            output=folder,
            resume=(folder / "config.json").exists(),
            store=store,
            progress=bar or False,
            notify=notify,
        )
    except HwflowError as error:
        if notify is not None:
            notify(f"{run.name}, seed {run.seed}, {run.budget} failed: {error}")
        return {**_about(run), "failed": str(error)}
    return _record(run, folder)


def _about(run: Entry) -> dict[str, Any]:
    method: Method = method_named(run.method)
    own = {"name": run.name, "method": run.method, "about": method.about, "needs": method.needs}
    return {**own, "seed": run.seed, "budget": run.budget, "folder": run.folder, "failed": ""}


def _record(run: Entry, folder: Path) -> dict[str, Any]:
    """What a finished run's files say."""
    metrics = read_json(folder / "metrics.json")
    level = read_json(folder / "config.json")["settings"]["levels"][-1]
    before, after = metrics["before"], metrics["after"]
    file = folder / "times.json"
    times = read_json(file) if file.exists() else {}
    return {
        **_about(run),
        "before": before["accuracy"],
        "accuracy": after["accuracy"],
        "shares": cost_shares(before, after),
        "keeps": all(_holds(budget, before[level], after[level]) for budget in run.budgets),
        "images_trained": times.get("images_trained", 0),
        "images_evaluated": times.get("images_evaluated", 0),
        "seconds": times.get("total", 0.0),
    }


def cost_shares(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What is left of each metric at each level that both have totals of; other entries are passed over."""
    both = {name: (before[name], own) for name, own in after.items() if isinstance(before.get(name), dict)}
    return {
        name: {m: own[m] / old[m] for m in _METRICS if own.get(m) is not None and old.get(m)}
        for name, (old, own) in both.items()
    }


def _holds(budget: Budget, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return budget.held(*(amount_of(totals, budget.metric) for totals in (before, after)))


def _write(place: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """The results so far; as tables, too, where pandas is installed."""
    write_json(place / RESULTS, list(records))
    try:
        import pandas as pd
    except ImportError:
        return
    frame = pd.DataFrame([_flat(record) for record in records])
    write_text(place / "results.csv", frame.to_csv(index=False, lineterminator="\n"))
    with contextlib.suppress(ImportError):
        write_bytes(place / "results.parquet", frame.to_parquet(index=False))


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    shares = record.get("shares", {})
    own = {name: value for name, value in record.items() if name != "shares"}
    return own | {f"{level}_{metric}": share for level, found in shares.items() for metric, share in found.items()}


# What all runs share -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(place: Path, config: dict[str, Any], *, resume: bool) -> Iterator[None]:
    """Begin, or go on where the same contest was interrupted."""
    file, plain = place / CONTEST, json.loads(json.dumps(config))
    begun = file.exists() and {entry.name for entry in place.iterdir()} - {CONTEST, _LOCK}  # else nothing is lost
    if begun:
        if not resume:
            raise InputError(f"{place} holds a contest already: --resume continues it; or name another folder.")
        before = read_json(file)
        longer = {name: plain[name] for name in _EXTENDED if set(before.get(name, ())) <= set(plain[name])}
        same = longer | {"epochs": plain["epochs"]}  # which the settings say, too
        if parts := differences({**before, **same}, plain):
            lost = any(part.startswith(_EXTENDED) for part in parts)
            raise other_run(place, "contest", parts, "Methods, seeds and budgets can only be added." if lost else "")
        if longer:
            write_json(file, plain)
    elif not file.exists() and place.exists() and (not place.is_dir() or any(entry.name != _LOCK for entry in place.iterdir())):
        raise InputError(f"{place} is no contest's folder and is not empty: name another, or a new one.")
    else:
        write_json(file, plain)
    with held(place, place / _LOCK, "prune"):
        yield


def _base(
    model: str | nn.Module, data: Data, weights: str | Path | None, training: Recipe | None, place: Path, bar: Any
) -> Path | None:
    """The weights that all runs start from; None where a module has them."""
    if isinstance(model, nn.Module) or weights is not None:
        return None if weights is None else Path(weights)
    file = place / "base.pt"
    if not file.exists():
        train(model, data, recipe=training, output=file, progress=bar or False)
    return file


def _scratch(asked: Settings, model: nn.Module, base: Path | None) -> Recipe:
    """The recipe of the small network from fresh weights: as many epochs as the unpruned network and a method have together."""
    assert asked.tuning is not None
    epochs = asked.tuning.epochs
    if base is not None:
        epochs += len(load_weights(base, replica(model)).get("epochs", ()))
    return replace(asked.tuning, epochs=epochs)


def _made(name: str, data: Data) -> nn.Module:
    return load_module(name, num_classes=data.classes, in_channels=data.input_shape[0])


def _bytes(path: str | Path) -> str:
    with open_input(path, "the weights", "weights") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


__all__ = ["Contest", "compress", "compress_many", "cost_shares"]

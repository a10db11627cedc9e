"""How good are the plans of each searcher, before fine-tuning, at equal numbers of measured plans?

    python -m benchmarks.plans [--budgets energy=0.25] [--chips eyeriss] [--networks resnet20] [--seeds 3] [--evaluations 50]
                               [--searchers all] [--streams] [--table]

Fashion-MNIST at 14 x 14 pixels; the network is trained once, on 7,200 images. Searches see 800 others.
Plans are judged on 3,000 test images by which nothing is chosen: of each search the best plan by its own measurements, after
some numbers of them. What is measured once, by whatever search, is known to all of them through the store and counts for each.
Every search adds a line to a file of records, and what is recorded is not done again, so that hours of work can be spread over
many calls. At the end comes a table for each network, chip and budget, which `--table` prints alone: the mean and the standard
deviation over seeds, and the difference to the best searcher, paired by seed, with its standard error. One whose difference
is within twice its standard error is not told apart.

`policy` is the agent that starts from the policy shipped with hwflow, or from that of --policy; what it plans before anything
is measured is recorded as after 0. It is meant for few evaluations: rows of it with fewer than the table's bear their number.
`tp-lamp`, `tp-l1` and `tp-group-l2` are torch-pruning's plans by its own importances (`benchmarks.torch_pruning_plans`), judged
as the others are; it leaves residual streams whole, so that some budgets are out of its reach, which is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.reduced import reduced_data, trained
from benchmarks.torch_pruning_plans import IMPORTANCES, cut_plan
from hwflow.compression.accuracy import Proxy, ProxySettings
from hwflow.compression.budget import parse_budgets
from hwflow.compression.channels.criteria import scores
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.plan_tables import PlanTables
from hwflow.compression.level_costs import LevelCosts
from hwflow.compression.search.comparison import title_of
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.policy import SHIPPED, Policy
from hwflow.compression.search.policy_searcher import PolicySearcher
from hwflow.compression.search.refinement import shares_of
from hwflow.compression.search.registry import SEARCHERS, WITHOUT_EVALUATIONS, searcher_named
from hwflow.compression.search.search import VERSION, Episode, best_of, explore
from hwflow.compression.settings import Settings
from hwflow.datasets import Data
from hwflow.hardware.accelerator import Accelerator
from hwflow.store import Store
from hwflow.training.recipe import Recipe

RECORDS = Path(__file__).parent / "results" / "plans.jsonl"
IMAGES, EPOCHS, JUDGED = 8000, 8, 3000
PROXY = ProxySettings(samples=800)
POLICY = "policy"
ALONE = (*WITHOUT_EVALUATIONS, *IMPORTANCES)
"""Those that propose one plan, whatever the seed."""
MILESTONES = (10, 25, 50, 100, 200)
ROUND_TO = 4  # steps of 8 leave a layer of 16 channels two widths

Record = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What searchers are compared on."""

    network: str
    chip: str
    budget: str
    streams: bool

    @property
    def title(self) -> str:
        """For the table's heading."""
        return f"{self.network} on {self.chip}, {self.budget}{', streams' if self.streams else ''}"

    def holds(self, record: Record) -> bool:
        """Whether a record is of this."""
        return (record["network"], record["chip"], record["budget"], record["streams"]) == (
            self.network,
            self.chip,
            self.budget,
            self.streams,
        )


@dataclass(frozen=True)
class Bed:
    """A problem with the accuracies for searches, and those that plans are judged by."""

    env: PruningEnv
    judge: Proxy
    module: nn.Module
    input_shape: tuple[int, ...]

    @classmethod
    def of(cls, setup: Setup, data: Data, folder: Path, store: Store) -> Bed:
        """The network is trained where that has not been done."""
        module = trained(data, 0, EPOCHS, folder, setup.network)
        grouping = find_groups(module, (1, *data.input_shape), streams=setup.streams, round_to=ROUND_TO, name=setup.network)
        budgets = parse_budgets(setup.budget, "energy")
        settings = Settings(budgets=budgets, round_to=ROUND_TO, streams=setup.streams)
        costs = LevelCosts(Accelerator.load(setup.chip), settings, store=store, notify=print, progress=None)
        fit_on, held = data.hold_out()
        recipe = Recipe(precision="float32", device="cpu").resolved()
        judged = data.test.subset(range(JUDGED))
        proxy, judge = (Proxy(module, grouping, fit_on, part, PROXY, recipe, store=store) for part in (held, judged))
        importance = scores(module, grouping, "lamp")
        tables = PlanTables(grouping, costs)
        tables.fill("mid")
        return cls(PruningEnv(tables.at("mid"), proxy, budgets, scores=importance), judge, module, (1, *data.input_shape))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="resnet20", help="names, with commas between them")
    parser.add_argument("--chips", default="eyeriss", help="presets")
    parser.add_argument("--budgets", nargs="*", default=["energy=0.25"], help="each as --budget of 'hwflow prune'")
    parser.add_argument("--streams", action="store_true", help="prune residual streams, too")
    parser.add_argument("--searchers", default="all", help="names, or all")
    parser.add_argument("--policy", default=SHIPPED, help="a file or folder of 'hwflow train-policy'")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("runs/plans"), help="of trained networks and measured plans")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--table", action="store_true", help="run nothing")
    asked = parser.parse_args()
    known = [*SEARCHERS, POLICY, *IMPORTANCES]
    names = known if asked.searchers == "all" else [_named(name) for name in asked.searchers.split(",")]
    policy = Policy.load(asked.policy) if POLICY in names and not asked.table else None
    setups = [
        Setup(network, chip, budget, asked.streams)
        for network, chip, budget in itertools.product(asked.networks.split(","), asked.chips.split(","), asked.budgets)
    ]
    if not asked.table:
        torch.set_num_threads(1)
        data = reduced_data(IMAGES)
        asked.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(Store(asked.folder / "plans.sqlite")) as store:
            for setup in setups:
                run(setup, names, range(asked.seeds), asked.evaluations, data, asked.folder, store, asked.records, policy)
    for setup in setups:
        print(table(setup, read(asked.records), asked.evaluations))


def run(
    setup: Setup,
    names: Sequence[str],
    seeds: Sequence[int],
    evaluations: int,
    data: Data,
    folder: Path,
    store: Store,
    file: Path,
    policy: Policy | None = None,
) -> None:
    """Do what is not recorded; every searcher with the first seed before the next one, so that early tables are fair."""
    done = {(r["searcher"], r["seed"]) for r in read(file) if setup.holds(r) and r["evaluations"] == evaluations}
    missing = [(seed, name) for seed in seeds for name in names if (title_of(name), seed) not in done]
    missing = [(seed, name) for seed, name in missing if seed == 0 or name not in ALONE]
    if not missing:
        return
    bed = Bed.of(setup, data, folder, store)
    if (title := "unpruned") not in {name for name, _ in done}:
        full = bed.env.costs.plan(bed.env.costs.full)
        add(file, setup, title, 0, evaluations, {0: full}, bed, 0.0)
    for seed, name in missing:
        start = time.perf_counter()
        if name in IMPORTANCES:
            found = cut_plan(name, bed.env, bed.module, bed.input_shape, ROUND_TO)
            if found is None:
                print(f"{setup.title}: {name} does not reach the budget")
                continue
            plans = {0: found}
        else:
            plans = best_plans(bed.env, name, seed, evaluations, policy)
        add(file, setup, title_of(name), seed, evaluations, plans, bed, time.perf_counter() - start, policy)


def best_plans(
    env: PruningEnv, name: str, seed: int, evaluations: int, policy: Policy | None = None
) -> dict[int, dict[str, int]]:
    """The best plan of a search by its own measurements, by how many there were."""
    settings = Settings(episodes=evaluations).learner
    if name == POLICY:
        assert policy is not None
        episodes = explore(env, PolicySearcher(env, settings, seed, policy), evaluations)
        return {0: episodes[0].plan, **_by_count(episodes)}
    searcher = SEARCHERS[name](env, settings, seed)
    if name in WITHOUT_EVALUATIONS:
        return {0: searcher.ask(env)}
    return _by_count(explore(env, searcher, evaluations))


def _by_count(episodes: tuple[Episode, ...]) -> dict[int, dict[str, int]]:
    counts = {*MILESTONES, len(episodes)}
    return {count: best_of(episodes[:count]).plan for count in counts if count <= len(episodes)}


def _named(name: str) -> str:
    return name if name in (POLICY, *IMPORTANCES) else searcher_named(name)


def add(
    file: Path,
    setup: Setup,
    title: str,
    seed: int,
    evaluations: int,
    plans: dict[int, dict[str, int]],
    bed: Bed,
    seconds: float,
    policy: Policy | None = None,
) -> None:
    """Judge the best plans of a search, and record them."""
    last = plans[max(plans)]
    record = {
        **vars(setup),
        "searcher": title,
        "seed": seed,
        "evaluations": evaluations,
        "judged": {str(count): bed.judge(plan) for count, plan in sorted(plans.items())},
        "searched": bed.env.accuracy(last),
        "shares": shares_of(bed.env.costs, last),
        "plan": last,
        "seconds": round(seconds, 1),
        "version": VERSION,
        "date": datetime.date.today().isoformat(),
        **({"policy": policy.digest[:8]} if policy is not None and title == POLICY else {}),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(record) + "\n")
    print(f"{setup.title}: {title}, seed {seed}: {record['judged']} ({record['seconds']} s)", flush=True)


def read(file: Path) -> list[Record]:
    """All records."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def table(setup: Setup, records: Sequence[Record], evaluations: int) -> str:
    """What is known of one setup, the best searcher first, in Markdown."""
    found: dict[str, dict[int, Record]] = {}
    for record in records:
        count, name = record["evaluations"], record["searcher"]
        if setup.holds(record) and (count == evaluations or (name == POLICY and count < evaluations)):
            found.setdefault(name if count == evaluations else f"{name} ({count})", {})[record["seed"]] = record
    means = {name: statistics.mean(_final(r) for r in of_seed.values()) for name, of_seed in found.items()}
    order = sorted((name for name in found if name != "unpruned"), key=lambda name: -means[name])
    if not order:
        return f"\n{setup.title}: nothing is recorded yet."
    early = sorted({int(n) for name in order for r in found[name].values() for n in r["judged"]} - {0, evaluations})
    metrics = [part.split("=")[0] for part in setup.budget.split(",")]
    heads = ["plan by", "seeds", *(f"after {n}" for n in early), f"after {evaluations}", "spread", "to the best", *metrics]
    lines = [f"\n{setup.title}, {evaluations} plans measured", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in [*(["unpruned"] if "unpruned" in found else []), *order]:
        runs = found[name]
        columns = [[100 * r["judged"][str(n)] for r in runs.values() if str(n) in r["judged"]] for n in early]
        finals = [_final(r) for r in runs.values()]
        shares = [statistics.mean(r["shares"][metric] for r in runs.values()) for metric in metrics]
        cells = [
            name,
            str(len(runs)) if name not in (*ALONE, "unpruned") else "-",
            *(f"{statistics.mean(column):.2f}" if column else "" for column in columns),
            f"{statistics.mean(finals):.2f}",
            f"{statistics.stdev(finals):.2f}" if len(finals) > 1 else "",
            "" if name in (order[0], "unpruned") else _apart(runs, found[order[0]]),
            *(f"{share:.3f}" for share in shares),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _final(record: Record) -> float:
    """In percent, of the last best plan."""
    return float(100 * record["judged"][max(record["judged"], key=int)])


def _apart(runs: dict[int, Record], best: dict[int, Record]) -> str:
    """The paired difference to the best searcher; a plan that depends on no seed is paired with each of them."""
    first = next(iter(runs.values()))
    alone = first if list(first["judged"]) == ["0"] else None
    apart = [_final(runs.get(seed) or alone) - _final(other) for seed, other in best.items() if seed in runs or alone]  # type: ignore[arg-type]
    if len(apart) < 2:
        return f"{apart[0]:+.2f}" if apart else ""
    error = statistics.stdev(apart) / len(apart) ** 0.5
    mean = statistics.mean(apart)
    return f"{mean:+.2f} ± {error:.2f}{'' if abs(mean) > 2 * error else ', not told apart'}"


if __name__ == "__main__":
    main()

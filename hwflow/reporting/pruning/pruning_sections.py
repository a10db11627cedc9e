"""The sections of a pruning run's report."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from hwflow.reporting.estimates.layer_costs import Side, layer_costs
from hwflow.reporting.estimates.memory_timeline import beside_layers
from hwflow.reporting.page.blocks import Beside, Block, Cell, Choice, Figure, Table, Text, axis, label, percent_cell
from hwflow.reporting.page.palette import methods, parts
from hwflow.reporting.page.traces import LEGEND, bars, curve, lines_axis, upright
from hwflow.reporting.page.values import capital, counted, listed, number, percent, settings_by_name, spread
from hwflow.reporting.pruning.run_records import Candidate, Choices, Comparison, CostRecord, Plan, Run, Times
from hwflow.reporting.pruning.search_figures import KINDS, cost_and_accuracy, kind_of, learning_curve, ranks, time_spent
from hwflow.reporting.pruning.totals import NAMES, accuracy_of, compared, mark


def comparison(run: Run, found: Comparison) -> list[Block]:
    """The search's plan against those of the baselines; of several seeds the mean and the spread."""
    settings, score = run.config.settings, accuracy_of(run)
    names = [name for name in compared(run) if any(name in c.shares for c in found.candidates)]
    budget = settings.budgets[0] if settings.budgets else None
    metric = budget.metric if budget else settings.metric
    several = len(settings.seeds) > 1
    groups = [[c for c in found.candidates if c.by == by] for by in methods(c.by for c in found.candidates)]
    spreads = "; means ± standard deviations over the seeds" if several else ""
    further = f" The refinement at {listed(settings.levels[1:])} comes after it." if settings.levels[1:] else ""
    blocks: list[Block] = [
        Text(
            f"Search split: {score} on the validation samples that guide the search; held-out split: on samples that no search "
            f"has seen. Both before fine-tuning. Costs are shares of the unpruned network's at {settings.levels[0]}, the level "
            f"of the search{run.mappings(settings.levels[0])}{spreads}.{further}"
        ),
        _candidates(
            "Plans compared",
            groups,
            names,
            budgeted=budget is not None,
        ),
    ]
    if several:
        each = [[c] for group in groups for c in group]
        blocks.append(
            _candidates(
                "Every seed",
                each,
                names,
                budgeted=budget is not None,
                folded=True,
            )
        )
    if found.finalists:
        blocks += _choice(found, score)
    if metric in names:
        blocks.append(cost_and_accuracy(found.candidates, metric, NAMES[metric], budget, score))
    return blocks


def search(run: Run) -> list[Block]:
    """How the searches learned, episode by episode."""
    score, episodes = accuracy_of(run), run.episodes
    curve = learning_curve(episodes, "accuracy", f"{score} of plans", "%")
    shown: Block = curve
    if any(e.reward != e.accuracy for e in episodes):
        shown = Choice("Show", {score: [curve], "reward": [learning_curve(episodes, "reward", "reward", "")]})
    first = run.config.settings.seeds[0]
    agents = [e for e in episodes if (e.by, e.seed) == ("agent", first)]
    random = sum(e.noise is None for e in agents)
    drawn = f"The agent draws its first {counted(random, 'plan')} at random. " if random else ""
    return [
        Text(
            f"{drawn}{capital(score)} is that of the pruned network on the held-out samples for searches, before fine-tuning."
        ),
        shown,
    ]


def _choice(found: Comparison, score: str) -> list[Block]:
    """Which plan was applied, and what it was chosen from."""
    best = found.finalists[0]
    rows: list[list[str | Cell]] = [
        [
            one.by,
            "-" if one.seed is None else str(one.seed),
            *(percent_cell(value, 2) for value in (one.searched, one.chosen, one.judged)),
            "yes" if one is best else "",
        ]
        for one in found.finalists
    ]
    seed = "," if best.seed is None else f", seed {best.seed},"
    return [
        Text(
            f"Applied: the plan of {best.by}{seed} the best of {counted(len(rows), 'plan')} on images that no search saw "
            f"(choice split). On the held-out split, by which nothing was chosen, its {score} is {percent(best.judged, 2)}."
        ),
        Table(
            "The best plans of all searches and baselines",
            ["plan", "seed", "search split (%)", "choice split (%)", "held-out split (%)", "applied"],
            rows,
            left=frozenset({0, 1, 5}),
        ),
    ]


def channels(plan: Plan) -> list[Block]:
    """What was kept of each group, and what could not be pruned."""
    groups = plan.groups
    names = [label(group.name) for group in groups]
    hints = [f"{label(g.name)}: {g.kept} of {g.channels} channels kept" for g in groups]
    inside: dict[str, Any] = {
        "text": [f"{g.kept} of {g.channels}" for g in groups],
        "textposition": "auto",
        "insidetextanchor": "end",
        "insidetextfont": {"color": "@panel"},
    }
    pale = {"color": "@before", "opacity": 0.45}
    data = [
        bars("before", [g.channels for g in groups], names, hints, pale, orientation="h"),
        bars("kept", [g.kept for g in groups], names, hints, {"color": "@after"}, orientation="h", **inside),
    ]
    layout = {
        "barmode": "overlay",
        "bargap": 0.25,
        "xaxis": axis("channels"),
        "yaxis": lines_axis(names),
        "legend": LEGEND,
    }
    rows: list[list[str | Cell]] = [
        [g.name, ", ".join(g.producers), str(g.channels), str(g.kept), percent_cell(g.kept / g.channels)] for g in groups
    ]
    kept, whole = sum(g.kept for g in groups), sum(g.channels for g in groups)
    headings = ["group", "layers that make the channels", "channels", "kept", "kept (%)"]
    blocks: list[Block] = [
        Text(f"{kept:,} of {whole:,} channels in {counted(len(groups), 'group')} are kept, {percent(kept / max(whole, 1))}."),
        Figure("Channels kept per group", data, layout, height=110 + 26 * len(groups)),
        Table("Every group", headings, rows, left=frozenset({0, 1}), folded=True),
    ]
    if plan.left_out:
        blocks.append(Table("Left out of the pruning", ["channels of", "why"], _pairs(plan.left_out), left=frozenset({0, 1})))
    return blocks


def decisions(plan: Choices | Plan) -> list[Block]:
    """What a method chose besides channels, of what."""
    rows: list[list[str | Cell]] = [
        [one.name, ", ".join(map(str, one.options)), str(one.chosen), ", ".join(one.rows)] for one in plan.decisions
    ]
    headings = ["decision", "options", "chosen", "layers whose cost depends on it"]
    if not rows:
        return [Text("The method has no options to choose from.")]
    return [Table("Every decision", headings, rows, left=frozenset({0, 1, 3}))]


def summary(run: Run) -> list[Block]:
    """What the method reports."""
    return [
        Table(f"Reported by the method {run.config.settings.method}", ["", ""], _pairs(run.summary), left=frozenset({0, 1}))
    ]


def layers(run: Run) -> list[Block]:
    """Energy and latency of every layer before and after, one level at a time."""
    colours = parts(
        row.energy_by_level_pj or row.energy_by_level_normalized or {}
        for pair in run.costs.values()
        for row in (*pair.before.layers, *pair.after.layers)
    )
    options = {}
    for level in run.levels:
        pair = run.costs[level]
        options[str(level)] = layer_costs(
            [Side("before", pair.before, "@before", 0.45), Side("after", pair.after, "@after")], colours
        )
    return [Choice("Level", options)]


def between_layers(run: Run) -> list[Block]:
    """What stays on the chip and what operators cost, before and after, at the level at which the budgets hold."""
    pair = run.costs[run.decisive]
    sides = {"before": beside_layers(pair.before), "after": beside_layers(pair.after)}
    return [Choice("Network", sides)] if all(sides.values()) else []


def refinement(run: Run, found: Comparison) -> list[Block]:
    """How the best plans moved when they were ranked at the further levels."""
    levels, refined, score = run.config.settings.levels, found.refined, accuracy_of(run)
    blocks: list[Block] = []
    for before, level in itertools.pairwise(levels):
        rows = [row for row in refined if row.level == level]
        moved, cut = sum(row.rank != row.was for row in rows), sum(row.cut for row in rows)
        best = next((f" The best was number {row.was} at {before}." for row in rows if row.rank == 1), "")
        blocks.append(
            Text(
                f"From {before} to {level}, {moved} of {counted(len(rows), 'plan')} changed rank, and {cut} had to be cut to "
                f"keep the budget there.{best}"
            )
        )
    names = [name for name in compared(run) if any(name in row.shares for row in refined)]
    headings = ["level", "rank", "rank before", "cut", f"{score}, search split (%)", *(f"{NAMES[n]} (%)" for n in names)]
    lines: list[list[str | Cell]] = [
        [
            row.level,
            str(row.rank),
            str(row.was),
            "yes" if row.cut else "no",
            percent_cell(row.accuracy, 2),
            *(percent_cell(row.shares.get(name)) for name in names),
        ]
        for row in refined
    ]
    return [
        *blocks,
        ranks(refined, levels, score, found.finalists[0].plan if found.finalists else None),
        Table("Plans at each level", headings, lines, folded=True),
    ]


def time(found: Times) -> list[Block]:
    """Where the time of search and refinement went."""
    seconds = found.seconds
    sums = {kind: sum(s for name, s in seconds.items() if kind_of(name) == kind) for kind in KINDS}
    shares = listed([f"{number(s, 3)} s for {kind}" for kind, s in sums.items()])
    return [Text(f"Search and refinement took {number(sum(sums.values()), 3)} s: {shares}."), time_spent(seconds)]


def fine_tuning(run: Run) -> list[Block]:
    """The epochs after surgery."""
    epochs, kept, score = run.tuning.epochs, run.tuning.kept, accuracy_of(run)
    if not epochs:
        return [Text("The pruned network was not fine-tuned.")]
    numbers = [e.number for e in epochs]
    layout = {
        "xaxis": axis("epoch"),
        "shapes": [upright(kept, {"color": "@muted", "dash": "dot"}, yref="paper")],
        "legend": LEGEND,
    }
    held = [None if e.accuracy is None else 100 * e.accuracy for e in epochs]
    losses = [
        curve("training, distillation included", numbers, [e.loss for e in epochs], {"color": "@random"}, 5),
        curve("held out", numbers, [e.held_loss for e in epochs], {"color": "@after"}, 5),
    ]
    rows: list[list[str | Cell]] = [
        [str(e.number), *(Cell(number(v), v) for v in (e.loss, e.held_loss)), percent_cell(e.accuracy, 2)] for e in epochs
    ]
    return [
        Text(f"{counted(len(epochs), 'epoch')}; the weights after epoch {kept} (dotted) were kept. The test set took no part."),
        Beside(
            [
                Figure(
                    f"Held-out {score} by epoch",
                    [curve("held out", numbers, held, {"color": "@after"}, 5)],
                    {**layout, "yaxis": axis(f"{score} (%)"), "showlegend": False},
                    height=320,
                ),
                Figure("Loss by epoch", losses, {**layout, "yaxis": axis("loss", rangemode="tozero")}, height=320),
            ]
        ),
        Table(
            "Every epoch",
            ["epoch", "training loss", "held-out loss", f"held-out {score} (%)"],
            rows,
            left=frozenset(),
            folded=True,
        ),
    ]


def provenance(run: Run) -> list[Block]:
    """Who answered, with which energies, what is missing, and what was asked."""
    rows: list[list[str | Cell]] = []
    for level in run.levels:
        before, after = (_answer(costs) for costs in (run.costs[level].before, run.costs[level].after))
        both = {"before and after": before} if before == after else {"before": before, "after": after}
        rows += [[level, side, *answer] for side, answer in both.items()]
    headings = ["level", "network", "engine", "energies", "recorded on", "dataflow", "objective", "notes"]
    blocks: list[Block] = [Table("What answered", headings, rows, left=frozenset(range(8)))]
    costs = run.costs[run.decisive].after
    if assumption := costs.provenance.get("assumption"):
        blocks.append(Text(f"{capital(str(assumption))}."))
    if costs.not_counted:
        names = ", ".join(f"{name} x{count}" for name, count in costs.not_counted.items())
        blocks.append(Text(f"Not counted: {names}."))
    if any(pair.after.totals.energy_normalized is not None for pair in run.costs.values()):
        blocks.append(Text("Normalized energies are in units of one 16-bit multiply-accumulate."))
    if run.metrics.not_available:
        missing = _pairs(run.metrics.not_available)
        blocks.append(Table("Levels that are not available", ["level", "why"], missing, left=frozenset({0, 1})))
    asked = _pairs(dict(settings_by_name(run.asked)))
    return [*blocks, Table("All settings and versions", ["setting", "value"], asked, left=frozenset({0, 1}), folded=True)]


def _candidates(
    caption: str, groups: Sequence[Sequence[Candidate]], names: Sequence[str], *, budgeted: bool, folded: bool = False
) -> Table:
    """One row for each group of candidates, which differ in nothing but the seed."""
    rows: list[list[str | Cell]] = []
    for group in groups:
        row: list[str | Cell] = [group[0].by, ", ".join(str(c.seed) for c in group if c.seed is not None) or "-"]
        for values in ([c.searched for c in group], [c.judged for c in group]):
            row.append(Cell(spread(values, 2), mean(values)))
        for name in names:
            known = [c.shares[name] for c in group if name in c.shares]
            row.append(Cell(spread(known), mean(known)) if known else "-")
        if budgeted:
            kept = sum(c.keeps_budget for c in group)
            word = {len(group): "yes", 0: "no"}.get(kept, f"{kept} of {len(group)}")
            row.append(Cell(word, None, mark(kept == len(group)) if group[0].by != "unpruned" else ""))
        rows.append([*row, f"{group[0].evaluations:,}"])
    headings = ["plan", "seed", "search split (%)", "held-out split (%)", *(f"{NAMES[name]} (%)" for name in names)]
    headings += [*(["keeps the budget"] if budgeted else []), "plans tried"]
    return Table(caption, headings, rows, left=frozenset({0, 1}), folded=folded)


def _answer(costs: CostRecord) -> list[str]:
    """Who answered one network's costs, and with what."""
    told = costs.provenance
    energy = told.get("energy") or {}
    return [
        ", ".join(dict.fromkeys(row.engine for row in costs.layers)),
        ", ".join(dict.fromkeys(row.energy_source for row in costs.layers)),
        *(str(value or "-") for value in (energy.get("date"), told.get("dataflow"), told.get("objective"))),
        "; ".join(dict.fromkeys(row.note for row in costs.layers if row.note)) or "-",
    ]


def _pairs(values: Mapping[str, str]) -> list[list[str | Cell]]:
    return [[name, value] for name, value in values.items()]

"""The report of a compression run: its settings, the result, the comparison with baselines, and the search."""

from __future__ import annotations

from collections.abc import Iterator

from hwflow.reporting.page.blocks import Block, Cell, Page, Section, Table, Text, Tile, Tiles, percent_cell
from hwflow.reporting.page.values import capital, counted, listed, number, percent, prefix, prefixed, quantities, share_of
from hwflow.reporting.pruning.pruning_sections import (
    between_layers,
    channels,
    comparison,
    decisions,
    fine_tuning,
    layers,
    provenance,
    refinement,
    search,
    summary,
    time,
)
from hwflow.reporting.pruning.run_records import BudgetRecord, Plan, Run
from hwflow.reporting.pruning.totals import NAMES, accuracy_of, holds, mark, share, sides, totals_at, value_of
from hwflow.reporting.pruning.training_section import SEARCH, training
from hwflow.results import without
from hwflow.types import LevelName


def page(run: Run) -> Page:
    """The whole report."""
    sections = [Section("Before and after", [_totals(run), *_mappings(run)])]
    if run.comparison:
        sections.append(Section("Comparison", comparison(run, run.comparison)))
    if run.episodes:
        sections.append(Section("Search", search(run)))
    if isinstance(run.plan, Plan):
        sections.append(Section("Channels kept", channels(run.plan)))
        if run.plan.decisions:
            sections.append(Section("Other decisions", decisions(run.plan)))
    else:
        sections.append(Section("Plan", decisions(run.plan)))
    if run.summary:
        sections.append(Section("Method", summary(run)))
    sections.append(Section("Layers", layers(run)))
    if between := between_layers(run):
        sections.append(Section("Between the layers", between))
    if run.comparison and run.comparison.refined:
        sections.append(Section("Refinement over levels", refinement(run, run.comparison)))
    if run.training:
        sections.append(Section("Training", training(run)))
    searched = run.config.settings.method == SEARCH
    sections.append(Section("Training from fresh weights" if searched else "Fine-tuning", fine_tuning(run)))
    if run.times:
        sections.append(Section("Time", time(run.times)))
    sections.append(Section("Where the numbers come from", provenance(run)))
    chip = f" for {run.config.accelerator}" if run.config.accelerator else ""
    top: list[Block] = [_tiles(run), *map(Text, _remarks(run))]
    done = "searched" if searched else "pruned"
    return Page(f"{run.config.network} {done}{chip}", _lead(run), top, sections)


def _lead(run: Run) -> str:
    config, level, score = run.config, run.decisive, accuracy_of(run)
    asked = listed([f"at most {share_of(b.share)} of the {NAMES[b.metric]}" for b in config.settings.budgets])
    if asked:
        asked = f"Budget: {asked}. "
    elif run.comparison:
        asked = f"No budget; the reward weighs {score} against {NAMES[config.settings.metric]}. "
    known = [name for name in ("energy", "latency") if share(run, level, name) is not None] or ["macs"]
    left = listed([f"{percent(share(run, level, name))} of the {NAMES[name]}" for name in known])
    before, after = run.metrics.before.accuracy, run.metrics.after.accuracy
    how = (
        "of the network found, trained from fresh weights"
        if config.settings.method == SEARCH
        else "after pruning and fine-tuning"
    )
    return (
        f"{asked}At {level}, {left} are left; {score} on the test set of {config.data} was {percent(before, 2)} before "
        f"and is {percent(after, 2)} {how}."
    )


def _tiles(run: Run) -> Tiles:
    level = run.decisive
    before, after = run.metrics.before.accuracy, run.metrics.after.accuracy
    moved = "" if before is None or after is None else f"\n{100 * (after - before):+.2f} points"
    tiles = [Tile(f"Test {accuracy_of(run)}", percent(after, 2), f"{percent(before, 2)} before{moved}")]
    for name in ("energy", "latency", "macs", "params"):
        (old, unit), (new, _) = sides(run, level, name)
        if (left := share(run, level, name)) is None:
            continue
        where = f" at {level}" if name in ("energy", "latency") else ""
        was, now = quantities([old, new], unit)
        tiles.append(Tile(f"{capital(NAMES[name])}{where}", now, f"{was} before\n{percent(left)} left"))
    for budget in run.config.settings.budgets:
        left = share(run, level, budget.metric)
        kept = holds(left, budget)
        word = {True: "holds", False: "exceeded", None: "not known"}[kept]
        detail = f"{percent(left)} left\n{share_of(budget.share)} at most"
        tiles.append(Tile(f"{capital(NAMES[budget.metric])} budget", word, detail, mark(kept)))
    return Tiles(tiles)


def _remarks(run: Run) -> Iterator[str]:
    settings = run.config.settings
    if run.comparison:
        several = len(settings.seeds) > 1
        each = f" for each of {len(settings.seeds)} seeds" if several else ""
        further = f", the best plans ranked again at {listed(settings.levels[1:])}" if settings.levels[1:] else ""
        applied = " The first seed's plan was applied." if several and not run.comparison.finalists else ""
        if run.comparison.finalists:
            best = run.comparison.finalists[0]
            seed = "" if best.seed is None else f", seed {best.seed}"
            applied = f" Of all searches and baselines, the plan of {best.by}{seed} was applied."
        sought = f"Plans were searched at {settings.levels[0]}, {counted(settings.episodes, 'episode')}{each}{further}."
        if settings.episodes == 0:
            sought = f"No plan was searched: those of a kept policy and of baselines were compared{further}."
        yield sought + applied
    elif run.config.plan is None:
        yield f"The method {settings.method} chose what is removed; the run recorded no search."
    else:
        given = "uniform pruning" if run.config.plan == "uniform" else "a plan that was given"
        yield f"No search: {given} was applied."
    rules = []
    if settings.activations == "resident":
        rules.append("tensors between layers may stay on the chip (activations resident)")
    if settings.operators == "all":
        rules.append("operators that are no layers have a price, too (operators all)")
    if settings.latency == "with_fill":
        rules.append("the first fill and the last drain of every layer take time (latency with_fill)")
    if rules:
        yield f"In all costs of networks that are mapped, the unpruned one's and those of plans, {listed(rules)}."
        if unaware := [level for level in run.levels if run.costs[level].before.provenance.get("without")]:
            yield f"Level {listed(unaware)} knows nothing of that: layers alone count, and every tensor passes through DRAM."
    for level in run.levels:
        for budget in settings.budgets:
            left = share(run, level, budget.metric)
            if holds(left, budget) is False:
                aside = "" if level == run.decisive else f": the plan was made to keep it at {run.decisive}"
                yield f"At {level} the budget of {NAMES[budget.metric]} does not hold, {percent(left)} are left{aside}."
    if missing := list(run.metrics.not_available):
        yield f"Not available: {listed(missing)}. The last section says why."


def _totals(run: Run) -> Table:
    budgets = {str(budget.metric): budget for budget in run.config.settings.budgets}
    rows: list[list[str | Cell]] = []
    for level in run.levels:
        rows += [row for name in NAMES if (row := _total(run, level, name, budgets.get(name))) is not None]
        busy = [totals.utilization for totals in totals_at(run, level)]
        if None not in busy:
            rows.append([_level(run, level), "utilization", "%", *map(percent_cell, busy), "-", "-", ""])
    headings = ["level", "metric", "unit", "before", "after", "left (%)", "before / after", "keeps the budget"]
    if not budgets:
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    return Table("Totals of the network at each level", headings, rows, left=frozenset({0, 1, 2, 7}))


def _level(run: Run, level: LevelName) -> str:
    """Its name, with what was asked for and it does not know of."""
    return f"{level}{without(run.costs[level].before.provenance)}"


def _total(run: Run, level: LevelName, name: str, budget: BudgetRecord | None) -> list[str | Cell] | None:
    """One metric at one level before and after; None where it is known of neither."""
    (old, unit), (new, _) = sides(run, level, name)
    if old is None and new is None:
        return None
    divisor, letter = prefix([value for one in run.levels for value, _ in sides(run, one, name)])
    left = share(run, level, name)
    kept = None if budget is None else holds(left, budget)
    asked = "" if budget is None or kept is None else f"{'yes' if kept else 'no'}, at most {share_of(budget.share)}"
    return [
        _level(run, level),
        NAMES[name],
        prefixed(letter, unit),
        *(Cell(number(None if value is None else value / divisor), value) for value in (old, new)),
        percent_cell(left),
        Cell(f"{1 / left:.2f}", 1 / left) if left else "-",
        Cell(asked, None, mark(kept)),
    ]


def _mappings(run: Run) -> Iterator[Block]:
    """What the mappings minimise, and energy and latency with other mappings, for which no budget was asked."""
    mapped = [level for level in run.levels if run.mappings(level)]
    if not mapped:
        return
    others = "; with other mappings the same networks cost what the second table says" if run.metrics.remapped else ""
    yield Text(f"At {listed(mapped)} the mappings minimize {NAMES.get(run.metrics.objective, run.metrics.objective)}{others}.")
    rows: list[list[str | Cell]] = []
    for objective, both in run.metrics.remapped.items():
        for name in ("energy", "latency"):
            (old, unit), (new, _) = (value_of(totals, name) for totals in (both.before, both.after))
            if not old or new is None:
                continue
            divisor, letter = prefix([old, new])
            cells = [Cell(number(value / divisor), value) for value in (old, new)]
            rows.append(
                ["mid", NAMES.get(objective, objective), NAMES[name], prefixed(letter, unit), *cells, percent_cell(new / old)]
            )
    if rows:
        headings = ["level", "mappings for", "metric", "unit", "before", "after", "left (%)"]
        yield Table("Totals with other mappings", headings, rows, left=frozenset({0, 1, 2, 3}))

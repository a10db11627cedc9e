"""What `hwflow compare` prints: energy and cycles by layer, and the totals of every configuration side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwflow.cli.console import Page, Table, counted, number
from hwflow.cli.estimate_page import millions, percent, proven_line, whose_energies
from hwflow.network import Network

if TYPE_CHECKING:
    from hwflow.cost import Comparison
    from hwflow.cost.comparison import Configuration


def comparison_page(found: Comparison) -> Page:
    """The answer of `hwflow compare`."""
    network, variants = found.network, found.variants
    picojoule = all(v.cost.rows[0].energy_unit == "pJ" for v in variants)
    normalised = all(v.cost.rows[0].energy_unit == "normalized" for v in variants)
    mixed = not picojoule and not normalised
    headings = [
        "configuration",
        "energy" if mixed else f"energy ({'uJ' if picojoule else 'M units'})",
        "ratio",
        "latency (ms)",
        "ratio",
    ]
    headings += ["util. (%)", "DRAM (kB)", "rank energy", "rank latency"]
    rows = []
    for v in variants:
        entry = found.against_first(v)
        energy = v.cost.energy_pj if v.cost.energy_pj is not None else v.cost.energy_normalized
        latency = None if v.cost.latency_s is None else v.cost.latency_s * 1e3
        suffix = {"pJ": " uJ", "normalized": " M units"}[v.cost.rows[0].energy_unit] if mixed else ""
        cells = [v.label, number(millions(energy)) + suffix, number(entry["energy_ratio"], 3)]
        cells += [number(latency, 3), number(entry["latency_ratio"], 3), number(percent(v.cost.utilization), 1)]
        cells += [number(v.cost.dram_bytes / 1e3, 1), number(entry["energy_rank_correlation"], 3)]
        rows.append([*cells, number(entry["latency_rank_correlation"], 3)])
    lines = [
        f"Ratios and ranks are against the first; ranks are Spearman's correlations over the {len(network)} layers.",
        *(f"{v.label}: energies {'; '.join(v.cost.energy_sources)}." for v in variants),
        *(_whole(v) for v in variants if "activations" in v.cost.provenance or "without" in v.cost.provenance),
        *(f"{v.label}: {proven_line(v.cost.provenance)}" for v in variants if "proven" in v.cost.provenance),
        *(f"{v.label}: mappings of timeloop-mapper's own search." for v in variants if _searched_by_timeloop(v)),
        *dict.fromkeys(f"* {row.note}." for v in variants for row in v.cost.rows if row.note),
    ]
    tables = [*_by_layer(network, variants), Table(headings, rows)]
    sources = dict.fromkeys(source for v in variants for source in v.cost.energy_sources)
    title = f"{network.name}: {counted(len(variants), 'configuration')} side by side"
    return Page(f"{title}{whose_energies(sources)}", tables, lines)


def _whole(variant: Configuration) -> str:
    """What was asked of the network as a whole."""
    about = variant.cost.provenance
    if "without" in about:
        return f"{variant.label}, of which level {variant.cost.level} knows nothing: {about['assumption']}."
    return f"{variant.label}: activations {about['activations']}, operators {about['operators']}; {about['assumption']}."


def _by_layer(network: Network, variants: Sequence[Configuration]) -> list[Table]:
    labels = [v.label for v in variants]
    names = [layer.name for layer in network]
    energy = [[number(millions(v.cost.rows[i].energy)) for v in variants] for i in range(len(names))]
    cycles = [[number(v.cost.rows[i].cycles, 0) for v in variants] for i in range(len(names))]
    units = ["uJ" if v.cost.rows[0].energy_unit == "pJ" else "M units" for v in variants]
    first = Table(["layer", *(f"{la} ({u})" for la, u in zip(labels, units, strict=True))], _named(names, energy))
    return [first, Table(["layer", *(f"{la} (cycles)" for la in labels)], _named(names, cycles))]


def _named(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[name, *row] for name, row in zip(names, cells, strict=True)]


def _searched_by_timeloop(variant: Configuration) -> bool:
    return variant.cost.provenance.get("mapper") == "timeloop"

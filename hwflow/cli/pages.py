"""What `estimate` and `compare` print: tables of rows and totals, and the lines that say what the numbers mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hwflow.cli.console import Page, Table, counted, number
from hwflow.cost.energy_sources import OTHERS
from hwflow.display import latency_text
from hwflow.layers import Layer
from hwflow.network import Network
from hwflow.results import LayerCost, NetworkCost

if TYPE_CHECKING:
    from hwflow.cost import Comparison
    from hwflow.cost.comparison import Variant


def shape_text(layer: Layer) -> str:
    """A layer in short: type, channels in to out, output width x height, kernel, stride, dilation, groups, batch.

    A product of two activations is rows x inner . inner x columns, for each of g heads; of a transposed convolution the size is
    that of the input and, after >, of the output.
    """
    if layer.type == "matmul":
        product = f"matmul {layer.P * layer.Q}x{layer.C} . {layer.C}x{layer.M}"
        return " ".join([product, *(f"{letter}{n}" for letter, n in (("g", layer.G), ("n", layer.N)) if n > 1)])
    parts = [layer.type, f"{layer.G * layer.C}>{layer.G * layer.M}"]
    if layer.type == "conv_transpose":
        sizes = zip((layer.P, layer.Q), layer.strides, (layer.R, layer.S), layer.dilations, strict=True)
        made = [(size - 1) * stride + (kernel - 1) * dilation + 1 for size, stride, kernel, dilation in sizes]
        parts.append(f"{layer.P}x{layer.Q}>{made[0]}x{made[1]}")
    elif layer.P * layer.Q > 1:
        parts.append(f"{layer.P}x{layer.Q}")
    if layer.R * layer.S > 1:
        parts.append(f"k{layer.R}x{layer.S}")
    for letter, pair in (("s", layer.strides), ("d", layer.dilations)):
        if pair != (1, 1):
            parts.append(f"{letter}{pair[0]}" if pair[0] == pair[1] else f"{letter}{pair[0]}x{pair[1]}")
    parts += [f"{letter}{n}" for letter, n in (("g", layer.G), ("n", layer.N)) if n > 1]
    return " ".join(parts)


def estimate_page(cost: NetworkCost) -> Page:
    """The answer of `hwflow estimate`."""
    picojoule = cost.rows[0].energy_unit == "pJ"
    marked = any(row.note for row in cost.rows)
    headings = ["layer", "shape", "MACs (M)", "energy (uJ)" if picojoule else "energy (M units)", "cycles", "util. (%)"]
    headings += ["DRAM (kB)", "bound by", *(["level"] if marked else [])]
    rows = [_row(row, marked) for row in cost.rows]
    energy = cost.energy_pj if picojoule else cost.energy_normalized
    totals = ["total", f"{len(cost.rows)} layers", number(cost.macs / 1e6), number(_millions(energy))]
    totals += [number(cost.cycles, 0), number(_percent(cost.utilization), 1), number(cost.dram_bytes / 1e3, 1), ""]
    table = Table(headings, rows, [*totals, *([""] if marked else [])], frozenset({0, 1, 7, 8}))
    return Page(f"{cost.title}{whose_energies(cost.energy_sources)}", [table], _lines(cost))


def whose_energies(sources: Iterable[str]) -> str:
    """A line for a title where Timeloop's files name classes and energies are not of these: they can differ much."""
    for source in sources:
        if OTHERS in source:
            what = (
                "in normalised units" if source.startswith("normalized") else "of hwflow's components of the same kind and size"
            )
            return f"\nEnergies are {what}, {OTHERS}: --energy accelergy has Accelergy characterise those."
    return ""


def _row(row: LayerCost, marked: bool) -> list[str]:
    cells = [row.layer.name, shape_text(row.layer), number(row.layer.macs / 1e6), number(_millions(row.energy))]
    cells += [number(row.cycles, 0), number(_percent(row.utilization), 1), number(row.dram_bytes / 1e3, 1), row.bound_by or "-"]
    return [*cells, row.level + (" *" if row.note else "")] if marked else cells


def _lines(cost: NetworkCost) -> list[str]:
    about = cost.provenance
    lines = []
    latency = "no latency without an accelerator" if cost.latency_s is None else f"latency {latency_text(cost.latency_s)}"
    peak = cost.peak_activation_bytes
    activations = "" if peak is None else f"; peak activation memory {number(peak / 1e3, 1)} kB"
    lines.append(f"{latency[0].upper()}{latency[1:]}{activations}; parameters {_parameters(cost)}.")
    settings = [f"{word} {about[word]}" for word in ("dataflow", "objective", "mapper") if word in about]
    lines.append(f"Answered by {', '.join(about['engines'])}{'; ' if settings else ''}{', '.join(settings)}.")
    unit = "" if cost.rows[0].energy_unit == "pJ" else "; 1 unit = one 16-bit multiply-accumulate"
    lines.append(f"Energies: {'; '.join(about['energy']['sources'])}{unit}.")
    if cost.area_um2 is not None:
        lines.append(f"Area of memories and MAC units {number(cost.area_um2 / 1e6, 3)} mm2, without DRAM, wires and control.")
    lines.append(f"{about['assumption'][0].upper()}{about['assumption'][1:]}.")
    if cost.not_counted:
        listed = ", ".join(f"{kind} x{n}" for kind, n in cost.not_counted.items())
        extra = ""
        if cost.other_traffic_bytes is not None:
            extra = f"; if each ran on its own, they would move {number(cost.other_traffic_bytes / 1e3, 1)} kB more"
        lines.append(f"Not counted: {listed}{extra}.")
    lines += [f"* {note}." for note in dict.fromkeys(row.note for row in cost.rows if row.note)]
    return lines


def _parameters(cost: NetworkCost) -> str:
    """All parameters, each once, and what they are for."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in cost.params_by_kind.items())
    return f"{cost.params_total:,}{f' ({kinds})' if len(cost.params_by_kind) > 1 else ''}"


# Comparison ----------------------------------------------------------------------------------------------------------


def compare_page(found: Comparison) -> Page:
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
        cells = [v.label, number(_millions(energy)) + suffix, number(entry["energy_ratio"], 3)]
        cells += [number(latency, 3), number(entry["latency_ratio"], 3), number(_percent(v.cost.utilization), 1)]
        cells += [number(v.cost.dram_bytes / 1e3, 1), number(entry["energy_rank_correlation"], 3)]
        rows.append([*cells, number(entry["latency_rank_correlation"], 3)])
    lines = [
        f"Ratios and ranks are against the first; ranks are Spearman's correlations over the {len(network)} layers.",
        *(f"{v.label}: energies {'; '.join(v.cost.energy_sources)}." for v in variants),
        *(f"{v.label}: mappings of timeloop-mapper's own search." for v in variants if _searched_by_timeloop(v)),
        *dict.fromkeys(f"* {row.note}." for v in variants for row in v.cost.rows if row.note),
    ]
    tables = [*_by_layer(network, variants), Table(headings, rows)]
    sources = dict.fromkeys(source for v in variants for source in v.cost.energy_sources)
    title = f"{network.name}: {counted(len(variants), 'configuration')} side by side"
    return Page(f"{title}{whose_energies(sources)}", tables, lines)


def _by_layer(network: Network, variants: Sequence[Variant]) -> list[Table]:
    labels = [v.label for v in variants]
    names = [layer.name for layer in network]
    energy = [[number(_millions(v.cost.rows[i].energy)) for v in variants] for i in range(len(names))]
    cycles = [[number(v.cost.rows[i].cycles, 0) for v in variants] for i in range(len(names))]
    units = ["uJ" if v.cost.rows[0].energy_unit == "pJ" else "M units" for v in variants]
    first = Table(["layer", *(f"{la} ({u})" for la, u in zip(labels, units, strict=True))], _named(names, energy))
    return [first, Table(["layer", *(f"{la} (cycles)" for la in labels)], _named(names, cycles))]


def _named(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[name, *row] for name, row in zip(names, cells, strict=True)]


def _searched_by_timeloop(variant: Variant) -> bool:
    return variant.cost.provenance.get("mapper") == "timeloop"


def _millions(value: float | None) -> float | None:
    return None if value is None else value / 1e6


def _percent(value: float | None) -> float | None:
    return None if value is None else value * 100

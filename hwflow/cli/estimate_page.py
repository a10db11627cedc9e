"""What `hwflow estimate` prints: a table of layers and totals, and notes on what the numbers mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hwflow.cli.console import Page, Table, number
from hwflow.display import latency_text
from hwflow.hardware.timeloop_accelerator import OTHERS
from hwflow.layers import Layer
from hwflow.results import LayerCost, NetworkCost


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
    totals = ["total", f"{len(cost.rows)} layers", number(cost.macs / 1e6), number(millions(energy))]
    totals += [number(cost.cycles, 0), number(percent(cost.utilization), 1), number(cost.dram_bytes / 1e3, 1), ""]
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
    cells = [row.layer.name, shape_text(row.layer), number(row.layer.macs / 1e6), number(millions(row.energy))]
    cells += [
        number(row.cycles, 0),
        number(percent(row.utilization), 1),
        number(row.dram_bytes / 1e3, 1),
        row.limited_by or "-",
    ]
    return [*cells, row.level + (" *" if row.note else "")] if marked else cells


def _lines(cost: NetworkCost) -> list[str]:
    about = cost.provenance
    lines = []
    latency = "no latency without an accelerator" if cost.latency_s is None else f"latency {latency_text(cost.latency_s)}"
    peak = cost.peak_activation_bytes
    activations = "" if peak is None else f"; peak activation memory {number(peak / 1e3, 1)} kB"
    lines.append(f"{latency[0].upper()}{latency[1:]}{activations}; parameters {_parameters(cost)}.")
    if cost.per_image is not None:
        lines.append(f"Per image: {', '.join(_per_image(cost.per_image))}.")
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


def _per_image(known: Mapping[str, float | None]) -> list[str]:
    """What one image of a batch costs."""
    told = []
    for name, unit in (("energy_pj", "uJ"), ("energy_normalized", "M units")):
        if (energy := known[name]) is not None:
            told.append(f"{number(energy / 1e6)} {unit}")
    if (latency := known["latency_s"]) is not None:
        told.append(latency_text(latency))
    return [*told, f"{number((known['dram_bytes'] or 0.0) / 1e3, 1)} kB of DRAM traffic"]


def _parameters(cost: NetworkCost) -> str:
    """All parameters, each once, and what they are for."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in cost.params_by_kind.items())
    return f"{cost.params_total:,}{f' ({kinds})' if len(cost.params_by_kind) > 1 else ''}"


def millions(value: float | None) -> float | None:
    """In millions, where it is known."""
    return None if value is None else value / 1e6


def percent(value: float | None) -> float | None:
    """In percent, where it is known."""
    return None if value is None else value * 100

"""What `hwflow estimate` prints: a table of layers and totals, and notes on what the numbers mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hwflow.cli.console import Page, Table, number
from hwflow.display import latency_text
from hwflow.hardware.timeloop_accelerator import OTHERS
from hwflow.layers import DIRECT, Layer
from hwflow.occupancy import Occupancy, OperatorCost
from hwflow.results import LayerCost, NetworkCost

_NAMED = 4  # tensors or layers with one reason


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
    marked, kept = any(row.note for row in cost.rows), cost.occupancy is not None
    headings = ["layer", "shape", "MACs (M)", "energy (uJ)" if picojoule else "energy (M units)", "cycles", "util. (%)"]
    otherwise = any(row.layer.execution != DIRECT for row in cost.rows)
    headings += ["DRAM (kB)", "bound by", *(["execution"] if otherwise else []), *(["stays"] if kept else [])]
    headings += ["level"] if marked else []
    rows = [_row(row, marked, kept, otherwise) for row in cost.rows]
    energy = cost.energy_pj if picojoule else cost.energy_normalized
    totals = ["total", f"{len(cost.rows)} layers", number(cost.macs / 1e6), number(millions(energy))]
    totals += [number(cost.cycles, 0), number(percent(cost.utilization), 1), number(cost.dram_bytes / 1e3, 1), ""]
    tables = [Table(headings, rows, [*totals, *([""] * (marked + kept + otherwise))], frozenset({0, 1, 7, 8, 9, 10}))]
    if cost.operators:
        tables.append(_operators(cost.operators))
    return Page(f"{cost.title}{whose_energies(cost.energy_sources)}", tables, _lines(cost))


def _operators(operators: Sequence[OperatorCost]) -> Table:
    """Operators beside the layers, by type; their costs are in the totals of the layers' table."""
    groups: dict[tuple[str, str], list[OperatorCost]] = {}
    for operator in operators:
        how = operator.note.partition(" into ")[0]
        groups.setdefault((operator.type, how), []).append(operator)
    unit = "uJ" if operators[0].energy_unit == "pJ" else "M units"
    rows = [
        [
            kind,
            how or "-",
            str(len(some)),
            number(sum(o.operations for o in some) / 1e6),
            number(sum(o.energy for o in some) / 1e6),
            number(sum(o.cycles for o in some), 0),
            number(sum(o.dram_bytes for o in some) / 1e3, 1),
        ]
        for (kind, how), some in sorted(groups.items())
    ]
    headings = ["operator", "how", "number", "operations (M)", f"energy ({unit})", "cycles", "DRAM (kB)"]
    return Table(headings, rows, left=frozenset({0, 1}))


def whose_energies(sources: Iterable[str]) -> str:
    """A line for a title where Timeloop's files name classes and energies are not of these: they can differ much."""
    for source in sources:
        if OTHERS in source:
            what = (
                "in normalised units" if source.startswith("normalized") else "of hwflow's components of the same kind and size"
            )
            return f"\nEnergies are {what}, {OTHERS}: --energy accelergy has Accelergy characterise those."
    return ""


def _row(row: LayerCost, marked: bool, kept: bool, otherwise: bool) -> list[str]:
    cells = [row.layer.name, shape_text(row.layer), number(row.layer.macs / 1e6), number(millions(row.energy))]
    cells += [
        number(row.cycles, 0),
        number(percent(row.utilization), 1),
        number(row.dram_bytes / 1e3, 1),
        row.limited_by or "-",
    ]
    cells += [row.layer.execution] if otherwise else []
    cells += [", ".join(row.resident) or "-"] if kept else []
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
    if "proven" in about:
        lines.append(proven_line(about))
    unit = "" if cost.rows[0].energy_unit == "pJ" else "; 1 unit = one 16-bit multiply-accumulate"
    lines.append(f"Energies: {'; '.join(about['energy']['sources'])}{unit}.")
    if cost.area_um2 is not None:
        lines.append(f"Area of memories and MAC units {number(cost.area_um2 / 1e6, 3)} mm2, without DRAM, wires and control.")
    lines.append(f"{about['assumption'][0].upper()}{about['assumption'][1:]}.")
    if cost.occupancy is not None:
        lines += _occupancy(cost.occupancy, cost.rows[0].energy_unit)
    if edges := about.get("edge_cycles"):
        lines.append(
            f"Cycles of filling first tiles and draining last ones: {sum(edges):,}, by hwflow's own estimate, in the totals; "
            "mappings are chosen without them."
        )
    if "execution" in about:
        lines += _executions(cost)
    if about.get("operators") == "all":
        lines.append("Operators: all have a price; the totals include them.")
    if cost.not_counted:
        listed = ", ".join(f"{kind} x{n}" for kind, n in cost.not_counted.items())
        extra = ""
        if cost.other_traffic_bytes is not None:
            extra = f"; if each ran on its own, they would move {number(cost.other_traffic_bytes / 1e3, 1)} kB more"
        lines.append(f"Not counted: {listed}{extra}.")
    lines += [f"* {note}." for note in dict.fromkeys(row.note for row in cost.rows if row.note)]
    return lines


def _executions(cost: NetworkCost) -> list[str]:
    """How many layers run how, and why some of them run directly."""
    counts = Counter(row.layer.execution for row in cost.rows)
    lines = [f"Executions: {', '.join(f'{name} x{n}' for name, n in sorted(counts.items()))}."]
    reasons: dict[str, list[str]] = {}
    for name, why in cost.provenance["execution"]["skipped"].items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"Run directly: {', '.join(names[:_NAMED])}{more}: {why}.")
    return lines


def proven_line(about: Mapping[str, Any]) -> str:
    """How near the mappings are to the best ones with perfect factors."""
    proven, gap = about["proven"], about["gap"]
    near = "optimal" if gap == 0 else f"within {100 * gap:g} % of the best {about['objective']}"
    line = f"Proven {near} with perfect factors: the mappings of {proven['within_gap']} of {proven['of']} layers"
    if proven["within_gap"] < proven["of"]:
        largest = proven["largest_gap"]
        line += "; nothing is known of others" if largest is None else f"; the others within {100 * largest:.3g} %"
    if (network := proven["network_gap"]) is not None:
        line += f". The network's {about['objective']} is within {100 * network:.3g} %"
    if imperfect := proven.get("imperfect"):
        line += f". With imperfect factors: {imperfect['within_gap']} of {imperfect['of']} layers"
        if imperfect["within_gap"] < imperfect["of"] and imperfect["largest_gap"] is not None:
            line += f", the others within {100 * imperfect['largest_gap']:.3g} %"
    return f"{line}."


def _occupancy(occupancy: Occupancy, unit: str) -> list[str]:
    """What the memories hold, what goes through DRAM and why, and what all through DRAM would cost."""
    lines = []
    for memory, size in occupancy.memories.items():
        used = [occupancy.used_bytes(memory, place) for place in range(len(occupancy.operations))]
        fullest = max(range(len(used)), key=used.__getitem__)
        name = occupancy.operations[fullest].name
        lines.append(f"{memory}: at most {used[fullest] / 1024:,.1f} of {size / 1024:,.1f} KiB in use, while {name} runs.")
    reasons: dict[str, list[str]] = {}
    for tensor in occupancy.spilled:
        reasons.setdefault(_in_general(tensor.reason), []).append(tensor.name)
    for reason, names in reasons.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"Through DRAM: {', '.join(names[:_NAMED])}{more}: {reason}.")
    energy = f"{number(occupancy.dram_energy / 1e6)} {'uJ' if unit == 'pJ' else 'M units'}"
    lines.append(f"With everything through DRAM: {energy}, {number(occupancy.dram_cycles, 0)} cycles.")
    return lines


def _in_general(reason: str) -> str:
    """A reason without the sizes and operations that it names, which JSON has."""
    if "cannot run in the room" in reason:
        return "a layer that reads or writes it cannot run in the room left beside it"
    if "product of two activations" in reason:
        return "an operand of a product of two activations, which comes from DRAM"
    return re.split(r" \(| beside | while ", reason)[0]


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

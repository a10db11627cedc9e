"""What `hwflow map` prints: the loop nest, accesses, the factors of the utilisation, and the costs of neighbouring widths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hwflow.cli.console import Page, Table, number
from hwflow.cli.estimate_page import shape_text, whose_energies
from hwflow.cost.edge_cycles import Edges
from hwflow.cost.mid import MapResult
from hwflow.cost.utilization import Share
from hwflow.layers import DIRECT
from hwflow.results import LayerCost
from hwflow.text import visible


@dataclass(frozen=True)
class Neighbour:
    """A width beside the layer's own: `M=36`, and its cost, or None where it has no mapping."""

    width: str
    wider: bool
    cost: LayerCost | None


def map_page(
    found: MapResult,
    accelerator: str,
    objective: str,
    dataflow: str,
    shares: Sequence[Share],
    neighbours: Sequence[Neighbour],
    edges: Edges | None = None,
    *,
    perfect: bool = False,
) -> Page:
    """The answer of `hwflow map`; `edges` where their cycles were asked for. `perfect`: whether perfect factors alone were."""
    cost = found.cost
    tables = [_counts(cost), _energies(cost), _shares(shares, cost)]
    if neighbours:
        tables.append(_beside(neighbours, cost, objective))
    lines = [
        f"{number(cost.cycles, 0)} cycles, bound by {cost.limited_by}; utilisation "
        f"{number(100 * (cost.utilization or 0), 1)} %; "
        f"DRAM {number(cost.dram_bytes / 1e3, 1)} kB.",
        *(f"{share.name}: {share.used:,} of {share.available:,}; {share.why}." for share in shares if share.why),
        *_oddities(neighbours, cost, objective),
        *_edges(edges),
        f"Counts are per instance of a level. Objective {objective}: {_proven(found, objective, edges, perfect)}.",
        f"Answered by {cost.engine}; dataflow {dataflow}; energies: {cost.energy_source}.",
    ]
    how = "" if cost.layer.execution == DIRECT else f", run as {cost.layer.execution}"
    title = f"{visible(cost.layer.name)}{how} ({shape_text(cost.layer)}) on {accelerator}{whose_energies([cost.energy_source])}"
    return Page(f"{title}\n\n{found.mapping}", tables, lines)


def map_object(
    found: MapResult,
    accelerator: str,
    objective: str,
    dataflow: str,
    shares: Sequence[Share],
    neighbours: Sequence[Neighbour],
    edges: Edges | None = None,
) -> str:
    """The same as one JSON object."""
    cost = found.cost
    content: dict[str, Any] = {
        "accelerator": accelerator,
        "dataflow": dataflow,
        "objective": objective,
        "proven_optimal": found.proven_optimal,
        "bound": found.bound,
        "perfect_bound": found.perfect_bound,
        "layer": cost.row(),
        "mapping": list(cost.mapping or ()),
        "accesses": {level: {t: dict(c) for t, c in tensors.items()} for level, tensors in cost.accesses.items()},
        "instances_used": dict(cost.utilized_instances),
        "where_mac_cycles_go": [
            {"name": s.name, "loops": s.loops, "used": s.used, "of": s.available, "share": s.value} for s in shares
        ],
        "other_widths": [{"width": n.width, "cost": None if n.cost is None else n.cost.row()} for n in neighbours],
    }
    if edges:
        content["edge_cycles"] = {"fill": edges.fill, "drain": edges.drain}
    return json.dumps(content, indent=2) + "\n"


def _counts(cost: LayerCost) -> Table:
    kinds = ("reads", "fills", "updates")
    rows = [
        [level, tensor, *(number(c[kind], 0) for kind in kinds), number(cost.utilized_instances.get(level), 0)]
        for level, tensors in cost.accesses.items()
        for tensor, c in tensors.items()
    ]
    return Table(["level", "tensor", *(f"{kind} (words)" for kind in kinds), "instances used"], rows, left=frozenset({0, 1}))


def _energies(cost: LayerCost) -> Table:
    rows = [[part, number(e, 0), number(100 * e / (cost.energy or 1), 1)] for part, e in cost.energy_by_level.items()]
    headings = ["part", f"energy ({cost.energy_unit})", "share (%)"]
    return Table(headings, rows, ["total", number(cost.energy, 0), "100.0"])


def _shares(shares: Sequence[Share], cost: LayerCost) -> Table:
    rows = [[s.name, s.loops or "-", f"{s.used:,}", f"{s.available:,}", number(100 * s.value, 1)] for s in shares]
    totals = ["utilisation (product)", "", "", "", number(100 * (cost.utilization or 0), 1)]
    return Table(["where MAC cycles go", "loops", "used", "of", "share (%)"], rows, totals, frozenset({0, 1}))


def _beside(neighbours: Sequence[Neighbour], cost: LayerCost, objective: str) -> Table:
    headings = ["width", f"energy ({cost.energy_unit})", "cycles", "util. (%)", f"{objective} (this = 1)"]
    rows = [["this", *_cells(cost, cost, objective)], *([n.width, *_cells(n.cost, cost, objective)] for n in neighbours)]
    return Table(headings, rows)


def _cells(cost: LayerCost | None, own: LayerCost, objective: str) -> list[str]:
    if cost is None:
        return ["no mapping", "-", "-", "-"]
    ratio = _value(cost, objective) / _value(own, objective)
    return [number(cost.energy, 0), number(cost.cycles, 0), number(100 * (cost.utilization or 0), 1), number(ratio, 3)]


def _oddities(neighbours: Sequence[Neighbour], own: LayerCost, objective: str) -> list[str]:
    """Where more channels cost less."""
    lines = []
    for n in neighbours:
        if n.cost is None:
            continue
        ratio = _value(n.cost, objective) / _value(own, objective)
        if ratio < 1 if n.wider else ratio > 1:
            changes = [f"energy {_change(n.cost.energy, own.energy)}", f"cycles {_change(n.cost.cycles, own.cycles)}"]
            relation = "is wider and has less" if n.wider else "is narrower and has more"
            lines.append(f"Raggedness: {n.width} {relation} {objective}: {', '.join(changes)}.")
    return lines


def _change(value: float | None, base: float | None) -> str:
    return f"{100 * ((value or 0) / (base or 1) - 1):+.1f} %"


def _edges(edges: Edges | None) -> list[str]:
    if edges is None:
        return []
    parts = [
        f"{verb} {', '.join(f'{name} {cycles:,}' for name, cycles in times.items())}"
        for verb, times in (("fill", edges.fill), ("drain", edges.drain))
        if times
    ]
    return [f"Cycles at the layer's edges, by hwflow's own estimate: {edges.cycles:,} ({'; '.join(parts) or 'none'})."]


def _proven(found: MapResult, objective: str, edges: Edges | None, perfect: bool) -> str:
    if edges is not None and edges.cycles and objective != "energy":
        return "the mapping was chosen without the cycles at the edges, and nothing is proven of it with them"
    if found.proven_optimal:
        return f"proven to have the least {objective} that {'perfect factors allow' if perfect else 'the dataflow allows'}"
    if found.perfect_bound:
        ratio = _value(found.cost, objective) / found.perfect_bound
        told = f"proven to be within {100 * (1 - 1 / ratio):.3g} % of the least {objective} that perfect factors allow"
        if abs(ratio - 1) < _ROUNDING:
            told = f"proven to have the least {objective} that perfect factors allow"
        elif ratio < 1:
            told = f"proven to have {100 * (1 - ratio):.3g} % less {objective} than perfect factors allow"
        if found.bound is None or found.bound >= found.perfect_bound:
            return told
        more = 1 - found.bound / _value(found.cost, objective)
        return f"{told}, and within {100 * more:.3g} % of the least with imperfect ones"
    if found.bound is None:
        return "nothing is proven of it"
    energy = found.cost.energy_unit
    unit = {"energy": energy, "latency": "cycles", "edp": f"{energy} x cycles"}[objective]
    return f"this mapping has {_value(found.cost, objective):.6g}, no mapping can have less than {found.bound:.6g} {unit}"


_ROUNDING = 1e-8  # bounds are sums in another order than costs


def _value(cost: LayerCost, objective: str) -> float:
    energy, cycles = cost.energy or 0.0, float(cost.cycles or 0)
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]

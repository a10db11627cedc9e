"""`NetworkCost`: the results of every level, with `LayerCost` a row, as tables, JSON and CSV with units in their names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow import display
from hwflow.layer_cost import ARRAY, COMPUTE, Accesses, LayerCost, limit_of
from hwflow.metrics import TOTALS
from hwflow.occupancy import Occupancy, OperatorCost
from hwflow.text import csv_of
from hwflow.types import LevelName

if TYPE_CHECKING:
    import pandas

LEVELS: tuple[LevelName, ...] = ("coarse", "mid", "fine")
"""hwflow's own levels, the most abstract first."""


def without(provenance: Mapping[str, Any]) -> str:
    """What was asked for and the level that answered does not know of, to be put behind its name; empty where there is none."""
    missing = provenance.get("without") or ()
    return f", without {' and '.join(missing)}" if missing else ""


def in_order(levels: Iterable[LevelName]) -> list[LevelName]:
    """Levels as reports list them, each once: hwflow's own, the most abstract first, then others as they came."""
    given = dict.fromkeys(levels)
    return [*(level for level in LEVELS if level in given), *(level for level in given if level not in LEVELS)]


def batch_text(layers: Iterable[tuple[str, int]]) -> str:
    """The batch of layers, given by type and N, as headings have it: "batch 8", or "batch 1 or 8" where layers differ.

    A product of two activations has its samples among its groups, so its N says nothing where others have one.
    """
    given = list(layers)
    sizes = sorted({n for kind, n in given if kind != "matmul"} or {n for _, n in given})
    if len(sizes) > 3:
        return f"batch {sizes[0]} to {sizes[-1]}"
    return f"batch {' or '.join(map(str, sizes))}"


@dataclass(frozen=True, repr=False)
class NetworkCost:
    """Costs of all layers of a network, one row an occurrence, with totals.

    Totals assume that every layer reads and writes DRAM, but for what stays as `occupancy` says. `area_um2` is the chip's
    (`hwflow.hardware.energy_table.chip_area_um2`), or None where it is not known. `params_by_kind` splits all parameters, as
    `Network.params_by_kind` does. `chip` (an `Accelerator`) and `tables` (an `EnergyTable` a row) are there for figures; they
    are not part of the result, and None and empty where it was put together by hand.

    Attributes:
        peak_activation_bytes: The most memory that activations take at once, batch included, at the word widths of chip and
            layers; None if it is not known which operator reads what.
        operators: with a price beside the rows, in order of execution; in the totals.
        occupancy: what stays on the chip, where that was asked for.
    """

    network: str
    accelerator: str | None
    level: LevelName
    batch: int
    rows: tuple[LayerCost, ...]
    params_other: int = 0
    not_counted: Mapping[str, int] = field(default_factory=dict)
    other_traffic_bytes: float | None = None
    mac_units: int | None = None
    area_um2: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)
    params_by_kind: Mapping[str, int] = field(default_factory=dict)
    chip: Any = field(default=None, compare=False, repr=False)
    tables: tuple[Any, ...] = field(default=(), compare=False, repr=False)
    peak_activation_bytes: int | None = None
    operators: tuple[OperatorCost, ...] = ()
    occupancy: Occupancy | None = None

    def __repr__(self) -> str:
        return f"<NetworkCost {_line(self)}>"

    def _repr_html_(self) -> str:
        return _html(self)

    def to_html(self, path: str | Path) -> Path:
        """Write the report with figures and tables, as `hwflow estimate --html` does (extra `report`); gives the file."""
        return display.write_costs_page([self], path)

    def figures(self) -> dict[str, Any]:
        """The report's figures as `plotly.graph_objects.Figure`, by title (extra `report`)."""
        return display.costs_figures([self])

    def plot(self, title: str | None = None) -> Any:
        """One of `figures`: energy by layer and part, or the first whose title has these words ("roofline")."""
        return display.chosen_figure(self.figures(), title)

    @property
    def title(self) -> str:
        """What was costed, in one line: the network, the chip with its changes, level, batch and word widths."""
        where = f" on {self.accelerator}" if self.accelerator else ", no accelerator"
        widths = {row.layer.bits for row in self.rows}
        bits = widths.pop() if len(widths) == 1 else None
        told = (
            f", {bits.weights}-bit weights, {bits.inputs}-bit activations"
            if bits
            else ", several word widths"
            if widths
            else ""
        )
        batch = batch_text((row.layer.type, row.layer.N) for row in self.rows)
        return f"{self.network}{where}, level {self.level}{self._asked()}, {batch}{told}{self._executed()}"

    def _executed(self) -> str:
        """Which execution was asked for, where that was not the direct one."""
        asked = (self.provenance.get("execution") or {}).get("asked")
        return "" if asked is None else f", execution {asked}" if isinstance(asked, str) else ", executions by layer"

    def _asked(self) -> str:
        """Which level was asked for and why it did not answer, where another one did."""
        asked = self.provenance.get("asked_level", self.level)
        if asked == self.level:
            return ""
        reason = str(self.provenance.get("fallback") or "").partition(f"instead of {asked}: ")[2]
        return f" ({asked} was asked for{': ' if reason else ''}{_first_clause(reason)})"

    def _sum(self, values: list[Any]) -> Any:
        return None if any(v is None for v in values) else sum(values)

    @property
    def _parts(self) -> tuple[LayerCost | OperatorCost, ...]:
        return (*self.rows, *self.operators)

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return sum(r.layer.macs for r in self.rows)

    @property
    def params(self) -> int:
        """Weights of all rows, those that several rows read counted once."""
        return sum(r.layer.own_params for r in self.rows)

    @property
    def params_total(self) -> int:
        """All parameters of the network, each once: weights, bias, normalization and others."""
        return self.params + self.params_other

    @property
    def energy_pj(self) -> float | None:
        """Picojoule; None in normalised units."""
        return self._sum([r.energy_pj for r in self._parts])  # type: ignore[no-any-return]

    @property
    def energy_normalized(self) -> float | None:
        """Units of one 16-bit multiply-accumulate; None where energies are in picojoule."""
        return self._sum([r.energy_normalized for r in self._parts])  # type: ignore[no-any-return]

    @property
    def cycles(self) -> int | None:
        """Clock cycles, layers and other operators one after the other."""
        return self._sum([r.cycles for r in self._parts])  # type: ignore[no-any-return]

    @property
    def latency_s(self) -> float | None:
        """Seconds."""
        return self._sum([r.latency_s for r in self._parts])  # type: ignore[no-any-return]

    @property
    def per_image(self) -> dict[str, float | None] | None:
        """Energy, latency and DRAM bytes by the images of the batch; None at batch 1, or where layers have several batches."""
        if self.batch == 1 or batch_text((row.layer.type, row.layer.N) for row in self.rows) != f"batch {self.batch}":
            return None
        totals = {
            "energy_pj": self.energy_pj,
            "energy_normalized": self.energy_normalized,
            "latency_s": self.latency_s,
            "dram_bytes": self.dram_bytes,
        }
        return {name: None if value is None else value / self.batch for name, value in totals.items()}

    @property
    def edp_pj_s(self) -> float | None:
        """(sum of energies)(sum of latencies), in picojoule seconds."""
        if self.energy_pj is None or self.latency_s is None:
            return None
        return self.energy_pj * self.latency_s

    @property
    def dram_bytes(self) -> float:
        """Bytes read from and written to DRAM."""
        return sum(r.dram_bytes for r in self._parts)

    @property
    def utilization(self) -> float | None:
        """MACs / (cycles x MAC units)."""
        if self.cycles is None or not self.mac_units:
            return None
        return self.macs / (self.cycles * self.mac_units)

    @property
    def energy_sources(self) -> tuple[str, ...]:
        """The sources of energy in the rows, each once."""
        return tuple(dict.fromkeys(r.energy_source for r in self.rows))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line (reference/result.md in the documentation)."""
        asked: dict[str, Any] = {"operators": [operator.row() for operator in self.operators]} if self.operators else {}
        asked |= {"occupancy": self.occupancy.to_dict()} if self.occupancy else {}
        return {
            "network": self.network,
            "accelerator": self.accelerator,
            "level": self.level,
            "batch": self.batch,
            "totals": {metric.field: getattr(self, metric.field) for metric in TOTALS},
            "layers": [r.row() for r in self.rows],
            "not_counted": dict(self.not_counted),
            "provenance": dict(self.provenance),
            **asked,
        }

    def to_json(self) -> str:
        """One JSON object, with a final newline."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def records(self) -> list[dict[str, Any]]:
        """Flat rows: shape, strides, dilations and energies by level as columns of their own."""
        flat = []
        for row in (r.row() for r in self.rows):
            shape, strides, dilations = row.pop("shape"), row.pop("strides"), row.pop("dilations")
            densities = {f"density_{tensor}": share for tensor, share in row.pop("densities", {}).items()}
            by_level = {}
            for unit in ("pj", "normalized"):
                for part, value in (row.pop(f"energy_by_level_{unit}") or {}).items():
                    by_level[f"energy_{part}_{unit}"] = value
            head = {"network": self.network, "accelerator": self.accelerator, "batch": self.batch}
            kernel = {"stride_w": strides[0], "stride_h": strides[1], "dilation_w": dilations[0], "dilation_h": dilations[1]}
            flat.append(
                {**head, "name": row.pop("name"), "type": row.pop("type"), **shape, **kernel, **row, **by_level, **densities}
            )
        return flat

    def to_csv(self) -> str:
        """One line a layer, units in the column names."""
        return csv_of(self.records())

    def to_frame(self) -> pandas.DataFrame:
        """The rows of `to_csv` as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.records())


def _first_clause(text: str) -> str:
    """The text before the first colon or semicolon outside parentheses."""
    return re.split(r"[:;](?![^()]*\))", text)[0]


def totals_of(cost: NetworkCost) -> list[str]:
    """A network's energy and latency with their units; what the level does not know is left out."""
    told = []
    if cost.energy_pj is not None:
        told.append(f"{cost.energy_pj * 1e-6:,.2f} uJ")
    elif cost.energy_normalized is not None:
        told.append(f"{cost.energy_normalized * 1e-6:,.2f} M units")
    if cost.latency_s is not None:
        told.append(f"{display.latency_text(cost.latency_s)}")
    return told or [f"{cost.macs * 1e-6:,.2f} M MACs"]


def _line(cost: NetworkCost) -> str:
    """`resnet18 on eyeriss, level mid, batch 1: 9,041.20 uJ, 41.310 ms, 21 layers`."""
    return f"{cost.title}: {', '.join(totals_of(cost))}, {len(cost.rows)} layers"


def _html(cost: NetworkCost) -> str:
    """The table of layers, with totals."""
    unit, scale = ("uJ", 1e-6) if cost.rows[0].energy_unit == "pJ" else ("M units", 1e-6)
    headings = ["layer", "MACs (M)", f"energy ({unit})", "cycles", "util. (%)", "DRAM (kB)", "bound by"]
    rows = [
        [
            row.layer.name,
            display.figure_text(row.layer.macs, 1e-6),
            display.figure_text(row.energy, scale),
            display.figure_text(row.cycles, digits=0),
            display.figure_text(row.utilization, 100, 1),
            display.figure_text(row.dram_bytes, 1e-3, 1),
            row.limited_by or "-",
        ]
        for row in cost.rows
    ]
    energy = cost.energy_pj if cost.energy_pj is not None else cost.energy_normalized
    totals = [
        "total",
        display.figure_text(cost.macs, 1e-6),
        display.figure_text(energy, scale),
        display.figure_text(cost.cycles, digits=0),
    ]
    totals += [display.figure_text(cost.utilization, 100, 1), display.figure_text(cost.dram_bytes, 1e-3, 1), ""]
    notes = dict.fromkeys(row.note for row in cost.rows if row.note)
    return display.table_html(cost.title, headings, rows, totals, [*totals_of(cost), *cost.energy_sources, *notes])


__all__ = [
    "ARRAY",
    "COMPUTE",
    "LEVELS",
    "Accesses",
    "LayerCost",
    "LevelName",
    "NetworkCost",
    "batch_text",
    "in_order",
    "limit_of",
    "totals_of",
    "without",
]

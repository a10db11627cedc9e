"""`compare`: one network on several accelerators, at several levels and with several dataflows, side by side."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from hwflow import display
from hwflow.cost.backend import backend_of, check_used
from hwflow.cost.estimator import evaluate
from hwflow.cost.executed_network import AUTO
from hwflow.cost.inputs import accelerator_of, network_of
from hwflow.cost.options import CostOptions, SharedArguments, options_of
from hwflow.cost.session import Notify, opened
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import DIRECT
from hwflow.network import Network
from hwflow.progress import Progress, Shown, shown
from hwflow.ranking import spearman
from hwflow.results import LevelName, NetworkCost, totals_of, without
from hwflow.store import Store
from hwflow.text import csv_of

if TYPE_CHECKING:
    import pandas

    from hwflow.cost.inputs import AcceleratorLike
    from hwflow.network.load import NetworkLike


@dataclass(frozen=True)
class Configuration:
    """One configuration of a comparison. `level` is what was asked for; `cost.level` what answered."""

    accelerator: str
    level: str
    dataflow: str | None
    cost: NetworkCost
    execution: str = DIRECT

    @property
    def answered(self) -> str:
        """The level, marked where another one answered."""
        return self.level if self.level == self.cost.level else f"{self.level} (by {self.cost.level})"

    @property
    def label(self) -> str:
        """A label that is unique in the comparison: `eyeriss (pe_array.rows=24)/mid/row_stationary`, and the execution if that
        is not `direct`; with what was asked for and the level does not know of: `eyeriss/coarse, without activations resident`.
        """
        how = [] if self.execution == DIRECT else [self.execution]
        parts = "/".join([self.accelerator, self.answered, *([self.dataflow] if self.dataflow else []), *how])
        return parts + without(self.cost.provenance)


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `compare` gives: the network and its variants; ratios and ranks are against the first of them."""

    network: Network
    variants: tuple[Configuration, ...]

    def __iter__(self) -> Any:
        return iter(self.variants)

    def __len__(self) -> int:
        return len(self.variants)

    def against_first(self, variant: Configuration) -> dict[str, float | None]:
        """A variant's ratios of energy and latency, and Spearman's correlations over the layers, against the first variant."""
        cost, base = variant.cost, self.variants[0].cost
        same_unit = cost.rows[0].energy_unit == base.rows[0].energy_unit
        energy, other = _filled([r.energy for r in cost.rows]), _filled([r.energy for r in base.rows])
        latency, slow = _filled([r.latency_s for r in cost.rows]), _filled([r.latency_s for r in base.rows])
        return {
            "energy_ratio": _ratio(sum(energy) + _beside(cost, "energy"), sum(other) + _beside(base, "energy"))
            if same_unit
            else None,
            "latency_ratio": _ratio(sum(latency) + _beside(cost, "latency_s"), sum(slow) + _beside(base, "latency_s")),
            "energy_rank_correlation": spearman(energy, other),
            "latency_rank_correlation": spearman(latency, slow),
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the command line."""
        entries = []
        for v in self.variants:
            asked = {"accelerator": v.accelerator, "asked_level": v.level, "dataflow": v.dataflow, "execution": v.execution}
            entries.append({**asked, **self.against_first(v), "cost": v.cost.to_dict()})
        return {"network": self.network.name, "variants": entries}

    def to_json(self) -> str:
        """One JSON object, with a final newline."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def records(self) -> list[dict[str, Any]]:
        """One flat row a layer and variant, with the level that was asked for and the dataflow."""
        return [
            {"asked_level": v.level, "dataflow": v.dataflow or "", **row} for v in self.variants for row in v.cost.records()
        ]

    def to_csv(self) -> str:
        """The rows of `records`."""
        return csv_of(self.records())

    def to_frame(self) -> pandas.DataFrame:
        """One row a variant: its totals, ratios and rank correlations."""
        import pandas as pd

        return pd.DataFrame(
            {
                "accelerator": v.accelerator,
                "asked_level": v.level,
                "level": v.cost.level,
                "dataflow": v.dataflow,
                "execution": v.execution,
                **v.cost.to_dict()["totals"],
                **self.against_first(v),
            }
            for v in self.variants
        )

    def to_html(self, path: str | Path) -> Path:
        """Write the report with figures and tables, as `hwflow compare --html` does (extra `report`); gives the file."""
        return display.write_costs_page([v.cost for v in self.variants], path)

    def figures(self) -> dict[str, Any]:
        """The report's figures as `plotly.graph_objects.Figure`, by title (extra `report`)."""
        return display.costs_figures([v.cost for v in self.variants])

    def plot(self, title: str | None = None) -> Any:
        """One of `figures`: energy by part of the chip, or the first whose title has these words ("roofline")."""
        return display.chosen_figure(self.figures(), title)

    def _repr_html_(self) -> str:
        return display.table_html(f"{self.network.name}, {len(self)} configurations", *self._table())

    def __repr__(self) -> str:
        return f"<Comparison of {self.network.name}: {', '.join(v.label for v in self.variants)}>"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        headings = ["configuration", "energy and latency", "energy ratio", "latency ratio"]
        rows = []
        for v in self.variants:
            found = self.against_first(v)
            ratios = [found["energy_ratio"], found["latency_ratio"]]
            told = ["-" if ratio is None else f"{ratio:.3f}" for ratio in ratios]
            rows.append([v.label, ", ".join(totals_of(v.cost)), *told])
        return headings, rows


def compare(
    network: NetworkLike,
    accelerators: AcceleratorLike | Sequence[AcceleratorLike],
    *,
    levels: Sequence[LevelName] = ("coarse", "mid"),
    dataflows: Sequence[str | None] = (None,),
    executions: Sequence[str] = (DIRECT,),
    input_shape: Any = None,
    batch: int | None = None,
    bits: tuple[int, int] | None = None,
    options: CostOptions | None = None,
    store: Store | bool = True,
    progress: Shown = None,
    notify: Notify | None = None,
    **given: Unpack[SharedArguments],
) -> Comparison:
    """A network on accelerators, at levels, with dataflows and executions side by side, in this order; the first is the
    reference.

    Args:
        accelerators: one or several, as `estimate` takes them.
        levels: of coarse, mid, fine and ppa.
        dataflows: names or YAML files; None is the accelerator's own. Coarse has no mapping, and answers once for all of them.
        executions: names, as `CostOptions.execution` takes them.
        options, given: as in `estimate`; `levels`, `dataflows` and `executions` stand for level, dataflow and execution.
        input_shape and the rest: as in `estimate`.

    Raises:
        InputError, NotMappable, ToolMissing, ToolError: as `estimate`.
    """
    listed: Any = [accelerators] if isinstance(accelerators, (str, Path, Accelerator)) else accelerators
    chips = [accelerator_of(one) for one in listed]
    named: list[Any] = [levels] if isinstance(levels, str) else list(levels)
    flows, ways = list(dataflows), [executions] if isinstance(executions, str) else list(executions)
    if not chips or not named or not flows or not ways:
        raise InputError(
            "a comparison needs at least one accelerator, one level, one dataflow (None: the accelerator's own) and one "
            "execution (direct)."
        )
    net = network_of(network, input_shape=input_shape, batch=batch, bits=bits)
    asked = options_of(options, given)
    _check_alone(asked)
    each = [replace(asked, level=level, dataflow=flow, execution=how) for level in named for flow in flows for how in ways]
    asked = replace(asked, execution=AUTO if AUTO in ways else DIRECT)
    for flow in flows:
        check_used(replace(asked, dataflow=flow), named)
    variants = []
    with opened(store, notify) as (cache, tell), shown(progress, f"comparing {net.name}") as bar:
        for chip, one in itertools.product(chips, each):
            maps = backend_of(one.level).maps
            if not maps:
                if one.dataflow != flows[0]:
                    continue  # no mapping, so no dataflow: once is enough
                one = replace(one, dataflow=None)  # noqa: PLW2901
            cost = evaluate([(net, chip)], one, cache, _labelled(bar, f"{chip.label} at {one.level}"), tell)[0]
            flow = one.dataflow or chip.dataflow if maps else None
            variants.append(Configuration(chip.label, one.level, flow, cost, str(one.execution)))
    return Comparison(net, tuple(variants))


def _check_alone(asked: CostOptions) -> None:
    """Refuse options whose place `levels`, `dataflows` and `executions` take."""
    usual = CostOptions()
    for name in ("level", "dataflow", "execution"):
        if (value := getattr(asked, name)) != getattr(usual, name):
            raise InputError(f"{name} is {value!r}, but compare takes several: give {name}s=[{value!r}].")


def _labelled(progress: Progress | None, label: str) -> Progress | None:
    if progress is None:
        return None

    def tell(done: int, total: int, text: str) -> None:
        progress(done, total, f"{label}: {text}")

    return tell


def _ratio(value: float, base: float) -> float | None:
    return value / base if base else None


def _beside(cost: NetworkCost, field: Literal["energy", "latency_s"]) -> float:
    """Of all operators beside the layers."""
    return sum(float(getattr(operator, field)) for operator in cost.operators)


def _filled(values: Sequence[float | None]) -> list[float]:
    return [0.0 if v is None else v for v in values]


__all__ = ["Comparison", "Configuration", "compare"]

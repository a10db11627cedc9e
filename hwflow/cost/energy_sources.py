"""The source of energies in an estimate: recorded, fitted, Accelergy or normalised units. Every row names its source.

`auto` takes what was recorded of a part (presets, and what variants leave alone of them), fits the parts that were not, and
answers in normalised units where a part is outside what was characterised. It never runs Accelergy: a result must not depend
on what is installed. `fitted` fits all parts, so that a sweep over sizes has no step where a recorded one lies among them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from hwflow.cost.serialization import is_energy_table
from hwflow.errors import HwflowError, InputError, not_found
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable, PartEnergy, normalized, recorded, unrecorded
from hwflow.store import Store, key_of
from hwflow.store.pool import Task, run

if TYPE_CHECKING:
    from hwflow.timeloop.engine import Engine

Source = Literal["auto", "recorded", "fitted", "accelergy", "normalized"]
SOURCES: tuple[Source, ...] = get_args(Source)

KIND = "energy"
"""The store's kind of energy tables."""


def energy_table(
    accelerator: Accelerator, source: str = "auto", *, engine: str | None = None, store: Store | None = None
) -> EnergyTable:
    """Energies of all parts of an accelerator.

    Args:
        engine: where Accelergy runs, if it has to; None takes the first engine that answers.
        store: keeps what Accelergy answers.

    Raises:
        InputError: for an unknown source, `recorded` where a part was never recorded, `fitted` where one is out of range.
        ToolMissing: for `accelergy` where it is not installed.
        ToolError: where Accelergy fails, or a dummy estimator answered.
    """
    return energy_tables([accelerator], source, engine=engine, store=store)[accelerator.fingerprint]


def energy_tables(
    accelerators: Sequence[Accelerator], source: str = "auto", *, engine: str | None = None, store: Store | None = None
) -> dict[str, EnergyTable]:
    """Energies of several chips by fingerprint, all in one unit: one chip without brings all to normalised ones.

    One network can need several chips where its layers differ in word widths.
    """
    if source not in SOURCES:
        raise not_found("energy source", source, SOURCES)
    tables: dict[str, EnergyTable] = {}
    for accelerator in accelerators:
        if accelerator.fingerprint not in tables:
            tables[accelerator.fingerprint] = _one(accelerator, source, engine, store)
    without = [t for t in tables.values() if t.unit == "normalized"]
    if without and len(without) < len(tables):
        tables = {a.fingerprint: replace(normalized(a), source=without[0].source) for a in accelerators}
    return tables


def _one(accelerator: Accelerator, source: str, engine: str | None, store: Store | None) -> EnergyTable:
    if source == "accelergy":
        return _from_accelergy(accelerator, engine, store)
    without = accelerator.without_energies
    if without and source in ("recorded", "fitted"):
        raise InputError(
            f"accelerator {accelerator.name} has no {source} energies: {'; '.join(without)}. Use auto, which then answers in "
            "normalised units, or accelergy where it is installed."
        )
    if without and source == "auto":
        plain = normalized(accelerator.physical)
        table = replace(plain, source=f"{plain.source}: {without[0]}")
    else:
        table = _without_accelergy(accelerator.physical, source)
        table = replace(table, parts={name: _share(part, accelerator.sharers(name)) for name, part in table.parts.items()})
    if not accelerator.energy_remark:
        return table
    whose = "" if table.unit == "normalized" else "of hwflow's own components, "
    return replace(table, source=f"{table.source}; {whose}{accelerator.energy_remark}")


def _without_accelergy(accelerator: Accelerator, source: str) -> EnergyTable:
    if source == "normalized":
        return normalized(accelerator)
    if source == "fitted":
        from hwflow.hardware.energy_fit import fitted

        return fitted(accelerator)
    table = recorded(accelerator)
    if table is not None:
        return table
    if source == "recorded":
        raise InputError(
            f"accelerator {accelerator.name} has no recorded energies for {', '.join(unrecorded(accelerator))}: only the "
            "presets' own parts have. Use auto or fitted, or accelergy where it is installed."
        )
    from hwflow.hardware.energy_fit import OutOfRange, completed

    try:
        return completed(accelerator)
    except OutOfRange as error:
        plain = normalized(accelerator)
        return replace(plain, source=f"{plain.source}: {str(error).split('. ')[0]}")


def _share(part: PartEnergy, sharers: int) -> PartEnergy:
    """The area of one instance of an array that several share."""
    return part if sharers == 1 or part.area_um2 is None else replace(part, area_um2=part.area_um2 / sharers)


def _from_accelergy(accelerator: Accelerator, engine: str | None, store: Store | None) -> EnergyTable:
    """Accelergy runs once for an accelerator; the store keeps the answer for as long as the tool is the same."""
    tool = _tool(engine)
    key = key_of(accelerator.fingerprint, tool.name, tool.version("accelergy"))
    task = Task(KIND, key, f"energies of {accelerator.name}", ask_accelergy, (accelerator, tool), accepts=is_energy_table)
    answer = run([task], store=store)[key]
    if isinstance(answer, HwflowError):
        raise answer
    parts = {name: PartEnergy(**part) for name, part in answer["parts"].items()}
    return EnergyTable(answer["unit"], answer["source"], parts, answer["provenance"])


def ask_accelergy(accelerator: Accelerator, tool: Engine) -> dict[str, Any]:
    """Accelergy's table as plain data."""
    from hwflow.timeloop.accelergy import characterise

    table = characterise(accelerator, tool)
    return {**table.content(), "source": table.source, "provenance": dict(table.provenance)}


def _tool(engine: str | None) -> Engine:
    """Where Accelergy runs. It needs no Timeloop beside it."""
    from hwflow.timeloop.engine import Native, find_engine

    return Native() if engine is None and shutil.which("accelergy") else find_engine(engine, tools=("accelergy",))

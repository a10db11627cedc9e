"""Which energies an estimate uses: recorded, Accelergy's own, or normalised units. Every row says which.

`auto` takes the recorded energies where every part of the accelerator has been recorded (presets, and variants that change no
memory), otherwise Accelergy where it is installed, otherwise normalised units. (Energies fitted for variants come with sweeps.)
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from hwflow.accelerator import Accelerator
from hwflow.cost.pool import Task, run
from hwflow.energy import EnergyTable, PartEnergy, normalized, recorded, unrecorded
from hwflow.errors import HwflowError, InputError, ToolMissing, not_found
from hwflow.store import Store, key_of

if TYPE_CHECKING:
    from hwflow.timeloop.engine import Engine

Source = Literal["auto", "recorded", "accelergy", "normalized"]
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
        InputError: for an unknown source, or `recorded` where a part was never recorded.
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
    _check(source)
    tables: dict[str, EnergyTable] = {}
    for accelerator in accelerators:
        if accelerator.fingerprint not in tables:
            tables[accelerator.fingerprint] = _one(accelerator, source, engine, store)
    without = [t for t in tables.values() if t.unit == "normalized"]
    if without and len(without) < len(tables):
        tables = {a.fingerprint: replace(normalized(a), source=without[0].source) for a in accelerators}
    return tables


def _check(source: str) -> None:
    if source == "fitted":
        raise InputError(
            "--energy fitted is not available yet: the fitted model for variants of the presets comes with sweeps. "
            "Use accelergy where it is installed, or normalized; auto chooses between them."
        )
    if source not in SOURCES:
        raise not_found("energy source", source, SOURCES)


def _one(accelerator: Accelerator, source: str, engine: str | None, store: Store | None) -> EnergyTable:
    if source == "normalized":
        return normalized(accelerator)
    if source in ("auto", "recorded"):
        table = recorded(accelerator)
        if table is not None:
            return table
        missing = ", ".join(unrecorded(accelerator))
        if source == "recorded":
            raise InputError(
                f"accelerator {accelerator.name} has no recorded energies for {missing}: only the presets' own parts have. "
                "Use accelergy where it is installed, or normalized."
            )
        try:
            return _from_accelergy(accelerator, engine, store)
        except ToolMissing:
            plain = normalized(accelerator)
            return replace(
                plain, source=f"{plain.source}: no energies are recorded for {missing}, and Accelergy is not installed"
            )
    return _from_accelergy(accelerator, engine, store)


def _from_accelergy(accelerator: Accelerator, engine: str | None, store: Store | None) -> EnergyTable:
    """Accelergy runs once for an accelerator; the store keeps the answer for as long as the tool is the same."""
    tool = _tool(engine)
    key = key_of(accelerator.fingerprint, tool.name, tool.version("accelergy"))
    task = Task(KIND, key, f"energies of {accelerator.name}", ask_accelergy, (accelerator, tool))
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

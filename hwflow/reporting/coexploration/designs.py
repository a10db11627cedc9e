"""The files of `hwflow ppa fronts`, read and validated: `fronts.json` and `designs.parquet`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from hwflow.errors import InputError
from hwflow.files import checked, parse_json, read_text
from hwflow.optional import needed
from hwflow.validation import Strict, explain

ABOUT, DESIGNS = "fronts.json", "designs.parquet"
PERFORMANCE_ENERGY, ACCURACY_PERFORMANCE, ACCURACY_ENERGY = (
    "front_performance_energy",
    "front_accuracy_performance",
    "front_accuracy_energy",
)


class About(Strict):
    """`fronts.json`: what was asked, and the model's errors on held-out chips (median, 95th percentile, rank correlation)."""

    kind: Literal["hwflow ppa fronts"]
    networks: tuple[str, ...]
    pe_types: tuple[str, ...]
    base: str
    fields: dict[str, tuple[float, float]]
    designs: int
    seed: int
    energy_unit: Literal["pJ", "normalized"]
    remark: str
    model: dict[str, Any]
    quality: dict[str, dict[str, tuple[float, float, float | None]]]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Designs:
    """Designs by network and PE type. `rows` are those of the table, each by its columns."""

    about: About
    rows: tuple[Mapping[str, Any], ...]

    @cached_property
    def unit(self) -> str:
        """Of energies: joule, or what normalised ones are called."""
        return "J" if self.about.energy_unit == "pJ" else " normalized"

    def of(self, network: str) -> list[Mapping[str, Any]]:
        """The rows of one network."""
        return [row for row in self.rows if row["network"] == network]

    def energy(self, row: Mapping[str, Any]) -> float:
        """Of an inference, in `unit`."""
        return float(row["energy"]) * (1e-12 if self.about.energy_unit == "pJ" else 1.0)

    def chip(self, row: Mapping[str, Any]) -> str:
        """The design's fields, in words."""
        return ", ".join(f"{name} {row[name]:g}" for name in self.about.fields)


def is_fronts(folder: Path) -> bool:
    """Whether `hwflow ppa fronts` wrote it."""
    return (folder / ABOUT).exists()


def read_designs(folder: Path) -> Designs:
    """What `hwflow ppa fronts` wrote.

    Raises:
        InputError: where a file is missing or damaged.
        MissingDependency: where pyarrow is not installed.
    """
    try:
        content = parse_json(read_text(folder / ABOUT, "the fronts", "result"))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / ABOUT} is damaged: {error}. Run the same 'hwflow ppa fronts' again.") from None
    try:
        about = About.model_validate(content)
    except ValidationError as error:
        raise InputError(
            f"{explain(error, content, f'{folder / ABOUT} is damaged')} Run the same 'hwflow ppa fronts' again."
        ) from None
    needed("pyarrow", "the report of fronts", "report")
    import pyarrow
    import pyarrow.parquet

    file = checked(folder / DESIGNS, "", "table", " does not exist. Run the same 'hwflow ppa fronts' again")
    try:
        rows = pyarrow.parquet.read_table(file).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{file} is damaged: {str(error).splitlines()[0]}. Run the same 'hwflow ppa fronts' again.") from error
    wanted = {"network", "pe_type", "design", "energy", "latency_s", "inferences_per_s", "inferences_per_s_mm2", "area_um2"}
    wanted |= {"accuracy", PERFORMANCE_ENERGY, ACCURACY_PERFORMANCE, ACCURACY_ENERGY, *about.fields}
    if not rows or (lacking := sorted(wanted - set(rows[0]))):
        what = f"lacks the column {lacking[0]}" if rows else "has no designs"
        raise InputError(f"{file} is damaged: it {what}. Run the same 'hwflow ppa fronts' again.")
    return Designs(about, tuple(rows))

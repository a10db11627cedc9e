"""Energy and area of a chip's parts from Accelergy, with the names of the estimators that it used.

Accelergy is asked once for a chip, not once a layer; its tables are then part of Timeloop's input. A table in which a dummy
estimator answered looks like any other, so the summaries, which name the estimators, decide whether it is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwflow.errors import InputError, ToolError, ToolMissing
from hwflow.files import read_yaml
from hwflow.hardware.accelerator import Accelerator, MacUnit, Memory
from hwflow.hardware.arithmetic import is_plain
from hwflow.hardware.energy_fit import priced_unit
from hwflow.hardware.energy_table import EnergyTable, PartEnergy, costed_parts, derived_part, estimators_of
from hwflow.timeloop.accelergy_parts import COMPUTE, STORAGE, accelergy_files, entry_of
from hwflow.timeloop.architecture import architecture_of
from hwflow.timeloop.engine import Engine
from hwflow.timeloop.run import run_tool

LIMIT_S = 600.0


def characterise(
    accelerator: Accelerator, engine: Engine, *, allow_dummy: bool = False, limit_s: float = LIMIT_S
) -> EnergyTable:
    """Ask Accelergy for the energy per action, in pJ, and the area, in square micrometres, of every part.

    Args:
        engine: where Accelergy runs.
        allow_dummy: take a table in which a placeholder answered, too; its source then says so.
        limit_s: wall-clock limit in seconds.

    Raises:
        InputError: the DRAM is one whose energies Accelergy does not know, but hwflow derives.
        ToolMissing: Accelergy is not here.
        ToolError: it failed (no plug-in answers for a part), wrote rubbish, or a dummy answered; naming the part.
    """
    what = f"Accelergy on accelerator {accelerator.name}"
    if derived_part(accelerator.dram):
        raise InputError(
            f"Accelergy's CACTI plug-in has no energies of {accelerator.dram.dram_type} (accelerator {accelerator.name}, "
            f"{accelerator.dram.name}.dram_type). Use --energy auto or fitted, which derive them from currents."
        )
    architecture, parts = architecture_of(accelerator), costed_parts(accelerator)
    files = architecture.accelergy_files()
    try:
        found = _run(files, parts, engine, what=what, allow_dummy=allow_dummy, limit_s=limit_s)
    except ToolMissing:
        raise
    except ToolError as error:
        raise ToolError(f"{error}{architecture.undefined()}") from error
    found = {name: _share(part, accelerator.sharers(name)) for name, part in found.items()}
    if not is_plain(unit := accelerator.mac):
        found[unit.name] = priced_unit(unit, found[unit.name], accelerator.cycle_s)
    versions = {"accelergy": engine.version("accelergy"), "engine": engine.name}
    return EnergyTable("pJ", f"accelergy ({estimators_of(found)})", found, versions)


def characterise_parts(
    parts: Sequence[Memory | MacUnit],
    technology_nm: float,
    cycle_s: float,
    engine: Engine,
    *,
    what: str,
    allow_dummy: bool = False,
    limit_s: float = LIMIT_S,
) -> dict[str, PartEnergy]:
    """The same for loose parts that share a process, by name; `what` is being done, for errors. Raises as `characterise`."""
    files = accelergy_files([entry_of(part) for part in parts], technology_nm, cycle_s)
    return _run(files, parts, engine, what=what, allow_dummy=allow_dummy, limit_s=limit_s)


def _share(part: PartEnergy, sharers: int) -> PartEnergy:
    """The area of one instance of an array that several share."""
    return replace(part, area_um2=part.area_um2 / sharers) if part.area_um2 else part


def _run(
    files: dict[str, str],
    parts: Sequence[Memory | MacUnit],
    engine: Engine,
    *,
    what: str,
    allow_dummy: bool,
    limit_s: float,
) -> dict[str, PartEnergy]:
    def read(place: Path) -> dict[str, PartEnergy]:
        found = read_tables(place, parts)
        if not allow_dummy:
            _refuse_dummies(found)
        return found

    return run_tool(["accelergy", *files], files, engine, limit_s=limit_s, read=read, what=what)[0]


def read_tables(place: Path, parts: Iterable[Memory | MacUnit]) -> dict[str, PartEnergy]:
    """The ERT and ART that Accelergy left in `place`, with the estimators of its summaries, by part.

    Raises:
        ToolError: naming the file and what was expected there.
    """
    energies = _entries(place / "ERT.yaml", "ERT", "tables")
    areas = _entries(place / "ART.yaml", "ART", "tables")
    answered = [_entries(place / f"{kind}_summary.yaml", f"{kind}_summary", "table_summary") for kind in ("ERT", "ART")]
    result = {}
    for part in parts:
        actions = _actions(_of(energies, part.name, place / "ERT.yaml"), part.name)
        rows = [_of(summary, part.name, place / "ERT_summary.yaml") for summary in answered]
        names = sorted({name for row in rows for name in _estimators(row)})
        if not names:
            raise ToolError(f"ERT_summary.yaml and ART_summary.yaml name no estimator for {part.name}.")
        wanted = COMPUTE if isinstance(part, MacUnit) else STORAGE
        missing = [a for a in wanted if a not in actions and (a, wanted) != ("leak", COMPUTE)]  # which nothing charges
        if missing:
            raise ToolError(f"ERT.yaml has no energy for {', '.join(missing)} of {part.name}.")
        try:
            values = {a: float(actions.get(a, 0.0)) for a in wanted}
            area = float(_of(areas, part.name, place / "ART.yaml")["area"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ToolError(f"ERT.yaml, ART.yaml: an energy or area of {part.name} is no number: {error}.") from None
        if not all(math.isfinite(v) and v >= 0 for v in (*values.values(), area)):
            raise ToolError(f"ERT.yaml, ART.yaml: an energy or area of {part.name} is negative or no number: {values}, {area}.")
        if not any(values[a] > 0 for a in wanted if a != "leak"):
            raise ToolError(f"ERT.yaml: every action of {part.name} costs 0 pJ, so nothing estimated it.")
        result[part.name] = PartEnergy(**values, area_um2=area or None, estimator="+".join(names))
    return result


def _refuse_dummies(found: dict[str, PartEnergy]) -> None:
    dummies = [f"{name} ({part.estimator})" for name, part in found.items() if "dummy" in part.estimator.lower()]
    if dummies:
        raise ToolError(
            f"a placeholder answered for {', '.join(dummies)}, so its energies mean nothing; install the plug-ins for CACTI "
            "and the component library (accelergy-cacti-plug-in, accelergy-library-plug-in), or use the recorded energies "
            "(--energy recorded) or normalised units (--energy normalized)"
        )


# Output --------------------------------------------------------------------------------------------------------------


def _entries(path: Path, root: str, table: str) -> dict[str, Any]:
    """The rows of one of Accelergy's tables, by the last part of their names."""
    if not path.exists():
        raise ToolError(f"Accelergy wrote no {path.name}.")
    try:
        rows = read_yaml(path, "Accelergy's table")[root][table]
        return {str(row["name"]).rsplit(".", 1)[-1]: row for row in rows}
    except (InputError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).replace(str(path), path.name).rstrip(".")
        raise ToolError(f"{path.name} is not Accelergy's {root}: {reason}.") from error


def _of(rows: dict[str, Any], name: str, where: Path) -> dict[str, Any]:
    row = rows.get(name)
    if not isinstance(row, dict):
        raise ToolError(f"{where.name}: Accelergy left out {name}; Timeloop would charge numbers of its own for it.")
    return row


def _actions(row: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        return {str(action["name"]): action["energy"] for action in row["actions"]}
    except (KeyError, TypeError) as error:
        raise ToolError(f"ERT.yaml: the actions of {name} are not a list of names and energies: {error}.") from None


def _estimators(row: dict[str, Any]) -> list[str]:
    listed = row.get("primitive_estimation(s)") or row.get("primitive_estimations") or []
    if not isinstance(listed, list):
        return [str(listed)]
    return [str(item.get("estimator", item)) if isinstance(item, dict) else str(item) for item in listed]

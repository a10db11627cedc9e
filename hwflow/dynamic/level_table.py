"""`Row` and `LevelTable`: what each level of a network takes on each unit at each operating point, as a device reads it.

Standard library only: this module runs in a device's loop.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hwflow.errors import InputError, is_number, is_whole, shown

TABLE, MEASURED = "table.json", "measured.json"
"""Files of a folder of levels: modelled and measured rows."""

WORTH = 0.01
"""By which share a row must be faster than one that is better otherwise; ours."""
_FORMAT = 1
_SLACK = 1e-6  # by which the stages' latencies may differ from their sum
_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """One level of a network on one unit at one operating point.

    Attributes:
        level: from 1, the smallest network.
        unit: an accelerator, or a processor.
        clock_mhz: 0 where it is not chosen, as of measured rows.
        voltage_v: None where it is not known.
        accuracy: 0 to 1.
        latency_s, energy_j: of one frame; energy is None where it is not known.
        memory_bytes: of the weights that the level reads.
        static_w: the part of the power that flows as long as a frame takes; it is in `energy_j`.
        stages: latency and DRAM transfer time of parts of the network that run one after the other, in seconds, from which
            `at_share` computes the latency at less bandwidth; empty where DRAM does not matter or is not known.
    """

    network: str
    level: int
    unit: str
    clock_mhz: float
    voltage_v: float | None
    accuracy: float
    latency_s: float
    energy_j: float | None
    memory_bytes: int
    static_w: float = 0.0
    stages: tuple[tuple[float, float], ...] = ()

    @property
    def power_w(self) -> float | None:
        """The mean over a frame."""
        return None if self.energy_j is None else self.energy_j / self.latency_s

    @property
    def key(self) -> tuple[str, int, str, float]:
        """What tells rows of a table apart: network, level, unit, clock."""
        return self.network, self.level, self.unit, self.clock_mhz

    def at_share(self, share: float) -> Row:
        """The row with a share of the DRAM's bandwidth, 0 to 1.

        A stage takes the longer of its latency and its transfers: with the mapping that it has, exactly max(L, D / share).
        Static power flows for as long as it takes.
        """
        if share == 1 or not self.stages:
            return self
        stages = tuple((max(latency, transfer / share), transfer / share) for latency, transfer in self.stages)
        latency = sum(stage for stage, _ in stages)
        energy = None if self.energy_j is None else self.energy_j + self.static_w * (latency - self.latency_s)
        return replace(self, latency_s=latency, energy_j=energy, stages=stages)

    @property
    def criteria(self) -> tuple[float, ...]:
        """What is minimised: accuracy lost, latency, energy, power. The last two are left out where energy is not known."""
        known = () if self.energy_j is None else (self.energy_j, self.energy_j / self.latency_s)
        return (-self.accuracy, self.latency_s, *known)


@dataclass(frozen=True)
class LevelTable:
    """The rows of one network.

    Attributes:
        kind: modelled or measured.
        about: where accuracies, costs and operating points come from, as plain data.
    """

    network: str
    kind: str
    rows: tuple[Row, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dominators(self) -> list[Row | None]:
        """For each row one of its unit that makes it useless: as good by all criteria, or but for `WORTH` of the latency."""
        found = dominators([row.criteria for row in self.rows], [row.unit for row in self.rows], WORTH)
        return [None if by is None else self.rows[by] for by in found]

    @property
    def kept(self) -> tuple[Row, ...]:
        """The rows that are worth having, among which a manager chooses."""
        return tuple(row for row, by in zip(self.rows, self.dominators, strict=True) if by is None)

    def to_json(self) -> str:
        """The file's content; equal tables give equal bytes."""
        rows = [
            {**asdict(row), "dominated_by": None if by is None else list(by.key[1:])}
            for row, by in zip(self.rows, self.dominators, strict=True)
        ]
        content = {"format": _FORMAT, "network": self.network, "kind": self.kind, "about": dict(self.about), "rows": rows}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def dominators(criteria: Sequence[Sequence[float]], groups: Sequence[object], slack: float = 0.0) -> list[int | None]:
    """For each point one of its group that is at least as good by all criteria, or None where the point is to be kept.

    Of equal points the first is kept. Ours: power is a criterion beside latency and energy, since a slower point can keep a
    limit on power that a faster one cannot; and `slack`, by which a point must be faster than one that is better otherwise.

    Args:
        criteria: as of `Row.criteria`, or the same without accuracy and with 0 in its place.
    """
    found: list[int | None] = [None] * len(criteria)
    kept: list[int] = []

    def order(i: int) -> tuple[float, ...]:
        accuracy, latency, *others = criteria[i]
        return (accuracy, *others, latency, i)

    for i in sorted(range(len(criteria)), key=order):  # what comes later cannot dominate
        loss, latency, *others = criteria[i]
        for k in kept:
            if groups[k] != groups[i] or criteria[k][0] > loss or criteria[k][1] > latency * (1 + slack):
                continue
            if all(theirs <= mine for theirs, mine in zip(criteria[k][2:], others, strict=True)):
                found[i] = k
                break
        else:
            kept.append(i)
    return found


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other row of their unit dominates."""
    beaten = dominators([row.criteria for row in rows], [(row.network, row.unit) for row in rows])
    return [row for row, by in zip(rows, beaten, strict=True) if by is None]


def read_table(path: str | Path) -> LevelTable:
    """A table from its file, or from the folder that holds its `table.json`.

    Raises:
        InputError: where there is none, or it is damaged: which field, its value, and what is allowed.
    """
    file = Path(path)
    file = file / TABLE if file.is_dir() else file
    try:
        with file.open("rb") as handle:
            text = handle.read(_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"the table {file} cannot be read: {error.strerror or error}. 'hwflow levels -o DIR' and 'hwflow library -o DIR' "
            "write one."
        ) from error
    if len(text) > _BYTES:
        raise InputError(f"the table {file} is too large: it has more than {_BYTES:,} bytes.")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the table {file} is damaged: it is no JSON ({error}). {_AGAIN}") from None
    return _table(content, str(file))


_AGAIN = "Write it again with 'hwflow levels' or 'hwflow library'."


def _table(content: Any, file: str) -> LevelTable:
    if not isinstance(content, dict) or content.get("format") != _FORMAT or not isinstance(content.get("rows"), list):
        raise InputError(f"{file} is no table of levels of format {_FORMAT}: it must hold format, network, kind and rows.")
    network, kind, about = content.get("network"), content.get("kind"), content.get("about", {})
    if not isinstance(network, str) or not network:
        raise InputError(f"the table {file} is damaged: network is {shown(network)}; it must be a name. {_AGAIN}")
    if kind not in ("modelled", "measured"):
        raise InputError(f"the table {file} is damaged: kind is {shown(kind)}; it must be modelled or measured. {_AGAIN}")
    if not isinstance(about, dict):
        raise InputError(f"the table {file} is damaged: about is {shown(about)}; it must be a mapping. {_AGAIN}")
    rows = tuple(_row(row, f"the table {file} is damaged: rows[{i}]", network) for i, row in enumerate(content["rows"]))
    check_rows(rows, f"the table {file}")
    return LevelTable(network, kind, rows, about)


def check_rows(rows: Sequence[Row], what: str) -> None:
    """Refuse rows among which a manager cannot choose: none, twice the same, or with and without energies.

    Raises:
        InputError: beginning with `what`.
    """
    if not rows:
        raise InputError(f"{what} has no rows; at least one is needed.")
    keys = [row.key for row in rows]
    if twice := [key for i, key in enumerate(keys) if key in keys[:i]]:
        network, level, unit, clock = twice[0]
        raise InputError(f"{what} has two rows for level {level} of {network} on {unit} at {clock:g} MHz; remove one.")
    known = {row.energy_j is not None for row in rows}
    if len(known) > 1:
        without = next(row for row in rows if row.energy_j is None)
        raise InputError(
            f"{what} has rows with energy_j and rows without (level {without.level} on {without.unit}): energies cannot be "
            "compared. Give it for all or for none."
        )


def _row(content: Any, where: str, network: str) -> Row:
    if not isinstance(content, dict):
        raise InputError(f"{where} is {shown(content)}; it must be a mapping of fields. {_AGAIN}")

    def number(name: str, least: float, most: float = math.inf, *, strict: bool = False) -> float:
        value = content.get(name)
        if not is_number(value) or not math.isfinite(value) or not least <= value <= most or (strict and value == least):
            bound = f"above {least:g}" if strict else f"of at least {least:g}"
            limit = "" if most == math.inf else f" and at most {most:g}"
            raise InputError(f"{where}.{name} is {shown(value)}; it must be a number {bound}{limit}. {_AGAIN}")
        return float(value)

    def whole(name: str, least: int) -> int:
        value = content.get(name)
        if not is_whole(value, least):
            raise InputError(f"{where}.{name} is {shown(value)}; it must be a whole number of at least {least}. {_AGAIN}")
        return value

    unit = content.get("unit")
    if not isinstance(unit, str) or not unit:
        raise InputError(f"{where}.unit is {shown(unit)}; it must be a name. {_AGAIN}")
    if content.get("network", network) != network:
        raise InputError(f"{where}.network is {shown(content['network'])}; the table is of {network}. {_AGAIN}")
    latency = number("latency_s", 0, strict=True)
    return Row(
        network=network,
        level=whole("level", 1),
        unit=unit,
        clock_mhz=number("clock_mhz", 0),
        voltage_v=None if content.get("voltage_v") is None else number("voltage_v", 0, strict=True),
        accuracy=number("accuracy", 0, 1),
        latency_s=latency,
        energy_j=None if content.get("energy_j") is None else number("energy_j", 0, strict=True),
        memory_bytes=whole("memory_bytes", 0),
        static_w=number("static_w", 0) if "static_w" in content else 0.0,
        stages=_stages(content.get("stages", []), latency, f"{where}.stages"),
    )


def _stages(content: Any, latency: float, where: str) -> tuple[tuple[float, float], ...]:
    stages = tuple(map(_stage, content)) if isinstance(content, list) else (None,)
    known = tuple(stage for stage in stages if stage is not None)
    if len(known) < len(stages):
        raise InputError(
            f"{where} is {shown(content)}; it must be a list of pairs: latency, and DRAM transfer time of at most that, in "
            f"seconds. {_AGAIN}"
        )
    total = sum(one for one, _ in known)
    if known and abs(total - latency) > _SLACK * latency:
        raise InputError(f"{where} take {total:g} s together, but latency_s is {latency:g}. {_AGAIN}")
    return known


def _stage(content: Any) -> tuple[float, float] | None:
    """A stage, or None where it is none."""
    if not isinstance(content, list) or len(content) != 2:
        return None
    latency, transfer = content
    if not is_number(latency) or not is_number(transfer) or not math.isfinite(latency):
        return None
    return (float(latency), float(transfer)) if 0 <= transfer <= latency * (1 + _SLACK) else None


def units_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """The units of some rows, each once."""
    return tuple(dict.fromkeys(row.unit for row in rows))


__all__ = ["MEASURED", "TABLE", "WORTH", "LevelTable", "Row", "check_rows", "dominators", "front", "read_table", "units_of"]

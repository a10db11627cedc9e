"""`Manager`: chooses, frame by frame, level, unit and clock of the networks of a device. Standard library only.

    manager = Manager([read_table("runs/levels")])
    decision = manager.decide(Limits(latency_s=0.004, power_w=0.2))
    decision.rows["resnet20"].level, decision.rows["resnet20"].clock_mhz

It goes down at once where a limit is broken, and up only after a better placement would have kept the tightest limits of `hold`
frames with a margin, so that limits that go to and fro do not make it switch to and fro. How placements are ranked, and the
limits, are in `hwflow.dynamic.placement`. Ours.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwflow.dynamic.level_table import LevelTable, Row, check_rows, front, units_of
from hwflow.dynamic.placement import Limits, Placement, rank
from hwflow.dynamic.placement_search import PlacementSearch
from hwflow.errors import HwflowError, InputError, check_whole, is_number, not_found, shown

_FORMAT = 1
_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Decision:
    """What runs during a frame.

    Attributes:
        rows: for each network its level, unit and clock, or None where no unit is left for it.
        keeps_limits: whether all networks run and all limits hold; where not, no placement does, and this breaks them least.
        violation: by how much limits are broken, as shares of them, summed.
        switched: whether it differs from the frame before.
    """

    rows: Mapping[str, Row | None]
    keeps_limits: bool
    violation: float
    switched: bool


class Manager:
    """Chooses among the rows of tables; how much memory it takes at most follows from their number.

    Args:
        tables: one for each network; of their rows those that are worth having (`LevelTable.kept`).
        hold: frames during which a better placement must have been possible before it is taken.
        margin: by which share it must have kept the limits.
        weights: of the networks; those with a larger weight run first where units are few, and their accuracy counts more.
            By default all have 1.

    Raises:
        InputError: for tables or arguments that cannot be used.
    """

    def __init__(
        self,
        tables: Sequence[LevelTable],
        *,
        hold: int = 10,
        margin: float = 0.05,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        check_whole("hold", hold, least=0)
        if not is_number(margin) or not 0 <= margin < 1:
            raise InputError(f"margin is {shown(margin)}; it must be a number of at least 0 and below 1.")
        self.networks = tuple(table.network for table in tables)
        if len(set(self.networks)) < len(self.networks) or not tables:
            raise InputError(f"the tables are of {', '.join(self.networks) or 'no network'}; give one table for each network.")
        self._all = tuple(row for table in tables for row in table.kept)
        check_rows(self._all, "the manager")
        self.units = units_of(self._all)
        self.hold, self.margin = hold, margin
        self.weights = dict.fromkeys(self.networks, 1.0) | _checked(weights or {}, self.networks)
        self._weights = [self.weights[name] for name in self.networks]
        self._energies = self._all[0].energy_j is not None
        self._offline: frozenset[str] = frozenset()
        self._share = 1.0
        self._chosen: tuple[tuple[str, int, str, float] | None, ...] | None = None
        self._frames, self._window = 0, Limits()
        self._memory: tuple[Limits, Decision] | None = None
        self._prepare()

    @property
    def offline(self) -> Collection[str]:
        """Units that cannot be used."""
        return self._offline

    @property
    def dram_share(self) -> float:
        """The share of DRAM's bandwidth that there is."""
        return self._share

    def set_offline(self, units: Collection[str]) -> None:
        """Say which units cannot be used from now on.

        Raises:
            InputError: for a unit that no row is of.
        """
        for unit in units:
            if unit not in self.units:
                raise not_found("unit", str(unit), self.units)
        self._offline = frozenset(units)
        self._prepare()

    def set_dram_share(self, share: float) -> None:
        """Say which share of DRAM's bandwidth others leave, above 0 and at most 1, from now on.

        Raises:
            InputError: for another number.
        """
        if not is_number(share) or not 0 < share <= 1:
            raise InputError(f"dram_share is {shown(share)}; it must be a number above 0 and at most 1.")
        self._share = float(share)
        self._prepare()

    def decide(self, limits: Limits) -> Decision:
        """What to run in the next frame.

        Raises:
            InputError: for a limit on energy or power where the tables have none, or of a network that there is not.
        """
        if self._memory is not None and self._memory[0] is limits:
            return self._memory[1]
        self._memory = None
        self._check(limits)
        current = self._current(limits)
        if current is None or not current.keeps_limits:
            best = self._search.best(limits) if current is None else self._search.best(limits, current.rank)
            if best is not None:
                return self._take(best)
            assert current is not None
            return self._stay(current, limits)
        better = None
        if self._frames:  # what would have kept the limits of the frames before, too
            self._window = self._window.tightest(limits, self.networks)
            better = self._better(current)
        if better is None:
            self._frames, self._window = 0, limits
            better = self._better(current)
        if better is None:
            return self._stay(current, limits)
        self._frames += 1
        if self._frames >= self.hold:
            return self._take(Placement(better.rows, rank(better.rows, self.networks, limits, self._weights)))
        return self._decision(current, switched=False)

    def _better(self, current: Placement) -> Placement | None:
        """The best placement that keeps the window's limits with the margin, where it is better than the current one."""
        return self._search.better(self._window.scaled(1 - self.margin), current.rank)

    def _stay(self, current: Placement, limits: Limits) -> Decision:
        """The same again; also for the next frames under these limits, if nothing happens."""
        self._frames = 0
        decision = self._decision(current, switched=False)
        self._memory = limits, decision
        return decision

    def _take(self, placement: Placement) -> Decision:
        keys = tuple(None if row is None else row.key for row in placement.rows)
        switched = self._chosen is not None and keys != self._chosen
        self._chosen, self._frames = keys, 0
        return self._decision(placement, switched=switched)

    def _decision(self, placement: Placement, *, switched: bool) -> Decision:
        rows = dict(zip(self.networks, placement.rows, strict=True))
        return Decision(rows, placement.keeps_limits, placement.rank[1], switched)

    def _current(self, limits: Limits) -> Placement | None:
        """What runs, as it is under these limits; None where there is nothing yet, or a unit has gone or come for it."""
        if self._chosen is None:
            return None
        rows = tuple(None if key is None else self._rows.get(key) for key in self._chosen)
        if any(row is None for row, key in zip(rows, self._chosen, strict=True) if key is not None):
            return None
        return Placement(rows, rank(rows, self.networks, limits, self._weights))

    def _prepare(self) -> None:
        """The rows that can be had with the units and the bandwidth that there are."""
        usable = [row.at_share(self._share) for row in self._all if row.unit not in self._offline]
        self._rows = {row.key: row for row in usable}
        best = front(usable)
        options = {name: [row for row in best if row.network == name] for name in self.networks}
        self._search = PlacementSearch(options, self.weights)
        self._frames, self._memory = 0, None

    def _check(self, limits: Limits) -> None:
        if not isinstance(limits, Limits):
            raise InputError(f"the limits are {shown(limits)}; they must be a hwflow.dynamic.Limits.")
        if not self._energies and (limits.energy_j is not None or limits.power_w is not None):
            name = "energy_j" if limits.energy_j is not None else "power_w"
            raise InputError(f"{name} is limited, but the rows of {', '.join(self.networks)} have no energies; leave it out.")
        if isinstance(limits.latency_s, Mapping):
            for name in limits.latency_s:
                if name not in self.networks:
                    raise not_found("network", str(name), self.networks)

    # The state in a file ---------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the state, whole or not at all: a device that loses power keeps the state before.

        Raises:
            HwflowError: where the file cannot be written; what stood there before still does.
        """
        latency = self._window.latency_s
        content = {
            "format": _FORMAT,
            "rows": self._digest,
            "chosen": self._chosen,
            "offline": sorted(self._offline),
            "dram_share": self._share,
            "frames": self._frames,
            "window": {**asdict(self._window), "latency_s": dict(latency) if isinstance(latency, Mapping) else latency},
        }
        file = Path(path)
        beside = file.with_name(f".{file.name}.new")
        try:
            with beside.open("w", encoding="utf-8") as handle:
                json.dump(content, handle)
                handle.flush()
                os.fsync(handle.fileno())
            beside.replace(file)
            with suppress(OSError):  # file systems that cannot sync a folder
                folder = os.open(file.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            reason = error.strerror or error
            raise HwflowError(f"cannot write the state {file}: {reason}. What stood there before still does.") from error

    def load(self, path: str | Path) -> None:
        """Go on from a state that `save` wrote.

        Raises:
            InputError: where the file is missing, damaged, or of other tables; this manager is then unchanged.
        """
        file = Path(path)
        try:
            with file.open("rb") as handle:
                content = json.loads(handle.read(_BYTES))
        except OSError as error:
            raise InputError(f"the state {file} cannot be read: {error.strerror or error}.") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"the state {file} is damaged: it is no JSON ({error}). Remove it to start anew.") from None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise InputError(f"the state {file} is damaged: it is not of format {_FORMAT}. Remove it to start anew.")
        if content.get("rows") != self._digest:
            raise InputError(f"the state {file} is of other tables than these, whose rows differ. Remove it to start anew.")
        try:
            state = self._state(content)
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"the state {file} is damaged: {error}. Remove it to start anew.") from None
        self._chosen, self._offline, self._share, frames, self._window = state
        self._prepare()
        self._frames = frames

    def _state(self, content: Mapping[str, Any]) -> Any:
        chosen = content["chosen"]
        if chosen is not None:
            known = {row.key for row in self._all}
            chosen = tuple(None if key is None else tuple(key) for key in chosen)
            if len(chosen) != len(self.networks) or any(key is not None and key not in known for key in chosen):
                raise InputError(f"chosen is {shown(content['chosen'])}, which are no rows of the tables")
        offline, share, frames = frozenset(content["offline"]), content["dram_share"], content["frames"]
        if not offline <= set(self.units) or not is_number(share) or not 0 < share <= 1:
            raise InputError(f"offline is {shown(content['offline'])} and dram_share {shown(share)}")
        check_whole("frames", frames, least=0)
        return chosen, offline, float(share), frames, Limits(**content["window"])

    @property
    def _digest(self) -> str:
        return hashlib.sha256(json.dumps([asdict(row) for row in self._all]).encode()).hexdigest()


def _checked(weights: Mapping[str, float], networks: Sequence[str]) -> dict[str, float]:
    for name, weight in weights.items():
        if name not in networks:
            raise not_found("network", str(name), networks)
        if not is_number(weight) or not 0 < weight < float("inf"):
            raise InputError(f"the weight of {name} is {shown(weight)}; it must be a number above 0.")
    return dict(weights)


__all__ = ["Decision", "Manager"]

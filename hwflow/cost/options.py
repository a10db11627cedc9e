"""`CostOptions`: what an estimate is asked for, by public functions, sweep files, pruning runs and the command line alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, cast, get_args

from hwflow.cost import energy_sources
from hwflow.cost.executed_network import AUTO, Asked, checked
from hwflow.errors import MOST_EFFORT, MOST_JOBS, InputError, check_whole, is_number, not_found
from hwflow.layers import DIRECT
from hwflow.types import Activations, Latency, LevelName, Mapper, Objective, Operators, Proof

Fallback = Literal["mid", "coarse", "none"]
DEFAULT_GAP = 0.001
"""The share of the objective by which a mapping may exceed the best one and still count as proven."""
ENGINES = ("native", "container", "pytimeloop")

USED_BY: dict[str, tuple[Literal["maps", "external", "fitted"], tuple[Any, ...]]] = {
    "dataflow": ("maps", (None,)),
    "objective": ("maps", ("edp",)),
    "effort": ("maps", (1,)),
    "ragged": ("maps", (True,)),
    "proof": ("maps", ("off",)),
    "gap": ("maps", (DEFAULT_GAP,)),
    "activations": ("maps", ("dram",)),
    "operators": ("maps", ("mac",)),
    "latency": ("maps", ("overlap",)),
    "mapper": ("external", ("hwflow",)),
    "engine": ("external", (None,)),
    "fallback": ("external", ("mid", "none")),
    "ppa_model": ("fitted", (None,)),
    "extrapolate": ("fitted", (False,)),
}
"""For each option which backends look at it (an attribute of `CostBackend`), and the values that ask for nothing. What is not
listed (energy, jobs) holds at all levels. An engine also runs Accelergy, at any level."""


@dataclass(frozen=True, kw_only=True)
class CostOptions:
    """What an estimate is asked for.

    Attributes:
        level: coarse, mid, fine or ppa; a name of `hwflow.cost.backend.BACKENDS`.
        dataflow: a name or a YAML file; None takes the accelerator's own.
        objective: what the mapping search minimises.
        energy: auto, recorded, fitted, accelergy or normalized; see `hwflow.cost.energy_sources`.
        mapper: at fine, whose mapping Timeloop judges: hwflow's, or the one that timeloop-mapper searches.
        engine: at fine, native, container or pytimeloop; None takes the first that answers.
        effort: a factor on how long mappings are searched.
        fallback: what answers where fine cannot: mid, coarse, or none, which raises. The whole network falls back.
        jobs: layers computed at once; above 1 in worker processes (then call it below `if __name__ == "__main__":`).
        ragged: whether hwflow's search takes mappings whose loops don't divide; the mapper of Timeloop never does.
        proof: what is proven of every mapping, with perfect factors as the space: `gap` gives the search for a proof some room
            and says how far it came, `optimal` as much room as there is. A better mapping that turns up is taken.
        gap: the share of the objective by which a mapping may exceed the best one and still count as proven.
        activations: dram sends every tensor between layers through DRAM; resident lets those stay on the chip that fit and make
            the network's objective less, see `hwflow.cost.network_choice`.
        operators: mac prices layers only; all prices every operator, see `hwflow.cost.operators`.
        latency: overlap takes all transfers to overlap with arithmetic, as Timeloop does; with_fill adds the first fill and the
            last drain of memories without double buffers, see `hwflow.cost.edge_cycles`. Mappings are the same.
        ppa_model: at ppa, the file of the model, which `hwflow ppa fit` writes.
        extrapolate: at ppa, whether chips and layers beyond the range of the characterisation are answered, too.
        execution: how layers run: direct, winograd2, winograd4, im2col, vip, or auto, which takes for each layer what makes its
            own objective least among those with the same results; or names by layer, where `*` stands for all others. See
            `hwflow.cost.executed_network`.
    """

    level: LevelName = "mid"
    dataflow: str | None = None
    objective: Objective = "edp"
    energy: str = "auto"
    mapper: Mapper = "hwflow"
    engine: str | None = None
    effort: int = 1
    fallback: Fallback = "mid"
    jobs: int = 1
    ragged: bool = True
    proof: Proof = "off"
    gap: float = DEFAULT_GAP
    activations: Activations = "dram"
    operators: Operators = "mac"
    latency: Latency = "overlap"
    ppa_model: str | Path | None = None
    extrapolate: bool = False
    execution: Asked = DIRECT

    def __post_init__(self) -> None:
        allowed = {
            "objective": get_args(Objective),
            "mapper": get_args(Mapper),
            "fallback": get_args(Fallback),
            "proof": get_args(Proof),
            "energy": energy_sources.SOURCES,
            "activations": get_args(Activations),
            "operators": get_args(Operators),
            "latency": get_args(Latency),
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise not_found(name, str(getattr(self, name)), choices)
        if self.engine is not None and self.engine not in ENGINES:
            raise not_found("engine", self.engine, ENGINES)
        object.__setattr__(self, "execution", checked(self.execution))
        check_whole("effort", self.effort, MOST_EFFORT)
        check_whole("jobs", self.jobs, MOST_JOBS)
        if not isinstance(self.ragged, bool):
            raise InputError(f"ragged is {self.ragged!r}; it must be True or False.")
        if not isinstance(self.extrapolate, bool):
            raise InputError(f"extrapolate is {self.extrapolate!r}; it must be True or False.")
        if not is_number(self.gap) or not 0 <= self.gap < 1:
            raise InputError(f"gap is {self.gap!r}; it must be a share of at least 0 and below 1, such as {DEFAULT_GAP}.")
        if self.mapper == "timeloop" and self.activations == "resident":
            raise InputError(
                "activations is 'resident' beside mapper 'timeloop': what stays on the chip is chosen with hwflow's mapper "
                "only; leave one of the two out."
            )
        if self.activations == "resident" and self.chooses_execution:
            raise InputError(
                "execution is 'auto' beside activations 'resident': what an execution costs then depends on what stays on the "
                "chip meanwhile, and only one of the two can be chosen. Name executions, or leave activations at 'dram'."
            )

    @property
    def whole_network(self) -> bool:
        """Whether layers are not priced each by itself."""
        return self.activations != "dram" or self.operators != "mac"

    @property
    def mapped_only(self) -> tuple[str, ...]:
        """What was asked for beyond the usual that levels with mappings alone know of: `activations resident`, for one."""
        names = ("activations", "operators", "latency")
        return tuple(f"{name} {value}" for name in names if (value := getattr(self, name)) not in USED_BY[name][1])

    @property
    def chooses_execution(self) -> bool:
        """Whether an execution of some layer is chosen by its cost."""
        return AUTO in ((self.execution,) if isinstance(self.execution, str) else self.execution.values())


class SharedArguments(TypedDict, total=False):
    """The fields of `CostOptions` as keyword arguments, but for level and dataflow."""

    objective: Objective
    energy: str
    mapper: Mapper
    engine: str | None
    effort: int
    fallback: Fallback
    jobs: int
    ragged: bool
    proof: Proof
    gap: float
    activations: Activations
    operators: Operators
    latency: Latency
    ppa_model: str | Path | None
    extrapolate: bool
    execution: Asked


class CostArguments(SharedArguments, total=False):
    """All fields of `CostOptions` as keyword arguments."""

    level: LevelName
    dataflow: str | None


def options_of(options: CostOptions | None, given: Mapping[str, Any]) -> CostOptions:
    """Options as a public function takes them: the object, its fields as keyword arguments, or the one with some of the other.

    Raises:
        TypeError: for an argument that is no field, as Python does.
        InputError: for a value that is not allowed.
    """
    known = [field.name for field in fields(CostOptions)]
    for name in given:
        if name not in known:
            raise TypeError(str(not_found("keyword argument", name, known)))
    if options is not None and not isinstance(options, CostOptions):
        raise InputError(f"options is {options!r}; it must be a hwflow.CostOptions.")
    return CostOptions(**cast("CostArguments", given)) if options is None else replace(options, **given)


def check_each_alone(options: CostOptions, what: str, instead: str = "") -> None:
    """Refuse options under which layers depend on one another, for what looks at each layer by itself.

    Raises:
        InputError: naming the option; `what` begins its second clause, `instead` says what to do where the option is meant.
    """
    usual = CostOptions()
    for name in ("activations", "operators"):
        if (value := getattr(options, name)) != getattr(usual, name):
            raise InputError(f"{name} is {value!r}, and {what} prices each layer by itself; leave it out. {instead}".rstrip())


__all__ = [
    "DEFAULT_GAP",
    "ENGINES",
    "USED_BY",
    "CostArguments",
    "CostOptions",
    "Fallback",
    "Mapper",
    "Objective",
    "SharedArguments",
    "check_each_alone",
    "options_of",
]

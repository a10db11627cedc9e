"""`Description`: a sweep file, parsed and validated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from hwflow.cost.backend import BACKENDS
from hwflow.cost.executed_network import AUTO, checked
from hwflow.cost.options import DEFAULT_GAP, CostOptions
from hwflow.errors import MOST_EFFORT, InputError, is_number, not_found, shown
from hwflow.files import read_yaml
from hwflow.hardware.components import Positive
from hwflow.hardware.pe_types import PeTypeName
from hwflow.layers import DIRECT
from hwflow.metrics import OBJECTIVES
from hwflow.validation import Strict, explain

_MOST = 100_000  # values of one field; a range with more is a slip
_LARGEST = 1e15  # end or step of a range: what no field of an accelerator reaches


class _Checked(Strict):
    @model_validator(mode="before")
    @classmethod
    def _known(cls, content: Any) -> Any:
        if isinstance(content, Mapping):
            for name in content:
                if name not in cls.model_fields:
                    raise ValueError(str(not_found("field", str(name), cls.model_fields)).rstrip("."))
        return content


def _named(field: str) -> BeforeValidator:
    """A bare text is short for a mapping with this field alone."""
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str) else value)


def _listed(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("it must be a list")
    if not value:
        raise ValueError("it is empty; give at least one")
    if len(value) > _MOST:
        raise ValueError(f"it has {len(value):,} entries; the most is {_MOST:,}")
    seen: set[Any] = set()
    for entry in value:
        key = entry if isinstance(entry, (str, int, float, type(None))) else repr(entry)
        if key in seen:
            raise ValueError(f"it names {shown(entry)} twice")
        seen.add(key)
    return value


_Listed = BeforeValidator(_listed)


def _known(level: str) -> str:
    if level not in BACKENDS:
        *others, last = BACKENDS
        raise ValueError(f"it must be {', '.join(others)} or {last}")
    return level


Level = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(BACKENDS)})]
"""A name of `hwflow.cost.backend.BACKENDS`."""


def expand(value: Any) -> tuple[Any, ...]:
    """The values of one field: of a list, of {from, to, step} with both ends, of {log2: [8, 64]} (8 16 32 64), or one.

    Raises:
        ValueError: where there is none, or one appears twice.
    """
    if isinstance(value, Mapping):
        if set(value) == {"from", "to", "step"}:
            return _range(*(_number(name, value[name]) for name in ("from", "to", "step")))
        if set(value) == {"log2"} and isinstance(value["log2"], list) and len(value["log2"]) == 2:
            return _doubling(*(_number("log2", end) for end in value["log2"]))
        raise ValueError("it must be a value, a list, a range {from: 8, to: 32, step: 8} or doublings {log2: [8, 64]}")
    if isinstance(value, list):
        values = tuple(_listed(value))
        if any(isinstance(v, Mapping) for v in values):
            raise ValueError("its list must hold values, not mappings")
        return values
    return (value,)


def _number(name: str, value: Any) -> int | float:
    if not is_number(value):
        raise ValueError(f"{name} (={shown(value)}) must be a number")
    if not abs(value) < _LARGEST:
        raise ValueError(f"{name} (={shown(value)}) must be a finite number below {_LARGEST:g}")
    return value


def _range(first: float, last: float, step: float) -> tuple[int | float, ...]:
    if step <= 0:
        raise ValueError(f"step (={step}) must be above 0")
    if first > last:
        raise ValueError(f"its range is empty: from (={first}) is above to (={last})")
    steps = (last - first) / step + 1e-9
    if steps >= _MOST:
        raise ValueError(f"its range has {steps + 1:,.0f} values; the most is {_MOST:,}: make step (={step}) larger")
    count = math.floor(steps) + 1
    if all(isinstance(v, int) for v in (first, step)):
        return tuple(first + i * step for i in range(count))
    return tuple(float(f"{first + i * step:.12g}") for i in range(count))  # 0.1 + 0.2 is meant to be 0.3


def _doubling(first: float, last: float) -> tuple[int | float, ...]:
    if first < 1e-9:
        raise ValueError(f"log2 must begin above 0, not with {first}")
    if first > last:
        raise ValueError(f"its range is empty: log2 begins with {first}, above its end {last}")
    return tuple(first * 2**i for i in range(math.floor(math.log2(last) - math.log2(first) + 1e-9) + 1))


class NetworkSpec(_Checked):
    """What `hwflow.network.load` takes; `input` is the shape, batch included."""

    network: Annotated[str, Field(min_length=1)]
    input: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None


class AcceleratorSpec(_Checked):
    """An accelerator, the values of its fields, and what must hold between them. `pe_types` are values of its `pe_type`."""

    base: Annotated[str, Field(min_length=1)]
    pe_types: Annotated[tuple[PeTypeName, ...], _Listed] | None = None
    set: dict[str, Annotated[tuple[Any, ...], BeforeValidator(expand)]] = Field(default_factory=dict)
    where: Annotated[str, Field(min_length=1)] | None = None


SEARCHES = ("nsga2", "surrogate")
"""Methods of a sample that go by what designs cost; see `hwflow.sweeping.registry`."""


class Sample(_Checked):
    """Which designs are costed: all, or `points` of them. A design is a chip with a dataflow."""

    method: Literal["grid", "random", "lhs", "nsga2", "surrogate"] = "grid"
    points: Positive | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    objectives: Annotated[tuple[str, ...], _Listed] | None = None

    @model_validator(mode="after")
    def _check(self) -> Sample:
        if (self.points is None) != (self.method == "grid"):
            raise ValueError(
                "a grid costs every design: leave points out"
                if self.method == "grid"
                else f"points is missing: {self.method} needs the number of designs to cost"
            )
        if self.objectives is not None and self.method not in SEARCHES:
            raise ValueError(f"objectives are of the methods {' and '.join(SEARCHES)}, not of {self.method}: leave them out")
        for name in self.objectives or ():
            if name not in OBJECTIVES:
                raise ValueError(str(not_found("objective", name, OBJECTIVES)).rstrip("."))
        return self


class Description(_Checked):
    """A sweep file (reference/files.md in the documentation). None in `dataflows`, `batch`, `bits` and `densities` means the
    own value of the chip or network. `densities` are shares of nonzero elements as `hwflow estimate --density` takes them; with
    each a network is one of its own. `ppa_model` and files of densities are named relative to the sweep file."""

    networks: Annotated[tuple[Annotated[NetworkSpec, _named("network")], ...], _Listed] = ()
    plans: Annotated[tuple[str, ...], _Listed] = ()
    accelerators: Annotated[tuple[Annotated[AcceleratorSpec, _named("base")], ...], _Listed]
    levels: Annotated[tuple[Level, ...], _Listed] = ("mid",)
    dataflows: Annotated[tuple[str | None, ...], _Listed] = (None,)
    batch: Annotated[tuple[Positive | None, ...], _Listed] = (None,)
    bits: Annotated[tuple[tuple[Positive, Positive] | None, ...], _Listed] = (None,)
    densities: Annotated[tuple[Annotated[str, Field(min_length=1)] | None, ...], _Listed] = (None,)
    sample: Sample = Sample()
    objective: str = "edp"
    energy: str = "auto"
    mapper: str = "hwflow"
    engine: str | None = None
    effort: Annotated[Positive, Field(le=MOST_EFFORT)] = 1
    ragged: bool = True
    proof: str = "off"
    gap: float = DEFAULT_GAP
    activations: str = "dram"
    operators: str = "mac"
    latency: str = "overlap"
    ppa_model: Annotated[str, Field(min_length=1)] | None = None
    extrapolate: bool = False
    execution: str | dict[str, str] = DIRECT

    @model_validator(mode="after")
    def _check(self) -> Description:
        if not self.networks and not self.plans:
            raise ValueError("networks is missing: name at least one network, or a pruning run's folder in plans")
        if self.sample.method in SEARCHES and len(self.levels) > 1:
            raise ValueError(
                f"{self.sample.method} searches at one level, and levels names {', '.join(self.levels)}: leave one"
            )
        return self

    def options(self, jobs: int = 1) -> CostOptions:
        """What every point is asked for, but its level and dataflow. Executions that are named are those of the networks; one
        that is chosen is chosen at each point.

        Raises:
            InputError: naming the option whose value is not allowed.
        """
        if not isinstance(named := checked(self.execution), str) and AUTO in named.values():
            raise InputError("execution is auto for some layers; in a sweep, one execution is chosen for all layers or none.")
        CostOptions(jobs=jobs)  # an argument, not a field of the file: it is named first
        return CostOptions(
            objective=self.objective,  # type: ignore[arg-type]
            energy=self.energy,
            mapper=self.mapper,  # type: ignore[arg-type]
            engine=self.engine,
            effort=self.effort,
            ragged=self.ragged,
            proof=self.proof,  # type: ignore[arg-type]
            gap=self.gap,
            activations=self.activations,  # type: ignore[arg-type]
            operators=self.operators,  # type: ignore[arg-type]
            latency=self.latency,  # type: ignore[arg-type]
            ppa_model=self.ppa_model,
            extrapolate=self.extrapolate,
            execution=self.execution if self.execution == AUTO else DIRECT,
            fallback="none",
        )


def load_description(path: str | Path) -> Description:
    """The sweep file at `path`.

    Raises:
        InputError: naming the field, its value and what is allowed.
    """
    content = read_yaml(path, "sweep file")
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: a sweep file is a mapping of fields, not {type(content).__name__}.")
    try:
        found = Description.model_validate(content)
    except ValidationError as error:
        raise InputError(explain(error, content, str(path))) from None
    if found.ppa_model is not None:
        found = found.model_copy(update={"ppa_model": str(Path(path).parent / found.ppa_model)})
    try:
        found.options()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return found

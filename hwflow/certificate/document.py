"""The file of a certificate: the question, the mapping with its cost, and the leaves of the proof."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from hwflow.certificate.space import Space
from hwflow.certificate.states import Counted
from hwflow.errors import InputError
from hwflow.files import parse_json, read_text
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import Dataflow, constrain, dataflows, load_dataflow
from hwflow.hardware.energy_table import EnergyTable
from hwflow.hardware.part_energy import PartEnergy
from hwflow.hardware.storage_level import LevelConstraint
from hwflow.layers import DIMS, Layer
from hwflow.types import EnergyUnit, LayerType, Objective
from hwflow.validation import Strict, explain

FORM = 4
"""Of the file; what another form says, this version of hwflow does not know."""


Finite = Annotated[float, Field(allow_inf_nan=False)]
Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1)]
Factor = Annotated[int, Field(gt=1)]


class LayerShape(Strict):
    """A layer as its loops: all that its cost depends on."""

    type: LayerType
    dims: dict[str, Size]
    strides: tuple[Size, Size]
    dilations: tuple[Size, Size]


class Energies(Strict):
    """Energies of each part of the chip per action, in `unit`."""

    unit: EnergyUnit
    source: str
    parts: dict[str, dict[str, Cost]]


class Question(Strict):
    """What is minimised: everything from which the space of mappings and their costs follow."""

    layer: LayerShape
    accelerator: dict[str, Any]
    dataflow: str | dict[str, Any]
    energies: Energies
    objective: Objective
    factors: Literal["perfect"]


class LeafEntry(Strict):
    """The bound of all mappings with some spatial loops.

    `spread`: their bounds by level and dimension. `counted`, `rates` and `mixed` say how the bound is found; see the page
    "Certificates". A rate is a level and what it does: "reads", "writes" or "both". `bound` is null where no
    mapping has these loops.
    """

    spread: dict[str, dict[str, Factor]]
    counted: Counted
    rates: list[tuple[str, Literal["reads", "writes", "both"]]]
    mixed: list[tuple[str, Literal["reads", "writes", "both"], Weight]]
    bound: Cost | None


class Others(Strict):
    """The spatial mappings without a leaf of their own: how many, and the least of their simple bounds."""

    number: int
    bound: Cost | None


class Document(Strict):
    """A certificate. `about` is for people, and nothing in it is claimed; `gap` is 1 - bound / value."""

    form: int
    about: dict[str, str]
    question: Question
    digest: str
    mapping: list[dict[str, Any]]
    value: Cost
    bound: Cost
    gap: Finite
    others: Others
    leaves: list[LeafEntry]

    @classmethod
    def read(cls, path: str | Path) -> Document:
        """Raises `InputError` where the file is no certificate: names the field, its value and what is allowed."""
        try:
            content = parse_json(read_text(path, "certificate"))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{path} is not a certificate; 'hwflow map --certificate' writes them: {error}.") from None
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: Any, where: str = "certificate") -> Document:
        """The same from parsed JSON."""
        if not isinstance(content, dict):
            raise InputError(f"{where}: a certificate is a mapping of fields, not {type(content).__name__}.")
        if content.get("form") != FORM:
            raise InputError(
                f"{where}: form is {content.get('form')!r}; this version of hwflow reads certificates of form {FORM}, which "
                "hwflow map --certificate writes."
            )
        try:
            return cls.model_validate_json(json.dumps(content), strict=True)  # of JSON: lists stand for tuples
        except ValidationError as error:
            raise InputError(explain(error, content, where, set(cls.model_fields))) from None

    def hashed(self) -> str:
        """A hash of the question and the mapping, which shows a change by accident."""
        content = self.model_dump(mode="json", include={"question", "mapping"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def text(self) -> str:
        """The file."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Problem:
    """A question, with the objects that it describes."""

    layer: Layer
    accelerator: Accelerator
    table: EnergyTable
    rules: tuple[LevelConstraint, ...]
    objective: Objective

    @classmethod
    def of(cls, question: Question) -> Problem:
        """Raises `InputError` where a part of the description is not valid."""
        shape = question.layer
        if sorted(shape.dims) != sorted(DIMS):
            raise InputError(
                f"certificate: layer.dims has {', '.join(shape.dims) or 'nothing'}; it must have {', '.join(DIMS)}."
            )
        layer = Layer(**{"name": "certified", **shape.model_dump(exclude={"dims"}), **shape.dims})
        accelerator = Accelerator.from_dict(question.accelerator, "certificate: accelerator")
        needed = [p.name for p in (*accelerator.memories, accelerator.mac)]
        if sorted(question.energies.parts) != sorted(needed):
            raise InputError(
                f"certificate: energies.parts has {', '.join(question.energies.parts) or 'nothing'}; it must have "
                f"{', '.join(needed)}."
            )
        for name, actions in question.energies.parts.items():
            if sorted(actions) != sorted(ACTIONS):
                raise InputError(
                    f"certificate: energies.parts.{name} has {', '.join(actions) or 'nothing'}; it must have "
                    f"{', '.join(ACTIONS)}."
                )
        parts = {name: _part(actions) for name, actions in question.energies.parts.items()}
        table = EnergyTable(question.energies.unit, question.energies.source, parts)
        return cls(layer, accelerator, table, constrain(accelerator, _dataflow(question.dataflow)), question.objective)

    @cached_property
    def space(self) -> Space:
        """The mappings, from the layer, the accelerator and the dataflow."""
        return Space.of(self.layer, self.accelerator, self.table, self.rules)


def _part(actions: dict[str, Any]) -> PartEnergy:
    return PartEnergy(**actions)


ACTIONS = ("read", "write", "update", "compute", "leak")


def question_of(
    layer: Layer, accelerator: Accelerator, dataflow: str | None, table: EnergyTable, objective: Objective
) -> Question:
    """The question that a search answers.

    Raises:
        InputError: where a certificate cannot describe the chip.
    """
    if accelerator.own_constraints is not None:
        raise InputError(
            f"a certificate does not cover {accelerator.label}, which is described by Timeloop's files; hwflow map --proof "
            "proves without one."
        )
    name = dataflow or accelerator.dataflow
    flow: str | dict[str, Any] = name if name in dataflows() else load_dataflow(name).model_dump(mode="json")
    parts = [p.name for p in (*accelerator.memories, accelerator.mac)]
    return Question(
        layer=LayerShape(type=layer.type, dims=dict(layer.dims.items()), strides=layer.strides, dilations=layer.dilations),
        accelerator=accelerator.model_dump(mode="json", exclude_none=True),
        dataflow=flow,
        energies=Energies(
            unit=table.unit,
            source=table.source,
            parts={name: {action: getattr(table.parts[name], action) for action in ACTIONS} for name in parts},
        ),
        objective=objective,
        factors="perfect",
    )


def _dataflow(given: str | dict[str, Any]) -> Dataflow | str:
    if isinstance(given, str):
        if given not in dataflows():
            raise InputError(f"certificate: dataflow is {given!r}; shipped are {', '.join(dataflows())}.")
        return given
    try:
        flow = Dataflow.model_validate(given)
    except ValidationError as error:
        raise InputError(explain(error, given, "certificate: dataflow", set(Dataflow.model_fields))) from None
    if flow.name in dataflows() and flow.rules != load_dataflow(flow.name).rules:
        raise InputError(
            f"certificate: dataflow.name is {flow.name!r}, but its rules are not those of hwflow's dataflow of that name; a "
            "dataflow of your own needs a name of its own."
        )
    return flow

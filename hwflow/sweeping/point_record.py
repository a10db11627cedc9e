"""The record of a point: what was asked, its totals, a row for each distinct layer; and the validation of such lines.

What all points of a network share, its layers by name and which of them have one row, stands once, in the records' first line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from hwflow.errors import shown
from hwflow.files import parse_json
from hwflow.metrics import BY_FIELD, SWEPT, TOTALS
from hwflow.results import LayerCost, NetworkCost
from hwflow.sweeping.description import Level

_LAYER = ("layer", "type", "macs", "params")

SUMS = tuple(field for field in SWEPT if BY_FIELD[field].additive and field not in _LAYER)
ROW = (*SUMS, "utilization", "bound_by")
"""What a row holds, in this order; then the place of its source of energy in `sources`, and the energies of `parts`."""

ANSWERS = (*SUMS, *(m.field for m in TOTALS if m.swept and m.field not in (*SUMS, *_LAYER)))
"""The totals that a record has once its point is answered; `macs` and `params` are known before."""

_Amount = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Row = tuple[
    _Amount | None,
    _Amount | None,
    _Count | None,
    _Amount | None,
    _Amount,
    _Amount | None,
    str | None,
    _Count,
    list[_Amount | None],
]


@dataclass(frozen=True)
class Rows:
    """The layers of a network: name, type, multiply-accumulates and weights of each, and which row is whose."""

    layers: Sequence[tuple[str, str, int, int]]
    places: Sequence[int]

    def to_data(self) -> dict[str, Any]:
        """For the records' first line."""
        return {"layers": [list(layer) for layer in self.layers], "rows": list(self.places)}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    point: _Count
    network: str
    accelerator: str
    base: str
    fields: dict[str, Any]
    dataflow: str | None
    level: Level
    batch: _Count
    bits: str | None
    macs: _Count
    params: _Count
    status: Literal["ok", "failed"]
    reason: str
    transient: bool = Field(validation_alias=AliasChoices("transient", "passing"))  # as version 0.1 called it
    engine: str = ""
    seconds: _Amount = 0.0
    sources: list[str] = []
    parts: list[str] = []
    rows: list[_Row] = []


_KINDS: dict[str, Any] = {"int64": _Count | None, "double": _Amount | None}
_ANSWERS: dict[str, Any] = {field: (_KINDS[BY_FIELD[field].kind], None) for field in ANSWERS}
_RECORD = TypeAdapter(create_model("_Answered", __base__=_Record, **_ANSWERS))


def title(network: str, batch: int, bits: str | None) -> str:
    """A network as it is asked for."""
    return f"{network} at batch {batch}{f', bits {bits}' if bits else ''}"


def answered(cost: NetworkCost, distinct: Sequence[LayerCost]) -> dict[str, Any]:
    """What a record says of a point with an answer; `distinct` are the costs of different layers, in order."""
    sources, parts = list(cost.energy_sources), list(dict.fromkeys(part for row in distinct for part in row.energy_by_level))
    rows = [
        [
            *(getattr(row, name) for name in ROW),
            sources.index(row.energy_source),
            [row.energy_by_level.get(part) for part in parts],
        ]
        for row in distinct
    ]
    return {
        "status": "ok",
        "reason": "",
        "transient": False,
        **{name: getattr(cost, name) for name in ANSWERS},
        "engine": "; ".join(dict.fromkeys(row.engine for row in distinct)),
        "seconds": sum(row.seconds for row in distinct),
        "sources": sources,
        "parts": parts,
        "rows": rows,
    }


def unanswered(reason: str, *, transient: bool) -> dict[str, Any]:
    """What a record says of a point without; see `hwflow.sweeping.unit.Failure`."""
    return {"status": "failed", "reason": reason, "transient": transient}


def energy_source(record: Mapping[str, Any]) -> str | None:
    """Of a point, all that its layers have."""
    return "; ".join(record["sources"]) if "sources" in record else None


def layer_columns(record: Mapping[str, Any], network: Rows) -> dict[str, list[Any]]:
    """The columns of `layers.parquet`, a value for each layer; energies by part are columns of their own."""
    places = network.places if "rows" in record else []
    distinct = list(zip(*record["rows"], strict=True)) if places else []
    columns: dict[str, list[Any]] = {"point": [record["point"]] * len(places)}
    if not places:
        return {**columns, "layer": []}
    for name, values in zip(_LAYER, zip(*network.layers, strict=True), strict=True):
        columns[name] = list(values)
    *measured, sources, energies = distinct
    for name, values in zip(ROW, measured, strict=True):
        columns[name] = [values[place] for place in places]
    columns["energy_source"] = [record["sources"][sources[place]] for place in places]
    for part, values in zip(record["parts"], zip(*energies, strict=True), strict=True):
        columns[f"energy_{part}"] = [values[place] for place in places]
    return columns


class Checker:
    """Reads lines as records of one sweep: its networks by title, the values of its swept fields, the parts of its chips."""

    def __init__(self, networks: Mapping[str, Rows], fields: Mapping[str, Sequence[Any]], parts: Iterable[str]) -> None:
        self._networks, self._parts = networks, set(parts)
        self._fields = {name: {json.dumps(value) for value in values} for name, values in fields.items()}

    def read(self, line: bytes) -> dict[str, Any]:
        """The record.

        Raises:
            ValueError: where the line is none, or says what cannot be: which field.
        """
        try:
            content: dict[str, Any] = parse_json(line)
            _RECORD.validate_json(line)
            if "passing" in content:
                content["transient"] = content.pop("passing")
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            field = ".".join(map(str, first["loc"])) or "the line"
            raise ValueError(f"{field} is {shown(first['input'])}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None
        self._check_asked(content)
        if content["status"] == "ok":
            self._check_answer(content)
        elif set(content) & {*ANSWERS, "rows"}:
            raise ValueError("status is 'failed', but there are costs")
        return content

    def _check_asked(self, record: Mapping[str, Any]) -> None:
        network = self._networks.get(title(record["network"], record["batch"], record["bits"]))
        if network is None:
            raise ValueError(f"network is {shown(record['network'])}: the sweep has none of this name, batch and bits")
        macs, params = (sum(layer[2] for layer in network.layers), sum(layer[3] for layer in network.layers))
        for name, total in (("macs", macs), ("params", params)):
            if record[name] != total:
                raise ValueError(f"{name} is {record[name]}: the network has {total}")
        fields = record["fields"]
        if set(fields) != set(self._fields):
            raise ValueError(f"fields is {shown(fields)}: the sweep's are {', '.join(self._fields) or 'none'}")
        for name, value in fields.items():
            if json.dumps(value) not in self._fields[name]:
                raise ValueError(f"fields.{name} is {shown(value)}: the sweep has no such value")

    def _check_answer(self, record: Mapping[str, Any]) -> None:
        """That the totals are those of the rows, to the last digit."""
        network = self._networks[title(record["network"], record["batch"], record["bits"])]
        always = [name for name in ANSWERS if BY_FIELD[name].always]
        missing = [name for name in (*always, "sources", "parts", "rows") if name not in record]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        rows, sources, parts = record["rows"], record["sources"], record["parts"]
        if len(rows) != max(network.places) + 1:
            raise ValueError(f"rows has {len(rows)}: the network has {max(network.places) + 1} different layers")
        if any(row[-2] >= len(sources) or len(row[-1]) != len(parts) for row in rows):
            raise ValueError("rows does not fit sources and parts")
        if not self._parts.issuperset(parts) or len(set(parts)) != len(parts):
            raise ValueError(f"parts is {shown(parts)}: the chips have {', '.join(sorted(self._parts))}")
        for i, name in enumerate(SUMS):
            column = [rows[place][i] for place in network.places]
            total = None if None in column else sum(column)
            if record[name] != total:
                raise ValueError(f"{name} is {shown(record[name])}: the layers' sum is {total}")
        known = record["energy_pj"] is not None and record["latency_s"] is not None
        product = record["energy_pj"] * record["latency_s"] if known else None
        if record["edp_pj_s"] != product:
            raise ValueError(f"edp_pj_s is {shown(record['edp_pj_s'])}: energy times latency is {product}")

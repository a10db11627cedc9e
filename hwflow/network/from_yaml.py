"""A `Network` from a YAML layer list, and back.

name: mynet
layers:
  - {name: conv1, C: 3, M: 64, P: 112, Q: 112, R: 7, S: 7, strides: [2, 2]}      # N, G, strides, dilations may be left out
  - {name: up, type: conv_transpose, C: 64, M: 32, P: 56, Q: 56, R: 2, S: 2, strides: [2, 2], bits: {weights: 8}}
  - {name: fc, type: linear, C: 512, M: 1000}                                     # P: rows of each sample
  - {name: scores, type: matmul, G: 8, P: 197, C: 64, M: 197}
  - {name: fc_again, type: linear, C: 512, M: 1000, shared: true}                 # reads the weights of another row
  - {name: pruned, type: linear, C: 512, M: 512, densities: {weights: 0.3}}       # the share of nonzero elements
other:                                                                            # not costed, listed only
  - {name: relu1, type: Relu, words_in: 802816, words_out: 802816}

A list is taken for a chain, each layer reading what the one before wrote, unless it holds what has two inputs or an entry says
what it reads: `inputs: [conv1, add3]`, names of layers and operators, or `input`, the network's own. Then a layer without
`inputs` reads what the one before it in the list wrote.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from hwflow.errors import InputError, listed
from hwflow.files import read_yaml, write_text
from hwflow.layers import Bits, Layer
from hwflow.network._stated_graph import inputs_of, stated_graph
from hwflow.network.densities import density_fields, layer_fields
from hwflow.network.graph import Graph, Operation, Part
from hwflow.network.network import Network, OtherOp
from hwflow.validation import Strict

Size = Annotated[int, Field(strict=True, ge=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Share = Annotated[float, Field(strict=True, gt=0, le=1)]
Positions = Annotated[
    list[Annotated[float, Field(strict=True, ge=0, le=1)]],
    BeforeValidator(lambda given: given if isinstance(given, list) else [given]),
    Field(min_length=1),
]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True, min_length=1)]

_NEEDED: dict[str, tuple[str, ...]] = {
    "conv": ("C", "M", "P", "Q", "R", "S"),
    "conv_transpose": ("C", "M", "P", "Q", "R", "S"),
    "linear": ("C", "M"),
    "matmul": ("C", "M", "P"),
}
_SPATIAL = ("Q", "R", "S", "strides", "dilations")


class _Bits(Strict):
    weights: Size = Bits().weights
    inputs: Size = Bits().inputs
    outputs: Size = Bits().outputs


class _Densities(Strict):
    weights: Share = 1.0
    inputs: Share = 1.0
    outputs: Share = 1.0
    positions: Positions | None = None


class _Layer(Strict):
    name: Text
    type: Literal["conv", "conv_transpose", "linear", "matmul"] = "conv"
    N: Size = 1
    G: Size = 1
    C: Size | None = None
    M: Size | None = None
    P: Size | None = None
    Q: Size | None = None
    R: Size | None = None
    S: Size | None = None
    strides: tuple[Size, Size] | None = None
    dilations: tuple[Size, Size] | None = None
    bits: _Bits | None = None
    densities: _Densities | None = None
    params_other: Count = 0
    shared: Flag = False
    inputs: list[Text] | None = None


class _Other(Strict):
    name: Text
    type: Text
    words_in: Count
    words_out: Count
    params: Count = 0
    window: Count = 0
    inputs: list[Text] | None = None


class _File(Strict):
    name: Text | None = None
    layers: Annotated[list[_Layer], Field(min_length=1)]
    other: list[_Other] = Field(default_factory=list)
    params_unread: Count = 0


def read(path: str | Path) -> Network:
    """The network of a layer list; without `name` it is called as the file is.

    Raises:
        InputError: where the file does not exist, is not YAML (file and line), or has wrong fields: each with its path, its
            value and what is allowed.
    """
    path = Path(path)
    content = read_yaml(path, "layer list")
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds {_shown(content)}; a layer list is a mapping with `layers`, and `name` and `other` where wanted."
        )
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        first = _each_list_once([_message(problem) for problem in error.errors(include_url=False)[:10]])
        raise InputError(f"{path}: {listed(first, error.error_count())}.") from error
    wrong = [problem for i, spec in enumerate(file.layers) for problem in _misfits(i, spec)]
    if wrong:
        raise InputError(f"{path}: {listed(wrong)}.")
    layers = tuple(_layer(spec) for spec in file.layers)
    other = tuple(OtherOp(**spec.model_dump(exclude={"inputs"})) for spec in file.other)
    reads = [layer.inputs for layer in file.layers]
    others = [op.inputs for op in file.other]
    graph = _chain(layers, other)
    if any(inputs is not None for inputs in (*reads, *others)):
        try:
            graph = stated_graph(layers, reads, other, others)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return Network(file.name or path.stem, layers, other, file.params_unread, graph=graph)


def write(network: Network, path: str | Path) -> None:
    """Saves a network as a layer list that `read` gives back equal; the file is replaced whole or not at all.

    What entries read is written where the list would not be taken for a chain. Where names cannot say it, a comment says that
    the data flow is missing.

    Raises:
        HwflowError: where the file cannot be written.
    """
    path = Path(path)
    content: dict[str, Any] = {"name": network.name, "layers": [_fields(layer) for layer in network.layers]}
    if network.other:
        content["other"] = [_without_zero(_without_zero(op._asdict(), "params"), "window") for op in network.other]
    lines = [f"name: {_flow(network.name)}"]
    if network.graph is not None and _chain(network.layers, network.other) is None:
        if (inputs := inputs_of(network)) is None:
            lines.append("# The data flow is not in this list: names of entries cannot say which of them reads what.")
        else:
            for entries, read in zip((content["layers"], content.get("other", [])), inputs, strict=True):
                for entry, names in zip(entries, read, strict=True):
                    entry["inputs"] = names
    for section in ("layers", "other"):
        if section in content:
            lines += [f"{section}:", *(f"  - {_flow(entry)}" for entry in content[section])]
    if network.params_unread:
        lines.append(f"params_unread: {network.params_unread}")
    write_text(path, "\n".join(lines) + "\n")


# Reading -------------------------------------------------------------------------------------------------------------


def _misfits(index: int, spec: _Layer) -> Iterator[str]:
    """What fits no layer of that type, or is missing for it."""
    label = f"layers[{index}]"
    for name in _NEEDED[spec.type]:
        if getattr(spec, name) is None:
            yield f"{label}.{name} is missing ({spec.type} {_shown(spec.name)}); it must be a whole number of at least 1"
    if spec.type in ("linear", "matmul"):
        for name in _SPATIAL:
            value = getattr(spec, name)
            if value not in (None, 1, (1, 1)):
                shown = list(value) if isinstance(value, tuple) else value
                yield f"{label}.{name} is {shown}; a {spec.type} layer has none (its sizes: N, G, P rows, C inner, M columns)"


def _layer(spec: _Layer) -> Layer:
    sizes: dict[str, Any] = {name: getattr(spec, name) or 1 for name in ("N", "G", "C", "M", "P", "Q", "R", "S")}
    return Layer(
        name=spec.name,
        type=spec.type,
        strides=spec.strides or (1, 1),
        dilations=spec.dilations or (1, 1),
        bits=Bits(**spec.bits.model_dump()) if spec.bits else None,
        **layer_fields(spec.densities.model_dump(exclude_unset=True) if spec.densities else {}),
        params_other=spec.params_other,
        shared=spec.shared,
        **sizes,
    )


_JOINS = frozenset(["Add", "Concat", "Div", "Einsum", "Max", "Mean", "Min", "Mul", "Pow", "Split", "Sub", "Sum", "Where"])
"""Operators that read several tensors, or give several: where one is listed, the layers are no chain."""


def _chain(layers: Sequence[Layer], other: Sequence[OtherOp]) -> Graph | None:
    """The graph of a list in which each layer reads what the one before wrote; None where it holds what has two inputs.

    Where a layer reads less than the one before wrote, something between them made it less: the next listed operator that reads
    so many words (a pooling), or else one that is not listed, and then the layer's own input counts. The first layer's input is
    what its kernel spans, padding included.
    """
    if any(layer.type == "matmul" for layer in layers) or any(op.type in _JOINS for op in other):
        return None
    sizes = [layers[0].words("inputs")]
    operations: list[Operation] = []
    waiting = [i for i, op in enumerate(other) if op.words_in != op.words_out]  # what keeps the size writes over its input

    def add(part: Part, row: int, words: int) -> None:
        operations.append(Operation(part, row, (len(sizes) - 1,), (len(sizes),)))
        sizes.append(words)

    for row, layer in enumerate(layers):
        while sizes[-1] > layer.words("inputs"):
            listed_at = next((i for i in waiting if other[i].words_in == sizes[-1]), None)
            if listed_at is None:
                sizes.append(layer.words("inputs"))
                break
            add("other", listed_at, other[listed_at].words_out)
            waiting = [i for i in waiting if i > listed_at]
        add("layers", row, layer.words("outputs"))
    return Graph(tuple(sizes), tuple(operations), (0,), (len(sizes) - 1,))


def _each_list_once(messages: Sequence[str]) -> list[str]:
    """Messages of which only the first of those that list the same known fields keeps the list."""
    told: set[str] = set()
    result = []
    for message in messages:
        text, mark, known = message.partition(_KNOWN)
        result.append(text if known in told else message)
        if mark:
            told.add(known)
    return result


_KNOWN = "; known fields: "


def _message(problem: Any) -> str:
    """One of pydantic's problems as `layers[3].strides is 'x'; it must be ...`."""
    location = problem["loc"]
    field, kind = _dotted(location), problem["type"]
    if kind == "missing":
        return f"{field} is missing; {_allowed(location, 'it')}"
    if kind == "extra_forbidden":
        known = _known(location)
        near = difflib.get_close_matches(str(location[-1]).lower(), [k.lower() for k in known], n=1, cutoff=0.5)
        meant = next((f" (did you mean {k!r}?)" for k in known if near and k.lower() == near[0]), "")
        return f"{field} is {_shown(problem['input'])}, but there is no such field{meant}{_KNOWN}{', '.join(known)}"
    return f"{field} is {_shown(problem['input'])}; {_allowed(location, 'it')}"


def _dotted(location: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _known(location: Sequence[str | int]) -> list[str]:
    """The fields of the mapping in which `location` lies."""
    names = [part for part in location[:-1] if isinstance(part, str)]
    model: type[Strict] = _File
    if names[:1] == ["layers"]:
        inner: dict[str, type[Strict]] = {"bits": _Bits, "densities": _Densities}
        model = inner.get(names[1] if len(names) > 1 else "", _Layer)
    elif names[:1] == ["other"]:
        model = _Other
    return list(model.model_fields)


_COUNTS = ("params_other", "params_unread", "words_in", "words_out", "params", "window")
_RULES: tuple[tuple[Callable[[Sequence[str | int]], bool], str], ...] = (
    (lambda at: at[-1] in ("strides", "dilations"), "two whole numbers of at least 1, [width, height]"),
    (lambda at: at[-1] == "layers", "a list of at least one layer"),
    (lambda at: at[-1] == "other", "a list of operators {name, type, words_in, words_out}"),
    (lambda at: at[-1] == "type" and at[0] == "layers", "one of conv, conv_transpose, linear, matmul"),
    (lambda at: at[-1] in ("name", "type"), "a text"),
    (lambda at: at[-1] == "bits", "a mapping of weights, inputs and outputs to widths in bits"),
    (lambda at: at[-1] == "densities", "a mapping of weights, inputs and outputs to the shares of nonzero elements"),
    (
        lambda at: "positions" in at,
        "the share of transformed weights that are not zero, from 0 to 1, or a list of one a position",
    ),
    (lambda at: "densities" in at, "the share of elements that are not zero, above 0 and at most 1"),
    (lambda at: at[-1] == "shared", "true or false"),
    (lambda at: "inputs" in at and "bits" not in at, "a list of names of layers and operators, or of input, the network's own"),
    (lambda at: at[-1] in _COUNTS, "a whole number of at least 0"),
    (lambda at: len(at) == 2 and isinstance(at[-1], int), "a mapping of fields, such as {name: conv1, C: 3, M: 64, ...}"),
)


def _allowed(location: Sequence[str | int], subject: str) -> str:
    rule = next((text for holds, text in _RULES if holds(location)), "a whole number of at least 1")
    return f"{subject} must be {rule}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Writing -------------------------------------------------------------------------------------------------------------


def _fields(layer: Layer) -> dict[str, Any]:
    """A layer as the list writes it: what its type needs, and what differs from what holds where nothing is said."""
    needed = _NEEDED[layer.type]
    entry: dict[str, Any] = {"name": layer.name}
    if layer.type != "conv":
        entry["type"] = layer.type
    entry |= {d: n for d, n in layer.dims.items() if d in needed or n != 1}
    entry |= {k: list(v) for k, v in (("strides", layer.strides), ("dilations", layer.dilations)) if v != (1, 1)}
    if layer.bits is not None:
        entry["bits"] = layer.bits._asdict()
    if densities := density_fields(layer):
        entry["densities"] = densities
    entry = _without_zero(entry | {"params_other": layer.params_other}, "params_other")
    return _without_zero(entry | {"shared": layer.shared}, "shared")


def _without_zero(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return entry if entry[key] else {k: v for k, v in entry.items() if k != key}


def _flow(value: Any) -> str:
    """On one line, quoted where YAML needs it."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("...\n").removesuffix("\n")


__all__ = ["read", "write"]

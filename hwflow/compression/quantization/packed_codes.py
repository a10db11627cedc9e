"""The codes of a quantized network's weights, packed, beside its `model.pt`: `codes.bin`, and `codes.json`, which says how.

`codes.bin` has the layers one after another, each from a whole byte on. Within a layer, codes lie side by side, each with its
highest bit first, in the order of the weights: integers of `bits` bits (symmetric ones plus 2^(bits-1)), one bit for a sign (1
of -1), and for powers of two 4 bits a term (a sign and 1 + exponent - lowest, or 0), filter by filter and in a filter term by
term: of filter i there are `terms[i]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from hwflow.compression.folder import read_json, write_json
from hwflow.compression.quantization.integers import Coded, Scale
from hwflow.compression.quantization.powers import EXPONENTS, TERM_BITS, codes_of
from hwflow.compression.quantization.quantized_layers import Code, quantized
from hwflow.errors import InputError
from hwflow.files import open_input, write_bytes

DESCRIPTION, CONTENT = "codes.json", "codes.bin"
_FORMAT = 1
_Count = Annotated[int, Field(ge=0, le=2**40)]


@dataclass(frozen=True)
class LayerCodes:
    """What is stored of a layer.

    Attributes:
        coded: integers of the weights, with a step and a zero of each output channel.
        inputs: the scale of the layer's inputs; 2 levels are signs.
        terms: powers of two of each filter; None where weights are no sums of such.
    """

    coded: Coded
    inputs: Scale
    terms: tuple[int, ...] | None = None


def write_codes(folder: Path, model: nn.Module, codes: Mapping[str, Code]) -> None:
    """Write the codes of a network whose weights are those that are stored; `codes` by name of the module."""
    layers: list[dict[str, Any]] = []
    content = b""
    for name, module in quantized(model):
        if name not in codes:
            continue
        code, integers = codes[name], module.integers
        terms: list[int] | None = None
        if code.kind == "powers":
            terms, packed = _packed_powers(module.weight.detach(), float(module.weight_steps[0]))
        else:
            packed = _packed(_unsigned(integers, code, bool((module.weight_zeros != 0).any())).numpy(), code.bits)
        scale = module.scale
        layers.append(
            {
                "name": name,
                "kind": code.kind,
                "bits": TERM_BITS if code.kind == "powers" else code.bits,
                "shape": list(integers.shape),
                "steps": module.weight_steps.double().tolist(),
                "zeros": module.weight_zeros.to(torch.int64).tolist(),
                "affine": code.affine,
                "inputs": [scale.step, scale.zero, scale.levels],
                "terms": terms,
                "offset": len(content),
                "bytes": len(packed),
            }
        )
        content += packed
    write_bytes(folder / CONTENT, content)
    write_json(folder / DESCRIPTION, {"format": _FORMAT, "layers": layers})


def read_codes(folder: str | Path) -> dict[str, LayerCodes]:
    """The codes in a finished run's folder, by name of the layer.

    Raises:
        InputError: where there are none, or the files are damaged.
    """
    place = Path(folder)
    file = place / DESCRIPTION
    try:
        layers = _Description.model_validate(read_json(file)).layers
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise InputError(f"{file} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    with open_input(place / CONTENT, "the codes", "result") as handle:
        content = handle.read()
    return {layer.name: _unpacked(layer, content[layer.offset : layer.offset + layer.bytes], file) for layer in layers}


class _Layer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    kind: Literal["integer", "powers", "signs"]
    bits: Annotated[int, Field(ge=1, le=8)]
    shape: Annotated[tuple[_Count, ...], Field(min_length=2)]
    steps: tuple[float, ...]
    zeros: tuple[int, ...]
    affine: bool
    inputs: tuple[float, int, int]
    terms: tuple[Annotated[int, Field(ge=0, le=2)], ...] | None
    offset: _Count
    bytes: _Count


class _Description(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal[1]
    layers: tuple[_Layer, ...]


def _unpacked(layer: _Layer, content: bytes, file: Path) -> LayerCodes:
    filters, weights = layer.shape[0], int(np.prod(layer.shape[1:]))
    terms = layer.terms if layer.kind == "powers" else (1,) * filters
    count = sum(terms or ()) * weights
    if terms is None or len(terms) != filters or len(layer.steps) != filters or len(layer.zeros) != filters:
        raise InputError(f"{file} is damaged: {layer.name} has {filters} filters, and steps, zeros or terms of others.")
    if len(content) != -(-count * layer.bits // 8):
        raise InputError(
            f"{file.with_name(CONTENT)} is damaged: the {count:,} codes of {layer.name} take {-(-count * layer.bits // 8):,} "
            f"bytes, and there are {len(content):,}."
        )
    found = torch.from_numpy(_read(content, count, layer.bits))
    if layer.kind == "powers":
        sums = torch.zeros(filters, weights, dtype=torch.int64)
        at = 0
        for row, k in enumerate(terms):
            for _ in range(k):
                code = found[at : at + weights]
                at += weights
                magnitude = code & (2 ** (TERM_BITS - 1) - 1)
                power = torch.where(magnitude > 0, 1 << (magnitude - 1).clamp(min=0), 0)
                sums[row] += torch.where(code >= 2 ** (TERM_BITS - 1), -power, power)
        integers = sums.reshape(layer.shape)
    elif layer.kind == "signs":
        integers = (1 - 2 * found).reshape(layer.shape)
    else:
        integers = (found - (0 if layer.affine else 2 ** (layer.bits - 1))).reshape(layer.shape)
    shape = (-1, *[1] * (len(layer.shape) - 1))
    steps, zeros = (torch.tensor(v, dtype=torch.float32).reshape(shape) for v in (layer.steps, layer.zeros))
    return LayerCodes(Coded(integers, steps, zeros), Scale(*layer.inputs), terms if layer.kind == "powers" else None)


def _unsigned(integers: Tensor, code: Code, affine: bool) -> Tensor:
    if code.kind == "signs":
        return (integers < 0).to(torch.int64)
    return integers if code.affine or affine else integers + 2 ** (code.bits - 1)


def _packed_powers(weights: Tensor, step: float) -> tuple[list[int], bytes]:
    """Terms of each filter, and their codes."""
    top = round(float(np.log2(step))) + EXPONENTS - 1
    codes = codes_of(weights, 2, top).codes.flatten(2).to(torch.int64)  # [term, filter, weight]
    present = (codes != 0).any(2)
    terms = [2 if second else int(first) for first, second in zip(*present.tolist(), strict=True)]
    nibbles = torch.where(codes < 0, 2 ** (TERM_BITS - 1), 0) + codes.abs()
    rows = [nibbles[term, row] for row, k in enumerate(terms) for term in range(k)]
    return terms, _packed(torch.cat(rows).numpy() if rows else np.zeros(0, np.int64), TERM_BITS)


def _packed(values: Any, bits: int) -> bytes:
    places = np.arange(bits - 1, -1, -1)
    return bytes(np.packbits((values.reshape(-1, 1) >> places & 1).astype(np.uint8)).tobytes())


def _read(content: bytes, count: int, bits: int) -> Any:
    found = np.unpackbits(np.frombuffer(content, np.uint8), count=count * bits).reshape(count, bits)
    return (found.astype(np.int64) << np.arange(bits - 1, -1, -1)).sum(1)


__all__ = ["LayerCodes", "read_codes", "write_codes"]

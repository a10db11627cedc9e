"""`Mapping`: how a layer's loops are split over the levels of an accelerator; to and from Timeloop's YAML; printed as a loop nest."""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from hwflow.accelerator import Accelerator
from hwflow.data import read_yaml, write_text
from hwflow.errors import InputError, not_found
from hwflow.layers import DIMS, TENSORS, Dim, Layer, Tensor

TIMELOOP_TENSORS: dict[Tensor, str] = {"weights": "Weights", "inputs": "Inputs", "outputs": "Outputs"}
"""hwflow's names of the tensors and Timeloop's."""


@dataclass(frozen=True)
class LevelMapping:
    """The loops at one level. `temporal` and `spatial` are (dimension, bound) pairs, outermost loop first, bounds above 1 only.

    Spatial loops lie inside the temporal ones, on the `axis` of the level's fan-out (None where there is none).
    """

    level: str
    temporal: tuple[tuple[Dim, int], ...]
    spatial: tuple[tuple[Dim, int], ...]
    keeps: tuple[Tensor, ...]
    axis: Literal["X", "Y"] | None = None


@dataclass(frozen=True)
class Mapping:
    """A complete mapping: one `LevelMapping` for each level of the accelerator, outermost first."""

    levels: tuple[LevelMapping, ...]

    def check(self, layer: Layer, accelerator: Accelerator) -> None:
        """Refuse a mapping that does not belong to this layer and accelerator.

        Raises:
            InputError: naming the level or the dimension at fault.
        """
        names = [level.name for level in accelerator.levels]
        if [m.level for m in self.levels] != names:
            raise InputError(f"mapping: its levels are {[m.level for m in self.levels]}; {accelerator.name} has {names}.")
        for mapped, level in zip(self.levels, accelerator.levels, strict=True):
            spread = 1
            for _, bound in mapped.spatial:
                spread *= bound
            if spread > level.fanout:
                raise InputError(
                    f"mapping: {level.name} spreads {spread} instances over a fan-out of {level.fanout} "
                    f"({level.array or 'no array below it'})."
                )
        for d in DIMS:
            product = 1
            for mapped in self.levels:
                for dim, bound in (*mapped.temporal, *mapped.spatial):
                    product *= bound if dim == d else 1
            if product != layer.dims[d]:
                raise InputError(f"mapping: the factors of {d} multiply to {product}, but layer {layer.name} has {d}={layer.dims[d]}.")

    # Timeloop's files ------------------------------------------------------------------------------------------------

    @classmethod
    def from_timeloop(cls, path: str | Path, layer: Layer, accelerator: Accelerator) -> Mapping:
        """Read a mapping that Timeloop wrote (`timeloop-mapper.map.yaml`) or that a user wrote for `timeloop-model`.

        Raises:
            InputError: where the file does not map `layer` on `accelerator` completely, naming the target or dimension.
        """
        content = read_yaml(path, "mapping")
        entries = content.get("mapping") if isinstance(content, MappingABC) else None
        if not isinstance(entries, list) or not all(isinstance(e, MappingABC) for e in entries):
            raise InputError(f"mapping: {path} has no list 'mapping:' of directives, as Timeloop writes it.")
        mapping = cls.from_directives(entries, accelerator)
        mapping.check(layer, accelerator)
        return mapping

    @classmethod
    def from_directives(cls, entries: list[dict[str, Any]], accelerator: Accelerator) -> Mapping:
        """The same from the parsed list of directives."""
        by_level: dict[str, dict[str, Any]] = {level.name: {} for level in accelerator.levels}
        for entry in entries:
            target, kind = str(entry.get("target")), str(entry.get("type"))
            if target not in by_level:
                raise not_found("target in the mapping", target, by_level)
            by_level[target]["datatype" if kind in ("bypass", "dataspace") else kind] = entry
        levels = []
        for level in accelerator.levels:
            found = by_level[level.name]
            keeps = level.memory.keeps if level.memory else ()
            if "datatype" in found:
                kept = found["datatype"].get("keep") or []
                keeps = tuple(t for t in TENSORS if TIMELOOP_TENSORS[t] in kept)
            levels.append(LevelMapping(level.name, _loops(found.get("temporal")), _loops(found.get("spatial")), keeps, level.axis))
        return cls(tuple(levels))

    def directives(self) -> list[dict[str, Any]]:
        """The list that stands under `mapping:` in Timeloop's input, outermost level first.

        Timeloop lists a permutation from the innermost loop outwards; `split` says how many of a spatial permutation's
        dimensions, so counted, lie on X, the rest on Y.
        """
        entries: list[dict[str, Any]] = []
        for mapped in self.levels:
            names = [TIMELOOP_TENSORS[t] for t in TENSORS]
            keep = [TIMELOOP_TENSORS[t] for t in mapped.keeps]
            rest = [n for n in names if n not in keep]
            entries.append({"target": mapped.level, "type": "datatype", "keep": keep, "bypass": rest})
        for mapped in self.levels:
            entries.append({"target": mapped.level, "type": "temporal", **_factors(mapped.temporal)})
            if mapped.axis is not None:
                split = len(DIMS) if mapped.axis == "X" else 0
                entries.append({"target": mapped.level, "type": "spatial", **_factors(mapped.spatial), "split": split})
        return entries

    def to_timeloop(self, path: str | Path) -> None:
        """Write the mapping as a file that `timeloop-model` reads."""
        text = yaml.safe_dump({"mapping": self.directives()}, sort_keys=False, default_flow_style=None, width=200)
        write_text(path, text)

    # For people ------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        """The loop nest as text, one loop a line, storage levels as headings with what they keep."""
        lines: list[str] = []
        depth = 0
        for mapped in self.levels:
            kept = ", ".join(mapped.keeps) or "stores nothing"
            lines.append(f"{'  ' * depth}{mapped.level} [{kept}]")
            for word, loops in (("for", mapped.temporal), ("parallel-for", mapped.spatial)):
                for dim, bound in loops:
                    depth += 1
                    lines.append(f"{'  ' * depth}{word} {dim} in [0:{bound})" + (f"  # over {mapped.axis}" if word != "for" else ""))
            depth += 1
        lines.append(f"{'  ' * depth}multiply-accumulate")
        return "\n".join(lines)


def _factors(loops: tuple[tuple[Dim, int], ...]) -> dict[str, str]:
    present = dict(loops)
    order = [d for d, _ in reversed(loops)] + [d for d in DIMS if d not in present]
    return {"factors": " ".join(f"{d}={present.get(d, 1)}" for d in DIMS), "permutation": "".join(order)}


def _loops(entry: dict[str, Any] | None) -> tuple[tuple[Dim, int], ...]:
    """Loops of one directive, outermost first, those of bound 1 left out."""
    if entry is None:
        return ()
    text = entry.get("factors", "")
    text = " ".join(map(str, text)) if isinstance(text, list) else str(text)
    bounds: dict[str, int] = {}
    for dim, bound, residual in re.findall(r"([A-Za-z])\s*=?\s*(\d+)(?:\s*,\s*(\d+))?", text):
        if dim not in DIMS:
            raise not_found("dimension in the mapping", dim, DIMS)
        if residual and residual != bound:
            raise InputError(
                f"mapping: {entry.get('target')}: {dim}={bound},{residual} is an imperfect factor; only perfect factors "
                "(whose product is the dimension) are analysed."
            )
        bounds[dim] = int(bound)
    order = entry.get("permutation", "")
    names = [str(d) for d in order] if isinstance(order, list) else re.findall(r"[A-Za-z]", str(order))
    names += [d for d in DIMS if d not in names]
    return tuple((d, bounds[d]) for d in reversed(names) if bounds.get(d, 1) > 1)  # type: ignore[misc]

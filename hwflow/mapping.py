"""`Mapping`: the loops of a layer at each level of an accelerator; reading and writing of Timeloop's YAML; printing.

A loop whose steps don't divide its dimension is *ragged*: it has its `bound` everywhere except in the very last pass of all
loops of its dimension outside it, where it has its `residual`. (Timeloop calls these imperfect factors and writes `M=4,1`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from hwflow.errors import InputError, is_whole, not_found, shown
from hwflow.files import read_yaml, write_text
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import DIMS, TENSORS, Dim, Layer, Tensor

TIMELOOP_TENSORS: dict[Tensor, str] = {"weights": "Weights", "inputs": "Inputs", "outputs": "Outputs"}
"""hwflow's names of the tensors and Timeloop's."""


class _Loop(NamedTuple):
    dim: Dim
    bound: int
    residual: int


class Loop(_Loop):
    """One loop: its dimension, its bound, and its bound in the last pass of the loops of this dimension outside it."""

    __slots__ = ()

    def __new__(cls, dim: Dim, bound: int, residual: int | None = None) -> Loop:
        """A loop without a residual is a perfect one: its residual is its bound."""
        return super().__new__(cls, dim, bound, bound if residual is None else residual)

    @property
    def ragged(self) -> bool:
        """Whether the last pass is shorter."""
        return self.residual != self.bound

    def __str__(self) -> str:
        return f"{self.dim}={self.bound},{self.residual}" if self.ragged else f"{self.dim}={self.bound}"


@dataclass(frozen=True)
class LevelMapping:
    """The loops at one level, outermost first, bounds above 1 only; (dimension, bound) pairs will do where they are perfect.

    Spatial loops lie inside the temporal ones, on the `axis` of the level's fan-out (None where there is none).
    """

    level: str
    temporal: tuple[Loop, ...]
    spatial: tuple[Loop, ...]
    keeps: tuple[Tensor, ...]
    axis: Literal["X", "Y"] | None = None

    def __init__(
        self,
        level: str,
        temporal: Iterable[tuple[Dim, int] | Loop],
        spatial: Iterable[tuple[Dim, int] | Loop],
        keeps: tuple[Tensor, ...],
        axis: Literal["X", "Y"] | None = None,
    ) -> None:
        values = {"level": level, "temporal": _as_loops(temporal), "spatial": _as_loops(spatial), "keeps": keeps, "axis": axis}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def loops(self) -> tuple[Loop, ...]:
        """All loops, outermost first."""
        return (*self.temporal, *self.spatial)


@dataclass(frozen=True)
class Mapping:
    """A complete mapping: one `LevelMapping` for each level of the accelerator, outermost first."""

    levels: tuple[LevelMapping, ...]

    @property
    def ragged(self) -> bool:
        """Whether any loop is."""
        return any(loop.ragged for mapped in self.levels for loop in mapped.loops)

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
            for loop in mapped.spatial:
                spread *= loop.bound
            if spread > level.fanout:
                raise InputError(
                    f"mapping: {level.name} spreads {spread} instances over a fan-out of {level.fanout} "
                    f"({level.array or 'no array below it'})."
                )
            kept = level.memory.keeps if level.memory else ()
            if stray := [t for t in mapped.keeps if t not in kept]:
                raise InputError(
                    f"mapping: {level.name} keeps {', '.join(stray)}, but {accelerator.name} keeps "
                    f"{', '.join(kept) or 'nothing'} there."
                )
            for loops in (mapped.temporal, mapped.spatial):
                if len({loop.dim for loop in loops}) < len(loops):
                    raise InputError(f"mapping: {level.name} has two loops over one dimension: {' '.join(map(str, loops))}.")
        self._check_outermost(layer)
        for d in DIMS:
            self._check_size(d, layer)

    def _check_outermost(self, layer: Layer) -> None:
        """A tensor that DRAM does not keep lies in another memory as a whole: no loop outside that steps through it."""
        top = self.levels[0].level
        for tensor in (t for t in TENSORS if t not in self.levels[0].keeps):
            home = next((k for k, mapped in enumerate(self.levels) if tensor in mapped.keeps), None)
            steps = [loop for mapped in self.levels[:home] for loop in mapped.loops if loop.dim in layer.relevant(tensor)]
            if home is None or steps:
                why = "no other level does"
                if home is not None:
                    why = f"{' '.join(map(str, steps))} outside {self.levels[home].level} steps through it"
                raise InputError(
                    f"mapping: {top} must keep every tensor that no other memory holds whole; it does not keep {tensor}, and "
                    f"{why}."
                )

    def _check_size(self, dim: Dim, layer: Layer) -> None:
        """A dimension's loops, residuals applied to the last pass, must walk exactly over it (as in Timeloop's parser)."""
        size, outermost = 1, True
        for mapped in self.levels:
            for loop in mapped.loops:
                if loop.dim != dim:
                    continue
                if not 1 <= loop.residual <= loop.bound:
                    raise InputError(f"mapping: {mapped.level}: {loop}: a residual is at least 1 and at most the bound.")
                if outermost and loop.ragged:
                    raise InputError(
                        f"mapping: {mapped.level}: {loop} is the outermost loop of {dim}, so it has no pass but the last one. "
                        f"Write {dim}={loop.residual}."
                    )
                outermost = False
                size = (size - 1) * loop.bound + loop.residual
        if size != layer.dims[dim]:
            raise InputError(
                f"mapping: the factors of {dim} multiply to {size}, but layer {layer.name} has {dim}={layer.dims[dim]}."
            )

    # Timeloop's files ------------------------------------------------------------------------------------------------

    @classmethod
    def from_timeloop(cls, path: str | Path, layer: Layer, accelerator: Accelerator) -> Mapping:
        """Read a mapping that Timeloop wrote (`timeloop-mapper.map.yaml`) or that a user wrote for `timeloop-model`.

        (What its `ruby` map space found cannot be read back: `map.yaml` drops the residuals.)

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
        """The same from the parsed list of directives. What they don't say of a tensor is as the accelerator has it.

        As in Timeloop (`mapping/parser.cpp`), what several say of a level's tensors adds up, the later the stronger; of
        temporal and of spatial directives for one level, the last holds.
        """
        by_level: dict[str, dict[str, Any]] = {level.name: {} for level in accelerator.levels}
        keeps = {level.name: set(level.memory.keeps if level.memory else ()) for level in accelerator.levels}
        for entry in entries:
            target, kind = str(entry.get("target")), str(entry.get("type"))
            if target not in by_level:
                raise not_found("target in the mapping", target, by_level)
            if kind not in _FIELDS:
                raise not_found(f"type of the directive for {target} in the mapping", kind, _FIELDS)
            _check_fields(entry, target, kind)
            if kind in ("temporal", "spatial"):
                by_level[target][kind] = entry
            else:
                keeps[target] = _kept(entry, keeps[target])
        levels = []
        for level in accelerator.levels:
            found, kept = by_level[level.name], tuple(t for t in TENSORS if t in keeps[level.name])
            spatial = tuple(loops_of(found.get("spatial")))
            _check_axis(found.get("spatial", {}), spatial, level.axis)
            levels.append(LevelMapping(level.name, loops_of(found.get("temporal")), spatial, kept, level.axis))
        return cls(tuple(levels))

    def directives(self) -> list[dict[str, Any]]:
        """The list under `mapping:` in Timeloop's input, outermost level first.

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
            entries.append({"target": mapped.level, "type": "temporal", **factors_of(mapped.temporal)})
            if mapped.axis is not None:
                split = len(DIMS) if mapped.axis == "X" else 0
                entries.append({"target": mapped.level, "type": "spatial", **factors_of(mapped.spatial), "split": split})
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
                for loop in loops:
                    depth += 1
                    notes = [f"over {mapped.axis}"] if word != "for" else []
                    notes += [f"{loop.residual} in the last pass"] if loop.ragged else []
                    note = f"  # {', '.join(notes)}" if notes else ""
                    lines.append(f"{'  ' * depth}{word} {loop.dim} in [0:{loop.bound}){note}")
            depth += 1
        lines.append(f"{'  ' * depth}multiply-accumulate")
        return "\n".join(lines)


_FIELDS: dict[str, tuple[str, ...]] = {
    "temporal": ("factors", "permutation"),
    "spatial": ("factors", "permutation", "split"),
    **dict.fromkeys(("datatype", "bypass", "dataspace"), ("keep", "bypass")),
}
"""The fields of directives by their types, beside target and type."""

_REUSE = ("no_reuse", "no_temporal_reuse", "no_link_transfer", "rmw_first_update", "no_coalesce")


def _as_loops(loops: Iterable[tuple[Dim, int] | Loop]) -> tuple[Loop, ...]:
    return tuple(Loop(*loop) for loop in loops)


def factors_of(loops: Sequence[Loop]) -> dict[str, str]:
    """Factors and permutation of a directive: the innermost loop first, dimensions without a loop last."""
    present = {loop.dim: str(loop) for loop in loops}
    order = [loop.dim for loop in reversed(loops)] + [d for d in DIMS if d not in present]
    return {"factors": " ".join(present.get(d, f"{d}=1") for d in DIMS), "permutation": "".join(order)}


def _check_fields(entry: MappingABC[str, Any], target: str, kind: str) -> None:
    for field, value in entry.items():
        if field in (*_FIELDS[kind], "target", "type") or value in (None, [], ""):
            continue
        if field in _REUSE:
            raise InputError(
                f"mapping: {target}: {field} is {shown(value)}; it changes what is reused, which hwflow cannot express. Take "
                "it out, or judge the mapping with timeloop-model."
            )
        raise not_found(f"field of the {kind} directive for {target} in the mapping", str(field), _FIELDS[kind])


def _kept(entry: MappingABC[str, Any], before: set[Tensor]) -> set[Tensor]:
    """The tensors that a level keeps after one more directive."""
    named = {word: entry.get(word) or [] for word in ("keep", "bypass")}
    for word, names in named.items():
        if not isinstance(names, list):
            raise InputError(f"mapping: {entry.get('target')}: {word} is {names!r}; it must be a list of tensors.")
        for name in names:
            if name not in TIMELOOP_TENSORS.values():
                raise not_found(f"tensor at {entry.get('target')} in the mapping", str(name), TIMELOOP_TENSORS.values())
    return {
        t
        for t in TENSORS
        if TIMELOOP_TENSORS[t] not in named["bypass"] and (TIMELOOP_TENSORS[t] in named["keep"] or t in before)
    }


# From the first letter of a word only: a long word without a number would be tried from each of its letters otherwise.
_FACTOR = re.compile(r"(?<![A-Za-z])([A-Za-z]+)\s*=*\s*(\d+)(?:,(\d+))?")


def loops_of(entry: MappingABC[str, Any] | None) -> Iterator[Loop]:
    """Loops of one directive, outermost first, those of bound 1 left out. What follows `#` in its factors is a comment."""
    if entry is None:
        return
    target, given = entry.get("target"), entry.get("factors") or ""
    text = (" ".join(map(str, given)) if isinstance(given, list) else str(given)).partition("#")[0]
    loops: dict[str, Loop] = {}
    for dim, bound, residual in re.findall(_FACTOR, text):
        if dim not in DIMS:
            raise not_found("dimension in the mapping", dim, DIMS)
        if max(len(bound), len(residual)) > 18 or int(bound) < 1:
            raise InputError(
                f"mapping: {target}: {dim}={bound}: a factor is at least 1 (Timeloop's 0 is the whole dimension); write the "
                f"number of steps of {dim}."
            )
        loops[dim] = Loop(dim, int(bound), int(residual) if residual else None)
    if re.sub(_FACTOR, "", text).strip(" ,\n\t"):  # `C=word`, `M=4, 1`: Timeloop would pass over it
        raise InputError(
            f"mapping: {target}: factors is {shown(given)}; it must be factors such as C=4 M=8,5 (no space in it)."
        )
    named = _permutation(entry)
    inner_first = [*named, *(d for d in DIMS if d not in named)]
    yield from (loops[d] for d in reversed(inner_first) if d in loops and loops[d].bound > 1)


def _permutation(entry: MappingABC[str, Any]) -> list[Dim]:
    """The dimensions that a directive puts in order, innermost first."""
    order = entry.get("permutation") or ""
    letters = [str(d) for d in order] if isinstance(order, list) else [c for c in str(order) if c.strip(" ,\n\t")]
    named: list[Dim] = sorted((d for d in DIMS if d in letters), key=letters.index)
    if letters != named:
        raise InputError(
            f"mapping: {entry.get('target')}: permutation is {shown(order)}; it must be dimensions ({', '.join(DIMS)}), each "
            "at most once, the innermost first."
        )
    return named


def on_x(entry: MappingABC[str, Any], loops: Sequence[Loop]) -> set[Dim]:
    """The dimensions that a spatial directive puts on X: the first `split` of its permutation, or all without one.

    Raises:
        InputError: where split is no number, or does not say on which axis a loop lies.
    """
    split, named, target = entry.get("split"), _permutation(entry), entry.get("target")
    if split is None:
        return {loop.dim for loop in loops}
    if not is_whole(split, 0):
        raise InputError(f"mapping: {target}: split is {shown(split)}; it must be a whole number of dimensions.")
    found = set(named[:split])
    for loop in loops:
        if loop.dim in named or split <= len(named):
            continue
        if split < len(DIMS) - 1:  # problems without groups have one less
            raise InputError(
                f"mapping: {target}: split (={split}) goes beyond its permutation, which does not name {loop.dim}, so it does "
                f"not say on which axis {loop} lies; name all dimensions."
            )
        found.add(loop.dim)
    return found


def _check_axis(entry: MappingABC[str, Any], loops: Sequence[Loop], axis: Literal["X", "Y"] | None) -> None:
    """All spatial loops lie on the axis of the level's fan-out, as `split` has them."""
    there = on_x(entry, loops)
    for loop in loops:
        if axis is not None and (loop.dim in there) != (axis == "X"):
            raise InputError(
                f"mapping: {entry.get('target')}: {loop} lies on {'X' if axis == 'Y' else 'Y'} with a split of "
                f"{entry.get('split', 'all')}, but the fan-out is on {axis}; a split of {len(DIMS) if axis == 'X' else 0} puts "
                "all dimensions there."
            )

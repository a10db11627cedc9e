"""Parsing of Timeloop's output: statistics as text and as unrounded XML, and the mapping.

The text rounds energies to 0.01; the XML (boost serialisation) has them whole, but no leakage. Where both exist the energies
of accesses come from the XML, and each is checked against the other, so that a change of format cannot pass unnoticed.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field, replace
from pathlib import Path

from hwflow.errors import InputError, ToolError
from hwflow.files import read_text, read_yaml
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import TENSORS, Layer, Tensor
from hwflow.mapping import TIMELOOP_TENSORS, Mapping
from hwflow.timeloop.architecture import architecture_of

# Of a sparse design there are several counts of each kind; the actual one is what is neither gated nor skipped.
_COUNTS = {
    f"{prefix} {name} (per-instance)": name for prefix in ("Scalar", "Actual scalar") for name in ("reads", "fills", "updates")
}
_CAPACITY = ("Utilized capacity", "Max utilized data storage capacity")
_TOTALS = ("Energy (total)", "Temporal Reduction Energy (total)", "Address Generation Energy (total)")
_TENSOR_OF: dict[str, Tensor] = {name: tensor for tensor, name in TIMELOOP_TENSORS.items()}


@dataclass
class TensorStats:
    """One tensor at one level. Counts are words per instance, energies all instances together.

    `indices` and `pointers` of compressed tiles are those that are read, filled and updated.
    """

    reads: float = 0.0
    fills: float = 0.0
    updates: float = 0.0
    capacity: int = 0
    instances: float = 0.0
    energy: float = 0.0
    indices: int = 0
    pointers: int = 0


@dataclass
class LevelStats:
    """One level: `cycles` is what its bandwidth allows, `leakage` an energy, all instances together.

    `repriced`: the energy instead of Timeloop's own where its counts were given other prices.
    """

    cycles: int = 0
    leakage: float = 0.0
    compute: float = 0.0
    tensors: dict[Tensor, TensorStats] = field(default_factory=dict)
    repriced: float | None = None

    @property
    def energy(self) -> float:
        """Of accesses, of computation and of leakage; in the unit of the energy table that Timeloop was given."""
        if self.repriced is not None:
            return self.repriced
        return sum(t.energy for t in self.tensors.values()) + self.compute + self.leakage


@dataclass(frozen=True)
class Stats:
    """What Timeloop says of one mapping. Levels by name, innermost first, the arithmetic among them.

    `computes` are all that the layer has, gated and skipped ones of a sparse design included.
    """

    cycles: int
    computes: int
    energy: float
    utilization: float
    levels: dict[str, LevelStats]


def read_stats(folder: Path, tool: str) -> Stats:
    """The statistics that `tool` (timeloop-model or timeloop-mapper) left in `folder`.

    Errors name files without their folder: who ran the tool knows it, and messages stay equal from run to run.

    Raises:
        ToolError: naming the file and what was expected there, where it is missing, empty, cut off, rubbish, or where
            text and XML contradict each other.
    """
    path = folder / f"{tool}.stats.txt"
    stats = parse_text(_text(path, "the statistics of the mapping"), path.name)
    xml = folder / f"{tool}.map+stats.xml"
    if xml.exists():
        stats = refine(stats, _text(xml, "the same statistics as XML"), xml.name)
    return stats


def read_mapping(folder: Path, layer: Layer, accelerator: Accelerator) -> Mapping:
    """The mapping that `timeloop-mapper` left in `folder`.

    Raises:
        ToolError: naming the file, where it is missing, empty or not a complete mapping of `layer`.
    """
    path = folder / "timeloop-mapper.map.yaml"
    _text(path, "the mapping that was found")
    try:
        content = read_yaml(path, "mapping")
        mapping = architecture_of(accelerator).mapping(content["mapping"])
        mapping.check(layer, accelerator)
    except (InputError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).replace(str(path), path.name)
        raise ToolError(f"{path.name} is not the complete mapping that was expected: {reason}") from error
    return mapping


def _text(path: Path, what: str) -> str:
    if not path.exists():
        raise ToolError(f"there is no {path.name}, which should hold {what}.")
    try:
        text = read_text(path, "", "result")
    except InputError as error:
        raise ToolError(f"{what} cannot be used: {str(error).replace(str(path), path.name)}") from error
    if not text.strip():
        raise ToolError(f"{path.name}, which should hold {what}, is empty.")
    return text


# Text ----------------------------------------------------------------------------------------------------------------


def parse_text(text: str, where: str) -> Stats:
    """Statistics from the text that ends in "Summary Stats".

    Raises:
        ToolError: naming `where` and the line that was expected.
    """
    head, _, summary = text.partition("\nSummary Stats\n")
    head = head.partition("\nNetworks\n")[0]
    if "=== " not in head or not summary:
        raise ToolError(f"{where} is cut off or not Timeloop's: it has no levels and 'Summary Stats'.")
    levels = {}
    for part in re.split(r"(?m)^Level \d+\n-+\n", head)[1:]:
        name = re.match(r"=== (.+) ===", part)
        if name is None:
            raise ToolError(f"{where}: a level without its heading '=== name ==='.")
        levels[name[1]] = _level(part, f"{where}: {name[1]}")
    cycles = int(_value(summary, "Cycles", where, r":"))
    sparse = "\nAlgorithmic Computes" in summary
    computes = int(_value(summary, "Algorithmic Computes" if sparse else "Computes", where, r"="))
    total = _value(summary, r"\s+Total", where, r"=") * computes / 1000
    utilization = _value(summary, "Utilization", where, r":") / 100
    stats = Stats(cycles, computes, sum(level.energy for level in levels.values()), utilization, levels)
    _agree(stats.energy, total, where, 1e-4, slack=0.011 * 4 * len(levels) + 0.00501 * computes / 1000)
    return stats


def _level(part: str, where: str) -> LevelStats:
    level = LevelStats(cycles=int(_value(part, r"\s+Cycles", where)))
    tensor: TensorStats | None = None
    before_tensors, heading = True, ""
    for line in part.splitlines():
        key, colon, value = (piece.strip() for piece in line.partition(":"))
        if not colon:
            heading = key
            continue
        if key in _TENSOR_OF and not value:
            tensor = level.tensors[_TENSOR_OF[key]] = TensorStats()
            before_tensors = False
        elif tensor is not None and key.startswith("Rank ") and heading.startswith("Actual scalar format"):
            _rank(tensor, value, f"{where}: {heading}: {key}")
        elif tensor is not None:
            _field(tensor, key, value, where)
        elif before_tensors and key == "Energy (total)":
            level.compute = _number(value, where, key)
        elif before_tensors and key == "Leakage energy (total)":
            level.leakage = _number(value, where, key)
    return level


def _field(tensor: TensorStats, key: str, value: str, where: str) -> None:
    if key in _COUNTS:
        setattr(tensor, _COUNTS[key], _number(value, where, key))
    elif key in _CAPACITY:
        tensor.capacity = int(_number(value, where, key))
    elif key == "Utilized instances (max)":
        tensor.instances = _number(value, where, key)
    elif key in _TOTALS:
        tensor.energy += _number(value, where, key)


def _rank(tensor: TensorStats, value: str, where: str) -> None:
    """Add what a rank of a compressed tile has of indices and pointers: `(991,  0)`."""
    found = re.fullmatch(r"\((\d+),\s*(\d+)\)", value)
    if found is None:
        raise ToolError(f"{where} is {value!r}; two whole numbers in parentheses were expected.")
    tensor.indices += int(found[1])
    tensor.pointers += int(found[2])


def _value(text: str, key: str, where: str, separator: str = ":") -> float:
    found = re.search(rf"(?m)^{key}\s*{separator}\s*(\S+)", text)
    if found is None:
        raise ToolError(f"{where} is cut off or not Timeloop's: it has no line '{key.removeprefix(chr(92) + 's+')}'.")
    return _number(found[1].rstrip("%"), where, key)


def _number(text: str, where: str, key: str) -> float:
    try:
        if math.isfinite(found := float(text.split(maxsplit=1)[0])):
            return found
        raise ValueError(text)
    except (ValueError, IndexError):
        raise ToolError(f"{where}: {key} is {text!r}; a number was expected.") from None


def _agree(one: float, other: float, where: str, relative: float, slack: float) -> None:
    if not abs(one - other) <= relative * max(abs(one), abs(other)) + slack:
        raise ToolError(
            f"{where}: the energies of the levels add up to {one:g}, the total is {other:g}. This version of Timeloop counts "
            "something that hwflow does not know; its numbers are not used."
        )


# XML -----------------------------------------------------------------------------------------------------------------


def refine(stats: Stats, text: str, where: str) -> Stats:
    """`stats` with the unrounded energies and average numbers of instances of the XML.

    Raises:
        ToolError: naming `where`, where it is no XML, or disagrees with the text.
    """
    end = "</topology_>"
    try:
        # timeloop-model writes the file before its last tag is closed, so only the part that matters is taken.
        part = text[text.index("<topology_") : text.index(end) + len(end)]
        found = ET.fromstring(part).findall("./levels_/item/px")
        levels = dict(stats.levels)
        for node in found:
            name = node.findtext("./specs_/LevelSpecs/level_name") or ""
            if name in levels:
                levels[name] = _refined(levels[name], node)
    except (ET.ParseError, ValueError, TypeError, IndexError) as error:
        raise ToolError(f"{where} is cut off or not Timeloop's: {error}.") from error
    if len(found) < len(stats.levels):
        raise ToolError(f"{where} has {len(found)} levels, the statistics as text have {len(stats.levels)}.")
    better = replace(stats, levels=levels, energy=sum(level.energy for level in levels.values()))
    _agree(better.energy, stats.energy, where, 1e-4, slack=0.011 * 4 * len(levels))
    return better


def _refined(level: LevelStats, node: ET.Element) -> LevelStats:
    energy = node.findtext("./energy_")
    if energy is not None:
        return replace(level, compute=float(energy))
    tensors = {}
    for index, tensor in enumerate(TENSORS):
        if tensor not in level.tensors:
            continue
        instances, clusters, per_instance, reduction, addressing = (
            float(node.findall(f"./stats_/{name}/PerDataSpace/item")[index].text or "nan")
            for name in ("utilized_instances", "utilized_clusters", "energy", "temporal_reduction_energy", "addr_gen_energy")
        )
        total = (per_instance + reduction) * instances + addressing * clusters
        tensors[tensor] = replace(level.tensors[tensor], instances=instances, energy=total)
    return replace(level, tensors=tensors)

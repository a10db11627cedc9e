"""Attributes of components in Timeloop's files, translated to the fields of hwflow's components.

They mean what they mean to Timeloop (`model/buffer.cpp`, `ParseSpecs`); those that change its numbers and have no counterpart
in hwflow are refusals.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hwflow.errors import InputError, shown
from hwflow.hardware.components import DRAM_TYPES
from hwflow.layers import Tensor
from hwflow.timeloop.importer.hierarchy import Component
from hwflow.timeloop.importer.map_space import Verdicts

_WORD_BITS = 16
_CYCLE_S = 1e-9
_KINDS = {"sram": ("SRAM",), "regfile": ("regfile", "_RF", "register", "RegFile")}

_WORDS = ("word_bits", "word_width", "datawidth")
_MAC_WORDS = ("word_bits", "datawidth")
_WIDTHS = ("width", "memory_width", "data_storage_width")
_BLOCKS = ("block_size", "n_words")
_DEPTHS = ("depth", "memory_depth", "data_storage_depth")
_BANKS, _PORTS = ("num_banks", "n_banks"), ("num_ports", "n_ports")
_BANDWIDTHS = ("read_bandwidth", "write_bandwidth", "shared_bandwidth", "bandwidth")
"""Spellings of one attribute each; Timeloop takes the first that there is."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "allow_overbooking": (False,),
    "energy_per_hop": (0,),
    "energy-per-ingress": (0,),
    "drain_latency": (0,),
    "fill_latency": (0,),
    "has_power_gating": (False,),
    "min_utilization": (0,),
    "network_drain": (),
    "network_fill": (),
    "network_operand": (),
    "network_read": (),
    "network_result": (),
    "network_type": (),
    "network_update": (),
    "power_gated_at": (),
    "per_dataspace_bandwidth_consumption_scale": ({},),
    "reduction_supported": (True,),
    "router_energy": (0,),
    "tile_partition_supported": (False,),
    "wire_energy": (0,),
    "vector_access_energy": (),
    "addr_gen_energy": (),
    "energy": (),
}
"""Attributes that change Timeloop's numbers and have no counterpart in hwflow, with the values at which they change nothing."""

_IDLE = (
    *("metadata_block_size", "metadata_datawidth", "metadata_word_bits", "metadata_storage_width", "metadata_width"),
    *("metadata_storage_depth", "metadata_depth", "concordant_compressed_tile_traversal", "decompression_supported"),
    *("compression_supported", "tile_width", "network_word_bits"),
)
"""Attributes that Timeloop reads and that change nothing here: those of compressed tensors, and of wires that cost nothing."""

_AREAS = ("cluster_area", "area")

_EDGES = ("network_fill_latency", "network_drain_latency")
"""Cycles that the network inside a memory adds to every layer."""

_READ = (
    *_NEUTRAL,
    *_IDLE,
    *_AREAS,
    *_EDGES,
    *_WORDS,
    *_WIDTHS,
    *_BLOCKS,
    *_DEPTHS,
    *("cluster_size", "entries", "sizeKB", "multiple_buffering"),
    *_BANKS,
    *_PORTS,
    *_BANDWIDTHS,
    *("meshX", "meshY", "instances"),
    *("type", "technology", "global_cycle_seconds", "multiplier_width", "adder_width"),
)
"""Attributes that mean something to Timeloop or hwflow; what is nearly one of them is misspelt."""


def memory_of(
    component: Component, keeps: Sequence[Tensor], cycle_s: float, where: str, unpriced: dict[str, str], *, first: bool
) -> dict[str, Any]:
    """A memory that keeps these tensors, in the fields of `Memory`; `unpriced` learns why it has no energies, if so."""
    name, text = component.name, component.subclass or component.kind
    word = component.whole(where, *_WORDS) or _WORD_BITS
    words, _ = blocks_of(component, where)
    part: dict[str, Any] = {
        "name": name,
        "role": name,
        "keeps": tuple(keeps),
        "word_bits": word,
        "width_bits": word * words,
        "banks": component.whole(where, *_BANKS) or 2,
        "ports": _ports(component, where),
    }
    if first and ("DRAM" in component.kind or "DRAM" in text):
        kind = component.attributes.get("type")
        part |= {"kind": "dram", "dram_type": str(kind) if kind in DRAM_TYPES else "LPDDR4"}
        if kind not in DRAM_TYPES:
            unpriced[name] = f"{name}.type is {kind!r}, which is none of {', '.join(DRAM_TYPES)}"
    else:
        known = [kind for kind, marks in _KINDS.items() if any(mark in text for mark in marks)]
        part["kind"] = known[0] if known else "sram"
        if not known:
            unpriced[name] = f"the class {text!r} of {name} is none that hwflow knows energies of"
        part["size_words"] = _size(component, word, words, where)
        if (buffering := component.number(where, "multiple_buffering")) is not None:
            part["buffering"] = buffering
    both = component.number(where, "bandwidth")
    for field, attribute in (("read_words_per_cycle", "read_bandwidth"), ("write_words_per_cycle", "write_bandwidth")):
        if (rate := component.number(where, attribute)) is not None:
            part[field] = rate
        elif both is not None:
            part[field] = both / 2
    if (shared := component.number(where, "shared_bandwidth")) is not None:
        part["bandwidth_gb_s"] = _per_second(shared, word, cycle_s)
    part |= {
        name: cycles for name in _EDGES if component.attributes.get(name) != 0 and (cycles := component.whole(where, name))
    }
    return part


def _ports(component: Component, where: str) -> int:
    """Only 1 and 2 are Timeloop's; where nothing is said, hwflow's components have one."""
    ports = component.whole(where, *_PORTS) or 1
    if ports > 2:
        raise InputError(f"{where}: {component.name}: its ports are {ports}; Timeloop knows 1 and 2.")
    return ports


def blocks_of(component: Component, where: str) -> tuple[int, int]:
    """Words that one access of an instance moves, and instances that share an array, as Timeloop works them out."""
    word, width = component.whole(where, *_WORDS) or _WORD_BITS, component.whole(where, *_WIDTHS)
    block_words, cluster = component.whole(where, *_BLOCKS), component.whole(where, "cluster_size")
    if width is None:
        return block_words or 1, cluster or 1
    if width % (word * (block_words or 1)):
        raise InputError(
            f"{where}: {component.name}.width (={width}) is no whole multiple of its words of {word} bits"
            + (f" times block_size (={block_words})." if block_words else ".")
        )
    if block_words and cluster and block_words * word * cluster != width:
        raise InputError(
            f"{where}: {component.name}: block_size (={block_words}) x datawidth (={word}) x cluster_size (={cluster}) is not "
            f"its width (={width})."
        )
    if cluster:
        if width % (word * cluster):
            raise InputError(
                f"{where}: {component.name}.width (={width}) is no whole multiple of cluster_size (={cluster}) words of "
                f"{word} bits."
            )
        return width // cluster // word, cluster
    return (block_words, width // (word * block_words)) if block_words else (width // word, 1)


def _size(component: Component, word: int, words: int, where: str) -> int:
    entries, depth = component.whole(where, "entries"), component.whole(where, *_DEPTHS)
    kib = component.whole(where, "sizeKB")
    if kib and (entries or depth):
        raise InputError(f"{where}: {component.name} has sizeKB and {'entries' if entries else 'depth'}; give one of them.")
    size = entries or (depth and depth * words) or (kib and kib * 8192 // word)
    if not size:
        raise InputError(f"{where}: {component.name} has no size; give depth (and width), entries or sizeKB.")
    return size


def _per_second(words: float, word_bits: int, cycle_s: float) -> float:
    """A rate in 1e9 byte/s that `Accelerator.words_per_cycle` turns back into `words`, to the last bit where there is one."""
    guess = words * (word_bits / 8) / cycle_s / 1e9
    clock_s = 1e-6 / (1e-6 / cycle_s)
    candidates = [guess]
    for direction in (0.0, math.inf):
        step = guess
        for _ in range(4):
            step = math.nextafter(step, direction)
            candidates.append(step)
    return next((c for c in candidates if c * 1e9 / (word_bits / 8) * clock_s == words), guess)


def mac_of(component: Component, where: str) -> dict[str, Any]:
    """The arithmetic, in the fields of `MacUnit`."""
    bits = component.whole(where, "multiplier_width", *_MAC_WORDS) or _WORD_BITS
    adder = component.whole(where, "adder_width", *_MAC_WORDS) or bits
    return {"name": component.name, "kind": "mac", "multiplier_bits": bits, "adder_bits": adder}


def note_unknown(component: Component, verdicts: Verdicts) -> None:
    """Note or refuse what the attributes say and hwflow does not take as Timeloop does."""
    for key, neutral in _NEUTRAL.items():
        value = component.attributes.get(key)
        if value is not None and value not in neutral and not _even(key, value):
            verdicts.refusals.append(f"{component.name}.{key} (={value})")
    if not any(key in component.attributes for key in (*_WORDS, "multiplier_width")):
        verdicts.notes.append(
            f"{component.name} has no datawidth: its words are taken to have {_WORD_BITS} bits, as Timeloop does"
        )
    for key in component.attributes:
        if key in _AREAS:
            verdicts.notes.append(f"{component.name}.{key} is left out: areas are those of --energy")
        elif key not in _READ and (meant := difflib.get_close_matches(str(key), _READ, 1, 0.85)):
            verdicts.notes.append(f"{component.name}.{key} means nothing to Timeloop; did you mean {meant[0]}?")
    if "DRAM" in component.kind:
        depth = next((size for key in ("entries", *_DEPTHS, "sizeKB") if (size := component.attributes.get(key))), None)
        if depth is not None:
            verdicts.notes.append(f"{component.name} holds everything at mid, whatever its depth (={depth}); fine observes it")
        if not any(component.attributes.get(key) for key in _BANDWIDTHS):
            verdicts.notes.append(f"{component.name} has no bandwidth: it is infinitely fast, as in Timeloop")
    if "bandwidth" in component.attributes:
        verdicts.notes.append(
            f"{component.name}.bandwidth is half for reads and half for writes, as in Timeloop, which deprecates it"
        )


def _even(key: str, value: Any) -> bool:
    """Whether a scale for each tensor changes nothing."""
    return (
        key == "per_dataspace_bandwidth_consumption_scale"
        and isinstance(value, Mapping)
        and all(v == 1 for v in value.values())
    )


def technology_of(parts: Sequence[Component], where: str, unpriced: dict[str, str]) -> float:
    """The chip's technology in nm: that of its arithmetic. Parts of another one have no fitted energies."""
    found: dict[str, float] = {}
    for part in parts:
        given = part.inherited.get("technology", "")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:nm)?", str(given))
        if match is None or not 1 <= float(match[1]) <= 1000:
            raise InputError(
                f'{where}: the technology of {part.name} is {shown(given)}; it must be a length such as "45nm", in its '
                "attributes, in those of a container around it, or in variables:."
            )
        found[part.name] = float(match[1])
    chip = found[parts[-1].name]
    for name, value in found.items():
        if value != chip:
            unpriced[name] = f"{name} is of {value:g} nm and {parts[-1].name} of {chip:g} nm"
    return chip


def cycle_of(parts: Sequence[Component], where: str, verdicts: Verdicts) -> float:
    """How long a cycle lasts, in seconds."""
    given = {shown(v): v for part in parts if (v := part.inherited.get("global_cycle_seconds")) is not None}
    if len(given) > 1:
        raise InputError(
            f"{where}: global_cycle_seconds has several values, {', '.join(sorted(given))}; give one for the chip."
        )
    if not given:
        verdicts.notes.append(f"global_cycle_seconds is not given: a cycle is taken to last {_CYCLE_S:g} s")
        return _CYCLE_S
    (value,) = given.values()
    try:
        cycle_s = float(value)
    except (TypeError, ValueError, OverflowError):
        cycle_s = math.nan
    if not 1e-15 <= cycle_s <= 1:
        raise InputError(f"{where}: global_cycle_seconds is {shown(value)}; it must be a number of seconds such as 1e-9.")
    return cycle_s


def plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Without what means nothing to Accelergy."""
    unread = ("meshX", "meshY", "version")
    return {str(key): value for key, value in attributes.items() if value is not None and key not in unread}

"""`sparse_optimizations` of Timeloop's files in hwflow's terms (`hwflow.hardware.sparsity`), as far as these can say it.

What is read must mean the same there: the ranks of a compressed tensor are those that hwflow gives it, and the accesses that
are saved those that follow from `skips` and `gates`. All else is refused by name, so that mid never counts otherwise than
Timeloop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hwflow.errors import InputError, shown
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.sparsity import Encoding, Operand, Saving
from hwflow.layers import DIMS, Tensor
from hwflow.mapping import TIMELOOP_TENSORS
from hwflow.timeloop.importer.hierarchy import Component, whole_of

_TENSORS: dict[str, Tensor] = {name: tensor for tensor, name in TIMELOOP_TENSORS.items()}
_OPERANDS: dict[str, Operand] = {"Weights": "weights", "Inputs": "inputs"}
_ENCODINGS: dict[str, Encoding] = {"RLE": "rle", "CP": "coordinates", "B": "bitmask"}
_TILES = "UOP"
_OF_TENSOR: dict[Tensor, str] = {"weights": "CMRS", "inputs": "NCPQRS", "outputs": "NMPQ"}

ROOM = (
    "indices have room of their own at mid, whatever metadata_storage_depth says, and a row of them costs what one of data does"
)
"""What is not as the files have it."""


class NotExpressible(ValueError):
    """What hwflow's terms cannot say, in words."""


class Optimizations(NamedTuple):
    """What a section says: the fields of `Sparsity`, the savings that it must come to, and by memory and tensor the number of
    ranks."""

    content: dict[str, Any]
    savings: set[Saving]
    ranks: dict[tuple[str, Tensor], int]


def optimizations_of(section: Any, components: Mapping[str, Component], where: str) -> Optimizations:
    """The section in hwflow's terms.

    Args:
        components: the memories, by name.

    Raises:
        NotExpressible: naming the first part that they cannot say.
    """
    content: dict[str, Any] = {"skips": {}, "gates": {}, "compressed": {}}
    savings: set[Saving] = set()
    ranks: dict[tuple[str, Tensor], int] = {}
    listed = _list(_mapping(section, "sparse_optimizations").get("targets"), "targets")
    for target in (_mapping(one, "targets") for one in listed):
        name = str(target.get("name", target.get("target")))
        if name not in components:
            raise NotExpressible(f"{name} is none of the memories, {', '.join(components)}")
        _only(target, ("name", "target", "representation_format", "action_optimization"), name)
        if (stored := target.get("representation_format")) is not None:
            content["compressed"][name] = _stored(stored, components[name], where, ranks)
        for action in _list(target.get("action_optimization", []), f"{name}.action_optimization"):
            for saving in _savings(action, name):
                savings.add(saving)
                for operand in saving.zeros_of:
                    places = content["skips" if saving.skips else "gates"].setdefault(operand, [])
                    if name not in places:
                        places.append(name)
    return Optimizations({field: value for field, value in content.items() if value}, savings, ranks)


def check_meaning(found: Optimizations, chip: Accelerator, components: Mapping[str, Component]) -> None:
    """Refuse where the chip's `sparsity` means something else than the section that it was read from.

    Raises:
        NotExpressible: naming the memory and the tensor.
    """
    sparsity = chip.sparsity
    assert sparsity is not None
    own = set(sparsity.savings(chip.hierarchy))
    if different := sorted(own ^ found.savings, key=str):
        one = different[0]
        how = "are not saved, and hwflow saves them with those of the others" if one in own else "are not saved so in hwflow"
        raise NotExpressible(f"accesses to {TIMELOOP_TENSORS[one.tensor]} in {one.memory} {how}")
    for (name, tensor), count in found.ranks.items():
        inner = [m for m in chip.memories[chip.memories.index(chip[name]) + 1 :] if tensor in m.keeps]
        packed = [m for m in inner if sparsity.encoding(m.name, tensor)]
        tiles = len(packed) + (len(inner) > len(packed))
        if count != tiles + 1:
            raise NotExpressible(
                f"{name}.{TIMELOOP_TENSORS[tensor]} has {count} ranks, and hwflow has {tiles + 1}: one of each compressed "
                "memory further in, one of the others, and that of elements"
            )
        first = inner[0] if inner else None
        if first is not None and first not in packed and not components[first.name].attributes.get("decompression_supported"):
            raise NotExpressible(
                f"{TIMELOOP_TENSORS[tensor]} come compressed from {name} to {first.name}, which has no decompression_supported"
            )


def _stored(given: Any, component: Component, where: str, ranks: dict[tuple[str, Tensor], int]) -> dict[str, Any]:
    """The fields of `Compressed` of one memory."""
    name = component.name
    found: dict[str, Any] = {}
    index_bits, offset_bits = set[int](), set[int]()
    usual = component.whole(where, "metadata_datawidth", "metadata_word_bits")
    _only(_mapping(given, f"{name}.representation_format"), ("data_spaces",), f"{name}.representation_format")
    spaces = f"{name}.representation_format.data_spaces"
    for space in (_mapping(one, spaces) for one in _list(given.get("data_spaces"), spaces)):
        place = f"{name}.{space.get('name')}"
        _only(space, ("name", "ranks"), place)
        tensor = _named(space.get("name"), _TENSORS, place)
        *tiles, elements = _list(space.get("ranks"), f"{place}.ranks")
        for rank in (*tiles, elements):
            _check_rank(_mapping(rank, f"{place}.ranks"), tensor, place)
        kind = str(elements.get("format"))
        if kind not in _ENCODINGS:
            raise NotExpressible(f"{place}: the innermost rank is {kind}; hwflow knows {', '.join(_ENCODINGS)}")
        for rank in tiles:
            if rank.get("format") != _TILES:
                raise NotExpressible(f"{place}: a rank of tiles is {rank.get('format')}; hwflow knows {_TILES}")
            offset_bits.add(_bits(rank, "payload_word_bits", usual, place))
        own = _bits(elements, "metadata_word_bits", 1 if kind == "B" else usual, place)
        if kind != "B":
            index_bits.add(own)
        elif own != 1:
            raise NotExpressible(f"{place}: {own} bits for each element of a bitmask; hwflow has one")
        found[tensor] = _ENCODINGS[kind]
        ranks[name, tensor] = len(tiles) + 1
    for what, bits in (("indices", index_bits), ("pointers to tiles", offset_bits)):
        if len(bits) > 1:
            raise NotExpressible(
                f"{name}: {what} of {' and '.join(map(str, sorted(bits)))} bits; hwflow has one width a memory"
            )
    if index_bits:
        found["index_bits"] = index_bits.pop()
    if offset_bits:
        found["offset_bits"] = offset_bits.pop()
    if (row := component.whole(where, "metadata_storage_width", "metadata_width")) is None:
        raise NotExpressible(f"{name} has no metadata_storage_width, the bits of indices that an access brings")
    if (component.whole(where, "metadata_block_size") or 1) != 1:
        raise NotExpressible(f"{name}.metadata_block_size is not 1")
    return {**found, "index_row_bits": row}


def _check_rank(rank: Mapping[str, Any], tensor: Tensor, place: str) -> None:
    _only(rank, ("format", "flattened_rankIDs", "metadata_word_bits", "payload_word_bits"), place)
    listed = rank.get("flattened_rankIDs")
    if listed is None:
        raise NotExpressible(f"{place}: a rank has no flattened_rankIDs; hwflow's have all dimensions")
    given = {
        str(d) for group in _list(listed, f"{place}.flattened_rankIDs") for d in _list(group, f"{place}.flattened_rankIDs")
    }
    missing = [d for d in DIMS if d in _OF_TENSOR[tensor] and d not in given]
    if missing or len(listed) != 1:
        raise NotExpressible(f"{place}: a rank is not of all dimensions ({', '.join(missing) or 'several groups'} apart)")


def _savings(action: Any, name: str) -> list[Saving]:
    action = _mapping(action, f"{name}.action_optimization")
    _only(action, ("type", "options"), f"{name}.action_optimization")
    kind = action.get("type")
    if kind not in ("skipping", "gating"):
        raise NotExpressible(f"{name}: {shown(kind)}; hwflow knows skipping and gating")
    options = _list(action.get("options"), f"{name}.action_optimization.options")
    if len(options) != 1:
        raise NotExpressible(f"{name}: {len(options)} options of one action, of which Timeloop takes the best; hwflow has one")
    option = _mapping(options[0], f"{name}.action_optimization.options")
    _only(option, ("target", "condition_on"), f"{name}.action_optimization.options")
    targets = option.get("target")
    place = f"{name}.action_optimization"
    zeros = {_named(one, _OPERANDS, place) for one in _list(option.get("condition_on"), place)}
    return [
        Saving(name, _named(one, _TENSORS, place), tuple(o for o in _OPERANDS.values() if o in zeros), kind == "skipping")
        for one in (targets if isinstance(targets, list) else [targets])
    ]


def _bits(rank: Mapping[str, Any], key: str, usual: int | None, place: str) -> int:
    value = rank.get(key, usual)
    if value is None:
        raise NotExpressible(f"{place}: a rank has no {key}, nor its memory a metadata_datawidth")
    try:
        return whole_of(value, f"{place}.{key}")
    except InputError as error:
        raise NotExpressible(str(error).rstrip(".")) from None


def _named(name: Any, known: Mapping[str, Any], place: str) -> Any:
    if not isinstance(name, str) or name not in known:
        raise NotExpressible(f"{place}: {shown(name)} is none of {', '.join(known)}")
    return known[name]


def _only(content: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for key in content:
        if key not in known:
            raise NotExpressible(f"{place}.{key}; hwflow knows {', '.join(known)}")


def _mapping(content: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise NotExpressible(f"{place} is {shown(content)}, and no mapping")
    return content


def _list(content: Any, place: str) -> list[Any]:
    if not isinstance(content, list) or (not content and not place.endswith("action_optimization")):
        raise NotExpressible(f"{place} is {shown(content)}, and no list with entries")
    return content


__all__ = ["ROOM", "NotExpressible", "Optimizations", "check_meaning", "optimizations_of"]

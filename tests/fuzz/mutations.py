"""Broken inputs from whole ones: structure (a field replaced, removed, renamed, doubled) and bytes (flipped, cut, moved).

All randomness comes from one whole number, so an input that broke something is found again by it.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import yaml

ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        "",
        "x",
        "-",
        "~",
        "1e400",
        "0x_",
        "2001-99-99",
        "é\u2028\U0001f600",
        "a" * 5000,
        "{{ 7 * 7 }}",
        "!!python/x",
    ),
    *(0, -1, 1, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
    *([], {}, [[]], [None], {"": None}, {1: 2}, [0] * 300, {"name": {"name": {"name": []}}}),
)
"""Values that a reader may not expect where they stand."""

_TOKENS = (
    b"\x00",
    b"\xff",
    b"\xf0\x28",
    b"- ",
    b": ",
    b"{",
    b"[" * 50,
    b"*a",
    b"&a ",
    b"!!map [a]",
    b"!!int x",
    b"<<: ",
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"[" * 150 + b"]" * 150,
    b"\n---\n",
    b"nan",
    b"1e999",
)


def damaged(content: Any, seed: int) -> Any:
    """Plain data with one to three of its parts changed."""
    draw = random.Random(seed)
    content = copy.deepcopy(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = list(_places(content, ()))
        if not places:
            return draw.choice(ODD)
        holder, key = draw.choice(places)
        match draw.randrange(6):
            case 0 | 1 | 2:
                holder[key] = copy.deepcopy(draw.choice(ODD))
            case 3:
                del holder[key]
            case 4 if isinstance(holder, dict):
                holder[draw.choice(("", "nmae", 7, f"{key}_", None))] = holder.pop(key)
            case _:
                other, where = draw.choice(places)
                holder[key] = copy.deepcopy(other[where])
    return content


class _Tagged(dict[Any, Any]):
    """A mapping with a tag of its own, such as those of Timeloop's front end: `!Component {name: ...}`."""

    tag: str


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> _Tagged:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "only mappings have tags here", node.start_mark)
    content = _Tagged(loader.construct_mapping(node, deep=True))
    content.tag = f"!{suffix}"
    return content


class _Loader(yaml.SafeLoader):
    """Keeps tags for `_Dumper`, which writes them again."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` read."""


_Loader.add_multi_constructor("!", _tagged)
_Dumper.add_representer(_Tagged, lambda dumper, content: dumper.represent_mapping(content.tag, content))


def damaged_yaml(content: bytes, seed: int) -> bytes:
    """YAML with one to three of its parts changed; where it cannot be read, as templates cannot, `garbled`."""
    try:
        return yaml.dump(damaged(yaml.load(content, _Loader), seed), Dumper=_Dumper, allow_unicode=True).encode()
    except Exception:  # whatever PyYAML raises of tags that do not fit their values, and of numbers that cannot be printed
        return garbled(content, seed)


def garbled(content: bytes, seed: int) -> bytes:
    """Bytes with one to eight places flipped, cut out, doubled, or with something strange put in."""
    draw = random.Random(seed)
    found = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        at = draw.randrange(len(found) + 1)
        end = min(len(found), at + draw.choice((1, 1, 2, 8, 64, 1000)))
        match draw.randrange(5):
            case 0 if at < len(found):
                found[at] ^= 1 << draw.randrange(8)
            case 1:
                del found[at:end]
            case 2:
                found[at:at] = found[at:end]
            case 3:
                found[at:at] = draw.choice(_TOKENS)
            case _:
                found[at:end] = bytes(draw.randrange(256) for _ in range(min(8, end - at)))
    return bytes(found[: draw.randrange(len(found) + 1)] if draw.random() < 0.1 else found)


def _places(content: Any, above: tuple[int, ...]) -> Any:
    """Every (container, key) in plain data; a container inside itself is not entered again."""
    if id(content) in above:
        return
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key], (*above, id(content)))

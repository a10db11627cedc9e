"""The key `<<<` of Timeloop's front end: like YAML's `<<`, but mappings within merge too, and lists are appended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwflow.errors import InputError, shown

_KEY = "<<<"


def merged(content: Any, where: str) -> Any:
    """Content with what stands under `<<<` merged into the mapping around it; what the mapping itself says comes first.

    The result is no larger than the content with its aliases written out, which `hwflow.files.parse_yaml` bounds.

    Raises:
        InputError: where `<<<` is no mapping or list of mappings.
    """
    return _merged(content, where, {})


def _merged(content: Any, where: str, known: dict[int, Any]) -> Any:
    if id(content) in known:
        return known[id(content)]
    result = content
    if isinstance(content, Mapping):
        plain = {key: _merged(value, where, known) for key, value in content.items() if key != _KEY}
        if len(plain) < len(content) or any(plain[key] is not content[key] for key in plain):
            result = _like(content, plain)
        for given in _several(_merged(content[_KEY], where, known), where) if _KEY in content else ():
            result = _like(content, _into(result, given))
    elif isinstance(content, list):
        result = [_merged(item, where, known) for item in content]
    known[id(content)] = result
    return result


def _several(given: Any, where: str) -> list[Mapping[str, Any]]:
    mappings = given if isinstance(given, list) else [given]
    for one in mappings:
        if not isinstance(one, Mapping):
            raise InputError(f"{where}: {_KEY} is {shown(one)}; it merges mappings, given by an alias (*name).")
    return mappings


def _into(mapping: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(mapping)
    for key, value in given.items():
        own = result.get(key)
        if key not in result:
            result[key] = value
        elif isinstance(own, Mapping) and isinstance(value, Mapping):
            result[key] = _like(own, _into(own, value))
        elif isinstance(own, list) and isinstance(value, list):
            result[key] = own + value
    return result


def _like(mapping: Mapping[str, Any], content: dict[str, Any]) -> Mapping[str, Any]:
    """The content with the tag that the mapping has."""
    if not hasattr(mapping, "tag"):
        return content
    tagged: Any = type(mapping)(content)  # type: ignore[call-arg]
    tagged.tag = mapping.tag
    return tagged  # type: ignore[no-any-return]

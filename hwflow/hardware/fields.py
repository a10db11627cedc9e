"""Setting of one field in the plain content of an accelerator, named as users name it: `pe_array.rows`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hwflow.errors import not_found, shown
from hwflow.hardware.components import Fanout, MacUnit, Memory, NamedPart, VectorUnit
from hwflow.hardware.pe_types import set_pe_type
from hwflow.hardware.sparsity import Sparsity
from hwflow.validation import Strict

_FIRST = "pe_type"
"""It changes fields of all parts, which others then change further."""

SECTIONS: dict[str, type[Strict]] = {"vector_unit": VectorUnit, "sparsity": Sparsity}
"""Fields of an accelerator that have fields of their own, named as those of parts are."""


def assigned_order(paths: Iterable[str]) -> list[str]:
    """Fields in the order in which they are set."""
    return sorted(paths, key=lambda path: path != _FIRST)


def assign(content: dict[str, Any], path: str, value: Any, where: str, own: Iterable[str]) -> None:
    """Set one field.

    Args:
        where: names the accelerator, for errors.
        own: the fields of an accelerator that belong to no part.

    Raises:
        InputError: where there is no such field or part.
    """
    head, _, rest = path.partition(".")
    if not rest:
        fields = [f for f in own if f not in ("hierarchy", "sources")]
        if head not in fields:
            hint = f"Fields of a part are written part.field; the parts are {', '.join(_parts(content))}."
            raise not_found(f"field of {where}", path, fields, hint, spellings=_paths(content))
        if head == _FIRST and value is not None:
            set_pe_type(content["hierarchy"], str(value))
        content[head] = value
        return
    if head in SECTIONS:
        if rest not in SECTIONS[head].model_fields:
            raise not_found(f"field of {where}", path, [f"{head}.{f}" for f in SECTIONS[head].model_fields])
        content[head] = {**(content.get(head) or {}), rest: value}
        return
    for part in content["hierarchy"]:
        if part["name"] == head:
            models: dict[str, type[NamedPart]] = {"fanout": Fanout, "mac": MacUnit}
            model = models.get(part["kind"], Memory)
            allowed = [f for f in model.model_fields if f not in ("name", "kind")]
            if rest not in allowed:
                raise not_found(f"field of {where}", path, [f"{head}.{f}" for f in allowed])
            if value is None:
                part.pop(rest, None)
                return
            if rest in ("size_kib", "size_words"):  # two ways to say one thing: the last one holds
                part.pop("size_kib", None)
                part.pop("size_words", None)
            part[rest] = value
            return
    raise not_found(f"part in field {shown(path)} of {where}", head, _parts(content))


def _parts(content: dict[str, Any]) -> list[str]:
    return [*(p["name"] for p in content["hierarchy"]), *SECTIONS]


def _paths(content: dict[str, Any]) -> list[str]:
    return [f"{p['name']}.{f}" for p in content["hierarchy"] for f in p if f not in ("name", "kind", "role")]

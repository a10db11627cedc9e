"""What makes two chips the same: the content of an accelerator as a hash, and field by field."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from hwflow.hardware.fields import SECTIONS


def fingerprint_of(accelerator: BaseModel, *, plain: bool) -> str:
    """Hash of everything that can change the cost of a layer.

    Fields that say nothing are left out: chips from before there were such fields keep their fingerprints.

    Args:
        plain: whether the arithmetic is what all chips had before there were kinds of it.
    """
    content = accelerator.model_dump(mode="json", exclude={"name", "description", "sources", "dataflow", "vector_unit"})
    for name in ("pe_type", "sparsity"):
        if content[name] is None:
            del content[name]
    if plain:
        del content["hierarchy"][-1]["arithmetic"], content["hierarchy"][-1]["energies"]
    for part in content["hierarchy"]:
        for name in ("network_fill_latency", "network_drain_latency"):
            if part.get(name) == 0:
                del part[name]
        if part.get("may_bypass") == []:
            del part["may_bypass"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def flat(accelerator: BaseModel) -> dict[str, Any]:
    """The fields by the names that `Accelerator.with_` takes, those that say nothing left out."""
    content = accelerator.model_dump(mode="json", exclude={"name", "description", "sources", "hierarchy", *SECTIONS})
    own = accelerator.model_dump(mode="json", include=set(SECTIONS), exclude_none=True, exclude_defaults=True)
    for part in [*accelerator.model_dump(mode="json")["hierarchy"], *({"name": name, **own[name]} for name in own)]:
        said = {field: value for field, value in part.items() if field != "name" and value not in (None, [])}
        content |= {f"{part['name']}.{field}": value for field, value in said.items()}
    return content


__all__ = ["fingerprint_of", "flat"]

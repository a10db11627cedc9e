"""Serialisation of imported Timeloop files to YAML."""

from __future__ import annotations

from typing import Any

import yaml

from hwflow.timeloop.importer.source_files import Quoted
from hwflow.timeloop.templates import number


def written(content: Any) -> str:
    """Content as YAML. Texts are quoted where they were, so that expressions stay expressions."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def settled(content: Any) -> Any:
    """Content with all texts in quotes: none of them is an expression any more, though Accelergy would try."""
    if isinstance(content, dict):
        return {str(key): settled(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [settled(item) for item in content]
    return Quoted(content) if isinstance(content, str) else content


class _Dumper(yaml.SafeDumper):
    """Mappings with tags lose them; nothing is an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"'))
_Dumper.add_representer(float, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", number(value)))
_Dumper.add_multi_representer(dict, lambda dumper, value: dumper.represent_dict(dict(value)))

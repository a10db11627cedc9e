"""`networks_in`: the networks that a folder of levels or a library holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from hwflow.dynamic.level_run import load_levels
from hwflow.dynamic.library_folder import ARCHIVE, load_library


def is_library(folder: Path) -> bool:
    """Whether it is a library's, and not one of levels."""
    return (folder / ARCHIVE).exists()


def networks_in(
    folder: str | Path, model: nn.Module | None = None, *, allow_import: Sequence[str] = ()
) -> dict[int, nn.Module]:
    """Every level or member as a plain module in evaluation mode, by its number.

    Args:
        model, allow_import: as of `load_levels` and `load_library`.

    Raises:
        InputError: as they do.
    """
    place = Path(folder)
    if is_library(place):
        library = load_library(place, model, allow_import=allow_import)
        return {member.number: library.module(member.number) for member in library.members}
    whole = load_levels(place, model, allow_import=allow_import)
    return {level: whole.at_level(level) for level in range(1, len(whole.groups) + 1)}


__all__ = ["is_library", "networks_in"]

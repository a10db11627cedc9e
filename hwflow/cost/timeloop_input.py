"""Timeloop's input for every distinct layer of a network, as folders that can be run by hand."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hwflow.cost.estimator import mapped_plan
from hwflow.cost.levels import input_of, mapping_of
from hwflow.cost.options import CostOptions, check_each_alone
from hwflow.files import write_text
from hwflow.hardware.accelerator import Accelerator
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.store import Store

_LONGEST = 100  # characters of a folder's name; file systems take 255 bytes, and paths have limits, too


def write_inputs(
    network: Network,
    accelerator: Accelerator,
    folder: Path,
    options: CostOptions,
    *,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> dict[Path, list[str]]:
    """Write `folder/LAYER/*.yaml` and `command.txt`; returns for each folder the names of the layers that it describes.

    With the mapper `hwflow`, mid's mapping is written for timeloop-model; with `timeloop`, the settings of timeloop-mapper.

    Raises:
        NotMappable: where a layer has no mapping.
        ToolError: where Timeloop is known to stop at a layer.
        HwflowError: where a file cannot be written.
    """
    from hwflow.cost import fine
    from hwflow.timeloop.render import command

    check_each_alone(options, "Timeloop's input")
    plan, mappings = mapped_plan(network, accelerator, options, store=store, progress=progress, notify=notify)
    written: dict[Path, list[str]] = {}
    folders: dict[tuple[object, ...], Path] = {}
    names = _FolderNames()
    for layer in plan.network:
        if layer.key in folders:
            written[folders[layer.key]].append(layer.name)
            continue
        chip = plan.chip(layer)
        mapping = None if mappings is None else mapping_of(mappings[layer.key], chip)
        fine.check(layer, chip.accelerator, chip.table, mapping)
        files = input_of(layer, chip, options, mapping)
        place = folder / names.of(layer.name)
        for name, text in {**files, "command.txt": shlex.join(command(files)) + "\n"}.items():
            write_text(place / name, text)
        folders[layer.key], written[place] = place, [layer.name]
    return written


class _FolderNames:
    """Names of folders, each given once. Those that differ in case only count as equal, as they do to some file systems."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()

    def of(self, layer: str) -> str:
        """The folder of a layer: its name, shortened, without spaces, which Timeloop cannot handle."""
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", layer).lstrip(".-")[:_LONGEST] or "layer"
        name = plain
        while name.lower() in self._taken:
            self._numbers[plain.lower()] += 1
            name = f"{plain}_{self._numbers[plain.lower()] + 1}"
        self._taken.add(name.lower())
        return name

"""Timeloop's input for every distinct layer of a network, as folders to be run by hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from hwflow.accelerator import Accelerator
from hwflow.cost import work
from hwflow.cost.evaluation import mapped_plan
from hwflow.cost.options import Options
from hwflow.cost.records import mapping_from_data
from hwflow.data import write_text
from hwflow.network import Network
from hwflow.progress import Progress
from hwflow.store import Store


def write_inputs(
    network: Network,
    accelerator: Accelerator,
    folder: Path,
    options: Options,
    *,
    store: Store | None,
    progress: Progress | None,
    notify: Callable[[str], None],
) -> dict[Path, list[str]]:
    """Write `folder/LAYER/*.yaml` and `command.txt`; gives for each folder the layers (by name) that it stands for.

    With the mapper `hwflow`, mid's mapping is written for timeloop-model; with `timeloop`, the settings of timeloop-mapper.

    Raises:
        NotMappable: where a layer has no mapping.
        HwflowError: where a file cannot be written.
    """
    from hwflow.timeloop.render import command, render

    plan, mappings = mapped_plan(network, accelerator, options, store=store, progress=progress, notify=notify)
    written: dict[Path, list[str]] = {}
    folders: dict[tuple[object, ...], Path] = {}
    for layer in network:
        if layer.key in folders:
            written[folders[layer.key]].append(layer.name)
            continue
        chip = plan.chip(layer)
        if mappings is None:
            settings = work.search_settings(options.effort)
            files = render(layer, chip.accelerator, chip.constraints, chip.table, objective=options.objective, search=settings)
        else:
            mapping = mapping_from_data(mappings[layer.key])
            files = render(layer, chip.accelerator, (), chip.table, mapping=mapping)
        place = folder / _unused(layer.name, {p.name for p in written})
        for name, text in {**files, "command.txt": shlex.join(command(files)) + "\n"}.items():
            write_text(place / name, text)
        folders[layer.key], written[place] = place, [layer.name]
    return written


def _unused(name: str, taken: set[str]) -> str:
    """A folder's name without spaces, which Timeloop cannot bear."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-") or "layer"
    candidate, n = plain, 1
    while candidate in taken:
        n += 1
        candidate = f"{plain}_{n}"
    return candidate

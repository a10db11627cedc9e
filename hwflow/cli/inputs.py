"""The networks and chips that a command line names: arguments and options become what is costed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.cli.arguments import listed, whole_numbers
from hwflow.errors import InputError, shown

if TYPE_CHECKING:
    from hwflow.hardware.accelerator import Accelerator
    from hwflow.network import Network

_VALUE = 10_000
"""Characters of a field's value."""


def load_network(spec: str, inputs: Sequence[str] | None, batch: int | None, bits: str | None) -> Network:
    """The network of the argument NETWORK, at the given inputs, batch size and word widths."""
    from hwflow.network._inputs import parsed_inputs
    from hwflow.network.load import load
    from hwflow.network.model_zoo import NAMES

    if spec not in NAMES and _is_run(Path(spec)):
        network = _compressed(Path(spec), inputs, batch)
    else:
        network = load(spec, input_shape=parsed_inputs(inputs), batch=batch)
    if network.notes:
        from hwflow.cli.console import say

        for note in network.notes:
            say(f"{network.name}: {note}")
    if bits is None:
        return network
    weights, activations = whole_numbers(
        "--bits", bits, bits.split(","), 2, "two whole numbers of at least 1, such as 8,16: weights, activations"
    )
    return network.with_bits(weights, activations)


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of 'hwflow prune' or 'hwflow compress', finished or not."""
    if (
        not os.path.isdir(folder) or not (folder / "config.json").is_file() or (folder / "table.json").exists()
    ):  # levels, libraries
        return False
    if (folder / "plan.json").is_file() or (folder / "model.pt").is_file():
        return True
    raise InputError(
        f"{folder} holds no finished run of 'hwflow prune' or 'hwflow compress': it has no plan.json and no model.pt."
    )


def _compressed(folder: Path, inputs: Sequence[str] | None, batch: int | None) -> Network:
    """The network of a run of 'hwflow prune' or 'hwflow compress'."""
    from hwflow.compression.plan_files import read_origin
    from hwflow.compression.result import pruned_network
    from hwflow.network.callables import is_callable

    if inputs:
        raise InputError(f"{folder} holds a compressed network, which has its input's shape: leave --input out.")
    origin = read_origin(folder)
    if origin.module or is_callable(origin.network):
        made = "a module of your own" if origin.module else "Python code, which no command runs because a file names it"
        raise InputError(
            f"{folder} holds {origin.network} compressed, and its structure is made by {made}. In Python, "
            f"hwflow.load_compressed({str(folder)!r}, model=...) gives the network for hwflow.estimate."
        )
    return pruned_network(folder, batch=batch)


def load_accelerator(spec: str, changes: Sequence[str] | None) -> Accelerator:
    """The accelerator of `--accelerator`, with the fields of `--set` changed."""
    from hwflow.cost.inputs import accelerator_of
    from hwflow.hardware.pe_types import PE_TYPES

    accelerator = accelerator_of(spec)
    _tell_remarks(accelerator)
    fields = _fields(changes) if changes else {}
    if spec in PE_TYPES and fields.get("pe_type", spec) != spec:
        raise InputError(
            f"--accelerator {spec} is eyeriss with PEs of that type, and --pe-type {fields['pe_type']} asks for another one; "
            "leave one of them out, or name the chip: --accelerator eyeriss."
        )
    return accelerator.with_(fields) if fields else accelerator


def with_pe_type(changes: Sequence[str] | None, pe_type: str | None) -> Sequence[str] | None:
    """The fields of `--set`, with that of `--pe-type`."""
    return changes if pe_type is None else [f"pe_type={pe_type}", *(changes or ())]


def _tell_remarks(chip: Accelerator) -> None:
    """Print what is special about the chip, as where mid deviates from the Timeloop files that it comes from."""
    from hwflow.cli.console import say

    for remark in chip.remarks:
        say(f"{chip.name}: {remark}")


def load_chip(
    spec: str | None, changes: Sequence[str] | None, files: Sequence[Path] | None, constraints: Sequence[Path] | None
) -> Accelerator | None:
    """The accelerator of `--accelerator` or of `--timeloop-arch`, or None; prints deviations from Timeloop's files."""
    if not files:
        if constraints:
            raise InputError("--timeloop-constraints means nothing without --timeloop-arch; name the architecture, too.")
        return None if spec is None else load_accelerator(spec, changes)
    if spec is not None:
        raise InputError(f"--accelerator {spec} and --timeloop-arch both name a chip; give one of them.")
    if changes:
        raise InputError("--set changes no Timeloop files, nor does --pe-type; change the value in them.")
    from hwflow.timeloop.importer.importer import from_timeloop

    chip = from_timeloop(list(files), constraints=list(constraints or ()))
    _tell_remarks(chip)
    return chip


def load_needed_chip(
    spec: str | None, changes: Sequence[str] | None, files: Sequence[Path] | None, constraints: Sequence[Path] | None
) -> Accelerator:
    """`load_chip` for commands that need one."""
    chip = load_chip(spec, changes, files, constraints)
    if chip is None:
        raise InputError(_NO_CHIP)
    return chip


def load_chips(
    specs: Sequence[str] | None, changes: Sequence[str] | None, files: Sequence[Path] | None, constraints: Sequence[Path] | None
) -> list[Accelerator]:
    """All accelerators of `--accelerator`, which alone `--set` changes, and after them that of `--timeloop-arch`."""
    wanted = dict.fromkeys(spec for text in specs or () for spec in listed("--accelerator", text))
    named = [load_accelerator(spec, changes) for spec in wanted]
    brought = load_chip(None, None if named else changes, files, constraints)
    if not named and brought is None:
        raise InputError(_NO_CHIP)
    return named if brought is None else [*named, brought]


_NO_CHIP = "no chip is named; give --accelerator, a preset ('hwflow list accelerators') or a YAML file, or --timeloop-arch."


def _fields(changes: Sequence[str]) -> dict[str, Any]:
    from hwflow.files import parse_yaml

    fields: dict[str, Any] = {}
    for text in changes:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise InputError(
                f"--set {shown(text)} must have the form FIELD=VALUE, for example --set global_buffer.size_kib=64."
            )
        if len(value) > _VALUE:
            raise InputError(f"--set {shown(text)}: the value has {len(value):,} characters; the most is {_VALUE:,}.")
        fields[name.strip()] = parse_yaml(value, f"--set {shown(text)}: the value")
    return fields

"""Arguments and options that several commands share, and the parsing of their values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwflow.errors import MOST_JOBS, InputError, check_whole, shown
from hwflow.metrics import MAPPED

if TYPE_CHECKING:
    from hwflow.cli.output import Form
    from hwflow.cost.options import CostOptions

NetworkArgument = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="A zoo name ('hwflow list networks'), an .onnx file, a .yaml layer list, Timeloop's problem files (one or a "
        "folder), the folder of a compressed network, or package.module:callable.",
        show_default=False,
    ),
]
AcceleratorOption = Annotated[
    str | None,
    typer.Option("--accelerator", "-a", metavar="ACC", help="A preset ('hwflow list accelerators') or a YAML file."),
]
TimeloopArchOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--timeloop-arch",
        metavar="FILE",
        help="Instead of --accelerator: an architecture in Timeloop's format. Repeatable, for its classes, variables, ...",
    ),
]
TimeloopConstraintsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--timeloop-constraints", metavar="FILE", help="Constraints in Timeloop's format, in addition to the architecture's."
    ),
]
DataflowOption = Annotated[
    str | None, typer.Option("--dataflow", metavar="NAME", help="A dataflow or a YAML file; by default the accelerator's own.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field: global_buffer.size_kib=64. Repeatable."),
]
PeTypeOption = Annotated[
    str | None,
    typer.Option(
        "--pe-type",
        metavar="NAME",
        help="Processing elements of a type ('hwflow list pe-types'); as --set pe_type=NAME.",
    ),
]
BatchOption = Annotated[int | None, typer.Option("--batch", metavar="N", help="Batch size.")]
BitsOption = Annotated[str | None, typer.Option("--bits", metavar="W,A", help="Word widths of weights and activations.")]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=][TYPE:]SIZES",
        help="Input shape, batch first: 1x3x224x224; input_ids=int64:1x128. Again for several inputs.",
    ),
]
ObjectiveOption = Annotated[
    str, typer.Option("--objective", metavar="|".join(MAPPED), help="What the mapping search minimises.")
]
EnergyOption = Annotated[
    str, typer.Option("--energy", metavar="auto|recorded|fitted|accelergy|normalized", help="Where energies come from.")
]
MapperOption = Annotated[
    str,
    typer.Option("--mapper", metavar="hwflow|timeloop", help="At fine: who finds the mapping; timeloop runs timeloop-mapper."),
]
EngineOption = Annotated[
    str | None, typer.Option("--engine", metavar="native|pytimeloop|container", help="Where Timeloop runs.")
]
EffortOption = Annotated[int, typer.Option("--effort", metavar="N", help="A factor on the effort of the mapping search.")]
PerfectOption = Annotated[
    bool,
    typer.Option(
        "--perfect", help="Only mappings whose loops divide their dimensions, as in Timeloop's usual map space, are searched."
    ),
]
ProofOption = Annotated[
    str,
    typer.Option(
        "--proof",
        metavar="off|gap|optimal",
        help="Prove how far each mapping is from the best one, of perfect and of imperfect factors; optimal takes more memory.",
    ),
]
GapOption = Annotated[
    float, typer.Option("--gap", metavar="SHARE", help="A mapping within this share of the best one counts as proven.")
]
ActivationsOption = Annotated[
    str,
    typer.Option(
        "--activations",
        metavar="dram|resident",
        help="Tensors between layers: all through DRAM, or on the chip where they fit and that pays.",
    ),
]
LatencyOption = Annotated[
    str,
    typer.Option(
        "--latency",
        metavar="overlap|with_fill",
        help="Whether a layer's first fill and last drain take time of their own where buffers are not double.",
    ),
]
OperatorsOption = Annotated[
    str,
    typer.Option(
        "--operators", metavar="mac|all", help="What has a price: layers alone, or additions, poolings and the like, too."
    ),
]
PpaModelOption = Annotated[
    Path | None,
    typer.Option("--ppa-model", metavar="FILE.json", help="At ppa: the model that 'hwflow ppa fit' wrote."),
]
ExtrapolateOption = Annotated[
    bool, typer.Option("--extrapolate", help="At ppa: answer beyond the range that was characterised, too.")
]
ExecutionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--execution",
        metavar="[LAYER=]NAME",
        help="How layers run: direct (the default), winograd2, winograd4, im2col, vip, or auto, the cheapest of those with the "
        "same results; of one layer with its name. Repeatable.",
    ),
]
FallbackOption = Annotated[
    str | None,
    typer.Option(
        "--fallback",
        metavar="mid|coarse|none",
        help="The level used where fine cannot answer, by default mid; title and rows say so.",
    ),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="The same as --fallback none.")]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="table|json|csv|markdown",
        help="Output format; by default a table, or according to the suffix of -o.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write to FILE: .json, .csv, .md (Markdown), .html (a page), .txt (a table)."
    ),
]
HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE.html", help="Also write an HTML page with figures and tables."),
]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="A data set ('hwflow list datasets'), NAME:FOLDER, or a folder with train/ and val/ of class folders.",
    ),
]
CriterionOption = Annotated[
    str,
    typer.Option(
        "--criterion",
        metavar="l1|l2|fpgm|taylor|bn_scale|lamp|random",
        help="Which channels of a group stay: the most important ones by this criterion.",
    ),
]
HoldoutOption = Annotated[
    str | None,
    typer.Option(
        "--holdout",
        metavar="train:SHARE|test:SHARE|DATA",
        help="Images that the network has not seen, to compare plans on; by default a tenth of the training images.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        help="Threads that PyTorch computes with; by default one where a training step is small, else the free cores.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="auto is CUDA where available.")]
PrecisionOption = Annotated[
    str, typer.Option("--precision", metavar="auto|float32|bfloat16", help="auto is bfloat16 where the device supports it.")
]
AllowImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        metavar="MODULE[,MODULE]",
        help="Modules from which input files may import networks; none by default. Repeatable.",
    ),
]
COST_FORMS: tuple[Form, ...] = ("table", "json", "csv", "markdown", "html")
"""Formats of costs."""

JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", metavar="N", help="Layers in parallel; by default the number of cores.")
]


_DIGITS = 18
"""Of a whole number; the largest size that can be costed has 10."""


def modules(specs: Sequence[str] | None) -> tuple[str, ...]:
    """All modules of `--allow-import`."""
    return tuple(name for text in specs or () for name in listed("--allow-import", text))


def execution_of(given: Sequence[str] | None) -> Any:
    """`--execution`: a name for all layers, or a mapping where layers are named; a name without a layer is for the rest."""
    if not given:
        return "direct"
    pairs = [text.rpartition("=") for text in given]
    names = {layer or "*": name for layer, _, name in pairs}
    return names["*"] if set(names) == {"*"} else names


def cores(jobs: int | None, mapper: str = "hwflow", *levels: str) -> int:
    """`--jobs`, by default the number of cores that this process may use; Timeloop's mapper takes several for each layer.

    Args:
        levels: those that are asked for; where they are given and no other program answers for any, the mapper does not count.
    """
    if jobs is not None:
        check_whole("--jobs", jobs, MOST_JOBS)
        return jobs
    from hwflow.cost.backend import backend_of

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if mapper != "timeloop" or (levels and not any(backend_of(level).external for level in levels)):
        return usable
    from hwflow.timeloop.render import SearchSettings

    return max(1, usable // SearchSettings().threads)


def takes_time(options: CostOptions, *levels: str) -> bool:
    """Whether an estimate at these levels, by default at the one in its options, is worth a progress bar."""
    from hwflow.cost.backend import backend_of

    return any(backend_of(level).seconds(options) != 0 for level in levels or (options.level,))


def fallback_of(fallback: str | None, strict: bool) -> Any:
    """`--strict` is `--fallback none`."""
    if strict and fallback not in (None, "none"):
        raise InputError(f"--strict and --fallback {fallback} contradict each other: --strict is --fallback none. Give one.")
    return "none" if strict else fallback or "mid"


def chosen(option: str, value: str, allowed: Sequence[str]) -> str:
    """A value, checked against those allowed."""
    if value not in allowed:
        raise InputError(f"{option} is {value!r}; allowed: {', '.join(allowed)}.")
    return value


def listed(option: str, text: str) -> list[str]:
    """A comma-separated list."""
    items = [part.strip() for part in text.split(",")]
    if not any(items):
        raise InputError(f"{option} is empty; give one or more names, with commas between them.")
    if not all(items):
        raise InputError(f"{option} is {shown(text)}: a name is missing beside a comma. Write it, or leave out the comma.")
    return list(dict.fromkeys(items))


def whole(option: str, text: str) -> list[int]:
    """A comma-separated list of whole numbers."""
    return whole_numbers(option, text, listed(option, text), None, "whole numbers of at least 1, with commas between them")


def whole_numbers(option: str, text: str, parts: Sequence[str], count: int | None, expected: str) -> list[int]:
    numbers = [int(p) for p in parts if p.strip().isdecimal() and len(p) <= _DIGITS and int(p) > 0]
    if len(numbers) != len(parts) or (count is not None and len(numbers) != count):
        raise InputError(f"{option} is {shown(text)}; it must be {expected}.")
    return numbers

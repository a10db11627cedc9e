"""`hwflow ppa`: characterise chips, fit a model to them, and look for fronts with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.cli.inputs import load_accelerator
from hwflow.errors import HwflowError, InputError, shown

if TYPE_CHECKING:
    from hwflow.cli.console import Page
    from hwflow.coexploration import Characterised, Fronts
    from hwflow.ppa.model import PpaModel

ppa = typer.Typer(
    help="Fitted models of power, performance and area (QUIDAM): characterise chips, fit, and draw fronts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_REASONS = 5

NetworksArgument = Annotated[
    list[str],
    typer.Argument(metavar="NETWORK...", help="Networks, as 'hwflow estimate' takes them.", show_default=False),
]


@ppa.command("characterise")
def characterise(
    networks: NetworksArgument,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder of answers; an unfinished one is continued.")
    ],
    accelerator: Annotated[
        str, typer.Option("--accelerator", "-a", metavar="ACC", help="The chip whose fields are varied.")
    ] = "eyeriss",
    changes: args.SetOption = None,
    pe_types: Annotated[
        str | None,
        typer.Option(
            "--pe-types",
            metavar="NAME[,NAME...]",
            help="Of 'hwflow list pe-types', by default all; own for the chip's own PEs.",
        ),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="FIELD=LOW:HIGH",
            help="The range of a field: global_buffer.size_kib=32:256. Repeatable. By default rows, columns, sizes of memories "
            "and the bandwidth of DRAM are varied; FIELD=VALUE fixes one.",
        ),
    ] = None,
    chips: Annotated[int, typer.Option("--chips", metavar="N", help="Chips of each PE type.")] = 300,
    widths: Annotated[
        str,
        typer.Option("--widths", metavar="W[,W...]", help="Shares of the channels: 1,0.5,0.25 where pruned networks follow."),
    ] = "1",
    input_shape: args.InputOption = None,
    level: Annotated[str, typer.Option("--level", metavar="mid|fine", help="The level whose answers are the targets.")] = "mid",
    objective: args.ObjectiveOption = "edp",
    energy: args.EnergyOption = "fitted",
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of the Latin hypercube.")] = 0,
    runner: Annotated[str, typer.Option("--runner", metavar="local|ray", help="Processes here, or a Ray cluster.")] = "local",
    address: Annotated[str | None, typer.Option("--address", metavar="A", help="Address of the Ray cluster.")] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="N", help="Processes; by default the number of cores.")
    ] = None,
) -> None:
    """Cost layers on a Latin hypercube of chips, for 'hwflow ppa fit'; an interrupted run is continued."""
    from hwflow import coexploration
    from hwflow.cli.console import InterruptError, deliver, progress, remark, say
    from hwflow.hardware.pe_types import PE_TYPES
    from hwflow.network._inputs import parsed_inputs

    chip = load_accelerator(accelerator, changes)
    try:
        with progress(f"characterising {chip.name}") as bar:
            result = coexploration.characterise(
                networks,
                output,
                base=chip,
                pe_types=tuple(PE_TYPES) if pe_types is None else args.listed("--pe-types", pe_types),
                ranges=_ranges(ranges or ()),
                chips=chips,
                widths=[_number("--widths", text) for text in args.listed("--widths", widths)],
                seed=seed,
                level=level,
                objective=objective,
                energy=energy,
                input_shape=parsed_inputs(input_shape),
                runner=runner,
                address=address,
                jobs=args.cores(jobs),
                progress=bar,
                notify=say,
            )
    except coexploration.Interrupted as stopped:
        done = stopped.result.answered + stopped.result.failures.total()
        raise InterruptError(
            f"interrupted. {done:,} of {stopped.result.expected:,} chips are finished, in {output}; the same command goes on "
            "from there."
        ) from None
    deliver(_characterised_page(result, chip.name, level))
    if not result.answered:
        raise HwflowError(f"none of {result.expected:,} chips was answered.")
    remark(f"wrote {output}; fit a model by: hwflow ppa fit {output}")


@ppa.command("fit")
def fit(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder that 'hwflow ppa characterise' wrote.", show_default=False)
    ],
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.json", help="The model; by default model.json in the folder.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of what is held out, and of the folds.")] = 0,
) -> None:
    """Fit polynomials in logarithms, one for each PE type and target, and state their errors on held-out chips."""
    from hwflow import coexploration
    from hwflow.cli.console import deliver, remark

    named = "" if output is None else f" -o {output.name}"
    model = coexploration.fit(folder, output, seed=seed, command=f"hwflow ppa fit {folder.name}{named} --seed {seed}")
    deliver(_model_page(model))
    remark(f"wrote {output or folder / model.name}")


@ppa.command("fronts")
def fronts(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.json", help="The model that 'hwflow ppa fit' wrote.", show_default=False)
    ],
    networks: NetworksArgument,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder of tables and the report.")],
    accuracy: Annotated[
        Path | None,
        typer.Option(
            "--accuracy",
            metavar="FILE.csv",
            help="Accuracies as measured: columns network, pe_type and accuracy (0 to 1).",
        ),
    ] = None,
    designs: Annotated[int, typer.Option("--designs", metavar="N", help="Chips of each PE type.")] = 2000,
    input_shape: args.InputOption = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of the Latin hypercube of designs.")] = 0,
    extrapolate: args.ExtrapolateOption = False,
) -> None:
    """Predict designs for networks times PE types, and draw the fronts of performance per area, energy and accuracy."""
    from hwflow import coexploration
    from hwflow.cli.console import deliver, remark, say
    from hwflow.network._inputs import parsed_inputs

    found = coexploration.fronts(
        model,
        networks,
        output,
        accuracy=accuracy,
        designs=designs,
        seed=seed,
        input_shape=parsed_inputs(input_shape),
        extrapolate=extrapolate,
        notify=say,
    )
    deliver(_fronts_page(found))
    remark(f"wrote {output}")


def _characterised_page(result: Characterised, name: str, level: str) -> Page:
    from hwflow.cli.console import Page, Table

    counts = Table(["chips", "answered", "failed", "layers", "points"], [[f"{n:,}" for n in _counts(result)]], left=frozenset())
    lines = [f"{times:,} failed: {reason}" for reason, times in result.failures.most_common(_REASONS)]
    if len(result.failures) > _REASONS:
        lines.append(f"{len(result.failures) - _REASONS:,} more reasons are in records.jsonl.")
    lines.append(f"The targets are the answers of level {level}: a model's, not synthesis.")
    return Page(f"Variants of {name} in {result.folder}", [counts], lines)


def _counts(result: Characterised) -> list[int]:
    failed = result.failures.total()
    return [result.expected, result.answered, failed, result.layers, result.answered * result.layers]


def _model_page(model: PpaModel) -> Page:
    from hwflow.cli.console import Page, Table

    rows = []
    for pe_type, found in model.types.items():
        for name, quality in found.quality.items():
            own = {**found.layer.polynomials, **found.chip.polynomials}
            chosen = [f"{own[name].degree}", f"{own[name].ridge:g}"] if name in own else ["", ""]
            errors = [f"{100 * quality.error.median:.1f}", f"{100 * quality.error.p95:.1f}"]
            rank = "-" if quality.rank is None else f"{quality.rank:.3f}"
            rows.append([pe_type, name, *chosen, *errors, rank, f"{found.fitted}", f"{found.held_out}"])
    headings = ["PE type", "target", "degree", "ridge", "median (%)", "p95 (%)", "rank", "fitted", "held out"]
    lines = [
        "Errors are those on held-out chips, of each layer. Energy is the sum of a polynomial for each part of the chip, "
        "cycles are the larger of on-chip and DRAM cycles, power is energy over latency.",
        model.remark,
    ]
    title = f"Model of {model.base.name}, {len(model.fields)} fields varied"
    return Page(title, [Table(headings, rows, left=frozenset({0, 1}))], lines)


def _fronts_page(found: Fronts) -> Page:
    from hwflow.cli.console import Page, Table, number

    rows = []
    for best in found.best():
        rows.append(
            [
                best.network,
                best.pe_type,
                number(best.per_area, 1),
                number(best.energy_uj, 2),
                number(best.latency_ms, 3),
                "-" if best.accuracy is None else f"{100 * best.accuracy:.2f}",
                f"{best.designs:,}",
                f"{best.on_front:,}",
            ]
        )
    energy = "uJ" if found.in_picojoule else "M units"
    headings = ["network", "PE type", "most inf/s/mm2", f"least energy ({energy})", "least latency (ms)", "accuracy (%)"]
    lines = [f"Left out, without an accuracy: {', '.join(found.missing)}."] if found.missing else []
    title = f"Designs for {', '.join(found.networks)}"
    table = Table([*headings, "designs", "on front"], rows, left=frozenset({0, 1}))
    return Page(title, [table], [*lines, found.remark])


def _ranges(given: Sequence[str]) -> dict[str, list[float]]:
    ranges = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise InputError(f"--range {shown(text)} must have the form FIELD=LOW:HIGH, such as global_buffer.size_kib=32:256.")
        ranges[name.strip()] = [_number(f"--range {name.strip()}", end) for end in value.split(":")]
    return ranges


def _number(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{option} is {shown(text)}; it must be a number.") from None
    return int(value) if value.is_integer() else value

"""What `hwflow compress` is asked to do: the methods, what is shown beside them, and options that none of them looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from hwflow.cli import arguments as args
from hwflow.cli.prune import SEARCHING
from hwflow.errors import InputError

_BITS = ("bits", "mixed")
_INTEGERS = ("int", "int8", "int4")
_USED: dict[str, tuple[Sequence[str], str]] = {
    "--search": (SEARCHING, "plans are searched (--decide)"),
    **dict.fromkeys(("--word-bits", "--edge-bits"), (_BITS, "bits are decided (--decide bits)")),
    "--weight-bits": (("int",), "their number is asked for (--method int)"),
    **dict.fromkeys(("--activation-bits", "--scheme", "--granularity"), (_INTEGERS, "numbers are integers (--method int8)")),
    "--post-training": ((*_INTEGERS, "lightnn1", "lightnn2"), "weights are rounded (--method int8)"),
    "--mean-k": (("flightnn",), "filters differ in their powers of two (--method flightnn)"),
    "--distribution-loss": (("bnn",), "values are signs (--method bnn)"),
}
"""By option the methods that look at it, and where they are."""

CurvesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--curves",
        metavar="DIR",
        help="Also show this folder's networks in the contest's report, judged and costed as the methods' are: what 'hwflow "
        "levels', 'library', 'search' or 'prune' wrote. Repeatable.",
    ),
]


def chosen_methods(method: str | None, decide: str | None) -> list[str]:
    """The methods of `--method`, or the one of `--decide`."""
    from hwflow.compression.registry import method_name
    from hwflow.compression.settings import deciding

    if (method is None) == (decide is None):
        both = (
            "--method and --decide both say what is done; give one of them." if method else "--method or --decide is missing."
        )
        raise InputError(f"{both} --decide bits,channels searches both, --method int8 is a method ('hwflow list methods').")
    if decide is not None:
        return [deciding(args.listed("--decide", decide))]
    return [method_name(name) for name in args.listed("--method", method or "")]


def refuse_unused(methods: Sequence[str], options: Mapping[str, object]) -> None:
    """Refuse options that none of the methods looks at, because the user expects them to have an effect."""
    parts = {part for name in methods for part in name.split("+")}
    for name, value in options.items():
        used_by, where = _USED[name]
        if value is not None and not parts & set(used_by):
            raise InputError(
                f"{name} {value} changes nothing with --method {','.join(methods)}, only where {where}. Leave it out."
            )


__all__ = ["CurvesOption", "chosen_methods", "refuse_unused"]

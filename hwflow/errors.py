"""The exceptions of hwflow: one root and a handful of subclasses.

Every message is one paragraph for the person who reads it: what failed, why, where the evidence is, what to do next.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard


class HwflowError(Exception):
    """Root of all errors that hwflow raises on purpose.

    Attributes:
        exit_code: what the command line exits with: 1 a run failed, 2 wrong use or bad input.
    """

    exit_code = 1


class InputError(HwflowError, ValueError):
    """Something that the user wrote cannot be used: a field, a file, a name, an option."""

    exit_code = 2


class ImportFailed(InputError):
    """A model cannot be turned into a `Network`; the message names the node or the module."""


class NotMappable(HwflowError):
    """No mapping of a layer fits the accelerator under the dataflow's constraints."""


class NotCertified(HwflowError):
    """Something that a certificate claims does not hold.

    Attributes:
        claim: the field of the certificate.
    """

    def __init__(self, claim: str, why: str) -> None:
        super().__init__(f"{self.kind}: {claim}: {why}.")
        self.claim = claim

    kind = "the certificate does not hold"


class OtherQuestion(NotCertified):
    """A certificate answers another question than the one asked; whether it holds was not checked.

    Attributes:
        claim: the part of its question that differs.
    """

    kind = "this certificate answers another question"


class ToolError(HwflowError):
    """An external tool (Timeloop, Accelergy, a container engine) is missing, failed, hung or wrote rubbish."""


class ToolMissing(ToolError):
    """An external tool that was asked for is not installed here; the message says how to get it."""


class MissingDependency(HwflowError, ImportError):
    """An optional Python package is needed; the message says which extra installs it."""


def shown(value: object) -> str:
    """A value as errors show it: cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits, which Python does not print
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_whole(value: object, least: int = 1) -> TypeGuard[int]:
    """Whether it is a whole number of at least `least`; `True`, which Python takes for 1, is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a whole number or a float; `True` is neither."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_whole(name: str, value: object, most: float = math.inf, least: int = 1) -> None:
    """Refuse what is not a whole number from `least` to `most`, as sizes, settings and options must be."""
    if not is_whole(value, least) or value > most:
        limit = f", and at most {most:,}" if isinstance(value, int) and value > most else ""
        raise InputError(f"{name} is {shown(value)}; it must be a whole number of at least {least}{limit}.")


def listed(problems: Sequence[str], count: int | None = None) -> str:
    """The first ten problems, each cut where it is long, and how many more there are; `count` where not all are given."""
    first = [text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..." for text in problems[:_LISTED]]
    more = (len(problems) if count is None else count) - len(first)
    return "; ".join([*first, *([f"and {more:,} more"] if more else [])])


MOST_EFFORT = 10_000
"""Of a search; with more none has an end."""
MOST_JOBS = 1024
"""Processes at once; more than any machine has cores."""

_SHOWN = 200
_LISTED = 10
_LONGEST = 500
_KNOWN = 60  # ResNet-50 has 54 layers


def not_found(kind: str, name: str, known: Iterable[str], hint: str = "", *, spellings: Iterable[str] = ()) -> InputError:
    """An `InputError` for an unknown name: lists what is known, proposes the nearest spelling (of those or of `spellings`)."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, [*choices, *spellings], n=1, cutoff=0.5)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    names = ", ".join(choices[:_KNOWN]) + (f" and {len(choices) - _KNOWN:,} more" if len(choices) > _KNOWN else "")
    return InputError(f"unknown {kind} {shown(name)}.{meant} Known: {names or 'none'}.{' ' + hint if hint else ''}")

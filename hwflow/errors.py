"""The exceptions of hwflow: one root and a handful of subclasses.

Every message is one paragraph for the person who reads it: what failed, why, where the evidence is, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


class ToolError(HwflowError):
    """An external tool (Timeloop, Accelergy, a container engine) is missing, failed, hung or wrote rubbish."""


class ToolMissing(ToolError):
    """An external tool that was asked for is not installed here; the message says how to get it."""


class MissingDependency(HwflowError, ImportError):
    """An optional Python package is needed; the message says which extra installs it."""


def shown(value: object) -> str:
    """A value as errors show it: cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_SHOWN = 200


def not_found(kind: str, name: str, known: Iterable[str], hint: str = "", *, spellings: Iterable[str] = ()) -> InputError:
    """An `InputError` for an unknown name: lists what is known, proposes the nearest spelling (of those or of `spellings`)."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, [*choices, *spellings], n=1, cutoff=0.5)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(choices) if choices else "none"
    return InputError(f"unknown {kind} {shown(name)}.{meant} Known: {listed}.{' ' + hint if hint else ''}")

"""Text for terminals and spreadsheets, with control characters and formulas in names made harmless."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

_STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four are = + - @ in full width
FORMULA = f"^([{re.escape(_STARTS)}])"
"""How a cell begins that spreadsheets take for a formula, as a regular expression. Source: OWASP, "CSV Injection"."""

_ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control and format characters, surrogates, separators of lines and paragraphs
_JOINERS = "\u200c\u200d"  # within words of some languages, and within emoji


def visible(text: str, keep: str = "") -> str:
    r"""`text` with its control characters written out: an escape character becomes the four characters `\x1b`.

    Terminals act on such characters: they colour, move the cursor, set titles, or reverse the direction of what follows.

    Args:
        keep: characters that stay as they are, such as line feeds in a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or c in _JOINERS or unicodedata.category(c) not in _ACTING else _escape(c) for c in text)


def percent(share: float, places: int = 2) -> str:
    """A share as `49.72 %`."""
    return f"{100 * share:.{places}f} %"


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, with the columns of all rows; texts that spreadsheets take for formulas have an apostrophe in front."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(row.get(column, "")) for column in columns] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    safe = f"'{value}" if value.startswith(tuple(_STARTS)) else value
    return safe.replace("\r", "\\r")  # which the csv module does not quote, and readers take for the end of a line


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def label_of(name: str, changes: Mapping[str, Any]) -> str:
    """A chip's name with what is changed of it, written as `--set` takes it."""
    told = ", ".join(f"{path}={_value_text(value)}" for path, value in changes.items())
    return f"{name} ({told})" if told else name


def _value_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"[{', '.join(map(str, value))}]" if isinstance(value, (list, tuple)) else str(value)


__all__ = ["FORMULA", "csv_of", "label_of", "percent", "visible"]

"""The format of an answer, from `--format` or the suffix of `-o FILE`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hwflow.cli.console import Page, deliver, deliver_text, remark
from hwflow.errors import InputError

if TYPE_CHECKING:
    from hwflow.cost import Comparison
    from hwflow.results import NetworkCost

Form = Literal["table", "json", "csv", "markdown", "html"]

Texts = Mapping[Form, Callable[[], str]]

SUFFIXES: Mapping[str, Form] = {
    ".json": "json",
    ".csv": "csv",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".txt": "table",
}


@dataclass(frozen=True)
class Answer:
    """What a command has found, in every form that it offers; each is made when it is asked for.

    Attributes:
        page: for people: a table, or Markdown.
        texts: the other forms, as text.
        html: writes a page to a file.
    """

    page: Callable[[], Page]
    texts: Texts
    html: Callable[[Path], None] | None = None

    def give(self, form: Form, output: Path | None) -> None:
        """Print it, or write it to the file."""
        if form == "html":
            assert self.html is not None
            assert output is not None
            self.html(output)
        elif form == "table":
            deliver(self.page(), output)
        else:
            deliver_text(self.page().markdown() if form == "markdown" else self.texts[form](), output)


def form_of(form: str | None, output: Path | None, allowed: tuple[Form, ...]) -> Form:
    """The form of an answer: `--format`, else what the suffix of `-o FILE` says, else a table.

    Raises:
        InputError: where the two contradict each other, the command does not give that form, or the suffix means nothing and
            there is no `--format`.
    """
    named = tuple(name for name in allowed if name != "html")
    if form is not None and form not in named:
        page = " A page is written by -o FILE.html." if form == "html" and "html" in allowed else ""
        raise InputError(f"--format is {form!r}; allowed: {', '.join(named)}.{page}")
    meant = SUFFIXES.get(output.suffix.lower()) if output is not None else None
    endings = ", ".join(suffix for suffix, name in SUFFIXES.items() if name in allowed)
    if meant is None and form is None and output is not None and output.suffix:
        raise InputError(
            f"-o {output}: the suffix {output.suffix} says no format; end the name in {endings}, or give --format "
            f"({', '.join(named)})."
        )
    if meant is not None and meant not in allowed:
        raise InputError(f"-o {output}: this command writes no {meant}; its files end in {endings}.")
    if form is not None and meant is not None and form != meant:
        raise InputError(f"--format {form} contradicts -o {output}, whose suffix means {meant}; leave out one of the two.")
    return form or meant or "table"


def write_page(found: NetworkCost | Comparison, file: Path) -> None:
    """Write costs as an HTML page, and say so."""
    remark(f"wrote {found.to_html(file)}")


__all__ = ["SUFFIXES", "Answer", "Form", "form_of", "write_page"]

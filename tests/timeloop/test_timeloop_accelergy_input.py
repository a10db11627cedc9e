"""Files of strangers given to Accelergy, which evaluates texts as Python and fills templates in: nothing in them runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwflow
from hwflow.errors import InputError
from hwflow.timeloop.accelergy import characterise
from hwflow.timeloop.accelergy_input import check_input

DESIGN = Path(__file__).resolve().parents[1] / "data" / "timeloop_designs" / "two_forms_native.yaml"
CODE = [
    "().__class__.__base__.__subclasses__()",
    "ceil.__self__",
    "width.real",
    "(lambda: 1)()",
    "[x for x in (1, 2)]",
    "sum(x for x in (1, 2))",
    "'{0.__class__}'.format(width)",
    "ceil(x=width)",
    "width[0]",
    "__import__('os')",
    "(y := width)",
    '"{{ 7 * 7 }}"',
    '"{% for a in [1] %}"',
    '"{# a #}"',
]


HARMLESS = [
    "ceil(width / 8)",
    "2 ** 3 + 1 if width > 4 else max(1, depth)",
    "width and not depth",
    "45nm",
    "must_specify",
    '"a.b.csv"',
    '"().__class__"',
    "./tables/memory.csv",
    "-3",
    "é",
]


def block(text: str) -> str:
    """The classes in block style, where a plain text may hold brackets and commas."""
    return (
        "compound_components:\n  version: 0.4\n  classes:\n  - name: smartbuffer_RF\n    attributes:\n      width: 16\n"
        f"      banks: {text}\n"
    )


@pytest.mark.parametrize("text", CODE)
def test_what_accelergy_would_run_is_refused(text: str) -> None:
    written = block(text if text[0] == '"' else f">-\n        {text}")
    with pytest.raises(InputError, match=r"chip: Accelergy would run the text .* as code"):
        check_input({"components.yaml": written}, "chip")


@pytest.mark.parametrize("text", HARMLESS)
def test_arithmetic_and_texts_are_passed_on(text: str) -> None:
    check_input({"components.yaml": block(text)}, "chip")


def test_keys_are_looked_at_as_well() -> None:
    with pytest.raises(InputError, match="Accelergy would run the text"):
        check_input({"components.yaml": 'a: {? "{{ 1 }}" : 1}'}, "chip")


class NoEngine:
    """Must not be asked."""


@pytest.mark.parametrize("text", ["().__class__.__base__", "width.real", "\"{{ '{{' }} 7 {{ '}}' }}\""])
def test_code_in_the_files_of_a_chip_is_not_given_to_accelergy(text: str, tmp_path: Path) -> None:
    """The last one is no template to Accelergy until hwflow has filled it in."""
    (tmp_path / "classes.yaml").write_text(block(text), encoding="utf-8")
    chip = hwflow.from_timeloop([DESIGN, tmp_path / "classes.yaml"])
    with pytest.raises(InputError, match=r"accelerator two_forms_native: Accelergy would run the text .* as code"):
        characterise(chip, NoEngine())  # type: ignore[arg-type]

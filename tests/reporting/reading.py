"""Pages as their readers have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

VOID = {"meta", "input", "link", "br"}


class Read(HTMLParser):
    """A page as a reader has it: its text, its tables by caption, what its figures hold, and all its tags."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.text, self.tags, self.figures, self.choosers = "", [], [], []
        self.tables: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows: list[list[str]] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "caption":
            self._caption = ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            if self.tags[-1][1].get("type") == "application/json":
                found = json.loads(data, parse_constant=pytest.fail)
                (self.figures if "layout" in found else self.choosers).append(found)
            return
        if inside == "style":
            return
        data = data.replace("\u00a0", " ")
        self.text += data
        if "caption" in self.open:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value

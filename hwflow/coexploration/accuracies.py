"""Accuracies of networks with PE types, as somebody measured them: a CSV file with the columns network, pe_type, accuracy."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwflow.errors import InputError, not_found, shown
from hwflow.files import read_text

_COLUMNS = ("network", "pe_type", "accuracy")


@dataclass(frozen=True)
class Accuracies:
    """By network and PE type, from 0 to 1."""

    known: Mapping[tuple[str, str], float]

    def of(self, network: str, pe_type: str) -> float | None:
        """None where it was not measured."""
        return self.known.get((network, pe_type))

    def missing(self, networks: Sequence[str], pe_types: Sequence[str]) -> list[str]:
        """The pairs that were not, as `resnet20 with int8`."""
        pairs = [(network, pe_type) for network in networks for pe_type in pe_types]
        return [f"{network} with {pe_type}" for network, pe_type in pairs if (network, pe_type) not in self.known]


def read_accuracies(path: str | Path, networks: Sequence[str], pe_types: Sequence[str]) -> Accuracies:
    """The accuracies in a file, which may have other columns, too.

    Raises:
        InputError: naming the line and what is wrong with it.
    """
    text = read_text(path, "the accuracies")
    reader = csv.DictReader(io.StringIO(text))
    lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if lacking:
        raise InputError(
            f"{path} has no column {', '.join(lacking)}: its first line must name the columns {', '.join(_COLUMNS)}."
        )
    found: dict[tuple[str, str], float] = {}
    for line, row in enumerate(reader, 2):
        where = f"{path}, line {line}"
        pair = (row["network"] or "", row["pe_type"] or "")
        for name, value, known in zip(("network", "PE type"), pair, (networks, pe_types), strict=True):
            if value not in known:
                raise InputError(f"{where}: {not_found(name, value, known)}")
        try:
            accuracy = float(row["accuracy"] or "")
        except ValueError:
            accuracy = -1.0
        if not 0 <= accuracy <= 1:
            raise InputError(f"{where}: accuracy is {shown(row['accuracy'])}; it must be a number from 0 to 1.")
        if pair in found:
            raise InputError(f"{where}: {pair[0]} with {pair[1]} comes twice.")
        found[pair] = accuracy
    return Accuracies(found)

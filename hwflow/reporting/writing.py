"""`write_report`: a folder in, a page out."""

from __future__ import annotations

from pathlib import Path

from hwflow.data import write_text


def write_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a finished pruning run as one HTML file, which needs nothing else to be read; equal folders give
    equal bytes.

    Args:
        folder: what `hwflow prune -o` wrote.
        output: the file; by default `report.html` in the folder.

    Returns:
        The file that was written.

    Raises:
        InputError: where the folder is missing or holds no finished run, or a file of it is damaged.
        MissingDependency: where plotly is not installed.
        HwflowError: where the file cannot be written.
    """
    from hwflow.reporting.pruned import page
    from hwflow.reporting.recorded import read_run

    place = Path(folder)
    file = place / "report.html" if output is None else Path(output)
    write_text(file, page(read_run(place)).html())
    return file

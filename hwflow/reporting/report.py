"""`write_report`: the report of a folder or a file of results. `write_costs`: the report of estimates in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.errors import InputError
from hwflow.files import write_text

if TYPE_CHECKING:
    from hwflow.reporting.estimates.configuration import Configuration
    from hwflow.reporting.page.blocks import Page


def write_report(source: str | Path, output: str | Path | None = None, *, static: str | Path | None = None) -> Path:
    """Write a report as one HTML file, which needs nothing else to be read; equal sources give equal bytes.

    Args:
        source: the folder that `hwflow prune`, `compress`, `levels`, `library`, `sweep` or `ppa fronts` wrote with `-o`, or the
            file of `hwflow estimate`, `compare` or `manage` with `--format json -o`.
        output: the file; by default `report.html` in the folder, or the file's name with `.html`.
        static: a folder for the figures as PNG and SVG files, too.

    Returns:
        The file that was written.

    Raises:
        InputError: where the source is missing, is nothing of these or not finished, or a file of it is damaged.
        MissingDependency: where plotly is not installed, pyarrow for a sweep's folder, or matplotlib for `static`.
        HwflowError: where the file cannot be written.
    """
    place = Path(source)
    file = (place / "report.html" if place.is_dir() else place.with_suffix(".html")) if output is None else Path(output)
    page = _page(place)
    if static is not None:
        from hwflow.reporting.page.static_figures import write_figures

        write_figures(page, Path(static))
    write_text(file, page.html())
    return file


def write_costs(configurations: Sequence[Configuration], output: str | Path) -> Path:
    """Write the report of one estimate, or of several configurations side by side.

    Raises:
        MissingDependency: where plotly is not installed.
        HwflowError: where the file cannot be written.
    """
    file = Path(output)
    write_text(file, costs_page(configurations).html())
    return file


def write_trace(content: Mapping[str, Any], output: str | Path) -> Path:
    """Write the report of a trace, from what `hwflow.dynamic.simulation.Simulation.to_dict` gives.

    Raises:
        MissingDependency: where plotly is not installed.
        HwflowError: where the file cannot be written.
    """
    from hwflow.reporting.dynamic import trace_report
    from hwflow.reporting.dynamic.trace_records import TraceRecord

    file = Path(output)
    write_text(file, trace_report.page(TraceRecord.model_validate(content)).html())
    return file


def costs_page(configurations: Sequence[Configuration]) -> Page:
    """The page of one estimate or of a comparison."""
    from hwflow.reporting.estimates import comparison_report, estimate_report

    if not configurations:
        raise InputError("a report of costs needs at least one estimate.")
    return estimate_report.page(configurations[0]) if len(configurations) == 1 else comparison_report.page(configurations)


def _page(source: Path) -> Page:
    if source.is_file():
        if source.suffix.lower() in (".yaml", ".yml"):
            raise InputError(
                f"{source} is a description, and a report is made of results: of a folder that 'hwflow prune', 'compress' or "
                "'sweep' wrote, or of a file of 'hwflow estimate|compare --format json'. Where it is a sweep file, run "
                f"'hwflow sweep {source} -o DIR' first."
            )
        from hwflow.reporting.dynamic import trace_report
        from hwflow.reporting.dynamic.trace_records import is_trace, read_trace
        from hwflow.reporting.estimates.configuration import read_configurations

        if is_trace(source):
            return trace_report.page(read_trace(source))

        return costs_page(read_configurations(source))
    from hwflow.reporting.coexploration import fronts_report
    from hwflow.reporting.coexploration.designs import is_fronts, read_designs
    from hwflow.reporting.compression import contest_report
    from hwflow.reporting.compression.contest_records import is_contest, read_contest
    from hwflow.reporting.dynamic import level_report, library_report
    from hwflow.reporting.dynamic.level_records import is_levels, read_levels
    from hwflow.reporting.dynamic.library_records import is_library, read_library
    from hwflow.reporting.pruning import pruning_report
    from hwflow.reporting.pruning.pruning_folder import read_run
    from hwflow.reporting.sweeps import sweep_report
    from hwflow.reporting.sweeps.sweep_folder import is_sweep, read_sweep

    if is_levels(source):
        return level_report.page(read_levels(source))
    if is_library(source):
        return library_report.page(read_library(source))
    if is_contest(source):
        return contest_report.page(read_contest(source))
    if is_fronts(source):
        return fronts_report.page(read_designs(source))
    if is_sweep(source):
        return sweep_report.page(read_sweep(source))
    return pruning_report.page(read_run(source))

"""Reports: one self-contained HTML page, from the files of a run's folder or from estimates in memory.

`page` defines pages and their blocks; `estimates`, `pruning` and `sweeps` hold one kind of report each.
"""

from __future__ import annotations

from hwflow.reporting.report import write_costs, write_report

__all__ = ["write_costs", "write_report"]

"""Reports: one self-contained HTML page, built from the files that a run left in its folder, or from estimates at hand.

`blocks` has what pages are made of, and `palette` its colours; a report of another kind is another module beside `pruned`.
"""

from __future__ import annotations

from hwflow.reporting.report import write_costs, write_report

__all__ = ["write_costs", "write_report"]

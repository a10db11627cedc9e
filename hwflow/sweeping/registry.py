"""The searches that a sweep file can ask for, by the name of its `sample.method`."""

from __future__ import annotations

from hwflow.sweeping import nsga2, surrogate
from hwflow.sweeping.searcher import Searcher

SEARCHERS: dict[str, Searcher] = {"nsga2": nsga2.search, "surrogate": surrogate.search}

"""Sweeps: networks costed on many accelerators, with results in a folder that an interrupted sweep resumes from."""

from __future__ import annotations

from hwflow.sweeping.description import Description, load_description
from hwflow.sweeping.sweep_run import Interrupted, SweepResult, run, sweep

__all__ = ["Description", "Interrupted", "SweepResult", "load_description", "run", "sweep"]

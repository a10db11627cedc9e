"""Names that several parts of hwflow take as text, each with its values: what a type checker knows them by."""

from __future__ import annotations

from typing import Literal

Dim = Literal["N", "G", "C", "M", "P", "Q", "R", "S"]
"""A loop dimension of a layer, as Timeloop names it."""

Tensor = Literal["weights", "inputs", "outputs"]
LayerType = Literal["conv", "conv_transpose", "linear", "matmul"]

LevelName = Literal["coarse", "mid", "fine"]
"""A level of abstraction, fastest first."""

Objective = Literal["energy", "latency", "edp"]
"""What a mapping minimises."""

Mapper = Literal["hwflow", "timeloop"]
"""Who searches the mappings that fine judges."""

EnergyUnit = Literal["pJ", "normalized"]
"""Picojoules, or multiples of one 16-bit multiply-accumulate."""

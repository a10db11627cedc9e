"""Names that several parts of hwflow take as text, each with its values: what a type checker knows them by."""

from __future__ import annotations

from typing import Literal, TypeAlias

Dim = Literal["N", "G", "C", "M", "P", "Q", "R", "S"]
"""A loop dimension of a layer, as Timeloop names it."""

Tensor = Literal["weights", "inputs", "outputs"]
LayerType = Literal["conv", "conv_transpose", "linear", "matmul"]

LevelName: TypeAlias = str
"""A level of abstraction: coarse, mid, fine or ppa, or what else `hwflow.cost.backend.BACKENDS` has."""

Objective = Literal["energy", "latency", "edp"]
"""What a mapping minimises."""

Proof = Literal["off", "gap", "optimal"]
"""What is proven of a mapping: no more than a cheap bound; how far from the best it can be; or that it is near enough."""

Mapper = Literal["hwflow", "timeloop"]
"""Who searches the mappings that fine judges."""

EnergyUnit = Literal["pJ", "normalized"]
"""Picojoules, or multiples of one 16-bit multiply-accumulate."""

Activations = Literal["dram", "resident"]
"""Whether tensors between layers all go through DRAM, or stay on the chip where that pays."""

Operators = Literal["mac", "all"]
"""Which operators have a price: those that multiply and accumulate, or all."""

Latency = Literal["overlap", "with_fill"]
"""Whether the first tiles of a layer and its last results take time of their own, or all transfers overlap with arithmetic."""

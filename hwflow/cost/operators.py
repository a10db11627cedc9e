"""Prices of operators that are no layers: additions, poolings, activations, normalisations, resampling, copies.

They run on the chip's `vector_unit`, one after the other with the layers, and read and write as layers do in Timeloop: a
tensor that stays is read from its memory or written to it; any other one comes from DRAM by way of that memory (a DRAM read, a
write, a read) or goes there (a write, a DRAM write). Their cycles are the largest of the vector unit's and of each memory's.

* An element-by-element operator that writes over what the operation before it wrote, and nobody else reads, is *fused*: it is
  applied as the results leave, costs its operations and no traffic, and no time: the vector unit is taken to keep up.
* A normalisation right behind a convolution or linear layer is *folded* into the weights and costs nothing; also one behind the
  transform of a Winograd product's results.

How many operations an element takes is this module's own count (`OPERATIONS`): an addition, a multiplication, a comparison or a
look-up of a function is one. Sizes of tiles play no part: operators stream, a few words at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hwflow.cost.chip import Chip
from hwflow.cost.residency import Homes, pace
from hwflow.cost.winograd import OUTPUTS, tile_operations
from hwflow.errors import InputError
from hwflow.hardware.components import Memory, VectorUnit
from hwflow.network import Network, OtherOp
from hwflow.network.graph import Graph
from hwflow.occupancy import OperatorCost

_RESULT = """
    Abs Add And BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Cos Cosh Div Equal Erf Exp Floor Greater GreaterOrEqual IsInf
    IsNaN Less LessOrEqual Log Max Min Mod Mul Neg Not Or Pow Reciprocal Relu Round Sigmoid Sign Sin Sinh Softsign Sqrt Sub Sum
    Tan Tanh ThresholdedRelu Where Xor Acos Acosh Asin Asinh Atan Atanh CumSum
"""
_MOVES = """
    Cast CastLike Compress Concat DepthToSpace Expand Gather GatherElements GatherND Identity Pad Reshape Flatten Squeeze
    Unsqueeze ScatterElements ScatterND Slice SpaceToDepth Split Tile Transpose Trilu ConstantOfShape OneHot Dropout
    ReverseSequence MaxUnpool Im2Col
"""
OPERATIONS: dict[str, int] = {
    **dict.fromkeys(_RESULT.split(), 1),
    **dict.fromkeys(_MOVES.split(), 0),
    "BatchNormalization": 2,  # a multiplication and an addition: mean and variance are constants
    "Clip": 2,
    "LeakyRelu": 2,
    "PRelu": 2,
    "Swish": 2,
    "Softplus": 2,
    "Mean": 2,
    "Shrink": 3,
    "Elu": 3,
    "Celu": 4,
    "Selu": 4,
    "Mish": 4,
    "Gelu": 4,
    "HardSigmoid": 4,
    "HardSwish": 5,
    "Softmax": 5,  # the largest, a subtraction, an exponential, the sum, a division
    "LogSoftmax": 6,
    "RMSNormalization": 4,  # a square, the sum, a multiplication, the scale
    "LpNormalization": 3,
    "LRN": 9,  # five squares in a sum, a power, a division: the usual window of five
    "InstanceNormalization": 7,  # the sum; a subtraction, a square, its sum; a multiplication; scale and shift
    "GroupNormalization": 7,
    "LayerNormalization": 7,
    "Resize": 7,  # bilinear: four multiplications and three additions
    "Upsample": 7,
    "GridSample": 7,
}
"""Operations for an element of the result, by ONNX's names."""
_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"})
_REDUCTIONS = frozenset({"ArgMax", "ArgMin"})


class Share(NamedTuple):
    """What an operator reads or writes of a tensor: bits in all, and whether the tensor stays on the chip."""

    bits: int
    stays: bool


def priced(op_type: str) -> bool:
    """Whether an operator of this type has a price."""
    known = op_type in OPERATIONS or op_type in _POOLS or op_type in _REDUCTIONS or op_type.startswith("Reduce")
    return known or tile_operations(op_type) is not None


def check_priced(network: Network, accelerator_name: str, unit: VectorUnit | None) -> VectorUnit:
    """The chip's vector unit, if every operator of the network has a price on it.

    Raises:
        InputError: where the chip has none, or naming the operators without a price.
    """
    if unit is None:
        raise InputError(
            f"accelerator {accelerator_name} has no vector_unit, so operators beside the layers have no price (operators is "
            "'all'). Describe one, vector_unit: {operations_per_cycle: 16}, or use 'mac', which lists them as not counted."
        )
    if missing := [f"{op.name} ({op.type})" for op in network.other if not priced(op.type)]:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(
            f"network {network.name}: no price is known of {', '.join(missing[:5])}{more} (operators is 'all'). Use 'mac', "
            "which lists them as not counted."
        )
    return unit


def operations_of(op: OtherOp, inputs: int) -> int:
    """Operations of the vector unit.

    Of a pooling whose window is not stated, windows are taken not to overlap; of a sum of several tensors, each adds one.
    """
    if (transform := tile_operations(op.type)) is not None:
        operations, elements = transform
        return operations * (max(op.words_in, op.words_out) // elements)  # tiles overlap, and may reach out of the image
    if op.type in _POOLS:
        window = op.window or max(1, round(op.words_in / max(op.words_out, 1)))
        return op.words_out * (max(window - 1, 1) if "Max" in op.type else window)
    if op.type in _REDUCTIONS or op.type.startswith("Reduce"):
        return op.words_in
    if op.type in ("Add", "Sum", "Max", "Min", "Mean"):
        return op.words_out * max(OPERATIONS[op.type], inputs - 1)
    return op.words_out * OPERATIONS[op.type]


def fusions(graph: Graph, network: Network) -> dict[int, str]:
    """Of the operations that are fused or folded, by their place: "fused into conv1", "folded into conv1"."""
    found: dict[int, str] = {}
    wrote: dict[int, int | None] = {}  # who wrote a tensor, if nobody has read it since
    for step, operation in enumerate(graph.operations):
        own = operation.writes[0] if len(operation.writes) == 1 else None
        source = wrote.get(own) if own is not None and operation.reads == operation.writes else None
        if operation.part == "other" and source is not None:
            before, op = graph.operations[source], network.other[operation.row]
            layer = network.layers[before.row] if before.part == "layers" else None
            name = layer.name if layer else network.other[before.row].name
            linear = layer.type != "matmul" if layer else network.other[before.row].type.startswith(OUTPUTS)
            folds = op.type == "BatchNormalization" and linear
            found[step] = f"folded into {name}" if folds else f"fused into {name}"
            if folds:
                continue  # what follows is fused into the layer, too
            wrote[operation.writes[0]] = source
            continue
        for tensor in operation.reads:
            wrote[tensor] = None
        for tensor in operation.writes:
            wrote[tensor] = step
    return found


def operator_cost(
    op: OtherOp, operations: int, reads: Sequence[Share], writes: Sequence[Share], chip: Chip, homes: Homes, *, note: str = ""
) -> OperatorCost:
    """What an operator costs; with a `note` it is fused or folded (see `fusions`).

    Args:
        chip: whose vector unit, memories and energies these are; at any word widths.
    """
    accelerator, unit = chip.accelerator, chip.accelerator.vector_unit
    assert unit is not None
    if note.startswith("folded"):
        operations = 0
    energy = {"vector_unit": operations * operation_energy(chip, unit)}
    cycles, dram_bits = 0, 0
    if not note:
        cycles = math.ceil(operations / unit.operations_per_cycle)
        coming, going = sum(r.bits for r in reads if not r.stays), sum(w.bits for w in writes if not w.stays)
        dram_bits = coming + going
        # what comes from DRAM is written into the memory and read from there, as all that is read
        read, written = sum(r.bits for r in reads), coming + sum(w.bits for w in writes)
        traffic: list[tuple[Memory, int, int]] = [(accelerator.dram, coming, going)]
        if homes.memories:
            traffic.append((homes.memories[0], read, written))
        for given, loads, stores in traffic:
            memory, part = accelerator[given.name], chip.table.parts[given.name]
            assert isinstance(memory, Memory)
            energy[memory.name] = part.read * -(-loads // memory.width_bits) + part.write * -(-stores // memory.width_bits)
            cycles = max(cycles, pace(accelerator, memory, -(-loads // memory.word_bits), -(-stores // memory.word_bits)))
    return OperatorCost(
        name=op.name,
        type=op.type,
        operations=operations,
        energy=sum(energy.values()),
        energy_unit=chip.table.unit,
        energy_by_part={part: value for part, value in energy.items() if value},
        cycles=cycles,
        latency_s=cycles * accelerator.cycle_s,
        dram_bytes=dram_bits / 8,
        note=note,
    )


def operation_energy(chip: Chip, unit: VectorUnit) -> float:
    """Of one operation, in the table's unit: what the unit states, in picojoule, or a multiply-accumulate of the chip.

    Raises:
        InputError: where it states picojoule and the table is in normalised units.
    """
    if unit.energy_pj is None:
        return chip.table.parts[chip.accelerator.mac.name].compute
    if chip.table.unit != "pJ":
        raise InputError(
            f"accelerator {chip.accelerator.name}: vector_unit.energy_pj is {unit.energy_pj:g}, and the energies of the other "
            "parts are in normalised units. Leave it out (an operation then costs what a multiply-accumulate does), or choose "
            "another source of energies."
        )
    return unit.energy_pj


__all__ = [
    "OPERATIONS",
    "Share",
    "check_priced",
    "fusions",
    "operation_energy",
    "operations_of",
    "operator_cost",
    "priced",
]

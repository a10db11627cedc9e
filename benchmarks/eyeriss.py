"""AlexNet on Eyeriss: what hwflow says beside what the papers report, and what explains the difference, one knob at a time.

    python -m benchmarks.eyeriss

Prints Markdown, as docs/pages/explanation/eyeriss.md shows it. The published figures and their sources are in
`eyeriss_published.yaml`. Two machines are compared: the one that the ISCA paper simulates, in its own normalised energies, and
the chip, whose mapping (JSSC 2017, Table III) hwflow analyses beside the one that its own search finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hwflow
from hwflow.cost.edge_cycles import edges_of
from hwflow.files import read_yaml
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import recorded
from hwflow.layers import Densities, Layer
from hwflow.mapping import LevelMapping, Loop, Mapping
from hwflow.results import LayerCost

PLACE = Path(__file__).parent
BATCH = {"simulated": 16, "chip": 4}
RUN_BITS = 5
LINK_GB_S = 0.48
"""64 bit at 60 MHz."""


@dataclass(frozen=True)
class Published:
    """One table of a paper: a value by layer and column."""

    source: str
    values: dict[str, dict[str, float]]


@dataclass(frozen=True)
class OnChip:
    """A layer at batch 4: hwflow's own mapping, the chip's as hwflow judges it, the same with zeros, and what was measured."""

    found: LayerCost
    theirs: LayerCost
    sparse: LayerCost
    paper: dict[str, float]
    way: dict[str, int]


def published(content: dict[str, Any], table: str) -> Published:
    """A table of `eyeriss_published.yaml`."""
    part = content[table]
    return Published(
        part["source"], {layer: dict(zip(part["columns"], row, strict=True)) for layer, row in part["layers"].items()}
    )


def chip_mapping(layer: Layer, chip: Accelerator, way: dict[str, int]) -> Mapping:
    """The row-stationary mapping of JSSC's Table III: PE sets of S x e, t x r of them, p filters and q channels in a PE.

    A set wider than the array (conv2's 5 x 27) lies in two segments one above the other.
    """
    d = dict(layer.dims)
    columns = chip.levels[1].fanout
    across = math.ceil(way["e"] / columns)
    wide = math.ceil(way["e"] / across)
    strips = math.ceil(d["Q"] / way["e"])
    rows = [Loop("S", d["S"]), Loop("C", way["r"]), Loop("Q", across, way["e"] - (wide - 1) * across)]
    sides = [Loop("Q", wide, d["Q"] - (strips - 1) * wide if across == 1 else wide)]
    (rows if wide * way["t"] > columns else sides).insert(0, Loop("M", way["t"]))
    dram = [
        Loop("G", d["G"]),
        Loop("M", d["M"] // way["m"]),
        Loop("N", d["N"] // way["n"]),
        Loop("Q", strips),
        Loop("C", d["C"] // (way["q"] * way["r"])),
    ]
    buffer = [Loop("M", way["m"] // (way["p"] * way["t"])), Loop("N", way["n"]), Loop("P", d["P"])]
    levels = (
        LevelMapping("dram", _long(dram), [], ("weights", "inputs", "outputs")),
        LevelMapping("global_buffer", _long(buffer), _long(sides), ("inputs", "outputs"), "X"),
        LevelMapping("pe_array", [], _long(rows), (), "Y"),
        LevelMapping("input_spad", [], [], ("inputs",)),
        LevelMapping("weight_spad", _long([Loop("C", way["q"]), Loop("R", d["R"])]), [], ("weights",)),
        LevelMapping("psum_spad", [Loop("M", way["p"])], [], ("outputs",)),
    )
    return Mapping(levels)


def saving_chip(layer: Layer) -> Accelerator:
    """The preset with what the chip does about zeros (JSSC 2017): zero inputs gate the read of the weight and the product, and
    feature maps are stored in DRAM as runs of zeros, but for the input of the first layer.

    The chip packs three pairs of 5 and 16 bit into 64 bit; here a pair takes 21.
    """
    maps = {"outputs": "rle"} if layer.name == "conv1" else {"inputs": "rle", "outputs": "rle"}
    stored = {"dram": {**maps, "index_bits": RUN_BITS}}
    return Accelerator.load("eyeriss").with_({"sparsity": {"gates": {"inputs": ["weight_spad"]}, "compressed": stored}})


def densities_of(names: Sequence[str], measured: Published) -> dict[str, Densities]:
    """The nonzero shares of feature maps, from the zeros among inputs that the paper gives.

    A layer's outputs are taken to have as many zeros as the inputs of the next one, the last one's as many as its own inputs.
    """
    inputs = [1 - measured.values[name]["zeros"] for name in names]
    outputs = [*inputs[1:], inputs[-1]]
    return {name: Densities(1.0, *shares) for name, *shares in zip(names, inputs, outputs, strict=True)}


def counted_mb(layer: Layer, way: dict[str, int]) -> float:
    """Buffer accesses as the chip's table seems to count them (ours; it reproduces the table).

    A pass reads its inputs once, shared along the array's diagonals, and reads and writes its partial sums once; filling from
    DRAM is not counted.
    """
    d = dict(layer.dims)
    passes = math.ceil(d["C"] / (way["q"] * way["r"]))
    strips = math.ceil(d["Q"] / way["e"])
    height = strips * ((way["e"] - 1) * layer.strides[1] + d["S"]) if strips > 1 else d["Q"] - 1 + d["S"]
    width = (d["P"] - 1) * layer.strides[0] + d["R"]
    inputs = d["N"] * d["G"] * d["C"] * height * width * (d["M"] // (way["p"] * way["t"]))
    psums = d["N"] * d["G"] * d["M"] * d["P"] * d["Q"] * passes
    return (inputs + 2 * psums) * 2 / 1e6


def simulated(layers: Iterable[Layer], figure: Published) -> list[list[str]]:
    """hwflow and ISCA's Figure 10: energies in 1e9 MACs, ours / theirs."""
    machine = Accelerator.load("eyeriss_256")
    rows = []
    for layer in layers:
        found = hwflow.map_layer(layer.with_(N=BATCH["simulated"]), machine, objective="energy", energy="normalized")
        ours, paper = _parts(found.cost), figure.values[layer.name]
        total = sum(ours.values())
        cells = [f"{ours[k]:.2f} / {paper[k]:.2f}" for k in ("alu", "dram", "buffer")]
        rf, array = f"{ours['rf']:.2f} / {paper['rf']:.2f}", f"- / {paper['array']:.2f}"
        there = sum(paper.values())
        rows.append([layer.name, f"{total:.2f} / {there:.2f}", f"{total / there:.3f}", *cells, rf, array])
    return rows


def on_chip(layers: Iterable[Layer], content: dict[str, Any]) -> list[OnChip]:
    """The five convolutions on the preset."""
    chip, measured, ways = Accelerator.load("eyeriss"), published(content, "chip"), content["mapping"]
    answers = []
    layers = list(layers)
    densities = densities_of([layer.name for layer in layers], measured)
    for layer in layers:
        posed = layer.with_(N=BATCH["chip"])
        way = dict(zip(ways["columns"], ways["layers"][layer.name], strict=True))
        mapping = chip_mapping(posed, chip, way)
        theirs = hwflow.analyse(posed, chip, mapping)
        sparse = hwflow.analyse(posed.with_(densities=densities[layer.name]), saving_chip(layer), mapping)
        answers.append(OnChip(hwflow.map_layer(posed, chip).cost, theirs, sparse, measured.values[layer.name], way))
    return answers


def edge_times(c: OnChip) -> list[float]:
    """Milliseconds: latency of hwflow's and of the chip's mapping with first fill and last drain, and of the chip's where the
    array also waits for each of the later loads of filters into its PEs. All three are hwflow's own estimates."""
    chip = Accelerator.load("eyeriss")
    cycles: list[float] = []
    for cost in (c.found, c.theirs):
        edges = edges_of(cost.layer, chip, mapping_of(cost))
        cycles.append((cost.cycles or 0) + edges.cycles)
    spad = next(level for level in mapping_of(c.theirs).levels if level.level == "weight_spad")
    tile = math.prod(loop.bound for loop in spad.temporal)  # of filters alone, which have all dimensions of its loops
    loads = c.theirs.accesses["weight_spad"]["weights"]["fills"] / tile
    cycles.append(cycles[-1] + (loads - 1) * edges.fill["weight_spad"])
    return [1e3 * n * chip.cycle_s for n in cycles]


def mapping_of(cost: LayerCost) -> Mapping:
    """The mapping that a cost is of."""
    return Mapping.from_directives([dict(entry) for entry in cost.mapping or ()], Accelerator.load("eyeriss"))


def knobs(layers: Sequence[Layer]) -> list[list[str]]:
    """All five convolutions on the preset with one thing changed: latency, DRAM traffic, energy without DRAM, its shares."""
    chip = Accelerator.load("eyeriss")
    ways: list[tuple[str, Accelerator, dict[str, Any], int]] = [
        ("as it is (batch 4, EDP)", chip, {}, 4),
        ("objective energy", chip, {"objective": "energy"}, 4),
        ("link at 60 MHz: 0.48 GB/s", chip.with_({"dram.bandwidth_gb_s": LINK_GB_S}), {}, 4),
        ("all kernel rows over the array", chip, {"dataflow": str(PLACE / "chip_rows.yaml")}, 4),
        ("100 KiB of buffer, 8 for filters left out", chip.with_({"global_buffer.size_kib": 100}), {}, 4),
        ("batch 1, times 4", chip, {}, 1),
        ("normalised energies (MAC and spad 1)", chip, {"energy": "normalized"}, 4),
    ]
    rows = []
    for name, variant, options, batch in ways:
        costs = [hwflow.map_layer(layer.with_(N=batch), variant, **options).cost for layer in layers]
        times = 4 // batch
        parts = {k: times * sum(_parts(c)[k] for c in costs) for k in ("alu", "dram", "buffer", "rf")}
        inside = sum(parts.values()) - parts["dram"]
        unit = "mJ" if costs[0].energy_unit == "pJ" else "e9 MACs"
        shares = [f"{100 * parts[k] / inside:.1f}" for k in ("alu", "rf", "buffer")]
        latency = 1e3 * times * sum(c.latency_s or math.nan for c in costs)
        dram = times * sum(c.dram_bytes for c in costs) / 1e6
        rows.append([name, f"{latency:.1f}", f"{dram:.1f}", f"{inside:.1f} {unit}", *shares])
    return rows


def density_for(layer: Layer, c: OnChip) -> float:
    """The share of nonzero outputs at which the compressed traffic of a layer is what the paper measured, all else equal."""
    words = c.theirs.accesses["dram"]["outputs"]["updates"]
    bits = (layer.bits.outputs if layer.bits else Accelerator.load("eyeriss").dram.word_bits) + RUN_BITS
    assert c.sparse.layer.densities is not None
    return c.sparse.layer.densities.outputs - (c.sparse.dram_bytes - c.paper["dram_mb"] * 1e6) * 8 / (words * bits)


def inside(cost: LayerCost) -> float:
    """Energy on the chip in mJ."""
    return (sum(cost.energy_by_level.values()) - cost.energy_by_level["dram"]) / 1e9


def _parts(cost: LayerCost) -> dict[str, float]:
    """Energy by the papers' names, in 1e9 MACs (normalised) or mJ."""
    by = cost.energy_by_level
    rf = sum(value for name, value in by.items() if name.endswith("_spad"))
    return {k: v / 1e9 for k, v in {"alu": by["mac"], "dram": by["dram"], "buffer": by["global_buffer"], "rf": rf}.items()}


def _long(loops: Iterable[Loop]) -> list[Loop]:
    return [loop for loop in loops if loop.bound > 1]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def _summed(rows: list[list[float]]) -> list[list[float]]:
    return [*rows, [sum(column) for column in zip(*rows, strict=True)]]


def main() -> None:
    """Print the tables."""
    content = read_yaml(PLACE / "eyeriss_published.yaml", "published figures")
    layers = list(hwflow.Network.from_yaml(PLACE / "alexnet_grouped.yaml").layers)
    names = [layer.name for layer in layers[:5]] + ["all"]
    print("Energy in 1e9 MACs, hwflow / ISCA 2016, batch 16, preset eyeriss_256, normalised energies:\n")
    head = ["layer", "all", "ratio", "ALU", "DRAM", "buffer", "RF", "array"]
    _table(head, simulated(layers, published(content, "figure_10")))

    chip = on_chip(layers[:5], content)
    print("Latency in ms, batch 4, preset eyeriss:\n")
    times = [
        [1e3 * (c.found.latency_s or 0), 1e3 * (c.theirs.latency_s or 0), c.paper["processing_ms"], c.paper["latency_ms"]]
        for c in chip
    ]
    stalls = [[(c.paper["dram_mb"] - 2e-6 * c.theirs.accesses["dram"]["weights"]["reads"]) / LINK_GB_S] for c in chip]
    head = ["layer", "hwflow's mapping", "chip's mapping", "paper, processing", "paper, total", "feature maps over the link"]
    both = [[*a, *b] for a, b in zip(times, stalls, strict=True)]
    _table(head, [[n, *(f"{v:.1f}" for v in row)] for n, row in zip(names, _summed(both), strict=True)])

    print("The same with the time at the edges, as hwflow estimates it:\n")
    head = ["layer", "hwflow's mapping", "chip's mapping", "and loads of filters", "paper, processing"]
    edges = [[*edge_times(c), c.paper["processing_ms"]] for c in chip]
    _table(head, [[n, *(f"{v:.2f}" for v in row)] for n, row in zip(names, _summed(edges), strict=True)])

    print("DRAM traffic in MB:\n")
    moved = [
        [
            *(c.found.dram_bytes / 1e6, c.theirs.dram_bytes / 1e6, c.paper["uncompressed_mb"]),
            *(c.sparse.dram_bytes / 1e6, c.paper["dram_mb"]),
        ]
        for c in chip
    ]
    head = [
        "layer",
        "hwflow's mapping",
        "chip's mapping",
        "paper, uncompressed",
        "chip's mapping, compressed",
        "paper, compressed",
    ]
    _table(head, [[n, *(f"{v:.2f}" for v in row)] for n, row in zip(names, _summed(moved), strict=True)])

    outputs = [density_for(layer, c) for layer, c in zip(layers[:2], chip, strict=False)]
    shares = " and ".join(f"{100 * share:.0f} % for {layer.name}" for layer, share in zip(layers, outputs, strict=False))
    print(f"Nonzero outputs before pooling for which the compressed traffic would be the paper's: {shares}.\n")

    print("Accesses of the global buffer in MB, the chip's mapping:\n")
    buffer = []
    for layer, c in zip(layers, chip, strict=False):
        words = c.theirs.accesses["global_buffer"]
        ours = [2e-6 * words["inputs"]["reads"], 2e-6 * words["inputs"]["fills"], 2e-6 * sum(words["outputs"].values())]
        buffer.append([*ours, sum(ours), counted_mb(layer.with_(N=4), c.way), c.paper["buffer_mb"]])
    head = ["layer", "inputs read", "filled", "partial sums", "hwflow, all", "as the chip counts", "paper"]
    _table(head, [[n, *(f"{v:.1f}" for v in row)] for n, row in zip(names, _summed(buffer), strict=True)])
    other = counted_mb(layers[2].with_(N=4), chip[3].way)
    print(f"conv3 as the chip counts, with conv4's parameters instead of its own: {other:.1f} MB.\n")

    print("Energy on the chip in mJ, the chip's mapping:\n")
    energy = [[inside(c.theirs), inside(c.sparse), c.paper["power_mw"] * c.paper["latency_ms"] / 1e3] for c in chip]
    cells = [[n, *(f"{v:.2f}" for v in row)] for n, row in zip(names, _summed(energy), strict=True)]
    _table(["layer", "hwflow", "hwflow, zeros gated", "paper, power x latency"], cells)
    first, mac = chip[0], recorded(Accelerator.load("eyeriss"))
    assert mac is not None
    bound = (
        content["power"]["alu_at_most"] * first.paper["power_mw"] * first.paper["latency_ms"] / first.theirs.layer.macs * 1e6
    )
    print(f"A MAC: {mac.parts['mac'].compute:.2f} pJ recorded, at most {bound:.2f} pJ by the papers (conv1, no zeros).\n")

    print("One knob at a time, five convolutions, batch 4; shares of the energy on the chip in %:\n")
    _table(["what", "latency (ms)", "DRAM (MB)", "on the chip", "ALU", "RF", "buffer"], knobs(layers[:5]))


if __name__ == "__main__":
    main()

"""Mappings of layers whose tensors differ in width, and what Timeloop says of them with every element cut into slices.

    python -m tools.width_cases --record tests/data/widths.json.gz [--count 30]

Needs timeloop-model on PATH. Links between neighbours are switched off on both sides (see `tools.sliced_words`), and loops
divide.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.parity import save, to_record
from hwflow.errors import InputError, NotMappable
from hwflow.files import write_text
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.dataflow import constrain
from hwflow.hardware.energy_table import EnergyTable, PartEnergy
from hwflow.hardware.stored_bits import packs
from hwflow.layers import Bits, Layer
from hwflow.timeloop.process import clean_environment
from hwflow.timeloop.render import command
from hwflow.timeloop.run import tool_words
from hwflow.timeloop.stats import Stats, read_stats
from tools.parity_cases import Case, random_mapping, strange_chips
from tools.sliced_words import sliced

LAYERS = (
    Layer("few_channels", C=2, M=16, P=12, Q=14, R=2, S=2),
    Layer("pointwise", C=8, M=24, P=14, Q=7),
    Layer("strided", C=3, M=12, P=9, Q=8, R=2, S=2, strides=(2, 1)),
    Layer("depthwise", C=1, M=1, G=24, P=14, Q=14, R=3, S=3),
    Layer("linear", C=16, M=60, N=4, type="linear"),
    Layer("matmul", C=12, M=24, P=16, G=4, type="matmul"),
    Layer("conv3x3", C=16, M=24, P=14, Q=28, R=3, S=3),
    Layer("batched", C=12, M=20, P=10, Q=10, R=3, S=3, N=2),
)
WIDTHS = tuple(
    Bits(*bits)
    for bits in (
        *((4, 8, 16), (8, 4, 16), (2, 8, 16), (1, 8, 16), (4, 4, 16)),
        *((8, 2, 16), (4, 8, 32), (8, 16, 32), (2, 4, 8), (2, 2, 32)),
    )
)


def chips() -> list[Accelerator]:
    """Those whose MAC units are fed by one memory each: below it the slices are spread."""
    wide = {"psum_spad.width_bits": 32, "psum_spad.size_words": 24}
    plain = [Accelerator.load(name) for name in ("eyeriss", "simba", "tpu_like", "shidiannao_like")]
    found = [*plain, Accelerator.load("eyeriss").with_(wide), *strange_chips()]
    return [chip for chip in found if chip.levels[-1].fanout == 1]


def cases(count: int, seed: int = 0) -> Iterator[tuple[Case, dict[str, str]]]:
    """Cases of which slices can be made, with Timeloop's input. All tensors of a case move in some memory as no whole words."""
    rng = random.Random(seed)
    some = chips()
    while count:
        described, layer = rng.choice(some), rng.choice(LAYERS).with_(bits=rng.choice(WIDTHS))
        try:
            chip = described.serving(layer)
            mapping = random_mapping(rng, layer, chip, constrain(chip))
        except InputError:  # a width that does not fill an access, or nothing that fits
            continue
        if not packs(chip, layer):
            continue
        case = Case(layer, chip, energies(chip), mapping, "random")
        files = sliced(layer, chip, mapping, case.table)
        if files is not None:
            count -= 1
            yield case, files


def energies(chip: Accelerator) -> EnergyTable:
    """A different number for every action, so that nothing can be taken for anything else."""
    parts = {
        m.name: PartEnergy(read=3.0 + i, write=5.5 + i, update=7.25 + i, leak=0.01 * (i + 1))
        for i, m in enumerate(chip.memories)
    }
    return EnergyTable("pJ", "invented", parts | {chip.mac.name: PartEnergy(compute=1.5)})


def judged(files: dict[str, str]) -> Stats:
    """What timeloop-model says without links between neighbours.

    Raises:
        NotMappable: where it says that the mapping does not fit.
    """
    with tempfile.TemporaryDirectory(prefix="hwflow-slices-") as place:
        for name, text in files.items():
            write_text(Path(place) / name, text)
        environment = {**clean_environment(), "TIMELOOP_DISABLE_LINK_TRANSFERS": "1"}
        done = subprocess.run(command(files), cwd=place, env=environment, capture_output=True, text=True, check=False)
        if "couldn't map" in done.stdout + done.stderr:
            raise NotMappable(" | ".join(tool_words(done.stdout + done.stderr)))
        return read_stats(Path(place), "timeloop-model")


def numbers(case: Case, stats: Stats) -> dict[str, dict[str, float]]:
    """Energies and cycles by memory, and those of all."""
    memories = [memory.name for memory in case.accelerator.memories if memory.name in stats.levels]
    return {
        "energy": {name: stats.levels[name].energy for name in memories} | {"all": stats.energy},
        "cycles": {name: float(stats.levels[name].cycles) for name in memories} | {"all": float(stats.cycles)},
    }


def main() -> None:
    """Record cases for the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--count", type=int, default=30)
    asked = parser.parse_args()
    records = [to_record(case, numbers(case, judged(files))) for case, files in cases(asked.count)]
    save(asked.record, {"command": f"python -m tools.width_cases --count {asked.count}"}, records)


if __name__ == "__main__":
    main()

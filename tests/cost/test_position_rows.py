"""Winograd products whose positions have densities of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwflow
from hwflow.cost import sparse_rows
from hwflow.cost.position_rows import APART, parts_of
from hwflow.errors import InputError
from hwflow.hardware.accelerator import Accelerator
from hwflow.layers import Densities, Layer
from hwflow.network import Network
from hwflow.results import NetworkCost

SHARES = (0.5, 0.25, 0.25, 0.5, *(0.0,) * 4, *(0.125,) * 8)
NET = Network("net", (Layer("l", C=16, M=16, P=8, Q=8, R=3, S=3, params_other=16),))
BY_POSITION = NET.with_densities({"l": {"positions": list(SHARES)}})
MEAN = NET.with_densities({"l": {"positions": sum(SHARES) / 16}})
EYERISS = Accelerator.load("eyeriss")
CHIP = EYERISS.with_({"sparsity": {"skips": "weights", "compressed": {"dram": {"weights": "rle", "index_bits": 4}}}})


def cost(net: Network, chip: Accelerator = CHIP, **more: object) -> NetworkCost:
    return hwflow.estimate(net, chip, store=False, execution="winograd2", **more)  # type: ignore[arg-type]


def test_positions_of_one_density_are_a_problem_of_their_own() -> None:
    product = Layer(
        "p", C=16, M=16, P=16, G=16, position_densities=SHARES, densities=Densities(sum(SHARES) / 16), params_other=3
    )
    parts = parts_of(product, CHIP)
    assert [(part.G, part.densities) for part in parts] == [(2, (0.5, 1, 1)), (2, (0.25, 1, 1)), (8, (0.125, 1, 1))]
    assert [part.params_other for part in parts] == [3, 0, 0]
    assert parts[2].name == "p (8 of 16 positions, density 0.125)"
    assert parts_of(product, EYERISS) == (product.with_(densities=None, position_densities=None),)
    plain = product.with_(position_densities=None)
    assert parts_of(plain, CHIP) == (plain,)
    pointwise = product.with_(P=4, Q=4, densities=None)  # of as many groups, which are no positions
    assert parts_of(pointwise, CHIP) == (pointwise,)


def test_a_row_is_the_sum_of_its_parts() -> None:
    (row,) = cost(BY_POSITION).rows
    assert (row.layer.name, row.layer.G, row.layer.densities) == ("l", 16, (sum(SHARES) / 16, 1.0, 1.0))
    assert row.note.endswith(APART)
    parts = Network("parts", parts_of(row.layer, CHIP))
    apart = hwflow.estimate(parts, CHIP, store=False)
    assert (row.energy, row.cycles, row.dram_bytes) == pytest.approx(
        (apart.energy_pj, apart.cycles, apart.dram_bytes), rel=1e-12
    )
    assert row.energy == pytest.approx(sum(row.energy_by_level.values()))
    assert row.latency_s == pytest.approx(apart.latency_s)
    words = sum(sum(counts.values()) for counts in row.accesses["dram"].values())
    assert words == sum(sum(counts.values()) for one in apart.rows for counts in one.accesses["dram"].values())
    (mean,) = cost(MEAN).rows
    assert (row.energy or 0) < 0.95 * (mean.energy or 0)  # positions without weights are not run
    assert APART not in mean.note
    assert cost(BY_POSITION, latency="with_fill").cycles == sum(
        one.cycles or 0 for one in hwflow.estimate(parts, CHIP, store=False, latency="with_fill").rows
    )


def test_a_dense_chip_sees_no_density() -> None:
    (row,), (plain,) = cost(BY_POSITION, EYERISS).rows, cost(NET, EYERISS).rows
    assert (row.energy, row.cycles, row.mapping) == (plain.energy, plain.cycles, plain.mapping)
    assert row.note == "dense: eyeriss does nothing about zeros (it has no sparsity)"


def test_layers_that_depend_on_one_another_have_the_mean(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("layers:\n- {name: l, C: 8, M: 8, P: 4, Q: 4, R: 3, S: 3, inputs: [input]}\n")
    net = Network.from_yaml(path)
    given = list(SHARES), sum(SHARES) / 16
    rows = [cost(net.with_densities({"l": {"positions": one}}), activations="resident").rows[0] for one in given]
    assert rows[0].energy == rows[1].energy
    assert [sparse_rows.MEAN in one.note for one in rows] == [True, False]


def test_densities_of_positions_are_no_densities_of_tensors() -> None:
    same = (0.3, 0.5, 0.5)
    one, other = Layer("a", C=8, M=8, densities=Densities(*same)), Layer("b", C=8, M=8, position_densities=same)
    assert one.key != other.key


def test_the_number_of_positions_is_that_of_a_tile() -> None:
    with pytest.raises(InputError, match="positions has 3 densities; give one for all positions, 16"):
        NET.with_densities({"l": {"positions": [0.1, 0.2, 0.3]}})
    with pytest.raises(InputError, match="densities of 16 positions are given, and its tiles have 36"):
        hwflow.estimate(BY_POSITION, CHIP, execution={"l": "winograd4"}, store=False)
    chosen = hwflow.estimate(BY_POSITION, CHIP, execution="auto", objective="energy", store=False)
    assert chosen.rows[0].layer.execution == "winograd2"
    assert chosen.energy_pj == cost(BY_POSITION, objective="energy").energy_pj


@pytest.mark.timeloop
def test_timeloop_judges_the_parts() -> None:
    mid, fine = (cost(BY_POSITION, level=level).rows[0] for level in ("mid", "fine"))
    assert fine.level == "fine"
    assert (fine.energy, fine.cycles) == (pytest.approx(mid.energy, rel=1e-6), mid.cycles)

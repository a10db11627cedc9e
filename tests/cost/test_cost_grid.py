"""Cost tables: which widths they hold, that they answer what `estimate` answers, and that nothing is computed twice."""

from __future__ import annotations

import math
import timeit
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwflow
from hwflow.cost import cost_grid, mid
from hwflow.errors import InputError, ToolMissing
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_fit import OutOfRange
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import Bits, Layer
from hwflow.network import Network
from hwflow.store import Store
from hwflow.timeloop import engine as engines

ACC = Accelerator.load("eyeriss")
CONV = Layer("conv", C=3, M=16, P=6, Q=6, R=3, S=3)
DEPTHWISE = Layer("depthwise", G=16, C=1, M=1, P=6, Q=6, R=3, S=3)
POINTWISE = Layer("pointwise", C=16, M=20, P=6, Q=6)
FC = Layer("fc", type="linear", C=20 * 9, M=10)
NET = Network("net", (CONV, DEPTHWISE, POINTWISE, FC))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.sqlite")


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Layer]:
    """The layers that mid really searched."""
    layers: list[Layer] = []
    real = mid.map_layer

    def counted(layer: Layer, *args: Any, **kwargs: Any) -> mid.MapResult:
        layers.append(layer)
        return real(layer, *args, **kwargs)

    monkeypatch.setattr(mid, "map_layer", counted)
    return layers


# Widths --------------------------------------------------------------------------------------------------------------


def grid_of(layer: Layer, round_to: int = 8, *, before: Layer = CONV) -> tuple[tuple[int, ...], ...]:
    """The axes of a layer that is neither the first nor the last."""
    net = Network("net", (CONV, before.with_(name="before"), layer.with_(name="here"), FC))
    grid = hwflow.cost_table(net, level="coarse", round_to=round_to, store=False).grid("here")
    assert grid.energy.shape == tuple(map(len, (grid.G, grid.C, grid.M)))
    return grid.G, grid.C, grid.M


def test_grids_hold_multiples_and_the_own_width() -> None:
    assert grid_of(Layer("l", C=32, M=20)) == ((1,), (8, 16, 24, 32), (8, 16, 20))
    assert grid_of(Layer("l", C=12, M=4), 4) == ((1,), (4, 8, 12), (4,))
    assert grid_of(Layer("l", C=3, M=7)) == ((1,), (3,), (7,))


def test_grouped_layers_keep_their_groups_and_depthwise_ones_have_one_width() -> None:
    assert grid_of(Layer("l", G=20, C=1, M=1)) == ((8, 16, 20), (1,), (1,))
    assert grid_of(Layer("l", G=20, C=1, M=2)) == ((8, 16, 20), (1,), (2,))
    assert grid_of(Layer("l", G=32, C=4, M=2)) == ((32,), (1, 2, 3, 4), (1, 2))  # 32 groups: any width is a multiple of 8
    assert grid_of(Layer("l", G=4, C=6, M=4)) == ((4,), (2, 4, 6), (2, 4))


def test_a_linear_layer_behind_an_image_loses_whole_channels() -> None:
    image = Layer("image", C=16, M=24, P=5, Q=5)
    assert grid_of(Layer("l", type="linear", C=24 * 4, M=8), before=image)[1] == (32, 64, 96)
    assert grid_of(Layer("l", type="linear", C=24, M=8), before=image)[1] == (8, 16, 24)  # averaged over positions
    assert grid_of(Layer("l", type="linear", C=24 * 50, M=8), before=image)[1][0] == 8  # more positions than it has
    assert grid_of(Layer("l", type="linear", C=24 * 4, M=8), before=Layer("b", type="linear", C=8, M=24))[1][0] == 8


def test_the_ends_of_a_network_are_fixed_and_so_are_products_of_activations() -> None:
    net = Network("net", (Layer("first", C=32, M=16), Layer("product", type="matmul", C=16, M=16), Layer("last", C=16, M=32)))
    costs = hwflow.cost_table(net, level="coarse", store=False)
    assert (costs.grid("first").C, costs.grid("first").M) == ((32,), (8, 16))
    assert (costs.grid("product").C, costs.grid("product").M) == ((16,), (16,))
    assert (costs.grid("last").C, costs.grid("last").M) == ((8, 16), (32,))


def test_widths_can_be_given() -> None:
    costs = hwflow.cost_table(NET, level="coarse", widths={"fc": {"M": [100, 10, 10]}, "conv": {"C": [1, 3]}}, store=False)
    assert (costs.grid("fc").M, costs.grid("conv").C) == ((10, 100), (1, 3))
    assert len(costs.grid("fc").C) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"round_to": 0}, "round_to is 0; it must be a whole number of at least 1"),
        ({"widths": {"cnv": {"C": [1]}}}, "unknown layer of net 'cnv'. Did you mean 'conv'"),
        ({"widths": {"conv": {"P": [1]}}}, "unknown width of layer conv 'P'"),
        ({"widths": {"conv": {"C": [0]}}}, "layer 'conv': C is 0"),
        ({"level": "middle"}, "unknown level 'middle'"),
        ({"level": "mid"}, "level mid needs an accelerator"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        hwflow.cost_table(NET, store=False, **{"level": "coarse", **arguments})
    assert message in str(caught.value)


# Answers -------------------------------------------------------------------------------------------------------------


def test_a_table_says_what_estimate_says(store: Store) -> None:
    costs = hwflow.cost_table(NET, ACC, round_to=16, store=store)
    narrow = Network("narrow", (CONV, DEPTHWISE.with_(G=7), POINTWISE.with_(C=5, M=16), FC.with_(C=36)))
    for layer, row in zip(narrow, hwflow.estimate(narrow, ACC, store=False).rows, strict=True):
        entry = costs[layer]
        assert row.energy is not None
        assert entry == (
            row.energy,
            row.cycles,
            row.latency_s,
            row.dram_bytes,
            row.utilization,
            row.energy_by_level["dram"] / row.energy,
            layer.macs,
            layer.params,
        )
    assert (costs.level, costs.energy_unit) == ("mid", "pJ")
    assert costs.energy_source.startswith("recorded")


def test_a_grid_holds_the_entries_at_its_widths() -> None:
    costs = hwflow.cost_table(NET, ACC, level="coarse", store=False)
    grid = costs.grid("pointwise")
    for (_, c, m), energy in np.ndenumerate(grid.energy):
        entry = costs.cost("pointwise", C=grid.C[c], M=grid.M[m])
        assert (energy, grid.cycles[0, c, m], grid.macs[0, c, m]) == (entry.energy, entry.cycles, 36 * grid.C[c] * grid.M[m])


def test_layers_are_found_by_name_with_their_own_widths_where_none_are_given(searches: list[Layer]) -> None:
    costs = hwflow.cost_table(NET, ACC, fill=False, store=False)
    assert costs.cost("depthwise", G=8) == costs[DEPTHWISE.with_(G=8)]
    assert costs.cost("pointwise", M=8) == costs[POINTWISE.with_(M=8, name="whatever")]
    assert costs.cost("fc") == costs[FC]
    assert len(searches) == len(costs) == 3
    with pytest.raises(InputError, match="unknown layer of net 'fcc'"):
        costs.cost("fcc")
    with pytest.raises(InputError, match="C is 0"):
        costs.cost("fc", C=0)


def test_equal_layers_share_their_entries(searches: list[Layer]) -> None:
    twice = Network("twice", (CONV, POINTWISE, POINTWISE.with_(name="again"), FC))
    costs = hwflow.cost_table(twice, ACC, round_to=16, store=False)
    assert len(searches) == len(costs) == 1 + 1 * 2 + 2  # conv: M=16; pointwise: C=16, M=16, 20; fc: C=144, 180
    frame = costs.frame().set_index("layer")
    assert (frame.loc["again"].to_numpy() == frame.loc["pointwise"].to_numpy()).all()


def test_products_have_no_parameters_although_they_cost_the_same() -> None:
    net = Network("net", (Layer("linear", type="linear", C=8, M=8, P=4), Layer("product", type="matmul", C=8, M=8, P=4)))
    costs = hwflow.cost_table(net, ACC, level="coarse", store=False)
    linear, product = costs.cost("linear"), costs.cost("product")
    assert (linear.params, product.params) == (64, 0)
    assert linear.energy == product.energy


def test_what_a_level_does_not_know_is_nan() -> None:
    entry = hwflow.cost_table(NET, level="coarse", store=False)[CONV]
    assert math.isnan(entry.cycles)
    assert math.isnan(entry.latency_s)
    assert entry.energy > 0
    assert 0 < entry.dram_share < 1


def test_the_frame_names_units_and_holds_what_is_known() -> None:
    costs = hwflow.cost_table(NET, ACC, level="coarse", round_to=16, store=False)
    before = len(costs.frame())
    costs[POINTWISE.with_(C=3)]
    frame = costs.frame()
    assert len(frame) == before + 1
    assert [*frame.columns[:6]] == ["layer", "G", "C", "M", "energy_pj", "cycles"]
    row = frame[(frame.layer == "pointwise") & (frame.C == 3)].iloc[0]
    assert row.energy_pj == costs.cost("pointwise", C=3).energy
    normalised = hwflow.cost_table(NET, ACC, level="coarse", energy="normalized", store=False)
    assert "energy_normalized" in normalised.frame().columns


def test_units_stay_those_of_the_whole_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """One layer whose energies are unknown brings all to normalised units, those computed later on their own included."""

    def unknown(accelerator: Accelerator) -> EnergyTable:
        raise OutOfRange("too narrow")

    monkeypatch.setattr("hwflow.hardware.energy_fit.completed", unknown)  # asked of the 4-bit chip only: the other is recorded
    net = Network("mixed", (CONV, POINTWISE.with_(bits=Bits(4, 4, 4)), FC))
    costs = hwflow.cost_table(net, ACC, fill=False, store=False)
    assert costs.energy_unit == "normalized"
    assert costs[FC].energy == hwflow.estimate(net, ACC, store=False).rows[2].energy_normalized
    with pytest.raises(InputError, match=r"layer 'conv' has bits=.*no layer of mixed has these, and word_widths does not name"):
        costs[CONV.with_(bits=Bits(8, 8, 8))]


def test_rows_are_costed_at_word_widths_that_are_named() -> None:
    costs = hwflow.cost_table(NET, ACC, level="coarse", word_widths=[Bits(4, 8, 8)], fill=False, store=False)
    narrow = CONV.with_(bits=Bits(4, 8, 8))
    row = hwflow.estimate(Network("narrow", (narrow,)), ACC, level="coarse", store=False).rows[0]
    assert costs[narrow].energy == row.energy_pj
    assert costs[narrow].energy < costs[CONV].energy


def missing(name: str | None = None, tools: tuple[str, ...] = ()) -> Any:
    raise ToolMissing("Timeloop was not found: it is not on PATH. Install it.")


def test_levels_never_mix_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_engine", missing)
    costs = hwflow.cost_table(NET, ACC, level="fine", fill=False, store=False)
    with pytest.raises(ToolMissing, match="not on PATH"):
        costs[CONV]
    assert len(costs) == 0


# Nothing twice -------------------------------------------------------------------------------------------------------


def test_a_known_shape_is_a_look_up(searches: list[Layer]) -> None:
    costs = hwflow.cost_table(NET, ACC, round_to=16, store=False)
    done = len(searches)
    layer = POINTWISE.with_(M=16)
    for ask in (lambda: costs[layer], lambda: costs.cost("pointwise", M=16)):
        assert min(timeit.repeat(ask, number=1000, repeat=5)) / 1000 < 50e-6  # some 1 us; a search takes 10 000
    costs.fill()
    costs.grid("pointwise")
    assert len(searches) == done == len(costs)


def test_a_table_is_kept_in_the_store(store: Store, searches: list[Layer]) -> None:
    first = hwflow.cost_table(NET, ACC, round_to=16, store=store)
    first[POINTWISE.with_(M=9)]
    done = len(searches)
    second = hwflow.cost_table(NET, ACC, round_to=16, store=Store(store.path))
    assert second.cost("pointwise", M=9) == first.cost("pointwise", M=9)
    assert second.frame().equals(first.frame())
    assert len(searches) == done
    hwflow.estimate(NET, ACC, store=store)  # a network is a part of its table
    assert len(searches) == done


def test_an_interrupted_table_goes_on_where_it_was(store: Store, searches: list[Layer]) -> None:
    def stop(done: int, total: int, text: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hwflow.cost_table(NET, ACC, store=store, progress=stop)
    assert len(searches) == 3
    costs = hwflow.cost_table(NET, ACC, store=store)
    assert len(searches) == len(costs) > 3


def test_progress_counts_the_shapes_of_all_blocks(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    whole = hwflow.cost_table(NET, ACC, round_to=16, store=store)
    monkeypatch.setattr(cost_grid, "_BLOCK", 2)
    seen: list[tuple[int, int]] = []
    costs = hwflow.cost_table(NET, ACC, round_to=16, store=store, progress=lambda done, total, text: seen.append((done, total)))
    assert costs.frame().equals(whole.frame())
    assert seen == sorted(seen)
    assert seen[-1] == (len(costs), len(costs))
    assert {total for _, total in seen} == {len(costs)}


@pytest.mark.slow
def test_a_pool_fills_a_table_with_the_same_numbers(tmp_path: Path) -> None:
    alone, pooled = (
        hwflow.cost_table(hwflow.zoo("resnet20"), ACC, round_to=16, jobs=jobs, store=Store(tmp_path / f"{jobs}.sqlite"))
        for jobs in (1, 2)
    )
    assert alone.frame().equals(pooled.frame())

"""Networks as they run: which layers are meant, rows, operators and data flow in their place, and prices of all that."""

from __future__ import annotations

import json

import pytest

import hwflow
from hwflow.cost.executed_network import EXECUTIONS, executed, run_as, wanted
from hwflow.cost.execution import Execution
from hwflow.errors import InputError
from hwflow.layers import Layer
from hwflow.network import Network, zoo
from hwflow.store import Store

NET = zoo("resnet20")


def block() -> Network:
    """Two convolutions with a normalisation and a ReLU each, on 8 x 8 images, and a classifier."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()]
    return Network.from_torch(nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 2)), (1, 3, 8, 8), name="block")


def test_one_name_is_for_all_layers_that_can_run_so() -> None:
    names = wanted(NET, "winograd4")
    assert set(names) == {la.name for la in NET if la.name not in ("layer2.0.conv1", "layer3.0.conv1", "fc")}
    assert set(names.values()) == {"winograd4"}
    assert wanted(NET, "direct") == {}
    assert wanted(NET, {"conv1": "im2col"}) == {"conv1": "im2col"}
    rest = wanted(NET, {"conv1": "direct", "*": "winograd4"})
    assert rest == {name: how for name, how in names.items() if name != "conv1"}


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            {"layer2.0.conv1": "winograd2"},
            "layer 'layer2.0.conv1' cannot run as winograd2: its stride is 2 x 2.",
        ),
        ({"conv": "winograd2"}, r"unknown layer of resnet20 'conv'. Did you mean 'conv1'\?"),
        ({"conv1": "winograd3"}, "unknown execution of layer conv1 'winograd3'.*winograd2"),
        ("winograd", "unknown execution 'winograd'.*winograd2"),
        ({}, "execution is {}; it must be a name .direct, winograd2, winograd4, im2col, vip, auto., or a mapping of layers"),
        (4, "execution is 4; it must be a name"),
    ],
)
def test_what_cannot_be_run_is_an_error(asked: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        wanted(NET, hwflow.CostOptions(execution=asked).execution)  # type: ignore[arg-type]


def test_a_network_of_which_no_layer_can_run_so_is_refused() -> None:
    net = Network("mlp", (Layer("a", C=4, M=4, type="linear"), Layer("b", C=4, M=4, R=1, P=4, Q=4)))
    with pytest.raises(InputError, match="no layer of mlp can run as winograd4: a: it is a linear layer, and so on"):
        hwflow.estimate(net, "eyeriss", level="coarse", execution="winograd4", store=False)
    with pytest.raises(InputError, match="no layer of mlp can run as im2col"):
        hwflow.cost_table(net, "eyeriss", level="coarse", execution="im2col", fill=False, store=False)


def test_rows_operators_and_data_flow_stand_where_the_layer_stood() -> None:
    net = block()
    found = run_as(net, {"0": "winograd4"})
    assert [(la.name, la.execution) for la in found] == [("0", "winograd4"), ("3", "direct"), ("6", "direct")]
    assert [op.type for op in found.other] == [*(op.type for op in net.other), "WinogradInput4", "WinogradOutput4"]
    graph = found.graph
    assert graph is not None
    order = [(found.layers if o.part == "layers" else found.other)[o.row].name for o in graph.operations]
    assert order[:5] == ["0.inputs", "0", "0.outputs", "1", "2"]
    sizes = [(sum(graph.words[t] for t in o.reads), sum(graph.words[t] for t in o.writes)) for o in graph.operations]
    # the image has 3 x 8 x 8 words: padding is not read; then four tiles of 36, of 3 and of 8 channels
    assert sizes[:3] == [(192, 3 * 36 * 4), (3 * 36 * 4, 8 * 36 * 4), (8 * 36 * 4, 512)]
    assert found.other[-2].words_in == 192
    assert found.params_other == net.params_other
    assert found.params - net.params == 3 * 8 * (36 - 9)


def test_an_execution_that_is_no_chain_leaves_the_data_flow_unknown() -> None:
    class Halves(Execution):
        def rows(self, layer: Layer) -> tuple[Layer, ...]:
            return (layer.with_(name=f"{layer.name}.0", M=4), layer.with_(name=f"{layer.name}.1", M=4))

    found = executed(block(), {"0": Halves()})
    assert found.graph is None
    assert [(la.name, la.execution) for la in found][:2] == [("0.0", "Halves"), ("0.1", "Halves")]


def test_transforms_have_a_price_where_all_operators_have_one() -> None:
    net, asked = block(), {"execution": {"0": "winograd2"}, "store": False}
    plain = hwflow.estimate(net, "eyeriss", **asked)
    assert plain.not_counted["WinogradInput2"] == 1
    priced = hwflow.estimate(net, "eyeriss", operators="all", **asked)
    by_name = {op.name: op for op in priced.operators}
    before, after = by_name["0.inputs"], by_name["0.outputs"]
    assert (before.operations, after.operations) == (32 * 16 * 3, 24 * 16 * 8)
    assert before.dram_bytes == (192 + 16 * 16 * 3) * 2
    assert after.dram_bytes == (16 * 16 * 8 + 512) * 2
    assert (by_name["1"].note, by_name["2"].note) == ("folded into 0.outputs", "fused into 0.outputs")
    assert priced.rows == plain.rows


def test_transformed_tensors_stay_on_the_chip_where_that_is_asked() -> None:
    net = block()
    far = hwflow.estimate(net, "eyeriss", operators="all", execution="winograd2", store=False)
    near = hwflow.estimate(net, "eyeriss", operators="all", activations="resident", execution="winograd2", store=False)
    assert near.occupancy is not None
    assert {"0.inputs", "0"} <= {tensor.name for tensor in near.occupancy.stayed}
    assert near.rows[0].resident == ("inputs", "outputs")
    assert near.dram_bytes < far.dram_bytes / 2


def test_results_name_executions_and_why_layers_run_directly() -> None:
    cost = hwflow.estimate(NET, "eyeriss", level="coarse", execution="winograd4", store=False)
    told = json.loads(cost.to_json())
    assert [row["execution"] for row in told["layers"]].count("winograd4") == 17
    assert told["provenance"]["execution"] == {
        "asked": "winograd4",
        "skipped": {
            "layer2.0.conv1": "its stride is 2 x 2",
            "layer3.0.conv1": "its stride is 2 x 2",
            "fc": "it is a linear layer",
        },
    }
    assert cost.title.endswith(", execution winograd4")
    assert cost.macs == sum(la.macs for la in run_as(NET, wanted(NET, "winograd4")))
    assert "execution" not in hwflow.estimate(NET, "eyeriss", level="coarse", store=False).provenance


# auto ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "operators"), [("energy", "mac"), ("latency", "all"), ("edp", "mac")])
def test_auto_takes_the_cheapest_of_each_layer(objective: str, operators: str) -> None:
    """By trying all; with the costs of operators, where these have one."""
    layers = tuple(Layer(f"c{i}", C=c, M=c, P=p, Q=p, R=3, S=3) for i, (c, p) in enumerate([(4, 12), (8, 7)]))
    asked = {"objective": objective, "operators": operators, "store": False}
    for layer in layers:
        net = _chain(layer)
        each = {way: hwflow.estimate(net, "eyeriss", execution=way, **asked) for way in ("direct", *EXECUTIONS) if way != "vip"}
        values = {way: _value(cost, objective) for way, cost in each.items()}
        found = hwflow.estimate(net, "eyeriss", execution="auto", **asked)
        assert _value(found, objective) == min(values.values())
        assert found.rows[0].layer.execution == min(values, key=values.__getitem__)


def _chain(layer: Layer) -> Network:
    from hwflow.network.graph import GraphBuilder, Made

    flow = GraphBuilder()
    x, y = flow.tensor(layer.C * layer.P * layer.Q), flow.tensor(layer.words("outputs"))
    flow.ran([Made("layers", "conv", layer.words("outputs"))], [x], [y])
    return Network(layer.name, (layer,), graph=flow.graph([x], [y]))


def _value(cost: hwflow.NetworkCost, objective: str) -> float:
    assert cost.energy_pj is not None
    assert cost.cycles is not None
    return {"energy": cost.energy_pj, "latency": cost.cycles, "edp": cost.energy_pj * cost.cycles}[objective]


def test_auto_computes_each_row_once_also_without_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    from hwflow.cost import mid

    real, asked = mid.map_layer, []
    monkeypatch.setattr(mid, "map_layer", lambda layer, *a, **k: (asked.append(layer.key), real(layer, *a, **k))[1])
    net = Network("net", (Layer("a", C=4, M=4, P=8, Q=8, R=3, S=3), Layer("b", C=4, M=4, P=8, Q=8, R=3, S=3)))
    hwflow.estimate(net, "eyeriss", execution="auto", store=False)
    assert len(asked) == len(set(asked)) == 4


def test_auto_at_coarse_counts_what_coarse_knows() -> None:
    found = hwflow.estimate(NET, level="coarse", objective="energy", execution="auto", store=False)
    assert {row.layer.execution for row in found.rows} <= {"direct", "winograd2", "winograd4", "im2col"}
    assert found.energy_normalized <= hwflow.estimate(NET, level="coarse", store=False).energy_normalized
    with pytest.raises(InputError, match="execution is 'auto' and the objective is edp, which needs cycles, and without"):
        hwflow.estimate(NET, level="coarse", execution="auto", store=False)


def test_auto_beside_resident_tensors_is_refused() -> None:
    with pytest.raises(InputError, match=r"execution is 'auto' beside activations 'resident'.*Name executions"):
        hwflow.CostOptions(execution="auto", activations="resident")


# Elsewhere -----------------------------------------------------------------------------------------------------------


def test_a_table_of_costs_holds_layers_as_they_run() -> None:
    table = hwflow.cost_table(NET, "eyeriss", level="coarse", execution="winograd4", fill=False, store=False)
    layer = NET["layer1.0.conv1"]
    row = EXECUTIONS["winograd4"].rows(layer.with_(M=8))[0]
    assert table.cost(layer.name, M=8).macs == row.macs
    assert table.cost("fc").macs == NET["fc"].macs
    with pytest.raises(InputError, match="execution is a mapping of layers, and a table of costs holds equal layers together"):
        hwflow.cost_table(NET, "eyeriss", level="coarse", execution={"conv1": "im2col"}, fill=False, store=False)


def test_executions_side_by_side() -> None:
    found = hwflow.compare(NET, "eyeriss", levels=["coarse"], executions=["direct", "winograd4"], store=False)
    assert [v.label for v in found] == ["eyeriss/coarse", "eyeriss/coarse/winograd4"]
    assert [v["execution"] for v in found.to_dict()["variants"]] == ["direct", "winograd4"]
    with pytest.raises(InputError, match=r"execution is 'auto', but compare takes several: give executions=\['auto'\]"):
        hwflow.compare(NET, "eyeriss", levels=["coarse"], execution="auto", store=False)


def test_a_layer_is_mapped_as_it_runs() -> None:
    from hwflow.cost import CostOptions, executed_layer

    row = executed_layer(NET, NET["conv1"], hwflow.Accelerator.load("eyeriss"), options=CostOptions(execution="winograd4"))
    assert (row.name, row.G, row.execution) == ("conv1", 36, "winograd4")


@pytest.mark.timeloop
@pytest.mark.parametrize("way", list(EXECUTIONS))
def test_fine_judges_executions_as_mid_does(way: str, tmp_path: object) -> None:
    """Both count a mapping alike, also those of grouped products and strided maps."""
    sizes = [(64, 16), (16, 32)]
    layers = tuple(Layer(f"c{c}x{p}", C=c, M=c, P=p, Q=p, R=3, S=3) for c, p in sizes)
    net, store = Network("net", layers), Store(f"{tmp_path}/store.sqlite")
    costs = [
        hwflow.estimate(net, "eyeriss", level=level, execution=way, fallback="none", store=store) for level in ("mid", "fine")
    ]
    for mid, fine in zip(*(cost.rows for cost in costs), strict=True):
        assert (mid.cycles, fine.layer.execution) == (fine.cycles, way)
        assert fine.energy_pj == pytest.approx(mid.energy_pj, rel=2e-3)

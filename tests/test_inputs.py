"""What a network and an accelerator may be: the same for every public function; and how results show themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.errors import InputError
from hwflow.network import zoo
from hwflow.progress import lines, shown

CHIP = Path(__file__).parent / "data" / "timeloop_designs" / "simple_weight_stationary.yaml"
LIST = "name: tiny\nlayers:\n  - {name: conv1, C: 3, M: 8, P: 8, Q: 8, R: 3, S: 3}\n  - {name: fc, type: linear, C: 8, M: 10}\n"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(LIST)
    return path


Ask = Callable[[Any, Any], object]
FUNCTIONS: dict[str, Ask] = {
    "estimate": hwflow.estimate,
    "estimate_many": lambda net, chip: hwflow.estimate_many([(net, chip)])[0],
    "compare": lambda net, chip: hwflow.compare(net, chip).variants[-1].cost,
    "cost_table": lambda net, chip: hwflow.cost_table(net, chip, fill=False),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_names_and_files_are_what_objects_are(name: str, tiny: Path) -> None:
    ask = FUNCTIONS[name]
    network, chip = hwflow.Network.from_yaml(tiny), hwflow.Accelerator.load("eyeriss")
    wanted = repr(ask(network, chip))
    for given in (network, tiny, str(tiny)):
        for where in (chip, "eyeriss"):
            assert repr(ask(given, where)) == wanted
    assert "simple_weight_stationary" in repr(ask(tiny, CHIP))
    with pytest.raises(InputError, match=r"unknown network 'resnet19'. Did you mean 'resnet18'"):
        ask("resnet19", "eyeriss")
    with pytest.raises(InputError, match=r"unknown accelerator 'eyeris'. Did you mean 'eyeriss'"):
        ask(tiny, "eyeris")
    with pytest.raises(InputError, match=r"a network is a hwflow.Network, a torch.nn.Module with input_shape, .* not int"):
        ask(3, "eyeriss")
    with pytest.raises(InputError, match=r"an accelerator is a hwflow.Accelerator, the name of a preset, .* not float"):
        ask(tiny, [1.5] if name == "compare" else 1.5)
    with pytest.raises(InputError, match=r"'eyeriss,simba' names several, and one is wanted here; .*hwflow\.compare"):
        ask(tiny, "eyeriss,simba")


def test_a_module_needs_its_input_shape() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10))
    with pytest.raises(InputError, match=r"Sequential is a PyTorch module: give the shape .* input_shape=\(1, 3, 224, 224\)"):
        hwflow.estimate(model, "eyeriss")
    cost = hwflow.estimate(model, "eyeriss", input_shape=(2, 3, 8, 8))
    assert (cost.batch, len(cost.rows)) == (2, 2)
    assert hwflow.cost_table(model, "eyeriss", input_shape=(1, 3, 8, 8), fill=False).network.layers[1].M == 10
    assert len(hwflow.compare(model, "eyeriss", input_shape=(1, 3, 8, 8))) == 2
    with pytest.raises(InputError, match="batch is 3, but the input shape"):
        hwflow.estimate(model, "eyeriss", input_shape=(1, 3, 8, 8), batch=3)


def test_batch_and_bits_are_as_on_the_command_line(tiny: Path) -> None:
    one = hwflow.estimate(tiny, "eyeriss")
    assert hwflow.estimate(tiny, "eyeriss", batch=2).macs == 2 * one.macs
    assert hwflow.estimate(hwflow.Network.from_yaml(tiny), "eyeriss", batch=2).macs == 2 * one.macs
    assert hwflow.estimate(tiny, "eyeriss", bits=(8, 8)).dram_bytes == one.dram_bytes / 2
    assert hwflow.estimate(tiny, "eyeriss", bits=(8, 8)).title.endswith("8-bit weights, 8-bit activations")
    with pytest.raises(InputError, match="bits is 8; it must be two whole numbers"):
        hwflow.estimate(tiny, "eyeriss", bits=8)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tiny is a Network, whose layers have their sizes"):
        hwflow.estimate(hwflow.Network.from_yaml(tiny), "eyeriss", input_shape=(1, 3, 8, 8))


def test_one_layer_on_a_chip_by_name() -> None:
    layer = zoo("resnet20")["layer1.0.conv1"]
    found = hwflow.map_layer(layer, "eyeriss")
    assert hwflow.analyse(layer, "eyeriss", found.mapping).energy == found.cost.energy
    assert repr(found).startswith("<MapResult layer1.0.conv1: ")
    assert "parallel-for" in found._repr_html_()


def test_compare_gives_what_estimate_gives(tiny: Path) -> None:
    wide = hwflow.Accelerator.load("eyeriss").with_({"pe_array.rows": 24})
    found = hwflow.compare(tiny, ["eyeriss", wide], levels=["coarse", "mid"], dataflows=["row_stationary", "flexible"])
    assert [v.label for v in found] == [
        *("eyeriss/coarse", "eyeriss/mid/row_stationary", "eyeriss/mid/flexible"),
        *("eyeriss (pe_array.rows=24)/coarse", "eyeriss (pe_array.rows=24)/mid/row_stationary"),
        "eyeriss (pe_array.rows=24)/mid/flexible",
    ]
    assert found.variants[4].cost == hwflow.estimate(tiny, wide, dataflow="row_stationary")
    frame = found.to_frame()
    assert next(iter(frame["energy_ratio"])) == 1
    assert list(frame["accelerator"])[-1] == "eyeriss (pe_array.rows=24)"
    with pytest.raises(InputError, match="at least one accelerator"):
        hwflow.compare(tiny, [])


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({"mapper": "timeloop"}, "mid"),
        ({"engine": "native"}, "mid"),
        ({"fallback": "coarse"}, "mid"),
        ({"objective": "energy"}, "coarse"),
        ({"effort": 3}, "coarse"),
        ({"dataflow": "flexible"}, "coarse"),
        ({"ragged": False}, "coarse"),
    ],
)
def test_an_option_that_changes_nothing_is_refused(tiny: Path, options: dict[str, Any], level: Any) -> None:
    name, value = next(iter(options.items()))
    message = rf"{name} \(--{name}\) is {value!r}, which changes nothing at level {level}: it is for (mid and )?fine"
    with pytest.raises(InputError, match=message):
        hwflow.estimate(tiny, "eyeriss", level=level, **options)
    with pytest.raises(InputError, match=message):
        hwflow.estimate_many([(tiny, "eyeriss")], level=level, **options)


def test_results_show_themselves(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    chip = hwflow.Accelerator.load("eyeriss").with_({"pe_array.rows": 24})
    network, cost = hwflow.Network.from_yaml(tiny), hwflow.estimate(tiny, chip)
    found, table = hwflow.compare(tiny, ["eyeriss", chip]), hwflow.cost_table(tiny, chip, fill=False)
    for one in (network, chip, cost, found, table):
        assert len(repr(one)) < 250
        assert repr(one).startswith(f"<{type(one).__name__} ")
        assert "<table>" in one._repr_html_()
    assert "eyeriss (pe_array.rows=24)" in cost._repr_html_()
    assert "conv1" in network._repr_html_()
    for one, title in ((cost, "roofline"), (found, "latency")):
        page = one.to_html(tmp_path / "page.html")
        assert "eyeriss (pe_array.rows=24)" in page.read_text(encoding="utf-8")
        assert one.plot().data
        assert title in one.plot(title).layout.title.text.lower()
        with pytest.raises(InputError, match="unknown figure 'nothing'"):
            one.plot("nothing")


def test_layers_and_widths_have_figures(tiny: Path) -> None:
    pytest.importorskip("plotly")
    best = hwflow.map_layer(hwflow.Network.from_yaml(tiny)["conv1"], "eyeriss")
    bars = best.plot().data[0]
    assert list(bars.x) == list(best.cost.energy_by_level)
    assert sum(bars.y) == pytest.approx(best.cost.energy * 1e-12 / _scale(best.plot()))
    assert best.plot().layout.title.text == "Energy of conv1 per part"

    table = hwflow.cost_table(tiny, "eyeriss", fill=False, store=False)
    for name in ("Energy", "Latency", "Utilization"):
        figure = table.plot(title=name)
        assert figure.layout.title.text.startswith(f"{name} of ")
    layer = next(la for la in table.network if la.name in figure.layout.title.text)
    sizes = list(figure.data[0].x)
    assert sizes[-1] in (layer.M, layer.C, layer.G)
    assert figure.data[0].y[-1] == pytest.approx(100 * table[layer].utilization)
    assert "conv1" in table.plot("conv1").layout.title.text
    with pytest.raises(InputError, match=r"unknown layer of .* 'conv9'"):
        table.plot("conv9")
    with pytest.raises(InputError, match="unknown figure 'nothing'"):
        table.plot(title="nothing")
    coarse = hwflow.cost_table(tiny, level="coarse", store=False)
    assert [title.split()[0] for title in coarse.figures()] == ["Energy"]  # without a chip nothing is known of time


def _scale(figure: Any) -> float:
    """Joule of one unit of the energy axis."""
    return {"m": 1e-3, "\u00b5": 1e-6, "\u03bc": 1e-6, "n": 1e-9, "p": 1e-12}[figure.layout.yaxis.title.text.split("(")[1][0]]


def test_what_a_notebook_shows_is_escaped() -> None:
    network = hwflow.Network("<b>x</b>", (hwflow.Layer("<script>", C=1, M=1),))
    assert "<script>" not in network._repr_html_()
    assert "<b>x" not in network._repr_html_()


# Progress ------------------------------------------------------------------------------------------------------------


def test_nothing_is_shown_where_there_is_no_terminal(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hwflow.estimate(tiny, "eyeriss", store=False)
    assert capsys.readouterr() == ("", "")


def test_progress_is_told_or_shown_or_neither(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    hwflow.estimate(tiny, "eyeriss", store=False, progress=lambda done, total, text: told.append(total))
    assert set(told) == {2}
    with shown(False, "x") as nothing:
        assert nothing is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with shown(None, "x") as bar:
        assert bar is not None
        bar(1, 2, "now")  # within the first moments nothing is drawn


def test_lines_for_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("hwflow.progress._EVERY_S", 0.0)
    with lines("training") as tell:
        tell(3, 1200, "epoch 1")
    assert capsys.readouterr().err == "hwflow: training\nhwflow: training, 3 of 1,200, epoch 1 (0 s)\n"


def test_an_entry_that_is_no_pair_is_named() -> None:
    for wrong in ((("resnet20",),), ("resnet20",), (("resnet20", "eyeriss", 1),)):
        with pytest.raises(InputError, match=r"pairs\[0\] is .*; it must be \(network, accelerator\), with None for no acc"):
            hwflow.estimate_many(wrong)  # type: ignore[arg-type]

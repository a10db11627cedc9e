"""The methods as a whole: what they refuse, what they say, and the network of a plan. tests/conformance has the promises."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hwflow
from hwflow.compression.budget import Budget
from hwflow.compression.channels.discovery import find_groups
from hwflow.compression.channels.surgery import prune_model, rank_channels
from hwflow.compression.method import Task
from hwflow.compression.run import check
from hwflow.compression.settings import Settings
from hwflow.compression.single_path.block_rows import BlockRows
from hwflow.compression.single_path.channel_thresholds import gated_group
from hwflow.compression.single_path.gates import GatedNetwork
from hwflow.errors import InputError, ToolMissing
from hwflow.layers import Layer
from hwflow.training import Recipe
from tests.compression.single_path.nets import SHAPE, close, network
from tests.training.nets import stripes

TUNING = Recipe(epochs=1, batch_size=32, learning_rate=0.05, precision="float32", device="cpu")
SETTINGS = Settings(levels=("coarse",), budgets=(Budget("macs", 0.5),), method="singlepath", tuning=TUNING)


def refused(model: nn.Module | None = None, chip: Any = None, **changes: Any) -> None:
    check(model or network(), stripes(), chip, replace(SETTINGS, **changes), store=False)


def test_a_budget_out_of_reach_names_the_cheapest_and_the_dearest_cost() -> None:
    words = (
        r"the budget macs=0\.05 cannot be reached at coarse: of the networks that can be chosen from Sequential, the cheapest "
        r"and the dearest cost 0\.006656 M MACs \(0\.0971 of the whole\) to 0\.06858 M MACs\. Raise the budget"
    )
    with pytest.raises(InputError, match=words):
        refused(budgets=(Budget("macs", 0.05),))
    with pytest.raises(InputError, match=r"cost [\d.]+ ms latency \(0\.\d+ of the whole\) to [\d.]+ ms latency"):
        refused(chip="eyeriss", levels=("mid",), budgets=(Budget("latency", 0.01),))


def test_a_network_without_blocks_is_refused_before_it_is_trained() -> None:
    with pytest.raises(InputError, match=r"has no block to search: none of its modules is an inverted residual"):
        refused(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)))


def test_a_level_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"[Tt]imeloop"):
        refused(chip="eyeriss", levels=("fine",), engine="native")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tuning": replace(TUNING, patience=2)}, r"patience is 2, but singlepath changes what is left of the network"),
        (
            {"budgets": (Budget("peak_activation_bytes", 0.5),)},
            r"the budget is of peak_activation_bytes, which a search through",
        ),
        ({"budgets": (Budget("latency", 0.5),)}, r"latency is not known at this level: coarse knows no time"),
    ],
)
def test_what_a_search_cannot_follow_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        refused(**changes)


def test_costs_that_depend_on_one_another_are_refused() -> None:
    with pytest.raises(InputError, match=r"activations is 'resident' and operators 'mac', and a search through blocks adds up"):
        refused(chip="eyeriss", levels=("mid",), activations="resident")


def test_a_kernel_that_is_dearer_when_it_is_smaller_is_told() -> None:
    """A chip may be so; it is asked through a table that says it of one."""
    told: list[str] = []

    def dearer(self: BlockRows, row: int, widths: tuple[int, ...]) -> Layer | None:
        layer = plain(self, row, widths)
        return layer if layer is None or layer.R != 3 or layer.C != 1 or layer.G == 1 else layer.with_(R=9)

    plain = BlockRows.layer_for
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlockRows, "layer_for", dearer)
        check(network(), stripes(), None, SETTINGS, store=False, notify=told.append)
    assert any(text.startswith("1.kernel 3 takes more macs than 5 at coarse: ") for text in told)


def test_a_plan_that_is_given_is_trained_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
    plan = {"1.depth": 0, "2.kernel": 3, "3.expansion": 3}
    less = replace(SETTINGS, budgets=(Budget("macs", 0.2),))
    with pytest.raises(
        InputError, match=r"the plan has macs=0\.\d+ of the whole network's, which is above the budget macs=0\.2"
    ):
        hwflow.prune(network(), stripes(), settings=less, plan=plan, store=False, progress=False)
    result = hwflow.prune(network(), stripes(), settings=SETTINGS, plan=plan, store=False, progress=False)
    assert result.plan == {**plan, "1.kernel": 3, "1.expansion": 3, "2.expansion": 6, "3.kernel": 5, "3.depth": 1}
    assert isinstance(result.model.get_submodule("1"), nn.Identity)
    with pytest.raises(InputError, match=r"the plan uniform keeps a share of channels, and singlepath chooses kernels"):
        hwflow.prune(network(), stripes(), settings=SETTINGS, plan="uniform", store=False, progress=False)


def test_the_function_takes_recipe_and_search_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a budget, lambda is given; a strength of 1,000 leaves the cheapest network."""
    monkeypatch.setattr("hwflow.compression.run.export_onnx", lambda model, shape, path: None)
    settings = {"search_epochs": 1, "strength": 1e3, "warmup_share": 0.0, "threshold_rate": 100.0}
    result = hwflow.search_network(
        network(), stripes(), level="coarse", metric="macs", budget=None, recipe=TUNING, **settings, store=False, progress=False
    )
    assert result.plan == {f"{b}.{kind}": 3 for b in (1, 2, 3) for kind in ("kernel", "expansion")} | {
        "1.depth": 0,
        "3.depth": 0,
    }
    assert result.summary["Thresholds"].startswith("they leave ")
    trained = []
    monkeypatch.setattr(Task, "fine_tune", lambda self, model, *, recipe, hooks=(): trained.append(recipe))
    for recipe in (TUNING, replace(TUNING, learning_rate=0.003, weight_decay=0.0, label_smoothing=0.1)):
        with suppress(AttributeError):  # of what is not trained
            hwflow.search_network(
                network(), stripes(), level="coarse", metric="macs", recipe=recipe, **settings, store=False, progress=False
            )
        assert trained[-1] == replace(recipe, seed=0)
    with pytest.raises(InputError, match=r"search_network takes no method; its method is singlepath"):
        hwflow.search_network(network(), stripes(), method="l1")
    with pytest.raises(InputError, match=r"strength .* is -1; it must be a number of at least 0"):
        hwflow.search_network(network(), stripes(), level="coarse", metric="macs", strength=-1)


@torch.no_grad()
def test_gates_of_channels_leave_what_surgery_leaves() -> None:
    """At every width of a group, normalization included."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)).eval()
    nn.init.normal_(model[1].bias)
    grouping = find_groups(model, SHAPE, round_to=4)
    ranking = rank_channels(model, grouping)
    group = grouping.groups[0]
    assert group.widths == (4, 8, 12, 16)
    gates = GatedNetwork(model, [gated_group(model, group, ranking)]).eval()
    images = torch.randn(2, *SHAPE[1:], generator=torch.Generator().manual_seed(0))
    for first, width in enumerate(group.widths):
        close(gates, {first} if first < 3 else set())
        small = prune_model(model, grouping, {group.name: width}, ranking=ranking)
        assert torch.allclose(gates(images), small(images), atol=1e-6)

"""Gates: what is left where they are closed, and the gradients of their thresholds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hwflow.compression.decision import Decision
from hwflow.compression.single_path.gates import GatedNetwork, step, widths_of
from tests.compression.single_path.nets import SHAPE, close, network, searched

IMAGES = torch.randn(3, *SHAPE[1:], generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_with_all_gates_open_it_is_the_network() -> None:
    """As it begins: thresholds are 0, and norms above."""
    model = network()
    _, rows, gates = searched(model)
    assert torch.equal(gates(IMAGES), model(IMAGES))
    assert gates.indicators().tolist() == [1.0] * 8
    assert [one.name for one in rows.groups][:4] == ["1.kernel", "1.expansion", "1.depth", "2.kernel"]
    model.train()
    gates.train()
    assert torch.equal(gates(IMAGES), model(IMAGES))


@torch.no_grad()
def test_a_closed_kernel_has_a_ring_of_zeros_and_its_inner_weights() -> None:
    model = network()
    blocks, _, gates = searched(model)
    close(gates, {0})
    name = f"{blocks[0].depthwise}.weight"
    left, whole = gates.left()[name], dict(model.named_parameters())[name]
    assert torch.equal(left[..., 1:-1, 1:-1], whole[..., 1:-1, 1:-1])
    ring = torch.ones(5, 5, dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    assert bool((left[..., ring] == 0).all())


@torch.no_grad()
def test_norms_are_relative_to_the_first_and_look_at_what_is_left() -> None:
    """The expansion's and the depth's gates see kernels as their gate leaves them."""
    model = network()
    blocks, _, gates = searched(model)
    assert gates.norms().tolist() == pytest.approx([1.0] * 8)
    weight: Any = model.get_submodule(blocks[0].depthwise).weight
    half, inner = len(weight) // 2, weight.clone()
    inner[..., [0, -1], :] = inner[..., [0, -1]] = 0
    assert gates.first[:3].tolist() == pytest.approx([float(w.norm()) for w in (weight - inner, weight[half:], weight[:half])])
    close(gates, {0})
    wanted = [1.0, *(float(inner[part].norm() / weight[part].norm()) for part in (slice(half, None), slice(half)))]
    assert gates.norms()[:3].tolist() == pytest.approx(wanted, rel=1e-5)


def test_the_step_has_the_sigmoids_derivative() -> None:
    """By finite differences of the sigmoid, in double precision."""
    values = torch.tensor([-3.0, -0.4, 0.0, 0.1, 2.0], dtype=torch.float64, requires_grad=True)
    found = step(values)
    assert found.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    found.sum().backward()
    small = 1e-6
    wanted = (torch.sigmoid(values.detach() + small) - torch.sigmoid(values.detach() - small)) / (2 * small)
    assert values.grad is not None
    assert torch.allclose(values.grad, wanted, atol=1e-9)


def test_a_threshold_learns_what_its_part_is_worth() -> None:
    """The gradient of an open gate is minus the sigmoid's derivative times the derivative by a factor on the part."""
    model = network()
    _, _, gates = searched(model)
    gates(IMAGES).square().sum().backward()
    assert gates.thresholds.grad is not None
    margin = (gates.norms() - gates.thresholds).detach()[2]
    slope = float(torch.sigmoid(margin) * (1 - torch.sigmoid(margin)))
    small = 1e-3
    norm: Any = model.get_submodule("1.conv.3")
    values = []
    with torch.no_grad():
        for factor in (1 + small, 1 - small):
            for parameter in (norm.weight, norm.bias):
                parameter.mul_(factor)
            values.append(float(model(IMAGES).square().sum()))
            for parameter in (norm.weight, norm.bias):
                parameter.div_(factor)
    worth = (values[0] - values[1]) / (2 * small)
    assert float(gates.thresholds.grad[2]) == pytest.approx(-slope * worth, rel=2e-2, abs=1e-4)


def test_gates_that_are_closed_at_random_still_learn() -> None:
    model = network()
    _, _, gates = searched(model)
    gates.train()
    gates.dropout = 1.0
    with torch.no_grad():
        closed = gates(IMAGES)
    close(gates, set(range(8)))
    gates.dropout = 0.0
    assert torch.equal(closed, gates(IMAGES))
    gates.dropout = 1.0
    with torch.no_grad():
        gates.thresholds.zero_()
    gates(IMAGES).square().sum().backward()
    assert gates.thresholds.grad is not None
    assert float(gates.thresholds.grad[2].abs()) > 0


def test_options_end_at_the_first_closed_gate() -> None:
    variables = [Decision("a", (8, 16, 24), ()), Decision("b", (0, 1), ())]
    assert widths_of(variables, [1.0, 1.0, 0.0]) == (24, 0)
    assert widths_of(variables, [0.0, 1.0, 1.0]) == (8, 1)
    assert widths_of(variables, [1.0, 0.0, 1.0]) == (16, 1)


def test_a_gated_network_says_what_it_decides() -> None:
    """Checkpoints tell networks apart by that."""
    _, _, gates = searched(network())
    assert isinstance(gates, GatedNetwork)
    assert "1.kernel: (3, 5); 1.expansion: (3, 6); 1.depth: (0, 1)" in repr(gates)

"""Accuracy, mean intersection over union and re-estimated statistics, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hwflow.datasets import from_datasets
from hwflow.errors import InputError
from hwflow.training import reestimate_batchnorm, score
from hwflow.training.score import cross_entropy, score_batches
from tests.training.nets import small, stripes, values


class Fixed(nn.Module):
    """Gives its input back as logits, (n, C, 1, 1) flattened; counts its calls."""

    def __init__(self, *, flat: bool) -> None:
        super().__init__()
        self.flat, self.scale = flat, nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) if self.flat else x) * self.scale


def data_of(images: torch.Tensor, labels: torch.Tensor, classes: int, task: str = "classification") -> object:
    part = TensorDataset(images, labels)
    return from_datasets("fixed", part, part, classes, task=task)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_accuracy_and_loss_by_hand(batch_size: int) -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    data = data_of(logits.view(5, 3, 1, 1), torch.tensor([0, 1, 0, 1, 2]), 3)
    found = score(Fixed(flat=True), data.test, batch_size=batch_size, precision="float32")  # type: ignore[attr-defined]
    wanted = [
        math.log(math.exp(2) + 2) - 2,
        math.log(math.exp(1) + 2) - 1,
        math.log(math.exp(0.5) + 2),
        math.log(math.exp(3) + 2),
        math.log(math.exp(1) + 2) - 1,
    ]
    assert (found.accuracy, found.samples) == (pytest.approx(3 / 5), 5)
    assert found.loss == pytest.approx(sum(wanted) / 5, rel=1e-5)


def test_class_255_is_a_class_like_any_other() -> None:
    """255 stands for "no class" in maps of labels only; ImageNet has a class of that number."""
    logits = torch.zeros(2, 300, 1, 1)
    logits[:, 255] = 4
    found = score(Fixed(flat=True), data_of(logits, torch.tensor([255, 3]), 300).test)  # type: ignore[attr-defined]
    assert found.accuracy == pytest.approx(0.5)


def test_mean_intersection_over_union_by_hand() -> None:
    """Class 0: 2 of 5 in the union; class 1: 1 of 4; class 2 does not occur; a pixel of no class does not count."""
    truth = torch.tensor([[[0, 0, 0, 1], [1, 1, 255, 255]]])
    found = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 2]]])
    logits = nn.functional.one_hot(found, 3).permute(0, 3, 1, 2).float()
    data = data_of(logits, truth, 3, "segmentation")
    result = score(Fixed(flat=False), data.test, task="segmentation")  # type: ignore[attr-defined]
    assert result.accuracy == pytest.approx((2 / 5 + 1 / 4) / 2)
    right, wrong = math.log(math.e + 2) - 1, math.log(math.e + 2)
    assert result.loss == pytest.approx((3 * right + 3 * wrong) / 6, rel=1e-5)


def test_scenes_without_any_class_neither_teach_nor_count() -> None:
    labels = torch.full((2, 2, 4), 255)
    logits = torch.randn(2, 3, 2, 4, requires_grad=True)
    cross_entropy(logits, labels).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0
    labels[0, 0, 0] = 1
    alone = torch.nn.functional.cross_entropy(logits[:1, :, 0, 0], torch.tensor([1]), label_smoothing=0.1)
    assert cross_entropy(logits, labels, label_smoothing=0.1).item() == pytest.approx(alone.item(), rel=1e-5)
    data = data_of(logits.detach(), torch.full((2, 2, 4), 255), 3, "segmentation")
    assert score(Fixed(flat=False), data.test, task="segmentation").accuracy == 0  # type: ignore[attr-defined]


def test_scoring_leaves_the_network_as_it_was() -> None:
    model, data = small(), stripes()
    model.train()
    model.bn.eval()
    before = values(model)
    score(model, data.test)
    assert values(model) == before
    assert (model.training, model.bn.training, model.drop.training) == (True, False, True)
    assert score(model, data.test) == score(model, data.test)


def test_what_does_not_fit_is_said() -> None:
    data = stripes()
    with pytest.raises(InputError, match="there are no samples to judge the network by"):
        score(small(), data.test.subset([]))
    with pytest.raises(InputError, match=r"gives \(40, 5\) for a batch whose labels are \(40,\); .* it must give \(40, 2\)"):
        score(small(classes=5), data.test)
    with pytest.raises(InputError, match="for segmentation with 2 classes"):
        score(small(), data.test, task="segmentation")


def test_statistics_are_the_plain_average_of_all_batches() -> None:
    model, data = small(), stripes()
    model.bn.running_mean.fill_(9)
    reestimate_batchnorm(model, data.train, batches=3, batch_size=32, seed=5, precision="float32")
    means, variances = [], []
    for images, _ in data.train.batches(32, seed=5):
        outputs = model.conv(images).transpose(0, 1).flatten(1)
        means.append(outputs.mean(1))
        variances.append(outputs.var(1))
    assert torch.allclose(model.bn.running_mean, torch.stack(means).mean(0), atol=1e-5)
    assert torch.allclose(model.bn.running_var, torch.stack(variances).mean(0), rtol=1e-4)
    assert model.bn.momentum == pytest.approx(0.1)


def test_statistics_are_the_same_each_time_and_nothing_else_changes() -> None:
    model, data = small(), stripes()
    weights = model.conv.weight.clone()
    model.train()
    model.drop.eval()
    reestimate_batchnorm(model, data.train, batches=2, batch_size=16)
    first = values(model)
    torch.manual_seed(1234)
    reestimate_batchnorm(model, data.train, batches=2, batch_size=16)
    assert values(model) == first
    assert torch.equal(model.conv.weight, weights)
    assert (model.training, model.bn.training, model.drop.training) == (True, True, False)


def test_statistics_of_few_samples_and_of_none() -> None:
    model, data = small(), stripes()
    reestimate_batchnorm(model, data.train.subset(range(5)), batch_size=250)
    assert int(model.bn.num_batches_tracked) == 1
    with pytest.raises(InputError, match="statistics cannot be estimated on 1 samples"):
        reestimate_batchnorm(model, data.train.subset([0]))
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    before = values(plain)
    reestimate_batchnorm(plain, data.train)
    assert values(plain) == before


def test_batches_normalised_by_their_own_statistics_by_hand() -> None:
    """(x - mean) / std of the batch at hand; what the network keeps is neither used nor changed, and modes come back."""
    norm = nn.BatchNorm2d(2, eps=1e-12)
    with torch.no_grad():
        norm.running_mean.fill_(100.0)  # type: ignore[union-attr]
    model = nn.Sequential(norm, nn.Flatten()).eval()
    norm.train()
    values_ = torch.tensor([[1.0, 0.0], [3.0, 8.0], [5.0, 4.0]])
    batches = [(values_.view(3, 2, 1, 1), torch.tensor([1, 1, 0]))]  # normalised: (-1.2, -1.2), (0, 1.2), (1.2, 0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = score_batches(model, batches, 2, device="cpu", precision="float32", by_batch=True)
    high = math.sqrt(1.5)
    losses = [math.log(2), math.log(1 + math.exp(-high)), math.log(1 + math.exp(-high))]
    assert found.loss == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert (model.training, norm.training, norm.track_running_stats) == (False, True, True)
    plain = score_batches(model, batches, 2, device="cpu", precision="float32")
    assert plain.loss != pytest.approx(found.loss)

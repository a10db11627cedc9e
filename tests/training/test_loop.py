"""Training: it learns, it repeats bit for bit, it survives what kills it, and it says what went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hwflow import files as writing
from hwflow.datasets import Data
from hwflow.errors import HwflowError, InputError
from hwflow.training import Diverged, History, Recipe, fit, score
from hwflow.training import checkpoint as files
from tests.training.nets import Small, small, stripes, values

QUICK = Recipe(epochs=4, batch_size=16, learning_rate=0.05)


def fitted(model: Small, recipe: Recipe = QUICK, data: Data | None = None, **options: Any) -> History:
    train, held = (data or stripes()).hold_out(24)
    return fit(model, train, held, recipe, **options)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_learns(precision: Any) -> None:
    model, data = small(), stripes(320)
    history = fitted(model, Recipe(epochs=12, batch_size=16, learning_rate=0.05, precision=precision), data)
    assert [e.number for e in history.epochs] == list(range(1, 13))
    assert history.epochs[-1].loss < history.epochs[0].loss / 2
    assert score(model, data.test).accuracy > 0.85
    assert (history.kept, history.stopped_early, history.resumed_after, history.test) == (12, False, 0, None)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert not model.training


def test_equal_arguments_give_equal_bits_whatever_was_drawn_before() -> None:
    models, histories = [], []
    for drawn in range(2):
        torch.manual_seed(drawn)
        torch.rand(drawn)
        models.append(small())
        state = torch.get_rng_state()
        histories.append(fitted(models[-1]))
        assert torch.equal(torch.get_rng_state(), state)
    assert values(models[0]) == values(models[1])
    assert histories[0] == histories[1]


@pytest.mark.parametrize("change", [{"seed": 1}, {"label_smoothing": 0.1}, {"weight_decay": 0.01}, {"momentum": 0.8}])
def test_every_setting_counts(change: dict[str, Any]) -> None:
    one, other = small(), small()
    fitted(one)
    fitted(other, Recipe(**{**vars(QUICK), **change}))
    assert values(one) != values(other)


def test_progress_is_told_after_every_step() -> None:
    told: list[tuple[int, int, str]] = []
    fitted(small(), progress=lambda *now: told.append(now))
    assert [done for done, _, _ in told] == list(range(1, 17))  # 72 samples in batches of 16, 4 epochs
    assert {total for _, total, _ in told} == {16}
    assert told[0][2] == "epoch 1 of 4"
    assert told[-1][2].startswith("epoch 4 of 4, held out ")


def test_few_samples_are_one_batch() -> None:
    model, data = small(), stripes()
    history = fit(model, data.train.subset(range(6)), data.train.subset(range(6, 9)), QUICK)
    assert len(history.epochs) == 4


def test_too_few_samples_are_refused() -> None:
    data = stripes()
    with pytest.raises(InputError, match="there are 1 samples to train on and 3 held out; 2 and 1 are the least"):
        fit(small(), data.train.subset([0]), data.train.subset([1, 2, 3]), QUICK)


def test_an_output_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"the network gives \(16, 3\) for a batch whose labels are \(16,\)"):
        fitted(small(classes=3))
    frozen = small().requires_grad_(False)
    with pytest.raises(InputError, match="no parameter that can be learnt"):
        fitted(frozen)


# Early stopping ------------------------------------------------------------------------------------------------------


def test_patience_keeps_the_best_epoch() -> None:
    recipe = Recipe(epochs=40, batch_size=16, learning_rate=0.05, patience=3)
    model, data = small(), stripes()
    history = fitted(model, recipe, data)
    accuracies = [e.accuracy for e in history.epochs]
    assert history.stopped_early
    assert len(history.epochs) < 40
    assert history.kept == accuracies.index(max(accuracies)) + 1 == len(history.epochs) - 3
    assert score(model, data.hold_out(24)[1]).accuracy == pytest.approx(max(accuracies))


# A teacher -----------------------------------------------------------------------------------------------------------


def test_a_teacher_teaches_without_being_changed() -> None:
    data = stripes(320)
    teacher = small(1)
    fitted(teacher, Recipe(epochs=12, batch_size=16, learning_rate=0.05), data)
    teacher.train()
    before = values(teacher)
    pupil = small(width=4)
    recipe = Recipe(epochs=12, batch_size=16, learning_rate=0.05, distillation=1.0, temperature=2.0)  # no label is seen
    fitted(pupil, recipe, data, teacher=teacher)
    assert values(teacher) == before
    assert teacher.training
    assert score(pupil, data.test).accuracy > 0.8


def test_a_teacher_and_its_weight_belong_together() -> None:
    with pytest.raises(InputError, match="distillation is 0, teacher is given"):
        fitted(small(), teacher=small(1))
    with pytest.raises(InputError, match=r"distillation is 0\.5, teacher is missing"):
        fitted(small(), Recipe(distillation=0.5))


# Checkpoints ---------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for the end of a process."""


def killer(after: int) -> Any:
    def tell(done: int, _total: int, _text: str) -> None:
        if done == after:
            raise Killed

    return tell


@pytest.mark.parametrize("after", [1, 4, 5, 11, 16])
@pytest.mark.parametrize("patience", [None, 2])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, after: int, patience: int | None) -> None:
    recipe = Recipe(**{**vars(QUICK), "patience": patience})
    whole, killed, resumed = small(), small(), small()
    history = fitted(whole, recipe)
    file = tmp_path / "state"
    try:
        fitted(killed, recipe, checkpoint=file, progress=killer(after))
    except Killed:
        continued = fitted(resumed, recipe, checkpoint=file)
        assert continued.resumed_after == (after - 1) // 4
    else:
        continued = fitted(resumed, recipe, checkpoint=file)  # stopped early before it could be killed
    assert values(resumed) == values(whole)
    assert continued == history


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first, second = small(), small()
    history = fitted(first, checkpoint=tmp_path / "state")
    again = fitted(second, checkpoint=tmp_path / "state", progress=killer(1))
    assert values(first) == values(second)
    assert (again, again.resumed_after) == (history, 4)


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state"
    fitted(small(), checkpoint=file)
    kept = file.read_bytes()
    with pytest.raises(
        InputError, match=r"state is the checkpoint of another training: learning_rate is 0\.1 here, 0\.05 there"
    ):
        fitted(small(), Recipe(**{**vars(QUICK), "learning_rate": 0.1}), checkpoint=file)
    with pytest.raises(InputError, match=r"epochs is 9 here, 4 there \(the learning rate falls over all epochs, so a longer"):
        fitted(small(), Recipe(**{**vars(QUICK), "epochs": 9}), checkpoint=file)
    with pytest.raises(InputError, match="the network or its first weights differs"):
        fitted(small(1), checkpoint=file)
    with pytest.raises(InputError, match=r"the samples differs\. Repeat that one's settings to go on with it, or remove"):
        fitted(small(), data=stripes(104), checkpoint=file)
    assert file.read_bytes() == kept


def test_a_checkpoint_before_the_first_epoch_binds_nobody(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with pytest.raises(Killed):
        fitted(small(), checkpoint=file, progress=killer(2))
    other, wanted = small(1), small(1)
    fitted(other, checkpoint=file)
    fitted(wanted)
    assert values(other) == values(wanted)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(100)])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(InputError, match=r"the checkpoint .*state is damaged, or no file of tensors"):
        fitted(small(), checkpoint=tmp_path / "state")
    files.save(tmp_path / "state", {"kind": "weights"})
    with pytest.raises(InputError, match="state is no checkpoint of a training"):
        fitted(small(), checkpoint=tmp_path / "state")


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"kind": "checkpoint", "bomb": Bomb()}, tmp_path / "state")
    with pytest.raises(InputError, match=r"the file holds the Python object posix\.mkdir, and to read that is to run code"):
        fitted(small(), checkpoint=tmp_path / "state")
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_shows_at_once_and_spares_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state"
    with pytest.raises(Killed):
        fitted(small(), checkpoint=file, progress=killer(6))
    kept = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "replace", full)
        with pytest.raises(HwflowError, match=r"cannot write .*other: No space left on device"):
            fitted(small(), checkpoint=tmp_path / "other", progress=killer(1))
        with pytest.raises(HwflowError, match=r"cannot write .*state: .*What stood there before still does"):
            fitted(small(), checkpoint=file)
    assert file.read_bytes() == kept
    resumed, whole = small(), small()
    fitted(resumed, checkpoint=file)
    fitted(whole)
    assert values(resumed) == values(whole)


# Divergence ----------------------------------------------------------------------------------------------------------


def test_a_training_that_diverges_keeps_the_last_good_state(tmp_path: Path) -> None:
    file, steps = tmp_path / "state", 0

    class Exploding(Small):
        """Its output is no number any more in the third epoch."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal steps
            steps += self.training
            return super().forward(x) * (float("nan") if steps > 9 else 1.0)

    def exploding() -> Exploding:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Exploding()

    model = exploding()
    with pytest.raises(Diverged) as caught:
        fitted(model, checkpoint=file)
    text = str(caught.value)
    assert "the loss is no finite number in epoch 3 of 4" in text
    assert f"The last good state is that of epoch 2, which is kept in {file}" in text
    assert "Lower the learning rate (it is 0.05)" in text
    kept = torch.load(file, weights_only=True)
    assert [v.flatten().double().tolist() for v in kept["model"].values()] == values(model)
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


def test_a_learning_rate_that_explodes_is_named() -> None:
    model = small()
    before = values(model)
    with pytest.raises(Diverged, match=r"in epoch 1 of 4\. The last good state is that of the first weights\. Lower"):
        fitted(model, Recipe(epochs=4, batch_size=16, learning_rate=1e30))
    assert values(model) == before


# A process that is killed --------------------------------------------------------------------------------------------

PROGRAM = """
import sys, torch
sys.path.insert(0, {folder!r})
import time
from pathlib import Path
from tests.training.nets import small, stripes
from hwflow.training import Recipe, fit, save_weights
train, held = stripes().hold_out(24)
model = small()
fit(model, train, held, Recipe(epochs=6, batch_size=16, learning_rate=0.05), checkpoint=Path(sys.argv[1]),
    progress=lambda *now: time.sleep(float(sys.argv[3])))
save_weights(sys.argv[2], model, {{}})
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_of_an_epoch_costs_no_bit(tmp_path: Path) -> None:
    program = PROGRAM.format(folder=str(Path(__file__).resolve().parents[2]))

    def run(name: str, pause: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", program, str(tmp_path / f"{name}.state"), str(tmp_path / name), pause])

    assert run("whole", "0").wait() == 0
    slow = run("killed", "0.2")
    state = tmp_path / "killed.state"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if state.exists() and torch.load(state, weights_only=True)["epochs"].count("number") >= 2:
            break
        time.sleep(0.05)
    slow.send_signal(signal.SIGKILL)
    assert slow.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    assert run("killed", "0").wait() == 0
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]

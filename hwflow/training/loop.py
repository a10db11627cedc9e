"""`fit`: epochs of training, a held-out accuracy after each, and checkpoints from which a killed run continues bit for bit."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from hwflow.datasets.data import Task
from hwflow.datasets.samples import Samples, derived
from hwflow.errors import HwflowError, InputError
from hwflow.training import checkpoint as files
from hwflow.training.hooks import Batch, Distillation, TrainingHook, identity_of
from hwflow.training.optimizer import make_optimizer
from hwflow.training.recipe import Recipe, autocast, differences, reproducible
from hwflow.training.score import Score, channels_last, check_output, cross_entropy, first_output, placed, score

VERSION = 2
"""Raise it with every change of what a recipe gives: a checkpoint of another version is not continued."""

Progress = Callable[[int, int, str], None]
"""Told (steps done, steps in all, where the training is)."""

_AUXILIARY_WEIGHT = 0.4  # Zhao et al. 2017 (arXiv:1612.01105), section 3.3
_LOOK_AT_LOSS = 50


class Diverged(HwflowError):
    """The loss is no number any more; the network holds what it was after the last whole epoch."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        number: from 1.
        loss: mean training loss, smoothing and distillation included.
        accuracy: on the held-out samples (`Score.accuracy`).
        held_loss: mean cross-entropy there.
    """

    number: int
    loss: float
    accuracy: float
    held_loss: float


@dataclass(frozen=True)
class History:
    """How a training went.

    Attributes:
        epochs: every epoch, those before a resumption included.
        kept: the number of the epoch whose weights the network has now.
        stopped_early: whether `patience` ended it.
        resumed_after: epochs that a checkpoint gave; 0 for a fresh start.
        seconds: wall clock of this process' part.
        test: the kept weights on the test set, where it was asked (`train` does, once, at the end).
    """

    epochs: tuple[Epoch, ...]
    kept: int
    stopped_early: bool
    resumed_after: int = field(compare=False)
    seconds: float = field(compare=False)
    test: Score | None = None


def fit(
    model: nn.Module,
    train: Samples,
    held: Samples,
    recipe: Recipe,
    *,
    task: Task = "classification",
    teacher: nn.Module | None = None,
    hooks: Sequence[TrainingHook] = (),
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> History:
    """Train a network in place on `train`, and evaluate every epoch on `held`, which must be disjoint from it.

    Equal arguments give equal bits on one machine with one number of threads, whether or not the run was killed and continued
    in between (on CUDA as far as its kernels have no races).

    Args:
        teacher: a trained network, whose logits count in the loss as `recipe.distillation` says.
        hooks: what acts while the network is trained, in this order, after the teacher.
        checkpoint: a file that is written after every epoch, and from which this same run (network, samples, recipe, teacher,
            hooks) goes on; it is left there at the end.
        progress: told after every step.

    Raises:
        InputError: for samples or outputs that do not fit, or a checkpoint of another run: what differs.
        Diverged: where the loss is not finite; the network holds the last whole epoch, which the checkpoint has too.
    """
    started = time.monotonic()
    used = recipe.resolved()
    if len(train) < 2 or not len(held):
        raise InputError(f"there are {len(train)} samples to train on and {len(held)} held out; 2 and 1 are the least.")
    if (teacher is None) != (used.distillation == 0):
        raise InputError(
            "a teacher needs recipe.distillation above 0, and that needs a teacher: "
            f"distillation is {used.distillation:g}, teacher is {'missing' if teacher is None else 'given'}."
        )
    if teacher is not None:
        hooks = (Distillation(teacher, used.distillation, used.temperature), *hooks)
    for hook in hooks:
        if hook.changes_sparsity and used.patience is not None:
            raise InputError(
                f"patience is {used.patience}, but {type(hook).__name__} changes which weights are zero until the end: an "
                "earlier epoch is another network, not a better one. Leave patience out."
            )
    with (
        placed(model, used.device),
        channels_last(model),
        reproducible(),
        torch.random.fork_rng(range(torch.cuda.device_count())),
    ):
        run = _Run(model, train, held, used, task, hooks, checkpoint, progress)
        run.resume()
        resumed = len(run.epochs)
        while len(run.epochs) < used.epochs and not run.out_of_patience():
            run.epoch()
        run.finish()
    return History(tuple(run.epochs), run.kept(), run.out_of_patience(), resumed, time.monotonic() - started)


class _Run:
    """The state of one training, which a checkpoint holds in full."""

    def __init__(
        self,
        model: nn.Module,
        train: Samples,
        held: Samples,
        recipe: Recipe,
        task: Task,
        hooks: Sequence[TrainingHook],
        checkpoint: Path | None,
        progress: Progress | None,
    ) -> None:
        self.model, self.train, self.held, self.recipe, self.task = model, train, held, recipe, task
        self.hooks, self.checkpoint, self.progress = tuple(hooks), checkpoint, progress
        self.size = min(recipe.batch_size, len(train))
        self.steps = len(train) // self.size
        self.epochs: list[Epoch] = []
        self.best: dict[str, Tensor] | None = None
        self.optimizer = make_optimizer(model, recipe)
        self.identity: dict[str, str] = {
            "the network or its first weights": files.digest(model),
            "the samples": hashlib.sha256(f"{train.identity}{held.identity}{task}".encode()).hexdigest(),
            "the teacher": "",
            "hwflow's training": str(VERSION),
            **identity_of(self.hooks),
        }
        for hook in self.hooks:
            hook.start(model, recipe.epochs * self.steps)

    def epoch(self) -> None:
        number = len(self.epochs) + 1
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        torch.manual_seed(derived("epoch", self.recipe.seed, number))
        self.model.train()
        total, pending = 0.0, torch.zeros((), device=self.recipe.device)
        batches = self.train.batches(
            self.size,
            seed=self.recipe.seed,
            epoch=number,
            augment=True,
            drop_last=True,
            device=self.recipe.device,
        )
        for step, (images, labels) in enumerate(batches, start=1):
            pending += self._step(images, labels, (number - 1) * self.steps + step - 1)
            if step % _LOOK_AT_LOSS == 0 or step == self.steps:  # reading it waits for the device
                total += float(pending)
                pending.zero_()
                if not math.isfinite(total):
                    self.model.load_state_dict(before)
                    raise Diverged(self._diverged(number))
            if self.progress is not None:
                self.progress((number - 1) * self.steps + step, self.recipe.epochs * self.steps, self._where(number))
        for hook in self.hooks:
            hook.after_epoch(number)
        held = self._score()
        if not math.isfinite(held.loss):
            self.model.load_state_dict(before)
            raise Diverged(self._diverged(number))
        self.epochs.append(Epoch(number, total / self.steps, held.accuracy, held.loss))
        if self.recipe.patience is not None and self._best_number() == number:
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self._save()

    def _step(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = group["learning_rate_factor"] * self.recipe.learning_rate_at(step, self.steps)
        with autocast(self.recipe.device, self.recipe.precision):
            outputs = self.model(images)
            if step == 0:
                check_output(first_output(outputs), labels, self.train.source.classes, self.task)
            logits = first_output(outputs).float()
            loss = cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
            for hook in self.hooks:
                loss = hook.loss(Batch(images, logits, labels), loss)
            if isinstance(outputs, tuple):
                for extra in outputs[1:]:
                    loss = loss + _AUXILIARY_WEIGHT * cross_entropy(extra.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        for hook in self.hooks:
            hook.before_step(step)
        self.optimizer.step()
        for hook in self.hooks:
            hook.after_step(step)
        return loss.detach()

    def _score(self) -> Score:
        recipe = self.recipe
        return score(
            self.model,
            self.held,
            task=self.task,
            batch_size=max(self.size, 2),
            device=recipe.device,
            precision=recipe.precision,
        )

    # Which epoch is kept ---------------------------------------------------------------------------------------------

    def out_of_patience(self) -> bool:
        patience = self.recipe.patience
        return patience is not None and len(self.epochs) - self._best_number() >= patience and bool(self.epochs)

    def kept(self) -> int:
        return len(self.epochs) if self.recipe.patience is None else self._best_number()

    def finish(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best)
        for hook in self.hooks:
            hook.finish(self.model)
        self.model.eval()

    def _best_number(self) -> int:
        return max(self.epochs, key=lambda e: e.accuracy).number if self.epochs else 0

    # The checkpoint --------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Take up the state in the checkpoint; where there is none, write the first, so that a full disk shows now."""
        if self.checkpoint is None:
            return
        if not self.checkpoint.exists():
            self._save()
            return
        found = files.read(self.checkpoint, "the checkpoint")
        if found.get("kind") != "checkpoint":
            raise InputError(f"{self.checkpoint} is no checkpoint of a training; name another file, or move it away.")
        if found["epochs"] == "[]":  # nothing was done, so nothing is lost
            self._save()
            return
        other = differences(self.recipe, Recipe(**json.loads(found["recipe"])))
        parts = [f"{name} is {mine!r} here, {theirs!r} there" for name, (mine, theirs) in other.items()]
        recorded = found["identity"]
        parts += [f"{name} differs" for name in {**self.identity, **recorded} if self.identity.get(name) != recorded.get(name)]
        if parts:
            why = " (the learning rate falls over all epochs, so a longer training does not begin like a shorter one)"
            raise InputError(
                f"{self.checkpoint} is the checkpoint of another training: {'; '.join(parts)}"
                f"{why if set(other) == {'epochs'} else ''}. Repeat that one's settings to "
                "go on with it, or remove the file to start anew."
            )
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        for group in self.optimizer.param_groups:
            group.setdefault("learning_rate_factor", 1.0)  # a checkpoint of hwflow 0.1 before groups had their own
        self.epochs = [Epoch(**e) for e in json.loads(found["epochs"])]
        self.best = found["best"]
        for hook, state in zip(self.hooks, found.get("hooks", [{} for _ in self.hooks]), strict=True):
            hook.load_state_dict(state)

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        content = {
            "kind": "checkpoint",
            "identity": self.identity,
            "recipe": json.dumps(asdict(self.recipe)),
            "epochs": json.dumps([asdict(e) for e in self.epochs]),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "hooks": [hook.state_dict() for hook in self.hooks],
        }
        files.save(self.checkpoint, content)

    # Words -----------------------------------------------------------------------------------------------------------

    def _where(self, number: int) -> str:
        last = f", held out {100 * self.epochs[-1].accuracy:.2f} %" if self.epochs else ""
        return f"epoch {number} of {self.recipe.epochs}{last}"

    def _diverged(self, number: int) -> str:
        last = "the first weights" if number == 1 else f"epoch {number - 1}"
        kept = "" if self.checkpoint is None or number == 1 else f", which is kept in {self.checkpoint}"
        return (
            f"the training diverged: the loss is no finite number in epoch {number} of {self.recipe.epochs}. The last good "
            f"state is that of {last}{kept}. Lower the learning rate (it is {self.recipe.learning_rate:g}); if that does not "
            "help, look at the data."
        )


__all__ = ["VERSION", "Diverged", "Epoch", "History", "Progress", "fit"]

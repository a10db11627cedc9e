"""NVIDIA ModelOpt's FastNAS as a guest of the contest: `python -m benchmarks.contest --methods fastnas ...`.

FastNAS measures how much accuracy each layer loses at each width, and takes the smallest widths whose losses stay below one
threshold, bisected until a share of the FLOPs is kept. Here that share is bisected, to a hundredth, until the energy fits.
It needs `nvidia-modelopt` and, as its version 0.47 reads fields that later ones lack, `torchprofile==0.0.4`; both are installed
by hand. Where torchvision cannot be imported because its operators are missing, ModelOpt cannot either.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from hwflow.compression.search.environment import PruningEnv
from hwflow.network.replica import replica
from hwflow.pruning import Allocated, Compressed, Method, rebuild
from hwflow.training.score import score

_SAMPLES = 500  # held-out images of a measurement, as many as the searches of hwflow use by default
_BATCH = 50  # of training images, on which ModelOpt settles the normalisations
_WIDTHS = tuple(k / 16 for k in range(1, 17))


class FastNas(Method):
    """ModelOpt's search and surgery; residual streams are left whole, as ModelOpt's tracing finds them."""

    name = "fastnas"
    about = "NVIDIA ModelOpt's FastNAS: one threshold on the accuracy that every layer loses"
    source = "https://github.com/NVIDIA/TensorRT-Model-Optimizer"
    follows_allocation = False
    ranks = False

    def prepare(self, task: Any) -> None:
        """Import ModelOpt, and refuse budgets that cannot be reached."""
        import modelopt.torch.prune

        self._prune = modelopt.torch.prune.prune
        asked = replace(task.settings, streams=False, allocate="uniform")
        self._allocated = Allocated(replace(task, settings=asked))
        self._problem = PruningEnv(self._allocated.costs, lambda _: 0.0, task.budgets, metric=asked.metric)

    def compress(self, task: Any) -> Compressed:
        """The largest network within the budget, by bisection, fine-tuned for all epochs."""
        train, held = task.data.hold_out()
        held, batches, measured = held.subset(range(min(_SAMPLES, len(held)))), list(train.batches(_BATCH)), 0

        def accuracy(model: nn.Module) -> float:
            nonlocal measured
            measured += 1
            return score(model, held, task=task.data.task).accuracy

        with TemporaryDirectory() as folder:  # its table of sensitivities is measured once
            file, found, low, high = Path(folder) / "sensitivities.pt", None, 0, 100
            while high - low > 1:
                percent = (low + high) // 2
                small = self._cut(task, batches, accuracy, percent, file)
                if small is not None and self._problem.affordable(plan := self._plan(small)):
                    found, low = (small, plan), percent
                else:
                    high = percent if small is not None else high
                    low = low if small is not None else percent
        if found is None:
            raise RuntimeError(f"FastNAS does not reach {', '.join(map(str, task.budgets))}.")
        small, plan = found
        tuning = task.fine_tune(small)
        return Compressed(small, plan, grouping=self._allocated.grouping, tuning=tuning, evaluated=measured)

    def rebuild(self, model: nn.Module, input_shape: tuple[int, ...], plan: Mapping[str, int]) -> nn.Module:
        """The uncompressed network cut to the plan."""
        return rebuild(model, input_shape, plan)

    def _plan(self, small: nn.Module) -> dict[str, int]:
        groups = self._allocated.grouping.groups
        return {group.name: int(small.get_submodule(group.producers[0]).out_channels) for group in groups}

    def _cut(self, task: Any, batches: Any, accuracy: Any, percent: int, checkpoint: Path) -> nn.Module | None:
        """None where so few FLOPs cannot be reached."""
        step = task.settings.round_to
        rules = {
            "nn.Conv2d": {"*": {"channel_divisor": step, "channels_ratio": _WIDTHS}},
            "nn.BatchNorm2d": {"*": {"feature_divisor": step, "features_ratio": _WIDTHS}},
        }
        config = {"data_loader": batches, "score_func": accuracy, "checkpoint": str(checkpoint), "verbose": False}
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                found, _ = self._prune(
                    replica(task.model),
                    mode=[("fastnas", rules)],
                    constraints={"flops": f"{percent}%"},
                    dummy_input=torch.zeros(task.input_shape),
                    config=config,
                )
            except ValueError as error:
                if "constraints can be satisfied" not in str(error):
                    raise
                return None
        return replica(found)

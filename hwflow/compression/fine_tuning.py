"""The recipes of fine-tuning and of training from fresh weights, and the export of a compressed network to ONNX."""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from hwflow.compression.quantization.narrow_weights import narrow_weights
from hwflow.datasets import Data
from hwflow.datasets.samples import derived
from hwflow.errors import HwflowError
from hwflow.files import write_bytes
from hwflow.network.replica import replica
from hwflow.optional import needed
from hwflow.training.recipe import Recipe, default_recipe

_SHORTER = 3  # fine-tuning takes a third of the epochs that training from scratch takes
_GENTLER = 4  # and starts at a quarter of its learning rate
_DISTILLED = 0.5


def default_tuning(data: Data, model: nn.Module) -> Recipe:
    """Fine-tuning after surgery: a third of the epochs and a quarter of the learning rate of training from scratch, and half of
    the loss from the unpruned network's logits (Hinton et al. 2015, arXiv:1503.02531). The shares are ours."""
    recipe = default_recipe(data, model)
    return replace(
        recipe,
        epochs=max(1, recipe.epochs // _SHORTER),
        learning_rate=recipe.learning_rate / _GENTLER,
        distillation=_DISTILLED if data.task == "classification" else 0.0,
    )


def scratch_recipe(data: Data, model: nn.Module, asked: Recipe) -> Recipe:
    """Training from fresh weights: the recipe of `hwflow train`, with the epochs of the fine-tuning that was asked for."""
    kept = {name: getattr(asked, name) for name in ("epochs", "batch_size", "device", "precision", "seed", "patience")}
    return replace(default_recipe(data, model), **kept).resolved()


def fresh_weights(model: nn.Module, seed: int) -> None:
    """Draw all weights anew, in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived("weights", seed))
        for module in model.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()


def export_onnx(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """Write a network as ONNX, for any batch size; `input_shape` is (C, H, W).

    Raises:
        MissingDependency: where onnx or onnxscript is not installed.
        HwflowError: where the network cannot be exported, or the file not be written.
    """
    onnx = needed("onnx", "exporting to ONNX")
    needed("onnxscript", "exporting to ONNX")  # what torch exports with
    images = torch.zeros(2, *input_shape)
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it names packages that it does not need
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                replica(model).cpu().eval(),
                (images,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            )
            content = program.model_proto
            narrow_weights(content)
            buffer = io.BytesIO()
            onnx.save(content, buffer)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HwflowError(f"the pruned network cannot be exported to ONNX: {first}") from error
    finally:
        exporter.setLevel(level)
    write_bytes(path, buffer.getbuffer())

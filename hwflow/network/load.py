"""The `Network` that the command line's NETWORK argument names."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hwflow.errors import HwflowError, ImportFailed, InputError, MissingDependency, not_found
from hwflow.layers import Layer
from hwflow.network import Network, model_zoo
from hwflow.network._rows import checked_batch
from hwflow.network.from_timeloop_problem import SUFFIXES, is_problem

if TYPE_CHECKING:
    from torch import nn

    NetworkLike: TypeAlias = Network | nn.Module | str | Path

_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_FORMS = (
    "NETWORK may also be an .onnx file, a .yaml layer list, a problem file of Timeloop's or a folder of them, or "
    "package.module:callable that returns a torch.nn.Module (with --input)."
)


def load(spec: str, *, input_shape: Sequence[int] | None = None, batch: int | None = None) -> Network:
    """A network by what the user wrote: a zoo name, an `.onnx` or `.yaml` file, a folder, or `package.module:callable`.

    A `.yaml` file is a layer list or a problem of Timeloop's; a folder holds such problems.

    Args:
        input_shape: batch included; the zoo and most ONNX files know their own, a callable needs it, a layer list takes none.
        batch: replaces the batch of the network's own input shape. In a layer list it becomes N of every layer; a `matmul`,
            whose samples have both operands of their own, has its G multiplied instead.

    Raises:
        InputError: for an unknown name (listing what is known), a missing file, or `input_shape` and `batch` in conflict.
        ImportFailed: where the model cannot be turned into layers, or its callable fails.
        MissingDependency: where torch or onnx is needed and not installed.
    """
    checked_batch(input_shape, batch)
    if spec in model_zoo.ZOO:
        return model_zoo.build(spec, input_shape or _with_batch(model_zoo.ZOO[spec].input_shape, batch))
    suffix = Path(spec).suffix.lower()
    if suffix == ".onnx":
        return Network.from_onnx(spec, input_shape=input_shape, batch=batch)
    folder = bool(spec) and Path(spec).is_dir()
    if suffix in SUFFIXES or folder:
        problem = folder or is_problem(Path(spec))
        if input_shape is not None:
            what = "is Timeloop's problem" if problem else "is a layer list"
            raise InputError(f"{spec} {what}, which has its sizes written in it: leave --input (input_shape=) out.")
        network = Network.from_timeloop(spec) if problem else Network.from_yaml(spec)
        return network if batch is None else batched(network, batch)
    if _CALLABLE.fullmatch(spec):
        if input_shape is None:
            raise InputError(f"{spec} needs the shape of its input, batch first: --input 1x3x224x224 (input_shape=).")
        return Network.from_torch(_called(spec), input_shape, name=spec.partition(":")[2])
    raise not_found("network", spec, model_zoo.NAMES, _FORMS)


def load_module(spec: str, *, num_classes: int, in_channels: int) -> nn.Module:
    """A network to train or prune: a zoo name, or `package.module:callable`, which decides on its sizes itself.

    Raises:
        InputError: for an unknown name, or a file, which holds no module.
        ImportFailed: where the callable fails or returns something else.
        MissingDependency: where torch is not installed.
    """
    if spec in model_zoo.ZOO:
        return model_zoo.load_model(spec, num_classes, in_channels)
    if _CALLABLE.fullmatch(spec):
        return _called(spec)
    if Path(spec).suffix.lower() in (".onnx", *SUFFIXES) or Path(spec).is_dir():
        raise InputError(
            f"{spec} can be costed, not trained or pruned: that needs a torch.nn.Module. Name a network of the zoo "
            "('hwflow list networks') or package.module:callable."
        )
    raise not_found("network", spec, model_zoo.NAMES, "Or package.module:callable that returns a torch.nn.Module.")


def _with_batch(shape: Sequence[int], batch: int | None) -> Sequence[int]:
    return shape if batch is None else (batch, *shape[1:])


def batched(network: Network, batch: int) -> Network:
    """Every layer at this batch; a `matmul`, whose samples have both operands of their own, has its G multiplied."""

    def change(layer: Layer) -> Layer:
        return layer.with_(G=layer.G * batch) if layer.type == "matmul" else layer.with_(N=batch)

    return replace(network, layers=tuple(map(change, network.layers)))


def _called(spec: str) -> Any:
    """The module that `package.module:callable` gives; the current folder is importable meanwhile."""
    try:
        from torch import nn
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependency(
            f'{spec} is a PyTorch model; torch is not installed here: pip install "hwflow[prune]"'
        ) from error
    module_name, _, attribute = spec.partition(":")
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise not_found(f"name in {module_name}", attribute, [n for n in vars(found) if not n.startswith("_")])
            found = getattr(found, part)
        model = found if isinstance(found, nn.Module) else found()
    except HwflowError:
        raise
    except Exception as error:
        raise ImportFailed(
            f"{spec} failed: {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}. The module must be "
            "importable from the current folder or installed, and the callable must need no arguments."
        ) from error
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)
    if not isinstance(model, nn.Module):
        raise ImportFailed(f"{spec} returned {type(model).__name__}; it must return a torch.nn.Module.")
    return model


__all__ = ["batched", "load", "load_module"]

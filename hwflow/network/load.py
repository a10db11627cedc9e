"""`load`: the network that the argument NETWORK of the command line names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hwflow.errors import InputError, not_found
from hwflow.layers import Layer
from hwflow.network import model_zoo
from hwflow.network._inputs import inputs_of
from hwflow.network._rows import checked_batch
from hwflow.network.callables import NamedIn, check_name, is_callable, module_of
from hwflow.network.network import Network

if TYPE_CHECKING:
    from torch import nn

    NetworkLike: TypeAlias = Network | nn.Module | str | Path

_DESCRIPTIONS = (".yaml", ".yml", ".jinja", ".jinja2", ".j2")
_FORMS = (
    "NETWORK may also be an .onnx file, a .yaml layer list, a problem file of Timeloop's or a folder of them, or "
    "package.module:callable that returns a torch.nn.Module (with --input)."
)


def load(
    spec: str,
    *,
    input_shape: Any = None,
    batch: int | None = None,
    named_in: NamedIn | None = None,
) -> Network:
    """A network by its name: of the zoo, an `.onnx` or `.yaml` file, a folder, or `package.module:callable`.

    A `.yaml` file is a layer list or a problem of Timeloop's; a folder holds such problems.

    Args:
        input_shape: batch included, as `Network.from_torch` takes it. The zoo and most ONNX files know their own, a callable
            needs it, a layer list takes none.
        batch: replaces the batch of the network's own input shape. In a layer list it becomes N of every layer; a `matmul`,
            whose samples have both operands of their own, has its G multiplied instead.
        named_in: the file in which the name stands, and what it may import; None where the user wrote the name.

    Raises:
        InputError: for an unknown name (listing what is known), a missing file, a callable that `named_in` does not allow, or
            `input_shape` and `batch` in conflict.
        ImportFailed: where the model cannot be turned into layers, or its callable fails.
        MissingDependency: where torch or onnx is needed and not installed.
    """
    checked_batch(None if input_shape is None else inputs_of(input_shape)[0].shape, batch)
    if spec in model_zoo.ZOO:
        return model_zoo.build(spec, _only_shape(spec, input_shape) or _with_batch(model_zoo.ZOO[spec].input_shape, batch))
    suffix = Path(spec).suffix.lower()
    if suffix == ".onnx":
        return Network.from_onnx(spec, input_shape=input_shape, batch=batch)
    folder = os.path.isdir(spec)  # False for names that no file can have, too
    if suffix in _DESCRIPTIONS or folder:
        from hwflow.network.from_timeloop_problem import is_problem

        problem = folder or is_problem(Path(spec))
        if input_shape is not None:
            what = "is Timeloop's problem" if problem else "is a layer list"
            raise InputError(f"{spec} {what}, which has its sizes written in it: leave --input (input_shape=) out.")
        network = Network.from_timeloop(spec) if problem else Network.from_yaml(spec)
        return network if batch is None else batched(network, batch)
    if is_callable(spec):
        if input_shape is None:
            check_name(spec, named_in)  # a name that there is not is what to say first
            raise InputError(f"{spec} needs the shape of its input, batch first: --input 1x3x224x224 (input_shape=).")
        return Network.from_torch(module_of(spec, named_in), input_shape, name=spec.partition(":")[2])
    raise not_found("network", spec, model_zoo.NAMES, _FORMS)


def load_module(spec: str, *, num_classes: int, in_channels: int, named_in: NamedIn | None = None) -> nn.Module:
    """A network to train or prune: a zoo name, or `package.module:callable`, which decides on its sizes itself.

    Args:
        named_in: as in `load`.

    Raises:
        InputError: for an unknown name, a file, which holds no module, or a callable that `named_in` does not allow.
        ImportFailed: where the callable fails or returns something else.
        MissingDependency: where torch is not installed.
    """
    if spec in model_zoo.ZOO:
        return model_zoo.load_model(spec, num_classes, in_channels)
    if is_callable(spec):
        return module_of(spec, named_in)
    if Path(spec).suffix.lower() in (".onnx", *_DESCRIPTIONS) or Path(spec).is_dir():
        raise InputError(
            f"{spec} can be costed, not trained or pruned: that needs a torch.nn.Module. Name a network of the zoo "
            "('hwflow list networks') or package.module:callable."
        )
    raise not_found("network", spec, model_zoo.NAMES, "Or package.module:callable that returns a torch.nn.Module.")


def _only_shape(name: str, input_shape: Any) -> Sequence[int] | None:
    """The shape of a zoo network's one input."""
    if input_shape is None:
        return None
    specs = inputs_of(input_shape)
    if len(specs) != 1 or not specs[0].is_plain:
        raise InputError(f"{name} takes one input of its parameters' type: give one shape, such as --input 1x3x224x224.")
    return specs[0].shape


def _with_batch(shape: Sequence[int], batch: int | None) -> Sequence[int]:
    return shape if batch is None else (batch, *shape[1:])


def batched(network: Network, batch: int) -> Network:
    """Every layer at this batch; a `matmul`, whose samples have both operands of their own, has its G multiplied."""

    def change(layer: Layer) -> Layer:
        return layer.with_(G=layer.G * batch) if layer.type == "matmul" else layer.with_(N=batch)

    sizes = {1 if layer.type == "matmul" else layer.N for layer in network}
    if len(sizes) > 1:
        return replace(network, layers=tuple(map(change, network.layers)), graph=None)
    size = sizes.pop()
    other = [op._replace(words_in=op.words_in * batch // size, words_out=op.words_out * batch // size) for op in network.other]
    graph = network.graph.scaled(batch, size) if network.graph else None
    return replace(network, layers=tuple(map(change, network.layers)), other=tuple(other), graph=graph)


__all__ = ["batched", "load", "load_module"]

"""A `Network` from any `torch.nn.Module`, run once on fake tensors (shapes without data) while its operators are recorded.

What counts is what PyTorch executes, so control flow, functional calls and modules called several times need no special care.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from hwflow.errors import ImportFailed, InputError
from hwflow.network._inputs import InputSpec, inputs_of
from hwflow.network._parameters import Origin
from hwflow.network._recorder import OutsideReads, Recorder
from hwflow.network._rows import shown
from hwflow.network.network import Network

Rows: TypeAlias = Callable[[Network], Network]
"""The rows of a network as they run, from those that its modules have."""

_ROWS = "_hwflow_rows"  # a plain attribute, so that copies of the network keep it

Example: TypeAlias = "tuple[int, ...] | torch.Tensor"


def trace(model: nn.Module, input_shape: Any, *, name: str | None = None) -> Network:
    """The layers of `model`, in order of execution, in evaluation mode.

    The model comes back as it was: mode, buffers, attributes and hooks. No parameter is copied; where the model cannot run on
    fake tensors (it looks at values to decide what to do), it runs once on zeros, on its own device.

    What depends on no input (a reparametrised weight, a table of positions) is taken for a constant that is computed once:
    neither row nor operator, and a product with it is `linear`.

    Args:
        model: any module whose multiply-accumulates are convolutions of one or two axes, linear layers or matrix products.
        input_shape: (N, C, H, W) or whatever the model takes, batch included. A text may stand for a shape, to state a type
            other than the parameters' ("int64:1x128" for token ids, zeros), and so may a tensor, whose values are used. Several
            inputs are a tuple of these, in order, or a mapping from the names of `forward`'s arguments to these.
        name: of the network; the model's class by default.

    Raises:
        ImportFailed: naming the module and the operator that cannot be expressed, or the module that failed and why.
        InputError: where `input_shape` is no shape.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is {type(model).__name__}; it must be a torch.nn.Module.")
    model = unwrapped(model)
    label = name or type(model).__name__
    lazy = [key for key, value in _tensors(model) if nn.parameter.is_lazy(value)]
    if lazy:
        raise ImportFailed(
            f"{label}: parameter {lazy[0]!r} has no shape yet (a lazy module). Run the model once on real data "
            "before importing it."
        )
    examples, names = _arguments(input_shape)
    recorder = _run_fake(model, examples, names) or _run_real(model, examples, names, label)
    if not recorder.layers:
        raise ImportFailed(
            f"{label} executes no convolution, linear layer or matrix product on inputs of {_sizes(examples)}; "
            "there is nothing to cost."
        )
    return recorder.network(label)


def imported(model: nn.Module, input_shape: Any, *, name: str | None = None) -> Network:
    """`trace`, and, of a compressed network that knows how its rows run, these: see `record_rows`."""
    network = trace(model, input_shape, name=name)
    rows = rows_of(model)
    return network if rows is None else rows(network)


def rows_of(model: nn.Module) -> Rows | None:
    """What `record_rows` had a network carry."""
    rows: Rows | None = getattr(unwrapped(model), _ROWS, None)
    return rows


def record_rows(model: nn.Module, rows: Rows | None) -> None:
    """Have a network carry how its rows run, which its modules do not tell: word widths, matrix products instead of
    convolutions. None has it forget that."""
    if rows is not None:
        setattr(model, _ROWS, rows)
    elif hasattr(model, _ROWS):
        delattr(model, _ROWS)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside what compiles it or spreads it over devices: it is only to be looked at."""
    while isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)) or hasattr(model, "_orig_mod"):
        model = model.module if hasattr(model, "module") else model._orig_mod
    return model


def _run_fake(model: nn.Module, examples: tuple[Example, ...], names: Sequence[str]) -> Recorder | None:
    """The record of a run on fake tensors; None where the model cannot run on them."""
    # Tensors that are no parameters or buffers (plain attributes) enter the fake world by themselves.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    recorder = None
    try:
        swapped = {key: fake.from_tensor(value, static_shapes=True) for key, value in _tensors(model)}
        with fake:
            inputs = tuple(filled(x, model) for x in examples)
        recorder = Recorder(_origins(model, swapped), inputs)
        with _silent(), _unchanged(model), recorder.names_from(model), torch.inference_mode(), fake, recorder:
            recorder.returned(functional_call(model, swapped, *_call(inputs, names)))
    except Exception:
        if recorder is None or not recorder.refusal:
            return None  # whatever went wrong goes wrong again on real tensors, or does not
    if recorder.refusal:
        raise recorder.refusal from None
    return recorder


def _call(inputs: Sequence[torch.Tensor], names: Sequence[str]) -> tuple[tuple[torch.Tensor, ...], Mapping[str, torch.Tensor]]:
    """The inputs as positional and as keyword arguments; the last ones have names."""
    first = len(inputs) - len(names)
    return tuple(inputs[:first]), dict(zip(names, inputs[first:], strict=True))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """PyTorch logs operators that fail on fake tensors; here that is an answer, not an accident."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _run_real(model: nn.Module, examples: tuple[Example, ...], names: Sequence[str], label: str) -> Recorder:
    """The record of a run on zeros, on the model's device."""
    swapped = {**dict(model.named_parameters()), **{key: value.clone() for key, value in model.named_buffers()}}
    inputs = tuple(filled(x, model) for x in examples)
    recorder = Recorder(_origins(model, swapped), inputs)
    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
    try:
        with (
            torch.random.fork_rng(devices=[]),
            _unchanged(model),
            recorder.names_from(model),
            torch.inference_mode(),
            OutsideReads(recorder),
            recorder,
        ):
            if scripted:
                ordered, named = _call(inputs, names)
                recorder.returned(model(*ordered, **named))  # functional_call cannot swap what a script module holds
            else:
                recorder.returned(functional_call(model, swapped, *_call(inputs, names)))
    except Exception as error:
        if recorder.refusal:
            raise recorder.refusal from None
        where = f", in module {recorder.failed_in!r}" if recorder.failed_in else ""
        raise ImportFailed(
            f"{label} fails on inputs of {_sizes(examples)}{where}: {type(error).__name__}: {_first_line(error)} "
            "Check the input shape, batch included (--input 1x3x224x224, or input_shape=), and its type where the input is not "
            "of the parameters' (int64:1x128 for token ids)."
        ) from error
    if recorder.refusal:
        raise recorder.refusal
    return recorder


@contextlib.contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; on leaving, every module's attributes are what they were, containers included."""
    before = [(module, _copied(module)) for module in model.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    # The fused encoder layer is one opaque operator; without it attention shows its products.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        model.eval()
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, state in before:
            _restore(module, state)


def _copied(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Each attribute of a module, with a copy of its contents where it is a plain container."""
    if isinstance(module, torch.jit.ScriptModule):
        return {"training": (module.training, None)}
    return {
        key: (value, value.copy() if type(value) in (dict, OrderedDict, list, set) else None)
        for key, value in vars(module).items()
    }


def _restore(module: nn.Module, state: dict[str, tuple[Any, Any]]) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        module.train(state["training"][0])
        return
    attributes = vars(module)
    for key in [key for key in attributes if key not in state]:
        del attributes[key]
    for key, (value, contents) in state.items():
        if contents is not None:
            value.clear()
            value.extend(contents) if isinstance(value, list) else value.update(contents)
        attributes[key] = value


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Parameters and buffers under their qualified names; one that is shared stands under its first."""
    return [*model.named_parameters(), *model.named_buffers()]


def _origins(model: nn.Module, swapped: dict[str, torch.Tensor]) -> list[tuple[torch.Tensor, Origin]]:
    parameters = {key for key, _ in model.named_parameters()}
    return [(tensor, Origin(key, key in parameters)) for key, tensor in swapped.items()]


def examples_of(input_shape: Any) -> tuple[Example, ...]:
    """The inputs that the user described, in order: for each a shape, or a tensor.

    Raises:
        InputError: where it is no shape, or inputs have names.
    """
    examples, names = _arguments(input_shape)
    if names:
        raise InputError(f"input {names[0]!r} is named; here inputs are given in order, as a tuple of shapes.")
    return examples


def _arguments(input_shape: Any) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """All inputs, and the names of the last ones, which are passed by those."""
    specs = inputs_of(input_shape)
    return tuple(map(_example, specs)), tuple(spec.name for spec in specs if spec.name is not None)


def _example(spec: InputSpec) -> Example:
    if spec.tensor is not None:
        return spec.tensor if isinstance(spec.tensor, torch.Tensor) else torch.as_tensor(spec.tensor)
    return spec.shape if spec.dtype is None else torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype))


def filled(example: Example, model: nn.Module) -> torch.Tensor:
    """A tensor to run the model on: zeros in its parameters' type, or a copy of the user's own."""
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    if isinstance(example, torch.Tensor):
        return example.detach().clone().to(first.device)
    return torch.zeros(example, dtype=first.dtype, device=first.device)


def _sizes(examples: tuple[Example, ...]) -> str:
    return ", ".join(shown(x.shape if isinstance(x, torch.Tensor) else x) for x in examples)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    line = text[0] if text else "no message"
    return line if line.endswith(".") else f"{line}."


__all__ = ["Example", "Rows", "examples_of", "filled", "imported", "record_rows", "rows_of", "trace", "unwrapped"]

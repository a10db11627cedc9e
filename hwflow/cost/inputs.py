"""Conversion of what public functions accept as a network or an accelerator: objects, names or paths."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hwflow.errors import InputError
from hwflow.files import read_text
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.network import Network
from hwflow.network._inputs import inputs_of
from hwflow.network._rows import checked_batch
from hwflow.network.load import batched, load

if TYPE_CHECKING:
    from hwflow.network.load import NetworkLike

    AcceleratorLike: TypeAlias = Accelerator | str | Path

_TIMELOOP = re.compile(r"^(architecture|arch)\s*:", re.MULTILINE)


def network_of(
    given: NetworkLike, *, input_shape: Any = None, batch: int | None = None, bits: tuple[int, int] | None = None
) -> Network:
    """The network, from any of the accepted forms.

    Args:
        given: a `Network`; a `torch.nn.Module`, with `input_shape`; or a name or file as the command line takes it: a zoo name,
            an `.onnx` or `.yaml` file, `package.module:callable`.
        input_shape: batch included, as `Network.from_torch` takes it.
        batch: replaces the batch of the network's own input; beside `input_shape` it must be the same.
        bits: word widths of weights and activations, for layers that state none.

    Raises:
        InputError: where it is nothing of these, or the shape is missing or not wanted.
        ImportFailed: where a model cannot be turned into layers.
    """
    if isinstance(given, Network):
        if input_shape is not None:
            raise InputError(
                f"input_shape is {input_shape!r}, and {given.name} is a Network, whose layers have their sizes: leave it out."
            )
        checked_batch(None, batch)
        network = given if batch is None else batched(given, batch)
    elif isinstance(given, (str, Path)):
        network = load(str(given), input_shape=input_shape, batch=batch)
    elif _is_module(given):
        if input_shape is None:
            raise InputError(
                f"{type(given).__name__} is a PyTorch module: give the shape of its input, batch first: "
                "input_shape=(1, 3, 224, 224)."
            )
        checked_batch(inputs_of(input_shape)[0].shape, batch)
        network = Network.from_torch(given, input_shape)
    else:
        raise InputError(
            f"a network is a hwflow.Network, a torch.nn.Module with input_shape, a zoo name, an .onnx or .yaml file, or "
            f"package.module:callable, not {type(given).__name__}."
        )
    if bits is None:
        return network
    if not isinstance(bits, (tuple, list)) or len(bits) != 2:
        raise InputError(f"bits is {bits!r}; it must be two whole numbers, of weights and of activations: (8, 16).")
    return network.with_bits(*bits)


def accelerator_of(given: AcceleratorLike) -> Accelerator:
    """The accelerator, from an `Accelerator`, a preset's name, a YAML file of hwflow's, or an architecture in
    Timeloop's format (a file, or a folder of them).

    Raises:
        InputError: where it is nothing of these, or the description cannot be used.
    """
    if isinstance(given, Accelerator):
        return given
    if not isinstance(given, (str, Path)):
        raise InputError(
            "an accelerator is a hwflow.Accelerator, the name of a preset, or a YAML file (hwflow's or Timeloop's), not "
            f"{type(given).__name__}."
        )
    text = str(given)
    if text in presets():
        return Accelerator.load(text)
    if "," in text and not Path(text).exists():
        raise InputError(
            f"accelerator {text!r} names several, and one is wanted here; 'hwflow compare NETWORK --accelerator {text}' "
            "(hwflow.compare) puts several side by side."
        )
    if text and _is_timeloop(Path(text)):
        from hwflow.timeloop.importer.importer import from_timeloop

        return from_timeloop(text)
    return Accelerator.load(text)


def _is_timeloop(path: Path) -> bool:
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path] if path.suffix in (".yaml", ".yml") else []
    return any(_TIMELOOP.search(read_text(file, "accelerator")) for file in files if file.exists())


def _is_module(given: object) -> bool:
    torch = sys.modules.get("torch")  # whoever has a module has imported it
    return torch is not None and isinstance(given, torch.nn.Module)


__all__ = ["accelerator_of", "network_of"]

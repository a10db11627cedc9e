"""Densities: the share of a tensor's elements that are not zero, as users give them, and as trained weights have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.errors import InputError, not_found, shown
from hwflow.files import read_yaml
from hwflow.layers import Densities

if TYPE_CHECKING:
    import torch

REST = "*"
"""The name that stands for all layers that are not named."""


def densities_of(given: Any, network: str, layers: Sequence[str]) -> dict[str, Densities]:
    """The densities of each layer, from a mapping of names to shares by tensor.

    Args:
        network, layers: its name, for errors, and those of its layers.

    Raises:
        InputError: for a layer or a tensor that there is not, and for what is no mapping.
    """
    if not isinstance(given, Mapping):
        raise InputError(
            f"densities are {shown(given)}; they must be a mapping of layers to shares: {{conv1: {{weights: 0.4}}}}."
        )
    found = {}
    for name, shares in given.items():
        if name != REST and name not in layers:
            raise not_found(f"layer of {network}", str(name), layers, f"{REST!r} stands for all that are not named.")
        found[str(name)] = _shares(name, shares)
    rest = found.pop(REST, None)
    return found if rest is None else {**dict.fromkeys(layers, rest), **found}


def read_densities(path: str | Path) -> dict[str, Any]:
    """The content of a file of densities, which is a mapping of layers to shares by tensor.

    Raises:
        InputError: where it cannot be read or is none.
    """
    content = read_yaml(Path(path), "densities")
    if not isinstance(content, dict):
        raise InputError(f"densities {path} hold {shown(content)}; a mapping of layers to shares by tensor is expected.")
    return content


def weight_densities(model: torch.nn.Module) -> dict[str, dict[str, float]]:
    """The share of each layer's weights that are not zero, by the name of its module.

    For `Network.with_densities`, of a network that was imported from the same model. Of a Winograd layer these are the
    transformed weights, of all positions of a tile together: the products that are left are as many as if each position had as
    many zeros.

    Raises:
        InputError: for a layer whose weights are all zero: nothing would be left to cost.
    """
    import torch

    found = {}
    for name, module in model.named_modules():
        weights = dict(module.named_parameters(recurse=False)).get("weight")
        if weights is None or weights.dim() < 2 or isinstance(module, torch.nn.Embedding):
            continue
        share = int(torch.count_nonzero(weights)) / weights.numel()
        if share == 0:
            raise InputError(f"all weights of {name} are zero: remove the layer, since a chip would have nothing to do.")
        found[name] = {"weights": share}
    return found


def _shares(name: str, shares: Any) -> Densities:
    if not isinstance(shares, Mapping):
        raise InputError(f"densities of {name}: {shown(shares)} is no mapping of tensors to shares, such as {{weights: 0.4}}.")
    for tensor in shares:
        if tensor not in Densities._fields:
            raise not_found(f"tensor in the densities of {name}", str(tensor), Densities._fields)
    return Densities(**shares)


__all__ = ["REST", "densities_of", "read_densities", "weight_densities"]

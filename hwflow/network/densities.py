"""Densities: the share of a tensor's elements that are not zero, as users give them, and as trained weights have them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwflow.errors import InputError, not_found, shown
from hwflow.files import read_yaml
from hwflow.layers import Densities, Layer

if TYPE_CHECKING:
    import torch

REST = "*"
"""The name that stands for all layers that are not named."""
_ALIKE = 0.05  # densities of positions that a row can share


POSITIONS = "positions"
_TILES = (1, 16, 36)  # densities that can be given of positions
"""Of what can be given for a layer, the shares of transformed weights; the others are tensors."""


def densities_of(given: Any, network: str, layers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each layer the fields of `Layer` that hold its densities, from a mapping of names to shares by tensor.

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
        found[str(name)] = layer_fields(_checked(name, shares))
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


def given_densities(text: str, what: str, folder: Path = Path()) -> dict[str, Any]:
    """For `Network.with_densities`, from shares for all layers, such as `weights=0.4,inputs=0.5`, or the name of a YAML file.

    Args:
        what: the option or field that has the text, for errors.
        folder: to which the file's name is relative.

    Raises:
        InputError: where the text is neither, or the file cannot be read.
    """
    if text.endswith((".yaml", ".yml")):
        return read_densities(folder / text)
    found = {}
    for part in text.split(","):
        tensor, equals, share = part.partition("=")
        try:
            found[tensor.strip()] = float(share)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(
                f"{what} is {shown(text)}; it must be shares of nonzero elements, such as weights=0.4,inputs=0.5, or a YAML "
                "file."
            )
    return {REST: found}


def layer_fields(shares: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Layer` that hold densities, from shares by tensor and by position; those of which nothing is said are left
    out."""
    tensors = {name: share for name, share in shares.items() if name != POSITIONS}
    fields: dict[str, Any] = {"densities": Densities(**tensors)} if tensors else {}
    if (positions := shares.get(POSITIONS)) is not None:
        shares_of = tuple(positions) if isinstance(positions, (list, tuple)) else (positions,)
        if len(shares_of) not in _TILES:
            raise InputError(
                f"positions has {len(shares_of)} densities; give one for all positions, 16 (4 x 4 tiles, winograd2) or 36 "
                "(6 x 6 tiles, winograd4)."
            )
        fields["position_densities"] = shares_of
    return fields


def density_fields(layer: Layer) -> dict[str, Any]:
    """The opposite of `layer_fields`."""
    shares: dict[str, Any] = {} if layer.densities is None else dict(layer.densities._asdict())
    if (positions := layer.position_densities) is not None:
        shares[POSITIONS] = positions[0] if len(positions) == 1 else list(positions)
    return shares


def weight_densities(model: torch.nn.Module) -> dict[str, dict[str, Any]]:
    """The share of each layer's weights that are not zero, by the name of its module.

    For `Network.with_densities`, of a network that was imported from the same model. Of a Winograd layer these are the
    transformed weights, and beside the share of all there is that of each position of a tile. Positions whose densities are
    within 0.05 of one another have their mean: each density that is left is a row of its own to a cost model.

    Raises:
        InputError: for a layer whose weights are all zero: nothing would be left to cost.
    """
    found = _counted(model)
    for name, shares in found.items():
        if shares["weights"] == 0:
            raise InputError(f"all weights of {name} are zero: remove the layer, since a chip would have nothing to do.")
    return found


def living_densities(model: torch.nn.Module) -> dict[str, dict[str, Any]]:
    """As `weight_densities`, without layers whose weights are all zero."""
    return {name: shares for name, shares in _counted(model).items() if shares["weights"]}


def _counted(model: torch.nn.Module) -> dict[str, dict[str, Any]]:
    import torch

    found: dict[str, dict[str, Any]] = {}
    for name, module in model.named_modules():
        weights = dict(module.named_parameters(recurse=False)).get("weight")
        if weights is None or weights.dim() < 2 or isinstance(module, torch.nn.Embedding):
            continue
        found[name] = {"weights": int(torch.count_nonzero(weights)) / weights.numel()}
        if getattr(module, "transformed", False):
            found[name][POSITIONS] = _alike([float(share) for share in (weights != 0).double().mean(dim=(1, 2))])
    return found


def _alike(shares: Sequence[float]) -> list[float]:
    """Shares, with those that are within `_ALIKE` of one another, from the smallest on, at their mean; zeros stay apart."""
    result = list(shares)
    order = sorted((i for i, share in enumerate(shares) if share), key=lambda i: shares[i])
    while order:
        together = [i for i in order if shares[i] - shares[order[0]] <= _ALIKE]
        mean = math.fsum(shares[i] for i in together) / len(together)
        for i in together:
            result[i] = mean
        order = order[len(together) :]
    return result


def _checked(name: str, shares: Any) -> Mapping[str, Any]:
    if not isinstance(shares, Mapping):
        raise InputError(f"densities of {name}: {shown(shares)} is no mapping of tensors to shares, such as {{weights: 0.4}}.")
    for tensor in shares:
        if tensor not in (*Densities._fields, POSITIONS):
            raise not_found(f"tensor in the densities of {name}", str(tensor), (*Densities._fields, POSITIONS))
    return shares


__all__ = [
    "POSITIONS",
    "REST",
    "densities_of",
    "density_fields",
    "given_densities",
    "layer_fields",
    "living_densities",
    "read_densities",
    "weight_densities",
]

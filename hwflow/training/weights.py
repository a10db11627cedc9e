"""Files of weights: what `hwflow train` writes and `--weights` reads; plain state dicts, as torchvision publishes them, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hwflow.data import parse_json
from hwflow.errors import InputError, shown
from hwflow.training import checkpoint as files


def save_weights(path: str | Path, model: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a network's state, and what is known of it (plain data); equal arguments give equal bytes.

    Raises:
        HwflowError: where the file cannot be written; what stood there before still does.
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    files.save(Path(path), {"kind": "weights", "about": json.dumps(dict(about), sort_keys=True), "model": state})


def load_weights(path: str | Path, model: nn.Module) -> dict[str, Any]:
    """Fill a network from a file of weights; gives what the file says of them, nothing for a plain state dict.

    Raises:
        InputError: where the file is missing, damaged, or of another network: which tensors differ. The network is unchanged.
    """
    found = files.read(Path(path), "the weights")
    about, state = (_about(path, found), found.get("model")) if found.get("kind") == "weights" else ({}, found)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"the weights {path}: the file holds no state dict. It may be a checkpoint, which is no result yet.")
    wanted = model.state_dict()
    parts = [f"{name} is missing" for name in wanted if name not in state]
    parts += [f"{name} is not of the network" for name in state if name not in wanted]
    parts += [
        f"{name} is {tuple(state[name].shape)}, the network's is {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if parts:
        more = f"; and {len(parts) - 3} more" if len(parts) > 3 else ""
        said = (
            f" They are of {about['network']} with {about['classes']} classes." if {"network", "classes"} <= set(about) else ""
        )
        raise InputError(f"the weights {path} do not fit the network: {'; '.join(parts[:3])}{more}.{said}")
    model.load_state_dict(state)
    return about


def _about(path: str | Path, found: Mapping[str, Any]) -> dict[str, Any]:
    try:
        about = parse_json(found["about"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the weights {path} are damaged: what is known of them cannot be read: {error}.") from None
    if not isinstance(about, dict):
        raise InputError(f"the weights {path} are damaged: what is known of them is {shown(about)}, not a mapping.")
    return about


__all__ = ["load_weights", "save_weights"]

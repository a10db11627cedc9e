"""Files of weights, which `hwflow train` writes and `--weights` reads; plain state dicts as torchvision publishes work, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwflow.errors import InputError, shown
from hwflow.files import parse_json
from hwflow.training import checkpoint as files

_RECORD = "_hwflow_trained_on"


def record_training(model: nn.Module, identity: str) -> None:
    """Note on a module on which data (`Data.identity`) it was trained with a part held out; its copies say so, too."""
    vars(model)[_RECORD] = identity


def trained_on(model: nn.Module) -> str | None:
    """The identity that `record_training` noted; None where the training samples are not known."""
    found = vars(model).get(_RECORD)
    return found if isinstance(found, str) else None


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
        InputError: where the file is missing, damaged, of another network (which tensors differ), or holds tensors that are no
            weights: not finite, complex, sparse, quantised, without data. The network is unchanged.
    """
    about, state = _parts(files.read(Path(path), "the weights"), path)
    wanted = model.state_dict()
    parts = [f"{name} is missing" for name in wanted if name not in state]
    parts += [f"{name} is not of the network" for name in state if name not in wanted]
    parts += [
        f"{name} is {tuple(state[name].shape)}, the network's is {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    said = f" They are of {about['network']} with {about['classes']} classes." if {"network", "classes"} <= set(about) else ""
    if parts:
        raise InputError(f"the weights {path} do not fit the network: {_listed(parts)}.{said}")
    learnt = dict(model.named_parameters(remove_duplicate=False))
    faults = [
        f"{name} {fault}"
        for name, value in wanted.items()
        if (fault := _fault(state[name], value.dtype, finite=name in learnt))
    ]
    if faults:
        raise InputError(f"the weights {path} cannot be used: {_listed(faults)}.{said}")
    model.load_state_dict(state)
    record_training(model, str(about.get("data_identity", "")))
    return about


def check_values(model: nn.Module, name: str) -> None:
    """That a network's own tensors are such as can be trained, pruned and costed.

    Raises:
        InputError: naming those that are not.
    """
    tensors = [(key, value, True) for key, value in model.named_parameters()]
    tensors += [(key, value, False) for key, value in model.named_buffers()]
    faults = [
        f"{key} {fault}"
        for key, value, finite in tensors
        if not nn.parameter.is_lazy(value) and (fault := _fault(value.detach(), value.dtype, finite=finite))
    ]
    if faults:
        raise InputError(f"the weights of {name} cannot be used: {_listed(faults)}.")


def _parts(found: dict[str, Any], path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file says of its weights, and the weights by name: of hwflow's own, of a state dict, or under `state_dict`."""
    kind = found.get("kind")
    named = isinstance(kind, str) and kind == "weights"
    about, state = (_about(path, found), found.get("model")) if named else ({}, found.get("state_dict", found))
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        keys = [name for name, value in found.items() if isinstance(name, str) and isinstance(value, dict)]
        nested = f" It has a mapping under {', '.join(map(shown, keys[:6]))}: save the weights alone, or under 'state_dict'."
        checkpoint = " It may be a checkpoint, which is no result yet."
        raise InputError(f"the weights {path}: the file holds no state dict.{nested if keys and kind is None else checkpoint}")
    for name, value in state.items():
        if not isinstance(name, str):
            raise InputError(f"the weights {path}: the file calls a tensor {name!r}; in a state dict names are text.")
        if value.is_nested:  # which has no shape to compare
            raise InputError(f"the weights {path} cannot be used: {name} is a nested tensor.")
    return about, state


def _about(path: str | Path, found: Mapping[str, Any]) -> dict[str, Any]:
    try:
        about = parse_json(found["about"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the weights {path} are damaged: what is known of them cannot be read: {error}.") from None
    if not isinstance(about, dict):
        raise InputError(f"the weights {path} are damaged: what is known of them is {shown(about)}, not a mapping.")
    return about


def _fault(value: Tensor, wanted: torch.dtype, *, finite: bool) -> str:
    """Why a tensor is no weights of this type; empty where nothing speaks against it. A mask may hold infinities."""
    if value.is_meta:
        return "has no data (it is on the meta device)"
    if value.is_quantized:
        return f"is quantised ({value.dtype}); dequantise it first"
    if value.layout != torch.strided:
        return f"is not dense ({value.layout}); call to_dense() first"
    if value.is_complex() and not wanted.is_complex:
        return f"is complex ({value.dtype})"
    if wanted.is_floating_point and not value.is_floating_point():
        return f"is of whole numbers ({value.dtype}), the network's is {wanted}"
    if value.is_complex():
        return f"is complex ({value.dtype}), which hwflow does not train or cost"
    if wanted.is_floating_point:
        cast = value.to(wanted).float()
        bad = int((~cast.isfinite() if finite else cast.isnan()).sum())
        return f"holds {bad:,} of {value.numel():,} values that are not finite" if bad else ""
    return ""


def _listed(parts: list[str]) -> str:
    """The first few, and how many more there are."""
    return f"{'; '.join(parts[:3])}{f'; and {len(parts) - 3} more' if len(parts) > 3 else ''}"


__all__ = ["check_values", "load_weights", "record_training", "save_weights", "trained_on"]

"""Files of tensors and plain data, written atomically and read without executing their content."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwflow.errors import InputError
from hwflow.files import checked, write_bytes

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data.

    Raises:
        HwflowError: naming the file and the system's reason; what stood there before still does.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


def read(path: Path, what: str) -> dict[str, Any]:
    """The tensors and plain data in a file, on the CPU; `what` names its purpose in errors.

    Raises:
        InputError: where there is no such file, or it is damaged or something else.
    """
    checked(path, what, "weights")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they advise is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        found = _GLOBAL.search(str(error))
        if found is None:
            raise InputError(f"{what} {path} is damaged, or no file of tensors.") from None
        raise InputError(
            f"{what} {path}: the file holds the Python object {found[1]}, and to read that is to run code. hwflow reads "
            "tensors and plain data only; write the file with torch.save(model.state_dict(), ...)."
        ) from None
    except Exception as error:  # what torch raises on files of another kind is not bounded
        if "TorchScript" in str(error):
            raise InputError(
                f"{what} {path} is a TorchScript program, which is code; write its weights with "
                "torch.save(module.state_dict(), ...)."
            ) from None
        reason = "" if isinstance(error, KeyError) else f": {_first_line(error)}"  # a KeyError of torch's names a number
        raise InputError(f"{what} {path} is damaged, or no file of tensors{reason}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{what} {path} holds {type(content).__name__}, not tensors by name.")
    return content


def digest(model: nn.Module) -> str:
    """A hash of a network's structure and of all values in it."""
    found = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        found.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


__all__ = ["digest", "read", "save"]

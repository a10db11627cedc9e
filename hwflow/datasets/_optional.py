"""Optional packages, imported where they are used; a missing one is a sentence that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from hwflow.errors import MissingDependency

_PACKAGES = {"PIL": "Pillow", "sklearn": "scikit-learn", "torch": "PyTorch"}


def needed(module: str, purpose: str) -> Any:
    """The module, imported.

    Raises:
        MissingDependency: naming the purpose, the package and the extra that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name != root:
            raise
        raise MissingDependency(
            f'{purpose} needs {_PACKAGES[root]}, which is not installed here: pip install "hwflow[prune]"'
        ) from error


__all__ = ["needed"]

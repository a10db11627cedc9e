"""Episodes and their checkpoints; the searchers' own promises are in tests/conformance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hwflow.compression.budget import Budget
from hwflow.compression.search.ddpg import Hyperparameters
from hwflow.compression.search.environment import PruningEnv
from hwflow.compression.search.registry import SEARCHERS
from hwflow.compression.search.search import explore
from hwflow.errors import InputError
from tests.compression.toys import chain_costs


def test_a_search_of_an_earlier_version_is_not_continued(tmp_path: Path) -> None:
    """Version 0.1 made other plans of the same actions: half of one and half of the other would be neither."""
    env = PruningEnv(chain_costs((32, 32)), lambda plan: 0.5, (Budget("macs", 0.5),))
    file = tmp_path / "agent-0.pt"
    searcher = SEARCHERS["random"](env, Hyperparameters(hidden=4), 0)
    explore(env, searcher, 2, checkpoint=file, identity="mine")
    found = torch.load(file, weights_only=True)
    found["identity"] = json.dumps(["mine", *searcher.identity], sort_keys=True)
    torch.save(found, file)
    with pytest.raises(InputError, match=r"belongs to another search .* or a version of hwflow that makes other plans"):
        explore(env, SEARCHERS["random"](env, Hyperparameters(hidden=4), 0), 2, checkpoint=file, identity="mine")

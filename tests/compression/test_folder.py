"""The folder of a run: what continues it, and what is said where nothing does."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwflow.compression.folder import PLAN, Folder
from hwflow.errors import InputError


def test_a_run_of_the_earlier_default_search_is_told_how_it_continues(tmp_path: Path) -> None:
    before = {"settings": {"seeds": [0]}}
    now = {"settings": {"seeds": [0], "policy": "shipped"}, "policy_identity": "d" * 64}
    with Folder(tmp_path / "run").opened(before, resume=False):
        (tmp_path / "run" / PLAN).write_text("{}")
    with pytest.raises(InputError) as refused, Folder(tmp_path / "run").opened(now, resume=True):
        pass
    assert "settings.policy was not there, now is shipped. To continue it, add --search agent (" in str(refused.value)
    assert str(refused.value).endswith("(the default was the agent without a policy then); else name another folder.")
    assert "d" * 64 not in str(refused.value)
    with Folder(tmp_path / "run").opened(before, resume=True):
        assert (tmp_path / "run" / PLAN).exists()

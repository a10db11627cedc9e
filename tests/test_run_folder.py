"""Folders that a run fills: one run at a time, and what differs between two."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwflow.errors import HwflowError, InputError
from hwflow.run_folder import differences, held

filelock = pytest.importorskip("filelock", reason="comes with the extras prune and sweep")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        held(tmp_path, tmp_path / ".lock", "sweep"),
        pytest.raises(InputError, match="another run is writing in"),
        held(tmp_path, tmp_path / ".lock", "sweep"),
    ):
        pytest.fail("two runs had the folder")
    with held(tmp_path, tmp_path / ".lock", "sweep"):
        assert (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NotImplementedError(), "knows no locks.*name a folder elsewhere"),
        (OSError(30, "Read-only file system"), "cannot write in"),
    ],
)
def test_without_a_lock_there_is_no_run(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: object) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    with pytest.raises(HwflowError, match=message), held(tmp_path, tmp_path / ".lock", "prune"):
        pytest.fail("the folder was not locked")


def test_differences_name_the_field_and_both_values() -> None:
    before = {"a": {"b": [1, 2]}, "c": 3, "d": [1]}
    assert differences(before, {"a": {"b": [1, 5]}, "c": None, "d": [1, 2]}) == [
        "a.b[1] was 2, now is 5",
        "c was 3, now is not there",
        "d was [1], now is [1, 2]",
    ]
    assert differences(before, before) == []

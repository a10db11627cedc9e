"""Folders that a run fills: one run at a time, and what differs between two."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwflow.errors import HwflowError, InputError
from hwflow.run_folder import OPTIONS, differences, held, other_run

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


def test_a_refusal_says_what_differs_and_which_options_to_repeat() -> None:
    before: dict[str, object] = {"weights": "3fa", "seeds": [0]}
    before |= {"settings": {"tuning": {"epochs": 2}, "budgets": [{"share": 0.5}]}}
    now: dict[str, object] = {"weights": "9bc", "seeds": [1]}
    now |= {"settings": {"tuning": {"epochs": 3}, "budgets": [{"share": 0.6}], "begun_with": 1}}
    refusal = other_run(Path("runs/a"), "contest", differences(before, now), "Seeds can only be added.")
    assert str(refusal) == (
        "runs/a holds another contest, which cannot be continued by this one: the weights are others; seeds[0] was 0, now is "
        "1; settings.tuning.epochs was 2, now is 3; settings.budgets[0].share was 0.5, now is 0.6. To continue it, give "
        "--weights, --seed, --epochs, --budget as before; else name another folder. Seeds can only be added."
    )
    older = differences({"settings": {}}, {"settings": {"policy": "conv-chip"}, "policy_identity": "77"})
    assert "now is conv-chip. To continue it, add --search agent (" in str(other_run(Path("a"), "contest", older))


def test_the_options_that_a_refusal_names_are_those_of_the_commands() -> None:
    typer_main = pytest.importorskip("typer.main")
    from hwflow.cli.application import app

    commands = typer_main.get_command(app).commands
    parameters = [*commands["compress"].params, *commands["prune"].params]
    assert set(OPTIONS.values()) <= {name for parameter in parameters for name in parameter.opts}

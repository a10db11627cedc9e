"""How many threads PyTorch computes with: by the size of a step, the load, and what the user says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hwflow import cli
from hwflow.errors import InputError
from hwflow.network.model_zoo import load_model
from hwflow.training import threads
from hwflow.training.threads import limited, thread_count


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def given(cores: int, load: float) -> None:
        monkeypatch.setattr(threads, "usable_cores", lambda: cores)
        monkeypatch.setattr(threads, "_load", lambda: load)

    return given


@pytest.mark.parametrize(
    ("cores", "load", "expected"),
    [(8, 0.0, 8), (8, 2.6, 5), (8, 7.9, 1), (8, 40.0, 1), (1, 0.0, 1), (1, 3.0, 1), (2, 0.4, 2), (2, 7.5, 1)],
)
def test_a_large_step_takes_the_free_cores(machine: Any, cores: int, load: float, expected: int) -> None:
    machine(cores, load)
    chosen = thread_count(load_model("resnet20"), (3, 32, 32), 128)
    assert chosen.count == expected
    assert f"the load is {load:.1f} on {cores} core" in str(chosen)
    assert f"--threads {expected} repeats it" in str(chosen)


@pytest.mark.parametrize(("cores", "load"), [(2, 0.0), (2, 9.0), (64, 0.0)])
def test_a_small_step_takes_one_thread_on_every_machine(machine: Any, cores: int, load: float) -> None:
    machine(cores, load)
    chosen = thread_count(load_model("resnet20", 10, 1), (1, 8, 8), 128)
    assert chosen.count == 1
    assert str(chosen).startswith("PyTorch computes with 1 thread: a step has only 0.3")


def test_the_user_decides(machine: Any) -> None:
    machine(64, 0.0)
    assert thread_count(load_model("resnet20", 10, 1), (1, 8, 8), 128, 3).count == 3
    with pytest.raises(InputError, match="--threads is 0"):
        thread_count(nn.Linear(2, 2), (2,), 1, 0)


def test_a_network_that_cannot_be_traced_is_left_to_the_training(machine: Any) -> None:
    machine(4, 1.0)
    assert thread_count(nn.Linear(2, 2), (3,), 1).count == 3


def test_the_number_from_before_comes_back() -> None:
    before = torch.get_num_threads()
    seen = 0
    try:
        with limited(before + 1):
            seen = torch.get_num_threads()
            raise KeyError
    except KeyError:
        pass
    assert seen == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("options", "expected"), [((), "1 thread: a step has only"), (("--threads", "2"), "2 threads: --threads")]
)
def test_the_commands_say_and_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], expected: str
) -> None:
    from hwflow import training

    seen: list[int] = []

    def noticed(*args: Any, **kwargs: Any) -> Any:
        seen.append(torch.get_num_threads())
        raise InputError("enough")

    monkeypatch.setattr(training, "train", noticed)
    monkeypatch.setattr("hwflow.pruning.prune", noticed)
    for command in (
        ("train", "resnet20", "--data", "digits", "-o", str(tmp_path / "w.pt")),
        ("prune", "resnet20", "--data", "digits", "--level", "coarse", "-o", str(tmp_path / "run")),
    ):
        with pytest.raises(SystemExit):
            cli.main([*command, *options])
        assert f"PyTorch computes with {expected}" in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert seen == [2 if options else 1] * 2

"""Runs that succeed and every way in which they fail, with scripts in the place of Timeloop's executables."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hwflow.cost.fine import judge
from hwflow.errors import HwflowError, NotMappable, ToolError, ToolMissing
from hwflow.hardware.accelerator import Accelerator
from hwflow.hardware.energy_table import EnergyTable
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.results import LayerCost
from hwflow.timeloop.engine import Native
from hwflow.timeloop.process import clean_environment, new_folder, run_group
from hwflow.timeloop.run import tool_words

Install = Callable[..., Path]
Judge = Callable[..., LayerCost]
EMPTY = "for f in stats.txt map+stats.xml map.yaml map.txt; do : > timeloop-mapper.$f; done"


def failure(run: Judge, kind: type[HwflowError], runs: Path, **more: object) -> str:
    """The message of the error, which has to be one paragraph that names the one folder that was kept."""
    with pytest.raises(HwflowError) as caught:
        run(**more)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    (kept,) = runs.iterdir()
    assert f"kept in {kept.resolve()}" in message
    assert {"architecture.yaml", "problem.yaml", "ERT.yaml", "command.txt", "output.log"} <= {f.name for f in kept.iterdir()}
    assert str(kept) not in message.split(". ", maxsplit=1)[0]
    return message


def test_a_run_that_succeeds_leaves_nothing_behind(judged: Judge, tool: Install, answer: str, runs: Path) -> None:
    tool("timeloop-model", answer + "; echo Utilization")
    cost = judged()
    assert (cost.energy_pj, cost.cycles) == (pytest.approx(3861.5), 7)
    assert cost.engine == f"timeloop-model (native, {Native().version('timeloop-model')[:12]})"
    assert cost.level == "fine"
    assert cost.seconds > 0
    assert not list(runs.iterdir())


def test_the_tool_gets_bare_file_names_in_a_fresh_folder(judged: Judge, tool: Install, runs: Path, answer: str) -> None:
    seen = runs.parent / "seen"
    tool("timeloop-model", f'{{ pwd; echo "$@"; ps -o pgid= -p $$; echo $$; }} > {seen}; {answer}')
    judged()
    place, arguments, group, process = seen.read_text().splitlines()
    assert Path(place).parent == runs.resolve()
    assert arguments == "architecture.yaml problem.yaml ERT.yaml ART.yaml mapping.yaml"
    assert group.strip() == process, "the tool leads a process group of its own"


def test_the_tool_gets_no_timeloop_variables(
    judged: Judge, tool: Install, tmp_path: Path, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELOOP_DISABLE_FIRST_READ_ELISION", "1")
    monkeypatch.setenv("HWFLOW_KEPT", "yes")
    tool("timeloop-model", f"env > {tmp_path}/seen; {answer}")
    judged()
    lines = (tmp_path / "seen").read_text().splitlines()
    assert "HWFLOW_KEPT=yes" in lines
    assert not [line for line in lines if line.startswith("TIMELOOP_")]


def test_a_tool_that_is_not_there_says_how_to_get_it(judged: Judge, tool: Install, runs: Path) -> None:
    with pytest.raises(ToolMissing, match=r"timeloop-model is not on PATH\. Install Timeloop"):
        judged()
    assert not list(runs.iterdir())


def test_exit_status_0_with_empty_files_is_no_answer(searched: Judge, tool: Install, runs: Path) -> None:
    tool("timeloop-mapper", EMPTY)
    message = failure(searched, ToolError, runs)
    assert "timeloop-mapper on layer k ended without an answer: timeloop-mapper.stats.txt" in message
    assert "is empty" in message
    assert "It printed nothing" in message


def test_exit_status_0_without_any_files_is_no_answer(judged: Judge, tool: Install, runs: Path) -> None:
    tool("timeloop-model", "echo execute:accelergy; echo 'sh: 1: accelergy: not found'")
    message = failure(judged, ToolError, runs)
    assert "there is no timeloop-model.stats.txt" in message
    assert "It said: sh: 1: accelergy: not found." in message


def test_no_valid_mapping_is_not_mappable_in_the_tools_own_words(searched: Judge, tool: Install, runs: Path) -> None:
    tool(
        "timeloop-mapper",
        EMPTY + "; echo '[0] STATEMENT: 20 invalid mappings (18 fanout, 2 capacity) found since the last valid mapping, "
        "terminating search.'; echo 'MESSAGE: no valid mappings found within search criteria. Some suggestions:'",
    )
    message = failure(searched, NotMappable, runs)
    assert "20 invalid mappings (18 fanout, 2 capacity)" in message
    assert "no valid mappings found within search criteria" in message
    assert "Enlarge the memory or the array" in message


def test_a_mapping_that_does_not_fit_is_not_mappable(judged: Judge, tool: Install, runs: Path) -> None:
    tool(
        "timeloop-model", 'echo "ERROR: couldn\'t map level buffer: mapped tile size 18 exceeds buffer capacity 4" >&2; exit 1'
    )
    message = failure(judged, NotMappable, runs)
    assert "failed with exit status 1" in message
    assert "mapped tile size 18 exceeds buffer capacity 4" in message


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'ERROR: target storage level not found: x' >&2; exit 1", "ERROR: target storage level not found: x"),
        ("echo 'what():  map::at' >&2; kill -ABRT $$", "killed by SIGABRT"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
    ],
)
def test_a_crash_is_reported(judged: Judge, tool: Install, runs: Path, script: str, said: str) -> None:
    tool("timeloop-model", script)
    assert said in failure(judged, ToolError, runs)


@pytest.mark.parametrize("content", ["rubbish", "Level 0\\n-------\\n=== mac ===\\n"])
def test_rubbish_is_no_answer(judged: Judge, tool: Install, runs: Path, content: str) -> None:
    tool("timeloop-model", f"printf '{content}' > timeloop-model.stats.txt")
    assert "timeloop-model.stats.txt is cut off or not Timeloop's" in failure(judged, ToolError, runs)


def test_statistics_without_a_mapping_are_no_answer_of_the_mapper(
    searched: Judge, tool: Install, runs: Path, outputs: Path
) -> None:
    tool("timeloop-mapper", f"cp {shlex.quote(str(outputs / 'tiny'))}/timeloop-model.stats.txt timeloop-mapper.stats.txt")
    assert "there is no timeloop-mapper.map.yaml" in failure(searched, ToolError, runs)


def test_a_tool_that_hangs_is_stopped_with_all_it_started(judged: Judge, tool: Install, runs: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    tool("timeloop-model", f"trap 'echo asked politely' INT; sleep 60 & echo $! $$ > {pids}; while :; do sleep 0.05; done")
    start = time.monotonic()
    message = failure(judged, ToolError, runs, limit_s=0.4)
    assert "was stopped after 0.4 s" in message
    assert "Its last line was: asked politely" in message
    assert time.monotonic() - start < 20
    assert gone(pids)


def test_an_interrupt_stops_the_tool_and_clears_up(tool: Install, runs: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    tool("timeloop-model", f"echo $$ > {pids}.new; mv {pids}.new {pids}; exec sleep 60")
    program = (
        "from pathlib import Path; from hwflow.timeloop.process import run_group; "
        "run_group(['timeloop-model'], Path('.'), 60, grace_s=0.2)"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    caller = subprocess.Popen([sys.executable, "-c", program], cwd=runs, env=environment, stderr=subprocess.DEVNULL)
    wait_for(pids.exists)
    caller.send_signal(signal.SIGINT)
    assert caller.wait(20) != 0
    assert gone(pids)


def test_a_program_that_cannot_be_executed_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match=r"/nowhere/timeloop-model cannot be run: No such file"):
        run_group(["/nowhere/timeloop-model"], tmp_path, 1)


def test_a_folder_that_a_shell_would_misread_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "my runs"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with pytest.raises(ToolError, match=r"the path has spaces .* Set TMPDIR"):
        new_folder()
    assert not list(place.iterdir())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(ToolError, match="no folder for a run"):
        new_folder()


def test_the_environment_is_cleared_of_timeloops_variables_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMELOOP_OUTPUT_STAT_SCIENTIFIC", "1")
    clean = clean_environment({"X": "1"})
    assert clean["X"] == "1"
    assert clean["PATH"] == os.environ["PATH"]
    assert not [name for name in clean if name.startswith("TIMELOOP_")]


def test_words_are_the_first_of_each_kind_without_times() -> None:
    output = "fine\n2026-11-21 11:05:04 ERROR       Can not find an energy estimator for x\nERROR:  a   b\nERROR: a b\n"
    assert tool_words(output) == ["Can not find an energy estimator for x", "ERROR: a b"]
    assert tool_words("2026-11-21 11:05:04 INFO        | CACTI executable not found at /one/of/many\n" + output)[0][:3] == "Can"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_tool_does_not_outlive_its_caller(tmp_path: Path, number: signal.Signals) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ > {shlex.quote(str(pids))}; exec sleep 60"
    call = f"run_group(['sh', '-c', {script!r}], pathlib.Path('.'), 60)"
    code = f"import pathlib; from hwflow.timeloop.process import run_group; {call}"
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    wait_for(lambda: pids.exists() and pids.read_text().endswith("\n"))
    caller.send_signal(number)
    caller.wait(20)
    assert gone(pids)


def test_statistics_of_another_layer_are_refused(
    layer: Layer, tiny: Accelerator, mapping: Mapping, table: EnergyTable, tool: Install, answer: str, runs: Path
) -> None:
    tool("timeloop-model", f"{answer}; echo Utilization")
    longer = replace(mapping, levels=(replace(mapping.levels[0], temporal=(("P", 6),)), mapping.levels[1]))
    message = failure(lambda: judge(layer.with_(P=6), tiny, longer, table, engine=Native()), ToolError, runs)
    assert "the statistics are of another layer: 24 computes, where this one has 48" in message


def wait_for(condition: Callable[[], bool], limit_s: float = 20) -> None:
    """Until it holds, or fail."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pids: Path) -> bool:
    """Whether none of the processes listed in the file runs any more."""

    def dead(pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        return state == "Z"

    wait_for(lambda: all(dead(int(pid)) for pid in pids.read_text().split()))
    return True

"""The command line as people use it: output, exit codes, and errors as one paragraph."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwflow import cli, estimate, from_timeloop, map_layer
from hwflow.accelerator import Accelerator
from hwflow.cli.nests import Neighbour, map_page
from hwflow.cli.pages import Variant, compare_page
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.network import Network, zoo

WRITTEN = str(Path(__file__).parent / "data" / "timeloop_designs" / "simple_weight_stationary.yaml")
"""Of its 256 PEs its own constraints leave 16."""

SMALL = """
name: tiny
layers:
  - {name: conv1, C: 3, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: conv2, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: conv2_again, C: 8, M: 8, P: 8, Q: 8, R: 3, S: 3}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(SMALL)
    return str(path)


Answer = tuple[int, str, str]
Run = Callable[..., Answer]


@pytest.fixture
def hw(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        out, err = capsys.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), out, err

    return run


@pytest.fixture
def no_timeloop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hwflow", *arguments]


def untimed(text: str) -> str:
    return re.sub(r'"seconds": [0-9.e-]+', '"seconds": 0', text)


def one_paragraph(text: str) -> str:
    assert text.count("\n") == 1, text
    assert text.startswith("hwflow: ")
    assert "Traceback" not in text
    return text


# Estimate ------------------------------------------------------------------------------------------------------------


def test_json_is_one_object_that_keeps_the_contract(hw: Run, tiny: str) -> None:
    code, out, err = hw("estimate", tiny, "--accelerator", "eyeriss", "--format", "json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert (data["network"], data["accelerator"], data["level"], data["batch"]) == ("tiny", "eyeriss", "mid", 1)
    assert set(data) >= {"totals", "layers", "not_counted", "provenance"}
    assert set(data["totals"]) >= {"macs", "params", "energy_pj", "cycles", "latency_s", "dram_bytes", "utilization"}
    row = data["layers"][0]
    assert row["shape"] == {"N": 1, "G": 1, "C": 3, "M": 8, "P": 8, "Q": 8, "R": 3, "S": 3}
    assert set(row) >= {
        *("name", "type", "strides", "dilations", "macs", "params", "energy_pj", "energy_by_level_pj", "cycles", "bound_by"),
        *("utilization", "dram_bytes", "level", "engine", "energy_source", "seconds"),
    }
    assert data["totals"]["energy_pj"] == pytest.approx(sum(r["energy_pj"] for r in data["layers"]))
    assert all(r["level"] == "mid" and r["engine"] and r["energy_source"].startswith("recorded") for r in data["layers"])


@pytest.mark.parametrize("level", ["coarse", "mid"])
def test_the_same_command_gives_the_same_bytes(tmp_path: Path, tiny: str, level: str) -> None:
    outputs = []
    for hashing, cache in (("1", "one"), ("2", "one"), ("3", "two")):
        environment = {**os.environ, "PYTHONHASHSEED": hashing, "XDG_CACHE_HOME": str(tmp_path / cache)}
        argv = command("estimate", tiny, "-a", "eyeriss", "--level", level, "--format", "json")
        outputs.append(untimed(subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout))
    assert outputs[0] == outputs[1] == outputs[2]


def test_csv_has_units_in_its_names(hw: Run, tiny: str) -> None:
    code, out, _ = hw("estimate", tiny, "-a", "eyeriss", "--format", "csv")
    head, *rows = out.splitlines()
    assert code == 0
    assert {"energy_pj", "cycles", "latency_s", "dram_bytes", "energy_dram_pj"} <= set(head.split(","))
    assert len(rows) == 3


def test_a_table_in_a_pipe_is_plain_and_whole(hw: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    code, out, err = hw("estimate", tiny, "-a", "eyeriss")
    assert (code, err) == (0, "")
    assert not re.search(r"[\x1b│─━┃…]", out)
    head = next(line for line in out.splitlines() if line.startswith("layer "))
    for unit in ("MACs (M)", "energy (uJ)", "cycles", "util. (%)", "DRAM (kB)", "bound by"):
        assert unit in head
    assert "conv2_again  conv 8>8 8x8 k3x3" in out
    assert re.search(r"^total .* 3 layers ", out, re.MULTILINE)
    assert "Totals assume that every layer reads its inputs from and writes its outputs to DRAM." in out
    assert "Energies: recorded (Accelergy: " in out
    assert "Answered by hwflow mid-" in out


def test_a_terminal_gets_everything_too(tiny: str) -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        command("estimate", tiny, "-a", "eyeriss"), stdout=child, stderr=child, env=environment, stdin=subprocess.DEVNULL
    )
    os.close(child)
    shown = b""
    with contextlib.suppress(OSError):  # the other side is closed
        while chunk := os.read(parent, 65536):
            shown += chunk
    os.close(parent)
    assert process.wait() == 0
    text = shown.decode()
    assert "…" not in text
    assert "Totals assume" in text
    assert not re.search(r"\x1b\[3\dm", text)


def test_without_an_accelerator_coarse_answers_in_units(hw: Run, tiny: str) -> None:
    code, out, _ = hw("estimate", tiny)
    assert code == 0
    assert "tiny, no accelerator, level coarse" in out
    assert "energy (M units)" in out
    assert "1 unit = one 16-bit multiply-accumulate" in out


def test_options_reach_the_estimate(hw: Run, tiny: str) -> None:
    def totals(*options: str) -> dict[str, Any]:
        code, out, err = hw("estimate", tiny, "-a", "eyeriss", "--format", "json", *options)
        assert (code, err) == (0, "")
        return dict(json.loads(out)["totals"])

    base = totals()
    assert totals("--batch", "2")["macs"] == 2 * base["macs"]
    assert totals("--bits", "8,8")["dram_bytes"] < base["dram_bytes"]
    assert totals("--set", "dram.bandwidth_gb_s=0.01")["cycles"] > base["cycles"]
    assert totals("--set", "clock_mhz=100", "--energy", "normalized")["energy_pj"] is None
    assert totals("--objective", "latency")["cycles"] <= totals("--objective", "energy")["cycles"]
    assert totals("--dataflow", "flexible", "--effort", "2", "--jobs", "1")["macs"] == base["macs"]


def test_output_goes_to_the_file_whole(hw: Run, tiny: str, tmp_path: Path) -> None:
    for form in ("table", "json", "csv"):
        target = tmp_path / "new folder" / f"cost.{form}"
        code, printed, err = hw("estimate", tiny, "-a", "eyeriss", "--format", form, "-o", str(target))
        assert (code, printed) == (0, "")
        assert err == f"hwflow: wrote {target}\n"
        assert untimed(target.read_text()) == untimed(hw("estimate", tiny, "-a", "eyeriss", "--format", form)[1])


def test_a_file_that_cannot_be_written_is_an_error(hw: Run, tiny: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = hw("estimate", tiny, "-o", str(tmp_path / "file" / "x.txt"))
    assert (code, out) == (1, "")
    assert "cannot write" in one_paragraph(err)


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["estimate", "missing.onnx"], ["missing.onnx"]),
        (["estimate", "missing.yaml"], ["missing.yaml: there is no such file"]),
        (["estimate", "resnet19"], ["unknown network 'resnet19'", "Did you mean 'resnet18'", "mobilenet_v2"]),
        (["estimate", "resnet18", "-a", "eyeris"], ["unknown accelerator 'eyeris'", "Did you mean 'eyeriss'", "simba"]),
        (["estimate", "resnet18", "-a", "missing.yaml"], ["missing.yaml: there is no such file"]),
        (
            ["estimate", "resnet18", "-a", "eyeriss", "--set", "global_bufer.size_kib=64"],
            ["global_bufer.size_kib", "Did you mean 'global_buffer"],
        ),
        (["estimate", "resnet18", "-a", "eyeriss", "--set", "global_buffer.size=64"], ["global_buffer.size_kib"]),
        (["estimate", "resnet18", "-a", "eyeriss", "--set", "clock_mhz=fast"], ["clock_mhz is 'fast'"]),
        (["estimate", "resnet18", "-a", "eyeriss", "--set", "clock_mhz"], ["must have the form FIELD=VALUE"]),
        (["estimate", "resnet18", "--set", "clock_mhz=1"], ["--set means nothing without --accelerator"]),
        (
            ["estimate", "resnet18", "-a", "tpu_like", "--dataflow", "row_stationary"],
            ["dataflow 'row_stationary' does not fit accelerator 'tpu_like'", "Dataflows that fit tpu_like: ", "eyeriss"],
        ),
        (["estimate", "resnet18", "-a", "eyeriss", "--dataflow", "row_stationery"], ["Did you mean 'row_stationary'"]),
        (["estimate", "resnet18", "--level", "mid"], ["level mid needs an accelerator"]),
        (["estimate", "resnet18", "-a", "eyeriss", "--level", "med"], ["unknown level 'med'"]),
        (["estimate", "resnet18", "-a", "eyeriss", "--bits", "8"], ["--bits is '8'", "8,16"]),
        (["estimate", "resnet18", "--input", "3by224"], ["--input is '3by224'", "1x3x224x224"]),
        (["estimate", "resnet18", "--format", "yaml"], ["--format is 'yaml'; allowed: table, json, csv"]),
        (["estimate", "resnet18", "-a", "eyeriss", "--energy", "fited"], ["unknown energy 'fited'", "Did you mean 'fitted'"]),
        (
            ["estimate", "resnet18", "-a", "eyeriss", "--energy", "fitted", "--set", "global_buffer.width_bits=4096"],
            ["no energies are fitted for global_buffer", "width_bits (=4096) is outside 4 to 2048"],
        ),
        (["estimate", "resnet18", "-a", "eyeriss", "--jobs", "0"], ["jobs is 0"]),
        (["compare", "resnet18", "-a", "eyeriss,simbas"], ["Did you mean 'simba'"]),
        (["compare", "resnet18", "-a", ","], ["--accelerator is empty"]),
        (["compare", "resnet18"], ["no chip is named", "--accelerator", "--timeloop-arch"]),
        (["compare", "resnet18", "-a", "eyeris", "-a", "simba"], ["unknown accelerator 'eyeris'"]),
        (["compare", "resnet18", "-a", "eyeriss", "--timeloop-constraints", "c"], ["means nothing without --timeloop-arch"]),
        (["compare", "resnet18", "--timeloop-arch", WRITTEN, "--set", "clock_mhz=1"], ["--set changes no Timeloop files"]),
        (["map", "resnet18", "--layer", "fc"], ["no chip is named", "--accelerator", "--timeloop-arch"]),
        (["map", "resnet18", "--layer", "fc", "-a", "eyeriss", "--timeloop-arch", WRITTEN], ["both name a chip"]),
        (["render", "resnet18", "-o", "never_written"], ["no chip is named", "--accelerator", "--timeloop-arch"]),
        (["render", "resnet18", "-a", "eyeriss", "--timeloop-arch", WRITTEN, "-o", "never_written"], ["both name a chip"]),
        (["estimate", "resnet18", "-a", ""], ["unknown accelerator ''"]),
        (["map", "resnet18", "--layer", "layer1.0.conv9", "-a", "eyeriss"], ["layer1.0.conv9", "layer1.0.conv1"]),
        (["list", "network"], ["unknown list 'network'. Did you mean 'networks'"]),
    ],
)
def test_wrong_use_is_one_paragraph_and_exit_code_2(hw: Run, arguments: list[str], parts: list[str]) -> None:
    code, out, err = hw(*arguments)
    assert (code, out) == (2, "")
    for part in parts:
        assert part in one_paragraph(err)


def test_unknown_options_are_wrong_use(hw: Run) -> None:
    code, out, err = hw("estimate", "resnet18", "--levle", "mid")
    assert (code, out) == (2, "")
    assert "--levle" in err
    assert "Traceback" not in err


def test_an_impossible_capacity_names_the_memory(hw: Run, tiny: str) -> None:
    changes = ["--set", "psum_spad.keeps=[weights, inputs, outputs]", "--set", "psum_spad.size_words=1"]
    code, out, err = hw("estimate", tiny, "-a", "eyeriss", *changes, "--dataflow", "flexible", "--energy", "normalized")
    assert (code, out) == (1, "")
    assert "psum_spad holds 1 word" in one_paragraph(err)


def test_a_cache_that_cannot_be_written_costs_nothing(
    hw: Run, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = hw("estimate", tiny, "-a", "eyeriss", "--format", "json")[1]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, out, err = hw("estimate", tiny, "-a", "eyeriss", "--format", "json")
    assert code == 0
    assert untimed(out) == untimed(kept)
    assert "cannot be written: Not a directory; results are not kept. Set XDG_CACHE_HOME" in one_paragraph(err)


@pytest.mark.usefixtures("no_timeloop")
def test_without_timeloop_mid_answers_and_every_row_says_so(hw: Run, tiny: str) -> None:
    code, out, err = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine", "--format", "json")
    assert code == 0
    assert "fine cannot answer; mid answers instead" in one_paragraph(err)
    data = json.loads(out)
    assert data["level"] == "mid"
    assert all(r["level"] == "mid" and r["note"].startswith("answered at mid instead of fine: ") for r in data["layers"])
    table = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine")[1]
    assert table.count("mid *") == 3
    assert "* answered at mid instead of fine: Timeloop was not found" in table


@pytest.mark.usefixtures("no_timeloop")
@pytest.mark.parametrize("option", [["--strict"], ["--fallback", "none"]])
def test_without_timeloop_strict_fails_with_the_remedy(hw: Run, tiny: str, option: list[str]) -> None:
    code, out, err = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine", *option)
    assert (code, out) == (1, "")
    assert "timeloop-model is not on PATH" in one_paragraph(err)
    assert "Install Timeloop" in err


def test_a_timeloop_that_crashes_moves_the_network_or_fails(
    hw: Run, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("timeloop-model", "timeloop-mapper"):
        (tools / name).write_text("#!/bin/sh\necho 'ERROR: no such thing'; exit 3\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    code, out, err = hw(
        "estimate", tiny, "-a", "eyeriss", "--level", "fine", "--engine", "native", "--format", "json", "--jobs", "1"
    )
    assert code == 0
    assert json.loads(out)["level"] == "mid"
    assert "timeloop-model on layer conv1 failed with exit status 3" in one_paragraph(err)
    again = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine", "--engine", "native", "--format", "json", "--jobs", "1")
    assert untimed(again[1]) == untimed(out)
    code, out, err = hw("estimate", tiny, "-a", "eyeriss", "--level", "fine", "--engine", "native", "--strict")
    assert (code, out) == (1, "")
    assert "ERROR: no such thing" in one_paragraph(err)


def test_a_defect_is_a_sentence_and_debug_shows_it(hw: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("hwflow.cost.evaluation.evaluate", broken)
    code, _, err = hw("estimate", tiny)
    assert code == 1
    assert "RuntimeError: a defect. This is a defect of hwflow" in one_paragraph(err)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main(["estimate", tiny, "--debug"])


# Interruption --------------------------------------------------------------------------------------------------------


def kept(file: Path) -> int:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT COUNT(*) FROM entries").fetchone()[0])
    return 0


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupted_run_goes_on_where_it_was(own_cache: Path, how: signal.Signals, jobs: str) -> None:
    argv = command("estimate", "alexnet", "-a", "eyeriss", "--energy", "normalized", "--jobs", jobs, "--format", "json")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: kept(own_cache) >= 2)
    workers = children(process.pid)
    process.send_signal(how)
    out, err = process.communicate(timeout=30)
    assert out == ""
    if how == signal.SIGINT:
        assert process.returncode == 1
        assert "interrupted. What was finished until then is kept" in one_paragraph(err)
    wait_for(lambda: not any(alive(pid) for pid in workers))
    before = kept(own_cache)
    assert 2 <= before < 8
    again = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert again.stderr == ""
    assert kept(own_cache) == 8
    assert len(json.loads(again.stdout)["layers"]) == 8


def test_an_interruption_at_fine_ends_the_tool(tiny: str, tmp_path: Path, own_cache: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("timeloop-model", "timeloop-mapper"):
        (tools / name).write_text(f"#!/bin/sh\necho $$ > {tmp_path}/started\nexec sleep 60\n")
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:/usr/bin:/bin"}
    argv = command("estimate", tiny, "-a", "eyeriss", "--level", "fine", "--engine", "native", "--jobs", "2")
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = tmp_path / "started"
    wait_for(lambda: started.exists() and started.read_text().strip() != "")
    tool = int(started.read_text())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert "interrupted" in one_paragraph(err)
    wait_for(lambda: not alive(tool))


def test_two_runs_at_once_share_the_work(own_cache: Path) -> None:
    argv = command("estimate", "alexnet", "-a", "eyeriss", "--energy", "normalized", "--jobs", "1", "--format", "json")
    runs = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    (one, silent), (two, silent_too) = (run.communicate(timeout=60) for run in runs)
    assert silent == silent_too == ""
    assert one == two  # the time that each answer took included: each was computed by one of them only
    assert kept(own_cache) == 8


# The other commands --------------------------------------------------------------------------------------------------


def test_compare_puts_side_by_side(hw: Run, tiny: str) -> None:
    code, out, err = hw("compare", tiny, "-a", "eyeriss,eyeriss_256", "--dataflows", "row_stationary,flexible")
    assert (code, err) == (0, "")
    assert "eyeriss_256/mid/flexible (cycles)" in out
    first = next(line for line in out.splitlines() if line.startswith("eyeriss/coarse "))
    assert re.search(r" 1\.000 .* 1\.000", first)
    assert len([line for line in out.splitlines() if re.match(r"eyeriss(_256)?/(coarse|mid/\w+) ", line)]) == 6
    data = json.loads(hw("compare", tiny, "-a", "eyeriss", "--format", "json")[1])
    coarse, mid = data["variants"]
    assert coarse["energy_ratio"] == coarse["latency_ratio"] == 1
    assert mid["energy_ratio"] == pytest.approx(mid["cost"]["totals"]["energy_pj"] / coarse["cost"]["totals"]["energy_pj"])
    assert -1 <= mid["energy_rank_correlation"] <= 1
    assert "asked_level,dataflow," in hw("compare", tiny, "-a", "eyeriss", "--format", "csv")[1]


def test_compare_says_whose_mappings_it_compares() -> None:
    network = Network("tiny", (Layer("conv", C=3, M=8, P=8, Q=8, R=3, S=3),))
    mid = estimate(network, Accelerator.load("eyeriss"), store=False)
    fine = replace(mid, level="fine", provenance={**mid.provenance, "mapper": "timeloop"})
    page = compare_page(network, [Variant("eyeriss", cost.level, "row_stationary", cost) for cost in (mid, fine)])
    told = [line for line in page.lines if "timeloop-mapper" in line]
    assert told == ["eyeriss/fine/row_stationary: mappings of timeloop-mapper's own search."]


def test_map_prints_the_nest_and_writes_it_for_timeloop(hw: Run, tmp_path: Path) -> None:
    target = tmp_path / "map.yaml"
    code, out, err = hw("map", "resnet20", "--layer", "layer1.0.conv1", "-a", "eyeriss", "-o", str(target))
    assert (code, err) == (0, f"hwflow: wrote {target}\n")
    for part in (
        "dram [weights, inputs, outputs]",
        "parallel-for",
        "multiply-accumulate",
        "reads (words)",
        "bound by",
        "Objective edp",
    ):
        assert part in out
    layer, acc = zoo("resnet20")["layer1.0.conv1"], Accelerator.load("eyeriss")
    assert Mapping.from_timeloop(target, layer, acc)


ODD = """
name: odd
layers:
  - {name: conv, C: 8, M: 37, P: 8, Q: 8, R: 3, S: 3}
  - {name: depthwise, G: 16, C: 1, M: 1, P: 8, Q: 8, R: 3, S: 3}
"""


@pytest.fixture
def odd(tmp_path: Path) -> str:
    path = tmp_path / "odd.yaml"
    path.write_text(ODD)
    return str(path)


def cells(out: str, start: str) -> list[str]:
    """The cells of the row that begins with `start`."""
    return next(re.split(r" {2,}", line) for line in out.splitlines() if re.match(rf"{re.escape(start)} {{2,}}", line))


def test_map_shows_where_the_cycles_of_the_array_go(hw: Run, odd: str) -> None:
    code, out, err = hw("map", odd, "--layer", "conv", "-a", "eyeriss")
    assert (code, err) == (0, "")
    shares = [float(cells(out, name)[-1]) / 100 for name in ("pe_array columns", "pe_array rows", "cycles computing")]
    assert re.search(r"^where MAC cycles go +loops +used +of +share \(%\)$", out, re.MULTILINE)
    total = float(cells(out, "utilisation (product)")[-1]) / 100
    passes = re.search(r"^passes of M .* ([\d.]+)$", out, re.MULTILINE)  # where the search found a shorter last pass
    assert total == pytest.approx(math.prod(shares) * (float(passes[1]) / 100 if passes else 1), abs=0.002)
    assert f"utilisation {100 * total:.1f} %" in out


def test_map_shows_where_other_widths_cost_less(hw: Run, odd: str) -> None:
    out = hw("map", odd, "--layer", "conv", "-a", "eyeriss", "--objective", "latency")[1]
    assert cells(out, "this")[-1] == "1.000"
    cycles = {w: int(cells(out, w)[2].replace(",", "")) for w in ("this", "C=7", "C=9", "C=16", "M=32", "M=36", "M=38", "M=40")}
    wider = [w for w, n in cycles.items() if n < cycles["this"] and w in ("C=9", "C=16", "M=38", "M=40")]
    narrower = [w for w, n in cycles.items() if n > cycles["this"] and w in ("C=7", "M=32", "M=36")]
    told = re.findall(r"^Raggedness: (\S+) is (wider|narrower) and has (less|more) latency: energy", out, re.MULTILINE)
    assert sorted(told) == sorted([(w, "wider", "less") for w in wider] + [(w, "narrower", "more") for w in narrower])


def test_map_says_where_raggedness_costs() -> None:
    found = map_layer(Layer("l", C=8, M=37, P=8), Accelerator.load("eyeriss"))
    cost = found.cost
    assert cost.cycles is not None
    half = 100 * (cost.cycles // 2 / cost.cycles - 1)
    beside = [
        Neighbour("M=36", wider=False, cost=replace(cost, cycles=2 * cost.cycles)),
        Neighbour("M=35", wider=False, cost=cost),
        Neighbour("M=38", wider=True, cost=replace(cost, cycles=cost.cycles // 2)),
        Neighbour("M=39", wider=True, cost=None),
        Neighbour("M=40", wider=True, cost=replace(cost, cycles=cost.cycles + 1)),
    ]
    page = map_page(found, "eyeriss", "latency", "row_stationary", (), beside)
    assert [line for line in page.lines if "Raggedness" in line] == [
        "Raggedness: M=36 is narrower and has more latency: energy +0.0 %, cycles +100.0 %.",
        f"Raggedness: M=38 is wider and has less latency: energy +0.0 %, cycles {half:.1f} %.",
    ]
    assert ["M=39", "no mapping", "-", "-", "-"] in page.tables[-1].rows


def test_map_compares_groups_of_depthwise_layers_and_can_be_quick(hw: Run, odd: str) -> None:
    out = hw("map", odd, "--layer", "depthwise", "-a", "eyeriss")[1]
    assert [line.split()[0] for line in out.splitlines() if line.startswith("G=")] == ["G=8", "G=15", "G=17", "G=24"]
    quick = hw("map", odd, "--layer", "depthwise", "-a", "eyeriss", "--quick")[1]
    assert "width" not in quick
    assert "where MAC cycles go" in quick


@pytest.mark.parametrize("mapper", ["hwflow", "timeloop"])
def test_render_writes_a_folder_a_distinct_layer(hw: Run, tiny: str, tmp_path: Path, mapper: str) -> None:
    code, out, err = hw("render", tiny, "-a", "eyeriss", "--mapper", mapper, "-o", str(tmp_path / "run"))
    assert (code, err) == (0, "")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["conv1", "conv2"]
    assert re.search(r"run/conv2 +2  conv2, conv2_again", out)
    files = {p.name for p in (tmp_path / "run" / "conv1").iterdir()}
    line = (tmp_path / "run" / "conv1" / "command.txt").read_text()
    assert line.count("\n") == 1
    program, *inputs = line.split()
    assert program == ("timeloop-model" if mapper == "hwflow" else "timeloop-mapper")
    assert set(inputs) == files - {"command.txt"}
    assert {"ERT.yaml", "ART.yaml", "problem.yaml", "architecture.yaml"} <= files


# A chip of Timeloop's files --------------------------------------------------------------------------------------------


def test_compare_takes_files_beside_an_accelerator(hw: Run, tiny: str) -> None:
    ways = [*("compare", tiny, "-a", "eyeriss", "--set", "clock_mhz=100"), "--timeloop-arch", WRITTEN, "--format", "json"]
    code, out, err = hw(*ways)
    assert code == 0
    assert "meshX of 16" in err
    variants = json.loads(out)["variants"]
    assert [(v["accelerator"], v["asked_level"], v["dataflow"]) for v in variants] == [
        ("eyeriss", "coarse", None),
        ("eyeriss", "mid", "row_stationary"),
        ("simple_weight_stationary", "coarse", None),
        ("simple_weight_stationary", "mid", "as written"),
    ]
    own = json.loads(hw("compare", tiny, "--timeloop-arch", WRITTEN, "--format", "json")[1])["variants"]
    assert own[0]["energy_ratio"] == own[0]["latency_ratio"] == 1
    for alone, beside in zip(own, variants[2:], strict=True):
        assert alone["cost"]["totals"] == beside["cost"]["totals"]
    changed = variants[1]["cost"]["totals"]
    assert changed["latency_s"] == pytest.approx(changed["cycles"] / 100e6), "--set is for the named accelerator"
    estimated = json.loads(hw("estimate", tiny, "--timeloop-arch", WRITTEN, "--format", "json")[1])
    assert estimated["totals"] == own[1]["cost"]["totals"]


def test_map_takes_files_and_counts_units_that_nothing_can_use(hw: Run, odd: str, tmp_path: Path) -> None:
    target = tmp_path / "map.yaml"
    code, out, _ = hw("map", odd, "--layer", "conv", "--timeloop-arch", WRITTEN, "--quick", "-o", str(target))
    assert code == 0
    assert cells(out, "usable MAC units")[2:4] == ["16", "256"]
    shares = [float(cells(out, name)[-1]) / 100 for name in ("PE rows", "passes of M", "cycles computing")]
    total = float(cells(out, "utilisation (product)")[-1]) / 100
    assert total == pytest.approx(math.prod(shares) / 16, abs=0.002)
    chip = from_timeloop(WRITTEN)
    mapping = Mapping.from_timeloop(target, Layer("conv", C=8, M=37, P=8, Q=8, R=3, S=3), chip)
    assert str(mapping) in out
    assert hw("render", odd, "--timeloop-arch", WRITTEN, "-o", str(tmp_path / "run"))[0] == 0
    rendered = [yaml.safe_load(path.read_text())["mapping"] for path in (tmp_path / "run" / "conv" / "mapping.yaml", target)]
    assert rendered[0] == rendered[1]
    assert (tmp_path / "run" / "conv" / "architecture.yaml").read_text() == chip.architecture


def test_what_mid_refuses_of_files_is_rendered_for_timeloops_own_search(hw: Run, tiny: str, tmp_path: Path) -> None:
    text = Path(WRITTEN).read_text()
    (tmp_path / "half.yaml").write_text(text.replace("depth: 16384", "depth: 16384, min_utilization: 0.5"))
    asked = ["render", tiny, "--timeloop-arch", str(tmp_path / "half.yaml"), "-o", str(tmp_path / "run")]
    code, _, err = hw(*asked)
    assert code == 2
    assert "mid cannot answer for" in err
    assert not (tmp_path / "run").exists()
    code, _, err = hw(*asked, "--mapper", "timeloop")
    assert code == 0
    assert "min_utilization: 0.5" in (tmp_path / "run" / "conv1" / "architecture.yaml").read_text()
    assert "inter_PE_spatial" in (tmp_path / "run" / "conv1" / "constraints.yaml").read_text()


def test_lists(hw: Run) -> None:
    assert "mobilenet_v2  " in hw("list", "networks")[1]
    assert "eyeriss_256  " in hw("list", "accelerators")[1]
    code, out, err = hw("list", "dataflows")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [
        "flexible",
        "output_stationary",
        "row_stationary",
        "weight_stationary",
    ]


def test_cache_info_and_clear(hw: Run, tiny: str, own_cache: Path) -> None:
    assert "empty" in hw("cache", "info")[1]
    hw("estimate", tiny, "-a", "eyeriss")
    code, out, err = hw("cache", "info")
    assert (code, err) == (0, "")
    assert str(own_cache) in out
    assert re.search(r"^mid +2 results$", out, re.MULTILINE)
    assert hw("cache", "clear")[1] == f"removed 2 results from {own_cache}\n"
    assert "empty" in hw("cache", "info")[1]


@pytest.mark.usefixtures("no_timeloop")
def test_doctor_says_what_answers_and_the_next_command(hw: Run) -> None:
    code, out, err = hw("doctor")
    assert (code, err) == (0, "")
    for part in ("numpy ", "timeloop-model   not on PATH", "native ", "pytimeloop ", "container ", "eyeriss_256 ", "writable"):
        assert part in out
    assert re.search(r"eyeriss +recorded \(Accelergy: ", out)
    why, next_command = out.splitlines()[-2:]
    assert why == "Next (the fine level needs Timeloop; coarse and mid work):"
    assert next_command.strip().startswith("sudo apt-get install")


def test_doctor_sees_a_cache_that_cannot_be_written(hw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, out, _ = hw("doctor", "--quick")
    assert code == 0
    assert re.search(r"writable +no", out)
    assert out.splitlines()[-1].strip().startswith("export XDG_CACHE_HOME=")


def test_help_and_version(hw: Run) -> None:
    code, out, _ = hw("--help")
    assert code == 0
    for name in ("estimate", "compare", "map", "render", "train", "prune", "sweep", "report", "list", "cache", "doctor"):
        assert f"  {name} " in out
    assert "--html" in hw("estimate", "--help")[1]
    assert hw("--version")[1].startswith("hwflow 0.")


def test_a_reader_that_goes_away_is_no_traceback(tiny: str) -> None:
    argv = command("estimate", "resnet50", "--format", "json")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()

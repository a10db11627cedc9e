"""`hwflow estimate`: what it prints and writes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow.cli.estimate_page import shape_text
from hwflow.display import latency_text
from hwflow.layers import Layer
from tests.cli.terminal import Run, command, one_paragraph, untimed


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


def test_a_reader_that_goes_away_is_no_traceback(tiny: str) -> None:
    argv = command("estimate", "resnet50", "--format", "json")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Layer("l", C=3, M=8, P=8, Q=6, R=3, S=3), "conv 3>8 8x6 k3x3"),
        (Layer("l", C=1, M=1, G=16, P=8, Q=8, R=3, S=3, strides=(2, 2)), "conv 16>16 8x8 k3x3 s2 g16"),
        (Layer("l", type="matmul", P=197, C=64, M=197, G=12), "matmul 197x64 . 64x197 g12"),
        (Layer("l", type="matmul", P=5, C=4, M=3), "matmul 5x4 . 4x3"),
        (
            Layer("l", type="conv_transpose", C=64, M=32, P=8, Q=4, R=3, S=2, strides=(2, 2)),
            "conv_transpose 64>32 8x4>17x8 k3x2 s2",
        ),
        (Layer("l", type="conv_transpose", C=2, M=2), "conv_transpose 2>2 1x1>1x1"),
        (Layer("l", type="linear", C=64, M=10, N=4), "linear 64>10 n4"),
    ],
)
def test_the_shape_of_a_layer_in_short(layer: Layer, text: str) -> None:
    assert shape_text(layer) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0413, "41.300 ms"), (1e-4, "0.100 ms"), (4.2e-7, "0.420 us"), (3e-9, "3.000 ns")]
)
def test_a_latency_is_no_row_of_zeros(seconds: float, text: str) -> None:
    assert latency_text(seconds) == text


@pytest.mark.parametrize(
    ("options", "unit"), [(("-a", "eyeriss"), "uJ"), (("-a", "eyeriss", "--energy", "normalized"), "M units"), ((), "M units")]
)
def test_a_batch_is_told_per_image_too(hw: Run, tiny: str, options: tuple[str, ...], unit: str) -> None:
    code, out, err = hw("estimate", tiny, "--batch", "4", *options)
    assert code == 0, err
    line = next(line for line in out.splitlines() if line.startswith("Per image: "))
    cost = hwflow.estimate(
        hwflow.Network.from_yaml(tiny), options[1] if options else None, batch=4, level="mid" if options else "coarse"
    )
    image = cost.per_image
    assert image is not None
    assert image["dram_bytes"] == cost.dram_bytes / 4
    assert f" {unit}" in line
    assert (" ms" in line or " us" in line or " ns" in line) == bool(options)
    assert "Per image" not in hw("estimate", tiny, *options)[1]


def test_layers_of_several_batches_have_no_image(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(
        "name: n\nlayers:\n  - {name: a, type: linear, N: 2, C: 1, M: 1}\n  - {name: b, type: linear, N: 3, C: 1, M: 1}\n"
    )
    assert hwflow.estimate(str(tmp_path / "net.yaml"), level="coarse").per_image is None

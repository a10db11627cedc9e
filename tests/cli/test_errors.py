"""Wrong use of any command: one paragraph on standard error, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwflow import cli
from hwflow.network import zoo
from tests.cli.terminal import WRITTEN, Run, one_paragraph

PRUNE = ["prune", "resnet20", "--data", "digits", "-a", "eyeriss", "-o", "never_written"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["estimate", "missing.onnx"], ["missing.onnx"]),
        (["estimate", "missing.yaml"], ["missing.yaml: there is no such file"]),
        (
            ["compare", "resnet18", "-a", "eyeriss,,simba"],
            ["is 'eyeriss,,simba': a name is missing beside a comma"],
        ),
        (["compress", "resnet20", "--data", "digits", "-o", "x", "--method", "l1,"], ["--method is 'l1,': a name is missing"]),
        (["estimate", "resnet19"], ["unknown network 'resnet19'", "Did you mean 'resnet18'", "mobilenet_v2"]),
        (["estimate", "resnet18", "-a", "eyeris"], ["unknown accelerator 'eyeris'", "Did you mean 'eyeriss'", "simba"]),
        (
            ["estimate", "resnet18", "-a", "lightpe9"],
            ["Did you mean 'lightpe2'", "int8, lightpe1", "path of a YAML file"],
        ),
        (["estimate", "resnet18", "-a", "missing.yaml"], ["missing.yaml: there is no such file"]),
        (
            ["estimate", "resnet18", "-a", "lightpe1", "--pe-type", "int8"],
            ["--accelerator lightpe1 is eyeriss with PEs of that type, and --pe-type int8 asks for another one"],
        ),
        (["estimate", "json:nope"], ["unknown name in json 'nope'", "dumps"]),
        (["estimate", "no_such_module:net"], ["No module named 'no_such_module'", "importable from the current folder"]),
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
        (["estimate", "resnet18", "-a", "eyeriss", "--bits", "0,8"], ["--bits is '0,8'", "of at least 1"]),
        (
            ["estimate", "resnet18", "-a", "eyeriss", "-o", "never_written.xyz"],
            [
                "suffix .xyz says no format",
                ".json, .csv, .md, .markdown, .html, .htm, .txt",
                "--format (table, json, csv, markdown)",
            ],
        ),
        (
            ["map", "resnet18", "--layer", "conv1", "-a", "eyeriss", "-o", "never_written.xyz"],
            ["suffix .xyz says no format", ".json, .md, .markdown, .txt"],
        ),
        (["estimate", "resnet18", "--input", "3by224"], ["--input is '3by224'", "1x3x224x224"]),
        (["estimate", "resnet18", "--format", "yaml"], ["--format is 'yaml'; allowed: table, json, csv, markdown"]),
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
        (
            ["estimate", "resnet18", "-a", "eyeriss,simba"],
            ["names several", "hwflow compare NETWORK --accelerator eyeriss,simba"],
        ),
        (
            ["estimate", "resnet18", "-a", "eyeriss", "--mapper", "timeloop"],
            ["--mapper", "changes nothing at level mid", "fine"],
        ),
        (
            ["estimate", "resnet18", "-a", "eyeriss", "--engine", "native"],
            ["--engine", "changes nothing at level mid", "accelergy"],
        ),
        (["estimate", "resnet18", "-a", "eyeriss", "--fallback", "coarse"], ["--fallback", "changes nothing at level mid"]),
        (["estimate", "resnet18", "--objective", "latency"], ["--objective", "at level coarse", "it is for mid and fine"]),
        (["estimate", "resnet18", "--effort", "2"], ["--effort", "at level coarse"]),
        (
            ["estimate", "resnet18", "-a", "eyeriss", "--level", "coarse", "--dataflow", "flexible"],
            ["--dataflow", "changes nothing at level coarse"],
        ),
        (["estimate", "resnet18", "-a", "eyeriss", "--strict", "--fallback", "mid"], ["--strict is --fallback none"]),
        (
            ["compare", "resnet18", "-a", "eyeriss", "--mapper", "timeloop"],
            ["--mapper", "changes nothing at level coarse, mid"],
        ),
        (
            ["compare", "resnet18", "-a", "eyeriss", "--levels", "coarse", "--dataflows", "flexible"],
            ["dataflow", "level coarse"],
        ),
        (
            ["estimate", "resnet18", "--format", "json", "-o", "x.csv"],
            ["--format json contradicts -o x.csv, whose suffix means csv"],
        ),
        (["estimate", "resnet18", "--format", "table", "-o", "x.html"], ["contradicts", "means html"]),
        (
            ["estimate", "resnet18", "--format", "html"],
            ["allowed: table, json, csv, markdown. A page is written by -o FILE.html"],
        ),
        (
            [*PRUNE, "--metric", "latency", "--budget", "energy=0.5"],
            ["--metric latency changes nothing beside --budget energy=0.5"],
        ),
        ([*PRUNE, "--level", "mid", "--levels", "coarse,mid"], ["--level mid changes nothing beside --levels"]),
        ([*PRUNE, "--baselines", "many"], ["unknown set of baselines 'many'", "all, none, quick"]),
        ([*PRUNE, "--plan", "uniform", "--episodes", "9"], ["--episodes 9 changes nothing beside --plan uniform"]),
        ([*PRUNE, "--plan", "uniform", "--search", "random"], ["--search random changes nothing beside --plan uniform"]),
        ([*PRUNE, "--searcher", "dpg"], ["unknown searcher 'dpg'. Did you mean 'ddpg'"]),
        ([*PRUNE, "--method", "chanels"], ["unknown method 'chanels'. Did you mean 'channels'"]),
        ([*PRUNE, "--method", "l1", "--search", "random"], ["--search random changes nothing beside --method l1"]),
        ([*PRUNE, "--plan", "p.json", "--budget", "0.4"], ["--budget 0.4 changes nothing beside --plan p.json"]),
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


def test_a_defect_is_a_sentence_and_debug_shows_it(hw: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("hwflow.cost.evaluate", broken)
    code, _, err = hw("estimate", tiny)
    assert code == 1
    assert "RuntimeError: a defect. This is a defect of hwflow" in one_paragraph(err)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main(["estimate", tiny, "--debug"])


def test_help_and_version(hw: Run) -> None:
    code, out, _ = hw("--help")
    assert code == 0
    for name in ("estimate", "compare", "map", "render", "train", "prune", "sweep", "report", "list", "cache", "doctor"):
        assert f"  {name} " in out
    assert "--html" in hw("estimate", "--help")[1]
    assert hw("--version")[1].startswith("hwflow 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("estimate", "resnet18", "--batch", "x"), "Invalid value for '--batch': it must be a whole number."),
        (("estimate", "resnet18", "--batch", "1.5"), "Invalid value for '--batch': it must be a whole number."),
        (("estimate", "resnet18", "--jobs", ""), "Invalid value for '--jobs' / '-j': it must be a whole number."),
        (
            ("map", "resnet18", "--layer", "conv1", "--effort", "1e3"),
            "Invalid value for '--effort': it must be a whole number.",
        ),
        (("train", "resnet20", "--epochs", "many"), "Invalid value for '--epochs': it must be a whole number."),
        (("train", "resnet20", "--learning-rate", "fast"), "Invalid value for '--learning-rate': it must be a number."),
        (("prune", "resnet20", "--floor", "half"), "Invalid value for '--floor': it must be a number."),
        (("train", "resnet20", "--threads", "all"), "Invalid value for '--threads': it must be a whole number."),
    ],
)
def test_an_option_of_another_type_is_said_in_plain_words(hw: Run, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = hw(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Input should be" not in err


def test_a_folder_with_the_name_of_a_network_does_not_stand_in_its_way(
    hw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("resnet20").mkdir()
    Path("resnet20/config.json").write_text("{}")
    code, out, err = hw("estimate", "resnet20", "--level", "coarse", "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out)["totals"]["macs"] == sum(layer.macs for layer in zoo("resnet20").layers)


def test_a_folder_of_another_kind_is_no_compressed_network(hw: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("found").mkdir()
    Path("found/config.json").write_text('{"kind": "search"}')
    code, out, err = hw("estimate", "found", "--level", "coarse")
    assert (code, out) == (2, "")
    assert "found holds no finished run of 'hwflow prune' or 'hwflow compress'" in err


def test_a_name_that_no_file_can_have_is_unknown(hw: Run) -> None:
    code, _, err = hw("estimate", "a" * 5000, "--level", "coarse")
    assert code == 2
    assert err.startswith("hwflow: unknown network 'aaa")
    assert len(err) < 2000

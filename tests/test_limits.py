"""Inputs of any size, depth and number at the command line: an answer or a sentence, at once, and never a defect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hwflow
from hwflow.cli import main
from hwflow.errors import InputError, check_whole, listed, not_found

COARSE = ("estimate", "resnet20", "-a", "eyeriss", "--level", "coarse")
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The exit status of a command, and what it says."""

    def go(*argv: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(argv)
        return int(ended.value.code or 0), capsys.readouterr().err

    return go


OPTIONS: list[tuple[tuple[str, ...], str]] = [
    *[((*COARSE, "--effort", value), "effort is .*at most 10,000") for value in ("10001", str(2**31), str(10**30))],
    *[((*COARSE, "--effort", value), "effort is .*at least 1") for value in ("0", "-1")],
    *[((*COARSE, "--jobs", value), "--jobs is .*at most 1,024") for value in ("1025", str(2**31), str(10**30))],
    *[((*COARSE, "--jobs", value), "--jobs is .*at least 1") for value in ("0", "-1")],
    *[((*COARSE, "--batch", value), "the largest that can be costed") for value in (str(2**31), str(10**30))],
    ((*COARSE, "--batch", "0"), "batch is 0; it must be a whole number of at least 1"),
    ((*COARSE, "--bits", "8," + "9" * 30), "--bits is .*two whole numbers"),
    ((*COARSE, "--bits", "8," + "9" * 5000), "--bits is .*two whole numbers"),
    ((*COARSE, "--input", "1x3x" + "9" * 17 + "x32"), "the largest that can be costed"),
    ((*COARSE, "--input", "1x3x" + "9" * 5000 + "x32"), "--input is .*whole numbers with x between them"),
    ((*COARSE, "--set", "pe_array.rows=" + str(10**30)), "pe_array.rows is 1000"),
    ((*COARSE, "--set", "pe_array.rows=" + "9" * 5000), "not valid YAML|thousands of digits"),
    ((*COARSE, "--set", "pe_array.rows=" + "[" * 20_000), "has 20,000 characters; the most is 10,000"),
    ((*COARSE, "--set", "pe_array.rows=" + "[" * 9_000), "exceeded maximum nesting depth"),
    ((*COARSE, "--set", "pe_array.rows=" + "[" * 500 + "]" * 500), "100 lists and mappings within one another"),
    ((*COARSE, "--set", "pe_array.rows=" + "{a: " * 500 + "1" + "}" * 500), "100 lists and mappings within one another"),
    ((*COARSE, "--set", "pe_array.rows=&a [*a]"), "repeats its parts by aliases"),
    ((*COARSE, "--set", "pe_array.rows=!!timestamp x"), "not valid YAML"),
    ((*COARSE, "--set", "pe_array.rows=2020-99-99"), "not valid YAML: month must be in 1..12"),
    ((*COARSE, "--set", ".".join("a" * 20_000) + "=1"), "unknown part in field"),
    ((*COARSE, "--set", "x" * 100_000 + "=1"), "unknown field of accelerator eyeriss"),
    ((*COARSE, "--set", "x" * 100_000), "must have the form FIELD=VALUE"),
]


@pytest.mark.parametrize(("argv", "words"), OPTIONS, ids=[f"{argv[-2]} {argv[-1][:24]}" for argv, _ in OPTIONS])
def test_options_have_limits(argv: tuple[str, ...], words: str, run: Run) -> None:
    code, told = run(*argv)
    assert code == 2
    assert len(told) < 2_000
    with pytest.raises(InputError, match=words):
        raise InputError(told)


SWEPT = [
    ("effort: 10001", "effort is 10001"),
    (f"effort: {10**30}", "effort is 1000"),
    ("effort: yes", "effort is True: a number is needed"),
    (f"batch: [{10**30}]", "batch"),
    (f"bits: [[8, {10**30}]]", "bits"),
    (f"sample: {{method: random, points: {10**30}}}", "sample.points is 1000"),
    (f"sample: {{method: random, points: 2, seed: {10**30}}}", "sample.seed is 1000"),
    ("levels: [coarse, coarse]", "it names 'coarse' twice"),
]


@pytest.mark.parametrize(("line", "words"), SWEPT)
def test_fields_of_a_sweep_have_limits(line: str, words: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"networks: [resnet20]\naccelerators: [eyeriss]\n{line}\n")
    code, told = run("sweep", str(file), "-o", str(tmp_path / "out"))
    assert code == 2
    assert words in told


@pytest.mark.parametrize("value", ["[T]", "[1.0e+30]", "[8, T]", "{from: 8, to: T, step: 1}", "{log2: [8, T]}"])
@pytest.mark.parametrize("field", ["pe_array.rows", "clock_mhz", "global_buffer.size_kib"])
def test_a_grid_point_out_of_all_ranges(field: str, value: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        f"networks: [resnet20]\naccelerators: [{{base: eyeriss, set: {{{field}: {value.replace('T', str(10**30))}}}}}]\n"
    )
    code, told = run("sweep", str(file), "-o", str(tmp_path / "out"))
    assert code == 2
    assert f"{field} is " in told or f"{field}: " in told


def test_many_values_of_a_field_are_looked_at_once(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "s.yaml"
    many = ", ".join(map(str, range(1, 100_002)))
    file.write_text(f"networks: [resnet20]\naccelerators: [{{base: eyeriss, set: {{pe_array.rows: [{many}]}}}}]\n")
    code, told = run("sweep", str(file), "-o", str(tmp_path / "out"))
    assert code == 2
    assert "it has 100,001 entries; the most is 100,000" in told


# Lists of errors -----------------------------------------------------------------------------------------------------


def test_a_list_of_problems_is_cut() -> None:
    assert listed(["a", "b"]) == "a; b"
    assert listed([str(i) for i in range(10)]) == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9"
    assert listed([str(i) for i in range(20_000)]).endswith("8; 9; and 19,990 more")
    assert listed(["a"], 3) == "a; and 2 more"
    assert len(listed(["x" * 10**6])) < 600


def test_known_names_are_cut() -> None:
    text = str(not_found("layer", "conv", (f"layer{i}" for i in range(20_000))))
    assert len(text) < 1_000
    assert "and 19,940 more" in text


@pytest.mark.parametrize("value", [0, -1, 11, 10**5000, 1.0, "1", None, True], ids=lambda value: type(value).__name__)
def test_numbers_out_of_range(value: object) -> None:
    with pytest.raises(InputError, match=r"effort is .*; it must be a whole number of at least 1"):
        check_whole("effort", value, 10)


def _layers(entry: str) -> str:
    return "layers:\n" + f"- {entry}\n" * 20_000


def _hierarchy(entry: str) -> str:
    return "name: a\ntechnology_nm: 45\nclock_mhz: 100\ndataflow: row_stationary\nhierarchy:\n" + f"- {entry}\n" * 2_000


MANY: list[tuple[str, tuple[str, ...]]] = [
    (_layers("{name: a}"), ("estimate", "FILE")),
    (_layers("{name: a, C: 0, M: x}"), ("estimate", "FILE")),
    (_layers("{nome: a}"), ("estimate", "FILE")),
    (_layers("{name: a, type: linear, C: 1, M: 1, R: 3}"), ("estimate", "FILE")),
    (_layers("5"), ("estimate", "FILE")),
    (_hierarchy("{name: a, kind: sram, role: b}"), ("estimate", "resnet20", "-a", "FILE")),
    (_hierarchy("{name: a}"), ("estimate", "resnet20", "-a", "FILE")),
    ("networks: [" + "{nett: a}, " * 2_000 + "]\naccelerators: [eyeriss]", ("sweep", "FILE", "-o", "OUT")),
    (f"networks: [resnet20]\naccelerators: [eyeriss]\nbatch: {[-i for i in range(2_000)]}", ("sweep", "FILE", "-o", "OUT")),
]


@pytest.mark.parametrize(("content", "argv"), MANY, ids=[f"{argv[0]} {content[:60]!r}" for content, argv in MANY])
def test_lists_of_errors_are_cut(content: str, argv: tuple[str, ...], tmp_path: Path, run: Run) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(content)
    code, told = run(*(arg.replace("FILE", str(file)).replace("OUT", str(tmp_path / "out")) for arg in argv))
    assert code == 2
    assert len(told) < 6_000
    assert "more" in told or "twice" in told


def test_a_layer_that_is_unknown_among_many(tmp_path: Path, run: Run) -> None:
    lines = [f"- {{name: layer{i}, C: 1, M: 1, type: linear}}" for i in range(2_000)]
    (tmp_path / "n.yaml").write_text("\n".join(["layers:", *lines]))
    code, told = run("map", str(tmp_path / "n.yaml"), "-a", "eyeriss", "--layer", "conv")
    assert code == 2
    assert "and 1,940 more" in told


# What the system refuses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [6, 8, 10, 12, 16])
def test_few_open_files_end_in_a_sentence(files: int, tmp_path: Path) -> None:
    command = f"ulimit -n {files}; exec {sys.executable} -m hwflow estimate resnet20 -a eyeriss"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        assert "Traceback" not in done.stderr
        assert "Too many open files" in done.stderr
        assert "ulimit -n 1024" in done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ("estimate", "resnet20", "--level", "coarse", "-o", "PLACE"),
        ("estimate", "resnet20", "--level", "coarse", "-o", "PLACE/x.txt"),
        ("estimate", "resnet20", "--level", "coarse", "--html", "PLACE"),
        ("map", "resnet20", "-a", "eyeriss", "--layer", "fc", "--quick", "-o", "PLACE"),
        ("render", "resnet20", "-a", "eyeriss", "--mapper", "timeloop", "-o", "PLACE"),
        ("sweep", "SWEEP", "-o", "PLACE"),
        ("report", "PLACE"),
        ("estimate", "PLACE.yaml"),
        ("estimate", "PLACE/x.onnx"),
        ("estimate", "resnet20", "-a", "PLACE/x.yaml"),
        ("estimate", "resnet20", "--timeloop-arch", "PLACE"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("place", ["loop", "n" * 300])
def test_places_that_cannot_be_are_named(
    argv: tuple[str, ...], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    for link in ("loop", "loop.yaml"):
        Path(link).symlink_to(link)
    Path("sweep.yaml").write_text("networks: [resnet20]\naccelerators: [eyeriss]\nlevels: [coarse]\n")
    code, told = run(*(arg.replace("PLACE", place).replace("SWEEP", "sweep.yaml") for arg in argv))
    assert code in (1, 2)
    assert "defect" not in told
    refused = ("symbolic links", "File name too long", "no such file", "does not exist", "leads nowhere")
    assert any(words in told for words in refused)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"layers": ' * 100_000, "[" * 200 + "]" * 200])
def test_json_without_end(content: str, tmp_path: Path, run: Run) -> None:
    (tmp_path / "costs.json").write_text(content)
    code, told = run("report", str(tmp_path / "costs.json"))
    assert code == 2
    assert "costs.json is damaged: it has more than 100 lists and mappings within one another" in told


def test_memory_that_ran_out_is_said(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("hwflow.network.load.load", full)
    code, told = run(*COARSE)
    assert code == 1
    assert told.startswith("hwflow: memory ran out. Use a smaller input or fewer processes (--jobs)")


# Folders of rendered layers ------------------------------------------------------------------------------------------

NAMES = [
    "n" * 300,
    "n" * 300 + "x",
    "n" * 4000,
    "conv/a b",
    "conv_a_b",
    "conv_a_b_2",
    "Conv_A_B",
    "CONV_A_B",
    "層",
    "层",
    "...",
    "..",
    "/",
    "-o",
    "é" * 300,
]


def test_every_layer_has_a_folder_of_its_own(tmp_path: Path, run: Run) -> None:
    layers = [{"name": name, "type": "linear", "C": i + 1, "M": 8} for i, name in enumerate(NAMES)]
    (tmp_path / "n.yaml").write_text(json.dumps({"layers": layers}))
    code, told = run("render", str(tmp_path / "n.yaml"), "-a", "eyeriss", "--mapper", "timeloop", "-o", str(tmp_path / "out"))
    assert (code, told) == (0, "")
    folders = [entry.name for entry in (tmp_path / "out").iterdir()]
    assert len({name.lower() for name in folders}) == len(NAMES)
    assert all((tmp_path / "out" / name / "command.txt").is_file() for name in folders)
    assert max(map(len, folders)) <= 110


def test_names_of_folders_stay_what_they_were(tmp_path: Path, run: Run) -> None:
    network = hwflow.Network.from_yaml
    (tmp_path / "n.yaml").write_text('layers: [{name: "layer1.0/conv 1", type: linear, C: 3, M: 8}]')
    assert network(tmp_path / "n.yaml").layers[0].name == "layer1.0/conv 1"
    run("render", str(tmp_path / "n.yaml"), "-a", "eyeriss", "--mapper", "timeloop", "-o", str(tmp_path / "out"))
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["layer1.0_conv_1"]

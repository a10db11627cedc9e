"""Files: what is read and what is refused; written whole or not at all, links followed, devices left what they are."""

from __future__ import annotations

import ast
import io
import os
import socket
import stat
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import hwflow
from hwflow.errors import HwflowError, InputError
from hwflow.files import (
    LIMITS,
    Kind,
    checked,
    folder,
    open_input,
    parse_json,
    read_bytes,
    read_lines,
    read_text,
    read_yaml,
    write_text,
)
from hwflow.hardware.dataflow import load_dataflow


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new" / "deep" / "a.txt"
    write_text(target, "one")
    assert target.read_text() == "one"
    monkeypatch.setattr(os, "replace", _fails)
    with pytest.raises(HwflowError, match=r"cannot write .*a\.txt: No space left on device\. What stood there before"):
        write_text(target, "two")
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]
    assert target.read_text() == "one"


def test_folders_made_for_a_file_that_failed_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", _fails)
    with pytest.raises(HwflowError, match=r"Nothing was left there\. Free space there, or write elsewhere\."):
        write_text(tmp_path / "new" / "deep" / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_links_that_lead_back_to_themselves_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for name in ("a", "a/b.txt"):
        with pytest.raises(HwflowError, match=r"cannot write .*: Too many levels of symbolic links\. Nothing was"):
            write_text(tmp_path / name, "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a").is_symlink()


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    for name in ("n" * 300, f"{'n' * 300}/a", "n" * 5000):
        with pytest.raises(HwflowError, match=r"cannot write .*: File name too long\. Nothing was left"):
            write_text(tmp_path / name, "text")
    assert list(tmp_path.iterdir()) == []
    for name in ("n" * 255, "\N{SNOWMAN}" * 85):  # as long as file systems allow, in bytes
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through")
    reader.join(10)
    assert heard == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_by_its_name_in_a_pipe() -> None:
    read_end, write_end = os.pipe()
    try:
        write_text(f"/dev/fd/{write_end}", "through")
        assert os.read(read_end, 100) == b"through"
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(HwflowError, match="cannot write"):
        write_text(tmp_path, "text")
    assert tmp_path.is_dir()


def test_yaml_is_read_safely(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: !!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match=r"x\.yaml, line 1.*could not determine a constructor"):
        read_yaml(path, "accelerator")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"accelerator .*x\.yaml is no text"):
        read_yaml(path, "accelerator")


def test_shipped_folders_exist() -> None:
    assert (folder("arch_templates") / "energy" / "recorded.yaml").is_file()
    with pytest.raises(HwflowError, match="install hwflow again"):
        folder("no_such_folder")


def _fails(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("text", ['a: !!int ""', "a: !!bool x", "a: !!timestamp x", 'a: !!float ""'])
def test_a_tag_that_does_not_fit_its_value_is_an_error_of_the_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is not valid YAML"):
        read_yaml(tmp_path / "a.yaml", "accelerator")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 0x" + "f" * 5000, r"a\.yaml is not valid YAML: it has a whole number of more than 10000 bits"),
        ("a: !!set {? 0x" + "f" * 5000 + "}", r"a\.yaml is not valid YAML: it has a whole number of more than 10000 bits"),
        ("a: " + "[" * 101 + "]" * 101, r"a\.yaml has 102 lists and mappings within one another; hwflow reads 100 at most"),
        ("a: é\nb: \x07", r"a\.yaml, line 2 is not valid YAML: the character '\\x07' is not allowed"),
        ("a0: &a0 x\n" + "".join(f"a{n + 1}: &a{n + 1} !!pairs [{f'k: *a{n}, ' * 9}]\n" for n in range(9)), "by aliases"),
    ],
    ids=["a number that cannot be printed", "the same in a set", "nested", "a character", "pairs"],
)
def test_what_no_reader_can_go_on_with_is_refused_at_once(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_yaml(tmp_path / "a.yaml", "accelerator")


# Limits --------------------------------------------------------------------------------------------------------------


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))  # the whole path may be too long for an address


def _folder(path: Path) -> None:
    path.mkdir()


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


def _huge(path: Path) -> None:
    with path.open("wb") as handle:
        handle.truncate(max(LIMITS.values()) + 1)


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


UNREADABLE: list[tuple[Callable[[Path], None], str]] = [
    (_pipe, "is a named pipe, not a regular file. Save its content to a file"),
    (_socket, "is a socket, not a regular file"),
    (_folder, "is a folder"),
    (_loop, "Too many levels of symbolic links|no such file"),
    (_zeros, "is a device, not a regular file"),
    (_terminal, "is a device, not a regular file"),
    (_huge, r"is too large: it has [\d,.]+ MiB; hwflow reads at most [\d,]+ MiB of an? "),
    (_dangling, "no such file|does not exist"),
]


@pytest.mark.parametrize(("make", "words"), UNREADABLE, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("kind", LIMITS)
def test_only_regular_files_within_the_limit_are_read(
    kind: Kind, make: Callable[[Path], None], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "input")
    for read in (checked, open_input, read_bytes, read_text):
        with pytest.raises(InputError, match=words):
            read(tmp_path / "input", "the input", kind)


def _readers() -> dict[str, tuple[str, Callable[[Path], object]]]:
    """Each reader of the package, with the name that it takes a file under."""
    from hwflow.compression.plan_files import plan_from_file
    from hwflow.compression.run_config import _hash
    from hwflow.datasets import cifar, idx
    from hwflow.reporting.estimates.configuration import read_configurations
    from hwflow.reporting.pruning.pruning_folder import read_run
    from hwflow.sweeping.description import load_description
    from hwflow.sweeping.point_record import Checker
    from hwflow.sweeping.records import FORMAT, opened
    from hwflow.sweeping.result_tables import read_results
    from hwflow.training.checkpoint import read

    def records(path: Path) -> None:
        (path.parent / "sweep.yaml").write_text("{}")
        with opened(path.parent, path.parent / "sweep.yaml", {"format": FORMAT}, Checker({}, {}, ())):
            pass

    def run(path: Path) -> None:
        (path.parent / "metrics.json").write_text("{}")
        read_run(path.parent)

    layer, chip = hwflow.Layer("fc", C=1, M=1), hwflow.Accelerator.load("eyeriss")
    return {
        "accelerator": ("a.yaml", hwflow.Accelerator.load),
        "dataflow": ("a.yaml", load_dataflow),
        "layer list": ("a.yaml", hwflow.Network.from_yaml),
        "mapping": ("a.yaml", lambda path: hwflow.Mapping.from_timeloop(path, layer, chip)),
        "Timeloop": ("a.yaml", lambda path: hwflow.from_timeloop([path])),
        "sweep": ("a.yaml", load_description),
        "onnx": ("a.onnx", hwflow.Network.from_onnx),
        "weights": ("a.pt", lambda path: read(path, "the weights")),
        "hash of weights": ("a.pt", _hash),
        "plan": ("plan.json", plan_from_file),
        "costs": ("a.json", read_configurations),
        "run": ("config.json", run),
        "records": ("records.jsonl", records),
        "table": ("results.parquet", lambda path: read_results(path.parent)),
        "idx": ("train-images-idx3-ubyte", lambda path: idx.load("mnist", path.parent, flips=False)),
        "cifar": ("data_batch_1.bin", lambda path: cifar.load(path.parent)),
    }


@pytest.mark.parametrize("make", [_pipe, _zeros, _loop, _folder, _huge], ids=lambda make: make.__name__.strip("_"))
@pytest.mark.parametrize("reader", list(_readers()))
def test_no_reader_of_the_package_blocks_or_reads_without_end(
    reader: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    name, read = _readers()[reader]
    make(tmp_path / name)
    with pytest.raises(HwflowError, match=r"pipe|device|symbolic links|folder|too large|no such file|has n|not exist"):
        read(tmp_path / name)


_OPENED_ELSEWHERE = {
    "files.py": "the readers themselves",
    "store/owner.py": "the kernel's own files below /proc",
    "cli/application.py": "os.devnull, to write",
    "compression/folder.py": "log.jsonl, to write",
    "sweeping/records.py": "records.jsonl, checked and then opened to append",
    "timeloop/process.py": "what a tool has just printed into hwflow's own folder, its end only",
    "timeloop/engine.py": "tools on PATH, which are trusted",
    "timeloop/_pytimeloop_run.py": "hwflow's own files, in an interpreter without hwflow",
    "training/checkpoint.py": "torch.load, after `checked`",
    "network/from_onnx.py": "onnx.load, after `checked`",
    "datasets/_files.py": "Pillow, after `checked`",
    "datasets/idx.py": "gzip, of a file from `open_input`",
    "reporting/sweeps/sweep_folder.py": "pyarrow, after `checked`",
    "sweeping/result_tables.py": "pandas, after `checked`",
    "sweeping/ray_session.py": "logs and /proc entries of Ray processes that a killed sweep left",
    "coexploration/records.py": "records.jsonl, checked and then opened to append",
    "reporting/coexploration/designs.py": "pyarrow, after `checked`",
    "dynamic/level_table.py": "its own table, of limited size; embedded in devices without the readers",
    "dynamic/manager.py": "its own state, of limited size; the same",
    "dynamic/library_search.py": "measured choices, to append",
    "dynamic/measurement.py": "/proc/cpuinfo",
    "scratch.py": "the lock of a folder of hwflow's own",
}


def test_files_are_opened_in_one_place() -> None:
    package = Path(hwflow.__file__).parent
    found = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _opens(node.func)
    }
    assert found == set(_OPENED_ELSEWHERE)


def _opens(called: ast.expr) -> bool:
    """Whether it is a call that opens a file by itself."""
    if isinstance(called, ast.Name):
        return called.id == "open"
    if not isinstance(called, ast.Attribute):
        return False
    library = called.value.id if isinstance(called.value, ast.Name) else ""
    return called.attr in {"open", "read_text", "read_bytes", "read_parquet", "read_table", "fromfile"} or (
        called.attr == "load" and library in {"torch", "onnx", "np", "numpy", "json"}
    )


def test_a_long_line_of_records_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwflow.files.LINE_LIMIT", 10)
    lines = read_lines(io.BytesIO(b"short\n" + b"l" * 11 + b"\nshort\n"), "records.jsonl")
    assert next(lines) == b"short\n"
    with pytest.raises(InputError, match=r"records\.jsonl, line 2 has more than 10 bytes, the most"):
        next(lines)


def test_a_file_that_grows_is_read_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("a: 1" + " " * 100)
    monkeypatch.setitem(LIMITS, "description", 50)
    monkeypatch.setattr("hwflow.files.checked", lambda path, *_: path)
    with pytest.raises(InputError, match=r"a\.yaml is too large: it has more; hwflow reads at most 50 bytes of a description"):
        read_text(tmp_path / "a.yaml", "accelerator")


def test_weights_that_unpack_to_more_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", b"\0" * 10_000)
    assert checked(path, "the weights", "weights") == path
    monkeypatch.setitem(LIMITS, "weights", 5_000)
    assert path.stat().st_size < 5_000
    with pytest.raises(InputError, match=r"w\.pt is too large: unpacked it has 10,000 bytes; hwflow reads at most 5,000 bytes"):
        checked(path, "the weights", "weights")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000 + "]" * 100_000, "more than 100 lists and mappings within one another"),
        ("[" * 100_000, "more than 100 lists and mappings within one another"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "more than 100 lists and mappings within one another"),
        ("[" * 102 + "]" * 102, "more than 100 lists and mappings within one another"),
        ("1" * 5000, "Exceeds the limit"),
        ('{"a": ', "Expecting value"),
        ("", "Expecting value"),
    ],
    ids=["lists", "open lists", "mappings", "just too deep", "digits", "cut off", "empty"],
)
def test_json_that_cannot_be_used_is_a_value_error(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)


def test_json_is_read_as_deep_as_yaml() -> None:
    assert parse_json("[" * 100 + "]" * 100)
    assert parse_json(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("text", ["a: 1\r\nb: 2\r\n", "a: 1\rb: 2", "a: 1\nb: 2"])
def test_line_ends_are_those_of_unix(text: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(text.encode())
    assert read_text(tmp_path / "a", "a").splitlines() == ["a: 1", "b: 2"]
    assert "\r" not in read_text(tmp_path / "a", "a")

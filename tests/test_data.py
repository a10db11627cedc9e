"""Writing files: whole or not at all, links followed, devices left what they are."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from hwflow.data import folder, read_yaml, write_text
from hwflow.errors import HwflowError, InputError


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
    with pytest.raises(HwflowError, match="Nothing was left there"):
        write_text(tmp_path / "new" / "deep" / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


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
    with pytest.raises(InputError, match=r"accelerator: .*x\.yaml"):
        read_yaml(path, "accelerator")


def test_shipped_folders_exist() -> None:
    assert (folder("arch_templates") / "energies.yaml").is_file()
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

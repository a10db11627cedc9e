"""Records that somebody edited, or a disk damaged: named by their line, taken out, and their points costed again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hwflow
from hwflow import cli
from hwflow.errors import InputError
from hwflow.sweeping import Interrupted, run, runners
from hwflow.sweeping.unit import Answer, Unit, cost_unit
from tests.sweeping.conftest import Sweep, tables

Edit = Callable[[dict[str, Any]], object]


def edited(out: Path, line: int, edit: Edit | bytes) -> None:
    """Change one line, counted from 1."""
    path = out / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if isinstance(edit, bytes):
        lines[line - 1] = edit
    else:
        record = json.loads(lines[line - 1])
        edit(record)
        lines[line - 1] = json.dumps(record).encode() + b"\n"
    path.write_bytes(b"".join(lines))


def put(**values: Any) -> Edit:
    return lambda record: record.update(values)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (b"{torn\n", "line 3: Expecting property name"),
        (b"\n", "line 3: Expecting value"),
        (b"[]\n", r"line 3: the line is \[\]: "),
        (b"\xff\xfe\n", "line 3: 'utf-8' codec can't decode|line 3: .*decode"),
        (b'{"a":' * 3000 + b"\n", "line 3: it has more than 100 lists and mappings within one another"),
        (put(energy_normalized=float("nan")), "line 3: energy_normalized is nan: input should be a finite number"),
        (put(energy_normalized=float("inf")), "line 3: energy_normalized is inf"),
        (put(energy_normalized=-1.0), r"line 3: energy_normalized is -1\.0: input should be greater than or equal to 0"),
        (put(energy_normalized=1.0), r"line 3: energy_normalized is 1\.0: the layers' sum is \d+"),
        (put(energy_normalized=None), r"line 3: energy_normalized is None: the layers' sum is \d+"),
        (put(energy_pj=5.0), r"line 3: energy_pj is 5\.0: the layers' sum is None"),
        (put(cycles="many"), "line 3: cycles is 'many': input should be a valid integer"),
        (put(cycles=10**30), "line 3: cycles is 1000000000000000000000000000000: "),
        (put(dram_bytes=1.0), r"line 3: dram_bytes is 1\.0: the layers' sum is"),
        (put(macs=1), "line 3: macs is 1: the network has"),
        (put(network="nobody"), "line 3: network is 'nobody': the sweep has none of this name, batch and bits"),
        (put(batch=7), "line 3: network is 'other': the sweep has none"),
        (put(fields={}), r"line 3: fields is \{\}: the sweep's are global_buffer\.size_kib, pe_array\.rows"),
        (
            put(fields={"global_buffer.size_kib": 17, "pe_array.rows": 4}),
            r"line 3: fields\.global_buffer\.size_kib is 17: the sweep has no such value",
        ),
        (put(level="best"), "line 3: level is 'best'"),
        (put(status="fine"), "line 3: status is 'fine'"),
        (put(status="failed"), "line 3: status is 'failed', but there are costs"),
        (put(point=-1), "line 3: point is -1"),
        (put(point=1.5), r"line 3: point is 1\.5"),
        (put(comment="mine"), "line 3: comment is 'mine': extra inputs are not permitted"),
        (lambda record: record.pop("rows"), "line 3: rows is missing"),
        (lambda record: record.pop("macs"), "line 3: macs is "),
        (lambda record: record["rows"].pop(), "line 3: rows has 1: the network has 2 different layers"),
        (lambda record: record["rows"][0].pop(), r"line 3: rows\.0"),
        (lambda record: record["rows"][0][-1].pop(), "line 3: rows does not fit sources and parts"),
        (put(parts=["dram", "gold"]), r"line 3: parts is \['dram', 'gold'\]: the chips have dram, global_buffer"),
        (put(sources=[]), "line 3: rows does not fit sources and parts"),
    ],
)
def test_an_edited_line_is_named_and_its_point_costed_again(
    sweep_file: Sweep, tmp_path: Path, edit: Edit | bytes, reason: str
) -> None:
    path, out, said = sweep_file(levels=["coarse"]), tmp_path / "out", list[str]()
    run(path, out, store=False)
    whole = tables(out)
    edited(out, 3, edit)
    result = run(path, out, store=False, notify=said.append)
    assert (result.points, result.counts.points) == (10, 1)
    assert tables(out) == whole
    [text] = said
    assert text.startswith(f"{out / 'records.jsonl'} is damaged: line 3: ")
    with pytest.raises(InputError, match=reason):
        raise InputError(text)
    again = run(path, out, store=False, notify=said.append)
    assert (again.counts.points, len(said)) == (0, 1)


@pytest.mark.parametrize("transient", [False, True])
def test_a_folder_of_version_0_1_is_read(sweep_file: Sweep, tmp_path: Path, transient: bool) -> None:
    """Its records say `passing` where those of today say `transient`: such a point is costed again, others are not."""
    path, out = sweep_file(levels=["coarse"]), tmp_path / "out"
    run(path, out, store=False)
    whole = tables(out)
    for line in range(2, 12):
        edited(out, line, lambda record: record.update(passing=record.pop("transient") or transient))
    result = run(path, out, store=False)
    assert (result.points, result.counts.points) == (10, 10 if transient else 0)
    assert tables(out) == whole


def test_energies_that_were_halved_do_not_fit_the_latency(sweep_file: Sweep, tmp_path: Path) -> None:
    path, out, said = sweep_file(networks=["tiny.yaml"], energy="fitted"), tmp_path / "out", list[str]()
    run(path, out, store=False)

    def halve(record: dict[str, Any]) -> None:
        for row in record["rows"]:
            row[0] /= 2
        record["energy_pj"] = sum(record["rows"][place][0] for place in (0, 1, 1))

    edited(out, 2, halve)
    run(path, out, store=False, notify=said.append)
    assert "edp_pj_s is " in said[0]


def test_many_damaged_lines_are_counted_and_ten_are_named(sweep_file: Sweep, tmp_path: Path) -> None:
    path, out, said = sweep_file(), tmp_path / "out", list[str]()
    run(path, out, store=False)
    whole = tables(out)
    for line in range(2, 22):
        edited(out, line, b"{}\n")
    assert run(path, out, store=False, notify=said.append).counts.points == 20
    assert tables(out) == whole
    assert said[0].count("; line") == 9
    assert "; and 10 more. These 20 lines are taken out," in said[0]


def test_one_damaged_line_is_spoken_of_as_one(sweep_file: Sweep, tmp_path: Path) -> None:
    path, out, said = sweep_file(levels=["coarse"]), tmp_path / "out", list[str]()
    run(path, out, store=False)
    edited(out, 2, b"{}\n")
    run(path, out, store=False, notify=said.append)
    assert "This line is taken out, and points that are then without a record are costed again." in said[0]


def test_a_torn_end_behind_a_damaged_line(sweep_file: Sweep, tmp_path: Path) -> None:
    path, out, said = sweep_file(levels=["coarse"]), tmp_path / "out", list[str]()
    run(path, out, store=False)
    whole = tables(out)
    edited(out, 5, b"{}\n")
    edited(out, 11, b'{"point":')
    assert run(path, out, store=False, notify=said.append).counts.points == 2
    assert tables(out) == whole
    lines = (out / "records.jsonl").read_bytes().splitlines()
    assert sorted(json.loads(line)["point"] for line in lines[1:]) == list(range(10))


@pytest.mark.parametrize("interrupted", [False, True])
def test_more_points_than_the_sweep_has_do_not_count(
    sweep_file: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    path, out, said = sweep_file(), tmp_path / "out", list[str]()
    run(path, out, store=False)
    whole = tables(out)
    with (out / "records.jsonl").open("a") as handle:
        handle.write(json.dumps(json.loads((out / "records.jsonl").read_text().splitlines()[1]) | {"point": 20}) + "\n")
    if interrupted:
        edited(out, 12, b"{}\n")

        def stopping(unit: Unit) -> Answer:
            raise KeyboardInterrupt

        monkeypatch.setattr(runners, "cost_unit", stopping)
        with pytest.raises(Interrupted) as stopped:
            run(path, out, store=False, notify=said.append)
        assert stopped.value.result.points == 19
        monkeypatch.setattr(runners, "cost_unit", cost_unit)
    result = run(path, out, store=False, notify=said.append)
    assert result.points == 20
    assert tables(out) == whole
    assert said[-1] == (
        f"{out / 'records.jsonl'} had records of other designs than this sweep's, under the numbers 20; they do not count."
    )


def test_a_record_of_another_point_is_costed_again(sweep_file: Sweep, tmp_path: Path) -> None:
    """Everything in it is right, but for the number: the design is another one."""
    path, out, said = sweep_file(levels=["coarse"]), tmp_path / "out", list[str]()
    run(path, out, store=False)
    whole = tables(out)
    edited(out, 2, put(point=4))
    assert run(path, out, store=False, notify=said.append).counts.points == 1
    edited(out, 2, lambda record: record.update(point=0))
    assert tables(out) == whole
    edited(out, 4, put(accelerator="gold"))
    assert run(path, out, store=False, notify=said.append).counts.points == 1
    assert tables(out) == whole
    assert "of other designs than this sweep's, under the numbers 2;" in said[-1]


def test_the_command_line_tells_in_one_line(sweep_file: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = sweep_file(levels=["coarse"]), tmp_path / "out"
    hwflow.sweep(path, out, store=False)
    edited(out, 4, put(cycles=None))
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", str(path), "-o", str(out), "--jobs", "1"])
    assert not ended.value.code
    err = capsys.readouterr().err
    assert err.count("\n") == 2
    assert "records.jsonl is damaged: line 4: cycles is None: the layers' sum is" in err


def test_a_folder_of_the_older_format_says_so(sweep_file: Sweep, tmp_path: Path) -> None:
    path, out = sweep_file(levels=["coarse"]), tmp_path / "out"
    hwflow.sweep(path, out, store=False)
    edited(out, 1, put(format=1))
    with pytest.raises(InputError, match=r"was begun by another version of hwflow, whose records \(format 1\) this one"):
        hwflow.sweep(path, out, store=False)


def test_records_are_small(tmp_path: Path) -> None:
    """What all points of a network share stands once: its layers' names and sizes."""
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "networks: [resnet18]\naccelerators: [{base: eyeriss, set: {pe_array.rows: [4, 8, 12]}}]\nlevels: [coarse]\n"
    )
    hwflow.sweep(path, tmp_path / "out", store=False)
    header, *lines = (tmp_path / "out" / "records.jsonl").read_bytes().splitlines()
    assert json.loads(header)["layers of networks"]["resnet18 at batch 1"]["layers"][0] == ["conv1", "conv", 118013952, 9408]
    assert max(map(len, lines)) < 3_000  # 21 layers of 12 shapes

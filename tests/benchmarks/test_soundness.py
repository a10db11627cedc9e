"""The benchmark of bounds on random layers: what it asks, and that it would notice a bound that is too large."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import soundness

PAGE = (Path(__file__).parents[2] / "docs" / "pages" / "explanation" / "proofs.md").read_text(encoding="utf-8")


def test_a_number_is_always_the_same_question_and_all_kinds_are_asked() -> None:
    asked = [soundness.question(number) for number in range(300)]
    assert asked == [soundness.question(number) for number in range(300)]
    assert {chip.name for _, chip, _, _ in asked} == {"eyeriss", "eyeriss_256", "simba", "tpu_like", "shidiannao_like"}
    assert {objective for *_, objective in asked} == {"edp", "energy", "latency"}
    assert len({dataflow for _, _, dataflow, _ in asked}) >= 5
    assert len({layer.key for layer, *_ in asked}) > 290


def test_no_mapping_of_the_first_layer_is_below_its_bounds() -> None:
    record = soundness.answer(0)
    assert set(record["bounds"]) == set(soundness.KINDS)
    assert soundness.above(record) == []
    assert record["bounds"]["search"] == record["found"]["perfect"]


def test_a_bound_above_a_mapping_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"found": {"perfect": 10.0, "all": 9.0}, "bounds": {"formulas": 8.0, "search": 10.0}, "peak_mb": 100}
    bad = {**good, "bounds": {"formulas": 9.5, "search": 10.0}, "peak_mb": 120, "layer": "l", "accelerator": "chip"}
    file = tmp_path / "records.jsonl"
    file.write_text("".join(json.dumps({"question": n, **one}) + "\n" for n, one in enumerate((good, bad))))
    monkeypatch.setattr("sys.argv", ["soundness", "--table", "--records", str(file)])
    with pytest.raises(SystemExit) as end:
        soundness.main()
    assert end.value.code == 1
    told = capsys.readouterr().out
    assert "| formulas | all | 2 | 1 |" in told
    assert "| search | perfect | 2 | 0 |" in told
    assert "- l on chip: formulas" in told
    assert "peak memory 120 MB" in told


def test_the_page_has_the_table_of_the_records_and_no_bound_is_too_large() -> None:
    records = soundness.read(soundness.RECORDS)
    assert not any(map(soundness.above, records))
    shown = re.search(r"<!-- soundness -->\n(.*?)\n<!-- end soundness -->", PAGE, re.DOTALL)
    assert shown is not None
    assert shown[1] == soundness.table(records)

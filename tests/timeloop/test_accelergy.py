"""Characterising a chip with Accelergy: what is asked, what is read, what is refused; and the recorded energies."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwflow
from hwflow.errors import ToolError, ToolMissing
from hwflow.files import folder
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.energy_table import PartEnergy, part_key, recorded
from hwflow.layers import Bits
from hwflow.timeloop import accelergy_parts
from hwflow.timeloop.accelergy import characterise
from hwflow.timeloop.engine import Native
from tools import record_energies as recording

Install = Callable[..., Path]
Tables = dict[str, Any]


def tables() -> Tables:
    """The four files that Accelergy writes for the tiny chip."""
    energies = {
        "dram": {"read": 512.0, "write": 512.0, "update": 512.0, "leak": 0.0},
        "buffer": {"read": 1.5, "write": 2.5, "update": 2.5, "leak": "1e-05"},
        "mac": {"compute": 5.0, "leak": 0.1},
    }
    estimators = {"dram": ["CactiDRAM"], "buffer": ["CactiSRAM", "Library"], "mac": ["Library"]}
    rows = [(f"system.{n}", [{"name": a, "energy": e} for a, e in actions.items()]) for n, actions in energies.items()]
    summary = [
        {"name": f"system.{n}", "primitive_estimation(s)": [{"name": "p", "estimator": e} for e in names]}
        for n, names in estimators.items()
    ]
    areas = [{"name": f"system.{n}", "area": 0.0 if n == "dram" else 100.0} for n in energies]
    plain = [{"name": f"system.{n}", "primitive_estimations": names[0]} for n, names in estimators.items()]
    return {
        "ERT": {"version": "0.4", "tables": [{"name": n, "actions": a} for n, a in rows]},
        "ART": {"version": "0.4", "tables": areas},
        "ERT_summary": {"version": "0.4", "table_summary": summary},
        "ART_summary": {"version": "0.4", "table_summary": plain},
    }


@pytest.fixture
def accelergy(tool: Install, tmp_path: Path, runs: Path) -> Callable[[Tables], Path]:
    """A stand-in that writes the given tables; what it was asked is kept in `asked`."""

    def install(content: Tables) -> Path:
        place, asked = tmp_path / "tables", tmp_path / "asked"
        place.mkdir()
        for name, table in content.items():
            (place / f"{name}.yaml").write_text(table if isinstance(table, str) else yaml.safe_dump({name: table}))
        tool("accelergy", f"mkdir {asked}; cp * {asked}; cp {place}/* .")
        return asked

    return install


def refused(tiny: Accelerator, runs: Path) -> str:
    """The message of the error, whose folder was kept."""
    with pytest.raises(ToolError) as caught:
        characterise(tiny, Native())
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_table_has_energies_areas_and_the_estimators(tiny: Accelerator, accelergy: Callable[[Tables], Path]) -> None:
    asked = accelergy(tables())
    table = characterise(tiny, Native())
    assert table.unit == "pJ"
    assert table.source == "accelergy (CactiDRAM+CactiSRAM+Library)"
    assert table.parts["buffer"] == PartEnergy(1.5, 2.5, 2.5, leak=1e-5, area_um2=100.0, estimator="CactiSRAM+Library")
    assert table.parts["mac"].compute == 5.0
    assert table.parts["dram"].area_um2 is None
    local = yaml.safe_load((asked / "accelergy.yaml").read_text())["architecture"]["subtree"][0]
    assert local["attributes"]["technology"] == "65nm"
    parts = {part["name"]: part for part in local["local"]}
    assert parts["dram"]["attributes"] == {"type": "LPDDR4", "width": 64}
    assert all(part["required_actions"] for part in parts.values())


def test_every_class_that_is_asked_for_is_in_the_components() -> None:
    path = folder("arch_templates") / "timeloop" / "components.yaml"
    defined = {entry["name"] for entry in yaml.safe_load(path.read_text())["compound_components"]["classes"]}
    used = set(re.findall(r'"(hwflow_\w+)"', Path(accelergy_parts.__file__).read_text()))
    assert used == defined


def test_a_dummy_is_refused_unless_asked_for(tiny: Accelerator, accelergy: Callable[[Tables], Path], runs: Path) -> None:
    content = tables()
    content["ERT_summary"]["table_summary"][1]["primitive_estimation(s)"][1]["estimator"] = "dummy_table"
    accelergy(content)
    message = refused(tiny, runs)
    assert "a placeholder answered for buffer (CactiSRAM+dummy_table)" in message
    assert "kept in" in message
    assert "install the plug-ins" in message
    asked = next(p for p in runs.parent.iterdir() if p.name == "asked")
    asked.rename(asked.with_name("before"))
    assert "dummy_table" in characterise(tiny, Native(), allow_dummy=True).source


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"ERT": ""}, r"ERT\.yaml is not Accelergy's ERT"),
        ({"ERT": "ERT: ["}, r"ERT\.yaml is not Accelergy's ERT: .* is not valid YAML"),
        ({"ART": "rubbish"}, r"ART\.yaml is not Accelergy's ART"),
        ({"ERT_summary": "ERT_summary: {table_summary: []}"}, r"Accelergy left out dram"),
    ],
)
def test_rubbish_is_refused(
    tiny: Accelerator, accelergy: Callable[[Tables], Path], runs: Path, damage: Tables, said: str
) -> None:
    accelergy(tables() | damage)
    message = refused(tiny, runs)
    assert re.search(said, message)
    (kept,) = runs.iterdir()
    assert f"kept in {kept.resolve()}" in message


def test_incomplete_tables_are_refused(tiny: Accelerator, accelergy: Callable[[Tables], Path], runs: Path) -> None:
    content = tables()
    del content["ERT"]["tables"][0]
    accelergy(content)
    assert "Accelergy left out dram; Timeloop would charge numbers of its own" in refused(tiny, runs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "read", "energy": "much"}, "is no number"),
        ({"name": "read", "energy": -1.0}, "is negative"),
        ({"name": "other", "energy": 1.0}, "has no energy for read of dram"),
    ],
)
def test_impossible_energies_are_refused(
    tiny: Accelerator, accelergy: Callable[[Tables], Path], runs: Path, change: dict[str, Any], said: str
) -> None:
    content = tables()
    content["ERT"]["tables"][0]["actions"][0] = change
    accelergy(content)
    assert said in refused(tiny, runs)


def test_a_part_that_costs_nothing_was_not_estimated(
    tiny: Accelerator, accelergy: Callable[[Tables], Path], runs: Path
) -> None:
    content = tables()
    for action in content["ERT"]["tables"][2]["actions"]:
        action["energy"] = 0
    accelergy(content)
    assert "every action of mac costs 0 pJ" in refused(tiny, runs)


def test_accelergy_without_plug_ins_is_an_error_in_its_words(tiny: Accelerator, tool: Install, runs: Path) -> None:
    tool("accelergy", "echo '2026-01-01 10:00:00 ERROR       Can not find an energy estimator for SRAM(width=64)'; exit 1")
    message = refused(tiny, runs)
    assert message.startswith("Accelergy on accelerator tiny failed with exit status 1 (engine native).")
    assert "It said: Can not find an energy estimator for SRAM(width=64)." in message


@pytest.mark.usefixtures("runs")
def test_classes_that_a_users_files_leave_undefined_are_named(tool: Install, tmp_path: Path) -> None:
    tool("accelergy", "echo 'ERROR       Can not find an energy estimator for smartbuffer_SRAM()'; exit 1")
    design = Path(__file__).parents[1] / "data" / "timeloop_designs" / "simple_weight_stationary.yaml"
    kinds = sorted({component.kind for component in hwflow.from_timeloop(design).written.values()})
    for defined in ([], kinds[:1], kinds):
        classes = [{"name": kind, "attributes": {}, "subcomponents": [], "actions": []} for kind in defined]
        path = tmp_path / "classes.yaml"
        path.write_text(yaml.safe_dump({"compound_components": {"version": 0.4, "classes": classes}}), encoding="utf-8")
        with pytest.raises(ToolError, match="Can not find an energy estimator") as caught:
            characterise(hwflow.from_timeloop([design, path]), Native())
        named = f" The files do not define {', '.join(kinds[len(defined) :])}: "
        assert (named in str(caught.value)) == (len(defined) < len(kinds))


def test_accelergy_that_is_missing_is_an_error(tiny: Accelerator, tool: Install) -> None:
    with pytest.raises(ToolMissing, match="accelergy is not on PATH"):
        characterise(tiny, Native())


# What is shipped -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
def test_every_preset_has_recorded_energies_at_its_own_and_at_8_bits(name: str) -> None:
    accelerator = Accelerator.load(name)
    for chip in (accelerator, accelerator.with_bits(Bits(8, 8, 8))):
        table = recorded(chip)
        assert table is not None
        assert table.unit == "pJ"
        assert "dummy" not in table.source.lower()


def test_recorded_energies_are_of_the_known_order() -> None:
    table = recorded(Accelerator.load("eyeriss"))
    assert table is not None
    parts = table.parts
    assert parts["dram"].read == 512
    assert 35 < parts["global_buffer"].read < 70
    assert parts["weight_spad"].read < 2
    assert 1 < parts["mac"].compute < 6
    assert 0.1 < parts["psum_spad"].read < 1


def test_the_recorded_file_names_its_tools_and_no_machine() -> None:
    text = (folder("arch_templates") / "energy" / "recorded.yaml").read_text()
    provenance = yaml.safe_load(text)["provenance"]
    assert {"tool", "versions", "date", "estimators", "command"} <= set(provenance)
    assert "accelergy-cacti-plug-in" in provenance["versions"]
    assert "/home" not in text
    assert "/opt" not in text
    parts = list(yaml.safe_load(text)["parts"])
    assert parts == sorted(parts)


def test_recording_asks_once_for_what_it_already_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def stand_in(accelerator: Accelerator, engine: object) -> Any:
        asked.append(accelerator.name)
        return recorded(accelerator)

    monkeypatch.setattr(recording, "characterise", stand_in)
    monkeypatch.setattr(recording, "plugin_versions", lambda: {"accelergy": "0"})
    path = tmp_path / "energies.yaml"
    assert recording.main(["-o", str(path), "--note", "a test"]) == 0
    shipped = yaml.safe_load((folder("arch_templates") / "energy" / "recorded.yaml").read_text())
    written = yaml.safe_load(path.read_text())
    assert written["parts"] == shipped["parts"]
    assert written["provenance"]["note"] == "a test"
    assert len(asked) < 2 * len(presets())
    keys = {part_key(p, a) for n in presets() for a in [Accelerator.load(n)] for p in (*a.memories, a.mac)}
    assert keys <= set(written["parts"])


def test_recording_without_accelergy_says_so(tool: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recording.main(["-o", str(tmp_path / "energies.yaml")]) == 1
    assert "accelergy is not on PATH" in capsys.readouterr().err
    assert not (tmp_path / "energies.yaml").exists()

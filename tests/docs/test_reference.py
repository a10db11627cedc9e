"""docs/generate.py: the reference is complete, and the schemas that it publishes hold for what hwflow reads and writes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import hwflow
from hwflow.hardware.accelerator import presets
from hwflow.hardware.dataflow import dataflows
from hwflow.network import from_yaml

ROOT = Path(__file__).resolve().parents[2]
jsonschema = pytest.importorskip("jsonschema", reason="comes with the extra docs")
pytest.importorskip("mkdocs", reason="comes with the extra docs")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(generate: ModuleType) -> dict[str, str]:
    made: dict[str, str] = generate.pages()
    return made


def schema(pages: dict[str, str], name: str) -> Any:
    found = json.loads(pages[f"{name}.schema.json"])
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def misfits(content: Any, against: Any) -> list[str]:
    """What of a file its schema does not allow."""
    return [error.message for error in jsonschema.Draft202012Validator(against).iter_errors(content)]


def test_all_public_names_are_in_the_reference(pages: dict[str, str]) -> None:
    listed = {line.rpartition(".")[2] for line in pages["python.md"].splitlines() if line.startswith("::: ")}
    assert listed == set(hwflow.__all__)


def test_the_reference_needs_no_pytorch() -> None:
    code = "import sys; sys.path.insert(0, 'docs'); import generate; generate.pages(); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_option_of_every_command_is_in_the_reference(pages: dict[str, str]) -> None:
    for command in (
        "estimate",
        "compare",
        "map",
        "render",
        "train",
        "prune",
        "train-policy",
        "report",
        "list",
        "cache info",
        "doctor",
    ):
        assert f"## hwflow {command}\n" in pages["command-line.md"]
    assert "`--budget SHARE`" in pages["command-line.md"]
    assert "`--accelerator, -a ACC`" in pages["command-line.md"]


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_that_describe_a_whole_chip_fit_the_published_schema(name: str, pages: dict[str, str]) -> None:
    content = yaml.safe_load(presets()[name].read_text(encoding="utf-8"))
    if "base" in content:
        pytest.skip("a variant of another preset, which the schema of whole chips is not for")
    assert misfits(content, schema(pages, "accelerator")) == []
    assert misfits({**content, "clok_mhz": 1}, schema(pages, "accelerator"))


@pytest.mark.parametrize("name", sorted(dataflows()))
def test_shipped_dataflows_fit_the_published_schema(name: str, pages: dict[str, str]) -> None:
    content = yaml.safe_load(dataflows()[name].read_text(encoding="utf-8"))
    assert misfits(content, schema(pages, "dataflow")) == []
    assert misfits({**content, "rulez": []}, schema(pages, "dataflow"))


def test_a_layer_list_that_hwflow_writes_fits_the_published_schema(pages: dict[str, str], tmp_path: Path) -> None:
    from_yaml.write(hwflow.zoo("mobilenet_v2"), tmp_path / "net.yaml")
    content = yaml.safe_load((tmp_path / "net.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(content, schema(pages, "layers"))
    content["layers"][0]["stride"] = [2, 2]
    with pytest.raises(jsonschema.ValidationError, match="stride"):
        jsonschema.validate(content, schema(pages, "layers"))


@pytest.mark.parametrize(
    ("accelerator", "level", "energy"),
    [(None, "coarse", "auto"), ("eyeriss", "coarse", "auto"), ("eyeriss", "mid", "auto"), ("eyeriss", "mid", "normalized")],
)
def test_results_fit_the_published_schema(accelerator: str | None, level: Any, energy: str, pages: dict[str, str]) -> None:
    chip = None if accelerator is None else hwflow.Accelerator.load(accelerator)
    cost = hwflow.estimate(hwflow.zoo("resnet20"), chip, level=level, energy=energy)
    content = json.loads(cost.to_json())
    assert misfits(content, schema(pages, "result")) == []
    del content["totals"]
    assert misfits(content, schema(pages, "result"))


def test_every_key_of_a_result_is_explained(pages: dict[str, str]) -> None:
    found = schema(pages, "result")
    for part in (found, found["properties"]["totals"]):
        assert all(field.get("description") for field in part["properties"].values())

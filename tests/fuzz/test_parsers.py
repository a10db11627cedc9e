"""Whatever a file holds, a parser answers or raises one of hwflow's own errors, within a second of CPU time.

200 inputs a parser in the quick suite; `make fuzz` takes 100,000, CI 250 (HWFLOW_FUZZ).
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwflow.cost.energy_sources import energy_table
from hwflow.errors import HwflowError, InputError
from hwflow.files import read_yaml
from hwflow.hardware.accelerator import Accelerator, presets
from hwflow.hardware.dataflow import constrain, dataflows, load_dataflow
from hwflow.layers import Layer
from hwflow.mapping import Mapping
from hwflow.network import Network, from_yaml, zoo
from hwflow.timeloop import stats
from hwflow.timeloop.accelergy import read_tables
from hwflow.timeloop.importer.importer import from_timeloop
from hwflow.timeloop.render import SearchSettings, render
from tests.fuzz.mutations import damaged, damaged_yaml, garbled

OUTPUTS = Path(__file__).resolve().parents[1] / "timeloop" / "outputs"
DESIGNS = Path(__file__).resolve().parents[1] / "data" / "timeloop_designs"
# AlexNet's third layer, grouped as in Caffe, is what the recorded mapping is of
CONV3 = Layer("conv3", C=3, M=8, P=4, Q=4, R=3, S=3)
INPUTS = int(os.environ.get("HWFLOW_FUZZ", "200"))
LIMIT_S = 1.0
Parser = Callable[[Path], object]

fuzzed = settings(
    max_examples=INPUTS,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SEEDS = st.integers(0, 2**64 - 1)


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """SIGVTALRM counts CPU time, so a busy machine does not look like a hang."""

    def hung(*_: object) -> None:
        raise AssertionError(f"the parser took more than {LIMIT_S} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, hung)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def survives(parser: Parser, path: Path, content: bytes) -> bool:
    """Whether nothing comes but an answer or one of hwflow's errors, which says something; anything else is raised."""
    path.write_bytes(content)
    gc.disable()  # what 100,000 inputs have left here is not the parser's to look through
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    message = "answered"
    try:
        parser(path)
    except HwflowError as error:
        message = str(error)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        gc.enable()
    return bool(message.strip())


def described(path: Path) -> object:
    chip = Accelerator.from_dict(read_yaml(path, "accelerator"), "fuzz.yaml")
    return chip.levels, chip.mac_units, chip.fingerprint, constrain(chip)


def constrained(path: Path) -> object:
    return constrain(Accelerator.load("eyeriss"), load_dataflow(path))


def mapped(path: Path) -> object:
    return Mapping.from_timeloop(path, CONV3, Accelerator.load("eyeriss"))


def swept(path: Path) -> object:
    from hwflow.sweeping.description import load_description

    return load_description(path)


def brought(*files: Path, constraints: Sequence[Path] = ()) -> object:
    """The chip of Timeloop's files, up to what mid and fine compute on."""
    chip = from_timeloop(files, constraints=constraints)
    allowed = constrain(chip)
    return chip.levels, chip.fingerprint, render(CONV3, chip, allowed, energy_table(chip, store=None), search=SearchSettings())


def layer_list() -> bytes:
    return yaml.safe_dump(
        {
            "name": "net",
            "layers": [
                {"name": "a", "C": 3, "M": 8, "P": 4, "Q": 4, "R": 3, "S": 3, "strides": [2, 2], "bits": {"weights": 8}},
                {"name": "b", "type": "matmul", "G": 2, "P": 5, "C": 4, "M": 3},
            ],
            "other": [{"name": "relu", "type": "Relu", "words_in": 5, "words_out": 5}],
        }
    ).encode()


SWEEP = b"""
networks: [resnet20]
accelerators:
  - base: eyeriss
    set: {global_buffer.size_kib: [32, 64], pe_array.rows: {from: 8, to: 32, step: 8}, pe_array.columns: {log2: [8, 64]}}
    where: "pe_array.rows * pe_array.columns <= 512"
levels: [coarse, mid]
batch: [1]
sample: {method: lhs, points: 20, seed: 0}
"""

CLASSES = b"""
variables: {version: 0.4, technology: "{{ 9 * 5 }}nm", global_cycle_seconds: 1e-9, word: 2 * 4, size: 2**10 if word > 4 else 7}
compound_components:
  version: 0.4
  classes:
  - name: smartbuffer_RF
    attributes: {technology: "must_specify", depth: "must_specify", width: 16, banks: ceil(width / 8)}
    subcomponents: [{name: storage, class: regfile, attributes: {width: width, depth: depth}, area_share: 1}]
    actions: [{name: read, arguments: {global_cycle_seconds: 1e-9}, subcomponents: [{name: storage, actions: [{name: read}]}]}]
"""
CONSTRAINTS = b"""
architecture_constraints:
  targets:
  - {target: row, type: spatial, factors: N=1 C=1 P=1 Q<=2, permutation: RSM, split: 0}
  - {target: column, type: spatial, factors: [N=1, R=1, S=1], permutation: [C, M], split: 1}
mapspace_constraints:
- {target: spad, type: temporal, factors: N=1 P=1, permutation: RS_QC}
- {target: spad, type: bypass, keep: [Weights], bypass: [Inputs, Outputs]}
- {name: buffer, constraints: [{type: dataspace, attributes: {keep_only: [Inputs]}}]}
"""
PLACES = b"""
arch:
  version: 0.3
  subtree:
  - name: system
    local:
    - {name: memory, class: SRAM, depth: deep, width: 64, word-bits: wide, shared_bandwidth: 8}
    - {name: buffer, class: smartbuffer_SRAM, attributes: {technology: "45nm", entries: 4096, block-size: 8, datawidth: 8}}
    subtree:
    - name: PE[1..4]
      local:
      - {name: regs, class: regfile, attributes: {sizeKB: 1, word-bits: wide, multiple-buffering: 2.0, bandwidth: 4}}
      - {name: mac, class: intmac, attributes: {datawidth: 8}}
      constraints:
      - {target: regs, constraints: [{type: temporal, attributes: {factors: order}}, {type: temporal, permutation: R S}]}
variables: {deep: 65536, wide: 8, technology: "45nm", global_cycle_seconds: 1e-9, order: "C==1 M<=1 # two"}
mapspace: {template: ruby, constraints: own, constraints_own: [{name: buffer, type: bypassing, bypass: [Weights]}]}
"""
TEMPLATE = b"""
{% set tiles = 2 ** 3 %}
variables:
  technology: "{{ 9 * 5 }}nm"
  global_cycle_seconds: {{ '1e-9' if path_exists('blocks.yaml') else 2 }}
  {% for name in ['word', 'rows'] %}
  {{ name }}: {{ tiles }}
  {% endfor %}
  size: {{ [96, 64 * 'two' | length] | max }}
compound_components: {classes: {{ include_all('*_forms_nat*.yaml', 'architecture.subtree') }}}
mapper: {{ include('two_forms_nodes.yaml', 'architecture') }}
"""

LAUGHS = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}' if before else 'x'] * 8)}]\n"
    for before, name in itertools.pairwise(("", "a", "b", "c", "layers", "hierarchy", "rules", "name", "mapping", "networks"))
).encode()
"""Nine lists, each of eight times the one before: 8^9 elements for whoever writes them out."""

YAML: dict[str, tuple[Parser, Callable[[], bytes]]] = {
    "accelerator": (described, presets()["eyeriss"].read_bytes),
    "variant": (
        described,
        lambda: b"base: eyeriss\nname: x\npe_array: {rows: 8}\nglobal_buffer.size_kib: 64\nsources: {a: b}\n",
    ),
    "dataflow": (constrained, dataflows()["row_stationary"].read_bytes),
    "layers": (from_yaml.read, layer_list),
    "mapping": (mapped, (OUTPUTS / "eyeriss" / "timeloop-mapper.map.yaml").read_bytes),
    "sweep": (swept, lambda: SWEEP),
    "timeloop_native": (brought, (DESIGNS / "two_axes.yaml").read_bytes),
    "timeloop_places": (brought, lambda: PLACES),
    "timeloop_lowered": (brought, (DESIGNS / "lowered_two_axes.yaml").read_bytes),
    "timeloop_nodes": (brought, (DESIGNS / "two_forms_nodes.yaml").read_bytes),
    "timeloop_classes": (lambda path: brought(DESIGNS / "two_forms_nodes.yaml", path), lambda: CLASSES),
    "timeloop_template": (lambda path: brought(DESIGNS / "two_forms_nodes.yaml", path), lambda: TEMPLATE),
    "timeloop_constraints": (lambda path: brought(DESIGNS / "many_fanouts.yaml", constraints=[path]), lambda: CONSTRAINTS),
}


@pytest.mark.parametrize("name", sorted(YAML))
@fuzzed
@given(seed=SEEDS)
def test_yaml(name: str, seed: int, tmp_path: Path) -> None:
    parser, whole = YAML[name]
    change = garbled if seed % 2 else damaged_yaml
    assert survives(parser, tmp_path / "fuzz.yaml", change(whole(), seed))


@pytest.mark.parametrize("name", sorted(YAML))
@pytest.mark.parametrize(
    "content",
    [
        b"[" * 5_000,
        b"{a: " * 5_000,
        b"a: " + b"[" * 150 + b"]" * 150,
        b"a: " + b"9" * 5000,
        b"a: 0x" + b"f" * 5000,
        b"a: !!set {? 0x" + b"f" * 5000 + b"}",
        b"a: 2001-99-99",
        b"a: 0x_",
        b"!!map [a]",
        b"? [1]\n: 2",
        b"a: &a [*a]",
        LAUGHS,
        LAUGHS.replace(b"[", b"!!pairs [").replace(b"*", b"k: *").replace(b"x", b"k: x"),
    ],
    ids=[
        "nested lists",
        "nested mappings",
        "nested and closed",
        "5000 digits",
        "5000 hexadecimal digits",
        "the same in a set",
        "no date",
        "no number",
        "tag",
        "list as key",
        "in itself",
        "a billion laughs",
        "laughs in pairs",
    ],
)
def test_yaml_that_is_made_to_break_readers(name: str, content: bytes, tmp_path: Path) -> None:
    assert survives(YAML[name][0], tmp_path / "fuzz.yaml", content)
    with pytest.raises(HwflowError):
        YAML[name][0](tmp_path / "fuzz.yaml")


@fuzzed
@given(seed=SEEDS)
def test_statistics_of_timeloop(seed: int, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir(exist_ok=True)
    name = "timeloop-model.stats.txt" if seed % 2 else "timeloop-model.map+stats.xml"
    for file in ("timeloop-model.stats.txt", "timeloop-model.map+stats.xml"):
        (place / file).write_bytes((OUTPUTS / "tiny" / file).read_bytes())
    assert survives(
        lambda _: stats.read_stats(place, "timeloop-model"), place / name, garbled((OUTPUTS / "tiny" / name).read_bytes(), seed)
    )


@fuzzed
@given(seed=SEEDS)
def test_tables_of_accelergy(seed: int, tmp_path: Path) -> None:
    chip = Accelerator.load("eyeriss")
    parts = [*chip.memories, chip.mac]
    actions = [{"name": name, "energy": 1.5, "arguments": {}} for name in ("read", "write", "update", "leak", "compute")]
    summary = [{"name": f"s.{p.name}", "primitive_estimation(s)": [{"estimator": "x"}]} for p in parts]
    whole = {
        "ERT": {"ERT": {"version": "0.4", "tables": [{"name": f"s.{p.name}", "actions": actions} for p in parts]}},
        "ART": {"ART": {"version": "0.4", "tables": [{"name": f"s.{p.name}", "area": 10.0} for p in parts]}},
        "ERT_summary": {"ERT_summary": {"table_summary": summary}},
        "ART_summary": {"ART_summary": {"table_summary": summary}},
    }
    for name, content in whole.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert set(read_tables(tmp_path, parts)) == {p.name for p in parts}
    name = sorted(whole)[seed % len(whole)]
    broken = yaml.dump(damaged(whole[name], seed), Dumper=yaml.SafeDumper).encode()
    assert survives(lambda _: read_tables(tmp_path, parts), tmp_path / f"{name}.yaml", broken)


@fuzzed
@given(seed=SEEDS)
def test_plans(seed: int, tmp_path: Path) -> None:
    pytest.importorskip("filelock", reason="comes with the extra prune")
    from hwflow.compression.plan_files import plan_from_file

    whole = {"network": "n", "groups": [{"name": "a", "channels": 16, "kept": 8, "producers": ["a"]}], "left_out": {}}
    broken = (
        garbled(json.dumps(whole).encode(), seed)
        if seed % 2
        else json.dumps(damaged(whole, seed), default=str, skipkeys=True).encode()
    )
    assert survives(plan_from_file, tmp_path / "plan.json", broken)


@pytest.fixture(scope="module")
def ppa_model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A fitted model, as plain data."""
    pytest.importorskip("scipy", reason="comes with the extra sweep")
    from tests.ppa import synthetic

    file = tmp_path_factory.mktemp("ppa") / "model.json"
    synthetic.model(file, layers=synthetic.LAYERS[:2], chips=20)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


@fuzzed
@given(seed=SEEDS)
def test_fitted_models(seed: int, ppa_model: dict[str, Any], tmp_path: Path) -> None:
    """Damaged behind its checksum's back, or with a checksum that fits what it holds."""
    from hwflow.ppa.model_file import _checksum, read_model

    broken = damaged(ppa_model, seed)
    if seed % 3 and isinstance(broken, dict):
        broken = json.loads(json.dumps(broken, default=str, skipkeys=True))
        broken["checksum"] = _checksum(broken)
    content = json.dumps(broken, default=str, skipkeys=True).encode()
    assert survives(read_model, tmp_path / "model.json", content if seed % 5 else garbled(content, seed))


SWEPT = """
networks: [net.yaml]
accelerators: [{base: eyeriss, set: {pe_array.rows: [4, 12], global_buffer.size_kib: [16, 0.001]}}]
levels: [coarse]
"""


@pytest.fixture(scope="module")
def swept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep, points that failed included."""
    pytest.importorskip("pyarrow", reason="comes with the extra sweep")
    from hwflow.sweeping import run

    folder = tmp_path_factory.mktemp("swept")
    (folder / "net.yaml").write_bytes(layer_list())
    (folder / "swept.yaml").write_text(SWEPT, encoding="utf-8")
    run(folder / "swept.yaml", folder / "out", store=False)
    return folder


@pytest.fixture(scope="module")
def records(swept_folder: Path) -> Parser:
    """Continues the sweep with the records in a folder, up to its tables."""
    from hwflow.sweeping import result_tables, sweep_run
    from hwflow.sweeping.case import cases_of
    from hwflow.sweeping.description import load_description
    from hwflow.sweeping.point_record import Checker
    from hwflow.sweeping.records import opened
    from hwflow.sweeping.space import space_of

    file = swept_folder / "swept.yaml"
    asked = load_description(file)
    space, cases = space_of(asked, swept_folder), cases_of(asked, file)
    networks, header = {case.title: case.rows for case in cases}, sweep_run._header(space, cases, asked)

    def read(path: Path) -> object:
        checker = Checker(networks, space.values, space.parts())
        with opened(path.parent, file, header, checker) as found:
            assert all(text.startswith("line ") for text in found.damaged)
            found.leave_out(4)
            return result_tables._columns(list(found), networks, ["point", "layer", "macs", "energy_pj", "energy_dram"])

    return read


@fuzzed
@given(seed=SEEDS)
def test_records_of_sweeps(seed: int, swept_folder: Path, records: Parser, tmp_path: Path) -> None:
    whole = (swept_folder / "out" / "records.jsonl").read_bytes()
    (tmp_path / "sweep.yaml").write_text(SWEPT, encoding="utf-8")
    if seed % 2:
        assert survives(records, tmp_path / "records.jsonl", garbled(whole, seed))
        return
    lines = whole.splitlines(keepends=True)
    place = seed // 2 % len(lines)
    lines[place] = json.dumps(damaged(json.loads(lines[place]), seed), default=str, skipkeys=True).encode() + b"\n"
    assert survives(records, tmp_path / "records.jsonl", b"".join(lines))


@pytest.fixture(scope="module")
def pruned_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pruning run, as a report reads it; the readers are imported here, since that takes more than the limit."""
    pytest.importorskip("filelock", reason="comes with the extra prune")
    pytest.importorskip("hwflow.compression.folder", reason="needs torch, which comes with the extra prune")
    importlib.import_module("hwflow.reporting.pruning.pruning_report")
    from tests.reporting.folders import write_run

    folder = write_run(tmp_path_factory.mktemp("pruned") / "run", levels=("coarse",), episodes=3)
    config = json.loads((folder / "config.json").read_text())
    config |= {"module": False, "classes": 10, "input_shape": [1, 8, 8]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def reported(path: Path) -> object:
    """Everything that a report of a run shows, and what `load_pruned` reads but for the weights."""
    from hwflow.compression.plan_files import plan_from_file, read_origin
    from hwflow.reporting.pruning.pruning_folder import read_run
    from hwflow.reporting.pruning.pruning_report import page

    shown = page(read_run(path.parent))
    return shown, read_origin(path.parent), plan_from_file(path.parent)


@fuzzed
@given(seed=SEEDS)
def test_folders_of_pruning_runs(seed: int, pruned_folder: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in pruned_folder.iterdir())
    for other in names:
        (tmp_path / other).write_bytes((pruned_folder / other).read_bytes())
    name = names[seed // 2 % len(names)]
    content = (pruned_folder / name).read_bytes()
    if seed % 2:
        broken = garbled(content, seed)
    else:
        parts = [json.loads(line) for line in content.splitlines()] if name == "log.jsonl" else json.loads(content)
        changed = damaged(parts, seed)
        texts = [json.dumps(part, default=str, skipkeys=True) for part in (changed if name == "log.jsonl" else [changed])]
        broken = "\n".join(texts).encode() if isinstance(changed, (list, dict)) else b"null"
    assert survives(reported, tmp_path / name, broken)


def model() -> Any:
    onnx = pytest.importorskip("onnx", reason="comes with the extra onnx")
    make = onnx.helper
    shapes = {"x": [1, 3, 8, 8], "y": None}
    values = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    stored = [
        make.make_tensor("w", onnx.TensorProto.FLOAT, [4, 3, 3, 3], [0.0] * 108),
        make.make_tensor("f", onnx.TensorProto.FLOAT, [256, 5], [0.0] * 1280),
        make.make_tensor("s", onnx.TensorProto.INT64, [2], [1, 256]),
    ]
    nodes = [
        make.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        make.make_node("Relu", ["c"], ["r"]),
        make.make_node("Reshape", ["r", "s"], ["t"]),
        make.make_node("Gemm", ["t", "f"], ["y"]),
    ]
    return make.make_model(
        make.make_graph(nodes, "g", values[:1], values[1:], stored), opset_imports=[make.make_opsetid("", 17)]
    )


@fuzzed
@given(seed=SEEDS)
def test_onnx(seed: int, tmp_path: Path) -> None:
    whole = model()
    read: Parser = Network.from_onnx
    content = whole.SerializeToString()
    if seed % 2:
        assert survives(read, tmp_path / "fuzz.onnx", garbled(content, seed))
        return
    from google.protobuf import json_format

    broken = damaged(json_format.MessageToDict(whole), seed)
    try:
        rebuilt = json_format.ParseDict(broken, type(whole)()).SerializeToString()
    except Exception:  # what protobuf itself cannot hold cannot be in a file
        rebuilt = garbled(content, seed)
    assert survives(read, tmp_path / "fuzz.onnx", rebuilt)


def test_what_the_mutations_start_from_is_whole(tmp_path: Path) -> None:
    for name, (parser, whole) in YAML.items():
        if name == "mapping":
            continue
        path = tmp_path / f"{name}.yaml"
        path.write_bytes(whole())
        assert parser(path)
    model_path = tmp_path / "whole.onnx"
    model_path.write_bytes(model().SerializeToString())
    assert [layer.name for layer in Network.from_onnx(model_path).layers]
    assert zoo("resnet20").layers
    with pytest.raises(InputError):
        from_yaml.read(tmp_path / "nothing.yaml")

"""The package as a whole: which way imports point, what `import hwflow` costs, what the wheel holds, what the README says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import hwflow

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hwflow"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in PACKAGE.rglob("*.py")
}

BASE = {
    *{"arrays", "display", "errors", "expressions", "files", "metrics", "optional", "progress", "ranking", "run_folder"},
    *{"scratch", "text", "types", "validation", "version"},
}
"""What everybody may import; these import one another only."""
SCRIPTS = {"hwflow.timeloop._pytimeloop_run"}  # run by itself, imported by nothing
HEAVY = {"torch", "pandas", "plotly", "numpy", "onnx", "jinja2", "rich"}


def group(module: str) -> str:
    """The part of the package that a module belongs to."""
    name = module.split(".")[1] if "." in module else ""
    return "base" if name in BASE else "cli" if name == "__main__" else name


ALLOWED = {
    "base": set(),
    "layers": set(),
    "hardware": {"layers"},
    "mapping": {"layers", "hardware"},
    "occupancy": set(),
    "layer_cost": {"layers"},
    "results": {"layers", "layer_cost", "occupancy"},
    "loopnest": {"layers", "hardware", "mapping"},
    "mapper": {"layers", "hardware", "loopnest"},
    "certificate": {"layers", "hardware", "mapping", "loopnest"},  # nothing of the search, whose results it checks
    "timeloop": {"layers", "hardware", "mapping"},
    "network": {"layers", "timeloop"},  # the latter to read problem files
    "store": set(),
    "reporting": {"hardware", "occupancy", "results"},
    "datasets": set(),
    "training": {"datasets", "network"},
    "ppa": {"layers", "hardware"},
    "cost": {
        *{"layers", "hardware", "mapping", "occupancy", "results", "loopnest", "mapper", "timeloop", "network", "store"},
        *{"ppa", "certificate"},
    },
    "compression": {"layers", "hardware", "results", "network", "store", "reporting", "datasets", "training", "cost"},
    "pruning": {"compression"},
    "dynamic": {
        *{"layers", "hardware", "results", "network", "store", "reporting", "datasets", "training", "cost"},
        "compression",  # elastic networks are cut as pruned ones are
    },
    "sweeping": {
        "layers",
        "hardware",
        "occupancy",
        "results",
        "network",
        "store",
        "reporting",
        "cost",
        "compression",
        "pruning",
        "ppa",
    },
    "coexploration": {"layers", "hardware", "network", "reporting", "ppa", "cost", "sweeping"},
}
ALLOWED["cli"] = set(ALLOWED)
"""What a part may import, besides itself and the base."""


def imports(path: Path, module: str) -> set[str]:
    """The modules of hwflow that a file imports, those inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in whole}
    return {name for name in found if name.startswith("hwflow.")}


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"hwflow"}))
def test_imports_point_one_way(module: str) -> None:
    """Scripts are read too: nothing imports them, but they import as their folder may."""
    assert group(module) in ALLOWED, f"{module} belongs to no part of the package that this test knows"
    for name in imports(MODULES[module], module):
        allowed = {"base", group(module)} | ALLOWED[group(module)]
        assert group(name) in allowed, f"{module} imports {name}"


def test_no_imports_run_in_a_circle() -> None:
    """Imports inside functions and for types alone included. The package itself, which names all, is left out."""
    graph = {module: imports(path, module) - {module} for module, path in MODULES.items() if module != "hwflow"}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for name in sorted(graph.get(module, ())):
                visit(name, (*trail, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


_NOUNS = {
    "fine_tuning",
    "settings",
    "mapping",
    "padding",
    "partial_mapping",
    "pooling",
    "pruning",
    "ranking",
    "sampling",
    "tiling",
    "virtual_pooling",
}


def test_files_are_named_by_nouns() -> None:
    names = {module: module.rpartition(".")[2] for module in MODULES}
    assert not [m for m, name in names.items() if name.endswith(("ing", "ings")) and name not in _NOUNS and "." in m[7:]]
    for folder in {path.parent for path in MODULES.values()}:
        stems = {path.stem for path in folder.glob("*.py")}
        assert not {stem for stem in stems if f"{stem}s" in stems}, folder


@pytest.mark.parametrize("module", sorted(MODULES))
def test_the_library_never_prints(module: str) -> None:
    path = MODULES[module]
    if group(module) == "cli" or module in SCRIPTS:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c, ast.Name) and c.id == "print"]
    assert not [c for c in calls if isinstance(c, ast.Attribute) and c.attr == "basicConfig"]


def test_torch_is_imported_where_networks_are_run_only() -> None:
    allowed = {"network", "datasets", "training", "compression", "dynamic"}
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert group(module) in allowed or not {n for n in names if n.split(".")[0] == "torch"}, module


def test_no_module_bears_the_name_of_a_public_function() -> None:
    """Of packages that export functions: there the module would hide the function. The command line exports none of them."""
    functions = {
        "analyse",
        "compare",
        "compress",
        "compress_many",
        "cost_table",
        "estimate",
        "estimate_many",
        "evaluate",
        "from_datasets",
        "from_timeloop",
        "load_data",
        "load_weights",
        "map_layer",
        "prune",
        "sweep",
        "train",
        "write_costs",
        "write_report",
        "zoo",
    }
    assert not functions & {name.rpartition(".")[2] for name in MODULES if not name.startswith("hwflow.cli.")}


def loaded(program: str) -> set[str]:
    """The packages that a program has imported at its end."""
    code = f"import sys\n{program}\nprint(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("import hwflow", HEAVY | {"pydantic", "yaml", "typer"}),
        ("import hwflow.datasets as d; d.DATASETS", HEAVY | {"sklearn", "PIL"}),
        ("import hwflow.reporting as r; r.write_report", HEAVY),
        (
            "import hwflow.sweeping as s; s.run",
            {"torch", "pandas", "plotly", "onnx", "rich", "pyarrow", "pymoo", "scipy", "ray"},
        ),
        ("import hwflow.cost; hwflow.cost.estimate", {"torch", "pandas", "plotly", "onnx", "rich"}),
        (
            "import hwflow; hwflow.estimate(hwflow.zoo('resnet20'), level='coarse', store=False)",
            {"torch", "pandas", "numpy", "onnx"},
        ),
        (
            "import hwflow as h; h.estimate(h.zoo('resnet20'), h.Accelerator.load('eyeriss'), level='coarse', store=False)",
            {"torch", "pandas", "onnx"},
        ),
    ],
)
def test_imports_cost_nothing_that_is_not_used(program: str, unwanted: set[str]) -> None:
    assert not loaded(program) & unwanted


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list", "networks"],
        ["list", "accelerators"],
        ["list", "datasets"],
        ["train", "--help"],
        ["report", "--help"],
        ["sweep", "--help"],
        ["estimate", "--help"],
    ],
)
def test_the_command_line_starts_without_what_it_does_not_use(arguments: list[str]) -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "hwflow", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    names = {
        line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if line.startswith("import time:")
    }
    assert "hwflow" in names
    assert not names & {"torch", "pandas", "plotly", "numpy", "onnx", "jinja2"}


def test_public_names_exist_and_others_do_not() -> None:
    for name in hwflow.__all__:
        assert getattr(hwflow, name) is not None
        assert name in dir(hwflow)
    assert hwflow.Network.from_yaml
    with pytest.raises(AttributeError, match="module 'hwflow' has no attribute 'estimat'"):
        _ = hwflow.estimat  # type: ignore[attr-defined]


def test_files_are_of_a_readable_size() -> None:
    long = {name: n for name, path in MODULES.items() if (n := len(path.read_text(encoding="utf-8").splitlines())) > 450}
    assert not long


# The wheel -----------------------------------------------------------------------------------------------------------


def build_wheel(folder: Path) -> Path:
    argv = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("hwflow-*.whl"))


def test_the_wheel_carries_its_data_and_runs_from_it(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
        content.extractall(tmp_path / "unpacked")
    for folder in ("arch_templates", "mappings"):
        shipped = {f"hwflow/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / folder).rglob("*") if p.is_file()}
        assert shipped
        assert shipped <= names
    assert "hwflow/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not {name for name in names if name.startswith("tests")}
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); import hwflow.cli as c; print(c.__file__); c.main()"
    argv = [
        sys.executable,
        "-I",
        "-c",
        program,
        str(tmp_path / "unpacked"),
        "estimate",
        "resnet20",
        "-a",
        "eyeriss",
        "--level",
        "coarse",
    ]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "unpacked") in done.stdout
    assert "Energies: recorded (Accelergy" in done.stdout


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    scripts = Path(sysconfig.get_path("scripts", vars={"base": str(venv)}))
    subprocess.run([str(scripts / "python"), "-m", "pip", "install", "--quiet", str(wheel)], check=True, capture_output=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for arguments in (["estimate", "resnet20", "--accelerator", "eyeriss"], ["list", "dataflows"], ["doctor", "--quick"]):
        done = subprocess.run(
            [str(scripts / "hwflow"), *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


# The README ----------------------------------------------------------------------------------------------------------

_PYTHON = re.compile(r"<!-- python -->\n```python\n(?P<program>.*?)```\n\n```\n(?P<output>.*?)```\n<!-- end -->", re.DOTALL)
README = ROOT / "README.md"
PAGES = ROOT / "docs" / "pages"


def test_the_readmes_program_prints_what_stands_below_it() -> None:
    """Refresh it by `HWFLOW_REFRESH=1 make test` when the numbers have changed on purpose."""
    text = README.read_text(encoding="utf-8")
    blocks = list(_PYTHON.finditer(text))
    assert text.count("```python") == len(blocks) == 1
    (block,) = blocks
    real = subprocess.run([sys.executable, "-c", block["program"]], capture_output=True, text=True, check=True).stdout
    if os.environ.get("HWFLOW_REFRESH"):
        shown = block[0].replace(f"```\n{block['output']}```\n<!-- end -->", f"```\n{real}```\n<!-- end -->")
        README.write_text(text.replace(block[0], shown), encoding="utf-8")
    else:
        assert block["output"] == real


def test_the_readme_stays_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 90


def test_the_readme_names_existing_targets_and_files() -> None:
    text = README.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^ {4}|`)make (\w+)", text, re.MULTILINE)) | {"lint", "format", "bench", "wheel"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    links = re.findall(r"\]\(([^)#]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for link in filter(None, (found for pair in links for found in pair)):
        if not link.startswith(("https://", "../../actions/")):
            assert (ROOT / link).exists(), link


def test_readme_and_pages_show_every_command() -> None:
    from typer.main import get_command

    from hwflow.cli import app

    texts = [path.read_text(encoding="utf-8") for path in (README, *PAGES.rglob("*.md"))]
    used = {name for text in texts for name in re.findall(r"(?:^ {4}|^\$ |`|&& )hwflow ([a-z][a-z-]+)\b", text, re.MULTILINE)}
    assert used == set(getattr(get_command(app), "commands"))  # noqa: B009  (typer's type does not tell)

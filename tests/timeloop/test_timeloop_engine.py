"""Where Timeloop runs: which engine is chosen, what identifies it, how a container is called."""

from __future__ import annotations

import os
import pickle
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hwflow.errors import InputError, ToolError, ToolMissing
from hwflow.results import LayerCost
from hwflow.timeloop import engine as module
from hwflow.timeloop.engine import IMAGE, Container, Native, Pytimeloop, engines, find_engine, plugin_versions

Install = Callable[..., Path]
Judge = Callable[..., LayerCost]

DOCKER = """case "$1" in
  info) exit {info} ;;
  image) test "$5" = {image} && echo sha256:1234 ;;
  run) printf '%s\\n' "$@" > {log}; {run} ;;
  kill) echo "$2" > {log}.killed ;;
esac"""


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what other tests' images and interpreters answered, and the interpreter that a user has named."""
    monkeypatch.delenv("HWFLOW_PYTIMELOOP_PYTHON", raising=False)
    module._image.cache_clear()
    module._pytimeloop.cache_clear()


def docker(tool: Install, log: Path, run: str = "true", *, image: str = IMAGE, info: int = 0, client: str = "docker") -> Path:
    """A stand-in for the client that writes down how it was called."""
    return tool(client, DOCKER.format(info=info, image=image, log=log, run=run))


def test_native_is_chosen_where_the_executables_are(tool: Install) -> None:
    tool("timeloop-model", "true")
    tool("timeloop-mapper", "true")
    assert find_engine() == Native()
    assert find_engine("native") == Native()


def test_energies_alone_need_accelergy_alone(tool: Install) -> None:
    tool("accelergy", "true")
    assert find_engine(tools=("accelergy",)) == Native()
    with pytest.raises(ToolMissing, match="timeloop-model is not on PATH"):
        find_engine("native")


def test_the_version_follows_the_content_of_the_executable(tool: Install) -> None:
    path = tool("timeloop-model", "true")
    first = Native().version("timeloop-model")
    assert Native().version("timeloop-model") == first
    path.write_text("#!/bin/sh\nfalse\n")
    assert Native().version("timeloop-model") != first


def test_the_version_follows_the_library_beside_it(tool: Install) -> None:
    path = tool("timeloop-model", "true")
    first = Native().version("timeloop-model")
    library = path.parent.parent / "lib" / "libtimeloop-model.so"
    library.parent.mkdir()
    library.write_text("x")
    assert Native().version("timeloop-model") != first


def test_accelergys_version_names_its_plug_ins(tool: Install) -> None:
    script = tool("accelergy", "")
    script.write_text(f"#!{sys.executable}\n")
    assert isinstance(plugin_versions(), dict)
    assert Native().version("accelergy").endswith(")")
    script.write_bytes(b"\x7fELF")
    assert plugin_versions() == {}


def test_nothing_found_lists_what_was_looked_for(tool: Install) -> None:
    with pytest.raises(ToolMissing) as caught:
        find_engine()
    message = str(caught.value)
    assert message.startswith("Timeloop was not found: timeloop-model is not on PATH; no container engine answers")
    assert "docker is not on PATH" in message
    assert "pytimeloop is not installed in" in message
    assert "Install Timeloop and Accelergy" in message
    assert all(answer.startswith("(") for answer in engines().values())


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown engine 'docker'\. .*Known: container, native, pytimeloop"):
        find_engine("docker")


def test_a_client_without_a_daemon_is_not_chosen(tool: Install, tmp_path: Path) -> None:
    docker(tool, tmp_path / "log", info=1)
    with pytest.raises(ToolMissing, match=r"docker is there, but the daemon it needs does not answer .*podman is not on PATH"):
        find_engine("container")
    docker(tool, tmp_path / "log", client="podman")
    assert find_engine() == Container(str(tmp_path / "bin" / "podman"), IMAGE)


def test_an_image_that_is_not_there_is_not_pulled_in_silence(tool: Install, tmp_path: Path) -> None:
    docker(tool, tmp_path / "log", image="other:1")
    with pytest.raises(ToolMissing, match=r"docker answers, but does not have the image .*docker pull timeloopaccelergy"):
        find_engine("container")


def test_a_container_runs_as_the_caller_without_network_on_the_runs_folder_only(
    judged: Judge, tool: Install, runs: Path, answer: str
) -> None:
    log = runs.parent / "log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWFLOW_IMAGE", "mine:2")
        docker(tool, log, answer, image="mine:2")
        container = find_engine("container")
    assert container.version("timeloop-model") == "sha256:1234"
    cost = judged(engine=container)
    assert cost.engine == "timeloop-model (container, sha256:1234)"
    arguments = log.read_text().splitlines()
    assert arguments[:2] == ["run", "--rm"]
    assert pair(arguments, "--network") == "none"
    assert pair(arguments, "--user") == f"{os.getuid()}:{os.getgid()}"
    assert pair(arguments, "--entrypoint") == "timeloop-model"
    assert pair(arguments, "--pull") == "never"
    assert "--read-only" in arguments
    folder, mount = pair(arguments, "--volume").split(":")
    assert Path(folder).parent == runs.resolve()
    assert pair(arguments, "--workdir") == mount
    assert arguments.count("--volume") == 1
    image = arguments.index("mine:2")
    assert arguments[image + 1 :] == ["architecture.yaml", "problem.yaml", "ERT.yaml", "ART.yaml", "mapping.yaml"]


def test_podman_keeps_the_callers_identity(tmp_path: Path) -> None:
    plain = Container("/usr/bin/docker", IMAGE).arguments(["accelergy", "a.yaml"], tmp_path, "x")
    kept = Container("/usr/bin/podman", IMAGE).arguments(["accelergy", "a.yaml"], tmp_path, "x")
    assert pair(kept, "--userns") == "keep-id"
    assert "--userns" not in plain


def test_accelergy_may_write_where_its_plug_ins_are_installed(tmp_path: Path) -> None:
    container = Container("docker", IMAGE)
    assert "--read-only" not in container.arguments(["accelergy", "a.yaml"], tmp_path, "x")
    assert "--read-only" in container.arguments(["timeloop-model", "a.yaml"], tmp_path, "x")


def test_a_container_that_hangs_is_killed_by_name(judged: Judge, tool: Install, tmp_path: Path, runs: Path) -> None:
    log = tmp_path / "log"
    docker(tool, log, "exec sleep 60")
    with pytest.raises(ToolError, match=r"was stopped after 0\.3 s \(engine container\)"):
        judged(engine=find_engine("container"), limit_s=0.3)
    assert Path(f"{log}.killed").read_text().strip() == pair(log.read_text().splitlines(), "--name")
    assert list(runs.iterdir())


def test_pytimeloop_is_asked_of_its_interpreter(tool: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolMissing, match=r"pytimeloop cannot be imported .*build it from"):
        Pytimeloop("/nowhere/python").version("timeloop-model")
    path = tool("python-with-pytimeloop", "echo 0.0.1 abc")
    monkeypatch.setenv("HWFLOW_PYTIMELOOP_PYTHON", str(path))
    found = find_engine("pytimeloop")
    assert found.version("timeloop-model") == "0.0.1 abc"


def test_pytimeloop_runs_in_a_fresh_interpreter(
    judged: Judge, tool: Install, runs: Path, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # asked for its version, the stand-in writes its files here
    python = tool("python3", f'echo "$@" > called; cp {shlex.quote(str(outputs / "tiny"))}/timeloop-model.stats.txt .')
    cost = judged(engine=Pytimeloop(str(python)))
    assert cost.engine.startswith("timeloop-model (pytimeloop, ")
    assert cost.energy_pj == pytest.approx(3861.5, rel=1e-4)


@pytest.mark.parametrize("engine", [Native(), Container("docker", IMAGE), Pytimeloop("python")])
def test_engines_travel_to_other_processes(engine: object) -> None:
    assert pickle.loads(pickle.dumps(engine)) == engine


def pair(arguments: list[str], option: str) -> str:
    """The value that follows an option."""
    return arguments[arguments.index(option) + 1]

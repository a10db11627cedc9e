"""The checks of `hwflow doctor`: installed packages and tools, what answers for each preset, and what to install next."""

from __future__ import annotations

import importlib.metadata
import itertools
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from hwflow.errors import HwflowError
from hwflow.optional import extras, install_command, required, source_command
from hwflow.store import Store, StoreInfo

_USES = {
    "fast": "sparse layers run faster on CPUs with {}",
    "onnx": "ONNX files are read with {}",
    "prune": "models in PyTorch, training and pruning need {}",
    "ray": "sweeps on a Ray cluster need {}",
    "report": "reports need {}",
    "sweep": "sweeps need {}",
}
"""What the packages of an extra are for; an extra that is not listed here is named alone."""

TOOLS = ("timeloop-model", "timeloop-mapper", "accelergy", "docker", "podman")


@dataclass(frozen=True)
class Findings:
    """What `hwflow doctor` prints.

    Attributes:
        packages: version by package, None where it is not installed.
        tools: path by program, None where it is not on PATH.
        engines: for each engine of fine its version, or in brackets why it does not answer.
        energies: for each preset, where its energies come from and which estimators answered.
        accelergy: for each preset, what Accelergy says now; empty where it was not asked.
        store: the cache.
        notices: what the cache has to say.
    """

    packages: Mapping[str, str | None]
    tools: Mapping[str, str | None]
    engines: Mapping[str, str]
    energies: Mapping[str, str]
    accelergy: Mapping[str, str]
    store: StoreInfo
    notices: tuple[str, ...]

    @property
    def fine(self) -> bool:
        """Whether any engine of fine answers."""
        return any(not found.startswith("(") for found in self.engines.values())

    def next_command(self) -> tuple[str, str]:
        """The first missing part, and the command that installs it."""
        if not self.store.writable:
            return "results cannot be kept", 'export XDG_CACHE_HOME="${TMPDIR:-/tmp}/hwflow-cache"'
        if not self.fine:
            return "the fine level needs Timeloop; coarse and mid work", _for_timeloop(self)
        if not required():
            return "hwflow is not installed here, so which packages it can use is not known", source_command()
        for extra, names in extras().items():
            missing = [name for name in names if self.packages.get(name) is None]
            if missing:
                several = len(missing) > 1
                use = _USES.get(extra, f"the extra {extra} needs {{}}").format("them" if several else "it")
                return f"{', '.join(missing)} {'are' if several else 'is'} not installed: {use}", install_command(extra)
        return "nothing is missing", "hwflow estimate resnet18 --accelerator eyeriss --level fine"

    def text(self) -> str:
        """All of it, for people."""
        missing = "not installed"
        sections = [
            ("Packages", {name: version or missing for name, version in self.packages.items()}),
            ("Programs", {name: path or "not on PATH" for name, path in self.tools.items()}),
            ("Engines of the fine level", self.engines),
            ("Recorded energies", self.energies),
            ("Accelergy now", self.accelergy or {"-": "not asked: it is not installed, or --quick"}),
            (
                "Cache",
                {"path": str(self.store.path), "writable": "yes" if self.store.writable else "no", **_cached(self.store)},
            ),
        ]
        width = max(len(name) for _, entries in sections for name in entries)
        lines = []
        for title, entries in sections:
            lines += [title, *(f"  {name.ljust(width)}  {' '.join(text.split())}" for name, text in entries.items()), ""]
        why, command = self.next_command()
        return "\n".join([*lines, *self.notices, f"Next ({why}):", f"  {command}"]) + "\n"


def examine(*, live: bool = True, store: Store | None = None) -> Findings:
    """Run all checks. `live` runs Accelergy on each preset, where it is installed."""
    from hwflow.timeloop.engine import engines

    used = store or Store()
    tools = {tool: shutil.which(tool) for tool in TOOLS}
    answering = engines()
    has_accelergy = tools["accelergy"] is not None or not answering.get("container", "(").startswith("(")
    findings = Findings(
        packages={"python": platform.python_version(), "hwflow": _own_version(), **_versions()},
        tools=tools,
        engines=answering,
        energies=_recorded(),
        accelergy=_live(used) if live and has_accelergy else {},
        store=used.info(),
        notices=used.notices,
    )
    used.close()
    return findings


def _own_version() -> str:
    from hwflow.version import __version__

    return __version__


def _versions() -> dict[str, str | None]:
    """Of everything that hwflow needs or can use; extras in the order in which they are proposed."""
    found: dict[str, str | None] = {}
    for name in (*required(), *itertools.chain.from_iterable(extras().values())):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _recorded() -> dict[str, str]:
    from hwflow.hardware.accelerator import Accelerator, presets
    from hwflow.hardware.energy_table import recorded, unrecorded

    answers = {}
    for name in presets():
        accelerator = Accelerator.load(name)
        try:
            table = recorded(accelerator)
            answers[name] = table.source if table else f"none for {', '.join(unrecorded(accelerator))}"
        except HwflowError as error:
            answers[name] = f"({error})"
    return answers


def _live(store: Store) -> dict[str, str]:
    from hwflow.cost.energy_sources import energy_table
    from hwflow.hardware.accelerator import Accelerator, presets

    answers = {}
    for name in presets():
        try:
            table = energy_table(Accelerator.load(name), "accelergy", store=store)
            by_part = ", ".join(f"{part}: {energies.estimator}" for part, energies in table.parts.items())
            answers[name] = f"{table.source} [{by_part}]"
        except HwflowError as error:
            answers[name] = f"({error})"
    return answers


def _cached(store: StoreInfo) -> dict[str, str]:
    return {kind: f"{count:,} results" for kind, count in store.entries.items()}


def _for_timeloop(findings: Findings) -> str:
    """The shortest way to Timeloop from here: an image to pull, a daemon to start, or podman to install."""
    from hwflow.timeloop.engine import IMAGE
    from hwflow.timeloop.process import ask

    clients = {name: path for name in ("docker", "podman") if (path := findings.tools.get(name)) is not None}
    for name, path in clients.items():
        if ask([path, "info"])[0] == 0:
            return f"{name} pull {IMAGE}"
    return "sudo systemctl start docker" if "docker" in clients else f"sudo apt-get install --yes podman && podman pull {IMAGE}"

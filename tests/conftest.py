"""What all tests share: a store of their own, and an environment in which output does not depend on who runs them."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# One thread for each of pytest's workers: on busy cores the threads of torch spend most of their time waiting for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that runs something in the background has it ignore Ctrl-C; the tests of interruptions need the usual answer.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: a shared machine is slow at times, and that is no defect. Derandomised: a red run is red again.
settings.register_profile("hwflow", deadline=None, derandomize=True, database=None)
settings.load_profile("hwflow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `timeloop` are skipped where its programs are not on PATH, so that none can forget to ask."""
    missing = [name for name in ("timeloop-model", "timeloop-mapper", "accelergy") if shutil.which(name) is None]
    if missing:
        for item in items:
            if item.get_closest_marker("timeloop"):
                item.add_marker(pytest.mark.skip(reason=f"{' and '.join(missing)} not on PATH"))


@pytest.fixture(scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _environment(_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(_cache))
    for name in ("COLUMNS", "HWFLOW_DATA", "HWFLOW_IMAGE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store for this test alone; gives the file that it will be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hwflow" / "store.sqlite"

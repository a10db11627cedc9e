"""Where the units of a sweep are costed: processes on this machine, or a Ray cluster. Results arrive as they are ready.

What a worker was at when it died is given to another, `TRIES` times in all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, Protocol

from hwflow.errors import HwflowError, InputError
from hwflow.optional import needed
from hwflow.store.pool import workers
from hwflow.sweeping.unit import Answer, Failure, Unit, cost_unit, lost

RunnerName = Literal["local", "ray"]
TRIES = 3

_LOST = Failure(f"the worker process died {TRIES} times while it was at work on this chip; memory may have run out.", True)
_AHEAD = 2  # units at each worker: one at work, one that waits


class Runner(Protocol):
    """Costs units, which it takes as it needs them."""

    def __call__(self, units: Iterable[Unit]) -> Iterator[tuple[Unit, Answer]]: ...


@contextlib.contextmanager
def local(jobs: int) -> Iterator[Runner]:
    """`jobs` processes of this machine, begun when they are first needed and kept; one job is this process itself."""
    with contextlib.ExitStack() as stack:
        crew = _Crew(jobs, stack)
        yield lambda units: _on_processes(iter(units), crew)


@contextlib.contextmanager
def on_ray(address: str | None, jobs: int) -> Iterator[Runner]:
    """The Ray cluster at `address`; without one, a cluster of `jobs` workers on this machine for the time being.

    Raises:
        MissingDependency: where ray is not installed.
        HwflowError: where no cluster answers.
    """
    ray = needed("ray", "the runner ray", "ray")
    from hwflow.sweeping import ray_session

    ray_session.end_dead()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": None}
    stack = contextlib.ExitStack()
    try:
        if address is None:
            session = ray.init(num_cpus=jobs, **{**quiet, "include_dashboard": False}).address_info["session_dir"]
            stack.enter_context(ray_session.recorded(session))
        else:
            ray.init(address=address, **quiet)
    except Exception as error:
        raise HwflowError(
            f"no Ray cluster answers at {address or 'this machine'}: {' '.join(str(error).split())} Start one by "
            "'ray start --head', and name it by --address; without --address one is started for the sweep."
        ) from error
    try:
        yield lambda units: _on_ray(ray, iter(units))
    finally:
        ray.shutdown()
        stack.close()


def opened(runner: str, address: str | None, jobs: int) -> contextlib.AbstractContextManager[Runner]:
    """The runner of that name.

    Raises:
        InputError: for another name, and an address without ray.
    """
    if runner == "ray":
        return on_ray(address, jobs)
    if runner != "local":
        raise InputError(f"runner is {runner!r}; allowed: local, ray.")
    if address is not None:
        raise InputError(f"address is {address!r}, which is of a Ray cluster: it needs the runner ray.")
    return local(jobs)


class _Crew:
    """Worker processes that stay from one search's designs to the next, which would else wait for new ones to start."""

    def __init__(self, jobs: int, stack: contextlib.ExitStack) -> None:
        self.jobs = jobs
        self._stack = stack
        self._pool: Executor | None = None

    def pool(self) -> Executor:
        """The workers, new ones where there are none."""
        if self._pool is None:
            self._pool = self._stack.enter_context(workers(self.jobs))
        return self._pool

    def leave(self) -> None:
        """Be done with these workers, of which one died."""
        self._stack.close()
        self._pool = None


def _on_processes(units: Iterator[Unit], crew: _Crew) -> Iterator[tuple[Unit, Answer]]:
    room = 1 if crew.jobs == 1 else crew.jobs * _AHEAD
    following = next(units, None)
    while following is not None:
        running: dict[Future[Answer], Unit] = {}
        pool = crew.pool()
        try:
            while following is not None or running:
                while following is not None and len(running) < room:
                    running[pool.submit(cost_unit, following)] = following
                    following = next(units, None)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    answer = future.result()
                    yield running.pop(future), answer
        except BrokenProcessPool:
            crew.leave()
        for unit in running.values():
            yield unit, _apart(unit)


def _apart(unit: Unit) -> Answer:
    """A unit that was at work when a worker died: in a process of its own, so that it can harm no other."""
    for _ in range(TRIES - 1):
        with workers(2) as pool, contextlib.suppress(BrokenProcessPool):  # one job would be this process
            return pool.submit(cost_unit, unit).result()
    return lost(unit, _LOST)


def _on_ray(ray: Any, units: Iterator[Unit]) -> Iterator[tuple[Unit, Answer]]:
    remote = ray.remote(max_retries=TRIES - 1)(cost_unit)
    running: dict[Any, Unit] = {}
    while True:
        workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        while len(running) < workers * _AHEAD:
            unit = next(units, None)
            if unit is None:
                break
            running[remote.remote(unit)] = unit
        if not running:
            return
        for reference in ray.wait(list(running))[0]:
            unit = running.pop(reference)
            try:
                answer = ray.get(reference)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError):
                answer = lost(unit, _LOST)
            except ray.exceptions.RayError as error:
                raise HwflowError(
                    f"a worker of the Ray cluster cannot do its work: {' '.join(str(error).split())} Every node needs the same "
                    "version of hwflow. The same command goes on where it was."
                ) from error
            yield unit, answer

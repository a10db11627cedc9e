"""Execution of the distinct tasks of an estimate: from the store, in this process or on a pool, once among all processes.

A piece that another process has claimed is left to it; when nothing else is left to do, its answer is waited for, or the claim
taken over if that process dies. What is done is kept at once, so an interruption loses the pieces in flight only.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

from hwflow.errors import HwflowError
from hwflow.progress import Progress
from hwflow.store import Accepts, Busy, Claim, Hit, Store

_POLL_S = 0.1
_GRACE_S = 10.0
_START_S = 0.7  # of a core's time, for a worker to start and import what it needs (measured: 0.65 to 0.75 s)
_MEASURED = 3  # pieces done here before the rest is judged by them, the first one left out: it imports, too


@dataclass(frozen=True)
class Task:
    """One piece of work: `call(*args)` gives plain data, kept in the store under `kind` and `key`.

    Of what is in the store already, what it `accepts` is taken for an answer.

    `groups` are the networks (by index) that need it: once one piece of a group has failed, the rest of it is not begun.
    `seconds` is about how long a piece takes that another program does; None where that is measured.
    """

    kind: str
    key: str
    label: str
    call: Callable[..., Any]
    args: tuple[Any, ...] = field(compare=False)
    groups: frozenset[int] = frozenset({0})
    seconds: float | None = None
    accepts: Accepts | None = field(default=None, compare=False)


def run(
    tasks: Sequence[Task], *, jobs: int = 1, store: Store | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """The answers by key: plain data, or the `HwflowError` that the piece failed with. Pieces left out have no entry.

    Args:
        jobs: how many run at once, at most. Above 1 they run in worker processes, once those that were done in this one show
            that the rest takes longer than workers take to start.
    """
    board, here = _Board(tasks, store or _NoStore(), progress), _Inline()

    def pays() -> bool:
        return _pays([task.seconds for task in board.pending], here.seconds, jobs)

    with contextlib.ExitStack() as stack:
        try:
            board.work(here, 1, until=pays)
            if board.pending:
                board.work(stack.enter_context(workers(jobs)), jobs)
        finally:
            board.release()
    return board.answers


def _pays(pending: Sequence[float | None], measured: Sequence[float], jobs: int) -> bool:
    """Whether worker processes are worth starting for pieces that take so many seconds, or where it is not known as many as
    those that were measured: whether the time that they save exceeds that of a start."""
    if jobs == 1 or len(pending) < 2:
        return False
    each = sum(measured[1:]) / (len(measured) - 1) if len(measured) >= _MEASURED else 0.0
    work = sum(each if seconds is None else seconds for seconds in pending)
    return work * (1 - 1 / min(jobs, len(pending))) > _START_S


class _NoStore(Store):
    """Keeps nothing, claims nothing."""

    def __init__(self) -> None:
        super().__init__(os.devnull)

    def get(self, kind: str, key: str, accepts: Accepts | None = None) -> Any | None:
        return None

    def begin(self, kind: str, key: str, accepts: Accepts | None = None) -> Hit | Claim | Busy:
        return Claim(kind, key, "")

    def fulfil(self, claim: Claim, value: Any) -> None:
        return None

    def release(self, claim: Claim) -> None:
        return None


class _Board:
    """The tasks that are waiting, running and done."""

    def __init__(self, tasks: Sequence[Task], store: Store, progress: Progress | None) -> None:
        self.store = store
        self.progress = progress
        self.answers: dict[str, Any] = {}
        self.total = len(tasks)
        self.pending: deque[Task] = deque()
        self.running: dict[Future[Any], tuple[Task, Claim]] = {}
        self.failed: set[int] = set()
        for task in tasks:
            found = store.get(task.kind, task.key, task.accepts)
            if found is None:
                self.pending.append(task)
            else:
                self.answers[task.key] = found

    def work(self, executor: Executor, jobs: int, *, until: Callable[[], bool] = lambda: False) -> None:
        """Do all, or some while `until` does not hold, which is asked where nothing runs."""
        waiting: deque[Task] = deque()
        while self.pending or self.running or waiting:
            if not self.running and until():
                return
            owner = ""
            while self.pending and len(self.running) < jobs:
                task = self.pending.popleft()
                if task.groups <= self.failed:
                    continue
                state = self.store.begin(task.kind, task.key, task.accepts)
                if isinstance(state, Hit):
                    self.answers[task.key] = state.value
                elif isinstance(state, Busy):
                    owner = state.owner
                    waiting.append(task)
                else:
                    self._start(executor, task, state)
            if self.running:
                done, _ = wait(self.running, return_when=FIRST_COMPLETED)
                for future in done:
                    self._finish(future)
            elif waiting:
                self._tell(f"{waiting[0].label}: waiting for {owner}" if owner else waiting[0].label)
                time.sleep(_POLL_S)
            self.pending.extend(waiting)
            waiting.clear()
        self._tell("")

    def _start(self, executor: Executor, task: Task, claim: Claim) -> None:
        try:  # an interruption here must not leave the claim behind
            self._tell(task.label)
            self.running[executor.submit(_call, task.call, task.args)] = (task, claim)
        except BaseException:
            self.store.release(claim)
            raise

    def _finish(self, future: Future[Any]) -> None:
        task, claim = self.running[future]
        try:
            value = future.result()
        except HwflowError as error:
            self.answers[task.key] = error
            self.failed |= task.groups
        except BrokenProcessPool as error:
            raise HwflowError(
                f"a worker process died while it worked on {task.label}. A script that asks for jobs above 1 must do so below "
                "'if __name__ == \"__main__\":', as Python's process pools want. Or memory may have run out: use jobs=1."
            ) from error
        else:
            self.store.fulfil(claim, value)
            self.answers[task.key] = value
            del self.running[future]
            return
        self.store.release(claim)
        del self.running[future]

    def release(self) -> None:
        """Keep what was finished meanwhile, and end the claims of what was not."""
        for future, (_, claim) in self.running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                self.store.fulfil(claim, future.result())
            else:
                self.store.release(claim)
        self.running.clear()

    def _tell(self, text: str) -> None:
        if self.progress is not None:
            self.progress(len(self.answers), self.total, text)


class _Inline(Executor):
    """Runs a piece when it is submitted, in this process, and keeps how long each kept a core busy."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        start = time.process_time()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        self.seconds.append(time.process_time() - start)
        return future


class _Pool(ProcessPoolExecutor):
    """Workers start with SIGINT blocked, until `_settle` unblocks it: an earlier one would print a traceback."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def workers(jobs: int) -> Iterator[Executor]:
    """`jobs` processes to give work to; one job is this process itself. They end with the block, tools that they run too."""
    if jobs <= 1:
        yield _Inline()
        return
    before = set(multiprocessing.active_children())
    pool = _Pool(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_settle)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid or 0, signal.SIGINT)  # a worker ends its tool and then itself
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# In the worker ---------------------------------------------------------------------------------------------------------

_busy = False


def _settle() -> None:
    """Be quiet when interrupted, and do not outlive the process that started this one."""
    signal.signal(signal.SIGINT, _interrupted)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _interrupted(signum: int, frame: object) -> None:
    if not _busy:
        os._exit(130)
    raise KeyboardInterrupt


def _follow(parent: int) -> None:
    connection.wait([parent])
    os.kill(os.getpid(), signal.SIGINT)  # a piece that runs a tool ends it
    deadline = time.monotonic() + _GRACE_S
    while _busy and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    os._exit(1)


def _call(call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    global _busy  # noqa: PLW0603
    _busy = True
    try:
        return call(*args)
    finally:
        _busy = False

"""The owner of a claim: its process and machine, and whether it is still alive."""

from __future__ import annotations

import functools
import os
import socket
import time
from pathlib import Path

_MOST_PID = 2**31 - 1


@functools.cache
def host() -> str:
    """This machine and its process namespace: process ids mean the same only within one."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}/{_boot()}{namespace}"


def started(pid: int) -> str:
    """When a process started, so that a recycled process id is not taken for it; empty where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def alive(claim_host: object, pid: object, claim_started: object, heartbeat: object, stale_s: float) -> bool:
    """Whether the owner of a claim can still fulfil it; one that is not of the form in which claims are made cannot.

    A heart that beats in the future, by a clock that is ahead, counts as one that beat as long ago.
    """
    if not (isinstance(claim_host, str) and isinstance(pid, int) and isinstance(heartbeat, (int, float))):
        return False
    if not 0 < pid <= _MOST_PID:  # others mean groups of processes to the system, or nothing
        return False
    if claim_host != host():
        return abs(time.time() - heartbeat) < stale_s
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return started(pid) == claim_started and not _zombie(pid)


def _zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("Z", "X")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        return ""

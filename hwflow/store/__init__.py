"""The result store, shared by all processes of a user, and the pool of workers that fills it."""

from __future__ import annotations

from hwflow.store.store import HEARTBEAT_S, RECENT, STALE_S, Accepts, Busy, Claim, Hit, Store, StoreInfo, default_path, key_of

__all__ = [
    "HEARTBEAT_S",
    "RECENT",
    "STALE_S",
    "Accepts",
    "Busy",
    "Claim",
    "Hit",
    "Store",
    "StoreInfo",
    "default_path",
    "key_of",
]

"""The result store and the notices of one call of a public function."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

from hwflow.store import Store

Notify = Callable[[str], None]


class HwflowWarning(UserWarning):
    """Something that changes what a result means or whether it is kept, but not that there is one."""


@contextlib.contextmanager
def opened(store: Store | bool, notify: Notify | None) -> Iterator[tuple[Store | None, Notify]]:
    """The store to use, and where its notices go at the end."""
    tell = notify or warn
    cache = Store() if store is True else store or None
    told = len(cache.notices) if cache else 0
    try:
        yield cache, tell
    finally:
        if cache is not None:
            for text in cache.notices[told:]:
                tell(text)
            if store is True:
                cache.close()


def warn(text: str) -> None:
    """Notices of a call without `notify`, as warnings."""
    warnings.warn(text, HwflowWarning, stacklevel=5)

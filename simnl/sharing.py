"""A cache of what several runs of one process have in common: splits, digests of files, rows of features.

A process that carries out one run after the other, as a study does, opens `shared` around them. Inside the block,
readers look into the cache first; everything in it was read and checked in this process. Keys are contents, or the size
and time of a file, so that a changed file is read again. Outside the block nothing is kept, so a single run needs no
more memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

MEGABYTES = 512  # the limit of the cache; values that were not used for the longest time are dropped first


class LimitedCache:
    """A cache of values by key, with a limit in bytes; the least recently used values are dropped."""

    def __init__(self, limit: int):
        self._limit = limit
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.nbytes = 0

    def get(self, key: Hashable) -> Any:
        """The value, or None. The value then counts as used. The caller must not change it."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def fits(self, nbytes: int) -> bool:
        """Whether a value of this size is kept. One of more than half the limit would drive out all others."""
        return 2 * nbytes <= self._limit

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keep a value that needs about `nbytes` of memory, if it fits."""
        if not self.fits(nbytes):
            return
        self.nbytes += nbytes - self._values.pop(key, (None, 0))[1]
        self._values[key] = (value, nbytes)
        while self.nbytes > self._limit:
            _, (_, freed) = self._values.popitem(last=False)
            self.nbytes -= freed


_current: list[LimitedCache] = []


def current() -> LimitedCache | None:
    """The cache of the runs of this process; None outside of `shared`."""
    return _current[-1] if _current else None


@contextmanager
def shared(megabytes: int = MEGABYTES) -> Iterator[None]:
    """Within the block, let runs of this process use again what one of them has read."""
    _current.append(LimitedCache(megabytes * 2**20))
    try:
        yield
    finally:
        _current.pop()

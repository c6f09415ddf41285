"""What several runs of one process have in common is read once: splits, digests of files, rows of features.

A process that carries out one run after the other, as a study does, opens `shared` around them. Inside it, readers look
here first. What they find was read and checked in this process. It is told apart by content, or by the size and time of
its file, so that nothing that has changed is used. Outside nothing is kept, and a single run needs no more memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

MEGABYTES = 512  # most that is kept; what was not used for the longest time goes first


class Kept:
    """Values by key, within a number of bytes."""

    def __init__(self, limit: int):
        self._limit = limit
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.nbytes = 0

    def get(self, key: Hashable) -> Any:
        """The value, or None; it counts as used. What is found must not be changed."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def fits(self, nbytes: int) -> bool:
        """Whether a value of so many bytes is kept at all: one that fills more than half would drive out all others."""
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


_current: list[Kept] = []


def current() -> Kept | None:
    """What the runs of this process share; None where there is one run alone."""
    return _current[-1] if _current else None


@contextmanager
def shared(megabytes: int = MEGABYTES) -> Iterator[None]:
    """Let what is read within be used again within."""
    _current.append(Kept(megabytes * 2**20))
    try:
        yield
    finally:
        _current.pop()

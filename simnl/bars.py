"""Show that long work goes on: by a bar on a terminal, and by a plain line now and then elsewhere.

This module imports nothing of this repository, so that every part of it can use it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines where there is no terminal
Watcher: TypeAlias = Callable[[str, int, "int | None"], None]  # (name of the work, number done, total)
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


class Lines:
    """The progress of a work as lines on standard error, one every half minute, where output is a file or a pipe.

    Work that takes less time writes no line.
    """

    def __init__(self, what: str, total: int | None, unit: str, initial: int = 0):
        self.what, self.total, self.unit, self.n = what, total, unit, initial
        self._start = self._last = time.monotonic()
        self._first = initial

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Add `n` units to those that are done."""
        self.n += n
        now = time.monotonic()
        if now - self._last >= EVERY:
            self._last = now
            sys.stderr.write(self._line(now - self._start) + "\n")
            sys.stderr.flush()

    def set_postfix(self, **values: object) -> None:
        """Do nothing: only a bar on a terminal shows these values."""

    def close(self) -> None:
        """Do nothing, because there is nothing to close."""

    def _line(self, seconds: float) -> str:
        if not self.total:
            return f"{self.what}: {self._count(self.n)}"
        left = seconds * (self.total - self.n) / max(1, self.n - self._first)
        done = self._count(self.n) if self.unit == "B" else self.n
        share = f"{done} of {self._count(self.total)} ({100 * self.n // self.total} %)"
        return f"{self.what}: {share}, about {readable(max(0.0, left))} left"

    def _count(self, number: int) -> str:
        return f"{number / 1e6:.0f} MB" if self.unit == "B" else f"{number} {self.unit}s"


class Told(Lines):
    """The progress of a work, reported to a program that shows it itself (`watched`)."""

    def __init__(self, watcher: Watcher, what: str, total: int | None, unit: str, initial: int = 0):
        super().__init__(what, total, unit, initial)
        self._watcher = watcher
        watcher(what, initial, total)

    def update(self, n: int = 1) -> None:
        """Add `n` units to those that are done."""
        self.n += n
        self._watcher(self.what, self.n, self.total)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Within the block, bars of this thread call the watcher and show nothing. Its errors end the work."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


Bar: TypeAlias = tqdm | Lines  # what `bar` gives


def bar(what: str, total: int | None, unit: str, *, initial: int = 0, shown: bool = True, delay: float = 0.0) -> Bar:
    """A context manager with `update(n)` that shows progress on standard error.

    Args:
        what: the work that the bar shows, e.g. `Encoding images`.
        total: the number of units; None if it is not known.
        unit: the thing that is counted, in the singular; `B`: bytes.
        initial: the number of units that were done earlier.
        shown: False to show nothing at all.
        delay: seconds before a bar appears.
    """
    if (watcher := _watcher.get()) is not None:
        return Told(watcher, what, total, unit, initial)
    if not shown or sys.stderr.isatty():
        return tqdm(
            desc=what, total=total, unit="B" if unit == "B" else f" {unit}s", initial=initial, delay=delay,
            unit_scale=unit == "B", disable=not shown, leave=False, dynamic_ncols=True, file=sys.stderr,
        )  # fmt: skip
    return Lines(what, total, unit, initial)


def readable(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

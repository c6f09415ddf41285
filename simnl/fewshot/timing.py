"""Measure how long the phases of a run take."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Stopwatch:
    """Seconds spent in each phase, by name; a phase that is entered again adds to what it has.

    Args:
        phases: names that are there from the start, with 0 seconds.
    """

    def __init__(self, *phases: str):
        self.seconds: dict[str, float] = dict.fromkeys(phases, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what runs in the `with` block; a phase that ends in an error is not counted."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def timed(phase: str) -> Callable[[F], F]:
    """Let a method of an object that has a `stopwatch` count its seconds under the name of a phase."""

    def decorate(method: F) -> F:
        @functools.wraps(method)
        def wrapper(self, *args, **kwargs):
            with self.stopwatch.phase(phase):
                return method(self, *args, **kwargs)

        return wrapper  # type: ignore[return-value]  # mypy cannot see that the signature is kept

    return decorate

"""Measure how long the phases of a run take."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Stopwatch:
    """The seconds of each phase, by name. A phase that is entered again adds to its seconds.

    Args:
        phases: the names of phases that start with 0 seconds.
    """

    def __init__(self, *phases: str):
        self.seconds: dict[str, float] = dict.fromkeys(phases, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds of the `with` block. A block that ends in an error is not counted."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def timed(phase: str) -> Callable[[F], F]:
    """Decorate a method of an object with a `stopwatch`, so that its seconds count for a phase."""

    def decorate(method: F) -> F:
        @functools.wraps(method)
        def wrapper(self, *args, **kwargs):
            with self.stopwatch.phase(phase):
                return method(self, *args, **kwargs)

        return wrapper  # type: ignore[return-value]  # mypy cannot see that the signature is kept

    return decorate

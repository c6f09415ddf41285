"""SIGTERM and Ctrl-C end a tool with one line and the exit code 143 or 130, in whatever phase they come.

`install` is called before anything heavy is imported. Before the tool's main function runs, and after it, a signal ends
the process at once, because there is nothing to clean up. Within the main function (`interruptible`), `Interrupted` is
raised, so that locks, temporary files and child processes are cleaned up. A second signal does not wait for that.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME = 1.0  # seconds in which another signal is the same one: `timeout` sends it to a process and to its group
AGAIN = 0.05  # seconds until the next try, where Python dropped the first
NAMES: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Interrupted(KeyboardInterrupt):
    """Raised by the first signal, wherever the main thread is. `code`: what the process shall end with."""

    def __init__(self, number: int):
        super().__init__(line(number))
        self.code = 128 + number


class _State:
    inside = False  # the main function runs: raise
    received = 0  # number of the first signal
    since = 0.0  # when it came


def line(number: int) -> str:
    """What a person is told."""
    return f"Interrupted by {NAMES[number]}. Run the same command again to continue."


def is_spawned() -> bool:
    """True in a process that multiprocessing has spawned: it imports the tool that started it again."""
    loaded = sys.modules.get("multiprocessing")
    return loaded is not None and loaded.parent_process() is not None


def install() -> None:
    """Take over both signals in this process; in those that it forks or spawns they are the parent's business."""
    if threading.current_thread() is not threading.main_thread():
        return
    if is_spawned():
        _leave_it_to_the_parent()
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # it is a job in the background, or under nohup
            signal.signal(number, _handle)
    os.register_at_fork(after_in_child=_leave_it_to_the_parent)


def _leave_it_to_the_parent() -> None:
    """Let loader workers, which a Ctrl-C reaches too, be ended by the parent, by SIGTERM, without a word."""
    _State.inside, _State.received = False, 0
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _handle(number: int, frame: object) -> None:
    if not _State.received:
        _State.received, _State.since = number, time.monotonic()
        sys.unraisablehook, threading.excepthook = _lost, lambda *_: None  # what is torn down has nothing to tell
        if _State.inside:
            raise Interrupted(number)
        with suppress(OSError):
            os.write(2, f"{line(number)}\n".encode())  # not through buffers, which the signal may have met half way
    elif time.monotonic() - _State.since < SAME:
        return
    os._exit(128 + _State.received)


def _lost(ignored: sys.UnraisableHookArgs) -> None:
    """Python drops what is raised in a `__del__`, a generator's end or a callback; then `Interrupted` comes again."""
    if isinstance(ignored.exc_value, Interrupted) and _State.inside:
        signal.signal(signal.SIGALRM, lambda *_: raise_received() if _State.inside else None)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)


def say(number: int) -> None:
    """Write the line to standard error, behind what standard output still holds."""
    start = "\n" if os.isatty(2) else ""  # this goes behind ^C, or a progress bar
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{start}{line(number)}\n")
        sys.stderr.flush()


@contextmanager
def interruptible() -> Iterator[None]:
    """The part of a process that has something to put away."""
    _State.inside = True
    try:
        yield
    finally:
        _State.inside = False


def received() -> int:
    """Number of the signal that came, 0 for none: what else goes wrong after it follows from it."""
    return _State.received


def raise_received() -> None:
    """Raise `Interrupted` again, where something caught it or raised another error in its place."""
    if _State.received:
        raise Interrupted(_State.received)

"""SIGTERM and Ctrl-C end a tool with one line and the exit code 143 or 130, whatever the tool is doing.

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
    """Raised by the first signal, wherever the main thread is. `code` is the exit code of the process."""

    def __init__(self, number: int):
        super().__init__(line(number))
        self.code = 128 + number


class _State:
    inside = False  # True while the main function runs: the signal raises `Interrupted`
    received = 0  # number of the first signal
    since = 0.0  # when it came


def line(number: int) -> str:
    """The line that tells a person what happened."""
    return f"Interrupted by {NAMES[number]}. Run the same command again to continue."


def is_spawned() -> bool:
    """True in a process that multiprocessing has spawned: it imports the tool that started it again."""
    loaded = sys.modules.get("multiprocessing")
    return loaded is not None and loaded.parent_process() is not None


def install() -> None:
    """Handle both signals in this process. In processes that it forks or spawns, the parent handles them."""
    if threading.current_thread() is not threading.main_thread():
        return
    if is_spawned():
        _leave_it_to_the_parent()
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored: a job in the background, or one under nohup
            signal.signal(number, _handle)
    os.register_at_fork(after_in_child=_leave_it_to_the_parent)


def _leave_it_to_the_parent() -> None:
    """Make loader workers ignore Ctrl-C, which reaches them too: the parent ends them by SIGTERM, without a message."""
    _State.inside, _State.received = False, 0
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _handle(number: int, frame: object) -> None:
    if not _State.received:
        _State.received, _State.since = number, time.monotonic()
        sys.unraisablehook, threading.excepthook = _lost, lambda *_: None  # no errors of what is torn down
        if _State.inside:
            raise Interrupted(number)
        with suppress(OSError):
            os.write(2, f"{line(number)}\n".encode())  # not through a buffer, which the signal may have interrupted
    elif time.monotonic() - _State.since < SAME:
        return
    os._exit(128 + _State.received)


def _lost(ignored: sys.UnraisableHookArgs) -> None:
    """Raise `Interrupted` again where Python has dropped it: in a `__del__`, at a generator's end, or in a callback."""
    if isinstance(ignored.exc_value, Interrupted) and _State.inside:
        signal.signal(signal.SIGALRM, lambda *_: raise_received() if _State.inside else None)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)


def say(number: int) -> None:
    """Write the line to standard error, after everything that standard output still holds."""
    start = "\n" if os.isatty(2) else ""  # the line does not follow ^C or a progress bar directly
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{start}{line(number)}\n")
        sys.stderr.flush()


@contextmanager
def interruptible() -> Iterator[None]:
    """The part of a process in which a signal raises `Interrupted`, so that it can clean up."""
    _State.inside = True
    try:
        yield
    finally:
        _State.inside = False


def received() -> int:
    """The number of the signal that came, or 0. Errors after a signal are its consequences."""
    return _State.received


def raise_received() -> None:
    """Raise `Interrupted` again if other code has caught it or replaced it by another error."""
    if _State.received:
        raise Interrupted(_State.received)

"""File locks that say what a process waits for, and for which process it waits.

A lock belongs to the operating system and ends with the process that holds it. The holder writes its process number and
its machine beside the lock, so that those who wait can name it. This note decides nothing.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

FIRST_WORD, NEXT_WORD = 5.0, 60.0  # seconds until the first message, and between later ones
ANYBODY = "another process"


@contextmanager
def holding(path: str | Path, what: str, wait: bool = True) -> Iterator[bool]:
    """Hold the lock `path` within the block.

    Args:
        path: the lock's file.
        what: what the holder does, for the message of those who wait: "encodes features for ...".
        wait: False to return at once if another process holds the lock.

    Yields:
        True if this process holds the lock; False if another process has it and `wait` is False.

    Raises:
        OSError: the folder cannot be written.
    """
    lock, note = FileLock(str(path)), Path(f"{path}.holder")
    if not _acquire(lock, note, what, wait):
        yield False
        return
    try:
        with suppress(OSError):  # e.g. on a full disk: others then do not learn who holds the lock
            note.write_text(f"{os.getpid()} {platform.node()}\n", encoding="utf-8")
        yield True
    finally:
        with suppress(OSError):
            note.unlink()
        lock.release()


def _acquire(lock: FileLock, note: Path, what: str, wait: bool) -> bool:
    timeout, waited = (FIRST_WORD if wait else 0.0), 0.0
    while True:
        try:
            lock.acquire(timeout=timeout)
            return True
        except Timeout:
            if not wait:
                return False
            waited += timeout
            log.warning("Waiting for %s, which %s (for %.0f s so far).", holder(note), what, waited)
            timeout = NEXT_WORD


def holder(note: Path) -> str:
    """Who holds a lock, in words, as far as the note and the system tell.

    Args:
        note: the file with the holder's process number and machine.
    """
    try:
        number, machine = note.read_text(encoding="utf-8").split()
        pid = int(number)
    except (OSError, ValueError):  # the note is not written yet, or the disk is full
        return ANYBODY
    if not 0 < pid < 2**31:
        return ANYBODY
    if machine != platform.node():
        return f"process {pid} on {machine}"
    state = _state(pid)
    if state is None:
        return ANYBODY  # the note is of a process that was killed; another process has the lock now
    if state == "T":
        return f"process {pid} (it is stopped: `kill -CONT {pid}` lets it go on, `kill -9 {pid}` ends it)"
    return f"process {pid}"


def _state(pid: int) -> str | None:
    """The kernel's letter for the state of a process; "" if the kernel does not tell it, None for no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # the process belongs to another user
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""

"""Errors for people: which errors are shown by their message alone, what the message says, and the exit code."""

from __future__ import annotations

import dis
import errno
import functools
import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from simnl import interrupts
from simnl.commands import as_typed
from simnl.escaping import keep_logs_printable, printable
from simnl.locations import PACKAGE, ROOT

ON_PURPOSE = (ValueError, KeyError, RuntimeError, ImportError, TypeError)
OURS, METHOD, LIBRARY = "ours", "method", "library"
RAISE = dis.opmap["RAISE_VARARGS"]
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # no room, no free file entry (inode), or no quota


def fail_politely(main: Callable[[], int]) -> Callable[[], int]:
    """Make a command end with a message instead of a traceback.

    An error that a user can mend gives its message and exit code 1. SIGTERM and Ctrl-C give one line and exit code 143
    or 130.

    A defect (see `is_for_people`) keeps its traceback. With DEBUG=1 in the environment all errors show theirs.
    """

    @functools.wraps(main)
    def wrapped() -> int:
        keep_logs_printable()
        try:
            with interrupts.interruptible():
                return main()
        except BrokenPipeError:  # the program that reads the pipe has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (Exception, KeyboardInterrupt) as error:
            number = interrupts.received() or (signal.SIGINT if isinstance(error, KeyboardInterrupt) else 0)
            if number:
                interrupts.say(number)
                return 128 + number
            if not is_for_people(error):
                raise
            if os.environ.get("DEBUG"):
                traceback.print_exc()
            print(f"\nError: {describe(error)}", file=sys.stderr)
            return 1

    return wrapped


def is_for_people(error: BaseException) -> bool:
    """True for an error whose message is enough to mend it. Any other error is a defect and shows its traceback.

    These errors are for people:

    - Errors of the system, a full memory, and a loss that is NaN.
    - Errors that code of this program, or of a method in `trainers/`, raises on purpose, by a `raise` of its own.
    - Any other ValueError, because a file or a value of the user causes most of them. A ValueError that comes through
      a method is not for people: it can just as well be a defect of the method (shapes that do not fit).

    So a KeyError, an IndexError or PyTorch's RuntimeError in one's own trainer keeps its traceback.
    """
    if isinstance(error, OSError | FloatingPointError | MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if not isinstance(error, ON_PURPOSE) or isinstance(error, NotImplementedError | RecursionError):
        return False
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return isinstance(error, ValueError)
    owners = [_owner(frame.f_code.co_filename) for frame, _ in frames]
    on_purpose = owners[-1] != LIBRARY and _raises(error.__traceback__)
    return on_purpose or (isinstance(error, ValueError) and METHOD not in owners)


@functools.cache
def _owner(path: str) -> str:
    """Whose code a file is: that of this program, of a method (in this repository or elsewhere), or of a library."""
    place = Path(path)
    engine = importlib.util.find_spec("dassl")
    if engine and engine.origin and place.is_relative_to(Path(engine.origin).parent):
        return OURS
    if place.is_relative_to(PACKAGE):
        return OURS
    if place.parent == ROOT / "trainers":
        return METHOD
    installed = {"site-packages", "dist-packages"} & set(place.parts)
    if installed or path.startswith("<") or place.is_relative_to(Path(os.__file__).parent):
        return LIBRARY
    return OURS if place.is_relative_to(ROOT) else METHOD


def _raises(trace: TracebackType | None) -> bool:
    """True where the innermost instruction is a `raise`, not an operation that failed."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_code[trace.tb_lasti] == RAISE


def describe(error: BaseException) -> str:
    """The message of an error in printable characters, without the quotes that KeyError adds, and with commands that
    work here."""
    if isinstance(error, KeyError) and len(error.args) == 1:
        text = str(error.args[0])
    elif isinstance(error, FloatingPointError):
        text = f"{error} Training diverged: lower OPTIM.LR, or raise OPTIM.EPS."
    elif isinstance(error, OSError) and error.errno in DISK_FULL and error.filename:
        text = (
            f"{error.strerror}: {os.fsdecode(error.filename)}. Make room there (`df` shows the free space, `df -i` the "
            "free number of files), and run the same command again."
        )
    elif isinstance(error, MemoryError) and not str(error):
        text = "There is not enough memory."
    else:
        text = str(error) or type(error).__name__
    return printable(as_typed(text), lines=True)


def summary(error: BaseException) -> str:
    """An error as one entry of a list: its message; for a defect, whose traceback is elsewhere, also its type."""
    return describe(error) if is_for_people(error) else f"{type(error).__name__}: {describe(error)}"

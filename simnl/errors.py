"""Errors made for people: which ones are shown as one message, what it says, and how a command ends with it."""

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
    """Turn a user's error into a message and exit code 1, SIGTERM and Ctrl-C into one line and 143 or 130.

    A defect (see `is_for_people`) keeps its traceback. DEBUG=1 in the environment shows the others' too.
    """

    @functools.wraps(main)
    def wrapped() -> int:
        keep_logs_printable()
        try:
            with interrupts.interruptible():
                return main()
        except BrokenPipeError:  # the reader of a pipe has seen enough
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
    """True for an error that a user can mend by its message alone; any other is a defect, and shows its traceback.

    - The system's errors, a full memory, and a loss that is NaN.
    - What code of this program, or of a method in `trainers/`, raises on purpose, by a `raise` of its own.
    - Any other ValueError, as a file or a value of the user made it; but none that comes through a method, where it is
      as likely a defect of the method (shapes that do not fit).

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
    """The owner of a file's code: this program, a method (also one that lies elsewhere), or a library."""
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
            f"{error.strerror}: {os.fsdecode(error.filename)}. Make room there (`df` shows it, `df -i` the number of "
            "files), and run the same command again."
        )
    elif isinstance(error, MemoryError) and not str(error):
        text = "There is not enough memory."
    else:
        text = str(error) or type(error).__name__
    return printable(as_typed(text), lines=True)


def summary(error: BaseException) -> str:
    """The entry of an error in a list: its message, behind the type of a defect, whose traceback is elsewhere."""
    return describe(error) if is_for_people(error) else f"{type(error).__name__}: {describe(error)}"

"""The log of a run: which lines are shown on the screen, and which go to the run's log.txt."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dassl.utils import setup_logger
from simnl.errors import DISK_FULL
from simnl.escaping import keep_logs_printable

OWN_PACKAGES = ("simnl", "trainers", "datasets", "dassl")


class CurrentStdout:
    """A stream for logging handlers that follows `sys.stdout`, so that log lines reach the run's log.txt too."""

    def write(self, text: str) -> int:
        """Write to whatever is standard output now."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """Flush whatever is standard output now."""
        sys.stdout.flush()


class Once(logging.Filter):
    """A filter that lets each message through once, because the runs of several seeds warn of the same things."""

    def __init__(self):
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a message that was shown before."""
        text = record.getMessage()
        is_new = text not in self._seen
        self._seen.add(text)
        return is_new


def configure_logging(quiet: bool = False) -> None:
    """Show plain log lines of this program on standard output (and so in log.txt), and of other programs only warnings.

    Args:
        quiet: True if standard output goes to log.txt alone. Each warning is then also shown once on standard error.
    """
    keep_logs_printable()
    threading.excepthook = thread_failed
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=CurrentStdout(), force=True)
    for package in OWN_PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)
    if quiet:
        logging.getLogger().handlers[0].addFilter(lambda record: sys.stdout is not sys.__stdout__)  # within a run only
        console = logging.StreamHandler(sys.stderr)
        console.setLevel(logging.WARNING)
        console.setFormatter(logging.Formatter("Note: %(message)s"))
        console.addFilter(Once())
        logging.getLogger().addHandler(console)


def thread_failed(args) -> None:
    """Show the error that ended a thread. A full disk is not shown: TensorBoard's writer raises it again in the run."""
    if not (isinstance(args.exc_value, OSError) and args.exc_value.errno in DISK_FULL):
        threading.__excepthook__(args)


@contextmanager
def run_log(folder: str, quiet: bool) -> Iterator[None]:
    """Copy standard output to the run's log.txt. With `quiet` it goes only to the file, as tracebacks always do."""
    console = sys.stdout
    tee: Any = None  # the engine's logger
    with open(os.devnull, "w") as nowhere:
        if quiet:
            sys.stdout = nowhere
        try:
            setup_logger(folder)
            tee = sys.stdout
            yield
        except Exception as error:
            if tee is not None:
                with suppress(OSError):  # the disk may be full
                    traceback.print_exc(file=tee.file)
            full = full_disk(error)
            if full is not None:
                raise OSError(full.errno, full.strerror, full.filename or folder) from error
            raise
        finally:
            sys.stdout = console
            if tee is not None:
                tee.console = nowhere  # upstream's logger would close the console, too
                tee.close()


def full_disk(error: BaseException | None) -> OSError | None:
    """The system's error if a full disk caused an error that does not say so: torch's, or one without a path."""
    named = isinstance(error, OSError) and (error.filename or error.errno is None)
    if named or not isinstance(error, OSError | RuntimeError):
        return None
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return error
        error = error.__cause__ or error.__context__
    return None

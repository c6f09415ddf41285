"""Everything that is printed goes to the console and to a log file."""

from __future__ import annotations

import os
import os.path as osp
import sys
import time
from typing import Any

__all__ = ["Logger", "setup_logger"]


class Logger:
    """A text stream that writes to the console and to a file.

    All other attributes (`encoding`, `isatty`, `fileno`, ...) are the console's. Closing it closes the file
    only.

    Args:
        fpath: log file, made anew together with its folder; None: console only.
    """

    def __init__(self, fpath: str | None = None):
        self.console = sys.stdout
        self.file = None
        if fpath is not None:
            os.makedirs(osp.dirname(osp.abspath(fpath)), exist_ok=True)
            # Line by line, so that a run which is killed has its log.
            self.file = open(fpath, "w", buffering=1, encoding="utf-8")  # noqa: SIM115 - lives as long as the stream

    def write(self, msg: str) -> int:
        """Write to both; returns the number of characters."""
        if self.file is not None:
            self.file.write(msg)
        self.console.write(msg)
        return len(msg)

    def flush(self) -> None:
        """Flush both."""
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        """Close the file; from then on it writes to the console only."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        # Reached for what the class lacks. `console` itself is missing only while copying or unpickling.
        if name == "console":
            raise AttributeError(name)
        return getattr(self.console, name)


def setup_logger(output: str | None = None) -> None:
    """From now on copy standard output to a log file.

    Args:
        output: a path that ends in `.txt` or `.log`, or a folder, which gets a `log.txt`; None: do nothing.
            A file that exists is kept, and the new one's name gets the time, `log.txt-YYYY-MM-DD-HH-MM-SS`.

    A second call ends the first one's log.
    """
    if output is None:
        return
    output = os.fspath(output)
    fpath = output if output.endswith((".txt", ".log")) else osp.join(output, "log.txt")
    if osp.exists(fpath):
        fpath += time.strftime("-%Y-%m-%d-%H-%M-%S")
    if isinstance(sys.stdout, Logger):
        previous = sys.stdout
        sys.stdout = previous.console
        previous.close()
    sys.stdout = Logger(fpath)

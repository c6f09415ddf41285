"""Commands in messages and help texts, which a user can type exactly as they are shown.

In the source, commands are written as `python tools/NAME.py` and `bash scripts/NAME.sh`. `as_typed` puts in the python
that is running, and the path from the current folder.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from simnl.locations import INSTALLED, ROOT

WORD = r"(?<![\w./-])"  # nothing of a longer path or word stands before
PYTHON = re.compile(WORD + r"python (tools/\w+\.py)")
SCRIPT = re.compile(WORD + r"bash (scripts/[\w/]+\.sh)")


def as_typed(text: str) -> str:
    """A text with its commands as they work here; applied twice, it changes nothing more."""
    if INSTALLED:  # there are no tools: the command that the wheel installs has some of them
        return PYTHON.sub(lambda match: f"simnl {Path(match[1]).stem}", text)
    text = PYTHON.sub(lambda match: f"{python()} {path(ROOT / match[1])}", text)
    return SCRIPT.sub(lambda match: f"bash {path(ROOT / match[1])}", text)


def python() -> str:
    """How the user would start the python that runs this: by a path, or by its name where that is what PATH finds."""
    running = sys.executable
    if not running:
        return "python3"
    if path(running) != shlex.quote(running):
        return path(running)
    found = (name for name in ("python", "python3") if shutil.which(name) == running)
    return next(found, path(running))


def path(of: str | Path) -> str:
    """A path for a shell: from the current folder where it lies below, else from the root."""
    given = Path(of)
    here = Path.cwd()
    for candidate in (given, given.parent.resolve() / given.name):
        if candidate.is_absolute() and candidate.is_relative_to(here):
            return shlex.quote(os.fspath(candidate.relative_to(here)))
    return shlex.quote(os.fspath(given))

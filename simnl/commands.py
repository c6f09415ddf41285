"""Commands in messages and help texts, which a user can type exactly as they are shown.

In the source, commands are written as `python tools/NAME.py` and `bash scripts/NAME.sh`. `as_typed` puts in the python
that is running, and the path from the current folder.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from simnl.locations import INSTALLED, ROOT

WORD = r"(?<![\w./-])"  # the word is not the end of a longer path or word
PYTHON = re.compile(WORD + r"python (tools/\w+\.py)")
SCRIPT = re.compile(WORD + r"bash (scripts/[\w/]+\.sh)")


def as_typed(text: str) -> str:
    """A text whose commands can be typed in the current folder. A second call leaves the text as it is."""
    if INSTALLED:  # a wheel has no tools; its command `simnl` does what some of them do
        return PYTHON.sub(lambda match: f"simnl {Path(match[1]).stem}", text)
    text = PYTHON.sub(lambda match: f"{python()} {path(ROOT / match[1])}", text)
    return SCRIPT.sub(lambda match: f"bash {path(ROOT / match[1])}", text)


def parser_of(about: str) -> argparse.ArgumentParser:
    """A parser whose help begins with a text, mostly of the tool's docstring, whose commands can be typed."""
    return argparse.ArgumentParser(description=as_typed(about), formatter_class=argparse.RawDescriptionHelpFormatter)


def python() -> str:
    """What a user types to start the python that runs this program: its name if PATH finds it, else its path."""
    running = sys.executable
    if not running:
        return "python3"
    if path(running) != shlex.quote(running):
        return path(running)
    found = (name for name in ("python", "python3") if shutil.which(name) == running)
    return next(found, path(running))


def path(of: str | Path) -> str:
    """A path as a shell takes it: relative if it lies below the current folder, else absolute."""
    given = Path(of)
    here = Path.cwd()
    for candidate in (given, given.parent.resolve() / given.name):
        if candidate.is_absolute() and candidate.is_relative_to(here):
            return shlex.quote(os.fspath(candidate.relative_to(here)))
    return shlex.quote(os.fspath(given))

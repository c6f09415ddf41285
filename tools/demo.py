"""Teach classes with pictures on a local page; `--help` explains it. The logic is in simnl/demo/."""

from __future__ import annotations

import sys

import _path  # noqa: F401 - makes the packages importable

from simnl.demo.command import run
from simnl.errors import fail_politely


@fail_politely
def main() -> int:
    """Entry point."""
    return run()


if __name__ == "__main__":
    sys.exit(main())

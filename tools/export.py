"""Write a trained head as a program of its own; `--help` explains it. The logic is in simnl/predictions/."""

from __future__ import annotations

import sys

import _path  # noqa: F401 - makes the packages importable

from simnl.errors import fail_politely
from simnl.predictions.export_command import run


@fail_politely
def main() -> int:
    """Entry point."""
    return run()


if __name__ == "__main__":
    sys.exit(main())

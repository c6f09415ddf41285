"""Label images with a head that a run has trained; `--help` explains it. The logic is in simnl/predictions/."""

from __future__ import annotations

import sys

import _path  # noqa: F401 - makes the packages importable

from simnl.errors import fail_politely
from simnl.predictions.command import run


@fail_politely
def main() -> int:
    """Entry point."""
    return run()


if __name__ == "__main__":
    sys.exit(main())

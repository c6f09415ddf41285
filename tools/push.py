"""Share a trained head on the Hugging Face hub; `--help` explains it. The logic is in simnl/classifier/."""

from __future__ import annotations

import sys

import _path  # noqa: F401 - makes the packages importable

from simnl.classifier.push_command import run
from simnl.errors import fail_politely


@fail_politely
def main() -> int:
    """Entry point."""
    return run()


if __name__ == "__main__":
    sys.exit(main())

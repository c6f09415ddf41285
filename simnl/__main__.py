"""The command `simnl`, which comes with the wheel: what needs no clone of the repository."""

from __future__ import annotations

import argparse
import sys

from simnl import __version__


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="simnl", description=__doc__)
    parser.add_argument("--version", action="version", version=f"simnl {__version__}")
    parser.parse_args()
    parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Tables from run records.

python tools/table.py output                      # every run below the folder
python tools/table.py output/shapes --format latex --ci normal --output table.tex
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from experiment.cli import fail_politely
from experiment.stats import CI_METHODS
from experiment.tables import FORMATS, find_records, render, summarise


@fail_politely
def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", help="run folders, folders above them, or result.json files")
    parser.add_argument("--format", choices=FORMATS, default="markdown", help="default: markdown")
    intervals = "; ".join(f"{name}: {meaning}" for name, meaning in CI_METHODS.items()).replace("%", "%%")
    parser.add_argument("--ci", choices=CI_METHODS, default="t", help=intervals)
    parser.add_argument("--output", help="write to this file instead of the terminal")
    args = parser.parse_args()
    text = render(summarise(find_records(args.paths), args.ci), args.format)
    if args.output:
        Path(args.output).write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

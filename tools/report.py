"""Make one HTML file of everything that has been run: tables, figures, runs, configs, versions. It needs no network.

python tools/report.py output                       # report.html
python tools/report.py output --output shapes.html --show output/shapes/SimNL/tiny_16shots/0123abcd/seed1
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import as_typed
from simnl.errors import fail_politely
from simnl.files import write_text_atomically
from simnl.results.stats import CI_METHODS


@fail_politely
def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=as_typed(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", help="the folder of runs")
    parser.add_argument("--output", default="report.html", help="the file to write (default: report.html)")
    intervals = "; ".join(f"{name}: {meaning}" for name, meaning in CI_METHODS.items()).replace("%", "%%")
    parser.add_argument("--ci", choices=CI_METHODS, default="t", help=intervals)
    parser.add_argument(
        "--show",
        nargs="+",
        default=[],
        metavar="RUN",
        help="run folders; adds their confusion matrices and maps of features",
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="Note: %(message)s")
    from simnl.results.report import make_report

    text = make_report(args.path, args.ci, args.show)
    write_text_atomically(Path(args.output), text)
    print(f"{args.output}: {len(text.encode()) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

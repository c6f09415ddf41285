"""Make one HTML file of everything that has been run: tables, figures, runs, configs, versions. It needs no network.

python tools/report.py output                       # report.html
python tools/report.py output --output shapes.html --show output/shapes/SimNL/tiny_16shots/0123abcd/seed1
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import parser_of
from simnl.errors import fail_politely
from simnl.files import replacing
from simnl.results.stats import CI_HELP, CI_METHODS


@fail_politely
def main() -> int:
    """Entry point."""
    parser = parser_of(__doc__)
    parser.add_argument("path", help="the folder of runs")
    parser.add_argument("--output", default="report.html", help="the file to write (default: report.html)")
    parser.add_argument("--ci", choices=CI_METHODS, default="t", help=CI_HELP)
    parser.add_argument(
        "--show",
        nargs="+",
        default=[],
        metavar="RUN",
        help="run folders; adds the figures of each of these runs",
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="Note: %(message)s")
    from simnl.results.report import make_report

    parts = make_report(args.path, args.ci, args.show)
    with replacing(Path(args.output)) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(parts)
    print(f"{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

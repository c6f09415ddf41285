"""Make tables from run records.

python tools/table.py output                                   # every run below the folder, one row per setting
python tools/table.py output --layout fewshot                  # the paper's Table A1: ours, published, difference
python tools/table.py output --layout dg --format latex --output table.tex
python tools/table.py output --layout fewshot --against TipAdapterF --ci normal
python tools/table.py --layout prompts

Layouts: runs (the plain list), fewshot (Table A1), dg (A2), cross, base2new, sensitivity (A3), noise, ablation, audit,
cost, metrics, ood, tradeoff (docs/ood.md), datasets (C4), prompts (C5). docs/results.md says how cells are filled,
marked and averaged.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import parser_of
from simnl.config_names import known
from simnl.errors import fail_politely
from simnl.files import write_text_atomically
from simnl.metrics.names import CALIBRATORS
from simnl.numbers import argument
from simnl.results.published import ORDER, published_names, source_keys, sources_of
from simnl.results.stats import CI_HELP, CI_METHODS
from simnl.results.tables import (
    DEFAULT_LAYOUT,
    FORMATS,
    FULL,
    LAYOUTS,
    NARROWEST,
    WITHOUT_RECORDS,
    Request,
    build,
    build_paired,
    find_records,
    render_tables,
    select,
    terminal_width,
)

FILTERS = {"methods": "method", "datasets": "dataset", "shots": "shots", "protocol": "protocol", "preset": "preset",
           "backbone": "backbone"}  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("paths", nargs="*", help="run folders, folders above them, or result.json files")
    parser.add_argument("--layout", choices=LAYOUTS, default=DEFAULT_LAYOUT)
    parser.add_argument("--format", choices=FORMATS, help="default: terminal on a terminal, and markdown elsewhere")
    parser.add_argument("--ci", choices=CI_METHODS, default="t", help=CI_HELP)
    parser.add_argument("--against", metavar="METHOD", help="add differences to this method over the same draws")
    parser.add_argument("--methods", nargs="+", default=[], metavar="METHOD", help="show only these, in this order")
    parser.add_argument("--datasets", nargs="+", default=[], metavar="DATASET", help="show only these, in this order")
    parser.add_argument(
        "--shots", nargs="+", default=[], type=argument(1), metavar="K", help="show only runs with these shots"
    )
    parser.add_argument("--protocol", nargs="+", default=[], help="show only runs with these protocols")
    parser.add_argument("--preset", nargs="+", default=[], help="show only these; for --layout prompts: the preset")
    parser.add_argument("--backbone", nargs="+", default=[], help="show only these, by their names in tables: RN50")
    calibrators = {"choices": CALIBRATORS[:-1], "default": CALIBRATORS[0]}
    parser.add_argument("--calibrator", **calibrators, help="of --layout metrics; dac shows targets of new classes")
    parser.add_argument("--all-runs", action="store_true", help="also show the runs of studies (docs/results.md)")
    parser.add_argument(
        "--published",
        nargs="*",
        choices=source_keys(),
        default=ORDER,
        help="sources of published figures, preferred ones first (default: all with tables); without names, none",
    )
    parser.add_argument(
        "--comparable", action="store_true", help="only published figures whose protocol equals ours (docs/audit.md)"
    )
    parser.add_argument("--width", type=width_from, help="columns of a terminal table (default: those of the terminal)")
    parser.add_argument("--output", help="write to this file instead of the terminal")
    args = parser.parse_args()
    shown = FULL if args.output else terminal_width()
    args.format = args.format or ("markdown" if shown == FULL and not args.width else "terminal")
    args.width = args.width or shown
    return args


def width_from(word: str) -> int:
    """A number of columns that a table can do with."""
    if not word.isdecimal() or int(word) < NARROWEST:
        raise argparse.ArgumentTypeError(f"'{word}' is no number of columns from {NARROWEST}")
    return int(word)


def table(args: argparse.Namespace) -> str:
    """The text that was asked for.

    Raises:
        ValueError, FileNotFoundError: nothing to show, with the reason.
    """
    if not args.paths and args.layout not in WITHOUT_RECORDS:
        raise ValueError("Name a folder of runs, e.g. python tools/table.py output")
    records = find_records(args.paths) if args.paths else []
    if records and args.layout not in WITHOUT_RECORDS:
        could_be = {"method": [*known("trainers"), *published_names()], "dataset": known("datasets")}
        records = select(records, {key: getattr(args, name) for name, key in FILTERS.items()}, could_be)
    if args.layout == "prompts" and len(args.preset) > 1:
        raise ValueError("--layout prompts shows one preset at a time: give --preset repaired or --preset official.")
    request = Request(
        ci=args.ci,
        methods=tuple(args.methods),
        datasets=tuple(args.datasets),
        sources=sources_of(args.published),
        comparable=args.comparable,
        all_runs=args.all_runs,
        preset=args.preset[0] if args.preset else "repaired",
        calibrator=args.calibrator,
    )
    tables = build(args.layout, records, request)
    if args.against:
        tables += build_paired(args.layout, records, args.against, request)
        if args.format == "csv" and args.layout == DEFAULT_LAYOUT:
            raise ValueError("A csv file holds one kind of table: give --layout fewshot with --against.")
    return render_tables(tables, args.format, args.width)


@fail_politely
def main() -> int:
    """Entry point."""
    logging.basicConfig(level=logging.WARNING, format="Warning: %(message)s")
    args = arguments()
    text = table(args)
    if args.output:
        write_text_atomically(Path(args.output), text + "\n")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

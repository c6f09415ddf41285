"""Figures of runs beyond their accuracy, from the logits that they keep: nothing is run again.

python tools/evaluate.py output/shapes                          # every part of every run, before and after calibration
python tools/evaluate.py output --calibrator isotonic --format csv --output metrics.csv
python tools/evaluate.py output --calibrator dac                # new classes by the distance of their texts (base2new)
python tools/evaluate.py output --again                         # first compute missing logits from the trained heads

Each row is one run (seed) and one list of images: `test`, or a target by its name. tools/table.py --layout metrics
shows means over seeds. docs/ood.md explains the figures.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import parser_of
from simnl.errors import fail_politely
from simnl.files import write_text_atomically
from simnl.metrics.names import CALIBRATORS
from simnl.results.tables import FORMATS, FULL, find_records, render_tables, terminal_width
from simnl.results.tables.metrics import evaluation_table


@fail_politely
def main() -> int:
    """Entry point."""
    parser = parser_of(__doc__)
    parser.add_argument("paths", nargs="+", help="run folders, folders above them, or result.json files")
    parser.add_argument("--calibrator", choices=CALIBRATORS, default="temperature", help="the calibrator")
    parser.add_argument("--again", action="store_true", help="compute missing logits from the heads")
    parser.add_argument("--format", choices=FORMATS, help="default: terminal on a terminal, and markdown elsewhere")
    parser.add_argument("--output", help="write to this file instead of the terminal")
    args = parser.parse_args()

    from simnl.results.evaluation import complete_logits, evaluate_all

    logging.basicConfig(level=logging.WARNING, format="Warning: %(message)s")
    records = find_records(args.paths)
    if args.again:
        complete_logits(records, args.calibrator)
    found, problems = evaluate_all(records, args.calibrator)
    for problem in problems:
        logging.warning("%s", problem)
    if not found:
        raise ValueError("None of these runs has usable logits; the warnings say what to do.")
    width = FULL if args.output else terminal_width()
    fmt = args.format or ("markdown" if width == FULL else "terminal")
    text = render_tables([evaluation_table(found)], fmt, width)
    if args.output:
        write_text_atomically(Path(args.output), text + "\n")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Make records from the logs of other plugins of Dassl (CoOp, MaPLe, PromptSRC, CLAP, ...), for our tables.

python tools/import_runs.py ../CoOp/output --output output/imported
python tools/table.py output --layout fewshot

docs/results.md says what is read from a log, and what is left empty.
"""

from __future__ import annotations

import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl.commands import parser_of
from simnl.errors import fail_politely


@fail_politely
def main() -> int:
    """Entry point."""
    parser = parser_of(__doc__)
    parser.add_argument("folder", help="the folder of the plugin's runs, in and below which logs are searched")
    parser.add_argument("--output", default="output/imported", help="the folder for records (default: output/imported)")
    args = parser.parse_args()

    from simnl.plugins import load_plugins
    from simnl.results.imported import place_of, records_below
    from simnl.runs.record import write_record

    load_plugins()
    output, places, skipped = Path(args.output), set(), []
    for record, problem in records_below(Path(args.folder)):
        if record is None:
            skipped.append(problem)
            continue
        place = place_of(record)
        if place in places:
            skipped.append(f"{record['imported']['log']}: the same method, config and seed was read before.")
            continue
        places.add(place)
        write_record(output / place, record)
    for problem in skipped:
        print(f"Left out: {problem}", file=sys.stderr)
    if not places:
        raise ValueError(f"No log below {args.folder} gives a record.")
    print(f"{output}: {len(places)} runs imported, {len(skipped)} logs left out.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

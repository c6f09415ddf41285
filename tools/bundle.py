"""Pack what a table was made from into one archive, or check such an archive.

python tools/bundle.py output --output results.zip          # records, configs, splits and draws of every run
python tools/bundle.py --verify results.zip                 # every check sum, and every record
python tools/bundle.py --verify results.zip --rerun 3       # and three of its runs again, to the digit
python tools/table.py results.zip --layout fewshot          # tables from the archive

DATA and CACHE in the environment say where data and cache lie, if not where the runs had them.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from simnl.bars import bar
from simnl.commands import parser_of
from simnl.errors import fail_politely
from simnl.numbers import argument


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.add_argument("paths", nargs="*", help="run folders, or folders above them, to pack")
    parser.add_argument("--output", default="bundle.zip", help="the archive to write (default: bundle.zip)")
    parser.add_argument(
        "--without-draws", action="store_true", help="leave out the lists of images, for which data are needed"
    )
    parser.add_argument("--verify", metavar="BUNDLE", help="check this archive")
    parser.add_argument("--rerun", type=argument(1), metavar="N", help="with --verify: repeat N of its runs")
    parser.add_argument(
        "--seed", type=argument(0), default=1, help="the seed by which the N runs are chosen (default: 1)"
    )
    args = parser.parse_args()
    if bool(args.paths) == bool(args.verify):
        parser.error("name folders of runs to pack, or an archive with --verify")
    if args.rerun and not args.verify:
        parser.error("--rerun goes with --verify")
    if not args.output.endswith(".zip"):
        parser.error(f"--output is {args.output}: give a name that ends in .zip, by which tables know a bundle")
    return args


def pack(paths: list[str], output: Path, with_draws: bool) -> str:
    """Write the archive; what it holds, in a sentence."""
    from simnl.results import bundle
    from simnl.results.tables import find_records
    from simnl.runs.stored_config import moved, read_config

    records = [Path(record["path"]) for record in find_records(paths)]
    members, heads = bundle.run_members(records, map(Path, paths))
    if with_draws:
        from simnl.results.repeat import all_image_lists

        with bar("Listing the images", len(records), "run") as progress:
            for lists in all_image_lists(read_config(record.parent, moved()) for record in records):
                members |= lists
                progress.update()
    bundle.write(output, members, heads)
    draws = sum(name.startswith("draws/") for name in members)
    size = output.stat().st_size / 1e6
    return f"{output}: {len(records)} runs, {draws} draws, check sums of {len(heads)} heads, {size:.1f} MB"


def verify(path: Path, rerun: int, seed: int) -> str:
    """Check an archive; what was found, in words.

    Raises:
        BundleError: it is not sound; ValueError: a run gives other figures here.
    """
    from simnl.results import bundle

    found = bundle.read(path)
    runs = list(found.records())
    lines = [f"{path} is sound: {len(found.members)} members, {len(runs)} runs."]
    if not rerun:
        return lines[0]
    from simnl.results.repeat import repeat, sample
    from simnl.runs.logs import configure_logging

    configure_logging(quiet=True)
    chosen, different = sample(found, rerun, seed), 0
    with bar("Carrying out runs again", len(chosen), "run") as progress:
        for name, differences in repeat(found, chosen):
            lines.append(f"{name}: {'; '.join(differences) or 'the same figures, to the digit'}")
            different += bool(differences)
            progress.update()
    if different:
        shown = "\n".join(f"  {line}" for line in lines[1:])
        raise ValueError(f"{different} of {len(chosen)} runs give other figures here:\n{shown}")
    return "\n".join(lines)


@fail_politely
def main() -> int:
    """Entry point."""
    logging.basicConfig(level=logging.WARNING, format="Note: %(message)s")
    args = arguments()
    if args.verify:
        print(verify(Path(args.verify), args.rerun, args.seed))
    else:
        print(pack(args.paths, Path(args.output), not args.without_draws))
    return 0


if __name__ == "__main__":
    sys.exit(main())

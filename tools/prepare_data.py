"""Get data sets and put them into the layout that the program reads. Where that cannot be done, say why.

python tools/prepare_data.py caltech101 oxford_pets --root data
python tools/prepare_data.py --all --root data --dry-run          # only says what would be done

You can stop this command at any moment and run it again: it skips what is there and right, and continues downloads.
Images that are below the root in another layout (torchvision's, Kaggle's) are linked, never moved or copied. Downloads
are kept in ROOT/.downloads until they are in place; you may remove whatever is left there.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable
from filelock import FileLock, Timeout

from simnl import interrupts
from simnl.commands import parser_of
from simnl.errors import describe, fail_politely, is_for_people
from simnl.escaping import printable


@fail_politely
def main() -> int:
    """Entry point; 0 only where every data set asked for is complete and right."""
    parser = parser_of(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="config names of data sets, e.g. oxford_pets")
    parser.add_argument("--all", action="store_true", help="prepare all data sets of the program")
    parser.add_argument("--root", required=True, help="the folder that holds, or will hold, the data sets' folders")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--keep", action="store_true", help="keep the archives after they are unpacked")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("simnl.data.base").setLevel(logging.ERROR)  # the table says what its warnings say
    from simnl.data.preparation.names import chosen, data_root
    from simnl.data.preparation.sources import DOWNLOADS

    names = chosen(args.names, args.all)
    root = data_root(args.root, names)
    if args.dry_run:
        return dry_run(names, root)
    (root / DOWNLOADS).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / DOWNLOADS / ".lock", timeout=0):
            left = {name: prepare(name, root, args.keep) for name in names}
    except Timeout:
        raise RuntimeError(f"Another prepare_data is at work below {root}: wait for it, or stop it.") from None
    return report(names, root, left)


def short(text: str, root: Path) -> str:
    """The text with paths that start at the root."""
    return text.replace(f"{root}{os.sep}", "")


def dry_run(names: list[str], root: Path) -> int:
    """Print the steps that are left; 0 where there are none."""
    from simnl.data.preparation.prepare import Step, plan
    from simnl.runs.data_check import READABLE
    from simnl.runs.outlier_sets import source_of

    left = False
    for name in names:
        try:
            steps = plan(source_of(name), root)
        except OSError as error:  # may not be read
            steps = [Step(f"{describe(error)}: {READABLE}")]
        left |= bool(steps)
        lines = [f"  would {short(step.text, root)}" if step.run else f"  by hand: {step.text}" for step in steps]
        print("\n".join([f"{name}:", *(lines or ["  all of it is there"])]))
    return int(left)


def prepare(name: str, root: Path, keep: bool) -> list[str]:
    """Run the steps of a data set; returns what failed and what is by hand. One failure does not stop the others."""
    from simnl.data.preparation.prepare import plan, tidy
    from simnl.runs.data_check import READABLE
    from simnl.runs.outlier_sets import source_of

    print(f"{name}:", flush=True)
    left, steps = [], []
    try:
        tidy(source_of(name), root)
        steps = plan(source_of(name), root, keep)
    except OSError as error:  # may not be read
        left.append(f"{describe(error)}: {READABLE}")
    for step in steps:
        if step.run is None:
            left.append(f"By hand: {step.text}")
            continue
        print(f"  {short(step.text, root)}", flush=True)
        try:
            step.run()
        except Exception as error:
            interrupts.raise_received()
            if not is_for_people(error):
                raise
            left.append(describe(error))
    for text in left:
        print("  " + printable(text, lines=True).replace("\n", "\n  "), flush=True)
    return left


def report(names: list[str], root: Path, left: dict[str, list[str]]) -> int:
    """Print the check's table; 0 where all is right."""
    from simnl.runs.data_check import check, render
    from simnl.runs.outlier_sets import check_outliers
    from simnl.runs.outlier_sets import names as outliers

    reports = [check_outliers(name, root) if name in outliers() else check(name, root) for name in names]
    print(f"\n{render(reports)}")
    unfinished = [report.name for report in reports if not report.right or left[report.name]]
    if unfinished:
        waiting = [name for name in unfinished if left[name]]
        hint = f" See above for what is left to do for {', '.join(waiting)}." if waiting else ""
        print(f"\nNot complete: {', '.join(unfinished)}.{hint}", file=sys.stderr)
    return int(bool(unfinished))


if __name__ == "__main__":
    sys.exit(main())

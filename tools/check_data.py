"""Check data sets on the disk against the published ones.

python tools/check_data.py caltech101 oxford_pets --root data
python tools/check_data.py --all --root data --deep               # decodes every image, too
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import _path  # noqa: F401 - makes the packages importable

from experiment.cli import fail_politely


@fail_politely
def main() -> int:
    """Entry point; 0 only where every data set asked for is right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="config names of data sets, e.g. oxford_pets")
    parser.add_argument("--all", action="store_true", help="all fifteen data sets")
    parser.add_argument("--root", required=True, help="folder that holds the data sets' folders")
    parser.add_argument("--deep", action="store_true", help="decode every image, on all cores")
    args = parser.parse_args()
    logging.getLogger("datasets").setLevel(logging.ERROR)  # the table says what its warnings say
    from preparation.check import check, render
    from preparation.names import chosen

    root = Path(args.root).expanduser().absolute()
    reports = [check(name, root, args.deep) for name in chosen(args.names, args.all)]
    print(render(reports))
    return int(not all(report.right for report in reports))


if __name__ == "__main__":
    sys.exit(main())
